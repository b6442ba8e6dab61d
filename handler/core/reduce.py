"""The algebra of reductions: pieces become partial results, partial results join, the last one is the result.

A *piece* is a part of the selected data that fits the cache. A *state* is what a reducer knows of some of the data: a
tuple of arrays, each with an element for every *cell* of the result. A ``Partial`` is a state with the number of
elements behind each cell. Two partials join into the partial of both their data; joining is associative, and a partial
of nothing changes none. So pieces of one stream, parallel ranges of one object, and one day the answers of several
machines are combined by the same function.

A *kernel* is a row of ``KERNELS``: the state of nothing, how a piece becomes a state, how two states join, how the last
one becomes the result. A new reducer is mostly a row.

What holds of every row:

- NaN propagates, as in numpy: a NaN that is not missing makes sum, mean, max and min NaN, and argmax finds the first.
- Integer sums wrap in the type of the result: the sum of int8 is an int8, modulo 256, unless another type was asked
  for. The sum of bool is bool, whether any is true.
- A cell of no elements has the value of nothing: 0 for sums, the lowest value of the type for max, the highest for min,
  NaN for a mean. Its count is 0, and whether it is an error is for the doors to say.
- Floats are summed in float64, and the sums of pieces in twice that: ``_two_sum`` keeps the error of every addition
  (Knuth, TAOCP vol. 2, 4.2.2, theorem B) and it is added at the end. Of narrower types it joins the sums of runs of
  pieces, which are added up in float64 like the numbers of one. So float32 and float16 sums of one sign are correct to
  the last bit but for ties; where large numbers of a run cancel, what is left is as exact as float64 held them. A
  float64 sum is at least as good as numpy's pairwise sum of the whole array, however many pieces there were. Whoever
  needs only speed would sum float32 in float32 and be 5 % wrong on 64 MiB of it.
- Variances join by the pairwise update of Chan, Golub and LeVeque (1979), in which nothing large is cancelled.

Warnings of numpy's (an overflow to infinity on the way) are no concern here: the result shows what happened.
"""

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

import numkong
import numpy as np

from handler.core.missing import Marker, overwrite
from handler.core.select import Index, Plan, Slab
from handler.spec import DTYPES, REDUCERS, ReductionSpec

# Raised whenever the same data could give other bytes than before; part of a result's ETag.
ARITHMETIC_VERSION = 6

# So many pieces of the same cells make a run: the exact join, seven steps through all of them, is then a twentieth of
# what the pieces take (4096 cells, float32) and was a fifth.
_RUN = 8

# numpy casts so many numbers at a time on their way into a sum: they stay in the nearest cache, with the cells that
# they are added to. With its own 8192 sums along the first axis take an eighth longer.
_CAST_ELEMENTS = 1024

# So many states of a single cell, be they of pieces or of runs, are joined at a time: a block pushes all else out of
# the caches, and after it Python takes twice as long as after more of the same. Those of more cells may be views of
# the block, or as large.
_BATCH = 16

Array = np.ndarray[Any, np.dtype[Any]]
State = tuple[Array, ...]


class _Found(NamedTuple):
    """The counts and the state of some data of the same cells."""

    cells: Index
    counts: Any
    state: tuple[Any, ...]


class Piece(NamedTuple):
    """A part of the selected data, in the caller's direction.

    Attributes:
        values: The elements; the memory is the piece's to overwrite.
        mask: Which of them are missing, None where none is.
        counts: How many elements that are not missing each cell has.
        result: The data type of the result.
        axes: The axes that are reduced.
        slab: Where it lies.
        plan: What it is a part of.
    """

    values: Array
    mask: Array | None
    counts: Any
    result: np.dtype[Any]
    axes: tuple[int, ...]
    slab: Slab
    plan: Plan

    def filled(self, value: Any) -> Array:
        """The values, with ``value`` for those that are missing."""
        if self.mask is not None:
            overwrite(self.values, self.mask, value)
        return self.values


@dataclass(frozen=True, slots=True)
class Kernel:
    """One row of the table.

    Attributes:
        nothing: The state of no elements, a value for each array of the state, from the data type of the elements and
            that of the result.
        reduce: The state of a piece.
        join: The state of the data of both, the first's coming first, from states and counts.
        finish: The values of the cells from the last state, counts and the spec, before the cast to the result's type.
        add_up: The state of both of two pieces whose numbers have fewer bits than the state's, in place of the first's:
            what takes less than ``join`` and is as good for a few. None where nothing does.
    """

    nothing: Callable[[np.dtype[Any], np.dtype[Any]], tuple[Any, ...]]
    reduce: Callable[[Piece], tuple[Any, ...]]
    join: Callable[[State, Array, State, Any], tuple[Any, ...]]
    finish: Callable[[State, Array, ReductionSpec], Any]
    add_up: Callable[[tuple[Any, ...], tuple[Any, ...]], tuple[Any, ...]] | None = None


@dataclass(slots=True)
class Partial:
    """What is known of some of the data.

    Attributes:
        counts: How many elements are behind each cell, in int64.
        state: The kernel's, arrays of the cells' shape.
    """

    counts: Array
    state: State


@dataclass(frozen=True, slots=True)
class Reduced:
    """A result as numbers.

    Attributes:
        values: In the result's data type, in the caller's arrangement; a single value has shape ().
        counts: How many elements each cell stands for, in int64; of ``select``, all that are not missing.
    """

    values: Array
    counts: Array


class Reducer:
    """Takes in data as it comes, and tells the result when asked.

    Args:
        spec: What to compute.
        plan: The walk through the data.

    Attributes:
        partial: What is known so far; another reducer of the same spec and plan can ``join`` it.
    """

    def __init__(self, spec: ReductionSpec, plan: Plan) -> None:
        self._spec = spec
        self._plan = plan
        dtype = DTYPES[spec.dtype]
        self._result = DTYPES[spec.result_dtype]
        self._kernel = _find_kernel(spec.reducer, spec.result_dtype)
        self._add_up = self._kernel.add_up if dtype.itemsize < _wide(dtype).itemsize else None
        self._marker = Marker(spec.missing, spec.dtype) if spec.missing else None
        cells = plan.cells
        nothing = self._kernel.nothing(dtype, self._result)
        self._keeps_elements = REDUCERS[spec.reducer].keeps_elements
        # A single cell's are numbers of numpy's, as kernels make them.
        state = tuple(np.full(cells, value) for value in nothing) if cells else nothing
        counts: Any = np.zeros(() if self._keeps_elements else cells, np.int64) if cells else np.int64(0)
        self.partial = Partial(counts, state)
        self._batch = 1 if cells else _BATCH

    def consume(self, read: Callable[[int, tuple[int, ...]], Array], slabs: Iterable[Slab]) -> None:
        """Take in the data of some stops of the walk, in its order.

        Args:
            read: Gives the elements from a number on, as a block of a shape, whose memory is overwritten where elements
                are missing.
            slabs: The stops.
        """
        found: Iterator[_Found] = (self._reduce(slab, read(slab.start, slab.shape)) for slab in slabs)
        if self._add_up:
            found = _add_up_runs(found, self._add_up)
        # Once, not for each block: it takes a tenth of the time of one. It holds for the size of casts, too.
        with np.errstate(all="ignore"):
            if self._plan.cells:
                np.setbufsize(_CAST_ELEMENTS)
            while batch := tuple(itertools.islice(found, self._batch)):
                for one in batch:
                    self._take_in(one)

    def join(self, other: Partial) -> None:
        """Take in what ``other`` knows: data that comes after the data so far."""
        with np.errstate(all="ignore"):
            self._join_at((), other.counts, other.state)

    def result(self) -> Reduced:
        """The result of all the data so far."""
        with np.errstate(all="ignore"):
            values = np.asarray(self._kernel.finish(self.partial.state, self.partial.counts, self._spec))
            return Reduced(values.astype(self._result), self.partial.counts)

    def _reduce(self, slab: Slab, block: Array) -> _Found:
        """The counts and the state of what is selected of a block."""
        values = block[slab.selected]
        mask = self._marker.mark(values) if self._marker else None
        # Of what is kept, all that are not missing are counted together.
        counted = tuple(range(values.ndim)) if self._keeps_elements else slab.axes
        counts = _count_present(values, mask, counted)
        state = self._kernel.reduce(Piece(values, mask, counts, self._result, slab.axes, slab, self._plan))
        return _Found(slab.cells, counts, state)

    def _take_in(self, found: _Found) -> None:
        cells, counts, state = found
        if self._keeps_elements:
            # Each cell is one element, and the walk comes to it once.
            for array, part in zip(self.partial.state, state, strict=True):
                array[cells] = part
            self.partial.counts += counts
        else:
            self._join_at(cells, counts, state)

    def _join_at(self, cells: Index, counts: Any, state: tuple[Any, ...]) -> None:
        mine, join = self.partial, self._kernel.join
        if not self._plan.cells:
            self.partial = Partial(mine.counts + counts, join(mine.state, mine.counts, state, counts))
            return
        joined = join(tuple(array[cells] for array in mine.state), mine.counts[cells], state, counts)
        mine.state = tuple(_put(array, cells, value) for array, value in zip(mine.state, joined, strict=True))
        mine.counts[cells] += counts


def _add_up_runs(found: Iterator[_Found], add_up: Callable[..., tuple[Any, ...]]) -> Iterator[_Found]:
    """What was found of runs of pieces: neighbours of the same cells, added up."""
    for cells, neighbours in itertools.groupby(found, operator.attrgetter("cells")):
        for first in neighbours:
            counts, state = first.counts, first.state
            for other in itertools.islice(neighbours, _RUN - 1):
                counts, state = counts + other.counts, add_up(state, other.state)
            yield _Found(cells, counts, state)


def _count_present(values: Array, mask: Array | None, axes: tuple[int, ...]) -> Any:
    """How many elements along the axes are not missing."""
    is_whole = len(axes) == values.ndim
    if mask is None:
        return values.size if is_whole else math.prod(values.shape[axis] for axis in axes)
    if is_whole:
        # Eight times as fast as adding up.
        return values.size - np.count_nonzero(mask)
    return np.add.reduce(np.logical_not(mask), axis=axes, dtype=np.int64)


def _put(array: Array, cells: Index, values: Any) -> Array:
    """The array with these values in these cells; it is the values themselves where the cells are all that it has."""
    if values.shape == array.shape and values.dtype == array.dtype:
        return values  # type: ignore[no-any-return]  # an array, or a number of numpy's
    array[cells] = values
    return array


def state_bytes(spec: ReductionSpec, plan: Plan) -> int:
    """What a reducer of these holds, and what its result takes beside it."""
    result = DTYPES[spec.result_dtype].itemsize * (REDUCERS[spec.reducer].leading or 1)
    return math.prod(plan.cells) * (_cell_bytes(spec.reducer, spec.dtype, spec.result_dtype) + 8 + 2 * result)


@cache
def _cell_bytes(reducer: str, dtype: str, result_dtype: str) -> int:
    nothing = _find_kernel(reducer, result_dtype).nothing(DTYPES[dtype], DTYPES[result_dtype])
    return sum(np.asarray(value).itemsize for value in nothing)


@cache
def _find_kernel(reducer: str, result_dtype: str) -> Kernel:
    kind = DTYPES[result_dtype].kind
    return next(kernel for kinds, kernel in KERNELS[reducer].items() if kind in kinds)


# What kernels are made of


def lowest(dtype: np.dtype[Any]) -> Any:
    """The lowest value of a data type that is a number."""
    return _limit(dtype, "min")


def highest(dtype: np.dtype[Any]) -> Any:
    """The highest value of a data type that is a number."""
    return _limit(dtype, "max")


def _limit(dtype: np.dtype[Any], side: str) -> Any:
    if dtype.kind == "b":
        return np.bool_(side == "max")
    limits: Any = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return dtype.type(getattr(limits, side))


def _least(dtype: np.dtype[Any]) -> Any:
    """What no element is below: for floats beyond the lowest number."""
    return dtype.type(-np.inf) if dtype.kind == "f" else lowest(dtype)


def _greatest(dtype: np.dtype[Any]) -> Any:
    return dtype.type(np.inf) if dtype.kind == "f" else highest(dtype)


def _two_sum(mine: State, other: State) -> tuple[Any, Any]:
    total = mine[0] + other[0]
    taken = total - mine[0]
    lost = other[0] - taken
    # What the total lost of mine: in place, since making arrays takes longer than adding them up.
    taken -= total
    taken += mine[0]
    lost += taken
    lost += mine[1]
    lost += other[1]
    return total, lost


def _rounded(state: State) -> Any:
    total, error = state[:2]
    corrected, is_finite = total + error, np.isfinite(total)
    # Where the total is infinite or NaN, the error of getting there is NaN and says nothing.
    return corrected if is_finite.all() else np.where(is_finite, corrected, total)


# What numkong adds up several times as fast as numpy, which writes each number down in float64 before: float32 in
# float64 as well, small integers exactly. As long as what is added up lies together, and is more than a few numbers.
_NUMKONG_DTYPES = frozenset(np.dtype(name) for name in ("float32", "int8", "uint8", "int16", "uint16"))
_NUMKONG_LEAST = 16


def _total(values: Array, axes: tuple[int, ...]) -> Any:
    """The sum along the axes, in float64; of complex numbers, in complex128."""
    kept = values.ndim - len(axes)
    if values.dtype in _NUMKONG_DTYPES and axes == tuple(range(kept, values.ndim)):
        if not kept:
            return np.float64(numkong.sum(values))
        rows = values.reshape(*values.shape[:kept], -1)
        if rows.shape[kept] >= _NUMKONG_LEAST:
            return np.asarray(numkong.sum(rows, axis=kept), np.float64)
    return np.add.reduce(values, axis=axes, dtype=_wide(values.dtype))


def _wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.complex128 if dtype.kind == "c" else np.float64)


# Kernels


def _count() -> Kernel:
    return Kernel(
        nothing=lambda *_: (),
        reduce=lambda _: (),
        join=lambda *_: (),
        finish=lambda _, counts, __: counts,
    )


def _select() -> Kernel:
    def join(mine: State, _: Array, other: State, __: Any) -> tuple[Any, ...]:
        # What one of them has not come to is 0 there, bit for bit.
        return (np.bitwise_or(mine[0].view(np.uint8), other[0].view(np.uint8)).view(mine[0].dtype),)

    return Kernel(
        nothing=lambda dtype, _: (dtype.type(0),),
        reduce=lambda piece: (piece.values,),
        join=join,
        finish=lambda state, _, __: state[0],
    )


def _extremum(ufunc: np.ufunc, nothing: Callable[..., Any], shown: Callable[..., Any]) -> Kernel:
    return Kernel(
        nothing=lambda dtype, _: (nothing(dtype),),
        reduce=lambda piece: (ufunc.reduce(piece.filled(nothing(piece.values.dtype)), axis=piece.axes),),
        join=lambda mine, _, other, __: (ufunc(mine[0], other[0]),),
        finish=lambda state, counts, spec: np.where(counts > 0, state[0], shown(DTYPES[spec.dtype])),
    )


def _wrapping_sum() -> Kernel:
    return Kernel(
        nothing=lambda _, result: (result.type(0),),
        # Without dtype numpy widens small integers to 64 bits.
        reduce=lambda piece: (np.add.reduce(piece.filled(0), axis=piece.axes, dtype=piece.result),),
        join=lambda mine, _, other, __: (np.add(mine[0], other[0]),),
        finish=lambda state, _, __: state[0],
    )


def _float_sum(finish: Callable[[State, Array], Any]) -> Kernel:
    def reduce(piece: Piece) -> tuple[Any, Any]:
        return _total(piece.filled(0), piece.axes), 0.0

    def add_up(mine: State, other: State) -> tuple[Any, float]:
        total = mine[0]
        # In place, where it is an array.
        total += other[0]
        return total, 0.0

    return Kernel(
        nothing=lambda dtype, _: (_wide(dtype).type(0), _wide(dtype).type(0)),
        reduce=reduce,
        join=lambda mine, _, other, __: _two_sum(mine, other),
        finish=lambda state, counts, _: finish(state, counts),
        add_up=add_up,
    )


def _truth(ufunc: np.ufunc, nothing: bool) -> Kernel:
    return Kernel(
        nothing=lambda *_: (np.bool_(nothing),),
        reduce=lambda piece: (ufunc.reduce(piece.filled(nothing), axis=piece.axes),),
        join=lambda mine, _, other, __: (ufunc(mine[0], other[0]),),
        finish=lambda state, _, __: state[0],
    )


def _moments(piece: Piece) -> tuple[Any, Any, Any]:
    """Sum, its error, and sum of squared deviations from the mean, of each cell of a piece."""
    counts = np.maximum(piece.counts, 1)
    total = _total(piece.filled(0), piece.axes)
    deviations = np.subtract(piece.values, np.expand_dims(total / counts, piece.axes), dtype=np.float64)
    if piece.mask is not None:
        overwrite(deviations, piece.mask, 0)
    np.square(deviations, out=deviations)
    return total, 0.0, np.add.reduce(deviations, axis=piece.axes)


def _join_moments(mine: State, my_counts: Array, other: State, other_counts: Any) -> tuple[Any, Any, Any]:
    counts = np.maximum(my_counts + other_counts, 1)
    apart = other[0] / np.maximum(other_counts, 1) - mine[0] / np.maximum(my_counts, 1)
    # Where one of them has no elements it has no mean, whatever the numbers say.
    apart = np.where((my_counts > 0) & (np.asarray(other_counts) > 0), apart, 0.0)
    return (*_two_sum(mine, other), mine[2] + other[2] + apart * apart * (my_counts * (other_counts / counts)))


def _deviation(root: bool) -> Kernel:
    def finish(state: State, counts: Array, spec: ReductionSpec) -> Any:
        variance = np.where(counts > 0, state[2], np.nan) / np.maximum(counts - spec.ddof, 0)
        return np.sqrt(variance) if root else variance

    return Kernel(
        nothing=lambda *_: (np.float64(0),) * 3,
        reduce=_moments,
        join=_join_moments,
        finish=finish,
    )


def _stats() -> Kernel:
    def reduce(piece: Piece) -> tuple[Any, ...]:
        # Deviations first: they want 0 for what is missing, the extrema something else.
        moments = _moments(piece)
        dtype = piece.values.dtype
        smallest = np.minimum.reduce(piece.filled(_greatest(dtype)), axis=piece.axes).astype(np.float64)
        largest = np.maximum.reduce(piece.filled(_least(dtype)), axis=piece.axes).astype(np.float64)
        return *moments, smallest, largest

    def join(mine: State, my_counts: Array, other: State, other_counts: Any) -> tuple[Any, ...]:
        moments = _join_moments(mine, my_counts, other, other_counts)
        return *moments, np.minimum(mine[3], other[3]), np.maximum(mine[4], other[4])

    def finish(state: State, counts: Array, _: ReductionSpec) -> Any:
        m2, smallest, largest = state[2:]
        known = (np.where(counts > 0, values, np.nan) for values in (smallest, largest))
        return np.stack([counts.astype(np.float64), *known, _mean_of(state, counts), m2])

    return Kernel(
        nothing=lambda *_: (*(np.float64(0),) * 3, np.float64(np.inf), np.float64(-np.inf)),
        reduce=reduce,
        join=join,
        finish=finish,
    )


def _arg(search: Callable[..., Any], is_before: np.ufunc, nothing: Callable[..., Any]) -> Kernel:
    """The place of an extremum: the state is its value and its place, -1 for none."""

    def reduce(piece: Piece) -> tuple[Any, Any]:
        values = piece.filled(nothing(piece.values.dtype))
        return _search_all(piece, values) if len(piece.plan.cells) == 0 else _search_along(piece, values)

    def _search_all(piece: Piece, values: Array) -> tuple[Any, Any]:
        # In the caller's order, so that the first of equals is the caller's first.
        turned, mask = piece.plan.arrange(values), piece.mask
        flat = int(search(turned))
        if mask is not None and piece.plan.arrange(mask).ravel()[flat]:
            # What stands for the missing is as good as all the others: the first that is not missing.
            flat = int(np.argmin(piece.plan.arrange(mask)))
            if piece.plan.arrange(mask).ravel()[flat]:
                return turned.ravel()[flat], np.int64(-1)
        index = np.unravel_index(flat, turned.shape)
        local = tuple(int(part) for part in (index[::-1] if piece.plan.order == "F" else index))
        return turned[index], np.int64(piece.plan.place(piece.slab, local))

    def _search_along(piece: Piece, values: Array) -> tuple[Any, Any]:
        plan, slab = piece.plan, piece.slab
        reduced = next(place for place, dimension in enumerate(plan.dimensions) if not dimension.is_kept)
        offset = slab.first[reduced]
        if not piece.axes:
            places = np.full(values.shape, offset, np.int64)
            return values.copy(), places if piece.mask is None else np.where(piece.mask, -1, places)
        axis = piece.axes[0]
        found = search(values, axis=axis)
        if piece.mask is not None:
            hits_missing = np.take_along_axis(piece.mask, np.expand_dims(found, axis), axis).squeeze(axis)
            found = np.where(hits_missing, np.argmin(piece.mask, axis=axis), found)
        best = np.take_along_axis(values, np.expand_dims(found, axis), axis).squeeze(axis)
        places = np.asarray(found, np.int64) + offset
        return best, places if piece.mask is None else np.where(np.all(piece.mask, axis=axis), -1, places)

    def join(mine: State, _: Array, other: State, __: Any) -> tuple[Any, Any]:
        (my_best, my_place), (other_best, other_place) = mine, other
        my_nan, other_nan = my_best != my_best, other_best != other_best  # noqa: PLR0124  # only NaN is not itself
        is_better = np.where(other_nan, ~my_nan, is_before(other_best, my_best) & ~my_nan)
        is_equal = (my_best == other_best) | (my_nan & other_nan)
        takes_other = (other_place >= 0) & (is_better | (my_place < 0) | (is_equal & (other_place < my_place)))
        return np.where(takes_other, other_best, my_best), np.where(takes_other, other_place, my_place)

    return Kernel(
        nothing=lambda dtype, _: (nothing(dtype), np.int64(-1)),
        reduce=reduce,
        join=join,
        finish=lambda state, _, __: state[1],
    )


def _mean_of(state: State, counts: Array) -> Any:
    return np.where(counts > 0, _rounded(state), np.nan) / np.maximum(counts, 1)


# Reducer, then the kinds of the result's data type: b bool, i and u integers, f floats, c complex.
KERNELS: Mapping[str, Mapping[str, Kernel]] = MappingProxyType(
    {
        "count": {"i": _count()},
        "max": {"biuf": _extremum(np.maximum, _least, lowest)},
        "min": {"biuf": _extremum(np.minimum, _greatest, highest)},
        "sum": {"biu": _wrapping_sum(), "fc": _float_sum(lambda state, _: _rounded(state))},
        "select": {"biufc": _select()},
        "mean": {"fc": _float_sum(_mean_of)},
        "var": {"f": _deviation(root=False)},
        "std": {"f": _deviation(root=True)},
        "argmax": {"i": _arg(np.argmax, np.greater, _least)},
        "argmin": {"i": _arg(np.argmin, np.less, _greatest)},
        "any": {"b": _truth(np.logical_or, nothing=False)},
        "all": {"b": _truth(np.logical_and, nothing=True)},
        "stats": {"f": _stats()},
    }
)

"""The driver: blocks along a walk become pieces, pieces become states, states join.

States of narrow types are added up in runs of a few pieces, and states of a single cell are joined in batches. Both are
measured to be faster, and neither depends on the sizes of the network's reads: the same bytes give the same bits.
"""

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from active_storage.algebra import Algebra, Index, Partial, Reduced
from handler.kernels import KERNELS
from handler.kernels.missing import Marker
from handler.kernels.pieces import Array, Piece
from handler.kernels.walk import Slab, Walk

# The pieces of a run, which have the same cells. The exact join takes seven passes over the cells. With runs it takes a
# twentieth of the time of the pieces (4096 cells, float32), without them a fifth.
_RUN = 8

# The numbers that numpy casts at a time for a sum. They stay in the nearest cache, together with the cells that they
# are added to. With numpy's default of 8192, sums along the first axis take an eighth longer.
_CAST_ELEMENTS = 1024

# The states of a single cell that are joined at a time. A block displaces Python's code and data from the caches, so
# that joining after each block takes twice as long. States of more cells are not kept: they can be as large as the
# block, or views of it.
_BATCH = 16


# From a stop of the walk, its values and their mask, to the values, the mask and the second array that are reduced.
Combine = Callable[[Slab, Array, Array | None], tuple[Array, Array | None, Array | None]]


# Takes the elements of a stop of the walk, and the mask of those that are missing.
Take = Callable[[Slab, Array, Array | None], None]


class _Found(NamedTuple):
    """The partial result of a piece, or of a run of pieces with the same cells."""

    cells: Index
    partial: Partial[Any]


class Reducer:
    """Reduces the data of a walk, stop by stop.

    Args:
        algebra: How states are made, joined and finished.
        marker: Tells which elements are missing; None if all are present.
        walk: The walk through the data.
        unpack: Makes values of stored numbers, and of a mask of missing ones, before they are reduced; None if they are
            the values.
        weights: The weights of the elements, of the walk's number of dimensions; a size is 1 along each axis along
            which they do not vary. None if elements have no weights.
        combine: Combines the values of a piece with those of other arrays, before they are reduced; None if there are
            no others.

    Attributes:
        partial: The partial result of the data so far.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # what is known of the data of a walk
        self,
        algebra: Algebra[Any],
        marker: Marker | None,
        walk: Walk,
        unpack: Callable[[Array, Array | None], Array] | None = None,
        weights: Array | None = None,
        combine: Combine | None = None,
    ) -> None:
        self._combine = combine
        self._weights = weights
        self._walk = walk
        self._algebra = algebra
        self._unpack = unpack
        self._kernel = KERNELS[type(algebra)]
        self._marker = marker
        self._batch = 1 if walk.cells else _BATCH
        self.partial = self._algebra.start(walk.cells)

    def consume(
        self, read: Callable[[int, tuple[int, ...]], Array], slabs: Iterable[Slab], check: Callable[[], None]
    ) -> None:
        """Reduce the data of some stops of the walk, in its order.

        Args:
            read: Gives a block by its first element and its shape. Missing elements are overwritten in the block.
            slabs: The stops.
            check: Raises if the result is no longer needed. It is called between blocks.
        """
        found = self._reduce_all(read, slabs, check)
        if self._algebra.adds_up:
            found = _add_up_runs(found, self._algebra)
        # Once, not for each block, of whose time it would take a tenth. The size of casts is reset with it.
        with np.errstate(all="ignore"):
            if self._walk.cells:
                np.setbufsize(_CAST_ELEMENTS)
            while batch := tuple(itertools.islice(found, self._batch)):
                for cells, partial in batch:
                    self._algebra.join_at(self.partial, cells, partial)

    def hand_over(
        self,
        read: Callable[[int, tuple[int, ...]], Array],
        slabs: Iterable[Slab],
        check: Callable[[], None],
        take: Take,
    ) -> None:
        """Hand over the elements of some stops of the walk, instead of reducing them.

        Args:
            read: As in ``consume``.
            slabs: The stops.
            check: As in ``consume``.
            take: Takes the elements of a stop, and the mask of those that are missing; None for none.
        """
        with np.errstate(all="ignore"):
            for slab in slabs:
                check()
                values, mask, _ = self._prepare(slab, read(slab.start, slab.shape))
                take(slab, values, mask)

    def join(self, other: Partial[Any]) -> None:
        """Join the partial result of data that comes after the data so far."""
        with np.errstate(all="ignore"):
            self._algebra.join_at(self.partial, (), other)

    def result(self) -> Reduced:
        """The result of all the data so far."""
        return self._algebra.finish_partial(self.partial)

    def _reduce_all(
        self, read: Callable[[int, tuple[int, ...]], Array], slabs: Iterable[Slab], check: Callable[[], None]
    ) -> Iterator[_Found]:
        for number, slab in enumerate(slabs):
            if number:
                check()
            yield self._reduce(slab, read(slab.start, slab.shape))

    def _reduce(self, slab: Slab, block: Array) -> _Found:
        values, mask, other = self._prepare(slab, block)
        counted = slab.axes if self._algebra.counts_cells else tuple(range(values.ndim))
        counts = _count_present(values, mask, counted)
        weights = None if self._weights is None else select_window(self._weights, slab, self._walk)
        state = self._kernel(self._algebra, Piece(values, mask, counts, slab.axes, slab, self._walk, weights, other))
        return _Found(slab.cells, Partial(counts, state))

    def _prepare(self, slab: Slab, block: Array) -> tuple[Array, Array | None, Array | None]:
        """The values of a piece, the mask of missing ones, and the values of the second array."""
        values = block[slab.selected]
        mask = self._marker.mark(values) if self._marker else None
        if self._unpack:
            values = self._unpack(values, mask)
        other = None
        if self._combine:
            values, mask, other = self._combine(slab, values, mask)
        return values, mask, other


def _add_up_runs(found: Iterator[_Found], algebra: Algebra[Any]) -> Iterator[_Found]:
    """The partial results of runs: neighbours with the same cells, added up."""
    for cells, neighbours in itertools.groupby(found, operator.attrgetter("cells")):
        for first in neighbours:
            counts, state = first.partial.counts, first.partial.state
            for other in itertools.islice(neighbours, _RUN - 1):
                counts, state = counts + other.partial.counts, algebra.add_up(state, other.partial.state)
            yield _Found(cells, Partial(counts, state))


def select_window(weights: Array, slab: Slab, walk: Walk) -> Array:
    """What belongs to the elements of a piece, of an array that does not vary along axes of size 1.

    The source of the walk is in C order.
    """
    depth = weights.ndim - len(slab.shape)
    start, places = slab.start, []
    for stride in walk.strides[: depth + 1]:
        place, start = divmod(start, stride)
        places.append(place)
    window: list[int | slice] = [
        place if size > 1 else 0 for place, size in zip(places[:depth], weights.shape, strict=False)
    ]
    rows = places[depth]
    window.append(slice(rows, rows + slab.shape[0]) if weights.shape[depth] > 1 else slice(None))
    block = weights[tuple(window)]
    pairs = zip(block.shape, slab.selected, strict=True)
    return block[tuple([chosen if size > 1 else slice(None) for size, chosen in pairs])]


def _count_present(values: Array, mask: Array | None, axes: tuple[int, ...]) -> Any:
    """The number of present elements along the axes."""
    is_whole = len(axes) == values.ndim
    if mask is None:
        return values.size if is_whole else math.prod(values.shape[axis] for axis in axes)
    if is_whole:
        # Eight times as fast as a sum.
        return values.size - np.count_nonzero(mask)
    return np.add.reduce(np.logical_not(mask), axis=axes, dtype=np.int64)


def state_bytes(algebra: Algebra[Any], leading: tuple[int, ...], cells: tuple[int, ...]) -> int:
    """The memory of a reducer and of its result, in bytes.

    Args:
        algebra: The reducer's algebra.
        leading: The shape of the dimensions of the result before those of its cells.
        cells: The shape of the cells.
    """
    values = math.prod((*leading, *algebra.trailing))
    return math.prod(cells) * (algebra.cell_bytes + 8 + 2 * values * algebra.result_dtype.itemsize)

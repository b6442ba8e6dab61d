"""The algebra of reductions: blocks become partial results, partial results join, the last one is the result.

A *block* is a piece of the data that fits the cache. A *state* is what a reducer knows of some of the data: a tuple of
small arrays. A ``Partial`` is a state with the number of elements behind it. Two partials join into the partial of both
their data; joining is associative, and nothing joined with a partial leaves it as it is. So blocks of one stream,
parallel ranges of one object, and one day the answers of several machines are combined by the same function.

A *kernel* is a row of ``KERNELS``: how a block becomes a state, how two states join, how the last one becomes the
result. A new reducer is mostly a row.

What holds of every row:

- NaN propagates, as in numpy: a NaN anywhere in the data makes sum, max and min NaN.
- Integers wrap in their own type: the sum of int8 is an int8, modulo 256. The sum of bool is bool, whether any is true.
- No elements: count and sum are 0; max and min have no result, and ``NothingToReduce`` says so.
- Floats are summed in float64, and the sums of blocks in twice that: ``TwoSum`` keeps the error of every addition
  (Knuth, TAOCP vol. 2, 4.2.2, theorem B) and it is added at the end. So float32 and float16 results are correct to
  the last bit but for ties, and a float64 sum is at least as good as numpy's pairwise sum of the whole array, however
  many blocks there were. Whoever needs only speed would sum float32 in float32 and be 5 % wrong on 64 MiB of it.

Warnings of numpy's (an overflow to infinity on the way) are no concern here: the result shows what happened.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from handler.core.blocks import Block
from handler.errors import NothingToReduce
from handler.spec import DTYPES, ReductionSpec

# Raised whenever the same data could give other bytes than before; part of a result's ETag.
ARITHMETIC_VERSION = 1

Array = np.ndarray[Any, np.dtype[Any]]
State = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Kernel:
    """One row of the table.

    Attributes:
        reduce: The state of a block of at least one element.
        join: The state of the data of both states, the first's coming first.
        finish: The result, from the last state and the number of elements, before the cast to the result's data type.
        nothing: The state of no elements, None where a reducer has no result for none.
    """

    reduce: Callable[[Block], State]
    join: Callable[[State, State], State]
    finish: Callable[[State, int], Any]
    nothing: State | None


@dataclass(frozen=True, slots=True)
class Partial:
    """What is known of ``count`` elements: a kernel's state, or None where it has none for no elements."""

    count: int
    state: State | None


@dataclass(frozen=True, slots=True)
class Reduced:
    """A result as numbers.

    Attributes:
        values: In the result's data type; a single value has shape ().
        counts: How many elements each value stands for, in int64, of the same shape.
    """

    values: Array
    counts: Array


class Reducer:
    """Takes in data as it comes, and tells the result when asked.

    Args:
        spec: What to compute, of which data type.

    Attributes:
        partial: What is known so far; another reducer of the same spec can ``join`` it.
    """

    def __init__(self, spec: ReductionSpec) -> None:
        self._spec = spec
        self._kernel = _find_kernel(spec)
        self.partial = Partial(0, self._kernel.nothing)

    def update(self, block: Block) -> None:
        """Take in the elements of ``block``, of any shape, in native byte order. Keeps no reference to it."""
        if block.size:
            with np.errstate(all="ignore"):
                self.join(Partial(block.size, self._kernel.reduce(block)))

    def join(self, other: Partial) -> None:
        """Take in what ``other`` knows: data that comes after the data so far."""
        mine = self.partial
        if mine.state is None:
            state = other.state
        elif other.state is None:
            state = mine.state
        else:
            state = self._kernel.join(mine.state, other.state)
        self.partial = Partial(mine.count + other.count, state)

    def result(self) -> Reduced:
        """The result of all the data so far.

        Raises:
            NothingToReduce: There was no data, and the reducer has no result for none.
        """
        count, state = self.partial.count, self.partial.state
        if state is None:
            raise _nothing_to_reduce(self._spec)
        with np.errstate(all="ignore"):
            values = np.asarray(self._kernel.finish(state, count)).astype(DTYPES[self._spec.result_dtype])
        return Reduced(values, np.asarray(count, np.int64))


def ensure_reducible(spec: ReductionSpec, count: int) -> None:
    """Pass where the reducer has a result for ``count`` elements: what can be told before any data is read.

    Raises:
        NothingToReduce: There are none, and the reducer has no result for none.
    """
    if not count and _find_kernel(spec).nothing is None:
        raise _nothing_to_reduce(spec)


def _nothing_to_reduce(spec: ReductionSpec) -> NothingToReduce:
    return NothingToReduce(f"there is no {spec.reducer} of no elements")


def _find_kernel(spec: ReductionSpec) -> Kernel:
    kind = DTYPES[spec.dtype].kind
    return next(kernel for kinds, kernel in KERNELS[spec.reducer].items() if kind in kinds)


# Kernels


def _count() -> Kernel:
    return Kernel(reduce=lambda _: (), join=lambda *_: (), finish=lambda _, count: count, nothing=())


def _extremum(ufunc: np.ufunc) -> Kernel:
    return Kernel(
        reduce=lambda block: (ufunc.reduce(block, axis=None),),
        join=lambda mine, other: (ufunc(mine[0], other[0]),),
        finish=lambda state, _: state[0],
        nothing=None,
    )


def _wrapping_sum() -> Kernel:
    return Kernel(
        # Without dtype numpy widens small integers to 64 bits.
        reduce=lambda block: (np.add.reduce(block, axis=None, dtype=block.dtype),),
        join=lambda mine, other: (np.add(mine[0], other[0]),),
        finish=lambda state, _: state[0],
        nothing=(np.False_,),
    )


def _float_sum() -> Kernel:
    return Kernel(
        reduce=lambda block: (np.add.reduce(block, axis=None, dtype=np.float64), np.float64(0)),
        join=_two_sum,
        finish=_rounded_sum,
        nothing=(np.float64(0), np.float64(0)),
    )


def _two_sum(mine: State, other: State) -> State:
    total = mine[0] + other[0]
    taken = total - mine[0]
    error = (mine[0] - (total - taken)) + (other[0] - taken)
    return total, mine[1] + other[1] + error


def _rounded_sum(state: State, _: int) -> Any:
    total, error = state
    # Where the total is infinite or NaN, the error of getting there is NaN and says nothing.
    return np.where(np.isfinite(total), total + error, total)


# Reducer, then the kinds of numpy's data types: b bool, i and u integers, f floats.
KERNELS: Mapping[str, Mapping[str, Kernel]] = MappingProxyType(
    {
        "count": {"biuf": _count()},
        "max": {"biuf": _extremum(np.maximum)},
        "min": {"biuf": _extremum(np.minimum)},
        "sum": {"biu": _wrapping_sum(), "f": _float_sum()},
    }
)

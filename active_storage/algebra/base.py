"""What every reducer's algebra has: an identity, a join, an end. What one of them computes is in its family's file."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from handler.spec import DTYPES, ReductionSpec

Array = np.ndarray[Any, np.dtype[Any]]
Dtype = np.dtype[Any]

# Which cells: an index of numpy's, in the order of storage; () for all of them.
Index = tuple[int | slice, ...]

# A named tuple of arrays, or of numpy's numbers where there is a single cell.
State = TypeVar("State", bound=tuple[Any, ...])


@dataclass(slots=True)
class Partial(Generic[State]):
    """What is known of some of the data.

    Attributes:
        counts: How many elements are behind each cell, int64.
        state: The reducer's, arrays of the cells' shape.
    """

    counts: Any
    state: State


@dataclass(frozen=True, slots=True)
class Reduced:
    """A result as numbers.

    Attributes:
        values: In the result's data type and the order of storage; a single value has shape ().
        counts: How many elements each cell stands for, int64; for ``select``, all that are not missing.
    """

    values: Array
    counts: Array


class Algebra(ABC, Generic[State]):
    """How one reducer's partial results of one data type are made, joined and finished.

    Args:
        spec: The reduction. The data type and the result's type count, and for variances ``ddof``.
    """

    # Whether elements are counted for each cell, or all together.
    counts_cells: ClassVar[bool] = True

    def __init__(self, spec: ReductionSpec) -> None:
        self.dtype: Dtype = DTYPES[spec.dtype]
        self.result_dtype: Dtype = DTYPES[spec.result_dtype]

    @abstractmethod
    def identity(self) -> State:
        """The state of no elements: a number for each array of the state."""

    @abstractmethod
    def join(self, mine: State, my_counts: Any, other: State, other_counts: Any) -> State:
        """The state of the data of both, of which the first comes first."""

    @abstractmethod
    def finish(self, state: State, counts: Any) -> Any:
        """The values of the cells, before they are cast to the result's type."""

    @property
    def adds_up(self) -> bool:
        """Whether ``add_up`` may take the place of ``join`` for a few neighbours."""
        return False

    def add_up(self, mine: State, other: State) -> State:
        """The state of both, in place of the first: takes less than ``join``, and is as good for a few states."""
        raise AssertionError(f"{type(self).__name__} does not add up")

    @property
    def cell_bytes(self) -> int:
        """How many bytes the state takes for each cell."""
        return sum(np.asarray(value).itemsize for value in self.identity())

    def start(self, cells: tuple[int, ...]) -> Partial[State]:
        """A partial of no elements, for cells of this shape."""
        identity = self.identity()
        # A single cell's are numbers of numpy's, as kernels make them.
        state = type(identity)(*(np.full(cells, value) for value in identity)) if cells else identity
        return Partial(np.zeros(cells, np.int64) if cells and self.counts_cells else np.int64(0), state)

    def join_at(self, whole: Partial[State], cells: Index, part: Partial[State]) -> None:
        """Take a part, whose data comes after that of the whole, into these cells of the whole."""
        if not np.ndim(whole.counts):
            whole.state = self.join(whole.state, whole.counts, part.state, part.counts)
            whole.counts = whole.counts + part.counts
            return
        mine = type(whole.state)(*(array[cells] for array in whole.state))
        joined = self.join(mine, whole.counts[cells], part.state, part.counts)
        put = (_put(array, cells, values) for array, values in zip(whole.state, joined, strict=True))
        whole.state = type(whole.state)(*put)
        whole.counts[cells] += part.counts

    def finish_partial(self, partial: Partial[State]) -> Reduced:
        """The result of all the data, as numbers."""
        with np.errstate(all="ignore"):
            values = np.asarray(self.finish(partial.state, partial.counts)).astype(self.result_dtype)
        return Reduced(values, np.asarray(partial.counts))


def join_partials(algebra: Algebra[State], first: Partial[State], second: Partial[State]) -> Partial[State]:
    """The partial of the data of both, in new memory. Both have the same cells, and the first's data comes first."""
    with np.errstate(all="ignore"):
        joined = Partial(np.copy(first.counts)[()], type(first.state)(*(np.copy(array)[()] for array in first.state)))
        algebra.join_at(joined, (), second)
    return joined


def lowest(dtype: Dtype) -> Any:
    """The lowest number of a data type."""
    return _limit(dtype, "min")


def highest(dtype: Dtype) -> Any:
    """The highest number of a data type."""
    return _limit(dtype, "max")


def _limit(dtype: Dtype, side: str) -> Any:
    if dtype.kind == "b":
        return np.bool_(side == "max")
    limits: Any = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return dtype.type(getattr(limits, side))


def _put(array: Array, cells: Index, values: Any) -> Array:
    """The array with these values in these cells; it is the values themselves where the cells are all that it has."""
    if values.shape == array.shape and values.dtype == array.dtype:
        return values  # type: ignore[no-any-return]  # an array
    array[cells] = values
    return array

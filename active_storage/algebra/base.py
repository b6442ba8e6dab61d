"""The interface of an algebra: identity, join and finish. Each family of reducers has a file with its algebras."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from active_storage.model.dtypes import DTYPES
from active_storage.model.spec import ReductionSpec

Array = np.ndarray[Any, np.dtype[Any]]
Dtype = np.dtype[Any]

# An index of numpy's that selects cells, in the order of storage; () for all cells. One of its items can be an array of
# ascending numbers.
Index = tuple[int | slice | Array, ...]

# A named tuple of arrays, or of numpy's scalars if there is a single cell.
State = TypeVar("State", bound=tuple[Any, ...])


@dataclass(slots=True)
class Partial(Generic[State]):
    """The partial result of some of the data.

    Attributes:
        counts: The number of elements in each cell, int64.
        state: The reducer's state, arrays of the cells' shape.
    """

    counts: Any
    state: State

    def copy(self) -> "Partial[State]":
        """The same in new memory."""
        return Partial(np.copy(self.counts)[()], type(self.state)(*(np.copy(array)[()] for array in self.state)))


@dataclass(frozen=True, slots=True)
class Reduced:
    """A result as numbers.

    Attributes:
        values: The values, in the result's data type and the order of storage; a single value has shape ().
        counts: The number of elements in each cell, int64; for ``select``, the number of all present elements.
    """

    values: Array
    counts: Array


class Algebra(ABC, Generic[State]):
    """How one reducer's partial results of one data type are made, joined and finished.

    Args:
        spec: The reduction. Its data types are used, and ``ddof`` for variances.
    """

    # Whether each cell has a count; otherwise there is one count for all.
    counts_cells: ClassVar[bool] = True

    # Whether the state has ``position``, the position of an element in the selection; -1 in a cell without elements.
    # It is the index in C order of the reduced axes, in the caller's order and direction.
    has_position: ClassVar[bool] = False

    def __init__(self, spec: ReductionSpec) -> None:
        self.dtype: Dtype = DTYPES[spec.dtype]
        self.result_dtype: Dtype = DTYPES[spec.result_dtype]
        # The shape of the state of one cell, behind the dimensions of the cells.
        self.trailing: tuple[int, ...] = spec.trailing

    @abstractmethod
    def identity(self) -> State:
        """The state without elements: a scalar for each array of the state."""

    @abstractmethod
    def join(self, mine: State, my_counts: Any, other: State, other_counts: Any) -> State:
        """The joined state. The data of ``mine`` comes before the data of ``other``."""

    @abstractmethod
    def finish(self, state: State, counts: Any) -> Any:
        """The values of the cells, before they are cast to the result's data type."""

    @property
    def adds_up(self) -> bool:
        """Whether ``add_up`` may replace ``join`` for a few neighbours."""
        return False

    def add_up(self, mine: State, other: State) -> State:
        """Add ``other`` to ``mine`` in place. Faster than ``join``, and as exact for a few states."""
        raise AssertionError(f"{type(self).__name__} does not add up")

    @property
    def cell_bytes(self) -> int:
        """The size of the state, in bytes for each cell."""
        one: int = sum(value.itemsize for value in self.identity())
        return math.prod(self.trailing) * one

    def start(self, cells: tuple[int, ...]) -> Partial[State]:
        """A partial without elements, for cells of this shape."""
        identity = self.identity()
        # The state of a single cell consists of numpy's scalars, as kernels make them.
        shape = (*cells, *self.trailing)
        state = type(identity)(*(np.full(shape, value) for value in identity)) if shape else identity
        return Partial(np.zeros(cells, np.int64) if cells and self.counts_cells else np.int64(0), state)

    def join_at(self, whole: Partial[State], cells: Index, partial: Partial[State]) -> None:
        """Join a partial into these cells of the whole. Its data comes after the data of the whole."""
        if not np.ndim(whole.counts):
            whole.state = self.join(whole.state, whole.counts, partial.state, partial.counts)
            whole.counts = whole.counts + partial.counts
            return
        mine = type(whole.state)(*(array[cells] for array in whole.state))
        joined = self.join(mine, whole.counts[cells], partial.state, partial.counts)
        put = (_put(array, cells, values) for array, values in zip(whole.state, joined, strict=True))
        whole.state = type(whole.state)(*put)
        whole.counts[cells] += partial.counts

    def join_quietly(self, whole: Partial[State], cells: Index, partial: Partial[State]) -> None:
        """The same, without numpy's warnings of overflow."""
        with np.errstate(all="ignore"):
            self.join_at(whole, cells, partial)

    def finish_partial(self, partial: Partial[State], dtype: Dtype | None = None) -> Reduced:
        """The result of all the data, as numbers.

        Args:
            partial: The partial result of all the data.
            dtype: The data type of the values; None for that of the result.
        """
        with np.errstate(all="ignore"):
            values = np.asarray(self.finish(partial.state, partial.counts)).astype(dtype or self.result_dtype)
        return Reduced(values, np.asarray(partial.counts))


def join_partials(algebra: Algebra[State], first: Partial[State], second: Partial[State]) -> Partial[State]:
    """The joined partial, in new memory. Both have the same cells, and the data of ``first`` comes first."""
    joined = first.copy()
    algebra.join_quietly(joined, (), second)
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
    """The array with these values in these cells. If the cells are all of the array, it is ``values`` itself."""
    if values.shape == array.shape and values.dtype == array.dtype:
        return values  # type: ignore[no-any-return]  # an array
    array[cells] = values
    return array

"""``first`` and ``last``: the element at the least or the greatest position in the selection."""

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np

from active_storage.algebra.base import Algebra


class Ended(NamedTuple):
    """An element and its position, int64: the index in C order of the reduced axes; -1 without elements."""

    value: Any
    position: Any


class End(Algebra[Ended]):
    """The base of both. In a cell without elements, floats are NaN, and other numbers 0."""

    has_position = True

    def identity(self) -> Ended:
        return Ended(self.dtype.type(0), np.int64(-1))

    @abstractmethod
    def is_nearer(self, position: Any, other: Any) -> Any:
        """Whether the other position is nearer to the end than the first. Neither is -1."""

    def join(self, mine: Ended, my_counts: Any, other: Ended, other_counts: Any) -> Ended:
        is_nearer = (mine.position < 0) | self.is_nearer(mine.position, other.position)
        takes_other = (other.position >= 0) & is_nearer
        return Ended(
            np.where(takes_other, other.value, mine.value),
            np.where(takes_other, other.position, mine.position),
        )

    def finish(self, state: Ended, counts: Any) -> Any:
        return np.where(counts > 0, state.value, self.dtype.type(np.nan if self.dtype.kind in "fc" else 0))


class First(End):
    """The first element."""

    def is_nearer(self, position: Any, other: Any) -> Any:
        return other < position


class Last(End):
    """The last element."""

    def is_nearer(self, position: Any, other: Any) -> Any:
        return other > position

"""``argmax`` and ``argmin``: the position of an extremum in the selection; -1 if a cell has no elements."""

from typing import Any, ClassVar, NamedTuple

import numpy as np

from active_storage.algebra.base import Algebra
from active_storage.algebra.extrema import greatest, least


class ArgExtremum(NamedTuple):
    """The extremum and its position, int64: the index in C order of the reduced axes."""

    best: Any
    position: Any


class ArgExtreme(Algebra[ArgExtremum]):
    """The base of both. As in numpy, the first of equal elements counts, and NaN beats every number."""

    has_position = True
    is_before: ClassVar[np.ufunc]

    def join(self, mine: ArgExtremum, my_counts: Any, other: ArgExtremum, other_counts: Any) -> ArgExtremum:
        my_nan, other_nan = mine.best != mine.best, other.best != other.best  # only NaN is not itself
        is_better = np.where(other_nan, ~my_nan, self.is_before(other.best, mine.best) & ~my_nan)
        is_equal = (mine.best == other.best) | (my_nan & other_nan)
        is_first = is_better | (mine.position < 0) | (is_equal & (other.position < mine.position))
        takes_other = (other.position >= 0) & is_first
        return ArgExtremum(
            np.where(takes_other, other.best, mine.best),
            np.where(takes_other, other.position, mine.position),
        )

    def finish(self, state: ArgExtremum, counts: Any) -> Any:
        return state.position


class ArgMax(ArgExtreme):
    """The position of the largest element."""

    is_before = np.greater

    def identity(self) -> ArgExtremum:
        return ArgExtremum(least(self.dtype), np.int64(-1))


class ArgMin(ArgExtreme):
    """The position of the smallest element."""

    is_before = np.less

    def identity(self) -> ArgExtremum:
        return ArgExtremum(greatest(self.dtype), np.int64(-1))

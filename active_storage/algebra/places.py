"""``argmax`` and ``argmin``: the place of an extremum in the selection, -1 where there is none."""

from typing import Any, ClassVar, NamedTuple

import numpy as np

from active_storage.algebra.base import Algebra
from active_storage.algebra.extrema import greatest, least


class Place(NamedTuple):
    """The extremum, and where it is: int64, an index in C order of the selection, or along the axis that is reduced."""

    best: Any
    place: Any


class ArgExtreme(Algebra[Place]):
    """What the two share: of equals the first counts, and NaN is better than any number, as in numpy."""

    is_before: ClassVar[np.ufunc]

    def join(self, mine: Place, my_counts: Any, other: Place, other_counts: Any) -> Place:
        my_nan, other_nan = mine.best != mine.best, other.best != other.best  # only NaN is not itself
        is_better = np.where(other_nan, ~my_nan, self.is_before(other.best, mine.best) & ~my_nan)
        is_equal = (mine.best == other.best) | (my_nan & other_nan)
        is_first = is_better | (mine.place < 0) | (is_equal & (other.place < mine.place))
        takes_other = (other.place >= 0) & is_first
        return Place(
            np.where(takes_other, other.best, mine.best),
            np.where(takes_other, other.place, mine.place),
        )

    def finish(self, state: Place, counts: Any) -> Any:
        return state.place


class ArgMax(ArgExtreme):
    """The place of the largest element."""

    is_before = np.greater

    def identity(self) -> Place:
        return Place(least(self.dtype), np.int64(-1))


class ArgMin(ArgExtreme):
    """The place of the smallest element."""

    is_before = np.less

    def identity(self) -> Place:
        return Place(greatest(self.dtype), np.int64(-1))

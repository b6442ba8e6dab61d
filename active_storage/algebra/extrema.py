"""``max`` and ``min``."""

from typing import Any, ClassVar, NamedTuple

import numpy as np

from active_storage.algebra.base import Algebra, Dtype, highest, lowest


class Extremum(NamedTuple):
    """The largest element, or the smallest."""

    best: Any


def least(dtype: Dtype) -> Any:
    """What no element is below: for floats it lies beyond the lowest number."""
    return dtype.type(-np.inf) if dtype.kind == "f" else lowest(dtype)


def greatest(dtype: Dtype) -> Any:
    """What no element is above."""
    return dtype.type(np.inf) if dtype.kind == "f" else highest(dtype)


class Extreme(Algebra[Extremum]):
    """What maximum and minimum share: NaN propagates, and a cell of no elements has a number of the type."""

    ufunc: ClassVar[np.ufunc]

    def join(self, mine: Extremum, my_counts: Any, other: Extremum, other_counts: Any) -> Extremum:
        return Extremum(self.ufunc(mine.best, other.best))


class Max(Extreme):
    """The largest element; of nothing, the lowest number."""

    ufunc = np.maximum

    def identity(self) -> Extremum:
        return Extremum(least(self.dtype))

    def finish(self, state: Extremum, counts: Any) -> Any:
        return np.where(counts > 0, state.best, lowest(self.dtype))


class Min(Extreme):
    """The smallest element; of nothing, the highest number."""

    ufunc = np.minimum

    def identity(self) -> Extremum:
        return Extremum(greatest(self.dtype))

    def finish(self, state: Extremum, counts: Any) -> Any:
        return np.where(counts > 0, state.best, highest(self.dtype))

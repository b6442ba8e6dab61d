"""``max`` and ``min``."""

from typing import Any, ClassVar, NamedTuple

import numpy as np

from active_storage.algebra.base import Algebra, Dtype, highest, lowest


class Extremum(NamedTuple):
    """The largest element, or the smallest."""

    best: Any


def least(dtype: Dtype) -> Any:
    """The lower bound of all elements: minus infinity for floats."""
    return dtype.type(-np.inf) if dtype.kind == "f" else lowest(dtype)


def greatest(dtype: Dtype) -> Any:
    """The upper bound of all elements: infinity for floats."""
    return dtype.type(np.inf) if dtype.kind == "f" else highest(dtype)


class Extreme(Algebra[Extremum]):
    """The base of ``Max`` and ``Min``: NaN propagates, and a cell without elements has a finite value."""

    ufunc: ClassVar[np.ufunc]

    def join(self, mine: Extremum, my_counts: Any, other: Extremum, other_counts: Any) -> Extremum:
        return Extremum(self.ufunc(mine.best, other.best))


class Max(Extreme):
    """The largest element; without elements, the lowest number of the data type."""

    ufunc = np.maximum

    def identity(self) -> Extremum:
        return Extremum(least(self.dtype))

    def finish(self, state: Extremum, counts: Any) -> Any:
        return np.where(counts > 0, state.best, lowest(self.dtype))


class Min(Extreme):
    """The smallest element; without elements, the highest number of the data type."""

    ufunc = np.minimum

    def identity(self) -> Extremum:
        return Extremum(greatest(self.dtype))

    def finish(self, state: Extremum, counts: Any) -> Any:
        return np.where(counts > 0, state.best, highest(self.dtype))

"""``max``, ``min`` and ``range``."""

from typing import Any, ClassVar, NamedTuple

import numpy as np

from active_storage.algebra.base import Algebra, Dtype, highest, lowest


class Extremum(NamedTuple):
    """The largest element, or the smallest."""

    best: Any


class Extrema(NamedTuple):
    """The smallest and the largest element."""

    smallest: Any
    largest: Any


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


class Range(Algebra[Extrema]):
    """The largest element minus the smallest. Of signed integers it is unsigned, so that it never wraps."""

    def identity(self) -> Extrema:
        return Extrema(greatest(self.dtype), least(self.dtype))

    def join(self, mine: Extrema, my_counts: Any, other: Extrema, other_counts: Any) -> Extrema:
        return Extrema(np.minimum(mine.smallest, other.smallest), np.maximum(mine.largest, other.largest))

    def finish(self, state: Extrema, counts: Any) -> Any:
        is_float = self.dtype.kind == "f"
        # Unsigned integers wrap to the difference, and float64 has a range that float32 has not.
        wide = np.dtype(np.float64) if is_float else self.result_dtype
        apart = np.subtract(np.asarray(state.largest).astype(wide), np.asarray(state.smallest).astype(wide))
        return np.where(counts > 0, apart, np.nan if is_float else wide.type(0))

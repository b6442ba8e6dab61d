"""``var``, ``std`` and ``stats``: joined by the pairwise update of Chan, Golub and LeVeque (1979)."""

from typing import Any, NamedTuple

import numpy as np

from active_storage.algebra.base import Algebra
from active_storage.algebra.sums import mean_of, two_sum
from active_storage.model.spec import ReductionSpec


class Moments(NamedTuple):
    """The sum, its rounding error, and the sum of squared deviations from the mean, in float64."""

    total: Any
    error: Any
    m2: Any


class Summary(NamedTuple):
    """The same, with the smallest and the largest element."""

    total: Any
    error: Any
    m2: Any
    smallest: Any
    largest: Any


def _join_moments(mine: Moments | Summary, my_counts: Any, other: Moments | Summary, other_counts: Any) -> Moments:
    counts = np.maximum(my_counts + other_counts, 1)
    apart = other.total / np.maximum(other_counts, 1) - mine.total / np.maximum(my_counts, 1)
    # A side without elements has no mean, so that the difference of the means counts as 0.
    apart = np.where((my_counts > 0) & (np.asarray(other_counts) > 0), apart, 0.0)
    m2 = mine.m2 + other.m2 + apart * apart * (my_counts * (other_counts / counts))
    return Moments(*two_sum(mine.total, mine.error, other.total, other.error), m2)


class Var(Algebra[Moments]):
    """The sum of squared deviations, divided by the number of elements minus ``ddof``; NaN without elements."""

    def __init__(self, spec: ReductionSpec) -> None:
        super().__init__(spec)
        self._ddof = spec.ddof

    def identity(self) -> Moments:
        zero = np.float64(0)
        return Moments(zero, zero, zero)

    def join(self, mine: Moments, my_counts: Any, other: Moments, other_counts: Any) -> Moments:
        return _join_moments(mine, my_counts, other, other_counts)

    def finish(self, state: Moments, counts: Any) -> Any:
        return np.where(counts > 0, state.m2, np.nan) / np.maximum(counts - self._ddof, 0)


class Std(Var):
    """The square root of the variance."""

    def finish(self, state: Moments, counts: Any) -> Any:
        return np.sqrt(super().finish(state, counts))


class Stats(Algebra[Summary]):
    """Count, minimum, maximum, mean and ``m2``, stacked along a leading dimension."""

    def identity(self) -> Summary:
        zero = np.float64(0)
        return Summary(zero, zero, zero, np.float64(np.inf), np.float64(-np.inf))

    def join(self, mine: Summary, my_counts: Any, other: Summary, other_counts: Any) -> Summary:
        moments = _join_moments(mine, my_counts, other, other_counts)
        smallest, largest = np.minimum(mine.smallest, other.smallest), np.maximum(mine.largest, other.largest)
        return Summary(*moments, smallest, largest)

    def finish(self, state: Summary, counts: Any) -> Any:
        known = (np.where(counts > 0, values, np.nan) for values in (state.smallest, state.largest))
        mean = mean_of(state.total, state.error, counts)
        return np.stack([np.asarray(counts).astype(np.float64), *known, mean, state.m2])

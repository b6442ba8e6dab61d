"""``var``, ``std``, ``stats``, ``skew`` and ``kurtosis``.

Sums of squared deviations join by the pairwise update of Chan, Golub and LeVeque (1979), and those of third and fourth
powers by that of Pébay, "Formulas for Robust, One-Pass Parallel Computation of Covariances and Arbitrary-Order
Statistical Moments", Sandia report SAND2008-6212 (2008), equations 1.5 to 1.7.
"""

from abc import abstractmethod
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


class HigherMoments(NamedTuple):
    """The same as moments, with the sums of third and fourth powers of deviations from the mean."""

    total: Any
    error: Any
    m2: Any
    m3: Any
    m4: Any


_AnyMoments = Moments | Summary | HigherMoments


def _find_distance(mine: _AnyMoments, my_counts: Any, other: _AnyMoments, other_counts: Any) -> Any:
    """The other mean minus mine. A side without elements has no mean: then it is 0."""
    apart = other.total / np.maximum(other_counts, 1) - mine.total / np.maximum(my_counts, 1)
    return np.where((my_counts > 0) & (np.asarray(other_counts) > 0), apart, 0.0)


def _join_moments(mine: _AnyMoments, my_counts: Any, other: _AnyMoments, other_counts: Any) -> Moments:
    counts = np.maximum(my_counts + other_counts, 1)
    apart = _find_distance(mine, my_counts, other, other_counts)
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


class _Standardized(Algebra[HigherMoments]):
    """The base of ``Skew`` and ``Kurtosis``: a moment of the deviations, divided by a power of their variance."""

    def identity(self) -> HigherMoments:
        zero = np.float64(0)
        return HigherMoments(zero, zero, zero, zero, zero)

    def join(self, mine: HigherMoments, my_counts: Any, other: HigherMoments, other_counts: Any) -> HigherMoments:
        moments = _join_moments(mine, my_counts, other, other_counts)
        apart = _find_distance(mine, my_counts, other, other_counts)
        counts = np.maximum(my_counts + other_counts, 1)
        # The shares of the elements, and the harmonic number of both.
        share, other_share = my_counts / counts, other_counts / counts
        both = my_counts * other_share
        m3 = (
            mine.m3
            + other.m3
            + apart**3 * both * (share - other_share)
            + 3 * apart * (share * other.m2 - other_share * mine.m2)
        )
        m4 = (
            mine.m4
            + other.m4
            + apart**4 * both * (share**2 - share * other_share + other_share**2)
            + 6 * apart**2 * (share**2 * other.m2 + other_share**2 * mine.m2)
            + 4 * apart * (share * other.m3 - other_share * mine.m3)
        )
        return HigherMoments(*moments, m3, m4)

    def finish(self, state: HigherMoments, counts: Any) -> Any:
        number = np.maximum(counts, 1)
        variance = state.m2 / number
        # As scipy.stats: NaN if all elements are equal, except for the rounding of their mean.
        noise = np.finfo(np.float64).eps * mean_of(state.total, state.error, counts)
        is_known = (counts > 0) & ~(variance <= noise * noise)
        return np.where(is_known, self.standardize(state, number, variance), np.nan)

    @abstractmethod
    def standardize(self, state: HigherMoments, counts: Any, variance: Any) -> Any:
        """The value of each cell, where the counts are 1 or more and the variance is not 0."""


class Skew(_Standardized):
    """The third standardized moment, as ``scipy.stats.skew`` with its defaults."""

    def standardize(self, state: HigherMoments, counts: Any, variance: Any) -> Any:
        return state.m3 / counts / variance**1.5


class Kurtosis(_Standardized):
    """The fourth standardized moment minus 3, as ``scipy.stats.kurtosis`` with its defaults."""

    def standardize(self, state: HigherMoments, counts: Any, variance: Any) -> Any:
        return state.m4 / counts / variance**2 - 3.0

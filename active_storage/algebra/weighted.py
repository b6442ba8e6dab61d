"""``sum``, ``mean``, ``var``, ``std`` and ``sum_of_weights`` of elements that have weights.

As xarray defines them (``xarray.computation.weighted``): a missing element has no weight, the variance is the weighted
mean of the squared deviations from the weighted mean, and where all weights are 0 there is no mean. Variances join by
the update of Chan, Golub and LeVeque (1979) with weights in place of counts.
"""

from typing import Any, NamedTuple

import numpy as np

from active_storage.algebra.base import Algebra
from active_storage.algebra.sums import rounded, two_sum


class WeightedTotal(NamedTuple):
    """The sum of elements times weights, its rounding error, and the sum of weights, in float64."""

    total: Any
    error: Any
    weight: Any


class WeightedMoments(NamedTuple):
    """The same, and the weighted sum of squared deviations from the weighted mean."""

    total: Any
    error: Any
    weight: Any
    m2: Any


class WeightedSum(Algebra[WeightedTotal]):
    """The sum of elements times their weights."""

    def identity(self) -> WeightedTotal:
        zero = np.float64(0)
        return WeightedTotal(zero, zero, zero)

    def join(self, mine: WeightedTotal, my_counts: Any, other: WeightedTotal, other_counts: Any) -> WeightedTotal:
        return WeightedTotal(*two_sum(mine.total, mine.error, other.total, other.error), mine.weight + other.weight)

    def finish(self, state: WeightedTotal, counts: Any) -> Any:
        return rounded(state.total, state.error)


class WeightedMean(WeightedSum):
    """The weighted sum, divided by the sum of weights; NaN where that is 0."""

    def finish(self, state: WeightedTotal, counts: Any) -> Any:
        return divided(rounded(state.total, state.error), state.weight)


class SumOfWeights(WeightedSum):
    """The sum of the weights of all present elements; NaN where it is 0."""

    def finish(self, state: WeightedTotal, counts: Any) -> Any:
        return np.where(np.asarray(state.weight) != 0, state.weight, np.nan)


class WeightedVar(Algebra[WeightedMoments]):
    """The weighted mean of squared deviations from the weighted mean; NaN where the sum of weights is 0."""

    def identity(self) -> WeightedMoments:
        zero = np.float64(0)
        return WeightedMoments(zero, zero, zero, zero)

    def join(self, mine: WeightedMoments, my_counts: Any, other: WeightedMoments, other_counts: Any) -> WeightedMoments:
        weight = mine.weight + other.weight
        apart = divided(other.total, other.weight) - divided(mine.total, mine.weight)
        # A side without weight has no mean, so that the difference of the means counts as 0.
        has_both = (np.asarray(mine.weight) != 0) & (np.asarray(other.weight) != 0)
        apart = np.where(has_both, apart, 0.0)
        between = apart * apart * np.where(has_both, mine.weight * divided(other.weight, weight), 0.0)
        total, error = two_sum(mine.total, mine.error, other.total, other.error)
        return WeightedMoments(total, error, weight, mine.m2 + other.m2 + between)

    def finish(self, state: WeightedMoments, counts: Any) -> Any:
        return divided(state.m2, state.weight)


class WeightedStd(WeightedVar):
    """The square root of the weighted variance."""

    def finish(self, state: WeightedMoments, counts: Any) -> Any:
        return np.sqrt(super().finish(state, counts))


def divided(total: Any, weight: Any) -> Any:
    """A weighted total of each cell divided by its weight; NaN where the weight is 0."""
    return np.where(np.asarray(weight) != 0, total, np.nan) / np.where(np.asarray(weight) != 0, weight, 1.0)

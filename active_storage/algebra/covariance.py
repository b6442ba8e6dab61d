"""``cov`` and ``corr`` of two arrays, whose elements are taken in pairs.

A pair is missing if one of its elements is. Partial results join by the pairwise update of Schubert and Gertz
("Numerically stable parallel computation of (co-)variance", 2018): that of Chan, Golub and LeVeque, for two arrays.
"""

from typing import Any, NamedTuple

import numpy as np

from active_storage.algebra.base import Algebra
from active_storage.algebra.sums import two_sum
from active_storage.model.spec import ReductionSpec


class Comoments(NamedTuple):
    """Sums, their errors and sums of squared deviations of both arrays, and the sum of products of deviations."""

    total: Any
    error: Any
    m2: Any
    other_total: Any
    other_error: Any
    other_m2: Any
    products: Any


class Cov(Algebra[Comoments]):
    """The sum of products of deviations, divided by the number of pairs minus ``ddof``; NaN without pairs."""

    def __init__(self, spec: ReductionSpec) -> None:
        super().__init__(spec)
        self._ddof = spec.ddof

    def identity(self) -> Comoments:
        zero = np.float64(0)
        return Comoments(zero, zero, zero, zero, zero, zero, zero)

    def join(self, mine: Comoments, my_counts: Any, other: Comoments, other_counts: Any) -> Comoments:
        share = my_counts * (other_counts / np.maximum(my_counts + other_counts, 1))
        # A side without pairs has no mean, so that the differences of the means count as 0.
        has_both = (np.asarray(my_counts) > 0) & (np.asarray(other_counts) > 0)
        apart = _find_apart(mine.total, my_counts, other.total, other_counts, has_both)
        other_apart = _find_apart(mine.other_total, my_counts, other.other_total, other_counts, has_both)
        return Comoments(
            *two_sum(mine.total, mine.error, other.total, other.error),
            mine.m2 + other.m2 + apart * apart * share,
            *two_sum(mine.other_total, mine.other_error, other.other_total, other.other_error),
            mine.other_m2 + other.other_m2 + other_apart * other_apart * share,
            mine.products + other.products + apart * other_apart * share,
        )

    def finish(self, state: Comoments, counts: Any) -> Any:
        return np.where(counts > 0, state.products, np.nan) / np.maximum(counts - self._ddof, 0)


class Corr(Cov):
    """The covariance divided by both standard deviations; NaN if one of them is 0."""

    def finish(self, state: Comoments, counts: Any) -> Any:
        return np.where(counts > 0, state.products, np.nan) / (np.sqrt(state.m2) * np.sqrt(state.other_m2))


def _find_apart(total: Any, counts: Any, other_total: Any, other_counts: Any, has_both: Any) -> Any:
    """The difference of the means of two sides."""
    return np.where(has_both, other_total / np.maximum(other_counts, 1) - total / np.maximum(counts, 1), 0.0)

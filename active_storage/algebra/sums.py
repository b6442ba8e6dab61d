"""``sum``, ``mean``, and of squares ``rms`` and ``norm``.

Integers are added in the data type of the result, where they wrap. Floats are added in float64. When totals of pieces
join, the rounding error of each addition is kept (``two_sum``: Knuth, TAOCP vol. 2, 4.2.2, theorem B) and added at the
end. For narrower data types, the totals of a run of neighbouring pieces are added plainly first.
"""

from typing import Any, NamedTuple

import numpy as np

from active_storage.algebra.base import Algebra, Dtype


class IntegerTotal(NamedTuple):
    """The sum so far, in the data type of the result."""

    total: Any


class Total(NamedTuple):
    """The sum so far in float64 or complex128, and its rounding error."""

    total: Any
    error: Any


class IntegerSum(Algebra[IntegerTotal]):
    """The sum of integers, which wraps. The sum of bools is whether any is true."""

    def identity(self) -> IntegerTotal:
        return IntegerTotal(self.result_dtype.type(0))

    def join(self, mine: IntegerTotal, my_counts: Any, other: IntegerTotal, other_counts: Any) -> IntegerTotal:
        return IntegerTotal(np.add(mine.total, other.total))

    def finish(self, state: IntegerTotal, counts: Any) -> Any:
        return state.total


class FloatSum(Algebra[Total]):
    """The sum of floats, in twice the precision of float64."""

    def identity(self) -> Total:
        zero = wide(self.dtype).type(0)
        return Total(zero, zero)

    def join(self, mine: Total, my_counts: Any, other: Total, other_counts: Any) -> Total:
        return Total(*two_sum(mine.total, mine.error, other.total, other.error))

    @property
    def adds_up(self) -> bool:
        return self.dtype.itemsize < wide(self.dtype).itemsize

    def add_up(self, mine: Total, other: Total) -> Total:
        total = mine.total
        # In place, if it is an array.
        total += other.total
        return Total(total, 0.0)

    def finish(self, state: Total, counts: Any) -> Any:
        return rounded(state.total, state.error)


class Mean(FloatSum):
    """The sum divided by the number of elements; NaN without elements."""

    def finish(self, state: Total, counts: Any) -> Any:
        return mean_of(state.total, state.error, counts)


class RootMeanSquare(FloatSum):
    """The square root of the mean of squares, from their sum; NaN without elements."""

    def finish(self, state: Total, counts: Any) -> Any:
        return np.sqrt(mean_of(state.total, state.error, counts))


class Norm(FloatSum):
    """The square root of the sum of squares, from that sum: the Euclidean norm; 0 without elements."""

    def finish(self, state: Total, counts: Any) -> Any:
        return np.sqrt(rounded(state.total, state.error))


def wide(dtype: Dtype) -> Dtype:
    """The data type in which elements are added."""
    return np.dtype(np.complex128 if dtype.kind == "c" else np.float64)


def two_sum(total: Any, error: Any, other_total: Any, other_error: Any) -> tuple[Any, Any]:
    """The sum of two totals with their errors, and its error."""
    joined = total + other_total
    taken = joined - total
    lost = other_total - taken
    # The error of the first total. In place, since making arrays takes longer than adding them.
    taken -= joined
    taken += total
    lost += taken
    lost += error
    lost += other_error
    return joined, lost


def rounded(total: Any, error: Any) -> Any:
    """A total and its error as one number."""
    corrected, is_finite = total + error, np.isfinite(total)
    # If the total is infinite or NaN, its error is NaN and has no meaning.
    return corrected if is_finite.all() else np.where(is_finite, corrected, total)


def mean_of(total: Any, error: Any, counts: Any) -> Any:
    """The mean of each cell; NaN without elements."""
    return np.where(counts > 0, rounded(total, error), np.nan) / np.maximum(counts, 1)

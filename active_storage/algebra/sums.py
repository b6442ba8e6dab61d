"""``sum`` and ``mean``.

Integers are added up in the type of the result, where they wrap. Floats are added up in float64, and the totals of
pieces join with the error of every addition (``two_sum``: Knuth, TAOCP vol. 2, 4.2.2, theorem B), which is added at the
end. Of types narrower than that, neighbouring pieces are added up plainly first: a run of them is like one piece.
"""

from typing import Any, NamedTuple

import numpy as np

from active_storage.algebra.base import Algebra, Dtype


class IntegerTotal(NamedTuple):
    """The sum so far, in the type of the result."""

    total: Any


class Total(NamedTuple):
    """The sum so far in float64 or complex128, and what rounding lost on the way."""

    total: Any
    error: Any


class IntegerSum(Algebra[IntegerTotal]):
    """Wraps. Of bool, whether any is true."""

    def identity(self) -> IntegerTotal:
        return IntegerTotal(self.result_dtype.type(0))

    def join(self, mine: IntegerTotal, my_counts: Any, other: IntegerTotal, other_counts: Any) -> IntegerTotal:
        return IntegerTotal(np.add(mine.total, other.total))

    def finish(self, state: IntegerTotal, counts: Any) -> Any:
        return state.total


class FloatSum(Algebra[Total]):
    """The sum in twice float64's precision."""

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
        # In place, where it is an array.
        total += other.total
        return Total(total, 0.0)

    def finish(self, state: Total, counts: Any) -> Any:
        return rounded(state.total, state.error)


class Mean(FloatSum):
    """The sum divided by the number of elements; of nothing, NaN."""

    def finish(self, state: Total, counts: Any) -> Any:
        return mean_of(state.total, state.error, counts)


def wide(dtype: Dtype) -> Dtype:
    """The type that elements are added up in."""
    return np.dtype(np.complex128 if dtype.kind == "c" else np.float64)


def two_sum(total: Any, error: Any, other_total: Any, other_error: Any) -> tuple[Any, Any]:
    """The sum of two totals, each with its error, and the error of that."""
    joined = total + other_total
    taken = joined - total
    lost = other_total - taken
    # What the joined total lost of the first: in place, since making arrays takes longer than adding them up.
    taken -= joined
    taken += total
    lost += taken
    lost += error
    lost += other_error
    return joined, lost


def rounded(total: Any, error: Any) -> Any:
    """A total and its error as one number."""
    corrected, is_finite = total + error, np.isfinite(total)
    # Where the total is infinite or NaN, the error of getting there is NaN and says nothing.
    return corrected if is_finite.all() else np.where(is_finite, corrected, total)


def mean_of(total: Any, error: Any, counts: Any) -> Any:
    """The mean of each cell; NaN where it has no elements."""
    return np.where(counts > 0, rounded(total, error), np.nan) / np.maximum(counts, 1)

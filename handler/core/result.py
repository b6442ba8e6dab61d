"""From numbers to bytes: the result as every door sends it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from active_storage.algebra import Reduced
from handler.core.select import Plan
from handler.spec import DTYPES, REDUCERS, Order, ReductionSpec

# How many counts a description lists: more than any header holds, and nothing that a shape could make large.
_MAX_DESCRIBED_COUNTS = 1024


@dataclass(frozen=True, slots=True)
class Result:
    """A result, or what can be told of one before there is any.

    Attributes:
        dtype: Of its values, a name in ``DTYPES``.
        shape: Of its values; () for a single one.
        counts: How many elements each value stands for, in the order of the data, as int64 where they are counted
            already; None where that is not known yet, or too many to tell in a description.
        count_total: Their sum, None where that is not known yet.
        empty_total: How many values stand for no element at all, None where that is not known yet.
        data: The values, little-endian: in C order, but in F order where data of F order is not reduced; empty in a
            description.
    """

    dtype: str
    shape: tuple[int, ...]
    counts: Sequence[int] | None
    count_total: int | None
    empty_total: int | None
    data: bytes = b""

    @classmethod
    def of(cls, spec: ReductionSpec, plan: Plan, reduced: Reduced) -> Self:
        """The result that ``reduced`` is."""
        values = _arrange(spec, plan, reduced.values)
        values = values.astype(values.dtype.newbyteorder("<"), copy=False)
        order: Order = "F" if _keeps_order(spec) else "C"
        # No Python numbers of millions of cells: they would take several times the memory of the result.
        counts = plan.arrange(reduced.counts).ravel(order=order).data
        total, present = int(reduced.counts.sum()), np.count_nonzero(reduced.counts)
        empty = 0 if REDUCERS[spec.reducer].keeps_elements else reduced.counts.size - int(present)
        return cls(spec.result_dtype, values.shape, counts, total, empty, values.tobytes(order=order))

    @classmethod
    def describe(cls, spec: ReductionSpec, plan: Plan) -> Self:
        """The result that a walk will have, without its data."""
        rule = REDUCERS[spec.reducer]
        cells = plan.result_shape
        shape = (rule.leading, *cells) if rule.leading else cells
        if spec.missing is not None:
            return cls(spec.result_dtype, shape, None, None, None)
        total = plan.count_selected
        number = 1 if rule.keeps_elements else math.prod(cells)
        counts = (total // number if number else 0,) * number if number <= _MAX_DESCRIBED_COUNTS else None
        empty = 0 if total or rule.keeps_elements else number
        return cls(spec.result_dtype, shape, counts, total, empty)

    def with_nan_where_empty(self) -> Self:
        """The same, with NaN for each float value that stands for no element; other types have no NaN.

        Copies the values where there is such a value.
        """
        if not self.empty_total or not self.data or DTYPES[self.dtype].kind != "f":
            return self
        values = np.frombuffer(self.data, DTYPES[self.dtype].newbyteorder("<")).copy()
        values[np.asarray(self.counts) == 0] = np.nan
        return replace(self, data=values.tobytes())

    @property
    def length(self) -> int:
        """The size of its data, in bytes."""
        return DTYPES[self.dtype].itemsize * math.prod(self.shape)


def _arrange(spec: ReductionSpec, plan: Plan, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if REDUCERS[spec.reducer].leading:
        return np.stack([plan.arrange(each) for each in values])
    return plan.arrange(values)


def _keeps_order(spec: ReductionSpec) -> bool:
    return spec.order == "F" and not spec.reduced_axes and not REDUCERS[spec.reducer].leading

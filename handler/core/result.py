"""From numbers to bytes: the result as every door sends it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from handler.core.reduce import Reduced
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
        data: The values, little-endian: in C order, but in F order where data of F order is not reduced; empty in a
            description.
        has_gaps: Whether a value has no element behind it, of a reducer that has none for that.
    """

    dtype: str
    shape: tuple[int, ...]
    counts: Sequence[int] | None
    count_total: int | None
    data: bytes = b""
    has_gaps: bool = False

    @classmethod
    def of(cls, spec: ReductionSpec, plan: Plan, reduced: Reduced) -> Self:
        """The result that ``reduced`` is."""
        values = _arrange(spec, plan, reduced.values)
        values = values.astype(values.dtype.newbyteorder("<"), copy=False)
        order: Order = "F" if _keeps_order(spec) else "C"
        # No Python numbers of millions of cells: they would take several times the memory of the result.
        counts = plan.arrange(reduced.counts).ravel(order=order).data
        has_gaps = REDUCERS[spec.reducer].needs_elements and not reduced.counts.all()
        total = int(reduced.counts.sum())
        return cls(spec.result_dtype, values.shape, counts, total, values.tobytes(order=order), has_gaps)

    @classmethod
    def describe(cls, spec: ReductionSpec, plan: Plan) -> Self:
        """The result that a walk will have, without its data."""
        rule = REDUCERS[spec.reducer]
        cells = plan.cells[::-1] if plan.order == "F" else plan.cells
        shape = (rule.leading, *cells) if rule.leading else cells
        if spec.missing is not None:
            return cls(spec.result_dtype, shape, None, None)
        total = plan.count_selected
        number = 1 if rule.keeps_elements else math.prod(cells)
        counts = (total // number if number else 0,) * number if number <= _MAX_DESCRIBED_COUNTS else None
        return cls(spec.result_dtype, shape, counts, total, has_gaps=rule.needs_elements and number > 0 and total == 0)

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

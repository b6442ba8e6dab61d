"""From numbers to bytes: the result as every door sends it."""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from handler.core.reduce import Reduced
from handler.core.select import Plan
from handler.spec import DTYPES, REDUCERS, Order, ReductionSpec


@dataclass(frozen=True, slots=True)
class Result:
    """A result, or what can be told of one before there is any.

    Attributes:
        dtype: Of its values, a name in ``DTYPES``.
        shape: Of its values; () for a single one.
        counts: How many elements each value stands for, in the order of the data; None where that is not known yet.
        data: The values, little-endian: in C order, but in F order where data of F order is not reduced; empty in a
            description.
        has_gaps: Whether a value that no element stands for is a value all the same.
    """

    dtype: str
    shape: tuple[int, ...]
    counts: tuple[int, ...] | None
    data: bytes = b""
    has_gaps: bool = False

    @classmethod
    def of(cls, spec: ReductionSpec, plan: Plan, reduced: Reduced) -> Self:
        """The result that ``reduced`` is."""
        values = _arrange(spec, plan, reduced.values)
        values = values.astype(values.dtype.newbyteorder("<"), copy=False)
        order: Order = "F" if _keeps_order(spec) else "C"
        counts = plan.arrange(reduced.counts).ravel(order=order).tolist()
        has_gaps = REDUCERS[spec.reducer].needs_elements and not all(counts)
        return cls(spec.result_dtype, values.shape, tuple(counts), values.tobytes(order=order), has_gaps)

    @classmethod
    def describe(cls, spec: ReductionSpec, plan: Plan) -> Self:
        """The result that a walk will have, without its data."""
        rule = REDUCERS[spec.reducer]
        cells = plan.cells[::-1] if plan.order == "F" else plan.cells
        shape = (rule.leading, *cells) if rule.leading else cells
        if spec.missing is not None:
            return cls(spec.result_dtype, shape, None)
        if spec.reducer == "select":
            counts: tuple[int, ...] = (plan.count_selected,)
        else:
            number = math.prod(cells)
            counts = (plan.count_selected // number if number else 0,) * number
        return cls(spec.result_dtype, shape, counts, has_gaps=rule.needs_elements and not all(counts))

    @property
    def length(self) -> int:
        """The size of its data, in bytes."""
        return DTYPES[self.dtype].itemsize * math.prod(self.shape)


def _arrange(spec: ReductionSpec, plan: Plan, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if REDUCERS[spec.reducer].leading:
        return np.stack([plan.arrange(each) for each in values])
    return plan.arrange(values)


def _keeps_order(spec: ReductionSpec) -> bool:
    is_reduced = spec.reducer != "select" and spec.axis != ()
    return spec.order == "F" and not is_reduced and not REDUCERS[spec.reducer].leading

"""The result: from numbers to the bytes that every door sends."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from active_storage.algebra import Reduced
from active_storage.errors import NothingToReduce
from active_storage.model.dtypes import DTYPES, Order
from active_storage.model.reducers import ARRAY_REDUCERS
from active_storage.model.spec import ReductionSpec
from handler.kernels.walk import Array, Walk

# The maximum number of counts in a description: more than a header can contain. A shape could ask for more memory.
_MAX_DESCRIBED_COUNTS = 1024


@dataclass(frozen=True, slots=True)
class Result:
    """A result, or the description of one before it is computed.

    Attributes:
        dtype: The data type of the values, a name in ``DTYPES``.
        shape: The shape of the values; () for a single one.
        counts: The number of elements of each cell, in the order of the data, as int64 in a result; None in a
            description that does not know them, or if they are too many for it.
        count_total: The sum of the counts; None if it is not known yet.
        empty_total: The number of cells without elements; None if it is not known yet.
        data: The values, little-endian and in C order; in F order if data of F order is not reduced along any axis;
            empty in a description.
    """

    dtype: str
    shape: tuple[int, ...]
    counts: Sequence[int] | None
    count_total: int | None
    empty_total: int | None
    data: bytes = b""

    @classmethod
    def of(cls, spec: ReductionSpec, walk: Walk, reduced: Reduced) -> Self:
        """The result of a reduction's numbers."""
        values, counts = _arrange(spec, walk, reduced.values), walk.arrange(reduced.counts)
        return cls.of_numbers(spec.reducer, values, counts, "F" if _keeps_order(spec) else "C")

    @classmethod
    def of_numbers(cls, reducer: str, values: Array, counts: Array, order: Order = "C") -> Self:
        """The result with these values and counts, in the caller's order of dimensions.

        Args:
            reducer: A name in ``ARRAY_REDUCERS``.
            values: The values, in the data type of the result.
            counts: The number of elements of each cell, int64; of all cells for a reducer that keeps elements.
            order: The order in which the values are written.
        """
        little = values.astype(values.dtype.newbyteorder("<"), copy=False)
        empty = 0 if ARRAY_REDUCERS[reducer].keeps_elements else counts.size - int(np.count_nonzero(counts))
        # A memoryview: Python numbers for millions of cells would take several times the memory of the result.
        flat = counts.ravel(order=order).data
        return cls(values.dtype.name, values.shape, flat, int(counts.sum()), empty, little.tobytes(order=order))

    @classmethod
    def describe(cls, spec: ReductionSpec, walk: Walk) -> Self:
        """The description of the result of a walk."""
        rule, cells = ARRAY_REDUCERS[spec.reducer], walk.result_shape
        shape = (*spec.leading, *cells, *spec.trailing)
        if spec.missing is not None:
            return cls(spec.result_dtype, shape, None, None, None)
        total = walk.count_selected
        number = 1 if rule.keeps_elements else math.prod(cells)
        counts = (total // number if number else 0,) * number if number <= _MAX_DESCRIBED_COUNTS else None
        empty = 0 if total or rule.keeps_elements else number
        return cls(spec.result_dtype, shape, counts, total, empty)

    def ensure_not_empty(self, reducer: str) -> None:
        """Pass unless it is a single value of no elements, and the reducer has no value for no elements.

        For doors whose replies cannot say that a value is empty.

        Raises:
            NothingToReduce: It is the maximum of no elements, for instance.
        """
        if ARRAY_REDUCERS[reducer].needs_elements and self.empty_total and not self.shape:
            raise NothingToReduce(f"{reducer} needs at least one element: none is selected, or all are missing")

    def with_nan_where_empty(self) -> Self:
        """The same with NaN in each cell without elements, if the data type is a float.

        Copies the values if there is such a cell.
        """
        if not self.empty_total or not self.data or DTYPES[self.dtype].kind != "f":
            return self
        values = np.frombuffer(self.data, DTYPES[self.dtype].newbyteorder("<")).copy()
        values[np.asarray(self.counts) == 0] = np.nan
        return replace(self, data=values.tobytes())

    @property
    def length(self) -> int:
        """The size of the data, in bytes."""
        return DTYPES[self.dtype].itemsize * math.prod(self.shape)

    @property
    def memory_bytes(self) -> int:
        """The memory of the data and the counts, in bytes."""
        return len(self.data) + 8 * len(self.counts or ())


def _arrange(spec: ReductionSpec, walk: Walk, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if spec.leading:
        return np.stack([walk.arrange(each) for each in values])
    return walk.arrange(values, spec.trailing)


def _keeps_order(spec: ReductionSpec) -> bool:
    return spec.order == "F" and not spec.reduced_axes and not spec.leading and not spec.trailing

"""The spec of a reduction: what to compute, from which elements, and where their bytes are.

Building a ``ReductionSpec`` validates it. One that exists is valid, so that nothing below the doors checks again.
"""

import math
import sys
from dataclasses import KW_ONLY, dataclass
from typing import get_args

import numpy as np

from active_storage.errors import InvalidArgument, UnknownReducer, shown
from active_storage.model.codecs import CODECS
from active_storage.model.dtypes import DTYPES, MAX_BYTES, MAX_DIMENSIONS, SUM_DTYPES, ByteOrder, Order
from active_storage.model.edges import MOST_BINS, ensure_edges
from active_storage.model.missing import Missing, Number
from active_storage.model.ranges import ByteRange, Slice
from active_storage.model.reducers import ARRAY_REDUCERS, REDUCERS
from active_storage.model.steps import Step

_BYTE_ORDERS, _ORDERS = get_args(ByteOrder), get_args(Order)

# Above every number of elements, and small enough that the divisor fits int64.
_MAX_DDOF = 2**62


@dataclass(frozen=True, slots=True)
class ReductionSpec:
    """A reduction.

    Attributes:
        reducer: A name in ``REDUCERS``; with weights or a second array also one in ``ARRAY_REDUCERS``.
        dtype: The data type of the elements, a name in ``DTYPES``.
        byte_order: The byte order of the source; a result is always little-endian.
        shape: The shape of the array; None for one dimension with all elements.
        order: The order of the source, and of a result that keeps all dimensions.
        selection: One slice for each dimension, applied before the reduction; None for everything.
        axis: The axes that are reduced, ascending and not negative; None for all, () for none.
        offset: The position of the data in the object, in bytes.
        size: The size of the data as stored, in bytes; None for the rest of the object.
        steps: The encoding, in the order of writing: filters, then a compression.
        missing: Which elements are missing; None if all are present.
        sum_dtype: The data type in which a ``sum`` is computed and returned, a name in ``SUM_DTYPES``; None for the
            reducer's own.
        ddof: For ``var`` and ``std``: the number that is subtracted from the number of elements in the divisor.
        edges: For ``histogram``: the beginning of each bin, and the end of the last; None for bins of ordered bits.
        range: The bytes of the object that hold the data, instead of ``offset`` and ``size``.
        is_weighted: Whether elements have weights. They are not a part of the spec.
        has_other: Whether a second array has as many elements. It is not a part of the spec.

    Raises:
        UnknownReducer: There is no reducer of that name.
        InvalidArgument: A field has a wrong value; the error's ``field`` names it.
    """

    reducer: str
    dtype: str
    byte_order: ByteOrder = sys.byteorder
    _: KW_ONLY
    shape: tuple[int, ...] | None = None
    order: Order = "C"
    selection: tuple[Slice, ...] | None = None
    axis: tuple[int, ...] | None = None
    offset: int = 0
    size: int | None = None
    steps: tuple[Step, ...] = ()
    missing: Missing | None = None
    sum_dtype: str | None = None
    ddof: int = 0
    edges: tuple[Number, ...] | None = None
    range: ByteRange | None = None
    is_weighted: bool = False
    has_other: bool = False

    def __post_init__(self) -> None:
        _ensure_kind(self)
        _ensure_bytes(self)
        _ensure_arrangement(self)
        object.__setattr__(self, "axis", _normal_axis(self))
        if self.missing is not None:
            object.__setattr__(self, "missing", self.missing.fitted(self.dtype))
        object.__setattr__(self, "sum_dtype", _normal_sum_dtype(self))
        if self.ddof and not ARRAY_REDUCERS[self.reducer].takes_ddof:
            takers = ", ".join(name for name, rule in REDUCERS.items() if rule.takes_ddof)
            raise InvalidArgument("ddof", f"is a parameter of {takers}, not of {self.reducer}")
        if abs(self.ddof) > _MAX_DDOF:
            raise InvalidArgument("ddof", f"should be from {-_MAX_DDOF} to {_MAX_DDOF}")
        if self.edges is not None:
            object.__setattr__(self, "edges", ensure_edges(self.edges, self.reducer))

    @property
    def element_bytes(self) -> int:
        """The size of one element, in bytes."""
        return DTYPES[self.dtype].itemsize

    @property
    def dimensions(self) -> int:
        """The number of dimensions of the array."""
        return 1 if self.shape is None else len(self.shape)

    @property
    def reduced_axes(self) -> tuple[int, ...]:
        """The axes that the result does not have, ascending."""
        if ARRAY_REDUCERS[self.reducer].keeps_elements:
            return ()
        return tuple(range(self.dimensions)) if self.axis is None else self.axis

    @property
    def leading(self) -> tuple[int, ...]:
        """The shape of the dimensions of the result before those of its cells."""
        size = ARRAY_REDUCERS[self.reducer].leading
        return (size,) if size else ()

    @property
    def trailing(self) -> tuple[int, ...]:
        """The shape of the dimensions of the result after those of its cells: the number of bins of a histogram."""
        if not ARRAY_REDUCERS[self.reducer].has_bins:
            return ()
        # Without edges, there are as many bins as the data type has numbers, up to a limit.
        bits = 8 * self.element_bytes
        return (min(1 << bits, MOST_BINS) if self.edges is None else len(self.edges) - 1,)

    @property
    def compression(self) -> str | None:
        """The id of the last step, if it compresses. A store may announce the same ``Content-Encoding``."""
        return self.steps[-1].id if self.steps and CODECS[self.steps[-1].id].compresses else None

    @property
    def is_encoded(self) -> bool:
        """Whether the stored bytes differ from the elements."""
        return bool(self.steps)

    @property
    def result_dtype(self) -> str:
        """The result's data type, a name in ``DTYPES``."""
        return "float64" if self.is_weighted else self.sum_dtype or _own_result_dtype(self)


def _ensure_kind(spec: ReductionSpec) -> None:
    if spec.reducer not in (ARRAY_REDUCERS if spec.is_weighted or spec.has_other else REDUCERS):
        raise UnknownReducer(f"unknown reducer {shown(spec.reducer)}; the reducers are {', '.join(REDUCERS)}")
    if spec.dtype not in DTYPES:
        raise InvalidArgument("dtype", f"unknown data type {shown(spec.dtype)}; the data types are {', '.join(DTYPES)}")
    if DTYPES[spec.dtype].kind not in ARRAY_REDUCERS[spec.reducer].kinds:
        raise InvalidArgument("dtype", f"{spec.reducer} is not defined for {spec.dtype} elements")
    if spec.is_weighted and DTYPES[spec.dtype].kind == "c":
        raise InvalidArgument("weights", f"are not supported for {spec.dtype} elements")
    if spec.byte_order not in _BYTE_ORDERS:
        raise InvalidArgument("byte_order", f"is {shown(spec.byte_order)}, not 'little' or 'big'")
    if spec.order not in _ORDERS:
        raise InvalidArgument("order", f"is {shown(spec.order)}, not 'C' or 'F'")


def _ensure_bytes(spec: ReductionSpec) -> None:
    if not 0 <= spec.offset <= MAX_BYTES:
        raise InvalidArgument("offset", f"should be from 0 to {MAX_BYTES}")
    if spec.size is not None and not 1 <= spec.size <= MAX_BYTES:
        raise InvalidArgument("size", f"should be from 1 to {MAX_BYTES}")
    if spec.range is not None and (spec.offset or spec.size is not None):
        raise InvalidArgument("Range", "cannot be given together with offset or size")
    if spec.offset + (spec.size or 0) > MAX_BYTES:
        raise InvalidArgument("size", f"offset and size together should be at most {MAX_BYTES}")


def _ensure_arrangement(spec: ReductionSpec) -> None:
    if spec.shape is not None:
        if len(spec.shape) > MAX_DIMENSIONS:
            raise InvalidArgument("shape", f"has {len(spec.shape)} dimensions; the maximum is {MAX_DIMENSIONS}")
        for index, size in enumerate(spec.shape):
            if size < 1:
                raise InvalidArgument("shape", f"is {size}, and should be 1 or more", index)
        data_bytes = math.prod(spec.shape) * spec.element_bytes
        if data_bytes > MAX_BYTES:
            raise InvalidArgument("shape", f"takes more than {MAX_BYTES} bytes, the maximum")
        if not spec.is_encoded and spec.offset + data_bytes > MAX_BYTES:
            raise InvalidArgument("shape", f"offset and the bytes of the shape together should be at most {MAX_BYTES}")
        if spec.size is not None and not spec.is_encoded and spec.size != data_bytes:
            raise InvalidArgument("size", f"is {spec.size} bytes, and the elements of the shape take {data_bytes}")
    if spec.selection is not None and len(spec.selection) != spec.dimensions:
        raise InvalidArgument("selection", f"has {len(spec.selection)} dimensions, and the shape has {spec.dimensions}")


def _normal_axis(spec: ReductionSpec) -> tuple[int, ...] | None:
    if spec.axis is None:
        return None
    count = spec.dimensions
    for axis in spec.axis:
        if not -count <= axis < count:
            raise InvalidArgument("axis", f"names axis {axis}, which an array of {count} dimensions does not have")
    normal = tuple(sorted(axis % count for axis in spec.axis))
    if len(set(normal)) != len(normal):
        raise InvalidArgument("axis", "names the same axis twice")
    if ARRAY_REDUCERS[spec.reducer].one_axis and len(normal) != 1:
        raise InvalidArgument("axis", f"should be one axis, or absent, for {spec.reducer}")
    return normal


def _own_result_dtype(spec: ReductionSpec) -> str:
    rule = ARRAY_REDUCERS[spec.reducer]
    if rule.widens and DTYPES[spec.dtype].kind in "biu":
        return "float64"
    if rule.is_unsigned and DTYPES[spec.dtype].kind == "i":
        return f"u{spec.dtype}"
    return rule.result_dtype or spec.dtype


def _normal_sum_dtype(spec: ReductionSpec) -> str | None:
    if spec.sum_dtype is None:
        return None
    if spec.reducer != "sum":
        raise InvalidArgument("result_dtype", f"is a parameter of sum, not of {spec.reducer}")
    if spec.sum_dtype not in SUM_DTYPES:
        raise InvalidArgument("result_dtype", f"is {shown(spec.sum_dtype)}, not one of {', '.join(SUM_DTYPES)}")
    # numpy's rule: the second type has every value of the first, except for the rounding of int64 to float64.
    if not np.can_cast(DTYPES[spec.dtype], DTYPES[spec.sum_dtype], "safe"):
        raise InvalidArgument("result_dtype", f"{spec.sum_dtype} cannot hold the values of {spec.dtype}")
    return None if spec.sum_dtype == _own_result_dtype(spec) else spec.sum_dtype

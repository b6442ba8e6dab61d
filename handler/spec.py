"""What is asked for: a reduction and its parts. To build one is to validate it.

A ``ReductionSpec`` that exists is valid, so nothing below the doors checks again. The tables of data types and
reducers stand here; what computes a reducer stands in ``core/reduce.py``. Standard library and numpy only: the
client shares this file.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np

from handler.errors import InvalidArgument, InvalidRange, UnknownReducer, shown

ByteOrder = Literal["little", "big"]

# The data types, in the machine's byte order.
DTYPES: Mapping[str, np.dtype[np.generic]] = MappingProxyType(
    {
        name: np.dtype(name)
        for name in (
            "int8", "int16", "int32", "int64",
            "uint8", "uint16", "uint32", "uint64",
            "float16", "float32", "float64",
            "bool",
        )
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ReducerRule:
    """What a caller can know of a reducer without computing it.

    Attributes:
        result_dtype: The result's data type, None where it is the request's.
    """

    result_dtype: str | None = None


REDUCERS: Mapping[str, ReducerRule] = MappingProxyType(
    {
        "count": ReducerRule(result_dtype="int64"),
        "max": ReducerRule(),
        "min": ReducerRule(),
        "sum": ReducerRule(),
    }
)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Which bytes of an object, in the three forms of RFC 9110, section 14.1.2.

    Attributes:
        first: The first byte, None for a suffix range.
        last: The last byte, included, None for the rest of the object. In a suffix range, how many bytes from the end.

    Raises:
        InvalidArgument: A bound is negative, or the last byte lies before the first.
    """

    first: int | None
    last: int | None

    def __post_init__(self) -> None:
        if self.first is None and self.last is None:
            raise InvalidArgument("range", "has neither a first nor a last byte")
        if any(bound is not None and bound < 0 for bound in (self.first, self.last)):
            raise InvalidArgument("range", "bounds cannot be negative")
        if self.first is not None and self.last is not None and self.last < self.first:
            raise InvalidArgument("range", f"ends at byte {self.last}, before it starts at byte {self.first}")

    def resolve(self, total: int) -> tuple[int, int]:
        """The span (start, stop), stop excluded, in an object of ``total`` bytes, cut at its end as S3 cuts it.

        Raises:
            InvalidRange: No byte of the object is in the range.
        """
        if self.first is None:
            start, stop = max(0, total - (self.last or 0)), total
        else:
            start, stop = self.first, total if self.last is None else min(self.last + 1, total)
        if start >= stop:
            raise InvalidRange(f"the range selects no byte of an object of {total} bytes", length=total)
        return start, stop


@dataclass(frozen=True, slots=True)
class ReductionSpec:
    """A reduction: what to compute, of numbers of which type, in which bytes.

    Attributes:
        reducer: A name in ``REDUCERS``.
        dtype: A name in ``DTYPES``.
        byte_order: The source's; a result is always little-endian.
        range: The bytes of the object that hold the data, None for all of it.

    Raises:
        UnknownReducer: There is no reducer of that name.
        InvalidArgument: A part has a value that it cannot have; its ``field`` names the part.
    """

    reducer: str
    dtype: str
    byte_order: ByteOrder = sys.byteorder
    range: ByteRange | None = None

    def __post_init__(self) -> None:
        if self.reducer not in REDUCERS:
            raise UnknownReducer(f"no reducer {shown(self.reducer)}; there are {', '.join(REDUCERS)}")
        if self.dtype not in DTYPES:
            raise InvalidArgument("dtype", f"no data type {shown(self.dtype)}; there are {', '.join(DTYPES)}")
        if self.byte_order not in get_args(ByteOrder):
            raise InvalidArgument("byte_order", f"is {shown(self.byte_order)}, not 'little' or 'big'")

    @property
    def element_bytes(self) -> int:
        """The size of one element, in bytes."""
        return DTYPES[self.dtype].itemsize

    @property
    def result_dtype(self) -> str:
        """The result's data type, a name in ``DTYPES``."""
        return REDUCERS[self.reducer].result_dtype or self.dtype

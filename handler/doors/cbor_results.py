"""Results in CBOR, for version 2 and for whole arrays: the map of a result, and numbers as numpy has them."""

import sys
import zlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cbor2
import numpy as np

from handler.engine.result import Result

CONTENT_TYPE = "application/cbor"

# RFC 8949, section 3.1: the major type of an array.
_ARRAY = 4

# Up to this length a Python list is as fast as anything else.
_FEW = 16

# Counts repeat, so that the fastest level makes them nearly as small as the others do.
_ZLIB_LEVEL = 1


def list_members(result: Result, shape_as_bytes: bool = False, count_as_bytes: bool = False) -> dict[str, Any]:
    """The members of the map of a result. Clients rely on their order.

    Args:
        result: The result.
        shape_as_bytes: Whether the shape is written as bytes, u64 and little-endian.
        count_as_bytes: Whether the counts are written as bytes, i64 and little-endian.
    """
    shape, shape_bytes = _pack(result.shape, "Q", shape_as_bytes)
    counts, count_bytes = _pack(result.counts or (), "q", count_as_bytes)
    return {
        "bytes": result.data,
        "dtype": result.dtype,
        "shape": shape,
        "shape_as_bytes": shape_bytes,
        "count": counts,
        "count_as_bytes": count_bytes,
        "byte_order": "little",
    }


def encode(members: Mapping[str, Any]) -> bytes:
    """The CBOR of a map, whose members can be those of a result."""
    return cbor2.dumps(members, default=_write_many)


def list_numbers(numbers: Any) -> dict[str, Any]:
    """A numpy array or scalar as a map of data type, shape, and the bytes: little-endian, in C order."""
    values = np.asarray(numbers)
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return {"dtype": values.dtype.name, "shape": list(values.shape), "bytes": little.tobytes()}


def pack_counts(counts: Sequence[int] | None) -> dict[str, Any]:
    """Counts as ``list_numbers`` lists them, in the smallest data type, one for all if they are equal, and in zlib.

    In a map of a million cells, counts in a list would take more than the values.
    """
    numbers = np.asarray(counts if counts is not None else (), np.int64)
    if numbers.size and (numbers == numbers[0]).all():
        numbers = numbers[0]
    members = list_numbers(np.asarray(numbers, np.min_scalar_type(numbers.max(initial=0))))
    return {**members, "bytes": zlib.compress(members["bytes"], _ZLIB_LEVEL), "compression": "zlib"}


@dataclass(frozen=True, slots=True)
class _Many:
    """Numbers that are written as a CBOR list, without a Python list of them, which takes ten times their memory."""

    numbers: Sequence[int]


def _write_many(encoder: cbor2.CBOREncoder, many: _Many) -> None:
    numbers = many.numbers
    encoder.encode_length(_ARRAY, len(numbers))
    # Without missing data all counts are equal. Encoding each of 4096 took a tenth of the time of a request.
    if (np.asarray(numbers) == numbers[0]).all():
        encoder.write(cbor2.dumps(numbers[0]) * len(numbers))
    else:
        for number in numbers:
            encoder.encode_int(number)


def _pack(numbers: Sequence[int], kind: str, as_bytes: bool) -> tuple[list[int] | _Many, bytes]:
    if not as_bytes:
        return _Many(numbers) if len(numbers) > _FEW else list(numbers), b""
    packed = array(kind, numbers.tobytes() if isinstance(numbers, memoryview) else numbers)
    if sys.byteorder == "big":
        packed.byteswap()
    return [], packed.tobytes()

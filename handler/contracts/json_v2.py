"""The JSON interface, version 2: ``POST /v2/{operation}/``, answered in CBOR. Spoken by PyActiveStorage from 0.6 on."""

import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import cbor2
import numpy as np

from handler.contracts import json_door
from handler.contracts.door import Reply, Request, Service
from handler.contracts.json_request import JsonReduction, parse_v2
from handler.core.result import Result

METHODS = json_door.METHODS

write_error = json_door.write_error

# RFC 8949, section 3.1: the major type of an array.
_ARRAY = 4

# A list of so many is as good as anything.
_FEW = 16


def answer(request: Request, service: Service) -> Reply:
    """The reply to a request for a reduction. A maximum of nothing is what it may be, with a count of 0.

    Raises:
        ActiveStorageError: There is no result.
    """
    wanted, given = json_door.reduce(request, service, parse_v2)
    return write(given.result, wanted)


def write(result: Result, wanted: JsonReduction) -> Reply:
    """The reply that holds a result: one map, its keys in the order that the clients have always seen."""
    shape, shape_bytes = _pack(result.shape, "Q", wanted.shape_as_bytes)
    counts, count_bytes = _pack(result.counts or (), "q", wanted.count_as_bytes)
    body = cbor2.dumps(
        {
            "bytes": result.data,
            "dtype": result.dtype,
            "shape": shape,
            "shape_as_bytes": shape_bytes,
            "count": counts,
            "count_as_bytes": count_bytes,
            "byte_order": "little",
        },
        default=_write_many,
    )
    return Reply(200, [("Content-Type", "application/cbor"), ("Content-Length", str(len(body)))], body)


@dataclass(frozen=True, slots=True)
class _Many:
    """Numbers that become a list of CBOR's, and never one of Python's, which takes ten times their memory."""

    numbers: Sequence[int]


def _write_many(encoder: cbor2.CBOREncoder, many: _Many) -> None:
    numbers = many.numbers
    encoder.encode_length(_ARRAY, len(numbers))
    # Counts are all the same where nothing is missing. To encode each was a tenth of a request of 4096 cells.
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

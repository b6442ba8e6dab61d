"""The JSON interface, version 2: ``POST /v2/{reducer}/``, answered in CBOR. Used by PyActiveStorage since 0.6."""

import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import cbor2
import numpy as np

from handler.doors import json_door
from handler.doors.door import Reply, Request
from handler.doors.json_errors import write_json_error
from handler.doors.json_request import JsonQuestion, parse_v2
from handler.doors.service import Service
from handler.engine.result import Result

METHODS = json_door.METHODS

write_error = write_json_error

# RFC 8949, section 3.1: the major type of an array.
_ARRAY = 4

# Up to this length a Python list is as fast as ``_Many``.
_FEW = 16


def reply_to(request: Request, service: Service) -> Reply:
    """The reply to a request for a reduction. A maximum of no elements has any value, and a count of 0.

    Raises:
        ActiveStorageError: There is no result.
    """
    question, reduction = json_door.reduce(request, service, parse_v2)
    return write(reduction.result, question)


def write(result: Result, question: JsonQuestion) -> Reply:
    """The reply with a result: one CBOR map. Clients rely on the order of its keys."""
    shape, shape_bytes = _pack(result.shape, "Q", question.shape_as_bytes)
    counts, count_bytes = _pack(result.counts or (), "q", question.count_as_bytes)
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
    """Numbers that are written as a CBOR list, without a Python list, which would take ten times their memory."""

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

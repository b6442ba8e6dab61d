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

# So many numbers are written as fast as looked through.
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
        default=_write_same,
    )
    return Reply(200, [("Content-Type", "application/cbor"), ("Content-Length", str(len(body)))], body)


@dataclass(frozen=True, slots=True)
class _Same:
    """A list of equal numbers."""

    number: int
    length: int


def _write_same(encoder: cbor2.CBOREncoder, numbers: _Same) -> None:
    encoder.encode_length(_ARRAY, numbers.length)
    encoder.write(cbor2.dumps(numbers.number) * numbers.length)


def _pack(numbers: Sequence[int], kind: str, as_bytes: bool) -> tuple[list[int] | _Same, bytes]:
    if not as_bytes:
        return _list(numbers), b""
    packed = array(kind, numbers.tobytes() if isinstance(numbers, memoryview) else numbers)
    if sys.byteorder == "big":
        packed.byteswap()
    return [], packed.tobytes()


def _list(numbers: Sequence[int]) -> list[int] | _Same:
    """The numbers as the encoder takes them. It looks at each: counts of 4096 cells would be a tenth of a request.

    Where nothing is missing they are all the same.
    """
    if len(numbers) > _FEW and (np.asarray(numbers) == numbers[0]).all():
        return _Same(numbers[0], len(numbers))
    return list(numbers)

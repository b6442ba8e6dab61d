"""The JSON interface, version 1: ``POST /v1/{operation}/``, answered with the plain bytes and a few headers.

PyActiveStorage 0.4 and 0.5 speak it. It has no axes: every result but a selection is a single value.
"""

import json
from collections.abc import Sequence

from handler import pipeline
from handler.contracts import json_door
from handler.contracts.door import Reply, Request, Service
from handler.contracts.json_request import parse_v1
from handler.core.result import Result

METHODS = json_door.METHODS

write_error = json_door.write_error


def answer(request: Request, service: Service) -> Reply:
    """The reply to a request for a reduction.

    Raises:
        NothingToReduce: It is a maximum or minimum of nothing.
        ActiveStorageError: There is no result.
    """
    wanted, given = json_door.reduce(request, service, parse_v1)
    pipeline.ensure_not_empty(wanted.spec, given.result)
    return write(given.result)


def write(result: Result) -> Reply:
    """The reply that holds a result."""
    headers = [
        ("Content-Type", "application/octet-stream"),
        ("Content-Length", str(result.length)),
        ("x-activestorage-dtype", result.dtype),
        ("x-activestorage-shape", _format(result.shape)),
        ("x-activestorage-count", _format(result.counts or ())),
        ("x-activestorage-byte-order", "little"),
    ]
    return Reply(200, headers, result.data)


def _format(numbers: Sequence[int]) -> str:
    return json.dumps(list(numbers), separators=(",", ":"))

"""The JSON interface, version 1: ``POST /v1/{reducer}/``, answered with the plain bytes and a few headers.

PyActiveStorage 0.4 and 0.5 use it. It has no axes: every result is a single value, except the result of ``select``.
"""

import json
from collections.abc import Sequence

from handler.doors import json_door
from handler.doors.door import Reply, Request
from handler.doors.json_errors import write_json_error
from handler.doors.json_request import parse_v1
from handler.doors.service import Service
from handler.engine.result import Result

METHODS = json_door.METHODS

write_error = write_json_error


def reply_to(request: Request, service: Service) -> Reply:
    """The reply to a request for a reduction.

    Raises:
        NothingToReduce: It asks for the maximum or minimum of no elements.
        ActiveStorageError: There is no result.
    """
    question, reduction = json_door.reduce(request, service, parse_v1)
    reduction.result.ensure_not_empty(question.spec.reducer)
    return write(reduction.result)


def write(result: Result) -> Reply:
    """The reply with a result."""
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

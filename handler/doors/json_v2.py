"""The JSON interface, version 2: ``POST /v2/{reducer}/``, answered in CBOR. Used by PyActiveStorage since 0.6."""

from handler.doors import json_door
from handler.doors.cbor_results import CONTENT_TYPE, encode, list_members
from handler.doors.door import Reply, Request
from handler.doors.json_errors import write_json_error
from handler.doors.json_request import JsonQuestion, parse_v2
from handler.doors.service import Service
from handler.engine.result import Result

METHODS = json_door.METHODS

write_error = write_json_error


def reply_to(request: Request, service: Service) -> Reply:
    """The reply to a request for a reduction. A maximum of no elements has any value, and a count of 0.

    Raises:
        ActiveStorageError: There is no result.
    """
    question, reduction = json_door.reduce(request, service, parse_v2)
    return write(reduction.result, question)


def write(result: Result, question: JsonQuestion) -> Reply:
    """The reply that holds a result: one map. Clients rely on the order of its keys."""
    body = encode(list_members(result, question.shape_as_bytes, question.count_as_bytes))
    return Reply(200, [("Content-Type", CONTENT_TYPE), ("Content-Length", str(len(body)))], body)

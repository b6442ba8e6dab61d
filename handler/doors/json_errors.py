"""Errors of the JSON doors: the statuses that their clients expect, and the JSON of an error.

The clients expect other statuses than S3's: 401 if the store denies access, 400 for an object that does not exist. The
two tables are below. ``caused_by`` lists the causes of an error, the root cause last.
"""

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from active_storage.errors import ActiveStorageError, InvalidArgument, StoreError
from handler.doors.door import Reply, Request
from handler.doors.error_replies import error_headers

# The status for an error of the store: by its code, then by its status. Otherwise 400 below 500, else 502.
STORE_CODES: Mapping[str, int] = MappingProxyType(
    {
        "NoSuchKey": 400,
        "NoSuchBucket": 400,
        "InvalidObjectState": 400,
        "AccessDenied": 401,
        "InvalidAccessKeyId": 401,
        "SignatureDoesNotMatch": 401,
        # The clock of this service is wrong, which the caller cannot fix.
        "RequestTimeTooSkewed": 502,
    }
)
STORE_STATUSES: Mapping[int, int] = MappingProxyType({401: 401, 403: 401, 429: 503, 503: 503, 504: 504})

# Our own statuses that the clients know. Any other becomes 400 below 500, else 502. Whole arrays alone have 409.
OWN_STATUSES = frozenset({400, 401, 404, 405, 409, 500, 502, 503, 504})

_INVALID = "request data is not valid"
_DENIED = "Access Denied"


def write_json_error(error: ActiveStorageError, request: Request) -> Reply:  # noqa: ARG001  # the interface of a door
    """The reply with an error, in the form that the clients of this interface expect."""
    status = find_status(error)
    document = json.dumps({"error": describe_error(error)}).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(document)))]
    if status == 401:
        # RFC 9110, section 15.5.2.
        headers.append(("WWW-Authenticate", 'Basic realm="the server of the object"'))
    return Reply(status, [*error_headers(error), *headers], document)


def describe_error(error: ActiveStorageError) -> dict[str, str | list[str]]:
    """The message of an error, those of its causes if there are any, and its code, by which programs tell it."""
    message, *causes = dict.fromkeys(_list_messages(error))
    return {"message": message, **({"caused_by": causes} if causes else {}), "code": error.code}


def find_status(error: ActiveStorageError) -> int:
    """The status of an error for the clients of the JSON doors."""
    other = 400 if 400 <= error.status < 500 else 502
    if isinstance(error, StoreError):
        return STORE_CODES.get(error.code) or STORE_STATUSES.get(error.status, other)
    return error.status if error.status in OWN_STATUSES else other


def _list_messages(error: ActiveStorageError) -> Iterator[str]:
    """The messages of an error and its causes, the root cause last."""
    if isinstance(error, InvalidArgument):
        yield _INVALID
        yield error.message
    elif isinstance(error, StoreError):
        yield "the server of the object refused the request"
        if find_status(error) == 401:
            yield _DENIED
        yield f"{error.code}: {error.message}"
    else:
        yield error.message
    # Messages of other errors can contain secrets.
    if isinstance(error.__cause__, ActiveStorageError):
        yield from _list_messages(error.__cause__)

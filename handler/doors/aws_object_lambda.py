"""S3 Object Lambda: events of GetObject, HeadObject and the listings, and the replies to S3.

The reply to a GetObject event is exactly one ``write_get_object_response``, also after an error. The reply to
HeadObject and listing events is the function's return value.
"""

import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any

from botocore.exceptions import ClientError

from active_storage.errors import ActiveStorageError, InternalError, NotModified
from handler.doors.door import Reply
from handler.doors.error_replies import plain_message
from handler.doors.json_body import ensure_whole_characters
from handler.doors.lambda_door import reduce_event, request_of
from handler.doors.lambda_event import LambdaEvent, parse_echo, parse_event
from handler.doors.service import Service
from handler.doors.table import INTERNAL_ERROR_MESSAGE, catch_errors
from handler.observe.record import Record, locate
from handler.scope import Scope

# Lambda returns at most 6 MiB of JSON, in which a listing is a string.
_MAX_LISTING_BYTES = 4 * 1024 * 1024

# The values that ``StatusCode`` may have. Another status is replaced by that of the second table, else by 400 or 500.
ALLOWED_STATUSES = frozenset({200, 206, 304, 400, 401, 403, 404, 405, 409, 411, 412, 416, 500, 503})
_NEAREST_STATUSES: Mapping[int, int] = MappingProxyType({501: 400, 502: 503, 504: 503})

_CODE_RE = re.compile(r"[A-Z][a-zA-Z]+", re.ASCII)

# The header values that S3 accepts in a reply. Some of ours come from the store.
_PLAIN_RE = re.compile(r"[\x20-\x7e]{1,1024}")


def _read_date(text: str) -> Any:
    """The time in a store's header, for botocore to write."""
    moment = parsedate_to_datetime(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


# The argument of ``write_get_object_response`` for each header of a reply; ``x-amz-meta-*`` become ``Metadata``.
# A value that cannot be read is left out.
_ARGUMENTS: Mapping[str, tuple[str, Callable[[str], Any]]] = MappingProxyType(
    {
        "content-type": ("ContentType", str),
        "content-length": ("ContentLength", int),
        "content-range": ("ContentRange", str),
        "etag": ("ETag", str),
        "last-modified": ("LastModified", _read_date),
        "x-amz-version-id": ("VersionId", str),
    }
)
_METADATA = "x-amz-meta-"

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The reply to an event.

    Attributes:
        status: The status that the client receives.
        members: Arguments for S3, or members of the function's return value.
        bytes_sent: The size of the body.
    """

    status: int
    members: dict[str, Any] = field(repr=False)
    bytes_sent: int = 0


class ObjectLambda:
    """Answers events of S3 Object Lambda.

    Args:
        service: The service, which all events share.
        s3: A botocore client, which sends replies to S3.
    """

    def __init__(self, service: Service, s3: Any) -> None:
        self._service = service
        self._s3 = s3
        # Whether botocore has begun to send this thread's reply.
        self._calling = threading.local()
        s3.meta.events.register_first("before-call.s3.WriteGetObjectResponse", self._note_call)

    def write_object(self, event: Document, kind: str, scope: Scope) -> None:
        """Answer GetObject: send the result to S3."""
        echo = parse_echo(event)

        def answer() -> _Outcome:
            reply = self._reduce(event, kind, scope)
            return _Outcome(reply.status, _arguments(reply), len(reply.body) if isinstance(reply.body, bytes) else 0)

        def write(outcome: _Outcome) -> None:
            self._s3.write_get_object_response(
                RequestRoute=echo.route, RequestToken=echo.token, StatusCode=outcome.status, **outcome.members
            )

        def send(outcome: _Outcome) -> _Outcome:
            self._calling.has_begun = False
            try:
                try:
                    write(outcome)
                except ClientError:
                    raise
                except Exception as error:
                    if self._calling.has_begun:
                        raise
                    # botocore refused the arguments. S3 still needs a reply.
                    scope.record.add(outcome=InternalError.code, fault=locate(error))
                    outcome = _refuse_in_s3(InternalError(INTERNAL_ERROR_MESSAGE))
                    write(outcome)
            except Exception as error:  # noqa: BLE001  # botocore's texts contain the route; no caller is left
                scope.record.add(outcome="AnswerRefused", fault=locate(error))
            return outcome

        _answer_and_send(scope.record, "GET", answer, _refuse_in_s3, send)

    def _note_call(self, **_: object) -> None:
        self._calling.has_begun = True

    def describe_object(self, event: Document, kind: str, scope: Scope) -> dict[str, Any]:
        """Answer HeadObject: the headers of the result."""

        def answer() -> _Outcome:
            reply = self._reduce(event, kind, scope, is_head=True)
            return _Outcome(reply.status, {"statusCode": reply.status, "headers": dict(reply.headers)})

        return _answer_and_send(scope.record, "HEAD", answer, _refuse_in_return).members

    def pass_on_listing(self, event: Document, kind: str, scope: Scope) -> dict[str, Any]:
        """Answer ListObjects: the store's own listing, since only the content of objects is reduced."""

        def answer() -> _Outcome:
            request = request_of(_parse(event, kind))
            listing = self._service.transport.read_document(request, scope, _MAX_LISTING_BYTES)
            return _Outcome(200, {"statusCode": 200, "listResultXml": listing.decode(errors="replace")}, len(listing))

        return _answer_and_send(scope.record, "LIST", answer, _refuse_in_return).members

    def _reduce(self, event: Document, kind: str, scope: Scope, is_head: bool = False) -> Reply:
        parsed = _parse(event, kind)
        return reduce_event(parsed, parsed.texts, self._service, scope, is_head)


def _parse(event: Document, kind: str) -> LambdaEvent:
    # Lambda has parsed the JSON, and accepts surrogates that the other doors refuse.
    ensure_whole_characters(event, "event")
    return parse_event(event, kind)


def _answer_and_send(
    record: Record,
    method: str,
    answer: Callable[[], _Outcome],
    refuse: Callable[[ActiveStorageError], _Outcome],
    send: Callable[[_Outcome], _Outcome] = lambda outcome: outcome,
) -> _Outcome:
    """Run ``answer``, or ``refuse`` for its error, send the outcome, and end the request."""
    record.add(door="aws", method=method)
    outcome = send(catch_errors(record, answer, refuse))
    record.end(outcome.status, outcome.bytes_sent)
    return outcome


# The forms of replies


def _arguments(reply: Reply) -> dict[str, Any]:
    arguments: dict[str, Any] = {"Body": reply.body}
    metadata = {}
    for name, value in reply.headers:
        if not _PLAIN_RE.fullmatch(value):
            continue
        if name.lower() in _ARGUMENTS:
            argument, convert = _ARGUMENTS[name.lower()]
            with suppress(ValueError, TypeError, OverflowError):
                arguments[argument] = convert(value)
        elif name.lower().startswith(_METADATA):
            metadata[name[len(_METADATA) :]] = value
    return {**arguments, "Metadata": metadata}


def _refuse_in_s3(error: ActiveStorageError) -> _Outcome:
    if isinstance(error, NotModified):
        etag = str(error.etag or "")
        return _Outcome(error.status, {"ETag": etag} if _PLAIN_RE.fullmatch(etag) else {})
    return _Outcome(_status(error), {"ErrorCode": _code(error), "ErrorMessage": plain_message(error)})


def _refuse_in_return(error: ActiveStorageError) -> _Outcome:
    status = _status(error)
    return _Outcome(status, {"statusCode": status, "errorCode": _code(error), "errorMessage": plain_message(error)})


def _status(error: ActiveStorageError) -> int:
    if error.status in ALLOWED_STATUSES:
        return error.status
    return _NEAREST_STATUSES.get(error.status, 400 if error.status < 500 else 500)


def _code(error: ActiveStorageError) -> str:
    """The error's code. S3 accepts letters only, and a store's own code may have other characters."""
    return error.code if _CODE_RE.fullmatch(error.code) else "StoreError"

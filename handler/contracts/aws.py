"""The AWS Lambda function: S3 Object Lambda's events, and HTTP requests of a Function URL or an HTTP API.

``handler.contracts.aws.lambda_handler`` is what Lambda calls. A GetObject event is answered by exactly one
``write_get_object_response``, whatever happens; HeadObject and listing events by what the function returns. A request
over HTTP goes through the same table of doors as with a server, so that the same rules hold. Nothing here knows Flask;
the settings come from the function's environment.

Sources: "Writing Lambda functions for S3 Object Lambda Access Points" (Amazon S3 User Guide), WriteGetObjectResponse
(Amazon S3 API Reference), "Invoking Lambda function URLs" (AWS Lambda Developer Guide).
"""

import base64
import functools
import re
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Protocol

import botocore.session
from botocore.config import Config

from handler import logs
from handler.contracts import doors
from handler.contracts.door import Reply, Request, Service, locate_target, new_request_id, write_xml_error
from handler.contracts.event import Event, parse_echo, parse_event
from handler.contracts.json_body import ensure_whole_characters
from handler.contracts.lambda_door import reduce_event, request_of
from handler.errors import ActiveStorageError, EntityTooLarge, InvalidArgument, NotModified, StoreCutOff
from handler.params import encode
from handler.render import plain_message
from handler.settings import load_settings
from handler.upstream.deadline import Deadline

# Of Lambda's time, what the store cannot have: the answer has to be sent.
_ANSWER_SECONDS = 2.0

# Lambda returns 6 MiB at most; base64 makes four bytes of three, and there are headers beside.
MAX_RETURNED_BYTES = 4 * 1024 * 1024

# What ``StatusCode`` may be. Any other is what stands below, else 400 under 500.
ALLOWED_STATUSES = frozenset({200, 206, 304, 400, 401, 403, 404, 405, 409, 411, 412, 416, 500, 503})
_NEAREST_STATUSES: Mapping[int, int] = MappingProxyType({501: 400, 502: 503, 504: 503})

_CODE_RE = re.compile(r"[A-Z][a-zA-Z]+", re.ASCII)

# The argument of ``write_get_object_response`` that a header becomes; of ``x-amz-meta-*``, all are ``Metadata``.
_ARGUMENTS: Mapping[str, tuple[str, Callable[[str], Any]]] = MappingProxyType(
    {
        "content-type": ("ContentType", str),
        "content-length": ("ContentLength", int),
        "content-range": ("ContentRange", str),
        "etag": ("ETag", str),
        "last-modified": ("LastModified", str),
        "x-amz-version-id": ("VersionId", str),
    }
)
_METADATA = "x-amz-meta-"

# A Function URL hands over the path as it was sent, an HTTP API decoded.
_FUNCTION_URL_RE = re.compile(r"[a-z0-9]+\.lambda-url\.[a-z0-9-]+\.on\.aws", re.ASCII)

_REQUEST_ID_RE = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)

Document = Mapping[str, Any]


class Context(Protocol):
    """What Lambda tells of an invocation, as far as it matters here."""

    def get_remaining_time_in_millis(self) -> int:
        """How much of the function's time is left."""


def lambda_handler(event: Any, context: Context) -> dict[str, Any] | None:
    """Answer an event: what is returned is for Lambda to pass on, None where S3 was answered already.

    Raises:
        InvalidArgument: It is no event that can be answered.
    """
    return _function()(event, context)


@functools.cache
def _function() -> "Function":
    """The function, once for each environment that Lambda starts."""
    settings = load_settings()
    logs.configure(settings)
    # A token is good for one answer, so that a second try would be refused; and there is TLS to guard the body.
    config = Config(s3={"payload_signing_enabled": False}, retries={"total_max_attempts": 1})
    return Function(Service.of(settings), botocore.session.get_session().create_client("s3", config=config))


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of an event.

    Attributes:
        status: What the client is told.
        members: Arguments for S3, or members of what is returned.
        bytes_sent: Of the result.
    """

    status: int
    members: dict[str, Any] = field(repr=False)
    bytes_sent: int = 0


class Function:
    """The function, set up.

    Args:
        service: What reductions are made with.
        s3: A botocore client, by which S3 is answered.
    """

    def __init__(self, service: Service, s3: Any) -> None:
        self._service = service
        self._s3 = s3
        # By the member that only such an event has.
        self._answers: Mapping[str, Callable[[Document, str, Deadline], dict[str, Any] | None]] = {
            "getObjectContext": self._write_object,
            "headObjectContext": self._describe_object,
            "listObjectsContext": self._pass_on_listing,
            "listObjectsV2Context": self._pass_on_listing,
            "requestContext": self._answer_http,
        }

    def __call__(self, event: Any, context: Context) -> dict[str, Any] | None:
        """As ``lambda_handler``."""
        members = event if isinstance(event, Mapping) else {}
        kind = next((name for name in self._answers if isinstance(members.get(name), Mapping)), None)
        if kind is None:
            raise InvalidArgument("event", f"has none of {', '.join(self._answers)}")
        seconds_left = context.get_remaining_time_in_millis() / 1000 - _ANSWER_SECONDS
        deadline = Deadline.after(min(self._service.settings.deadline, seconds_left))
        return self._answers[kind](members, kind, deadline)

    def _write_object(self, event: Document, kind: str, deadline: Deadline) -> None:
        echo = parse_echo(event)

        def answer() -> _Outcome:
            reply = self._reduce(event, kind, deadline)
            return _Outcome(reply.status, _arguments(reply), len(reply.body) if isinstance(reply.body, bytes) else 0)

        def send(outcome: _Outcome) -> None:
            try:
                self._s3.write_get_object_response(
                    RequestRoute=echo.route, RequestToken=echo.token, StatusCode=outcome.status, **outcome.members
                )
            except Exception as error:  # noqa: BLE001  # botocore's texts hold the route; nobody is left to be told
                logs.note(outcome="AnswerRefused", fault=logs.locate(error))

        _settle_and_send(event, "GET", answer, _refuse_in_s3, send)

    def _describe_object(self, event: Document, kind: str, deadline: Deadline) -> dict[str, Any]:
        def answer() -> _Outcome:
            reply = self._reduce(event, kind, deadline, is_head=True)
            return _Outcome(reply.status, {"statusCode": reply.status, "headers": dict(reply.headers)})

        return _settle_and_send(event, "HEAD", answer, _refuse_in_return).members

    def _pass_on_listing(self, event: Document, kind: str, deadline: Deadline) -> dict[str, Any]:
        """What the store lists is as good as before: only what is read of an object is reduced."""

        def answer() -> _Outcome:
            request = request_of(_parse(event, kind))
            listing = self._service.transport.read_document(request, deadline, MAX_RETURNED_BYTES)
            return _Outcome(200, {"statusCode": 200, "listResultXml": listing.decode(errors="replace")}, len(listing))

        return _settle_and_send(event, "LIST", answer, _refuse_in_return).members

    def _answer_http(self, event: Document, kind: str, deadline: Deadline) -> dict[str, Any]:
        started = time.monotonic()
        request = _read_http(event, event[kind], deadline, self._service.settings.base_domain)
        reply = _whole(doors.answer(request, self._service), request)
        body = reply.body if isinstance(reply.body, bytes) and request.method != "HEAD" else b""
        logs.finish(reply.status, len(body), started)
        return {
            "statusCode": reply.status,
            "headers": dict(reply.headers),
            "body": base64.b64encode(body).decode(),
            "isBase64Encoded": True,
        }

    def _reduce(self, event: Document, kind: str, deadline: Deadline, is_head: bool = False) -> Reply:
        parsed = _parse(event, kind)
        return reduce_event(parsed, parsed.given, self._service, deadline, is_head)


def _parse(event: Document, kind: str) -> Event:
    # Lambda has read the JSON, and takes what no other door does.
    ensure_whole_characters(event, "event")
    return parse_event(event, kind)


def _settle_and_send(
    event: Document,
    method: str,
    answer: Callable[[], _Outcome],
    refuse: Callable[[ActiveStorageError], _Outcome],
    send: Callable[[_Outcome], None] = lambda _: None,
) -> _Outcome:
    """What ``answer`` or ``refuse`` gives, sent, and the line of it in the log."""
    started = time.monotonic()
    given_id = str(event.get("xAmzRequestId") or "")
    logs.begin(given_id if _REQUEST_ID_RE.fullmatch(given_id) else new_request_id())
    logs.note(door="aws", method=method)
    outcome = doors.settle(answer, refuse)
    send(outcome)
    logs.finish(outcome.status, outcome.bytes_sent, started)
    return outcome


# As S3 is answered


def _arguments(reply: Reply) -> dict[str, Any]:
    arguments: dict[str, Any] = {"Body": reply.body}
    metadata = {}
    for name, value in reply.headers:
        if name.lower() in _ARGUMENTS:
            argument, convert = _ARGUMENTS[name.lower()]
            arguments[argument] = convert(value)
        elif name.lower().startswith(_METADATA):
            metadata[name[len(_METADATA) :]] = value
    return {**arguments, "Metadata": metadata}


def _refuse_in_s3(error: ActiveStorageError) -> _Outcome:
    if isinstance(error, NotModified):
        return _Outcome(error.status, {"ETag": error.etag} if error.etag else {})
    return _Outcome(_status(error), {"ErrorCode": _code(error), "ErrorMessage": plain_message(error)})


def _refuse_in_return(error: ActiveStorageError) -> _Outcome:
    status = _status(error)
    return _Outcome(status, {"statusCode": status, "errorCode": _code(error), "errorMessage": plain_message(error)})


def _status(error: ActiveStorageError) -> int:
    if error.status in ALLOWED_STATUSES:
        return error.status
    return _NEAREST_STATUSES.get(error.status, 400 if error.status < 500 else 500)


def _code(error: ActiveStorageError) -> str:
    """The error's code, which S3 takes of letters only; a store's own may have others."""
    return error.code if _CODE_RE.fullmatch(error.code) else "StoreError"


# As HTTP comes and goes


def _read_http(event: Document, context: Mapping[str, Any], deadline: Deadline, base_domain: str | None) -> Request:
    """The request that an event of payload format 2.0 is."""
    try:
        ensure_whole_characters(event, "event")
    except InvalidArgument as fault:
        return Request(new_request_id(), "GET", "/", "", {}, deadline, lambda _: b"", fault)
    path = str(event.get("rawPath") or "/")
    if not _FUNCTION_URL_RE.fullmatch(str(context.get("domainName", ""))):
        stage = f"/{context.get('stage')}/"
        path = encode(f"/{path.removeprefix(stage)}" if path.startswith(stage) else path)
    headers = {str(name).lower(): str(value) for name, value in _members(event, "headers").items()}
    raw_path, query = locate_target(f"{path}?{event.get('rawQueryString') or ''}", headers.get("host", ""), base_domain)
    return Request(
        id=new_request_id(),
        method=str(_members(context, "http").get("method", "GET")),
        path=raw_path,
        query=query,
        headers=headers,
        deadline=deadline,
        read_body=lambda most: _read_http_body(event)[:most],
    )


def _members(document: Document, name: str) -> Document:
    """A member that is an object, empty where it is anything else."""
    value = document.get(name)
    return value if isinstance(value, Mapping) else {}


def _read_http_body(event: Document) -> bytes:
    text = str(event.get("body") or "")
    if not event.get("isBase64Encoded"):
        return text.encode()
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise InvalidArgument("body", "is not base64") from None


def _whole(reply: Reply, request: Request) -> Reply:
    """The reply with its body in one piece, or an error where Lambda would not return as much."""
    if isinstance(reply.body, bytes) and len(reply.body) <= MAX_RETURNED_BYTES:
        return reply
    return doors.settle(lambda: _collect(reply), lambda error: write_xml_error(error, request))


def _collect(reply: Reply) -> Reply:
    body = bytearray()
    with closing(reply):
        try:
            for piece in reply.pieces:
                body += piece
                if len(body) > MAX_RETURNED_BYTES:
                    raise EntityTooLarge(f"a function returns {MAX_RETURNED_BYTES} bytes at most")
        except ConnectionResetError:
            # What a server would be told, to break its own connection off.
            raise StoreCutOff("the object could not be read to its end") from None
    return replace(reply, body=bytes(body))

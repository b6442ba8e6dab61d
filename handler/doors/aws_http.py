"""HTTP requests of a Lambda Function URL or an HTTP API (payload format 2.0), and the replies to them.

A request goes through the same table of doors as with a server, so that the same rules apply. The body of a reply is in
one piece, and within Lambda's limit.
"""

import base64
import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

from active_storage.errors import EntityTooLarge, InvalidArgument, StoreCutOff
from active_storage.grammar.text import encode
from handler.doors import table as doors
from handler.doors.door import Reply, Request
from handler.doors.error_replies import write_xml_error
from handler.doors.json_body import ensure_whole_characters
from handler.doors.request_target import locate_target
from handler.doors.service import Service
from handler.scope import Scope

# Lambda returns at most 6 MiB. base64 turns three bytes into four, and the headers need space as well.
MAX_RETURNED_BYTES = 4 * 1024 * 1024

# A Function URL gives the path percent-encoded, as the client sent it. An HTTP API gives it decoded.
_FUNCTION_URL_RE = re.compile(r"[a-z0-9]+\.lambda-url\.[a-z0-9-]+\.on\.aws", re.ASCII)

Document = Mapping[str, Any]


def answer_http(service: Service, event: Document, kind: str, scope: Scope) -> dict[str, Any]:
    """Answer an HTTP request.

    Args:
        service: The service, which all events share.
        event: The event.
        kind: The member of the event that contains the request's context.
        scope: The scope of the request.

    Returns:
        The HTTP response in payload format 2.0.
    """
    request = _read_http(scope, event, event[kind], service.settings.base_domain)
    reply = _whole(doors.reply_to(request, service), request)
    body = reply.body if isinstance(reply.body, bytes) and request.method != "HEAD" else b""
    request.record.end(reply.status, len(body))
    return {
        "statusCode": reply.status,
        "headers": dict(reply.headers),
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }


def _read_http(scope: Scope, event: Document, context: Mapping[str, Any], base_domain: str | None) -> Request:
    """The request in an event of payload format 2.0."""
    try:
        ensure_whole_characters(event, "event")
    except InvalidArgument as fault:
        return Request(scope, "GET", "/", "", {}, lambda _: b"", fault)
    path = str(event.get("rawPath") or "/")
    if not _FUNCTION_URL_RE.fullmatch(str(context.get("domainName", ""))):
        stage = f"/{context.get('stage')}/"
        path = encode(f"/{path.removeprefix(stage)}" if path.startswith(stage) else path)
    headers = {str(name).lower(): str(value) for name, value in _members(event, "headers").items()}
    raw_path, query = locate_target(f"{path}?{event.get('rawQueryString') or ''}", headers.get("host", ""), base_domain)
    return Request(
        scope=scope,
        method=str(_members(context, "http").get("method", "GET")),
        path=raw_path,
        query=query,
        headers=headers,
        read_body=lambda most: _read_http_body(event)[:most],
    )


def _members(document: Document, name: str) -> Document:
    """A member that is a JSON object; empty if it is anything else."""
    value = document.get(name)
    return value if isinstance(value, Mapping) else {}


def _read_http_body(event: Document) -> bytes:
    text = str(event.get("body") or "")
    if not event.get("isBase64Encoded"):
        return text.encode()
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise InvalidArgument("body", "is not valid base64, although isBase64Encoded is true") from None


def _whole(reply: Reply, request: Request) -> Reply:
    """The reply with its body in one piece, or an error if it exceeds Lambda's limit."""
    if isinstance(reply.body, bytes) and len(reply.body) <= MAX_RETURNED_BYTES:
        return reply
    return doors.catch_errors(request.record, lambda: _collect(reply), lambda error: write_xml_error(error, request))


def _collect(reply: Reply) -> Reply:
    body = bytearray()
    with closing(reply):
        try:
            for piece in reply.pieces:
                body += piece
                if len(body) > MAX_RETURNED_BYTES:
                    raise EntityTooLarge(f"the reply has more than {MAX_RETURNED_BYTES} bytes, the maximum")
        except ConnectionResetError:
            # A server would close the client's connection. Lambda's caller gets an error.
            raise StoreCutOff("the object could not be read to its end") from None
    return replace(reply, body=bytes(body))

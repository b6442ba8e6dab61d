"""The Flask application: from WSGI to a request, and from a door's reply to WSGI.

Flask's router is not used: it merges slashes in a decoded path, and an object's path must reach the store unchanged.
Its request, context and response are not used either: they took a fifth of a small request's time, and no door needs
them. Only Flask's application class is used, for its test client and its other tools.
"""

import select
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import flask

from active_storage.errors import InvalidArgument
from handler.doors import table as doors
from handler.doors.door import Reply, Request
from handler.doors.request_target import find_fault, locate_target
from handler.doors.service import Service
from handler.observe.record import Record
from handler.scope import CLOCK, Clock
from handler.settings import Settings
from handler.stores.transport import Transport

_PHRASES: Mapping[int, str] = MappingProxyType({status.value: status.phrase for status in HTTPStatus})

# The interval of the checks of the caller's connection while the object is read. Each check releases the interpreter's
# lock, and then waits for it.
_HANG_UP_SECONDS = 0.05


class Application(flask.Flask):
    """The service as a WSGI application.

    Args:
        service: The service, which all requests share.
    """

    def __init__(self, service: Service) -> None:
        super().__init__(__name__, static_folder=None)
        self._service = service

    def wsgi_app(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        request = _read_request(environ, self._service)
        reply = doors.reply_to(request, self._service)
        sent = _Sent(reply, request.method != "HEAD", request.record)
        try:
            start_response(f"{reply.status} {_PHRASES.get(reply.status, 'Unknown')}", reply.headers)
        except BaseException:
            # The server closes a body only if the application has returned it.
            sent.close()
            raise
        return sent


def create_app(settings: Settings, transport: Transport | None = None, clock: Clock = CLOCK) -> flask.Flask:
    """The application for these settings. It does not connect to a store before the first request.

    Args:
        settings: The configuration.
        transport: Connects to stores; by default made from the settings.
        clock: The time of requests.
    """
    return Application(Service.of(settings, transport, clock))


def _read_request(environ: dict[str, Any], service: Service) -> Request:
    settings = service.settings
    # gunicorn and werkzeug put the raw target into RAW_URI. In PATH_INFO, %2F, + and // are lost.
    method, raw_target, host = environ["REQUEST_METHOD"], environ["RAW_URI"], environ.get("HTTP_HOST")
    path, query = locate_target(raw_target, host or "", settings.base_domain)
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_") or name in ("CONTENT_TYPE", "CONTENT_LENGTH")
    }
    return Request(
        scope=service.open_scope(settings.deadline, _watch_caller(environ)),
        method=method,
        path=path,
        query=query,
        headers=headers,
        read_body=_Body(environ["wsgi.input"], environ.get("CONTENT_LENGTH", "")),
        fault=find_fault(method, raw_target, host, needs_host=environ["SERVER_PROTOCOL"] != "HTTP/1.0"),
    )


def _watch_caller(environ: dict[str, Any]) -> Callable[[], bool]:
    """A function that returns whether the caller has hung up; always False if the server gives no socket."""
    connection = environ.get("gunicorn.socket")
    if connection is None:
        return lambda: False
    asked_at = time.monotonic()

    def has_hung_up() -> bool:
        nonlocal asked_at
        now = time.monotonic()
        if now < asked_at + _HANG_UP_SECONDS:
            return False
        asked_at = now
        # Made for each call: several threads can call at the same time, and small requests never call.
        poll = select.poll()
        # POLLRDHUP is Linux's event for a peer that has closed its side. Other systems report closed connections only.
        poll.register(connection, getattr(select, "POLLRDHUP", 0))
        return bool(poll.poll(0))

    return has_hung_up


class _Body:
    """The body of a request, which can be read from the server once.

    Args:
        source: The server's stream.
        length: The ``Content-Length`` header; empty if it is absent.
    """

    def __init__(self, source: Any, length: str) -> None:
        self._source = source
        self._length = length
        self._read: bytes | None = None

    def __call__(self, most: int) -> bytes:
        if self._read is None:
            try:
                body = self._source.read(most)
            except Exception:  # noqa: BLE001  # the server's own exceptions: a bad chunk, a lost connection
                raise InvalidArgument("body", "could not be read to its end") from None
            # RFC 9112, section 8: such a message is incomplete. gunicorn returns what it has received.
            if self._length.isdecimal() and len(body) < min(int(self._length), most):
                raise InvalidArgument("body", "is shorter than its Content-Length")
            self._read = body
        return self._read


class _Sent:
    """The body of a reply. It counts what is sent, and ends the request when it is closed."""

    def __init__(self, reply: Reply, has_body: bool, record: Record) -> None:
        self._reply = reply
        self._has_body = has_body
        self._record = record
        self._bytes_sent = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._reply.pieces if self._has_body else ():
            self._bytes_sent += len(piece)
            yield piece

    def close(self) -> None:
        """Release the body and end the request. The server calls this exactly once."""
        try:
            self._reply.close()
        finally:
            self._record.end(self._reply.status, self._bytes_sent)

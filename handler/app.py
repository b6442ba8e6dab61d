"""The Flask application: it takes a request from the server and gives it the reply that a door makes.

Flask does not route: its router works on a decoded path with slashes merged, and the path of an object must reach the
store as it was sent. Nor are its request, context and response made, which no door looks at: they took a fifth of a
small request's time. What is left of it is what runs and tests an application.
"""

import select
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import flask

from handler import logs
from handler.contracts import doors
from handler.contracts.door import Reply, Request, Service, find_fault, locate_target, new_request_id
from handler.errors import InvalidArgument
from handler.settings import Settings
from handler.upstream.deadline import Deadline
from handler.upstream.transport import Transport

_PHRASES: Mapping[int, str] = MappingProxyType({status.value: status.phrase for status in HTTPStatus})

# How often a caller is looked after while its object is read. Each look lets go of the interpreter's lock, and waits
# for it.
_HANG_UP_SECONDS = 0.05


class Application(flask.Flask):
    """The service as a WSGI application.

    Args:
        service: What its requests share.
    """

    def __init__(self, service: Service) -> None:
        super().__init__(__name__, static_folder=None)
        self._service = service

    def wsgi_app(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        started = time.monotonic()
        request = _read_request(environ, self._service.settings)
        reply = doors.answer(request, self._service)
        sent = _Sent(reply, request.method != "HEAD", started)
        try:
            start_response(f"{reply.status} {_PHRASES.get(reply.status, 'Unknown')}", reply.headers)
        except BaseException:
            # Nobody else would: the server was not given it.
            sent.close()
            raise
        return sent


def create_app(settings: Settings, transport: Transport | None = None) -> flask.Flask:
    """The application for these settings. Nothing is read or connected to before the first request.

    Args:
        settings: What it is set up by.
        transport: What connects to stores; by default what the settings say.
    """
    logs.configure(settings)
    return Application(Service.of(settings, transport))


def _read_request(environ: dict[str, Any], settings: Settings) -> Request:
    # gunicorn and werkzeug give the target as it was sent; PATH_INFO has lost %2F, + and //.
    method, raw_target, host = environ["REQUEST_METHOD"], environ["RAW_URI"], environ.get("HTTP_HOST")
    path, query = locate_target(raw_target, host or "", settings.base_domain)
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_") or name in ("CONTENT_TYPE", "CONTENT_LENGTH")
    }
    return Request(
        id=new_request_id(),
        method=method,
        path=path,
        query=query,
        headers=headers,
        deadline=Deadline.after(settings.deadline, _watch_caller(environ)),
        read_body=_Body(environ["wsgi.input"], environ.get("CONTENT_LENGTH", "")),
        fault=find_fault(method, raw_target, host, needs_host=environ["SERVER_PROTOCOL"] != "HTTP/1.0"),
    )


def _watch_caller(environ: dict[str, Any]) -> Callable[[], bool]:
    """What tells whether the caller has hung up, where the server says on which socket it is."""
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
        # One for each call: several threads may ask at a time, and a small request never does.
        poll = select.poll()
        # Linux's word for an end of what the other side sends; elsewhere nothing but both ends is told.
        poll.register(connection, getattr(select, "POLLRDHUP", 0))
        return bool(poll.poll(0))

    return has_hung_up


class _Body:
    """The body of a request, which the server gives once.

    Args:
        source: What it is read from.
        length: The request's ``Content-Length``; empty where it has none.
    """

    def __init__(self, source: Any, length: str) -> None:
        self._source = source
        self._length = length
        self._read: bytes | None = None

    def __call__(self, most: int) -> bytes:
        if self._read is None:
            try:
                body = self._source.read(most)
            except Exception:  # noqa: BLE001  # the server's own classes: a bad chunk, a connection that broke
                raise InvalidArgument("body", "could not be read to its end") from None
            # RFC 9112, section 8: such a message is incomplete. gunicorn gives what came.
            if self._length.isdecimal() and len(body) < min(int(self._length), most):
                raise InvalidArgument("body", "is shorter than its Content-Length")
            self._read = body
        return self._read


class _Sent:
    """The body of a reply, of which is counted what was taken; when it is closed, the request's line is logged."""

    def __init__(self, reply: Reply, has_body: bool, started: float) -> None:
        self._reply = reply
        self._has_body = has_body
        self._started = started
        self._bytes_sent = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._reply.pieces if self._has_body else ():
            self._bytes_sent += len(piece)
            yield piece

    def close(self) -> None:
        """Let go of the body. The server calls it in any case, and once."""
        try:
            self._reply.close()
        finally:
            logs.finish(self._reply.status, self._bytes_sent, self._started)

"""The Flask application: the table of doors, and one way through it for every request.

Flask takes the request from the server and the reply to it. It does not route: its router works on a decoded path with
slashes merged, and the path of an object must reach the store as it was sent.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

import flask

from handler import logs
from handler.contracts import discovery, health, json_v1, json_v2, proxy, stored
from handler.contracts.door import Reply, Request, Service, locate_target
from handler.errors import ActiveStorageError, InternalError, InvalidArgument, MethodNotAllowed, shown
from handler.memory import MemoryGate
from handler.params import OBJECT_DOOR
from handler.settings import Settings
from handler.upstream.deadline import Deadline
from handler.upstream.transport import Transport, TransportLimits

# By the first segment of the path; every other one is a reducer, or meant to be.
DOORS: dict[str, ModuleType] = {
    OBJECT_DOOR: stored,
    ".well-known": discovery,
    "healthz": health,
    "readyz": health,
}

# The same, but for slashes before it: clients join an endpoint that ends in one with "/v2/sum/".
JSON_DOORS: dict[str, ModuleType] = {"v1": json_v1, "v2": json_v2}


def create_app(settings: Settings, transport: Transport | None = None) -> flask.Flask:
    """The application for these settings. Nothing is read or connected to before the first request.

    Args:
        settings: What it is set up by.
        transport: What connects to stores; by default what the settings say.
    """
    logs.configure(settings)
    gate = MemoryGate(settings.memory_limit, settings.max_object_memory, settings.max_expansion)
    service = Service(settings, transport or _create_transport(settings), gate)
    app = flask.Flask(__name__, static_folder=None)
    # Whatever this returns is the reply, before Flask comes to its router.
    app.before_request(lambda: _serve(service))
    return app


def _create_transport(settings: Settings) -> Transport:
    limits = TransportLimits(
        connect_seconds=settings.connect_timeout,
        read_seconds=settings.read_timeout,
        tries=settings.retries,
        connections=settings.threads,
    )
    return Transport(settings.allow_list, limits)


def _serve(service: Service) -> flask.Response:
    started = time.monotonic()
    request = _read_request(flask.request.environ, service.settings)
    door = _find_door(request.path)
    logs.begin(request.id)
    logs.note(door=door.__name__.rpartition(".")[2], method=request.method)
    reply = _answer(door, request, service)
    return _to_flask(reply, request, started)


def _find_door(path: str) -> ModuleType:
    json_door = JSON_DOORS.get(path.lstrip("/").partition("/")[0])
    return json_door or DOORS.get(path.split("/", 2)[1], proxy)


def _answer(door: ModuleType, request: Request, service: Service) -> Reply:
    try:
        _ensure_method(request.method, door.METHODS)
        reply: Reply = door.answer(request, service)
    except ActiveStorageError as error:
        logs.note(outcome=error.code)
        reply = door.write_error(error, request)
    except Exception as error:  # noqa: BLE001  # the last line: every request gets an answer that names the fault
        logs.note(outcome=InternalError.code, fault=logs.locate(error))
        reply = door.write_error(InternalError("this server made a mistake; its log knows it by the id"), request)
    else:
        logs.note(outcome="ok")
    return reply


def _ensure_method(method: str, allowed: tuple[str, ...]) -> None:
    if method not in allowed:
        raise MethodNotAllowed(f"{shown(method)} is not answered here", allowed)


def _read_request(environ: dict[str, Any], settings: Settings) -> Request:
    # gunicorn and werkzeug give the target as it was sent; PATH_INFO has lost %2F, + and //.
    path, query = locate_target(environ["RAW_URI"], environ.get("HTTP_HOST", ""), settings.base_domain)
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_") or name in ("CONTENT_TYPE", "CONTENT_LENGTH")
    }
    return Request(
        id=secrets.token_hex(8).upper(),
        method=environ["REQUEST_METHOD"],
        path=path,
        query=query,
        headers=headers,
        deadline=Deadline.after(settings.deadline),
        read_body=lambda most: _read_body(environ, most),
    )


def _read_body(environ: dict[str, Any], most: int) -> bytes:
    try:
        body: bytes = environ["wsgi.input"].read(most)
    except Exception:  # noqa: BLE001  # the server's own classes: a chunk that is none, a connection that broke
        raise InvalidArgument("body", "could not be read to its end") from None
    return body


def _to_flask(reply: Reply, request: Request, started: float) -> flask.Response:
    sent = _Counted(reply.body)
    response = flask.Response(sent, reply.status, headers=reply.headers)
    response.headers["x-amz-request-id"] = request.id
    response.call_on_close(_log_line(reply, sent, started))
    return response


class _Counted:
    """A body that counts what of it was taken. For HEAD, werkzeug takes none."""

    def __init__(self, body: bytes | Iterable[bytes]) -> None:
        self._pieces = (body,) if isinstance(body, bytes) else body
        self.bytes_sent = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.bytes_sent += len(piece)
            yield piece

    def close(self) -> None:
        if close := getattr(self._pieces, "close", None):
            close()


def _log_line(reply: Reply, sent: _Counted, started: float) -> Callable[[], None]:
    def write() -> None:
        logs.finish(
            level="error" if reply.status == 500 else "info",
            status=reply.status,
            bytes_sent=sent.bytes_sent,
            milliseconds=round((time.monotonic() - started) * 1000, 3),
        )

    return write

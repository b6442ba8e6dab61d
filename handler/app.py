"""The Flask application: it takes a request from the server and gives it the reply that a door makes.

Flask does not route: its router works on a decoded path with slashes merged, and the path of an object must reach the
store as it was sent.
"""

import functools
import time
from collections.abc import Iterable, Iterator
from typing import Any

import flask

from handler import logs
from handler.contracts import doors
from handler.contracts.door import Reply, Request, Service, locate_target, new_request_id
from handler.errors import InvalidArgument
from handler.settings import Settings
from handler.upstream.deadline import Deadline
from handler.upstream.transport import Transport


def create_app(settings: Settings, transport: Transport | None = None) -> flask.Flask:
    """The application for these settings. Nothing is read or connected to before the first request.

    Args:
        settings: What it is set up by.
        transport: What connects to stores; by default what the settings say.
    """
    logs.configure(settings)
    service = Service.of(settings, transport)
    app = flask.Flask(__name__, static_folder=None)
    # Whatever this returns is the reply, before Flask comes to its router.
    app.before_request(lambda: _serve(service))
    return app


def _serve(service: Service) -> flask.Response:
    started = time.monotonic()
    request = _read_request(flask.request.environ, service.settings)
    return _to_flask(doors.answer(request, service), started)


def _read_request(environ: dict[str, Any], settings: Settings) -> Request:
    # gunicorn and werkzeug give the target as it was sent; PATH_INFO has lost %2F, + and //.
    path, query = locate_target(environ["RAW_URI"], environ.get("HTTP_HOST", ""), settings.base_domain)
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_") or name in ("CONTENT_TYPE", "CONTENT_LENGTH")
    }
    return Request(
        id=new_request_id(),
        method=environ["REQUEST_METHOD"],
        path=path,
        query=query,
        headers=headers,
        deadline=Deadline.after(settings.deadline),
        read_body=functools.cache(functools.partial(_read_body, environ)),
    )


def _read_body(environ: dict[str, Any], most: int) -> bytes:
    try:
        body: bytes = environ["wsgi.input"].read(most)
    except Exception:  # noqa: BLE001  # the server's own classes: a chunk that is none, a connection that broke
        raise InvalidArgument("body", "could not be read to its end") from None
    return body


def _to_flask(reply: Reply, started: float) -> flask.Response:
    sent = _Counted(reply.body)
    response = flask.Response(sent, reply.status, headers=reply.headers)
    response.call_on_close(lambda: logs.finish(reply.status, sent.bytes_sent, started))
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

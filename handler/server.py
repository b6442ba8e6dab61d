"""gunicorn, set up for this application: its options, a worker that tells no secrets, and the server as a whole.

gthread, because a request mostly waits for the store with the interpreter's lock released; a worker a core, because
numpy and Python want one each; ``reuse_port``, so that the kernel spreads kept-alive connections over the workers.
"""

import contextlib
import select
import socket
from http import HTTPStatus
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException
from gunicorn.workers.gthread import TConn, ThreadWorker

from handler.app import create_app
from handler.errors import ActiveStorageError, InternalError, InvalidArgument, UriTooLong
from handler.render import error_document
from handler.settings import Settings

# A key of 1,024 bytes is 3,072 characters when it is all percent-encoded, and a presigned query with a session token
# can have as many. gunicorn reads no longer line than this.
MAX_REQUEST_LINE_BYTES = 8190

# How long a thread that has answered stays with its connection. A busy client's next request comes within this time;
# without it each one goes from the thread to the worker's main loop and back, which takes longer than Flask does. Short
# beside what a request takes, since a new connection may wait for it.
_LINGER_MILLISECONDS = 5

# Longer than the pools of clients keep an idle connection (boto3 and s3fs: none older than some 10 s), so that the
# client is the one to close, and no request runs into a connection that is just being closed.
_KEEP_ALIVE_SECONDS = 75


class Worker(ThreadWorker):
    """gunicorn's threaded worker, whose answer to a request that cannot be parsed is S3's, like every other.

    gunicorn's own repeats the request line, and logs it: in a presigned request that is the signature.
    """

    def handle(self, conn: TConn) -> bool:
        """Answer a request, and those that follow on the same connection while there are threads for all of them."""
        result = super().handle(conn)
        # gunicorn has a third answer, for a connection that still says nothing.
        while result is True and self._is_followed(conn):
            result = super().handle(conn)
        return result

    def _is_followed(self, conn: TConn) -> bool:
        if not self.alive or self.nr_conns > self.cfg.threads:
            return False
        poll = select.poll()
        poll.register(conn.sock, select.POLLIN)
        return bool(poll.poll(_LINGER_MILLISECONDS))

    def handle_error(self, _req: object, client: socket.socket, _addr: object, exc: BaseException) -> None:
        """Answer a request that never reached the application."""
        error = _name_fault(exc)
        self.log.warning("%s before the application: %s", error.code, type(exc).__name__)
        document = error_document(error, resource="/", request_id="-")
        lines = [
            f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}",
            "Content-Type: application/xml",
            f"Content-Length: {len(document)}",
            "Connection: close",
        ]
        with contextlib.suppress(OSError):
            client.sendall("\r\n".join([*lines, "", ""]).encode("ascii") + document)


def _name_fault(exc: BaseException) -> ActiveStorageError:
    if isinstance(exc, LimitRequestLine):
        return UriTooLong(f"the request line is longer than {MAX_REQUEST_LINE_BYTES} bytes")
    if isinstance(exc, LimitRequestHeaders):
        return InvalidArgument("headers", "there are too many, or one is too long")
    if isinstance(exc, ParseException):
        return InvalidArgument("request", "is not well-formed HTTP/1.1")
    return InternalError("this server made a mistake before it came to the request")


def gunicorn_options(settings: Settings) -> dict[str, Any]:
    """The options of gunicorn for these settings."""
    return {
        "bind": settings.bind,
        "workers": settings.workers,
        "threads": settings.threads,
        "worker_class": Worker,
        "reuse_port": not settings.bind.startswith("unix:"),
        "keepalive": _KEEP_ALIVE_SECONDS,
        "limit_request_line": MAX_REQUEST_LINE_BYTES,
        # The application's own line stands for each request.
        "accesslog": None,
        # gunicorn's debug lines hold paths; the application has none of that level of its own.
        "loglevel": "info" if settings.log_level == "debug" else settings.log_level,
        # Nobody manages this server through a socket in its home folder.
        "control_socket_disable": True,
        "proc_name": "active-storage",
    }


class Server(BaseApplication):
    """gunicorn with this application in it, in the foreground.

    Args:
        settings: What it is set up by.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        """Give gunicorn its options."""
        for name, value in gunicorn_options(self._settings).items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Make the application, once in each worker."""
        return create_app(self._settings)

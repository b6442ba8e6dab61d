"""gunicorn, set up for this application: its options, a worker that tells no secrets, and the server as a whole.

gthread, because a request mostly waits for the store with the interpreter's lock released; a worker a core, because
numpy and Python want one each; ``reuse_port``, so that the kernel spreads kept-alive connections over the workers.
"""

import contextlib
import logging
import os
import select
import socket
import struct
import sys
from functools import partial
from http import HTTPStatus
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException
from gunicorn.workers.gthread import TConn, ThreadWorker

from handler.affinity import Core, Cores
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

    gunicorn's own repeats the request line, and logs it: in a presigned request that is the signature. A client that
    stalls in the middle of a request is dropped, which gunicorn's own would wait for.
    """

    # How long a client may say nothing, or take nothing, in the middle of a request.
    stall_seconds: float

    # Those that all workers share, and where among them this one is.
    cores: Cores
    place: int

    def init_process(self) -> None:
        """Start, with a log in which a client that stalls is one line, and threads that let others finish."""
        self.log.error_log.addFilter(_shorten)
        _let_others_finish()
        self._core = Core(self.cores, self.place)
        super().init_process()

    def handle(self, conn: TConn) -> bool:
        """Answer a request, and those that follow on the same connection while there are threads for all of them."""
        if not conn.initialized:
            # The kernel's, which hold whatever gunicorn sets: it would wait for the rest of a request without end.
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                conn.sock.setsockopt(socket.SOL_SOCKET, option, _as_timeval(self.stall_seconds))
        with self._core:
            result = self._answer(conn)
            # gunicorn has a third answer, for a connection that still says nothing.
            while result is True and self._is_followed(conn):
                result = self._answer(conn)
        return result

    def _answer(self, conn: TConn) -> bool:
        self._core.settle()
        return super().handle(conn)

    def _is_followed(self, conn: TConn) -> bool:
        # Those that say nothing now wait in the main loop, and want no thread.
        busy = self.nr_conns - len(self.keepalived_conns) - len(self.pending_conns)
        if not self.alive or busy > self.cfg.threads:
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


def _as_timeval(seconds: float) -> bytes:
    whole, fraction = divmod(seconds, 1)
    return struct.pack("@ll", int(whole), int(fraction * 1_000_000))


def _shorten(record: logging.LogRecord) -> bool:
    if record.exc_info and isinstance(record.exc_info[1], BlockingIOError):
        record.exc_info = None
        record.msg, record.args = "a client stalled in the middle of a request", ()
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


def _name_fault(exc: BaseException) -> ActiveStorageError:
    if isinstance(exc, LimitRequestLine):
        return UriTooLong(f"the request line is longer than {MAX_REQUEST_LINE_BYTES} bytes")
    if isinstance(exc, LimitRequestHeaders):
        return InvalidArgument("headers", "there are too many, or one is too long")
    if isinstance(exc, ParseException):
        return InvalidArgument("request", "is not well-formed HTTP/1.1")
    return InternalError("this server made a mistake before it came to the request")


def _let_others_finish() -> None:
    """Have this thread, and those that it starts, take a processor over only when whoever has it is done.

    A thread that wakes up interrupts another one otherwise (sched(7), ``SCHED_BATCH``), mostly the one that has just
    woken it: another worker, the store on the same machine, or a thread that holds the interpreter.
    """
    if hasattr(os, "SCHED_BATCH"):
        # A container may forbid it, and nothing depends on it.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _give_place(arbiter: Arbiter, worker: Worker) -> None:
    """Give a worker that is about to start a place among the cores that no other has."""
    others = (other for other in arbiter.WORKERS.values() if isinstance(other, Worker))
    worker.place = worker.cores.pick_place([other.place for other in others])


def _ensure_free(arbiter: Arbiter) -> None:
    """Pass where nobody listens at our address: with ``reuse_port`` the kernel would let two services share it.

    Raises:
        RuntimeError: Somebody does.
    """
    if "GUNICORN_FD" in os.environ or "LISTEN_FDS" in os.environ:
        # It was handed its sockets, which listen already.
        return
    for address in arbiter.cfg.address:
        if not isinstance(address, tuple):
            continue
        with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as probe:
            # As servers do: connections of a server that is gone do not hold the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                raise RuntimeError(f"{address[0]}:{address[1]}: {error.strerror}") from None


def _announce(settings: Settings, _: Arbiter) -> None:
    sys.stderr.write(f"active-storage listens on {settings.bind} and asks {settings.store}\n")


def gunicorn_options(settings: Settings) -> dict[str, Any]:
    """The options of gunicorn for these settings."""
    return {
        "bind": settings.bind,
        "workers": settings.workers,
        "threads": settings.threads,
        "worker_class": type(
            "Worker", (Worker,), {"stall_seconds": settings.read_timeout, "cores": Cores(settings.workers)}
        ),
        "reuse_port": not settings.bind.startswith("unix:"),
        "on_starting": _ensure_free,
        "pre_fork": _give_place,
        "when_ready": partial(_announce, settings),
        "keepalive": _KEEP_ALIVE_SECONDS,
        "limit_request_line": MAX_REQUEST_LINE_BYTES,
        # No proxy's header changes anything here. With nothing to say for anyone, nobody's address has to be looked at.
        "forwarded_allow_ips": "*",
        "forwarder_headers": "",
        "secure_scheme_headers": {},
        # The application's own line stands for each request.
        "accesslog": None,
        # Its own lines are no JSON, and its debug lines hold paths.
        "loglevel": "error" if settings.log_level == "error" else "warning",
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

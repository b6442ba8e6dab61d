"""The worker process: gunicorn's threaded worker, which here logs no secrets and disconnects stalled clients."""

import contextlib
import logging
import os
import select
import socket
import struct
from http import HTTPStatus

from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException
from gunicorn.workers.gthread import TConn, ThreadWorker

from active_storage.errors import ActiveStorageError, InternalError, InvalidArgument, UriTooLong
from handler.doors.error_replies import error_document
from handler.server.cores import Core, Cores

# A key of 1,024 bytes has 3,072 characters if all are percent-encoded, and a presigned query with a session token can
# be as long. This is gunicorn's own maximum.
MAX_REQUEST_LINE_BYTES = 8190

# The time for which a thread waits for the next request on a connection after it has replied. The next request of a
# busy client arrives within this time. Otherwise it would go through the worker's main loop to a thread, which takes
# longer than Flask does. It is short compared with a request, since a new connection may have to wait for the thread.
_LINGER_MILLISECONDS = 5


class Worker(ThreadWorker):
    """gunicorn's threaded worker, with two changes.

    A request that cannot be parsed is answered with S3's error document. gunicorn's own answer repeats the request
    line, and gunicorn logs it: in a presigned request, that line holds the signature.

    A client that stalls in the middle of a request is disconnected. gunicorn's own worker would wait for it.
    """

    # The time after which a client that sends or receives nothing in the middle of a request is disconnected.
    stall_seconds: float

    # The cores of all workers, and the slot of this one among them.
    cores: Cores
    slot: int

    def init_process(self) -> None:
        """Start: log a stalled client in one line, and let running threads finish before ours start."""
        self.log.error_log.addFilter(_shorten)
        _let_others_finish()
        self._core = Core(self.cores, self.slot)
        super().init_process()

    def handle(self, conn: TConn) -> bool:
        """Answer a request, and those that follow on the same connection while there are threads for all of them."""
        if not conn.initialized:
            # The kernel enforces these timeouts, whatever gunicorn sets. Without them gunicorn waits without a limit.
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                conn.sock.setsockopt(socket.SOL_SOCKET, option, _as_timeval(self.stall_seconds))
        with self._core:
            result = self._answer(conn)
            # gunicorn has a third result, for a connection without a request so far.
            while result is True and self._is_followed(conn):
                result = self._answer(conn)
        return result

    def _answer(self, conn: TConn) -> bool:
        self._core.pin_or_release()
        return super().handle(conn)

    def _is_followed(self, conn: TConn) -> bool:
        # Idle connections wait in the main loop and need no thread.
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
        return InvalidArgument("headers", "are too many, or one of them is too long")
    if isinstance(exc, ParseException):
        return InvalidArgument("request", "is not well-formed HTTP/1.1")
    return InternalError("an internal error before the request was parsed")


def _let_others_finish() -> None:
    """Keep this thread, and the threads that it starts, from interrupting a running thread when they wake up.

    Without ``SCHED_BATCH`` (sched(7)), a thread that wakes up mostly interrupts the thread that has just woken it:
    another worker, a store on the same machine, or the thread that holds the interpreter's lock.
    """
    if hasattr(os, "SCHED_BATCH"):
        # A container may forbid this, and nothing depends on it.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))

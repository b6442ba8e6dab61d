"""Child processes on loopback: free ports, waiting until ready, and leaving nothing behind.

Here live the mechanics that every started program shares; which programs there are, and with which options, is not
known here. A running program has a process group of its own, so that Ctrl+C in a terminal reaches Python alone, which
then stops its children in order, and so that its own children (gunicorn's workers) can be ended with it. SIGTERM and
SIGHUP would end Python on the spot and orphan them; while a program runs they raise ``SystemExit`` instead. Only
SIGKILL of Python itself cannot be helped.
"""

import atexit
import http.client
import itertools
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import FrameType
from typing import BinaryIO, NoReturn
from urllib.parse import urlsplit

LOOPBACK = "127.0.0.1"

# How often to ask whether a program is ready: they take half a second to two.
_POLL_SECONDS = 0.02
# How long one question may take, so that a program that accepts and says nothing does not stop the clock.
_QUESTION_SECONDS = 2.0
# How long to look away while waiting for Ctrl+C.
_WATCH_SECONDS = 1.0
# How much of a log a person wants to see in an error.
_TAIL_BYTES = 4096

# The blocks of ports that processes take for themselves: 12000 to 21999. SeaweedFS uses ports 10000 above them as well.
_FIRST_PORT, _BLOCKS, _BLOCK_PORTS = 12000, 100, 100
_PORTS_LOCK = threading.Lock()

# What ends Python without unwinding, unless it is handled.
_DEADLY_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def free_ports(count: int) -> list[int]:
    """Distinct loopback ports that nobody uses now, and that no other process gets by this function.

    They are below those that kernels give to whoever binds any port or connects, so that the time between this call and
    the start of a program is safe.

    Raises:
        RuntimeError: All blocks of ports are taken, or all ports of this process's block.
    """
    with _PORTS_LOCK:
        block = _own_block()
        free = list(itertools.islice((port for port in itertools.islice(block, _BLOCK_PORTS) if is_free(port)), count))
    if len(free) < count:
        raise RuntimeError(f"fewer than {count} ports are free")
    return free


@cache
def _own_block() -> Iterator[int]:
    """The ports of a block that is this process's until it ends, over and over: it holds the first of them."""
    for turn in range(_BLOCKS):
        first = _FIRST_PORT + (os.getpid() + turn) % _BLOCKS * _BLOCK_PORTS
        guard = socket.socket()
        try:
            guard.bind((LOOPBACK, first))
        except OSError:
            guard.close()
            continue
        atexit.register(guard.close)
        return itertools.cycle(range(first + 1, first + _BLOCK_PORTS))
    raise RuntimeError(f"all ports from {_FIRST_PORT} on are taken")


def is_free(port: int) -> bool:
    """Whether a program could listen on this loopback port now."""
    with socket.socket() as probe:
        # As servers do: connections of a server that is gone, still in TIME_WAIT, do not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except (OSError, OverflowError):
            return False
    return port > 0


def take_port(port: int | None) -> int:
    """The port asked for, or any free one when none is.

    Raises:
        RuntimeError: Somebody else listens on the port asked for.
    """
    if port is None:
        return free_ports(1)[0]
    if not is_free(port):
        raise RuntimeError(f"port {port} of {LOOPBACK} is taken or not allowed; choose another")
    return port


def http_status(url: str) -> int | None:
    """The status that a plain GET of a URL is answered with, None when nobody answers.

    ``http.client``, since it alone takes no proxy from the environment.
    """
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.netloc, timeout=_QUESTION_SECONDS)) as connection:
        try:
            connection.request("GET", parts.path or "/")
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None


def wait_while_listening(*endpoints: str) -> str:
    """Wait until an endpoint no longer takes connections, and say which; Ctrl+C ends the wait as it ends anything."""
    while True:
        for endpoint in endpoints:
            if not _accepts(endpoint):
                return endpoint
        time.sleep(_WATCH_SECONDS)


def _accepts(endpoint: str) -> bool:
    parts = urlsplit(endpoint)
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=_QUESTION_SECONDS).close()
    except OSError:
        return False
    return True


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program to run.

    Attributes:
        name: What to call it in an error.
        command: The program and its arguments.
        env: Its whole environment, nothing is inherited; not shown, since it may hold keys.
        ready: Asked again and again until it says yes.
        cwd: Where it runs, here when not given.
        log: The file that its output is added to; when not given, it is only kept for an error's text.
        timeout_seconds: How long it may take to become ready.
        grace_seconds: How long it may take to end after SIGTERM, before SIGKILL.
    """

    name: str
    command: Sequence[str | Path]
    env: Mapping[str, str] = field(repr=False)
    ready: Callable[[], bool]
    cwd: Path | None = None
    log: Path | None = None
    timeout_seconds: float = 30.0
    grace_seconds: float = 5.0


@contextmanager
def running(program: Program) -> Iterator[subprocess.Popen[bytes]]:
    """A program, from the moment it is ready until the end of the block, when it is stopped with all it started.

    Raises:
        RuntimeError: It ended before it was ready, or was not ready in time. The text holds the end of its log.
    """
    with ending_in_order(), _open_log(program.log) as output:
        # A program's arguments come from this package alone, and no shell reads them.
        process = subprocess.Popen(  # noqa: S603
            program.command,
            env=program.env,
            cwd=program.cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,
        )
        try:
            _wait_until_ready(process, program, output)
            yield process
        finally:
            _stop(process, program.grace_seconds)


def _wait_until_ready(process: subprocess.Popen[bytes], program: Program, output: BinaryIO) -> None:
    deadline = time.monotonic() + program.timeout_seconds
    while not program.ready():
        if process.poll() is not None:
            raise RuntimeError(f"{program.name} ended before it was ready{_tail(output)}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"{program.name} was not ready in {program.timeout_seconds:g} seconds{_tail(output)}")
        time.sleep(_POLL_SECONDS)
    if process.poll() is not None:
        # It lost its port to somebody in the meantime, who then said yes in its place.
        raise RuntimeError(f"{program.name} ended, and another answers at its address{_tail(output)}")


def _stop(process: subprocess.Popen[bytes], grace_seconds: float) -> None:
    try:
        _signal_group(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_seconds)
    finally:
        # Always, for what the program started and did not end; and at once when a second Ctrl+C cuts the wait short.
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _open_log(log: Path | None) -> BinaryIO:
    """For adding to and for reading back. The program writes through the same description, always at the end."""
    return tempfile.TemporaryFile("a+b", buffering=0) if log is None else log.open("a+b", buffering=0)


def _tail(output: BinaryIO) -> str:
    size = os.fstat(output.fileno()).st_size
    text = os.pread(output.fileno(), _TAIL_BYTES, max(0, size - _TAIL_BYTES)).decode(errors="replace").strip()
    return f"; the end of its log:\n{text}" if text else "; its log is empty"


@contextmanager
def ending_in_order() -> Iterator[None]:
    """While open, SIGTERM and SIGHUP raise ``SystemExit``, unless they are handled already.

    ``running`` opens it too; a main program opens it around all it does, so that its own cleaning up is covered as
    well. Python lets only the main thread change this; a program started by another one relies on it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [number for number in _DEADLY_SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _exit_by_signal)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _exit_by_signal(number: int, _frame: FrameType | None) -> NoReturn:
    # Once is enough, and the way out takes a bounded time: who sends it twice must not break off the cleaning up.
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)

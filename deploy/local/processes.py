"""Child processes on loopback: free ports, waiting until a program is ready, and stopping it with its children.

This module has the code that all programs share; the programs and their options are elsewhere. Each program runs in its
own process group. Ctrl+C in a terminal then reaches Python only, which stops its children in order, and a program is
stopped together with its own children (gunicorn's workers). SIGTERM and SIGHUP would end Python at once and leave the
programs running. Therefore they raise ``SystemExit`` while a program runs. After a SIGKILL of Python, the programs keep
running.
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

# The interval of the checks whether a program is ready. Programs take half a second to two seconds.
_POLL_SECONDS = 0.02
# The timeout of one check, for a program that accepts a connection and does not reply.
_QUESTION_SECONDS = 2.0
# The interval of the checks whether the endpoints still accept connections.
_WATCH_SECONDS = 1.0
# The part of a log, from its end, that an error message contains.
_TAIL_BYTES = 4096

# The blocks of ports that processes take for themselves: 12000 to 21999. SeaweedFS uses ports 10000 above them as well.
_FIRST_PORT, _BLOCKS, _BLOCK_PORTS = 12000, 100, 100
_PORTS_LOCK = threading.Lock()

# The signals that end Python without unwinding, unless they are handled.
_DEADLY_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def free_ports(count: int) -> list[int]:
    """Distinct free ports of loopback, which no other process gets from this function.

    They are below the ports that kernels give to programs that bind any port or connect, so that no other program takes
    one between this call and the start of a program.

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
        # As servers do: connections in TIME_WAIT, of a server that has ended, then do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except (OSError, OverflowError):
            return False
    return port > 0


def take_port(port: int | None) -> int:
    """The port if it is free; any free port for None.

    Raises:
        RuntimeError: The port is in use or not allowed.
    """
    if port is None:
        return free_ports(1)[0]
    if not is_free(port):
        raise RuntimeError(f"port {port} of {LOOPBACK} is in use or not allowed; choose another")
    return port


def http_status(url: str) -> int | None:
    """The status of a plain GET of a URL; None without a reply.

    ``http.client`` is used because it ignores network proxies in the environment.
    """
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.netloc, timeout=_QUESTION_SECONDS)) as connection:
        try:
            connection.request("GET", parts.path or "/")
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None


def wait_while_listening(*endpoints: str) -> str:
    """Wait until an endpoint no longer accepts connections, and return it. Ctrl+C raises ``KeyboardInterrupt``."""
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
        name: Its name in error messages.
        command: The program and its arguments.
        env: Its whole environment; nothing is inherited. ``repr`` does not show it, since it can contain keys.
        ready: Returns whether the program is ready. It is called repeatedly.
        cwd: Its working directory; None for the current one.
        log: The file to which its output is appended; None to keep the output for error messages only.
        timeout_seconds: The maximum time until it is ready.
        grace_seconds: The time between SIGTERM and SIGKILL.
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
    """Start a program, and wait until it is ready. At the end of the block it is stopped together with its children.

    Raises:
        RuntimeError: It ended before it was ready, or was not ready in time. The message has the end of its log.
    """
    with ending_in_order(), _open_log(program.log) as output:
        # All arguments come from this package, and no shell is used.
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
        # Another program took its port and replied instead.
        raise RuntimeError(f"{program.name} ended, and another program uses its port{_tail(output)}")


def _stop(process: subprocess.Popen[bytes], grace_seconds: float) -> None:
    try:
        _signal_group(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_seconds)
    finally:
        # Always, since children of the program may still run. A second Ctrl+C during the wait leads here at once.
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _open_log(log: Path | None) -> BinaryIO:
    """A file for appending and for reading. The program writes through the same descriptor, always at the end."""
    return tempfile.TemporaryFile("a+b", buffering=0) if log is None else log.open("a+b", buffering=0)


def _tail(output: BinaryIO) -> str:
    size = os.fstat(output.fileno()).st_size
    text = os.pread(output.fileno(), _TAIL_BYTES, max(0, size - _TAIL_BYTES)).decode(errors="replace").strip()
    return f"; the end of its log:\n{text}" if text else "; its log is empty"


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Inside the block, SIGTERM and SIGHUP raise ``SystemExit``, unless they are handled already.

    ``running`` enters it too. A main program enters it around all its work, so that its own cleanup is covered. Python
    allows signal handlers to be set in the main thread only; in other threads this does nothing.
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
    # Further signals are ignored, so that they do not interrupt the cleanup, which takes a limited time.
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)

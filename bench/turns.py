"""Turns: requests to a contender, a number of them or for some seconds. The result of a turn is a rate, per second.

There are three ways to send them. ``Clients`` are processes with threads, which use a ``Way`` and check every sum. wrk
takes little CPU, sends the next request after each answer, and does not count answers after the end of its time.
``ask_by_threads`` is for objects that take longer than that. All of them share the cores with the store and the
service: if all cores are busy, a contender's time includes the CPU time of the store and of the client.
"""

import http.client
import json
import multiprocessing
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import requests

from bench.programs import need
from bench.rounds import MIB
from bench.scene import BUCKET, DTYPE, Scene, StoredObject, format_total
from deploy.local.store import Store

# Neither smaller nor larger buffers are faster for the store alone.
_BUFFER_BYTES = 1 * MIB

# No request takes as long. This ends a run that hangs.
_TIMEOUT_SECONDS = 600

# By default boto3 keeps 10 connections, and opens others for each request. No case has more clients than this.
_BOTO3_CONNECTIONS = 64

# The smallest number of clients of a case that has more than one: each process has at least one of them.
_MOST_PROCESSES = 8

_RATE_RE = re.compile(r"Requests/sec:\s+([0-9.]+)")
_FAILURE_RE = re.compile(r"Non-2xx or 3xx responses: \d+|Socket errors: .*")


class WrongReply(Exception):
    """A reply is an error, has too few bytes, or is not the sum that numpy computed."""


# Requests


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, which is sent repeatedly."""

    url: str = field(repr=False)
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: str = ""


def ask_json(endpoint: str, operation: str, members: Mapping[str, object]) -> Ask:
    """A request of the JSON interface."""
    headers = {"Content-Type": "application/json"}
    return Ask(f"{endpoint}/v2/{operation}/", "POST", headers, json.dumps(members))


class Connection:
    """A persistent connection, and the buffer for the bodies of its replies."""

    def __init__(self, url: str, buffer_bytes: int = _BUFFER_BYTES) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_TIMEOUT_SECONDS)
        self._buffer = memoryview(bytearray(buffer_bytes))

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    def fetch(self, ask: Ask, keep: Callable[[memoryview], object] | None = None) -> int:
        """Send a request, and return the size of the body of its reply.

        Args:
            ask: The request.
            keep: Called with each piece of the body, in a buffer that the next piece overwrites.

        Raises:
            WrongReply: The reply is an error.
        """
        parts, received = urlsplit(ask.url), 0
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        self._connection.request(ask.method, target, ask.body or None, dict(ask.headers))
        response = self._connection.getresponse()
        if response.status not in (200, 206):
            raise WrongReply(f"{response.status}: {response.read(300).decode(errors='replace')}")
        while read := response.readinto(self._buffer):
            received += read
            if keep:
                keep(self._buffer[:read])
        return received


def fetch(ask: Ask) -> bytes:
    """The body of the reply to a request."""
    pieces: list[bytes] = []
    with closing(Connection(ask.url)) as connection:
        connection.fetch(ask, lambda piece: pieces.append(bytes(piece)))
    return b"".join(pieces)


def fetch_sum(endpoint: str, stored: StoredObject) -> float:
    """The service's sum of an object, by a link to it."""
    return float(np.frombuffer(fetch(Ask(f"{endpoint}/sum/float32{stored.target}")), DTYPE)[0])


def _repeat(ask: Ask, times: int) -> int:
    with closing(Connection(ask.url)) as connection:
        return sum(connection.fetch(ask) for _ in range(times))


# Turns of one process, and of wrk


def ask_by_wrk(ask: Ask, clients: int, seconds: int) -> float:
    """Requests per second.

    Raises:
        RuntimeError: There is no wrk.
        WrongReply: A request failed.
    """
    with TemporaryDirectory(prefix="active-storage-") as folder:
        script = Path(folder) / "ask.lua"
        script.write_text(to_lua(ask))
        done = subprocess.run(  # noqa: S603  # the arguments are ours
            [
                *(need("wrk"), "-t", str(min(clients, 2)), "-c", str(clients), "-d", f"{seconds}s"),
                *("--timeout", f"{_TIMEOUT_SECONDS}s", "-s", script, ask.url),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    rate, failure = _RATE_RE.search(done.stdout), _FAILURE_RE.search(done.stdout)
    if failure or not rate or not float(rate[1]):
        raise WrongReply(f"wrk: {failure[0] if failure else done.stderr or 'no answer in time'}")
    return float(rate[1])


def to_lua(ask: Ask) -> str:
    """The request as a script for wrk. Strings of JSON without Unicode escapes are valid in Lua, too."""
    headers = "".join(f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}\n" for name, value in ask.headers.items())
    body = f"wrk.body = {json.dumps(ask.body)}\n" if ask.body else ""
    return f"wrk.method = {json.dumps(ask.method)}\n{headers}{body}"


def ask_by_threads(ask: Ask, clients: int, times: int) -> float:
    """Requests per second, from the first request to the last answer."""
    with ThreadPoolExecutor(clients) as pool:
        started = time.monotonic()
        list(pool.map(lambda _: _repeat(ask, times), range(clients)))
        return clients * times / (time.monotonic() - started)


def download_by_requests(ask: Ask, size: int) -> float:
    """The rate of downloads of ``size`` bytes with the library requests, in pieces, as programs do."""
    started = time.monotonic()
    with requests.get(ask.url, stream=True, timeout=_TIMEOUT_SECONDS) as response:
        received = sum(map(len, response.iter_content(_BUFFER_BYTES)))
    elapsed = time.monotonic() - started
    if received != size:
        raise WrongReply(f"{received} bytes of {size} came")
    return 1 / elapsed


# Ways to compute the sum of an object

Fetch = Callable[[StoredObject], None]


@dataclass(frozen=True)
class Way:
    """A way to get the sum of an object or, for the store alone, its bytes.

    Attributes:
        name: Its name on the pages.
        open: Opens a function that fetches an object and checks the reply, for one client, until the context ends.
        copies: The number of copies of the object that each client holds in memory.
    """

    name: str
    open: Callable[[Scene], AbstractContextManager[Fetch]]
    copies: int = 0


def _ensure_sum(total: bytes, stored: StoredObject) -> None:
    if total != stored.total:
        raise WrongReply(f"the sum of {stored.key} is {total.hex(' ')}, not {stored.total.hex(' ')}")


@contextmanager
def _open_store(scene: Scene) -> Iterator[Fetch]:
    with closing(Connection(scene.store.endpoint)) as connection:

        def fetch_object(stored: StoredObject) -> None:
            received = connection.fetch(Ask(f"{scene.store.endpoint}{stored.target}"))
            if received != stored.size:
                raise WrongReply(f"{received} bytes of {stored.key} came")

        yield fetch_object


@contextmanager
def _open_proxy(scene: Scene) -> Iterator[Fetch]:
    with closing(Connection(scene.service)) as connection:

        def fetch_sum(stored: StoredObject) -> None:
            body = bytearray()
            connection.fetch(Ask(f"{scene.service}/sum/float32{stored.target}"), body.extend)
            _ensure_sum(bytes(body), stored)

        yield fetch_sum


@contextmanager
def _open_client(scene: Scene) -> Iterator[Fetch]:
    client = _boto3_client(scene.store)

    def fetch_and_add(stored: StoredObject) -> None:
        body = client.get_object(Bucket=BUCKET, Key=stored.key)["Body"].read()
        _ensure_sum(format_total(np.frombuffer(body, DTYPE)), stored)

    yield fetch_and_add


@cache
def _boto3_client(store: Store) -> Any:
    """A client for all threads of a process, as boto3's documentation recommends: making one takes 0.1 s."""
    return store.client(max_pool_connections=_BOTO3_CONNECTIONS)


STORE = Way("store", _open_store)
PROXY = Way("proxy", _open_proxy)
CLIENT = Way("client", _open_client, copies=1)


# Clients in several processes


class Clients:
    """A process for each core, since 32 threads of one process would wait for its lock. See ``open_clients``."""

    def __init__(self, scene: Scene, pool: ProcessPoolExecutor, processes: int) -> None:
        self._scene = scene
        self._pool = pool
        self._processes = processes

    def take(self, way: Way, stored: StoredObject, clients: int, times: int) -> float:
        """Fetches per second, from the first request to the last answer, if each client fetches ``times`` times.

        Each connection is opened, and used once, before the clock starts.

        Raises:
            WrongReply: A reply is wrong.
        """
        processes = 1 if clients == 1 else self._processes
        threads = [clients // processes + (place < clients % processes) for place in range(processes)]
        turn = (way, stored, times)
        futures = [self._pool.submit(_take_share, self._scene, turn, count, processes > 1) for count in threads]
        shares = [future.result() for future in futures]
        return clients * times / (max(ended for _, ended in shares) - min(started for started, _ in shares))

    def pid(self) -> int:
        """The id of one of the processes."""
        return self._pool.submit(os.getpid).result()


@contextmanager
def open_clients(scene: Scene, processes: int | None = None) -> Iterator[Clients]:
    """Start the processes of the clients; by default one for each core."""
    count = processes or min(os.cpu_count() or 1, _MOST_PROCESSES)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, context, initializer=_share, initargs=(context.Barrier(count),)) as pool:
        yield Clients(scene, pool, count)


_shared: list[Barrier] = []


def _share(barrier: Barrier) -> None:
    """Keep the barrier. Processes can inherit it, but not receive it with a turn."""
    _shared.append(barrier)


def _take_share(
    scene: Scene, turn: tuple[Way, StoredObject, int], threads: int, is_shared: bool
) -> tuple[float, float]:
    """Take one process's share of a turn, and return when it began and ended. It waits until all have warmed up."""
    way, stored, times = turn
    with ExitStack() as held:
        pool = held.enter_context(ThreadPoolExecutor(threads))
        fetches = [held.enter_context(way.open(scene)) for _ in range(threads)]
        try:
            list(pool.map(lambda fetch: fetch(scene.smallest), fetches))
        finally:
            if is_shared:
                _shared[0].wait()
        started = time.monotonic()
        list(pool.map(lambda fetch: [fetch(stored) for _ in range(times)], fetches))
        return started, time.monotonic()

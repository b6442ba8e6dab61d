"""A slow link between the client and the service with its store, and a distant store.

The link shows where a reduction beside the store is faster than a download, and where it is not. It is a program of
ours, since not every kernel has netem: it forwards data after half the round trip, at most at its bandwidth, and makes
a new connection wait for one round trip. It has TCP's slow start, and loses nothing.

A distant store (``distant``) has the delay only: its bandwidth is not limited, and it has no slow start.
"""

import asyncio
import multiprocessing
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from urllib.parse import urlsplit

from bench.rounds import KIB, MIB, Row, format_size, run_rounds
from bench.scene import Scene, StoredObject
from bench.turns import CLIENT, PROXY, Fetch
from deploy.local.processes import LOOPBACK
from deploy.local.store import Store

SIZES = (4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, 1 * MIB, 4 * MIB, 16 * MIB, 64 * MIB)

BITS_PER_SECOND = 10**9
ROUND_TRIP_SECONDS = 0.02

# The target: the smallest ratio of the service's rate to that of a download, for the largest of the sizes.
TARGET = 20

_PIECE_BYTES = 64 * KIB

# RFC 6928: ten segments. A connection that was idle for longer than Linux's shortest timeout of retransmission (200 ms
# and the round trip) begins again with ten segments: RFC 5681, section 4.1.
_INITIAL_WINDOW_BYTES = 10 * 1460
_IDLE_SECONDS = 0.2 + ROUND_TRIP_SECONDS


def measure(scene: Scene, sizes: Sequence[int], rounds: int, tell: Callable[[str], None]) -> list[Row]:
    """Measure the rate of sums across the link, by the service and by a download, for objects of these sizes.

    Raises:
        WrongReply: A sum is not numpy's.
    """
    with ExitStack() as held:
        far = held.enter_context(_linked(scene))
        fetches = {way.name: held.enter_context(way.open(far)) for way in (PROXY, CLIENT)}
        # The first requests open the connections.
        for fetch in fetches.values():
            fetch(scene.smallest)
        rows = [
            Row(
                format_size(size),
                {name: partial(_time, fetch, scene.objects[size]) for name, fetch in fetches.items()},
                rounds=rounds,
                target=TARGET if size == max(SIZES) else None,
            )
            for size in sizes
        ]
        run_rounds(rows, tell)
    return rows


def _time(fetch: Fetch, stored: StoredObject) -> float:
    started = time.perf_counter()
    fetch(stored)
    return 1 / (time.perf_counter() - started)


@contextmanager
def _linked(scene: Scene) -> Iterator[Scene]:
    """The scene, seen from the other end of the link."""
    with linked([scene.store.endpoint, scene.service]) as (store, service):
        yield replace(scene, store=Store(store), service=service)


def linked(endpoints: Sequence[str]) -> AbstractContextManager[list[str]]:
    """These endpoints, seen from the other end of one link."""
    return _standing_before(_open_link, endpoints)


def distant(endpoint: str) -> AbstractContextManager[list[str]]:
    """An endpoint, seen from a round trip away."""
    return _standing_before(_open_distance, [endpoint])


_Open = Callable[[Sequence[int]], Awaitable[list[asyncio.Server]]]


@contextmanager
def _standing_before(open_servers: _Open, endpoints: Sequence[str]) -> Iterator[list[str]]:
    """The endpoints of a separate process that forwards to these."""
    here, there = multiprocessing.Pipe()
    ports = [urlsplit(endpoint).port or 0 for endpoint in endpoints]
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(open_servers, there, ports), daemon=True)
    process.start()
    try:
        yield [f"http://{LOOPBACK}:{port}" for port in here.recv()]
    finally:
        process.terminate()
        process.join()


def _run(open_servers: _Open, pipe: Connection, ports: Sequence[int]) -> None:
    asyncio.run(_serve(open_servers, pipe, ports))


async def _serve(open_servers: _Open, pipe: Connection, ports: Sequence[int]) -> None:
    """Forward to these ports, and send the ports of the servers through the pipe."""
    servers = await open_servers(ports)
    pipe.send([server.sockets[0].getsockname()[1] for server in servers])
    await asyncio.gather(*(server.serve_forever() for server in servers))


async def _open_link(ports: Sequence[int]) -> list[asyncio.Server]:
    link = (_Way(), _Way())
    return [
        await asyncio.start_server(lambda r, w, port=port: _join(link, port, r, w), LOOPBACK, 0)  # type: ignore[misc]
        for port in ports
    ]


async def _join(
    link: "tuple[_Way, _Way]", port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await asyncio.sleep(ROUND_TRIP_SECONDS)
    far_reader, far_writer = await asyncio.open_connection(LOOPBACK, port)
    there, back = link
    await asyncio.gather(there.carry(reader, far_writer), back.carry(far_reader, writer))


class _Way:
    """One direction of the link, which all its connections share."""

    def __init__(self) -> None:
        self._free_at = 0.0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward the data with a delay, until the sender closes the connection."""
        arriving: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        delivering = asyncio.create_task(self._deliver(arriving, writer))
        clock, window = asyncio.get_running_loop().time, Window()
        while piece := await reader.read(_PIECE_BYTES):
            while piece:
                wait_seconds, room = window.find_room(clock())
                await asyncio.sleep(wait_seconds)
                part, piece = piece[:room], piece[room:]
                self._free_at = max(clock(), self._free_at) + len(part) * 8 / BITS_PER_SECOND
                window.send(len(part), self._free_at)
                arriving.put_nowait((self._free_at + ROUND_TRIP_SECONDS / 2, part))
                # The sender has to wait until this part has left.
                await asyncio.sleep(self._free_at - clock())
        arriving.put_nowait((clock() + ROUND_TRIP_SECONDS / 2, b""))
        await delivering

    async def _deliver(self, arriving: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter) -> None:
        while True:
            arrives_at, piece = await arriving.get()
            await asyncio.sleep(arrives_at - asyncio.get_running_loop().time())
            if not piece:
                writer.close()
                return
            writer.write(piece)
            await writer.drain()


class Window:
    """The number of bytes that may be in flight: TCP's congestion window if nothing is lost (RFC 5681, 3.1)."""

    def __init__(self) -> None:
        self._size = _INITIAL_WINDOW_BYTES
        self._sent: deque[tuple[float, int]] = deque()
        self._flying = 0
        self._last_at = 0.0

    def find_room(self, now: float) -> tuple[float, int]:
        """The seconds until more may be sent, and the number of bytes that may be sent then."""
        if now - self._last_at > _IDLE_SECONDS:
            self._size = _INITIAL_WINDOW_BYTES
        waits_until = now
        while self._sent and (self._sent[0][0] <= now or self._flying >= self._size):
            acknowledged_at, count = self._sent.popleft()
            waits_until = max(waits_until, acknowledged_at)
            self._flying -= count
            # Slow start: the window grows by what was acknowledged.
            self._size += count
        return waits_until - now, self._size - self._flying

    def send(self, count: int, left_at: float) -> None:
        """Count bytes that are sent. A round trip after ``left_at`` they are acknowledged."""
        self._sent.append((left_at + ROUND_TRIP_SECONDS, count))
        self._flying += count
        self._last_at = left_at


async def _open_distance(ports: Sequence[int]) -> list[asyncio.Server]:
    loop = asyncio.get_running_loop()
    return [await loop.create_server(partial(_Near, port), LOOPBACK, 0) for port in ports]


class _Delayed(asyncio.Protocol):
    """An end of a connection: data that arrives here is sent at the other end half a round trip later."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _Delayed | None = None
        self._flying: deque[bytes] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._flying.append(data)
        asyncio.get_running_loop().call_later(ROUND_TRIP_SECONDS / 2, self._arrive)

    def connection_lost(self, _exc: Exception | None) -> None:
        # The other end is closed after all earlier data.
        self.data_received(b"")

    def _arrive(self) -> None:
        if self.other is None or self.other.transport is None:
            return
        if data := self._flying.popleft():
            self.other.transport.write(data)
        else:
            self.other.transport.close()


class _Near(_Delayed):
    """The end that a client has connected to. It opens the connection to the store a round trip later."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None  # noqa: S101
        # The kernel keeps the data that arrives meanwhile.
        self.transport.pause_reading()
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(ROUND_TRIP_SECONDS)
        _, far = await loop.create_connection(_Delayed, LOOPBACK, self._port)
        self.other, far.other = far, self
        if self.transport is not None:
            self.transport.resume_reading()

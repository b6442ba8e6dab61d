"""Those who ask: processes with threads, as many as a case has clients.

One Python process with 32 threads would measure its own interpreter's lock. So there is a process for each core, and
the clients of a case are divided among them, a thread for each; a case of one client has one process and one thread.
They share the cores with the store and the service, as everything here does: when all cores are busy, a contender's
time is what the whole of it costs in CPU, the asking included.
"""

import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier

from bench.contenders import Contender, Fetch, Fetched, WrongReply
from bench.scene import Scene, StoredObject

# The smallest number of clients of a case that has more than one: each process has at least one of them.
_MOST_PROCESSES = 8


@dataclass(frozen=True)
class Turn:
    """What the clients do at a time: each fetches the object so many times."""

    contender: Contender
    stored: StoredObject
    clients: int
    requests: int


@dataclass(frozen=True, slots=True)
class Taken:
    """A turn that has been taken: how long it took, and how many bytes of body came to the clients in it."""

    seconds: float
    received: int


@dataclass(frozen=True, slots=True)
class _Share:
    """The same of one process: when it began and ended, on the clock that all processes have in common."""

    started: float
    ended: float
    received: int


class Clients:
    """The processes. Made by ``open_clients``."""

    def __init__(self, scene: Scene, pool: ProcessPoolExecutor, processes: int) -> None:
        self._scene = scene
        self._pool = pool
        self._processes = processes

    def take(self, turn: Turn) -> Taken:
        """Take a turn, from the first request to the last answer.

        Connections are open and used once before the clock starts.

        Raises:
            WrongReply: A reply is not what it must be.
            OSError, http.client.HTTPException: There was none.
        """
        processes = 1 if turn.clients == 1 else self._processes
        threads = [turn.clients // processes + (place < turn.clients % processes) for place in range(processes)]
        futures = [self._pool.submit(_take_share, self._scene, turn, count, processes > 1) for count in threads]
        shares = [future.result() for future in futures]
        seconds = max(share.ended for share in shares) - min(share.started for share in shares)
        return Taken(seconds, sum(share.received for share in shares))

    def pid(self) -> int:
        """The process id of one of the processes, of the only one if there is one."""
        return self._pool.submit(os.getpid).result()


@contextmanager
def open_clients(scene: Scene, processes: int | None = None) -> Iterator[Clients]:
    """Processes that are ready to ask; by default one for each core."""
    count = processes or min(os.cpu_count() or 1, _MOST_PROCESSES)
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, context, initializer=_share_barrier, initargs=(context.Barrier(count),))
    with pool:
        yield Clients(scene, pool, count)


_shared: list[Barrier] = []


def _share_barrier(barrier: Barrier) -> None:
    """Keep what cannot be sent with a turn: it is inherited, or not had."""
    _shared.append(barrier)


def _take_share(scene: Scene, turn: Turn, threads: int, is_shared: bool) -> _Share:
    """The part of one process. It waits for the others between warming up and asking."""
    with ExitStack() as held:
        pool = held.enter_context(ThreadPoolExecutor(threads))
        fetches = [held.enter_context(turn.contender.open(scene)) for _ in range(threads)]
        try:
            list(pool.map(lambda fetch: _ask(fetch, scene.smallest, 1), fetches))
        finally:
            if is_shared:
                _shared[0].wait()
        started = time.monotonic()
        received = sum(pool.map(lambda fetch: _ask(fetch, turn.stored, turn.requests), fetches))
        return _Share(started, time.monotonic(), received)


def _ask(fetch: Fetch, stored: StoredObject, times: int) -> int:
    """Fetch an object so many times; how many bytes of body came.

    Raises:
        WrongReply: One of the replies is not right.
    """
    received = 0
    for _ in range(times):
        fetched = fetch(stored)
        _ensure_right(fetched, stored)
        received += fetched.received
    return received


def _ensure_right(fetched: Fetched, stored: StoredObject) -> None:
    """Pass where the sum is numpy's to the last bit, or where the bytes of who does not add up are all there.

    Raises:
        WrongReply: It is not.
    """
    if fetched.total is None:
        if fetched.received != stored.size:
            raise WrongReply(f"{fetched.received} bytes of {stored.key} came")
    elif fetched.total != stored.total:
        raise WrongReply(f"the sum of {stored.key} is {fetched.total.hex(' ')}, not {stored.total.hex(' ')}")

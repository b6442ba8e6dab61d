"""Memory: how far a process grows beyond its idle size while it sums.

The resident size of every process that takes part is sampled; idle is what it has after it has answered its first
requests. It is measured before anything else is asked of the service: a process that has been large already would
seem to grow less.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from bench.cases import MIB
from bench.clients import Turn, open_clients
from bench.contenders import CLIENT, PROXY, Contender
from bench.scene import WORKERS, Scene

# The issue's own: what the service's process may grow by while it sums one object.
TARGET_GROWTH = 16 * MIB

# Whatever runs it is the service.
_SERVICE_MODULE = "handler.cli"

# Some hundred samples while 1 GiB is summed.
_SAMPLE_SECONDS = 0.005

# For each worker: the kernel decides which of them gets a connection, and each should have had one.
_WARM_UP_REQUESTS = 8


@dataclass(frozen=True)
class Growth:
    """What was measured of one contender.

    Attributes:
        contender: Its name.
        process: Which process was looked at.
        size: Bytes of the object.
        clients: How many asked at a time.
        idle: Bytes of the process that grew most, before.
        peak: Bytes of the same process, at most.
        samples: How often its size was looked at.
    """

    contender: str
    process: str
    size: int
    clients: int
    idle: int
    peak: int
    samples: int

    @property
    def bytes(self) -> int:
        """How far it grew."""
        return self.peak - self.idle

    @property
    def has_target(self) -> bool:
        """Whether it is the one that the proxy is judged by."""
        return self.contender == PROXY.name and self.clients == 1


def measure(scene: Scene) -> list[Growth]:
    """How far the service grows while it sums the largest object, once and by many at a time, and how far a client.

    Raises:
        WrongReply: A reply is not what it must be.
    """
    sizes = sorted(scene.objects)
    largest, second = sizes[-1], sizes[-2]
    return [_measure_service(scene, largest, 1), _measure_service(scene, second, 32), _measure_client(scene, largest)]


def _measure_service(scene: Scene, size: int, clients: int) -> Growth:
    with open_clients(scene) as asking:
        for _ in range(_WARM_UP_REQUESTS * WORKERS):
            asking.take(Turn(PROXY, scene.smallest, 1, 1))
        with watching(find_workers()) as watch:
            asking.take(Turn(PROXY, scene.objects[size], clients, 1))
    return _growth(PROXY, "the service's, the one of its workers that grew most", size, clients, watch)


def _measure_client(scene: Scene, size: int) -> Growth:
    with open_clients(scene, processes=1) as asking:
        asking.take(Turn(CLIENT, scene.smallest, 1, 1))
        with watching([psutil.Process(asking.pid())]) as watch:
            asking.take(Turn(CLIENT, scene.objects[size], 1, 1))
    return _growth(CLIENT, "the client's own", size, 1, watch)


@dataclass
class _Watched:
    """A process, its resident size before, and the largest that was seen since."""

    process: psutil.Process
    idle: int
    peak: int


@dataclass
class Watch:
    """What is seen of some processes while a thread looks at them."""

    watched: list[_Watched]
    samples: int = 0

    def look(self) -> None:
        """Take a sample of every process."""
        for each in self.watched:
            each.peak = max(each.peak, each.process.memory_info().rss)
        self.samples += 1


@contextmanager
def watching(processes: Sequence[psutil.Process]) -> Iterator[Watch]:
    """Look at these processes until the context ends."""
    sizes = [process.memory_info().rss for process in processes]
    watch = Watch([_Watched(process, size, size) for process, size in zip(processes, sizes, strict=True)])
    is_over = threading.Event()

    def look_on() -> None:
        while not is_over.wait(_SAMPLE_SECONDS):
            watch.look()

    thread = threading.Thread(target=look_on)
    thread.start()
    try:
        yield watch
    finally:
        is_over.set()
        thread.join()
        watch.look()


def _growth(contender: Contender, process: str, size: int, clients: int, watch: Watch) -> Growth:
    most = max(watch.watched, key=lambda each: each.peak - each.idle)
    return Growth(contender.name, process, size, clients, most.idle, most.peak, watch.samples)


def find_workers() -> list[psutil.Process]:
    """The service's processes that answer: gunicorn's own process starts them, and does nothing else.

    Raises:
        RuntimeError: They are not all there, and one that is not watched might be the one that grows.
    """
    servers = [child for child in psutil.Process().children() if _SERVICE_MODULE in child.cmdline()]
    workers = [worker for server in servers for worker in server.children()]
    if len(workers) != WORKERS:
        raise RuntimeError(f"the service has {len(workers)} workers, not {WORKERS}")
    return workers

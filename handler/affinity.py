"""The cores of the machine, and which of them a worker's threads run on.

A thread that wakes up is put by the kernel where there is room, which in a worker of many threads means that the
interpreter, of which there is one, goes from cache to cache. So each worker keeps to a core of its own while all of
them are busy. While one is idle its core is for whoever needs it, and threads run where the kernel would have them.
What of this a system does not know is left to its kernel; no result depends on it.
"""

import contextlib
import mmap
import os
import threading
from collections.abc import Sequence
from types import TracebackType


def count_cores() -> int:
    """How many cores this process may run on."""
    return len(_find_cores(0)) or os.cpu_count() or 1


def roam() -> None:
    """Have this thread run where the process's first one may, which keeps to no core."""
    _keep_to(_find_cores(os.getpid()))


def _find_cores(thread: int) -> set[int]:
    """Those that a thread, 0 for this one, may run on; none where the system does not tell."""
    return os.sched_getaffinity(thread) if hasattr(os, "sched_getaffinity") else set()


def _keep_to(cores: set[int]) -> None:
    # A container may forbid it, or take a core away.
    with contextlib.suppress(OSError):
        if cores:
            os.sched_setaffinity(0, cores)


class Cores:
    """The cores, shared out to processes, one to each; made before they are forked, it tells them of each other.

    Where there are not as many processes as cores nobody keeps to one: there may be another service, which counts from
    the same first core.

    Args:
        processes: How many.
    """

    def __init__(self, processes: int) -> None:
        cores = sorted(_find_cores(0))
        self._cores = cores if len(cores) == processes else []
        # A byte for each place, in memory that they share: whether the process there is busy.
        self._busy = mmap.mmap(-1, processes)

    def pick_place(self, taken: Sequence[int]) -> int:
        """The first of the places that the fewest have, where ``taken`` are those of the others."""
        return min(range(len(self._busy)), key=taken.count)

    def note(self, place: int, is_busy: bool) -> None:
        """Tell the others whether the process at this place is busy."""
        self._busy[place] = is_busy

    def choose(self, place: int) -> set[int]:
        """The core for the threads of the process at this place now; none while they may run on any."""
        is_one_idle = self._busy.find(b"\0", 0) >= 0
        return set() if is_one_idle else set(self._cores[place : place + 1])


class _Thread(threading.local):
    """What is known of each thread: whether it keeps to the core."""

    keeps = False


class Core:
    """A process's place among others. A context manager: within it the process is busy, in any number of threads.

    Args:
        cores: All of them.
        place: Which one it is.
    """

    def __init__(self, cores: Cores, place: int) -> None:
        self._cores = cores
        self._place = place
        self._thread = _Thread()
        self._busy_threads = 0
        self._lock = threading.Lock()
        # Whoever had the place before may have ended in the middle of something.
        cores.note(place, is_busy=False)

    def __enter__(self) -> None:
        self._count(1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._count(-1)

    def settle(self) -> None:
        """Have this thread keep to the core, or roam, as is right now."""
        core = self._cores.choose(self._place)
        if bool(core) == self._thread.keeps:
            return
        self._thread.keeps = bool(core)
        if core:
            _keep_to(core)
        else:
            roam()

    def _count(self, more: int) -> None:
        with self._lock:
            self._busy_threads += more
            self._cores.note(self._place, self._busy_threads > 0)

"""Which core each worker runs on.

The kernel puts a thread that wakes up on any free core. A worker has many threads and one interpreter, so that the
interpreter's data would move from cache to cache. Therefore each worker keeps to its own core while all workers are
busy. While a worker is idle, its core is free for others, and the kernel may run threads on every core.

No result depends on this. How one thread is kept to a core is in ``handler.affinity``.
"""

import mmap
import threading
from collections.abc import Sequence
from types import TracebackType

from handler.affinity import find_cores, keep_to, roam


class Cores:
    """The cores, one for each process. It is made before the processes are forked, which share its memory.

    If there are more or fewer processes than cores, no process keeps to a core: another service on this machine could
    choose the same cores.

    Args:
        processes: The number of processes.
    """

    def __init__(self, processes: int) -> None:
        cores = sorted(find_cores(0))
        self._cores = cores if len(cores) == processes else []
        # One byte for each slot, in shared memory: whether the process in that slot is busy.
        self._busy = mmap.mmap(-1, processes)

    def pick_slot(self, taken: Sequence[int]) -> int:
        """The first of the slots that the fewest processes have; ``taken`` are the slots of the other processes."""
        return min(range(len(self._busy)), key=taken.count)

    def set_busy(self, slot: int, is_busy: bool) -> None:
        """Tell the other processes whether the process in this slot is busy."""
        self._busy[slot] = is_busy

    def choose(self, slot: int) -> set[int]:
        """The core that the threads of the process in this slot should keep to; empty if they may run on any."""
        is_one_idle = self._busy.find(b"\0", 0) >= 0
        return set() if is_one_idle else set(self._cores[slot : slot + 1])


class _Thread(threading.local):
    """State of each thread: whether it keeps to the core."""

    keeps = False


class Core:
    """The core of one process. A context manager, for any number of threads: inside it, the process is busy.

    Args:
        cores: The cores of all processes.
        slot: The slot of this process.
    """

    def __init__(self, cores: Cores, slot: int) -> None:
        self._cores = cores
        self._slot = slot
        self._thread = _Thread()
        self._busy_threads = 0
        self._lock = threading.Lock()
        # A process that was killed may have left its slot marked as busy.
        cores.set_busy(slot, is_busy=False)

    def __enter__(self) -> None:
        self._count(1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._count(-1)

    def pin_or_release(self) -> None:
        """Keep this thread to the core, or let it roam, whichever is right now."""
        core = self._cores.choose(self._slot)
        if bool(core) == self._thread.keeps:
            return
        self._thread.keeps = bool(core)
        if core:
            keep_to(core)
        else:
            roam()

    def _count(self, more: int) -> None:
        with self._lock:
            self._busy_threads += more
            self._cores.set_busy(self._slot, self._busy_threads > 0)

"""CPU affinity: the cores that a thread may run on.

On systems without CPU affinity, such as macOS, the functions here do nothing. ``handler.server.cores`` decides which
core a worker keeps to.
"""

import contextlib
import os


def count_cores() -> int:
    """The number of cores that this process may run on."""
    return len(find_cores(0)) or os.cpu_count() or 1


def roam() -> None:
    """Let this thread run on every core that the main thread may run on."""
    keep_to(find_cores(os.getpid()))


def find_cores(thread: int) -> set[int]:
    """The cores that a thread may run on, 0 for this thread; empty on systems without CPU affinity."""
    return os.sched_getaffinity(thread) if hasattr(os, "sched_getaffinity") else set()


def keep_to(cores: set[int]) -> None:
    """Let this thread run on these cores only; an empty set changes nothing."""
    # A container can forbid the call, or remove a core.
    with contextlib.suppress(OSError):
        if cores:
            os.sched_setaffinity(0, cores)

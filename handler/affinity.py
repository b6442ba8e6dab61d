"""Which cores a thread may run on, as far as the operating system tells and allows it.

Systems without CPU affinity, such as macOS, leave it to their kernel: the functions here then do nothing. Which core a
worker keeps to is decided in ``handler.server.cores``.
"""

import contextlib
import os


def count_cores() -> int:
    """How many cores this process may run on."""
    return len(find_cores(0)) or os.cpu_count() or 1


def roam() -> None:
    """Let this thread run on every core that the main thread may run on."""
    keep_to(find_cores(os.getpid()))


def find_cores(thread: int) -> set[int]:
    """The cores that a thread may run on, 0 for this one; empty if the system does not tell."""
    return os.sched_getaffinity(thread) if hasattr(os, "sched_getaffinity") else set()


def keep_to(cores: set[int]) -> None:
    """Let this thread run on these cores only; an empty set changes nothing."""
    # A container may forbid it, or take a core away.
    with contextlib.suppress(OSError):
        if cores:
            os.sched_setaffinity(0, cores)

"""Pace: how many units of a request are under way at a time, as few as keep the store and the cores busy.

Threads that compute in Python take turns. Near the store, sixteen threads that read raw chunks need up to twice the CPU
of one, and more time. At a distance, each thread waits for the store most of the time, and many are needed.
"""

import math
import threading
import time

# If every answer so far took longer, the store is distant. Near the store, handing a chunk to another thread takes as
# long as fetching it.
_DISTANT_SECONDS = 0.004


def read_clocks() -> tuple[float, float]:
    """The time, and the CPU time of this thread, in seconds."""
    return time.perf_counter(), time.thread_time()


class Pace:
    """The number of units of a request that are under way at a time. Threads may share it.

    Args:
        most: The most units.
        cores: The number of units at first: as many as cores can decode at a time.

    Attributes:
        units: The number of units.
    """

    def __init__(self, most: int, cores: int) -> None:
        self.units = self._first_units = min(most, cores)
        self._most = most
        self._least_wait_seconds = math.inf
        self._seconds = self._cpu_seconds = 0.0
        self._lock = threading.Lock()

    @property
    def is_distant(self) -> bool:
        """Whether even the fastest answer to this request took long. False before the first answer."""
        return _DISTANT_SECONDS < self._least_wait_seconds < math.inf

    def see_answer(self, wait_seconds: float) -> None:
        """Take into account how long the store took to begin an answer."""
        self._least_wait_seconds = min(self._least_wait_seconds, wait_seconds)
        if self.is_distant:
            self.units = self._most

    def see_unit(self, seconds: float, cpu_seconds: float) -> None:
        """Take into account how long a thread took for a unit, and how much CPU.

        A thread that waits for three quarters of the time leaves room for three more. What threads take after the
        number has grown does not count: they wait for each other too.
        """
        with self._lock:
            if self.units > self._first_units:
                return
            self._seconds += seconds
            self._cpu_seconds += cpu_seconds
            wanted = self._first_units * self._seconds / max(self._cpu_seconds, 1e-9)
            self.units = max(self._first_units, min(self._most, int(wanted)))

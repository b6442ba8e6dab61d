"""Time that a request has: one deadline, and one thread that breaks off whatever goes on after it.

A socket's timeout bounds the wait for the next bytes, not for the last: a store that sends one byte a second keeps
every single wait short and never ends. So a connection in use is on the watch list, and when its deadline passes the
watchdog shuts the socket down; the reading thread then finds the end of the data and asks the deadline why.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from handler.errors import CallerGone, DeadlineExceeded


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment after which an answer is work for nobody; it may come early, when the caller goes away.

    Attributes:
        expires_at: On the clock of ``time.monotonic``, in seconds.
        is_abandoned: Tells whether the caller has gone. It is asked between pieces of a body.
    """

    expires_at: float
    is_abandoned: Callable[[], bool] = field(default=lambda: False, repr=False, compare=False)

    @classmethod
    def after(cls, seconds: float, is_abandoned: Callable[[], bool] = lambda: False) -> "Deadline":
        """The deadline that lies ``seconds`` from now."""
        return cls(time.monotonic() + seconds, is_abandoned)

    @property
    def remaining_seconds(self) -> float:
        """What is left, 0 where nothing is."""
        return max(0.0, self.expires_at - time.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether the moment has passed."""
        return self.expires_at <= time.monotonic()

    def ensure_wanted(self) -> None:
        """Pass where the answer is still worth working for.

        Raises:
            DeadlineExceeded: The moment has passed.
            CallerGone: The caller has gone away.
        """
        if self.is_over:
            raise DeadlineExceeded("the data was not all decoded when the time for this request was over")
        if self.is_abandoned():
            raise CallerGone("the caller closed the connection before the answer was there")


@dataclass(eq=False, slots=True)
class Watch:
    """An entry of the watch list: what to break off, and when."""

    deadline: Deadline
    abort: Callable[[], None]


@dataclass(eq=False)
class Watchdog:
    """Calls ``abort`` of every watch whose deadline passes before it is released.

    The thread starts with the first watch and sleeps until the earliest deadline that it knows of; a release does not
    wake it. ``abort`` is called outside the lock, may be called while the watched work goes on, and must not block.
    """

    _watches: set[Watch] = field(default_factory=set)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _wakes_at: float = float("inf")
    _thread: threading.Thread | None = None
    _is_closed: bool = False

    def watch(self, deadline: Deadline, abort: Callable[[], None]) -> Watch:
        """Put ``abort`` on the list until it is released."""
        entry = Watch(deadline, abort)
        with self._changed:
            self._watches.add(entry)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            if deadline.expires_at < self._wakes_at:
                self._wakes_at = deadline.expires_at
                self._changed.notify()
        return entry

    def release(self, entry: Watch) -> None:
        """Take a watch off the list. Twice is once."""
        with self._changed:
            self._watches.discard(entry)

    def close(self) -> None:
        """End the thread. Nothing is broken off any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._is_closed:
            for entry in self._wait_for_overdue():
                entry.abort()

    def _wait_for_overdue(self) -> list[Watch]:
        with self._changed:
            self._wakes_at = min((entry.deadline.expires_at for entry in self._watches), default=float("inf"))
            wait_seconds = self._wakes_at - time.monotonic()
            if not self._is_closed:
                self._changed.wait(None if wait_seconds == float("inf") else max(0.0, wait_seconds))
            overdue = [entry for entry in self._watches if entry.deadline.is_over]
            self._watches.difference_update(overdue)
        return overdue

"""One thread that breaks off whatever goes on after the end of its scope.

A socket's timeout bounds the wait for the next bytes, not for the last: a store that sends one byte a second keeps
every single wait short and never ends. So a connection in use is on the watch list, and when its scope ends the
watchdog shuts the socket down; the reading thread then finds the end of the data and asks the scope why.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from handler.scope import CLOCK, Clock, Scope


@dataclass(eq=False, slots=True)
class Watch:
    """An entry of the watch list: what to break off, and when."""

    scope: Scope
    abort: Callable[[], None]


@dataclass(eq=False)
class Watchdog:
    """Calls ``abort`` of every watch whose deadline passes before it is released.

    The thread starts with the first watch and sleeps until the earliest deadline that it knows of; a release does not
    wake it. ``abort`` is called outside the lock, may be called while the watched work goes on, and must not block.

    Attributes:
        clock: Tells the time, and waits.
    """

    clock: Clock = CLOCK
    _watches: set[Watch] = field(default_factory=set)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _wakes_at: float = float("inf")
    _thread: threading.Thread | None = None
    _is_closed: bool = False

    def watch(self, scope: Scope, abort: Callable[[], None]) -> Watch:
        """Put ``abort`` on the list until it is released."""
        entry = Watch(scope, abort)
        with self._changed:
            self._watches.add(entry)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            if scope.expires_at < self._wakes_at:
                self._wakes_at = scope.expires_at
                self._changed.notify()
        return entry

    def release(self, entry: Watch) -> None:
        """Take a watch off the list. Idempotent."""
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
            self._wakes_at = min((entry.scope.expires_at for entry in self._watches), default=float("inf"))
            if not self._is_closed:
                self.clock.wait(self._changed, self._wakes_at)
            overdue = [entry for entry in self._watches if entry.scope.is_over]
            self._watches.difference_update(overdue)
        return overdue

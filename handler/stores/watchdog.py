"""The thread that breaks off requests whose time is over.

A socket's timeout bounds the wait for the next bytes, not for the last byte: a store that sends one byte a second keeps
every single wait short and never ends. So each request to a store has a watch. When the time of a watch is over, the
watchdog shuts down the request's socket. The thread that reads from it then finds the end of the data, and asks its
scope for the reason.
"""

import contextlib
import socket
import threading

from handler.scope import CLOCK, Clock, Scope


class Watch:
    """Breaks one request off when its time is over, from any thread.

    The socket can be attached before or after that. A request that has given its connection back is not broken off any
    more: by then, the next request may use the same connection.

    Args:
        watchdog: The watchdog that has this watch in its list.
        scope: The scope of the request.

    Attributes:
        is_broken_off: Whether the request was broken off.
    """

    def __init__(self, watchdog: "Watchdog", scope: Scope) -> None:
        self.is_broken_off = False
        self._scope = scope
        self._latest = float("inf")
        self._clock = scope.clock
        self._watchdog = watchdog
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    @property
    def expires_at(self) -> float:
        """When the request is broken off, in seconds on the scope's clock. It moves with the deadline of the scope."""
        return min(self._latest, self._scope.expires_at)

    @property
    def is_over(self) -> bool:
        """Whether the time has come to break the request off."""
        return self.expires_at <= self._clock()

    def attach(self, connected: socket.socket) -> None:
        """Take the request's socket. If the request is broken off already, shut the socket down at once."""
        with self._lock:
            self._socket = connected
            if self.is_broken_off:
                self._shut_down()

    def detach(self) -> None:
        """Leave the socket alone from now on. Idempotent."""
        with self._lock:
            self._socket = None

    def break_off(self) -> None:
        """Shut the socket down: the thread that reads from it finds the end of the data. Idempotent; does not block."""
        with self._lock:
            self.is_broken_off = True
            self._shut_down()

    def shorten(self, seconds: float) -> None:
        """Break the request off ``seconds`` from now, unless it ends or its time is over before."""
        self._latest = min(self._latest, self._clock() + seconds)
        self._watchdog.notice(self)

    def release(self) -> None:
        """End the watch: the request is over. Idempotent."""
        self._watchdog.release(self)
        self.detach()

    def _shut_down(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # SSLSocket.shutdown would drop the TLS layer, and a thread that reads on would get the ciphertext that
                # has arrived.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class Watchdog:
    """The list of watches, and the thread that breaks off those whose time is over.

    The thread starts with the first watch, and sleeps until the earliest deadline. The end of a watch does not wake it.
    It breaks requests off outside the lock of the list.

    Args:
        clock: Tells the time, and waits.
    """

    def __init__(self, clock: Clock = CLOCK) -> None:
        self._clock = clock
        self._watches: set[Watch] = set()
        self._changed = threading.Condition()
        self._wakes_at = float("inf")
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def watch(self, scope: Scope) -> Watch:
        """A new watch, which breaks its request off at the end of ``scope`` unless it is released before."""
        watch = Watch(self, scope)
        with self._changed:
            self._watches.add(watch)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            self._wake_for(watch)
        return watch

    def notice(self, watch: Watch) -> None:
        """Wake up for a watch that ends sooner than before."""
        with self._changed:
            if watch in self._watches:
                self._wake_for(watch)

    def release(self, watch: Watch) -> None:
        """Take a watch off the list. Idempotent."""
        with self._changed:
            self._watches.discard(watch)

    def close(self) -> None:
        """End the thread. No request is broken off any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _wake_for(self, watch: Watch) -> None:
        if watch.expires_at < self._wakes_at:
            self._wakes_at = watch.expires_at
            self._changed.notify()

    def _run(self) -> None:
        while not self._is_closed:
            for watch in self._wait_for_overdue():
                watch.break_off()

    def _wait_for_overdue(self) -> list[Watch]:
        with self._changed:
            self._wakes_at = min((watch.expires_at for watch in self._watches), default=float("inf"))
            if not self._is_closed:
                self._clock.wait(self._changed, self._wakes_at)
            overdue = [watch for watch in self._watches if watch.is_over]
            self._watches.difference_update(overdue)
        return overdue

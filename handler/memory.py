"""The gate for memory: what requests may hold at once, so that load is refused rather than the process killed."""

import threading
from types import TracebackType
from typing import Self

from handler.errors import EntityTooLarge, SlowDown
from handler.settings import Settings

# A block is reduced in a fraction of a millisecond and a request is mostly waiting; a second is plenty for most.
_RETRY_AFTER_SECONDS = 1


class MemoryGate:
    """Counts what the requests of a process hold. Waits for nothing: what does not fit now is refused now.

    Args:
        limit_bytes: What all requests may hold at once.
        request_limit_bytes: What one may hold.
    """

    def __init__(self, limit_bytes: int, request_limit_bytes: int) -> None:
        self.request_limit_bytes = min(limit_bytes, request_limit_bytes)
        self.held_bytes = 0
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The gate of a process with these settings."""
        return cls(settings.memory_limit, settings.max_object_memory)

    def account(self) -> "Account":
        """What one request holds, from now to the end of the context."""
        return Account(self)

    def take(self, count_bytes: int) -> None:
        """Count what a request begins to hold.

        Raises:
            SlowDown: There is room for it, but not now.
        """
        with self._lock:
            if self.held_bytes + count_bytes > self._limit_bytes:
                raise SlowDown("the memory for requests is all in use; try again", _RETRY_AFTER_SECONDS)
            self.held_bytes += count_bytes

    def give_back(self, count_bytes: int) -> None:
        """Count what a request no longer holds."""
        with self._lock:
            self.held_bytes -= count_bytes


class Account:
    """What one request holds. A context manager: leaving it gives everything back."""

    def __init__(self, gate: MemoryGate) -> None:
        self._gate = gate
        self._held_bytes = 0

    def hold(self, count_bytes: int) -> None:
        """Hold so many bytes more.

        Raises:
            EntityTooLarge: No request may ever hold as much.
            SlowDown: There is room for it, but not now.
        """
        needed, most = self._held_bytes + count_bytes, self._gate.request_limit_bytes
        if needed > most:
            raise EntityTooLarge(f"the request needs {needed} bytes of memory; it may have {most}")
        self._gate.take(count_bytes)
        self._held_bytes = needed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gate.give_back(self._held_bytes)
        self._held_bytes = 0

"""The memory gate: it limits the memory that requests hold, so that the process is not killed."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from active_storage.errors import EntityTooLarge, SlowDown
from handler.settings import Settings

# Most requests hold a block for less than a second.
_RETRY_AFTER_SECONDS = 1


class MemoryGate:
    """Counts the memory that the requests of a process hold, and that of what is kept from earlier ones.

    It never waits: it refuses what does not fit at once. What is kept is dropped before a request is refused.

    Args:
        limit_bytes: The maximum for all requests, and for what is kept, together.
        request_limit_bytes: The maximum for one request.

    Attributes:
        held_bytes: The memory that requests hold.
        kept_bytes: The memory of what is kept.
    """

    def __init__(self, limit_bytes: int, request_limit_bytes: int) -> None:
        self.request_limit_bytes = min(limit_bytes, request_limit_bytes)
        self.held_bytes = 0
        self.kept_bytes = 0
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._drop_oldest: Callable[[], None] = _drop_nothing

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The gate for these settings."""
        return cls(settings.memory_limit, settings.max_object_memory)

    def account(self, beside_bytes: int = 0) -> "Account":
        """An account for one request.

        Args:
            beside_bytes: What the request holds by other accounts, which counts for its maximum.
        """
        return Account(self, beside_bytes)

    def take(self, count_bytes: int) -> None:
        """Count memory that a request begins to hold.

        Raises:
            SlowDown: Other requests hold too much at the moment.
        """
        while not self._take_free(count_bytes):
            self._drop_oldest()

    def _take_free(self, count_bytes: int) -> bool:
        """Count memory if it is free; False if it will be when less is kept."""
        with self._lock:
            needed = self.held_bytes + count_bytes
            if needed > self._limit_bytes:
                raise SlowDown("other requests use the memory of this server; try again later", _RETRY_AFTER_SECONDS)
            if needed + self.kept_bytes > self._limit_bytes:
                return False
            self.held_bytes = needed
            return True

    def give_back(self, count_bytes: int) -> None:
        """Count memory that a request no longer holds."""
        with self._lock:
            self.held_bytes -= count_bytes

    # See ``handler.stores.kept.Memory``

    def lend(self, drop_oldest: Callable[[], None]) -> None:
        """Learn how the memory of what is kept can be had: ``drop_oldest`` drops some, if anything is kept."""
        self._drop_oldest = drop_oldest

    def keep(self, count_bytes: int) -> bool:
        """Count memory of what is kept. False, and nothing is counted, if requests hold too much."""
        with self._lock:
            if self.held_bytes + self.kept_bytes + count_bytes > self._limit_bytes:
                return False
            self.kept_bytes += count_bytes
            return True

    def forget(self, count_bytes: int) -> None:
        """Count memory that is not kept any more."""
        with self._lock:
            self.kept_bytes -= count_bytes


def _drop_nothing() -> None:
    pass


class Account:
    """The memory that one request holds. A context manager: at its end all of it is given back."""

    def __init__(self, gate: MemoryGate, beside_bytes: int = 0) -> None:
        self._gate = gate
        self._held_bytes = 0
        self._beside_bytes = beside_bytes

    @property
    def left_bytes(self) -> int:
        """What the request may still hold."""
        return self._gate.request_limit_bytes - self.total_bytes

    @property
    def total_bytes(self) -> int:
        """What the request holds, by this account and beside it."""
        return self._held_bytes + self._beside_bytes

    def hold(self, count_bytes: int) -> None:
        """Hold more bytes.

        Raises:
            EntityTooLarge: The request would hold more than any request may.
            SlowDown: Other requests hold too much at the moment.
        """
        needed, most = self.total_bytes + count_bytes, self._gate.request_limit_bytes
        if needed > most:
            raise EntityTooLarge(f"the request needs {needed} bytes of memory; the limit is {most} (MAX_OBJECT_MEMORY)")
        self._gate.take(count_bytes)
        self._held_bytes += count_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gate.give_back(self._held_bytes)
        self._held_bytes = 0

"""What a process keeps from one request to the next: metadata and results, which are of a version of an object.

Every caller asks the store for the object again, with ``If-None-Match`` and their own credentials. What is kept is used
only after the store's 304, so that a caller whom the store would refuse gets nothing.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Protocol

# The largest result that is kept, as a part of all that is kept: one result should not drop all others.
_LARGEST_PART = 8


class Memory(Protocol):
    """Counts the memory of what is kept, beside that of requests."""

    def lend(self, drop_oldest: Callable[[], None]) -> None:
        """Learn how the memory of what is kept can be had for requests."""

    def keep(self, count_bytes: int) -> bool:
        """Count memory of what is kept. False, and nothing is counted, if requests hold too much."""

    def forget(self, count_bytes: int) -> None:
        """Count memory that is not kept any more."""


class Kept:
    """Entries of any kind. The least recently used one is dropped first. Threads may share it.

    Args:
        limit_bytes: The most memory that all entries take; 0 to keep nothing.
        memory: Counts their memory.

    Attributes:
        limit_bytes: The most memory that all entries take.
    """

    def __init__(self, limit_bytes: int, memory: Memory) -> None:
        self.limit_bytes = limit_bytes
        self._memory = memory
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        memory.lend(self.drop_oldest)

    def __repr__(self) -> str:
        return f"<Kept {len(self._entries)} entries, {self._bytes} of {self.limit_bytes} bytes>"

    @property
    def largest_result_bytes(self) -> int:
        """The size of the largest result that should be kept."""
        return self.limit_bytes // _LARGEST_PART

    def find(self, key: Hashable) -> Any:
        """The entry of a key, which someone must have kept with it; None if there is none."""
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def keep(self, key: Hashable, entry: object, size: int) -> None:
        """Keep an entry in place of an older one, unless there is no memory for it.

        Args:
            key: The key: everything that decides what the entry is, but for the version of the object.
            entry: The entry.
            size: Its memory in bytes, with that of the key.
        """
        with self._lock:
            self._drop(key)
            if size > self.limit_bytes:
                return
            while self._bytes + size > self.limit_bytes:
                self._drop(next(iter(self._entries)))
            if self._memory.keep(size):
                self._entries[key] = entry, size
                self._bytes += size

    def drop_oldest(self) -> None:
        """Drop the least recently used entry, if there is one."""
        with self._lock:
            if self._entries:
                self._drop(next(iter(self._entries)))

    def _drop(self, key: Hashable) -> None:
        _, size = self._entries.pop(key, (None, 0))
        self._bytes -= size
        self._memory.forget(size)

"""The gate for memory: what requests may hold at once, so that load is refused rather than the process killed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from handler.errors import EntityTooLarge, SlowDown

# A block is reduced in a fraction of a millisecond and a request is mostly waiting; a second is plenty for most.
_RETRY_AFTER_SECONDS = 1


class MemoryGate:
    """Counts what the requests of a process hold. Waits for nothing: what does not fit now is refused now.

    Args:
        limit_bytes: What all requests may hold at once.
        request_limit_bytes: What one may hold.
    """

    def __init__(self, limit_bytes: int, request_limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._request_limit_bytes = request_limit_bytes
        self._lock = threading.Lock()
        self.held_bytes = 0

    @contextmanager
    def hold(self, count_bytes: int) -> Iterator[None]:
        """Let a request hold ``count_bytes`` while the context lasts.

        Raises:
            EntityTooLarge: No request may ever hold as much.
            SlowDown: There is room for it, but not now.
        """
        most = min(self._limit_bytes, self._request_limit_bytes)
        if count_bytes > most:
            raise EntityTooLarge(f"the request needs {count_bytes} bytes of memory; it may have {most}")
        with self._lock:
            if self.held_bytes + count_bytes > self._limit_bytes:
                raise SlowDown("the memory for requests is all in use; try again", _RETRY_AFTER_SECONDS)
            self.held_bytes += count_bytes
        try:
            yield
        finally:
            with self._lock:
                self.held_bytes -= count_bytes

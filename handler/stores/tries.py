"""How often one range is asked for, and which failures are worth another try."""

import random
from collections.abc import Callable
from typing import TypeVar

from active_storage.errors import ActiveStorageError, StoreCutOff, StoreError, StoreTimeout, StoreUnreachable
from handler.scope import Scope

_PASSING_STATUSES = frozenset({500, 502, 503, 504})

# The first pause is short, since most breaks are of one connection; each one after is twice as long.
_FIRST_PAUSE_SECONDS = 0.05

_Made = TypeVar("_Made")


class Tries:
    """How often one range is asked for, all in all.

    Args:
        limit: The number of tries.
        scope: What bounds the work.
        pause: Waits so many seconds.
    """

    def __init__(self, limit: int, scope: Scope, pause: Callable[[float], None]) -> None:
        self._limit = limit
        self._scope = scope
        self._pause = pause
        self._failed = 0

    def make(self, attempt: Callable[[], _Made]) -> _Made:
        """What ``attempt`` gives, tried again while it fails in passing.

        Raises:
            ActiveStorageError: The last failure.
        """
        while True:
            try:
                return attempt()
            except ActiveStorageError as error:
                self.fail(error)

    def fail(self, error: ActiveStorageError) -> None:
        """Count a failure and wait before the next try.

        Raises:
            ActiveStorageError: ``error``, where another try makes no sense or is not left.
        """
        self._failed += 1
        # Full jitter, so that the many that one break hits do not come back together.
        longest_seconds = _FIRST_PAUSE_SECONDS * 2 ** (self._failed - 1)
        pause_seconds = random.uniform(0, longest_seconds)  # noqa: S311  # spreads load, hides nothing
        is_last = self._failed >= self._limit or self._scope.remaining_seconds <= longest_seconds
        if is_last or not _is_passing(error):
            raise error
        self._pause(pause_seconds)


def _is_passing(error: ActiveStorageError) -> bool:
    if isinstance(error, StoreError):
        return error.status in _PASSING_STATUSES
    return isinstance(error, StoreUnreachable | StoreCutOff | StoreTimeout)

"""How many times one range is asked for, and which failures are worth another try."""

import random
from collections.abc import Callable
from typing import TypeVar

from active_storage.errors import ActiveStorageError, StoreCutOff, StoreError, StoreTimeout, StoreUnreachable
from handler.scope import Scope

_TRANSIENT_STATUSES = frozenset({500, 502, 503, 504})

# The first pause is short, because most failures concern one connection. Each further pause is twice as long.
_FIRST_PAUSE_SECONDS = 0.05

_Result = TypeVar("_Result")


class Tries:
    """The tries to get one range, among them those that resume it.

    Args:
        limit: The largest number of tries.
        scope: The scope of the caller's request.
        pause: Waits for a number of seconds.
    """

    def __init__(self, limit: int, scope: Scope, pause: Callable[[float], None]) -> None:
        self._limit = limit
        self._scope = scope
        self._pause = pause
        self._failed = 0

    def run(self, attempt: Callable[[], _Result]) -> _Result:
        """The result of ``attempt``, which is called again after a transient failure.

        Raises:
            ActiveStorageError: The last failure.
        """
        while True:
            try:
                return attempt()
            except ActiveStorageError as error:
                self.count_failure(error)

    def count_failure(self, error: ActiveStorageError) -> None:
        """Count a failed try, and wait before the next one.

        Raises:
            ActiveStorageError: ``error``, if it is not transient or no try is left.
        """
        self._failed += 1
        # Full jitter: the requests that fail together must not come back together.
        longest_seconds = _FIRST_PAUSE_SECONDS * 2 ** (self._failed - 1)
        pause_seconds = random.uniform(0, longest_seconds)  # noqa: S311  # spreads load, hides nothing
        is_last = self._failed >= self._limit or self._scope.remaining_seconds <= longest_seconds
        if is_last or not _is_transient(error):
            raise error
        self._pause(pause_seconds)


def _is_transient(error: ActiveStorageError) -> bool:
    if isinstance(error, StoreError):
        return error.status in _TRANSIENT_STATUSES
    return isinstance(error, StoreUnreachable | StoreCutOff | StoreTimeout)

"""Calls for several items side by side, with the help of a pool of threads that others use too."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# The calls that wait or run in the pool at a time: other requests use it too.
_MOST_AHEAD = 32


def map_side_by_side(
    pool: ThreadPoolExecutor | None, call: Callable[[_Item], _Result], items: Sequence[_Item]
) -> list[_Result]:
    """The results of a call for each item, in order. Returns when all calls have ended, also if one fails.

    Calls that no thread of the pool has begun run in the caller's thread. So this never waits for a call that has not
    begun, and threads of the pool can use it too.

    Args:
        pool: The threads that help; None for none.
        call: What is done for each item.
        items: The items.
    """
    if pool is None or len(items) < 2:
        return [call(item) for item in items]
    pending: deque[tuple[_Item, Future[_Result]]] = deque()
    results: list[_Result] = []
    rest = iter(items)
    try:
        while True:
            while len(pending) < _MOST_AHEAD and len(results) + len(pending) < len(items):
                item = next(rest)
                pending.append((item, pool.submit(call, item)))
            if not pending:
                return results
            item, future = pending.popleft()
            results.append(call(item) if future.cancel() else future.result())
    except BaseException:
        wait([future for _, future in pending if not future.cancel()])
        raise

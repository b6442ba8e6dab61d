"""``count``: a partial has the number of elements already, so that the state is empty."""

from typing import Any, NamedTuple

from active_storage.algebra.base import Algebra


class NoState(NamedTuple):
    """An empty state."""


class Count(Algebra[NoState]):
    """The number of elements that are not missing."""

    def identity(self) -> NoState:
        return NoState()

    def join(self, mine: NoState, my_counts: Any, other: NoState, other_counts: Any) -> NoState:
        return mine

    def finish(self, state: NoState, counts: Any) -> Any:
        return counts

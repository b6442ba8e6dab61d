"""``count``: the number of elements is known beside every state, so that its own state is empty."""

from typing import Any, NamedTuple

from active_storage.algebra.base import Algebra


class NoState(NamedTuple):
    """Nothing but the counts."""


class Count(Algebra[NoState]):
    """How many elements are not missing."""

    def identity(self) -> NoState:
        return NoState()

    def join(self, mine: NoState, my_counts: Any, other: NoState, other_counts: Any) -> NoState:
        return mine

    def finish(self, state: NoState, counts: Any) -> Any:
        return counts

"""``count`` and ``count_nonzero``. The state of ``count`` is empty: a partial has counts already."""

from typing import Any, NamedTuple

import numpy as np

from active_storage.algebra.base import Algebra


class NoState(NamedTuple):
    """An empty state."""


class Tally(NamedTuple):
    """The number of elements that are not 0, int64."""

    nonzero: Any


class Count(Algebra[NoState]):
    """The number of elements that are not missing."""

    def identity(self) -> NoState:
        return NoState()

    def join(self, mine: NoState, my_counts: Any, other: NoState, other_counts: Any) -> NoState:
        return mine

    def finish(self, state: NoState, counts: Any) -> Any:
        return counts


class CountNonzero(Algebra[Tally]):
    """The number of elements that are neither missing nor 0. NaN is not 0."""

    def identity(self) -> Tally:
        return Tally(np.int64(0))

    def join(self, mine: Tally, my_counts: Any, other: Tally, other_counts: Any) -> Tally:
        return Tally(mine.nonzero + other.nonzero)

    def finish(self, state: Tally, counts: Any) -> Any:
        return state.nonzero

"""``any`` and ``all``: an element is true if it is not 0."""

from typing import Any, ClassVar, NamedTuple

import numpy as np

from active_storage.algebra.base import Algebra


class Truth(NamedTuple):
    """Whether any element is true, or all are."""

    is_true: Any


class Quantifier(Algebra[Truth]):
    """The base of ``Any_`` and ``All``: a logical ufunc, and its value for no elements."""

    ufunc: ClassVar[np.ufunc]
    of_nothing: ClassVar[bool]

    def identity(self) -> Truth:
        return Truth(np.bool_(self.of_nothing))

    def join(self, mine: Truth, my_counts: Any, other: Truth, other_counts: Any) -> Truth:
        return Truth(self.ufunc(mine.is_true, other.is_true))

    def finish(self, state: Truth, counts: Any) -> Any:
        return state.is_true


class Any_(Quantifier):  # noqa: N801  # the name without it is typing's
    """Whether any element is true; false without elements."""

    ufunc = np.logical_or
    of_nothing = False


class All(Quantifier):
    """Whether all elements are true; true without elements."""

    ufunc = np.logical_and
    of_nothing = True

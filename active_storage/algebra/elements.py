"""``select``: the elements themselves. Each is a cell of its own, so that parts are put beside each other."""

from typing import Any, NamedTuple

import numpy as np

from active_storage.algebra.base import Algebra, Index, Partial


class Elements(NamedTuple):
    """The elements; 0 in the cells that no part has come to."""

    values: Any


class Select(Algebra[Elements]):
    """The selected elements. All that are not missing are counted together."""

    counts_cells = False

    def identity(self) -> Elements:
        return Elements(self.dtype.type(0))

    def join(self, mine: Elements, my_counts: Any, other: Elements, other_counts: Any) -> Elements:
        # The identity is 0 in every bit, and each cell is in one of them only.
        bits = np.bitwise_or(np.asarray(mine.values).view(np.uint8), np.asarray(other.values).view(np.uint8))
        return Elements(bits.view(self.dtype))

    def join_at(self, whole: Partial[Elements], cells: Index, part: Partial[Elements]) -> None:
        """Put the elements into their cells: a part has all the elements of these, or of the whole, some 0."""
        if cells:
            whole.state.values[cells] = part.state.values
        else:
            whole.state = self.join(whole.state, whole.counts, part.state, part.counts)
        whole.counts = whole.counts + part.counts

    def finish(self, state: Elements, counts: Any) -> Any:
        return state.values

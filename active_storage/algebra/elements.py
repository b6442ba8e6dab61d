"""``select``: the elements themselves. Each element has a cell of its own, so that partials are placed side by side."""

from typing import Any, NamedTuple

import numpy as np

from active_storage.algebra.base import Algebra, Index, Partial


class Elements(NamedTuple):
    """The elements; 0 in each cell without an element."""

    values: Any


class Select(Algebra[Elements]):
    """The selected elements. There is one count, of all present elements."""

    counts_cells = False

    def identity(self) -> Elements:
        return Elements(self.dtype.type(0))

    def join(self, mine: Elements, my_counts: Any, other: Elements, other_counts: Any) -> Elements:
        # The identity is 0 in every bit, and each cell has an element in one of the two only.
        # A single element has no axis that bytes could be seen along.
        mine_bits, other_bits = (np.ravel(each.values).view(np.uint8) for each in (mine, other))
        return Elements((mine_bits | other_bits).view(self.dtype).reshape(np.shape(mine.values)))

    def join_at(self, whole: Partial[Elements], cells: Index, partial: Partial[Elements]) -> None:
        """Put the elements into their cells. A partial without an index has all cells, some of them 0."""
        if cells:
            whole.state.values[cells] = partial.state.values
        else:
            whole.state = self.join(whole.state, whole.counts, partial.state, partial.counts)
        whole.counts = whole.counts + partial.counts

    def finish(self, state: Elements, counts: Any) -> Any:
        return state.values

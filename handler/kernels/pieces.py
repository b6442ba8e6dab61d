"""The piece: what every kernel is given."""

from typing import Any, NamedTuple

import numpy as np

from handler.core.missing import overwrite
from handler.core.select import Plan, Slab

Array = np.ndarray[Any, np.dtype[Any]]


class Piece(NamedTuple):
    """A part of the selected data, in the caller's direction.

    Attributes:
        values: The elements; the memory is the piece's to overwrite.
        mask: Which of them are missing, None where all are present.
        counts: How many elements that are not missing each cell has.
        axes: The axes that are reduced.
        slab: Where it lies.
        plan: What it is a part of.
    """

    values: Array
    mask: Array | None
    counts: Any
    axes: tuple[int, ...]
    slab: Slab
    plan: Plan

    def filled(self, value: Any) -> Array:
        """The values, with ``value`` for those that are missing."""
        if self.mask is not None:
            overwrite(self.values, self.mask, value)
        return self.values

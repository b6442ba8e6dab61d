"""The kernels of ``count``, ``count_nonzero`` and ``select``, which do no arithmetic."""

import numpy as np

from active_storage.algebra.counts import Count, CountNonzero, NoState, Tally
from active_storage.algebra.elements import Elements, Select
from handler.kernels.pieces import Piece


def keep_nothing(_algebra: Count, _piece: Piece) -> NoState:
    """The empty state: the counts are known."""
    return NoState()


def keep_elements(_algebra: Select, piece: Piece) -> Elements:
    """The elements, missing ones too; a view of the piece's memory."""
    return Elements(piece.values)


def count_nonzero(_algebra: CountNonzero, piece: Piece) -> Tally:
    """The number of elements of each cell that are neither missing nor 0."""
    values = piece.filled(0)
    # Without axes numpy counts several times as fast.
    is_whole = len(piece.axes) == values.ndim
    return Tally(np.int64(np.count_nonzero(values)) if is_whole else np.count_nonzero(values, axis=piece.axes))

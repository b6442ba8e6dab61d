"""The kernels of ``count`` and ``select``, which do no arithmetic."""

from active_storage.algebra.counts import Count, NoState
from active_storage.algebra.elements import Elements, Select
from handler.kernels.pieces import Piece


def keep_nothing(_algebra: Count, _piece: Piece) -> NoState:
    """The empty state: the counts are known."""
    return NoState()


def keep_elements(_algebra: Select, piece: Piece) -> Elements:
    """The elements, missing ones too; a view of the piece's memory."""
    return Elements(piece.values)

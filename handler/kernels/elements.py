"""The kernels that reduce nothing: of ``count`` and ``select``."""

from active_storage.algebra.counts import Count, NoState
from active_storage.algebra.elements import Elements, Select
from handler.kernels.pieces import Piece


def keep_nothing(_algebra: Count, _piece: Piece) -> NoState:
    """No state: the counts are known."""
    return NoState()


def keep_elements(_algebra: Select, piece: Piece) -> Elements:
    """The elements, missing or not; a view of the piece's memory."""
    return Elements(piece.values)

"""The kernel of ``max`` and ``min``."""

from active_storage.algebra.extrema import Extreme, Extremum
from handler.kernels.pieces import Piece


def find_extremum(algebra: Extreme, piece: Piece) -> Extremum:
    """The extremum of each cell of a piece; missing elements are overwritten by the identity."""
    values = piece.filled(algebra.identity().best)
    return Extremum(algebra.ufunc.reduce(values, axis=piece.axes))

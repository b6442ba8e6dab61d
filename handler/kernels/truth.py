"""The kernel of ``any`` and ``all``."""

from active_storage.algebra.truth import Quantifier, Truth
from handler.kernels.pieces import Piece


def find_truth(algebra: Quantifier, piece: Piece) -> Truth:
    """The truth of each cell of a piece; missing elements are overwritten by a neutral value."""
    return Truth(algebra.ufunc.reduce(piece.filled(algebra.of_nothing), axis=piece.axes))

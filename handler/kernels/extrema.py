"""The kernels of ``max``, ``min`` and ``range``."""

import numpy as np

from active_storage.algebra.extrema import Extrema, Extreme, Extremum, Range, greatest, least
from active_storage.algebra.moments import Stats
from handler.kernels.pieces import Piece


def find_extremum(algebra: Extreme, piece: Piece) -> Extremum:
    """The extremum of each cell of a piece; missing elements are overwritten by the identity."""
    values = piece.filled(algebra.identity().best)
    return Extremum(algebra.ufunc.reduce(values, axis=piece.axes))


def find_extrema(_algebra: Range | Stats, piece: Piece) -> Extrema:
    """The smallest and the largest element of each cell of a piece."""
    dtype = piece.values.dtype
    smallest = np.minimum.reduce(piece.filled(greatest(dtype)), axis=piece.axes)
    return Extrema(smallest, np.maximum.reduce(piece.filled(least(dtype)), axis=piece.axes))

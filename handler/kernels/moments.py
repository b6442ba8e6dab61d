"""The kernels of ``var``, ``std`` and ``stats``: two passes over a piece, which is in the cache."""

import numpy as np

from active_storage.algebra.extrema import greatest, least
from active_storage.algebra.moments import Moments, Stats, Summary, Var
from handler.kernels.missing import overwrite
from handler.kernels.pieces import Piece
from handler.kernels.sums import total_of


def find_moments(_algebra: Var | Stats, piece: Piece) -> Moments:
    """The sum and the sum of squared deviations from the mean, of each cell of a piece."""
    counts = np.maximum(piece.counts, 1)
    total = total_of(piece.filled(0), piece.axes)
    deviations = np.subtract(piece.values, np.expand_dims(total / counts, piece.axes), dtype=np.float64)
    if piece.mask is not None:
        overwrite(deviations, piece.mask, 0)
    np.square(deviations, out=deviations)
    return Moments(total, 0.0, np.add.reduce(deviations, axis=piece.axes))


def summarize(algebra: Stats, piece: Piece) -> Summary:
    """The moments and the extrema of each cell of a piece."""
    # Moments first: they need 0 for missing elements, and the extrema need another value.
    moments = find_moments(algebra, piece)
    dtype = piece.values.dtype
    smallest = np.minimum.reduce(piece.filled(greatest(dtype)), axis=piece.axes).astype(np.float64)
    largest = np.maximum.reduce(piece.filled(least(dtype)), axis=piece.axes).astype(np.float64)
    return Summary(*moments, smallest, largest)

"""The kernels of ``var``, ``std``, ``stats``, ``skew`` and ``kurtosis``: two passes over a piece, in the cache."""

from typing import Any

import numpy as np

from active_storage.algebra.moments import HigherMoments, Kurtosis, Moments, Skew, Stats, Summary, Var
from handler.kernels.extrema import find_extrema
from handler.kernels.missing import overwrite
from handler.kernels.pieces import Array, Piece
from handler.kernels.sums import total_of


def find_moments(_algebra: Var | Stats, piece: Piece) -> Moments:
    """The sum and the sum of squared deviations from the mean, of each cell of a piece."""
    total, deviations = _find_deviations(piece)
    np.square(deviations, out=deviations)
    return Moments(total, 0.0, np.add.reduce(deviations, axis=piece.axes))


def find_higher_moments(_algebra: Skew | Kurtosis, piece: Piece) -> HigherMoments:
    """The same, and the sums of third and fourth powers."""
    total, deviations = _find_deviations(piece)
    squares = np.square(deviations)
    np.multiply(deviations, squares, out=deviations)
    m2, m3 = (np.add.reduce(powers, axis=piece.axes) for powers in (squares, deviations))
    np.square(squares, out=squares)
    return HigherMoments(total, 0.0, m2, m3, np.add.reduce(squares, axis=piece.axes))


def summarize(algebra: Stats, piece: Piece) -> Summary:
    """The moments and the extrema of each cell of a piece."""
    # Moments first: they need 0 for missing elements, and the extrema need another value.
    moments = find_moments(algebra, piece)
    return Summary(*moments, *(each.astype(np.float64) for each in find_extrema(algebra, piece)))


def _find_deviations(piece: Piece) -> tuple[Any, Array]:
    """The sum of each cell, and the deviation of each element from the mean of its cell; 0 for missing ones."""
    counts = np.maximum(piece.counts, 1)
    total = total_of(piece.filled(0), piece.axes)
    deviations = np.subtract(piece.values, np.expand_dims(total / counts, piece.axes), dtype=np.float64)
    if piece.mask is not None:
        overwrite(deviations, piece.mask, 0)
    return total, deviations

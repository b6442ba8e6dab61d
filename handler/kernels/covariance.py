"""The kernel of ``cov`` and ``corr``: two passes over a piece of two arrays, which is in the cache."""

from typing import Any

import numpy as np

from active_storage.algebra.covariance import Comoments, Cov
from handler.kernels.missing import overwrite
from handler.kernels.pieces import Array, Piece
from handler.kernels.sums import total_of


def find_comoments(_algebra: Cov, piece: Piece) -> Comoments:
    """The sums, and the sums of squares and products of deviations from the means, of each cell of a piece."""
    assert piece.other is not None  # noqa: S101  # the algebra is one of two arrays
    total, deviations = _find_deviations(piece.filled(0), piece)
    if piece.mask is not None:
        overwrite(piece.other, piece.mask, 0)
    other_total, other_deviations = _find_deviations(piece.other, piece)
    products = np.add.reduce(deviations * other_deviations, axis=piece.axes)
    squares, other_squares = (
        np.add.reduce(np.square(each, out=each), axis=piece.axes) for each in (deviations, other_deviations)
    )
    return Comoments(total, 0.0, squares, other_total, 0.0, other_squares, products)


def _find_deviations(values: Array, piece: Piece) -> tuple[Any, Array]:
    """The sum of each cell, and the deviation of each element from the mean of its cell; 0 for missing ones."""
    total = total_of(values, piece.axes)
    mean = np.expand_dims(total / np.maximum(piece.counts, 1), piece.axes)
    deviations: Array = np.subtract(values, mean, dtype=np.float64)
    if piece.mask is not None:
        overwrite(deviations, piece.mask, 0)
    return total, deviations

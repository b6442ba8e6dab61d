"""The kernel of ``histogram``."""

import numpy as np

from active_storage.algebra.histograms import Frequencies, Histogram
from handler.kernels.pieces import Array, Piece


def count_in_bins(algebra: Histogram, piece: Piece) -> Frequencies:
    """The number of elements in each bin, of each cell of a piece."""
    # One more bin has what is in none.
    bins = algebra.bins + 1
    found = algebra.find_bins(piece.values)
    if piece.mask is not None:
        found[piece.mask] = algebra.bins
    kept = [size for axis, size in enumerate(found.shape) if axis not in piece.axes]
    cells = int(np.prod(kept, dtype=np.int64))
    if kept:
        found += _number_cells(found.shape, piece.axes, cells) * bins
    numbers = np.bincount(found.ravel(), minlength=cells * bins)
    return Frequencies(numbers.reshape(*kept, bins)[..., : algebra.bins])


def _number_cells(shape: tuple[int, ...], axes: tuple[int, ...], cells: int) -> Array:
    """The number of the cell of each element, in C order; the reduced axes have size 1."""
    sizes = [1 if axis in axes else size for axis, size in enumerate(shape)]
    return np.arange(cells, dtype=np.int64).reshape(sizes)

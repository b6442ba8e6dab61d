"""The kernels of elements that have weights.

Weights mostly vary along some of the reduced axes only, such as the latitude. Elements are added up along the other
axes first, as fast as without weights, and the sums are then multiplied by the weights.
"""

from typing import Any

import numpy as np

from active_storage.algebra.weighted import WeightedMoments, WeightedTotal, WeightedVar, divided
from handler.kernels.missing import overwrite
from handler.kernels.pieces import Array, Piece
from handler.kernels.sums import total_of


def weigh_total(_algebra: Any, piece: Piece) -> WeightedTotal:
    """The sum of elements times weights and the sum of weights, of each cell of a piece."""
    weigher = _Weigher(piece)
    total, weight = weigher.add_up(piece.filled(0)), weigher.weight()
    return WeightedTotal(total, 0.0, weight)


def weigh_moments(_algebra: WeightedVar, piece: Piece) -> WeightedMoments:
    """The same, and the weighted sum of squared deviations from the weighted mean, of each cell of a piece."""
    weigher = _Weigher(piece)
    total, weight = weigher.add_up(piece.filled(0)), weigher.weight()
    # Without weights there is no mean, and any number may take its place.
    mean = np.where(weight != 0, divided(total, weight), 0.0)
    deviations = np.subtract(piece.values, np.expand_dims(mean, piece.axes), dtype=np.float64)
    if piece.mask is not None:
        overwrite(deviations, piece.mask, 0)
    np.square(deviations, out=deviations)
    return WeightedMoments(total, 0.0, weight, weigher.add_up(deviations))


class _Weigher:
    """Adds up numbers of the shape of a piece, times the weights.

    Args:
        piece: The piece. Its weights have a size of 1 along each axis along which they do not vary.
    """

    def __init__(self, piece: Piece) -> None:
        assert piece.weights is not None  # noqa: S101  # the algebra is one of weights
        self._piece = piece
        # The axes along which the weights do not vary are reduced first. The others are left; ``_later`` are the places
        # of the reduced ones among these.
        self._first = tuple(axis for axis in piece.axes if piece.weights.shape[axis] == 1)
        left = [axis for axis in range(piece.values.ndim) if axis not in self._first]
        self._later = tuple(place for place, axis in enumerate(left) if axis in piece.axes)
        self._weights = piece.weights.reshape([piece.weights.shape[axis] for axis in left])

    def add_up(self, numbers: Array) -> Any:
        """The sum of numbers times weights, of each cell."""
        sums = total_of(numbers, self._first) if self._first else numbers
        return np.add.reduce(np.multiply(sums, self._weights, dtype=np.float64), axis=self._later)

    def weight(self) -> Any:
        """The sum of the weights of present elements, of each cell."""
        values, mask = self._piece.values, self._piece.mask
        if mask is None:
            counts: Any = np.int64(np.prod([values.shape[axis] for axis in self._first], dtype=np.int64))
            shape = [size for axis, size in enumerate(values.shape) if axis not in self._first]
            weights = np.broadcast_to(self._weights, shape)
            return np.add.reduce(weights * counts, axis=self._later)
        counts = np.add.reduce(np.logical_not(mask), axis=self._first, dtype=np.int64)
        return np.add.reduce(counts * self._weights, axis=self._later)

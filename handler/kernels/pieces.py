"""The piece: the input of every kernel."""

import math
from typing import Any, NamedTuple

import numpy as np

from handler.kernels.missing import overwrite
from handler.kernels.walk import Slab, Walk

Array = np.ndarray[Any, np.dtype[Any]]


class Piece(NamedTuple):
    """The selected part of a block, in the caller's direction.

    Attributes:
        values: The elements, whose memory a kernel may overwrite.
        mask: Which elements are missing; None if all are present.
        counts: The number of present elements of each cell.
        axes: The axes that are reduced.
        slab: The stop of the walk.
        walk: The walk.
        weights: The weights of the elements, float64, of the values' number of dimensions; a size is 1 along each axis
            along which they do not vary. None if elements have no weights.
        other: The elements of a second array, of the shape of ``values``, whose memory a kernel may overwrite; None if
            there is none.
    """

    values: Array
    mask: Array | None
    counts: Any
    axes: tuple[int, ...]
    slab: Slab
    walk: Walk
    weights: Array | None = None
    other: Array | None = None

    def filled(self, value: Any) -> Array:
        """The values, with missing ones overwritten by ``value``."""
        if self.mask is not None:
            overwrite(self.values, self.mask, value)
        return self.values


def flattened(array: Array, axes: tuple[int, ...]) -> Array:
    """The array with these axes as one, the last."""
    kept = tuple(axis for axis in range(array.ndim) if axis not in axes)
    size = math.prod(array.shape[axis] for axis in axes)
    return array.transpose(*kept, *axes).reshape(*(array.shape[axis] for axis in kept), size)

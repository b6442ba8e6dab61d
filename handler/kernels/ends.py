"""The kernel of ``first`` and ``last``: the element nearest to an end that is not missing, and its position."""

import numpy as np

from active_storage.algebra.ends import End, Ended, Last
from handler.kernels.pieces import Piece, flattened


def find_end(algebra: End, piece: Piece) -> Ended:
    """The first or the last element of each cell of a piece, and its position; -1 if all its elements are missing."""
    is_last = isinstance(algebra, Last)
    if piece.mask is None:
        places = [size - 1 if is_last else 0 for size in (piece.values.shape[axis] for axis in piece.axes)]
        index: list[slice | int] = [slice(None)] * piece.values.ndim
        for axis, place in zip(piece.axes, places, strict=True):
            index[axis] = place
        values = piece.values[tuple(index)]
        position = piece.walk.find_reduced_position(piece.slab, places)
        return Ended(values, np.full(values.shape, position, np.int64)[()])
    # The reduced axes behind the others, in the caller's order.
    axes = piece.axes[::-1] if piece.walk.order == "F" else piece.axes
    values, is_missing = (flattened(array, axes) for array in (piece.values, piece.mask))
    found = np.argmin(is_missing[..., ::-1] if is_last else is_missing, axis=-1)
    if is_last:
        found = is_missing.shape[-1] - 1 - found
    sizes = [piece.values.shape[axis] for axis in axes]
    local = np.unravel_index(found, sizes) if sizes else ()
    position = piece.walk.find_reduced_position(piece.slab, local[::-1] if piece.walk.order == "F" else local)
    taken, is_absent = (
        np.take_along_axis(array, np.expand_dims(found, -1), -1).squeeze(-1) for array in (values, is_missing)
    )
    return Ended(taken[()], np.where(is_absent, -1, position).astype(np.int64)[()])

"""The kernel of ``argmax`` and ``argmin``: the first of the best elements that are not missing."""

from collections.abc import Callable
from typing import Any

import numpy as np

from active_storage.algebra.arg_extrema import ArgExtreme, ArgExtremum, ArgMax
from handler.kernels.pieces import Array, Piece, flattened


def find_arg_extremum(algebra: ArgExtreme, piece: Piece) -> ArgExtremum:
    """The extremum of each cell of a piece and its position in the selection; -1 if all its elements are missing."""
    search = np.argmax if isinstance(algebra, ArgMax) else np.argmin
    values = piece.filled(algebra.identity().best)
    return _search_all(search, piece, values) if len(piece.walk.cells) == 0 else _search_along(search, piece, values)


def _search_all(search: Callable[..., Any], piece: Piece, values: Array) -> ArgExtremum:
    # In the caller's order, so that the first of equals is the caller's first.
    turned, mask = piece.walk.arrange(values), piece.mask
    flat = int(search(turned))
    if mask is not None and piece.walk.arrange(mask).ravel()[flat]:
        # The value in place of missing elements equals the extremum: take the first element that is not missing.
        flat = int(np.argmin(piece.walk.arrange(mask)))
        if piece.walk.arrange(mask).ravel()[flat]:
            return ArgExtremum(turned.ravel()[flat], np.int64(-1))
    index = np.unravel_index(flat, turned.shape)
    local = tuple(int(each) for each in (index[::-1] if piece.walk.order == "F" else index))
    return ArgExtremum(turned[index], np.int64(piece.walk.find_position(piece.slab, local)))


def _search_along(search: Callable[..., Any], piece: Piece, values: Array) -> ArgExtremum:
    walk, slab, mask, axes = piece.walk, piece.slab, piece.mask, piece.axes
    if not axes:
        # Each element has a cell of its own.
        positions = np.full(values.shape, walk.find_reduced_position(slab, ()), np.int64)
        return ArgExtremum(values.copy(), positions if mask is None else np.where(mask, -1, positions))
    axis, sizes = axes[0], [values.shape[each] for each in axes]
    if len(axes) > 1:
        axis = -1
        values, mask = flattened(values, axes), None if mask is None else flattened(mask, axes)
    found = search(values, axis=axis)
    if mask is not None:
        hits_missing = np.take_along_axis(mask, np.expand_dims(found, axis), axis).squeeze(axis)
        found = np.where(hits_missing, np.argmin(mask, axis=axis), found)
    best = np.take_along_axis(values, np.expand_dims(found, axis), axis).squeeze(axis)
    local = np.unravel_index(found, sizes) if len(axes) > 1 else (np.asarray(found, np.int64),)
    positions = walk.find_reduced_position(slab, local)
    return ArgExtremum(best, positions if mask is None else np.where(np.all(mask, axis=axis), -1, positions))

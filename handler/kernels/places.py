"""The kernel of ``argmax`` and ``argmin``: the first of the best elements that are not missing."""

from collections.abc import Callable
from typing import Any

import numpy as np

from active_storage.algebra.places import ArgExtreme, ArgMax, Place
from handler.kernels.pieces import Array, Piece


def find_place(algebra: ArgExtreme, piece: Piece) -> Place:
    """The extremum of each cell of a piece and its place in the selection; -1 where all elements are missing."""
    search = np.argmax if isinstance(algebra, ArgMax) else np.argmin
    values = piece.filled(algebra.identity().best)
    return _search_all(search, piece, values) if len(piece.plan.cells) == 0 else _search_along(search, piece, values)


def _search_all(search: Callable[..., Any], piece: Piece, values: Array) -> Place:
    # In the caller's order, so that the first of equals is the caller's first.
    turned, mask = piece.plan.arrange(values), piece.mask
    flat = int(search(turned))
    if mask is not None and piece.plan.arrange(mask).ravel()[flat]:
        # What stands for the missing is as good as all the others: the first that is not missing.
        flat = int(np.argmin(piece.plan.arrange(mask)))
        if piece.plan.arrange(mask).ravel()[flat]:
            return Place(turned.ravel()[flat], np.int64(-1))
    index = np.unravel_index(flat, turned.shape)
    local = tuple(int(part) for part in (index[::-1] if piece.plan.order == "F" else index))
    return Place(turned[index], np.int64(piece.plan.place(piece.slab, local)))


def _search_along(search: Callable[..., Any], piece: Piece, values: Array) -> Place:
    plan, slab = piece.plan, piece.slab
    reduced = next(place for place, dimension in enumerate(plan.dimensions) if not dimension.is_kept)
    offset = slab.first[reduced]
    if not piece.axes:
        places = np.full(values.shape, offset, np.int64)
        return Place(values.copy(), places if piece.mask is None else np.where(piece.mask, -1, places))
    axis = piece.axes[0]
    found = search(values, axis=axis)
    if piece.mask is not None:
        hits_missing = np.take_along_axis(piece.mask, np.expand_dims(found, axis), axis).squeeze(axis)
        found = np.where(hits_missing, np.argmin(piece.mask, axis=axis), found)
    best = np.take_along_axis(values, np.expand_dims(found, axis), axis).squeeze(axis)
    places = np.asarray(found, np.int64) + offset
    return Place(best, places if piece.mask is None else np.where(np.all(piece.mask, axis=axis), -1, places))

"""Places: which indices of a stored dimension are selected, and how indexing changes them."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from active_storage.client.results import Array

# What is selected of a dimension that is stored: indices in order, any indices, or one, without the dimension.
Places = range | Array | int


def find_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """The numbers of axes, in the order in which they were given; all for None.

    Raises:
        numpy.exceptions.AxisError: There is no such axis.
    """
    if axis is None:
        return tuple(range(ndim))
    axes = [int(each) for each in np.atleast_1d(np.asarray(axis, int))]
    for each in axes:
        if not -ndim <= each < ndim:
            raise np.exceptions.AxisError(each, ndim)
    return tuple(each % ndim for each in axes)


def expand(key: Any, ndim: int) -> list[Any]:
    """A key for each dimension: an int, a slice or an array.

    Raises:
        IndexError: There are too many keys.
    """
    keys = list(key) if isinstance(key, tuple) else [key]
    if not any(each is Ellipsis for each in keys):
        keys.append(Ellipsis)
    place = next(number for number, each in enumerate(keys) if each is Ellipsis)
    missing = ndim - len(keys) + 1
    if missing < 0:
        raise IndexError(f"there are {len(keys) - 1} indices for {ndim} dimensions")
    keys[place : place + 1] = [slice(None)] * missing
    return [np.asarray(each) if isinstance(each, list | np.ndarray) else each for each in keys]


def make_orthogonal(keys: list[Any]) -> list[Any] | None:
    """Keys of which each selects along its own dimension; None if numpy would combine them.

    One array is such a key. Several are, if they are those of ``numpy.ix_``.
    """
    arrays = [each for each in keys if isinstance(each, np.ndarray)]
    if not arrays:
        return keys
    if len(arrays) == 1 and arrays[0].ndim == 1:
        has_integer = any(isinstance(each, int | np.integer) for each in keys)
        return None if has_integer else keys
    ndim = arrays[0].ndim
    if len(arrays) != len(keys) or any(each.dtype == bool or each.ndim != ndim for each in arrays):
        return None
    # xarray writes an index as an array of one element, which has no dimension of its own.
    has_indices = sum(each.size == 1 for each in arrays) == len(keys) - ndim
    made: list[Any] = []
    number = 0
    for each in arrays:
        if has_indices and each.size == 1:
            made.append(int(each.reshape(())))
            continue
        if number >= ndim or each.size != each.shape[number]:
            return None
        made.append(each.ravel())
        number += 1
    return made if number == ndim else None


def select(places: range | Array, key: Any) -> Places:
    """What a key selects of the places of a dimension.

    Raises:
        IndexError: An index is outside the dimension.
    """
    if isinstance(key, slice):
        return places[key]
    if isinstance(key, np.ndarray):
        whole = np.arange(len(places))[key]
        picked = np.asarray(places)[whole]
        steps = set(np.diff(picked).tolist())
        if len(picked) and len(steps) <= 1 and steps != {0}:
            step = steps.pop() if steps else 1
            start = int(picked[0])
            return range(start, start + step * len(picked), step)
        return picked if len(picked) else range(0)
    return int(places[int(key)])


def cover(places: Places) -> range:
    """The ascending places of a slice that has all places of a dimension, or that of one index."""
    if isinstance(places, int):
        return range(places, places + 1)
    if isinstance(places, range):
        return places if places.step > 0 else places[::-1]
    low, high = int(places.min()), int(places.max())
    step = int(np.gcd.reduce(places - low)) or 1
    return range(low, high + 1, step)


def as_array(places: Places) -> Array:
    """The places, in their order."""
    return np.atleast_1d(np.asarray(places, np.int64))


def count_places(places: Places) -> int:
    """How many there are."""
    return 1 if isinstance(places, int) else len(places)


def make_slice(places: range) -> slice:
    """The slice of a dimension that has these places."""
    return slice(places.start, places.stop if places.stop >= 0 else None, places.step)


def make_key(places: Iterable[Places]) -> tuple[Any, ...]:
    """What is equal for equal places of several dimensions."""
    return tuple(each.tobytes() if isinstance(each, np.ndarray) else each for each in places)


def merge_axes(shape: Sequence[int], wanted: Sequence[int]) -> list[tuple[int, ...]] | None:
    """The axes of which each axis of another shape is made; None if it is not made of whole axes in their order."""
    axes = list(range(len(shape)))
    made = []
    for size in wanted:
        taken: list[int] = []
        while axes and (not taken or math.prod(shape[axis] for axis in taken) < size):
            taken.append(axes.pop(0))
        if math.prod(shape[axis] for axis in taken) != size:
            return None
        made.append(tuple(taken))
    return None if axes else made

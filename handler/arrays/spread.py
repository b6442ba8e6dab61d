"""Spread arrays: numbers that belong to the elements of an array, and do not vary along some of its dimensions.

They have as many dimensions as the array, with a size of 1 along those dimensions, so that numpy broadcasts them.
Weights are spread, and arrays of fewer dimensions in an expression.
"""

from collections.abc import Sequence

import numpy as np

from active_storage.model.ranges import Slice
from handler.arrays.coordinates import AnyArray
from handler.arrays.grid import unravel
from handler.containers.stored_array import Numbers, StoredArray
from handler.kernels.pieces import Array

# For each axis, the index where a window begins, and its size.
Window = tuple[tuple[int, int], ...]


def spread(values: Array, axes: Sequence[int], shape: tuple[int, ...]) -> Array:
    """Numbers with some of the dimensions of an array, as a spread array of floats.

    Args:
        values: The numbers. Whole numbers become float64.
        axes: The numbers of their dimensions in the array.
        shape: The shape of the array.
    """
    dtype = values.dtype if values.dtype.kind == "f" else np.dtype(np.float64)
    ordered = values.transpose(np.argsort(axes)) if values.ndim > 1 else values
    sizes = [size if axis in axes else 1 for axis, size in enumerate(shape)]
    return np.ascontiguousarray(ordered, dtype).reshape(sizes)


def cut_part(numbers: Array, array: AnyArray, number: int) -> Array:
    """What belongs to a part of an array."""
    if isinstance(array, StoredArray) or numbers.shape[array.axis] == 1:
        return numbers
    start, stop = array.bounds[number]
    return numbers[(slice(None),) * array.axis + (slice(start, stop),)]


def find_window(numbers: Array, array: StoredArray, chunk: int) -> Window:
    """Where what belongs to a chunk begins, and its size.

    Args:
        numbers: The spread array.
        array: The array.
        chunk: The number of the chunk in the grid.
    """
    places = zip(numbers.shape, unravel(chunk, array.grid), array.chunks, strict=True)
    return tuple((place * size, size) if varies > 1 else (0, 1) for varies, place, size in places)


def cut_window(numbers: Array, window: Window, selected: Sequence[Slice | Numbers]) -> Array:
    """What belongs to the elements of a chunk.

    Args:
        numbers: The spread array.
        window: Where it begins, and its size.
        selected: What is selected along each axis; only lists are applied here. Those of several groups add an axis.
    """
    cut = numbers[tuple(slice(start, start + size) for start, size in window)]
    # From the last axis, because lists of several groups add one.
    for axis, chosen in reversed(list(enumerate(selected))):
        if isinstance(chosen, Slice):
            continue
        if cut.shape[axis] > 1:
            cut = cut.take(chosen, axis)
        elif chosen.ndim > 1:
            cut = np.expand_dims(cut, axis)
    return cut

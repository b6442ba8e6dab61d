"""The grid of chunks: which chunks a selection touches, and what is selected of each. Arithmetic only, no reading."""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeVar

import numpy as np

from active_storage.algebra import Index
from active_storage.errors import UnsupportedArray
from active_storage.model.ranges import Slice
from handler.arrays.selection import Selection
from handler.containers.stored_array import Numbers, StoredArray

_Place = TypeVar("_Place", int, Numbers)

# Along each dimension. A few more than the chunks of a row, and few enough for any memory.
_KEPT_PARTS = 1024


@dataclass(frozen=True, slots=True)
class GridDimension:
    """The touched chunks along one dimension, and what is selected of each.

    Nothing is listed: a dimension can have more chunks than memory holds, even if another one has no selected index.

    Attributes:
        selected: The selected indices, ascending.
        chunk: The size of a chunk.
        position: The position of the caller's first index in the whole selection.
        is_flipped: Whether the caller's order is descending.
    """

    selected: range
    chunk: int
    position: int
    is_flipped: bool

    @classmethod
    def of(cls, indices: range, chunk: int, position: int) -> "GridDimension":
        """The touched chunks of a dimension.

        Args:
            indices: The selected indices, in the caller's order.
            chunk: The size of a chunk along the dimension.
            position: The position of the first index in the caller's selection.
        """
        return cls(indices if indices.step > 0 else indices[::-1], chunk, position, indices.step < 0)

    @property
    def count(self) -> int:
        """The number of touched chunks."""
        return count_touched(self.selected, self.chunk)

    def number(self, place: _Place) -> _Place:
        """The number along the dimension of the touched chunk at this place among them; of several for an array."""
        start, step = self.selected.start, self.selected.step
        # With a long step, each selected index is in another chunk.
        return (start + place * step) // self.chunk if step >= self.chunk else start // self.chunk + place

    def part(self, place: int) -> tuple[Slice, int, slice]:
        """A touched chunk along this dimension.

        Returns:
            What is selected of it in the caller's direction, the position of its first element in the selection, and
            the positions of all of them.
        """
        selected, chunk = self.selected, self.chunk
        start, step, count = selected.start, selected.step, len(selected)
        offset = self.number(place) * chunk
        # The numbers of the first and the last selected index in the chunk.
        first, last = max(0, -((start - offset) // step)), min(count - 1, (offset + chunk - 1 - start) // step)
        low, high = start + first * step - offset, start + last * step - offset
        if self.is_flipped:
            selected_of_it = Slice(high, low - 1 if low else None, -step)
            begin = self.position + count - 1 - last
        else:
            selected_of_it = Slice(low, high + 1, step)
            begin = self.position + first
        return selected_of_it, begin, slice(begin, begin + last + 1 - first)


def count_touched(indices: range, chunk: int) -> int:
    """The number of touched chunks along a dimension, without enumerating them."""
    if not indices:
        return 0
    first, last = min(indices[0], indices[-1]), max(indices[0], indices[-1])
    return min(len(indices), last // chunk - first // chunk + 1)


def count_all_touched(array: StoredArray, selection: Selection) -> int:
    """The number of touched chunks of an array, without enumerating them."""
    pairs = zip(selection.indices, array.chunks, strict=True)
    return math.prod(count_touched(indices, chunk) for indices, chunk in pairs)


@dataclass(frozen=True)
class TouchedChunk:
    """A touched chunk of the grid.

    Attributes:
        number: Its number in the whole grid, flattened in C order.
        selected: What is selected of it: one slice for each dimension, in the caller's direction.
        first: The position of its first element in the whole selection.
        cells: The cells of the result that it belongs to.
    """

    number: int
    selected: tuple[Slice, ...]
    first: tuple[int, ...]
    cells: Index


class Grid:
    """The touched chunks of an array, in C order.

    Args:
        array: The array.
        selection: What is selected of it.

    Raises:
        UnsupportedArray: The grid has more chunks than int64 can number.
    """

    def __init__(self, array: StoredArray, selection: Selection) -> None:
        if math.prod(array.grid) >= 2**63:
            raise UnsupportedArray(array.name, "a grid of 2**63 or more chunks")
        self.selection = selection
        self._full = array.grid
        self._dimensions = [
            GridDimension.of(*each) for each in zip(selection.indices, array.chunks, selection.first, strict=True)
        ]
        self._sizes = tuple(dimension.count for dimension in self._dimensions)
        # Chunks that follow each other differ along one dimension: this saves half the time of ``chunk``.
        self._parts = [lru_cache(_KEPT_PARTS)(dimension.part) for dimension in self._dimensions]
        self._kept = selection.kept

    @cached_property
    def count(self) -> int:
        """The number of touched chunks."""
        return math.prod(self._sizes)

    def numbers(self, start: int, stop: int) -> Numbers:
        """The numbers in the whole grid of the touched chunks from ``start`` to before ``stop``, ascending."""
        if not self._sizes:
            return np.zeros(stop - start, np.int64)
        places = np.unravel_index(np.arange(start, stop), self._sizes)
        chunks = tuple(dimension.number(place) for dimension, place in zip(self._dimensions, places, strict=True))
        flat: Numbers = np.ravel_multi_index(chunks, self._full).astype(np.int64)
        return flat

    def box(self, start: int, stop: int) -> tuple[slice, ...]:
        """The cells of the result that the touched chunks from ``start`` to before ``stop`` belong to: a box."""
        first, last = unravel(start, self._sizes), unravel(stop - 1, self._sizes)
        # Behind the first dimension along which they differ, every chunk may be touched.
        differ = next((axis for axis, (one, other) in enumerate(zip(first, last, strict=True)) if one != other), None)
        box = []
        for axis in self.selection.kept:
            dimension = self._dimensions[axis]
            is_whole = differ is not None and axis > differ
            low, high = (0, dimension.count - 1) if is_whole else (first[axis], last[axis])
            ends = [dimension.part(place)[2] for place in (low, high)]
            box.append(slice(min(each.start for each in ends), max(each.stop for each in ends)))
        return tuple(box)

    def chunk(self, touched: int, number: int) -> TouchedChunk:
        """A touched chunk.

        Args:
            touched: Its number among the touched chunks.
            number: Its number in the whole grid.
        """
        places = unravel(touched, self._sizes)
        parts = [find(place) for find, place in zip(self._parts, places, strict=True)]
        return TouchedChunk(
            number,
            tuple([part[0] for part in parts]),
            tuple([part[1] for part in parts]),
            tuple([parts[axis][2] for axis in self._kept]),
        )


def unravel(number: int, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The index in an array of these sizes of a number that was flattened in C order; () without dimensions."""
    index = []
    for size in reversed(sizes):
        number, place = divmod(number, size)
        index.append(place)
    return tuple(reversed(index))

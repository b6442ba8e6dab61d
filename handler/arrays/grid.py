"""The grid of chunks: which chunks a selection touches, and what is selected of each. Arithmetic only, no reading."""

import itertools
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from active_storage.algebra import Index
from active_storage.errors import UnsupportedArray
from active_storage.model.ranges import Slice
from handler.arrays.selection import Indices, Listed, Selection
from handler.containers.stored_array import Numbers, StoredArray

_Place = TypeVar("_Place", int, Numbers)

# More groups than these along a dimension of a chunk are reduced together, if they have the same number of elements.
# One by one, each takes a fifth of a millisecond.
_MOST_SINGLE_GROUPS = 12

# Along each dimension. A few more than the chunks of a row, and few enough for any memory.
_KEPT_PARTS = 1024


class Part(NamedTuple):
    """What is selected of a chunk along one dimension, and belongs to one cell or to cells that follow each other.

    Attributes:
        selected: The selected indices in the chunk, in the caller's direction: a slice, or a list; or a list for each
            of several groups, of the same length.
        first: The position of the first element in the whole selection, if those of the others follow it; else the
            positions of all.
        cells: The cells of the result along this dimension: the number of a group, or a slice; or the numbers of
            several groups, ascending.
    """

    selected: Slice | Numbers
    first: int | Numbers
    cells: int | slice | Numbers


class GridDimension(Protocol):
    """The touched chunks along one dimension, and what is selected of each."""

    @property
    def count(self) -> int:
        """The number of touched chunks."""

    def number(self, place: _Place) -> _Place:
        """The number along the dimension of the touched chunk at this place among them; of several for an array."""

    def parts(self, place: int) -> tuple[Part, ...]:
        """What is selected of a touched chunk along this dimension."""

    def span(self, low: int, high: int) -> slice:
        """The cells of the touched chunks from the place ``low`` to the place ``high``, and those between."""


@dataclass(frozen=True, slots=True)
class EvenDimension:
    """The touched chunks along a dimension whose selected indices are the same distance apart.

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

    @property
    def count(self) -> int:
        """The number of touched chunks."""
        return count_touched(self.selected, self.chunk)

    def number(self, place: _Place) -> _Place:
        """The number along the dimension of the touched chunk at this place among them; of several for an array."""
        start, step = self.selected.start, self.selected.step
        # With a long step, each selected index is in another chunk.
        return (start + place * step) // self.chunk if step >= self.chunk else start // self.chunk + place

    def parts(self, place: int) -> tuple[Part, ...]:
        """What is selected of a touched chunk: one part."""
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
        return (Part(selected_of_it, begin, slice(begin, begin + last + 1 - first)),)

    def span(self, low: int, high: int) -> slice:
        """The cells of some touched chunks."""
        ends = [self.parts(place)[0].cells for place in (low, high)]
        return slice(min(each.start for each in ends), max(each.stop for each in ends))  # type: ignore[union-attr]


class ListedDimension:
    """The touched chunks along a dimension whose selected indices are listed.

    Args:
        listed: The selected indices.
        chunk: The size of a chunk.
        folds: Whether many groups can be reduced together, because it does not matter where their elements are.
    """

    def __init__(self, listed: Listed, chunk: int, folds: bool) -> None:
        self._listed = listed
        self._folds = folds
        self._chunk = chunk
        self._chunks, self._starts = np.unique(listed.indices // chunk, return_index=True)
        self._stops = np.append(self._starts[1:], len(listed))

    @property
    def count(self) -> int:
        """The number of touched chunks."""
        return len(self._chunks)

    def number(self, place: _Place) -> _Place:
        """The number along the dimension of a touched chunk, or of several."""
        found = self._chunks[place]
        return found if isinstance(place, np.ndarray) else int(found)

    def parts(self, place: int) -> tuple[Part, ...]:
        """What is selected of a touched chunk: a part for each group, for many groups, or for each run of positions."""
        rows = slice(self._starts[place], self._stops[place])
        listed = self._listed
        offsets = listed.indices[rows] - int(self._chunks[place]) * self._chunk
        positions, groups = listed.positions[rows], None if listed.groups is None else listed.groups[rows]
        count = len(positions) if groups is None else len(np.unique(groups))
        if groups is None or count == len(groups):
            # Each element has a cell of its own.
            cells = positions if groups is None else groups
            order = np.argsort(cells)
            ends = np.flatnonzero(np.diff(cells[order]) != 1) + 1
            if groups is None or not self._folds or len(ends) < _MOST_SINGLE_GROUPS:
                runs = np.split(order, ends)
                return tuple(_make_part(offsets[run], positions[run], _as_span(cells[run])) for run in runs)
        if self._folds and count > _MOST_SINGLE_GROUPS:
            return _fold(offsets, positions, groups)
        # In each group, in the caller's order.
        order = np.lexsort((positions, groups))
        members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
        return tuple(_make_part(offsets[each], positions[each], int(groups[each[0]])) for each in members)

    def span(self, low: int, high: int) -> slice:
        """The cells of some touched chunks, and those between."""
        cells = self._listed.positions if self._listed.groups is None else self._listed.groups
        mine = cells[self._starts[low] : self._stops[high]]
        return slice(int(mine.min()), int(mine.max()) + 1)


def _make_part(offsets: Numbers, positions: Numbers, cells: int | slice) -> Part:
    """A part of a chunk, with a slice and a number in place of lists where that says the same."""
    selected: Slice | Numbers = offsets
    if len(offsets) == 1 or (np.diff(offsets) == (step := int(offsets[1] - offsets[0]))).all():
        step = 1 if len(offsets) == 1 else step
        stop = int(offsets[-1]) + (1 if step > 0 else -1)
        selected = Slice(int(offsets[0]), None if stop < 0 else stop, step)
    are_neighbours = bool((np.diff(positions) == 1).all())
    return Part(selected, int(positions[0]) if are_neighbours else positions, cells)


def _fold(offsets: Numbers, positions: Numbers, groups: Numbers) -> tuple[Part, ...]:
    """A part for all groups with the same number of elements. In each group, these are in the caller's order."""
    order = np.lexsort((positions, groups))
    numbers, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    parts = []
    for size in np.unique(sizes).tolist():
        mine = sizes == size
        rows = order[starts[mine][:, np.newaxis] + np.arange(size)]
        parts.append(Part(offsets[rows], positions[rows], numbers[mine]))
    return tuple(parts)


def _as_span(cells: Numbers) -> slice:
    return slice(int(cells[0]), int(cells[-1]) + 1)


def make_dimension(indices: Indices, chunk: int, position: int, folds: bool) -> GridDimension:
    """The touched chunks along a dimension.

    Args:
        indices: The selected indices.
        chunk: The size of a chunk along the dimension.
        position: The position of the first index of a range in the caller's selection.
        folds: Whether many groups can be reduced together.
    """
    if isinstance(indices, Listed):
        return ListedDimension(indices, chunk, folds)
    return EvenDimension(indices if indices.step > 0 else indices[::-1], chunk, position, indices.step < 0)


def count_touched(indices: Indices, chunk: int) -> int:
    """The number of touched chunks along a dimension. Those of a range are not enumerated."""
    if not len(indices):
        return 0
    if isinstance(indices, Listed):
        return len(np.unique(indices.indices // chunk))
    first, last = min(indices[0], indices[-1]), max(indices[0], indices[-1])
    return min(len(indices), last // chunk - first // chunk + 1)


def count_all_touched(array: StoredArray, selection: Selection) -> int:
    """The number of touched chunks of an array, without enumerating them."""
    pairs = zip(selection.indices, array.chunks, strict=True)
    return math.prod(count_touched(indices, chunk) for indices, chunk in pairs)


class Portion(NamedTuple):
    """The selected elements of a chunk that belong to one cell, or to cells that follow each other.

    Attributes:
        selected: Which elements: a slice or a list for each dimension, in the caller's direction; or a list for each
            of several groups.
        first: For each dimension, the position of the first one in the whole selection, or the positions of all.
        cells: The cells of the result; the number of a group stands for a dimension that is reduced to it, and the
            numbers of several groups for one that is reduced to them.
    """

    selected: tuple[Slice | Numbers, ...]
    first: tuple[int | Numbers, ...]
    cells: Index


class TouchedChunk(NamedTuple):
    """A touched chunk of the grid.

    Attributes:
        number: Its number in the whole grid, flattened in C order.
        portions: Its selected elements: mostly one portion, and several if a dimension is grouped, or its indices are
            not in order.
    """

    number: int
    portions: tuple[Portion, ...]


class Grid:
    """The touched chunks of an array, in C order.

    Args:
        array: The array.
        selection: What is selected of it.
        folds: Whether many groups can be reduced together: not if positions of elements are sought.

    Raises:
        UnsupportedArray: The grid has more chunks than int64 can number.
    """

    def __init__(self, array: StoredArray, selection: Selection, folds: bool = False) -> None:
        if math.prod(array.grid) >= 2**63:
            raise UnsupportedArray(array.name, "a grid of 2**63 or more chunks")
        self.selection = selection
        self._full = array.grid
        self._dimensions = [
            make_dimension(*each, folds) for each in zip(selection.indices, array.chunks, selection.first, strict=True)
        ]
        self._sizes = tuple(dimension.count for dimension in self._dimensions)
        # Chunks that follow each other differ along one dimension: this saves half the time of ``chunk``.
        self._parts = [lru_cache(_KEPT_PARTS)(dimension.parts) for dimension in self._dimensions]
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
            box.append(dimension.span(low, high))
        return tuple(box)

    def chunk(self, touched: int, number: int) -> TouchedChunk:
        """A touched chunk.

        Args:
            touched: Its number among the touched chunks.
            number: Its number in the whole grid.
        """
        places = unravel(touched, self._sizes)
        along = [find(place) for find, place in zip(self._parts, places, strict=True)]
        return TouchedChunk(number, tuple([self._make_portion(parts) for parts in itertools.product(*along)]))

    def _make_portion(self, parts: tuple[Part, ...]) -> Portion:
        return Portion(
            tuple([part.selected for part in parts]),
            tuple([part.first for part in parts]),
            tuple([parts[axis].cells for axis in self._kept]),
        )


def unravel(number: int, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The index in an array of these sizes of a number that was flattened in C order; () without dimensions."""
    index = []
    for size in reversed(sizes):
        number, place = divmod(number, size)
        index.append(place)
    return tuple(reversed(index))

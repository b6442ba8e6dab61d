"""From a shape and a selection to the walk through the bytes: which span of them, in which pieces, to which cells.

Everything is worked out in the order of storage. An array in F order is the array of the reversed shape in C order, so
that both are walked alike, front to back, and nothing is held but a piece; ``Plan.arrange`` turns the result round.

The walk: the last dimensions are read together as long as they fit a block; the one before them, the *slab* dimension,
is read in slabs of several rows; over the ones before that, the *outer* dimensions, the walk loops. Steps are taken and
dimensions flipped on the pieces, which are views.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np

from handler.core.blocks import BLOCK_BYTES
from handler.spec import REDUCERS, Order, ReductionSpec, Slice

Array = np.ndarray[Any, np.dtype[Any]]
Index = tuple[int | slice, ...]

# The places of the slab dimension that a part of the walk covers.
Part = range

# A part is worth a request of its own, and an object of four (32 MiB) the end of a connection: that of the stream which
# is not read to its end.
_PART_BYTES = 8 * 1024 * 1024
_LEAST_PARTS = 4

# Of a chunk, which is some MiB; each takes half a KiB.
_MOST_KEPT_STOPS = 16

# Each part's result waits for those before it.
_MOST_PARTS = 256


@dataclass(frozen=True, slots=True)
class Dimension:
    """One dimension, in the order of storage.

    Attributes:
        axis: Which one it is in the caller's order.
        size: Of the stored array.
        indices: What is selected, in the caller's order: it descends where the step is negative.
        is_kept: Whether the result has it.
    """

    axis: int
    size: int
    indices: range
    is_kept: bool

    @property
    def ascending(self) -> range:
        """What is selected, in the order of storage."""
        return self.indices if self.indices.step > 0 else self.indices[::-1]

    @property
    def is_flipped(self) -> bool:
        """Whether the caller's order is the reverse of that of storage."""
        return self.indices.step < 0


class Slab(NamedTuple):
    """One stop of the walk: what to read, which part of it is selected, and where that belongs.

    Attributes:
        start: The first element to read, counted from the beginning of the array.
        shape: Of what is read.
        selected: The index that takes the selection out of it, in the caller's direction.
        axes: The axes of the selected piece that are reduced.
        cells: The index of the cells that it belongs to, in the order of storage.
        first: The place of the piece's first element in the selection, a number for each dimension of storage.
    """

    start: int
    shape: tuple[int, ...]
    selected: Index
    axes: tuple[int, ...]
    cells: Index
    first: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """The walk through an array.

    Attributes:
        dimensions: In the order of storage.
        order: Of the source.
        elements: Of the whole array.
        element_bytes: The size of one.
        strides: How many elements lie between two places of a dimension.
        start: The first element that is selected, in the order of storage.
        stop: The one after the last.
        is_scalar: Whether the array has no dimensions; ``dimensions`` then has one, of one element.
    """

    dimensions: tuple[Dimension, ...]
    order: Order
    elements: int
    element_bytes: int
    strides: tuple[int, ...]
    start: int
    stop: int
    is_scalar: bool

    @classmethod
    def of(cls, spec: ReductionSpec, shape: tuple[int, ...]) -> "Plan":
        """The walk through an array of ``shape`` for the reduction of ``spec``."""
        selection, reduced = spec.selection or (Slice(),) * len(shape), spec.reduced_axes
        if not shape:
            # A scalar is walked as an array of one element. ``result_shape`` and ``arrange`` drop that dimension.
            selection, reduced = (Slice(),), () if REDUCERS[spec.reducer].keeps_elements else (0,)
        return _make_plan(shape, selection, reduced, spec.order, spec.element_bytes)

    @cached_property
    def cells(self) -> tuple[int, ...]:
        """The shape of the result's cells, in the order of storage."""
        return tuple(len(dimension.indices) for dimension in self.dimensions if dimension.is_kept)

    @property
    def selected(self) -> tuple[int, ...]:
        """The shape of what is selected, in the caller's order."""
        return tuple(len(dimension.indices) for dimension in self._callers())

    @property
    def count_selected(self) -> int:
        """How many elements are selected."""
        return math.prod(self.selected)

    @property
    def result_shape(self) -> tuple[int, ...]:
        """The shape of the result's cells, in the caller's order."""
        if self.is_scalar:
            return ()
        return self.cells[::-1] if self.order == "F" else self.cells

    def arrange(self, cells: Array) -> Array:
        """Cells in the order of storage, as the caller's array. Copies nothing."""
        if self.is_scalar and cells.shape:
            return cells.reshape(())
        return cells.T if self.order == "F" else cells

    def place(self, slab: Slab, local: tuple[int, ...]) -> int:
        """The place of an element in the selection, flattened in C order of the caller's.

        Args:
            slab: Where its piece lies.
            local: Its index in the piece, which lacks the outer dimensions.
        """
        outer = len(slab.first) - len(local)
        index = [*slab.first[:outer], *(a + b for a, b in zip(slab.first[outer:], local, strict=True))]
        if self.order == "F":
            index.reverse()
        flat = 0
        for position, size in zip(index, self.selected, strict=True):
            flat = flat * size + position
        return flat

    def cut(self) -> Sequence[Part]:
        """The walk in parts that can be walked by several at a time; none where that is not worth it.

        Only walks to a single cell, along the first dimension of storage, are cut; always between the same blocks.
        """
        stored = (self.stop - self.start) * self.element_bytes
        if self.cells or stored < _LEAST_PARTS * _PART_BYTES:
            return ()
        depth, rows = self._find_slabs()
        if depth:
            return ()
        dimension = self.dimensions[0]
        blocks = max(_PART_BYTES // BLOCK_BYTES, -(-stored // (BLOCK_BYTES * _MOST_PARTS)))
        places, count = blocks * _count_places(dimension, rows), len(dimension.indices)
        return [range(first, min(first + places, count)) for first in range(0, count, places)]

    def span(self, part: Part) -> tuple[int, int]:
        """The first element of a part of the walk, and the one after its last, in the order of storage."""
        chosen, row = self.dimensions[0].ascending, self.strides[0]
        return max(self.start, chosen[part[0]] * row), min(self.stop, (chosen[part[-1]] + 1) * row)

    def walk(self, part: Part | None = None) -> Iterable[Slab]:
        """The stops of the walk, or of a part of it, front to back."""
        return self._walk(part) if part or self._short_walk is None else self._short_walk

    @cached_property
    def _short_walk(self) -> tuple[Slab, ...] | None:
        """All stops, to be walked through again and again; None where there are many."""
        stops = tuple(itertools.islice(self._walk(), _MOST_KEPT_STOPS + 1))
        return stops if len(stops) <= _MOST_KEPT_STOPS else None

    def _walk(self, part: Part | None = None) -> Iterator[Slab]:
        if self.start == self.stop:
            return
        strides = self.strides
        depth, rows = self._find_slabs()
        outer, slab_dimension, inner = self.dimensions[:depth], self.dimensions[depth], self.dimensions[depth + 1 :]
        inner_shape = tuple(dimension.size for dimension in inner)
        inner_selected = tuple(_as_slice(dimension) for dimension in inner)
        inner_cells = tuple(slice(None) for dimension in inner if dimension.is_kept)
        inner_first = (0,) * len(inner)
        axes = tuple(place for place, dimension in enumerate((slab_dimension, *inner)) if not dimension.is_kept)
        for numbers in itertools.product(*(range(len(dimension.indices)) for dimension in outer)):
            base = sum(
                dimension.ascending[number] * stride
                for dimension, number, stride in zip(outer, numbers, strides, strict=False)
            )
            places = tuple(_place(dimension, number) for dimension, number in zip(outer, numbers, strict=True))
            outer_cells = tuple(place for dimension, place in zip(outer, places, strict=True) if dimension.is_kept)
            for read, chosen, slab_places in _slabs(slab_dimension, rows, part or range(len(slab_dimension.indices))):
                slab_cells = (slice(slab_places.start, slab_places.stop),) if slab_dimension.is_kept else ()
                yield Slab(
                    start=base + read.start * strides[depth],
                    shape=(len(read), *inner_shape),
                    selected=(chosen, *inner_selected),
                    axes=axes,
                    cells=(*outer_cells, *slab_cells, *inner_cells),
                    first=(*places, slab_places.start, *inner_first),
                )

    def _find_slabs(self) -> tuple[int, int]:
        """Which dimension is read in slabs, and how many rows of it make one."""
        # Cells are in the cache as well, with what is joined to them.
        block = max(1, BLOCK_BYTES // (2 if self.cells else 1) // self.element_bytes)
        depth = next(depth for depth, stride in enumerate(self.strides) if stride <= block)
        return depth, max(1, block // self.strides[depth])

    def _callers(self) -> tuple[Dimension, ...]:
        return self.dimensions[::-1] if self.order == "F" else self.dimensions


# Chunks of one array have one walk, and most of what is asked for are chunks. A plan takes some KiB.
@lru_cache(maxsize=256)
def _make_plan(
    shape: tuple[int, ...], selection: tuple[Slice, ...], reduced: tuple[int, ...], order: Order, element_bytes: int
) -> Plan:
    dimensions = [
        Dimension(axis, size, chosen.resolve(size), axis not in reduced)
        for axis, (size, chosen) in enumerate(zip(shape or (1,), selection, strict=True))
    ]
    if order == "F":
        dimensions.reverse()
    sizes = [dimension.size for dimension in dimensions]
    strides = tuple(math.prod(sizes[place + 1 :]) for place in range(len(sizes)))
    start = stop = 0
    if all(dimension.indices for dimension in dimensions):
        start = sum(dimension.ascending[0] * stride for dimension, stride in zip(dimensions, strides, strict=True))
        last = sum(dimension.ascending[-1] * stride for dimension, stride in zip(dimensions, strides, strict=True))
        stop = last + 1
    return Plan(tuple(dimensions), order, math.prod(shape), element_bytes, strides, start, stop, is_scalar=not shape)


def _place(dimension: Dimension, number: int) -> int:
    return len(dimension.indices) - 1 - number if dimension.is_flipped else number


def _slabs(dimension: Dimension, rows: int, part: range) -> Iterator[tuple[range, slice, range]]:
    """What to read of the slab dimension, at most ``rows`` at a time, which of it is selected, and its places."""
    chosen, places, is_flipped = dimension.ascending, _count_places(dimension, rows), dimension.is_flipped
    selected = slice(None, None, -chosen.step if is_flipped else chosen.step)
    for number in part[::places]:
        count = min(places, part.stop - number)
        read = range(chosen[number], chosen[number + count - 1] + 1)
        start = _place(dimension, number + count - 1) if is_flipped else number
        yield read, selected, range(start, start + count)


def _count_places(dimension: Dimension, rows: int) -> int:
    """How many selected places lie in so many rows of a dimension."""
    return (rows - 1) // dimension.ascending.step + 1


def _as_slice(dimension: Dimension) -> slice:
    chosen = dimension.ascending
    if not dimension.is_flipped:
        return slice(chosen.start, chosen[-1] + 1, chosen.step)
    stop = chosen[0] - 1
    return slice(chosen[-1], stop if stop >= 0 else None, -chosen.step)

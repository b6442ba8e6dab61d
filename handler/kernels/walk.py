"""The walk through an array: from a shape and a selection to the pieces to read, and the cells that they belong to.

Everything is computed in the order of storage. An array in F order is the array of the reversed shape in C order, so
that both are walked front to back, one piece at a time. ``Walk.arrange`` turns the result into the caller's order.

The last dimensions are read together as long as they fit a block. The dimension before them, the *slab* dimension, is
read in slabs of several rows. The walk loops over the dimensions before that, the *outer* dimensions. Steps and
reversals are applied to the pieces, which are views.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np

from active_storage.algebra import Index
from active_storage.model.dtypes import Order
from active_storage.model.ranges import Slice
from active_storage.model.reducers import ARRAY_REDUCERS
from active_storage.model.spec import ReductionSpec
from handler.kernels.sizes import Sizes

Array = np.ndarray[Any, np.dtype[Any]]

# The selected positions of the slab dimension that a stretch of the walk covers.
Stretch = range

# Enough for a chunk of some MiB. A stop takes half a KiB.
_MOST_KEPT_STOPS = 16


@dataclass(frozen=True, slots=True)
class Dimension:
    """One dimension, in the order of storage.

    Attributes:
        axis: Its number in the caller's order.
        size: The size in the stored array.
        indices: The selected indices, in the caller's order: descending if the step is negative.
        is_kept: Whether the result has this dimension.
    """

    axis: int
    size: int
    indices: range
    is_kept: bool

    @property
    def ascending(self) -> range:
        """The selected indices, in the order of storage."""
        return self.indices if self.indices.step > 0 else self.indices[::-1]

    @property
    def is_flipped(self) -> bool:
        """Whether the caller's order is the reverse of that of storage."""
        return self.indices.step < 0


class Slab(NamedTuple):
    """One stop of the walk: the block to read, its selected part, and the cells to which it belongs.

    Attributes:
        start: The first element to read, counted from the beginning of the array.
        shape: The shape of the block.
        selected: The index that selects the piece from the block, in the caller's direction.
        axes: The axes of the piece that are reduced.
        cells: The index of the cells that it belongs to, in the order of storage.
        first: The position of the piece's first element in the selection, one number for each dimension of storage.
    """

    start: int
    shape: tuple[int, ...]
    selected: Index
    axes: tuple[int, ...]
    cells: Index
    first: tuple[int, ...]


@dataclass(frozen=True)
class Walk:
    """The walk through an array.

    Attributes:
        dimensions: The dimensions, in the order of storage.
        order: The order of the source.
        elements: The number of elements of the whole array.
        element_bytes: The size of an element.
        strides: The distance of neighbours along each dimension, in elements.
        start: The first selected element, in the order of storage.
        stop: The element after the last selected one.
        sizes: The sizes of blocks and tasks.
        is_scalar: Whether the array has no dimensions; ``dimensions`` then has one, of one element.
    """

    dimensions: tuple[Dimension, ...]
    order: Order
    elements: int
    element_bytes: int
    strides: tuple[int, ...]
    start: int
    stop: int
    sizes: Sizes
    is_scalar: bool = False

    @classmethod
    def of(cls, spec: ReductionSpec, shape: tuple[int, ...], sizes: Sizes) -> "Walk":
        """The walk through an array of ``shape`` for the reduction of ``spec``."""
        keeps = ARRAY_REDUCERS[spec.reducer].keeps_elements
        reduced = () if keeps else (0,) if not shape else spec.reduced_axes
        return cls.through(shape, spec.selection, reduced, spec.element_bytes, sizes, spec.order)

    @classmethod
    def through(  # noqa: PLR0913, PLR0917  # what makes a walk
        cls,
        shape: tuple[int, ...],
        selection: tuple[Slice, ...] | None,
        reduced: tuple[int, ...],
        element_bytes: int,
        sizes: Sizes,
        order: Order = "C",
    ) -> "Walk":
        """The walk through an array. Equal walks are one object, as long as it is in use.

        Args:
            shape: The shape of the array; a scalar is walked as an array of one element, which is reduced or kept.
            selection: One slice for each dimension; None for everything.
            reduced: The axes that the result does not have.
            element_bytes: The size of an element.
            sizes: The sizes of blocks and tasks.
            order: The order in which the array is stored.
        """
        if not shape:
            # ``result_shape`` and ``arrange`` drop the dimension.
            return replace(_make_walk(((1, Slice()),), reduced, order, element_bytes, sizes), is_scalar=True)
        selected = tuple(zip(shape, selection or (Slice(),) * len(shape), strict=True))
        return _make_walk(selected, reduced, order, element_bytes, sizes)

    @cached_property
    def cells(self) -> tuple[int, ...]:
        """The shape of the result's cells, in the order of storage."""
        return tuple(len(dimension.indices) for dimension in self.dimensions if dimension.is_kept)

    @property
    def selected(self) -> tuple[int, ...]:
        """The shape of the selection, in the caller's order."""
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

    def arrange(self, cells: Array, trailing: tuple[int, ...] = ()) -> Array:
        """Cells in the order of storage, as the caller's array. Copies nothing.

        Args:
            cells: The values of the cells.
            trailing: The shape of the values of a cell, behind the dimensions of the cells.
        """
        kept = cells.ndim - len(trailing)
        if self.is_scalar and kept:
            return cells.reshape(trailing)
        return cells.transpose(*range(kept)[::-1], *range(kept, cells.ndim)) if self.order == "F" else cells

    def find_position(self, slab: Slab, local: tuple[int, ...]) -> int:
        """The position of an element in the selection, flattened in the caller's C order.

        Args:
            slab: The stop of its piece.
            local: Its index in the piece, which lacks the outer dimensions.
        """
        outer = len(slab.first) - len(local)
        index = [*slab.first[:outer], *(a + b for a, b in zip(slab.first[outer:], local, strict=True))]
        if self.order == "F":
            index.reverse()
        position: int = _flatten(index, self.selected)
        return position

    def find_reduced_position(self, slab: Slab, local: Sequence[Any]) -> Any:
        """The position of elements in their cells: an index in the caller's C order of the reduced axes.

        Args:
            slab: The stop of their piece.
            local: Their index in the reduced axes of the piece, in the order of storage: numbers or arrays.
        """
        outer, places = len(slab.first) - len(slab.shape), iter(local)
        reduced = [axis for axis, dimension in enumerate(self.dimensions) if not dimension.is_kept]
        index = [slab.first[axis] + (next(places) if axis >= outer else 0) for axis in reduced]
        sizes = [len(self.dimensions[axis].indices) for axis in reduced]
        return _flatten(index[::-1], sizes[::-1]) if self.order == "F" else _flatten(index, sizes)

    def cut(self) -> Sequence[Stretch]:
        """The walk in stretches that can be reduced side by side; empty if the walk is not worth cutting.

        Only walks to a single cell are cut, along the first dimension of storage, and always between the same blocks.
        """
        stored = (self.stop - self.start) * self.element_bytes
        sizes = self.sizes
        if self.cells or stored < sizes.fewest_tasks * sizes.task_bytes:
            return ()
        depth, rows = self._find_slabs()
        if depth:
            return ()
        dimension = self.dimensions[0]
        blocks = max(sizes.task_bytes // sizes.block_bytes, -(-stored // (sizes.block_bytes * sizes.most_tasks)))
        positions, count = blocks * _count_positions(dimension, rows), len(dimension.indices)
        return [range(first, min(first + positions, count)) for first in range(0, count, positions)]

    def span(self, stretch: Stretch) -> tuple[int, int]:
        """The first element of a stretch, and the element after its last, in the order of storage."""
        chosen, row = self.dimensions[0].ascending, self.strides[0]
        return max(self.start, chosen[stretch[0]] * row), min(self.stop, (chosen[stretch[-1]] + 1) * row)

    def stops(self, stretch: Stretch | None = None) -> Iterable[Slab]:
        """The stops of the walk, or of a stretch of it, front to back."""
        return self._go(stretch) if stretch or self._few_stops is None else self._few_stops

    @cached_property
    def _few_stops(self) -> tuple[Slab, ...] | None:
        """All stops, kept for the next requests; None if there are many."""
        stops = tuple(itertools.islice(self._go(), _MOST_KEPT_STOPS + 1))
        return stops if len(stops) <= _MOST_KEPT_STOPS else None

    def _go(self, stretch: Stretch | None = None) -> Iterator[Slab]:
        if self.start == self.stop:
            return
        strides = self.strides
        depth, rows = self._find_slabs()
        outer, slab_dimension, inner = self.dimensions[:depth], self.dimensions[depth], self.dimensions[depth + 1 :]
        inner_shape = tuple(dimension.size for dimension in inner)
        inner_selected = tuple(_as_slice(dimension) for dimension in inner)
        inner_cells = tuple(slice(None) for dimension in inner if dimension.is_kept)
        inner_first = (0,) * len(inner)
        axes = tuple(axis for axis, dimension in enumerate((slab_dimension, *inner)) if not dimension.is_kept)
        for numbers in _count_up(tuple(len(dimension.indices) for dimension in outer)):
            base = sum(
                dimension.ascending[number] * stride
                for dimension, number, stride in zip(outer, numbers, strides, strict=False)
            )
            positions = tuple(_position(dimension, number) for dimension, number in zip(outer, numbers, strict=True))
            outer_cells = tuple(
                position for dimension, position in zip(outer, positions, strict=True) if dimension.is_kept
            )
            for read, chosen, slab_positions in _slabs(
                slab_dimension, rows, stretch or range(len(slab_dimension.indices))
            ):
                slab_cells = (slice(slab_positions.start, slab_positions.stop),) if slab_dimension.is_kept else ()
                yield Slab(
                    start=base + read.start * strides[depth],
                    shape=(len(read), *inner_shape),
                    selected=(chosen, *inner_selected),
                    axes=axes,
                    cells=(*outer_cells, *slab_cells, *inner_cells),
                    first=(*positions, slab_positions.start, *inner_first),
                )

    def _find_slabs(self) -> tuple[int, int]:
        """Which dimension is read in slabs, and how many rows of it make one."""
        # The cells need room in the cache as well.
        block = max(1, self.sizes.block_bytes // (2 if self.cells else 1) // self.element_bytes)
        depth = next(depth for depth, stride in enumerate(self.strides) if stride <= block)
        return depth, max(1, block // self.strides[depth])

    def _callers(self) -> tuple[Dimension, ...]:
        return self.dimensions[::-1] if self.order == "F" else self.dimensions


# Most requests are for chunks, and all chunks of an array have the same walk. A walk takes some KiB.
@lru_cache(maxsize=256)
def _make_walk(
    selected: tuple[tuple[int, Slice], ...], reduced: tuple[int, ...], order: Order, element_bytes: int, sizes: Sizes
) -> Walk:
    dimensions = [
        Dimension(axis, size, chosen.resolve(size), axis not in reduced) for axis, (size, chosen) in enumerate(selected)
    ]
    if order == "F":
        dimensions.reverse()
    extents = [dimension.size for dimension in dimensions]
    strides = tuple(math.prod(extents[number + 1 :]) for number in range(len(extents)))
    start = stop = 0
    if all(dimension.indices for dimension in dimensions):
        start = sum(dimension.ascending[0] * stride for dimension, stride in zip(dimensions, strides, strict=True))
        last = sum(dimension.ascending[-1] * stride for dimension, stride in zip(dimensions, strides, strict=True))
        stop = last + 1
    return Walk(tuple(dimensions), order, math.prod(extents), element_bytes, strides, start, stop, sizes)


def _count_up(sizes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Every index of an array of these sizes, in C order.

    ``itertools.product`` would make a tuple of all numbers of each dimension first: gigabytes for a shape that no data
    has to fit yet.
    """
    if not sizes:
        yield ()
        return
    for number in range(sizes[0]):
        for rest in _count_up(sizes[1:]):
            yield (number, *rest)


def _flatten(index: Sequence[Any], sizes: Sequence[int]) -> Any:
    """The number of an index in an array of these sizes in C order."""
    flat = 0
    for position, size in zip(index, sizes, strict=True):
        flat = flat * size + position
    return flat


def _position(dimension: Dimension, number: int) -> int:
    return len(dimension.indices) - 1 - number if dimension.is_flipped else number


def _slabs(dimension: Dimension, rows: int, stretch: Stretch) -> Iterator[tuple[range, slice, range]]:
    """The rows of the slab dimension to read, at most ``rows`` at a time, their selection, and its positions."""
    chosen, positions, is_flipped = dimension.ascending, _count_positions(dimension, rows), dimension.is_flipped
    selected = slice(None, None, -chosen.step if is_flipped else chosen.step)
    for number in stretch[::positions]:
        count = min(positions, stretch.stop - number)
        read = range(chosen[number], chosen[number + count - 1] + 1)
        start = _position(dimension, number + count - 1) if is_flipped else number
        yield read, selected, range(start, start + count)


def _count_positions(dimension: Dimension, rows: int) -> int:
    """How many positions are selected in this number of rows."""
    return (rows - 1) // dimension.ascending.step + 1


def _as_slice(dimension: Dimension) -> slice:
    chosen = dimension.ascending
    if not dimension.is_flipped:
        return slice(chosen.start, chosen[-1] + 1, chosen.step)
    stop = chosen[0] - 1
    return slice(chosen[-1], stop if stop >= 0 else None, -chosen.step)

"""Batches: chunks are decoded into a block, and reduced to partial results.

Chunks of a batch that belong to the same cells, or to cells that follow each other, and of which the same is selected,
are reduced together, as one array with one dimension more. That is several times as fast for small chunks as one by
one, and depends on the array and the selection only: same bits.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from active_storage.algebra import Index, Partial
from active_storage.errors import IncompleteElement, InvalidArgument, UndecodableData
from active_storage.model.dtypes import DTYPES
from active_storage.model.ranges import Slice
from active_storage.model.reducers import ARRAY_REDUCERS
from active_storage.model.spec import ReductionSpec
from active_storage.model.steps import Step
from handler.arrays.grid import Portion, TouchedChunk
from handler.arrays.plan import ArrayPlan, PartPlan
from handler.arrays.spread import cut_window, find_window
from handler.codecs.base import Budget
from handler.codecs.chain import open_decoded
from handler.codecs.readable import Readable, fill
from handler.containers.stored_array import StoredArray
from handler.engine.blocks import storage_dtype
from handler.kernels.pieces import Array
from handler.kernels.reducer import Combine, Reducer, select_window
from handler.kernels.walk import Slab, Walk


@dataclass(frozen=True, slots=True)
class Found:
    """The partial result of some chunks, and the cells of the result that they belong to."""

    cells: Index
    partial: Partial[Any]


class ChunkDecoder:
    """Decodes stored chunks of an array into memory, in C order and native byte order.

    Args:
        array: The array.

    Attributes:
        chunk_bytes: The size of a decoded chunk.
        is_raw: Whether the stored bytes of chunks are their elements in C order.
    """

    def __init__(self, array: StoredArray) -> None:
        self._array = array
        self._stored = storage_dtype(array.dtype)
        self._is_swapped = not self._stored.newbyteorder(array.byte_order).isnative
        self._is_turned = array.permutation != tuple(range(len(array.shape)))
        self._stored_shape = tuple(array.chunks[axis] for axis in array.permutation)
        self.chunk_bytes = array.chunk_bytes
        self.is_raw = not (array.steps or self._is_turned)
        self._specs: dict[int, ReductionSpec] = {}
        self._cut_bytes = _cut_bytes(array) if self.is_raw else 0

    def decode(  # noqa: PLR0913, PLR0917  # what makes a chunk
        self, stored: Readable, stored_bytes: int, is_whole: bool, mask: int, slot: Array, budget: Budget
    ) -> None:
        """Decode a chunk.

        The last piece of an array that is stored without chunks ends with the array. What would follow is 0 here, and
        is never selected. Such pieces come from an index, and are never whole objects.

        Args:
            stored: The bytes of the chunk as stored.
            stored_bytes: Their number.
            is_whole: Whether they are a whole object.
            mask: The steps that were skipped when the chunk was written, as bits.
            slot: Receives the elements: an array of the elements of a chunk, one-dimensional.
            budget: The limits of memory and time.

        Raises:
            UndecodableData: The bytes do not decode to a chunk.
            EntityTooLarge: Decoding needs too much memory.
        """
        if stored_bytes == self._cut_bytes and not is_whole:
            slot[:] = 0
            self.read_raw(stored, slot[: stored_bytes // slot.itemsize])
            return
        if self.is_raw and stored_bytes == self.chunk_bytes:
            # Most raw chunks. The general way takes twice as long before it reads the first byte.
            self.read_raw(stored, slot)
            return
        target = slot.view(np.uint8).data
        try:
            decoded, _ = open_decoded(stored, stored_bytes, self._spec(mask), budget)
            is_chunk = fill(decoded, target) == self.chunk_bytes and not decoded.readinto(memoryview(bytearray(1)))
        except (InvalidArgument, IncompleteElement) as error:
            raise UndecodableData("chunk", error.message) from error
        if not is_chunk:
            raise UndecodableData("chunk", f"does not decode to {self.chunk_bytes} bytes, the size of a chunk")
        if self._is_turned:
            turned = slot.reshape(self._stored_shape).transpose(np.argsort(self._array.permutation))
            slot[:] = turned.ravel()
        if self._is_swapped:
            slot.byteswap(inplace=True)

    def read_raw(self, stored: Readable, elements: Array) -> None:
        """Read elements that are stored as they are, of one chunk or of several that lie back to back.

        Args:
            stored: At least their bytes.
            elements: Receives them.

        Raises:
            UndecodableData: There are fewer bytes.
        """
        if fill(stored, elements.view(np.uint8).data) < elements.nbytes:
            raise UndecodableData("chunk", "has fewer bytes than its elements")
        if self._is_swapped:
            elements.byteswap(inplace=True)

    def fill(self, slot: Array) -> None:
        """Fill the slot of an absent chunk.

        Raises:
            UndecodableData: The array has no fill value.
        """
        if self._array.fill is None:
            raise UndecodableData("chunk", "is absent, and the array has no fill value")
        slot[:] = self._array.fill

    def _spec(self, mask: int) -> ReductionSpec:
        if mask not in self._specs:
            steps: tuple[Step, ...] = tuple(
                step for number, step in enumerate(self._array.steps) if not mask >> number & 1
            )
            self._specs[mask] = ReductionSpec(
                "select", self._stored.name, self._array.byte_order, shape=self._stored_shape, steps=steps
            )
        return self._specs[mask]


def _cut_bytes(array: StoredArray) -> int:
    """The size of a last piece of rows, if it is smaller than the others; else 0.

    Pieces are rows of the first dimension of which they have more than one.
    """
    axis = next((axis for axis, size in enumerate(array.chunks) if size > 1), None)
    if axis is None:
        return 0
    return array.shape[axis] % array.chunks[axis] * (array.chunk_bytes // array.chunks[axis])


class Workspace:
    """The memory of one thread: a block, or a chunk that is larger.

    Args:
        size: The bytes of the largest batch.
    """

    def __init__(self, size: int) -> None:
        self._bytes = np.empty(size, np.uint8)
        self._elements = 0
        self._memory: Array = self._bytes

    def prepare(self, array: StoredArray, count: int) -> None:
        """Hold the chunks of an array from now on, at most ``count``."""
        self._elements = math.prod(array.chunks)
        self._memory = self._bytes[: count * array.chunk_bytes].view(storage_dtype(array.dtype))

    def slot(self, number: int) -> Array:
        """The memory of a chunk of the batch."""
        return self._memory[number * self._elements : (number + 1) * self._elements]

    def block(self, first: int, stop: int) -> Array:
        """The memory of several chunks, one behind the other."""
        return self._memory[first * self._elements : stop * self._elements]


class _Prepared(NamedTuple):
    """What reduces some chunks.

    Attributes:
        reducer: Reduces them.
        walk: The walk through them.
        reduced: The axes of the walk that are reduced.
        read: Gives a block of them.
    """

    reducer: Reducer
    walk: Walk
    reduced: tuple[int, ...]
    read: Callable[[int, tuple[int, ...]], Array]


class BatchReducer:
    """Reduces the chunks of batches.

    Args:
        plan: The plan of the reduction.
        part: The plan of the stored array that has the chunks.
    """

    def __init__(self, plan: ArrayPlan, part: PartPlan) -> None:
        self._part = part
        self._algebra = plan.algebra
        self._weights = part.weights
        self._combination = part.combination
        self._operands = () if part.combination is None else part.combination.operands
        self._operand_markers = [each.decoding.make_marker() for each in self._operands]
        whole = {} if part.combination is None else part.combination.whole
        self._spread = [*whole.values(), *(() if part.weights is None else (part.weights,))]
        # Of each array the data type of its stored numbers, as they are decoded.
        self._dtypes = [DTYPES[each.dtype] for each in (part.decoding, *(each.decoding for each in self._operands))]
        self._marker = part.decoding.make_marker()
        self._keeps_elements = ARRAY_REDUCERS[plan.spec.reducer].keeps_elements
        self._can_stack = not (plan.algebra.has_position or self._keeps_elements)

    def reduce(
        self, chunks: Sequence[TouchedChunk], workspaces: Sequence[Workspace], check: Callable[[], None]
    ) -> Iterator[Found]:
        """The partial results of the chunks of a batch, in order.

        Args:
            chunks: The chunks.
            workspaces: Hold their elements: those of the array, and those of each operand.
            check: Raises an error if the result is not needed any more.
        """
        first = 0
        for group in self._group(chunks):
            blocks = [workspace.block(first, first + len(group)) for workspace in workspaces]
            # Several chunks have one portion each, which is reduced together with those of the others.
            for portion in group[0].portions:
                yield self._reduce(group, portion, blocks, check)
            first += len(group)

    def _group(self, chunks: Sequence[TouchedChunk]) -> Iterator[list[TouchedChunk]]:
        """Neighbours that are reduced together: those of the same cells, or of cells that follow each other."""
        group: list[TouchedChunk] = []
        for chunk in chunks:
            if group and not (self._can_stack and _belongs(group, chunk) and self._has_same_windows(group[0], chunk)):
                yield group
                group = []
            group.append(chunk)
        yield group

    def _prepare(self, group: Sequence[TouchedChunk], portion: Portion, blocks: Sequence[Array]) -> "_Prepared":
        """What reduces a portion of each chunk of a group."""
        part, count = self._part, len(group)
        reduced = self._find_reduced(portion)
        values, *others = (self._view(*each, portion) for each in zip(blocks, self._dtypes, strict=True))
        selected = _list_slices(portion)
        shape = values.shape[1:]
        if not shape:
            reduced = () if self._keeps_elements else (0,)
        if count > 1:
            shape, selected = (count, *(shape or (1,))), [Slice(), *(selected or (Slice(),))]
            reduced = (*((0,) if have_same_cells(group) else ()), *(axis + 1 for axis in reduced))
        walk = Walk.through(shape, tuple(selected), reduced, values.itemsize, part.sizes)
        weights = None if self._weights is None else self._cut(self._weights, group, portion)
        combine = self._make_combine(others, group, portion, walk)
        reducer = Reducer(self._algebra, self._marker, walk, part.unpacking, weights, combine)
        flat = values.reshape(-1)

        def read(start: int, extent: tuple[int, ...]) -> Array:
            return flat[start : start + math.prod(extent)].reshape(extent)

        return _Prepared(reducer, walk, reduced, read)

    def _reduce(
        self, group: Sequence[TouchedChunk], portion: Portion, blocks: Sequence[Array], check: Callable[[], None]
    ) -> Found:
        part, cells = self._part, portion.cells
        reducer, walk, reduced, read = self._prepare(group, portion, blocks)
        reducer.consume(read, walk.stops(), check)
        partial = reducer.partial
        if not have_same_cells(group):
            last = group[-1].portions[0].cells
            cells = (slice(cells[0].start, last[0].stop), *cells[1:])  # type: ignore[union-attr]  # as ``_belongs`` says
            partial = self._reshaped(partial, tuple(_count_cells(each) for each in cells if isinstance(each, slice)))
        elif self._algebra.has_position:
            partial = Partial(partial.counts, self._moved(partial.state, portion, reduced, walk))
        elif self._keeps_elements:
            # The elements are views of the workspace, which is used again.
            partial = Partial(partial.counts, type(partial.state)(*(np.copy(array) for array in partial.state)))
        return Found(cells, self._reshaped(partial, ()) if not part.array.shape else partial)

    def _view(self, block: Array, dtype: np.dtype[Any], portion: Portion) -> Array:
        """The elements of some chunks, with a dimension for the chunks first; lists of the portion are selected."""
        values = block.view(dtype) if dtype.kind != "b" else block != 0
        values = values.reshape(-1, *self._part.array.chunks)
        # From the last axis, because the lists of several groups add one.
        for axis, chosen in reversed(list(enumerate(portion.selected, start=1))):
            if not isinstance(chosen, Slice):
                values = values.take(chosen, axis)
        return values

    def _make_combine(
        self, others: Sequence[Array], group: Sequence[TouchedChunk], portion: Portion, walk: Walk
    ) -> Combine | None:
        """What combines the values of pieces with those of other arrays; None if there are no others."""
        combination = self._combination
        if combination is None:
            return None
        flats = [other.reshape(-1) for other in others]
        whole = {name: self._cut(array, group, portion) for name, array in combination.whole.items()}

        def combine(slab: Slab, values: Array, mask: Array | None) -> tuple[Array, Array | None, Array | None]:
            arrays, stop = {combination.own: values}, slab.start + math.prod(slab.shape)
            for operand, marker, flat in zip(self._operands, self._operand_markers, flats, strict=True):
                stored = flat[slab.start : stop].reshape(slab.shape)[slab.selected]
                mask = _join_masks(mask, marker.mark(stored) if marker else None)
                arrays[operand.name] = operand.unpacking(stored, None)
            for name, array in whole.items():
                arrays[name] = select_window(array, slab, walk)
                is_nan = np.isnan(arrays[name])
                if is_nan.any():
                    mask = _join_masks(mask, np.broadcast_to(is_nan, values.shape))
            if combination.expression is None:
                return values, mask, arrays[self._operands[0].name]
            values = combination.compute(arrays, values.shape)
            return values, _join_masks(mask, combination.marker.mark(values) if combination.marker else None), None

        return combine

    def _cut(self, numbers: Array, group: Sequence[TouchedChunk], portion: Portion) -> Array:
        """What belongs to the elements of some chunks, of a spread array."""
        array, chunk = self._part.array, group[0]
        cut = cut_window(numbers, find_window(numbers, array, chunk.number), portion.selected)
        # Several chunks have a dimension more, and a scalar is reduced as an array of one element.
        return cut[np.newaxis] if len(group) > 1 or not array.shape else cut

    def _find_reduced(self, portion: Portion) -> tuple[int, ...]:
        """The axes of a portion that are reduced: those of the selection, and that of a group's elements."""
        selection = self._part.selection
        grouped, reduced = selection.grouped, selection.reduced
        if grouped is None or isinstance(cells := portion.cells[selection.kept.index(grouped)], slice):
            return reduced
        if isinstance(cells, int):
            return tuple(sorted((*reduced, grouped)))
        # The axis of several groups is kept. That of their elements follows it.
        return tuple(sorted((*(axis + (axis > grouped) for axis in reduced), grouped + 1)))

    def _has_same_windows(self, first: TouchedChunk, chunk: TouchedChunk) -> bool:
        """Whether the same of each spread array belongs to both chunks."""
        array = self._part.array
        return all(
            find_window(each, array, first.number) == find_window(each, array, chunk.number) for each in self._spread
        )

    def _moved(self, state: Any, portion: Portion, reduced: tuple[int, ...], walk: Walk) -> Any:
        """The state with positions in the whole selection, in place of those in the portion."""
        selection = self._part.selection
        grouped = () if selection.grouped is None else (selection.grouped,)
        axes = sorted({*selection.reduced, *grouped})
        if not portion.first or not axes:
            return state
        position = np.asarray(state.position)
        sizes = [walk.selected[axis] for axis in reduced]
        local = dict(zip(reduced, np.unravel_index(np.maximum(position, 0), sizes), strict=True)) if reduced else {}
        for axis in axes:
            if axis not in local:
                # Each element of the group's dimension has a cell of its own here.
                kept = [number for number in range(len(portion.first)) if number not in reduced]
                local[axis] = np.arange(walk.selected[axis]).reshape([-1 if number == axis else 1 for number in kept])
        index = tuple(_find_positions(portion.first[axis], local[axis]) for axis in axes)
        moved = np.ravel_multi_index(index, [selection.whole[axis] for axis in axes])
        return state._replace(position=np.where(position < 0, position, moved).astype(np.int64)[()])

    def _reshaped(self, partial: Partial[Any], cells: tuple[int, ...]) -> Partial[Any]:
        """A partial result whose cells have another shape."""
        shape = (*cells, *self._algebra.trailing)
        state = type(partial.state)(*(np.reshape(each, shape) for each in partial.state))
        return Partial(partial.counts if not np.ndim(partial.counts) else np.reshape(partial.counts, cells), state)


def _list_slices(portion: Portion) -> list[Slice]:
    """What is left to select along each axis once lists have been applied; those of several groups have two axes."""
    slices: list[Slice] = []
    for chosen in portion.selected:
        slices += [chosen] if isinstance(chosen, Slice) else [Slice()] * chosen.ndim
    return slices


def _find_positions(first: int | Array, local: Array) -> Array:
    """The positions in the selection of elements, by their index in a portion."""
    return local + first if isinstance(first, int) else first[local]


def _join_masks(mask: Array | None, other: Array | None) -> Array | None:
    if mask is None or other is None:
        return other if mask is None else mask
    return mask | other


def _count_cells(cells: slice) -> int:
    return int(cells.stop - cells.start)


def have_same_cells(group: Sequence[TouchedChunk]) -> bool:
    """Whether neighbours that are reduced together are of the same cells; else their cells follow each other."""
    return len(group) == 1 or group[1].portions[0].cells == group[0].portions[0].cells


def _belongs(group: Sequence[TouchedChunk], chunk: TouchedChunk) -> bool:
    """Whether a chunk can be reduced together with the chunks before it."""
    if len(chunk.portions) > 1 or len(group[0].portions) > 1:
        return False
    mine, first, last = chunk.portions[0], group[0].portions[0], group[-1].portions[0]
    if not all(isinstance(each, Slice) for each in (*mine.selected, *first.selected)):
        return False
    if mine.selected != first.selected:
        return False
    has_same_cells = mine.cells == last.cells
    if len(group) > 1 and has_same_cells != (last.cells == first.cells):
        return False
    if has_same_cells:
        return True
    if not mine.cells or mine.cells[1:] != last.cells[1:]:
        return False
    begin, end = mine.cells[0], last.cells[0]
    return isinstance(begin, slice) and isinstance(end, slice) and begin.start == end.stop

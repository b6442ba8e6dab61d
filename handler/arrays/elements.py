"""The elements of chunks as keys, for reducers that sort or count elements: they have no partial results of chunks."""

import math
from collections.abc import Callable, Iterator, Sequence

from active_storage.algebra import Index
from active_storage.algebra.ordered_bits import make_sortable_keys
from handler.arrays.batches import BatchReducer, Found, Workspace, have_same_cells
from handler.arrays.grid import TouchedChunk
from handler.arrays.plan import ArrayPlan, PartPlan
from handler.kernels.order_statistics import Box, Taker
from handler.kernels.pieces import Array
from handler.kernels.walk import Slab

# The elements of a piece: few enough that what is computed of them stays in the cache.
_PIECE_ELEMENTS = 1 << 16


def count_piece_bytes(plan: ArrayPlan, element_bytes: int) -> int:
    """The memory that a thread takes beside a batch.

    Args:
        plan: The plan of the reduction.
        element_bytes: What a taker takes for each element of a piece.
    """
    return min(_PIECE_ELEMENTS, plan.batch_bytes) * element_bytes


def cells_of(plan: ArrayPlan) -> tuple[int, ...]:
    """The shape of the cells, of which a result without dimensions has one here."""
    return plan.selection.cells or (1,)


class ElementReader(BatchReducer):
    """Hands the elements of chunks to a taker, instead of reducing them.

    Args:
        plan: The plan of the reduction.
        part: The plan of the stored array that has the chunks.
        taker: Takes the elements.
    """

    def __init__(self, plan: ArrayPlan, part: PartPlan, taker: Taker) -> None:
        super().__init__(plan, part)
        # The plan is of the elements themselves. Here they are those of the cells of the result.
        self._keeps_elements = False
        self._can_stack = True
        self._taker = taker

    def reduce(
        self, chunks: Sequence[TouchedChunk], workspaces: Sequence[Workspace], check: Callable[[], None]
    ) -> Iterator[Found]:
        """Hand over the elements of a batch. There are no partial results."""
        first = 0
        for group in self._group(chunks):
            for some in _of_same_cells(group):
                blocks = [workspace.block(first, first + len(some)) for workspace in workspaces]
                for portion in some[0].portions:
                    reducer, walk, _, read = self._prepare(some, portion, blocks)
                    reducer.hand_over(read, walk.stops(), check, self._make_take(portion.cells))
                first += len(some)
        return iter(())

    def _make_take(self, cells: Index) -> Callable[[Slab, Array, Array | None], None]:
        def take(slab: Slab, values: Array, mask: Array | None) -> None:
            kept = [axis for axis in range(values.ndim) if axis not in slab.axes]
            box = _find_box(cells, slab.cells)
            # A dimension of which the piece has one cell, such as a group, is no axis of the piece.
            shape = tuple(side.stop - side.start for side in box)

            def arrange(array: Array) -> Array:
                elements = math.prod(array.shape[axis] for axis in slab.axes)
                return array.transpose(*slab.axes, *kept).reshape(elements, *shape)

            index: list[slice] = [slice(None)]
            mine: list[slice] = []
            for side, limits in zip(box, self._taker.box, strict=True):
                start, stop = max(side.start, limits.start), min(side.stop, limits.stop)
                if start >= stop:
                    return
                index.append(slice(start - side.start, stop - side.start))
                mine.append(slice(start - limits.start, stop - limits.start))
            elements = arrange(values)[tuple(index)]
            missing = None if mask is None else arrange(mask)[tuple(index)]
            for piece, absent, part in _cut(elements, missing, tuple(mine)):
                self._taker.take(part, make_sortable_keys(piece), absent)

        return take


def _of_same_cells(group: Sequence[TouchedChunk]) -> list[list[TouchedChunk]]:
    """The chunks of a group: together if all are of the same cells, else one by one."""
    return [list(group)] if have_same_cells(group) else [[chunk] for chunk in group]


def _find_box(cells: Index, of_walk: Index) -> Box:
    """The cells of the result that some cells of a walk are.

    Args:
        cells: The cells of the result that the walk is of: a slice for each dimension of the walk's cells, and the
            number of a group for a dimension that is reduced to it.
        of_walk: The cells of the walk.
    """
    box: list[slice] = []
    rest = iter(of_walk)
    for each in cells:
        if isinstance(each, int):
            box.append(slice(each, each + 1))
            continue
        assert isinstance(each, slice)  # noqa: S101  # groups are not reduced together here
        place = next(rest)
        if isinstance(place, slice):
            start, stop, _ = place.indices(each.stop - each.start)
        else:
            start, stop = int(place), int(place) + 1
        box.append(slice(each.start + start, each.start + stop))
    return tuple(box) or (slice(0, 1),)


def _cut(elements: Array, mask: Array | None, cells: Box) -> Iterator[tuple[Array, Array | None, Box]]:
    """Elements in pieces, with the masks and the cells of each."""
    if elements.size <= _PIECE_ELEMENTS:
        yield elements, mask, cells
        return
    axis = next(axis for axis, size in enumerate(elements.shape) if size > 1)
    step = max(1, _PIECE_ELEMENTS // (elements.size // elements.shape[axis]))
    for start in range(0, elements.shape[axis], step):
        stop = min(start + step, elements.shape[axis])
        index = (*(slice(None),) * axis, slice(start, stop))
        part = cells
        if axis:
            first = cells[axis - 1].start
            part = (*cells[: axis - 1], slice(first + start, first + stop), *cells[axis:])
        yield from _cut(elements[index], None if mask is None else mask[index], part)

"""The driver: blocks along a walk become pieces, pieces become states, states join.

Narrow types that add up are joined in runs of a few pieces, and states of a single cell in batches: both are measured,
and neither depends on what the network's reads were cut into, so that the same bytes give the same bits.
"""

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from active_storage.algebra import Algebra, Index, Partial, Reduced, make_algebra
from handler.core.missing import Marker
from handler.core.select import Plan, Slab
from handler.kernels import KERNELS
from handler.kernels.pieces import Array, Piece
from handler.spec import DTYPES, REDUCERS, ReductionSpec

# So many pieces of the same cells make a run: the exact join, seven steps through all of them, is then a twentieth of
# what the pieces take (4096 cells, float32) and was a fifth.
_RUN = 8

# numpy casts so many numbers at a time on their way into a sum: they stay in the nearest cache, with the cells that
# they are added to. With its own 8192 sums along the first axis take an eighth longer.
_CAST_ELEMENTS = 1024

# So many states of a single cell, be they of pieces or of runs, are joined at a time: a block pushes all else out of
# the caches, and after it Python takes twice as long as after more of the same. Those of more cells may be views of
# the block, or as large.
_BATCH = 16


class _Found(NamedTuple):
    """What a piece, or a run of pieces of the same cells, comes to."""

    cells: Index
    part: Partial[Any]


class Reducer:
    """Takes in data as it comes, and tells the result when asked.

    Args:
        spec: What to compute.
        plan: The walk through the data.

    Attributes:
        partial: What is known so far; another reducer of the same spec and plan can ``join`` it.
    """

    def __init__(self, spec: ReductionSpec, plan: Plan) -> None:
        self._plan = plan
        self._algebra = make_algebra(spec)
        self._kernel = KERNELS[type(self._algebra)]
        self._marker = Marker(spec.missing, spec.dtype) if spec.missing else None
        self._batch = 1 if plan.cells else _BATCH
        self.partial = self._algebra.start(plan.cells)

    def consume(self, read: Callable[[int, tuple[int, ...]], Array], slabs: Iterable[Slab]) -> None:
        """Take in the data of some stops of the walk, in its order.

        Args:
            read: Gives the elements from a number on, as a block of a shape, whose memory is overwritten where elements
                are missing.
            slabs: The stops.
        """
        found: Iterator[_Found] = (self._reduce(slab, read(slab.start, slab.shape)) for slab in slabs)
        if self._algebra.adds_up:
            found = _add_up_runs(found, self._algebra)
        # Once, not for each block: it takes a tenth of the time of one. It holds for the size of casts, too.
        with np.errstate(all="ignore"):
            if self._plan.cells:
                np.setbufsize(_CAST_ELEMENTS)
            while batch := tuple(itertools.islice(found, self._batch)):
                for cells, part in batch:
                    self._algebra.join_at(self.partial, cells, part)

    def join(self, other: Partial[Any]) -> None:
        """Take in what ``other`` knows: data that comes after the data so far."""
        with np.errstate(all="ignore"):
            self._algebra.join_at(self.partial, (), other)

    def result(self) -> Reduced:
        """The result of all the data so far."""
        return self._algebra.finish_partial(self.partial)

    def _reduce(self, slab: Slab, block: Array) -> _Found:
        values = block[slab.selected]
        mask = self._marker.mark(values) if self._marker else None
        counted = slab.axes if self._algebra.counts_cells else tuple(range(values.ndim))
        counts = _count_present(values, mask, counted)
        state = self._kernel(self._algebra, Piece(values, mask, counts, slab.axes, slab, self._plan))
        return _Found(slab.cells, Partial(counts, state))


def _add_up_runs(found: Iterator[_Found], algebra: Algebra[Any]) -> Iterator[_Found]:
    """What was found of runs of pieces: neighbours of the same cells, added up."""
    for cells, neighbours in itertools.groupby(found, operator.attrgetter("cells")):
        for first in neighbours:
            counts, state = first.part.counts, first.part.state
            for other in itertools.islice(neighbours, _RUN - 1):
                counts, state = counts + other.part.counts, algebra.add_up(state, other.part.state)
            yield _Found(cells, Partial(counts, state))


def _count_present(values: Array, mask: Array | None, axes: tuple[int, ...]) -> Any:
    """How many elements along the axes are not missing."""
    is_whole = len(axes) == values.ndim
    if mask is None:
        return values.size if is_whole else math.prod(values.shape[axis] for axis in axes)
    if is_whole:
        # Eight times as fast as adding up.
        return values.size - np.count_nonzero(mask)
    return np.add.reduce(np.logical_not(mask), axis=axes, dtype=np.int64)


def state_bytes(spec: ReductionSpec, plan: Plan) -> int:
    """What a reducer of these holds, and what its result takes beside it."""
    result = DTYPES[spec.result_dtype].itemsize * (REDUCERS[spec.reducer].leading or 1)
    return math.prod(plan.cells) * (_cell_bytes(spec) + 8 + 2 * result)


# Most requests are alike, and to make an algebra takes longer than to look one up.
@lru_cache(maxsize=256)
def _cell_bytes(spec: ReductionSpec) -> int:
    return make_algebra(spec).cell_bytes

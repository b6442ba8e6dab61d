"""``histogram``: how many elements are in each bin. The bins are a last dimension.

With edges, a bin has the numbers from its edge to before the next one, and the last bin has its end too, as in
``numpy.histogram``. Edges are compared exactly: they become the least numbers of the data type that are not below them.
Without edges, a bin has the numbers whose ordered bits begin alike: see ``ordered_bits.py``.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from active_storage.algebra.base import Algebra, Array, Dtype, Index, Partial
from active_storage.algebra.ordered_bits import find_bins
from active_storage.model.missing import Number
from active_storage.model.spec import ReductionSpec


class Frequencies(NamedTuple):
    """The number of elements in each bin, int64, of the shape of the cells and the bins."""

    numbers: Any


class Histogram(Algebra[Frequencies]):
    """The numbers of elements in bins. NaN, and elements outside the edges, are in no bin."""

    def __init__(self, spec: ReductionSpec) -> None:
        super().__init__(spec)
        self.bins = self.trailing[0]
        self._starts = None if spec.edges is None else _find_starts(spec.edges, self.dtype)

    def identity(self) -> Frequencies:
        return Frequencies(np.int64(0))

    def join(self, mine: Frequencies, my_counts: Any, other: Frequencies, other_counts: Any) -> Frequencies:
        return Frequencies(mine.numbers + other.numbers)

    def join_at(self, whole: Partial[Frequencies], cells: Index, partial: Partial[Frequencies]) -> None:
        """Add the numbers in place: they can take much memory."""
        whole.state.numbers[cells] += partial.state.numbers
        if np.ndim(whole.counts):
            whole.counts[cells] += partial.counts
        else:
            whole.counts = whole.counts + partial.counts

    def finish(self, state: Frequencies, counts: Any) -> Any:
        return state.numbers

    def find_bins(self, values: Array) -> Array:
        """The number of the bin of each element, int64; the number of all bins for an element that is in no bin."""
        if self._starts is None:
            found = find_bins(values).astype(np.int64)
            is_outside = np.isnan(values) if values.dtype.kind == "f" else None
        else:
            # NaN is above all numbers here.
            found = np.searchsorted(self._starts, _as_numbers(values), side="right").astype(np.int64, copy=False)
            found -= 1
            is_outside = found < 0
        if is_outside is not None:
            found[is_outside] = self.bins
        return found


def _find_starts(edges: Sequence[Number], dtype: Dtype) -> Array:
    """The least number of the data type in each bin, and the least above the last bin.

    Those above all numbers of the data type are left out. For bool they are of uint8.
    """
    if dtype.kind == "f":
        exact = np.asarray(edges, np.float64)
        with np.errstate(over="ignore"):
            starts = exact.astype(dtype)
        is_below = starts < exact
        is_below[-1] |= starts[-1] == exact[-1]
        return np.where(is_below, np.nextafter(starts, dtype.type(np.inf)), starts)
    known = np.dtype(np.uint8) if dtype.kind == "b" else dtype
    low, high = np.iinfo(known).min, np.iinfo(known).max
    wanted = [*map(math.ceil, edges[:-1]), math.floor(edges[-1]) + 1]
    return np.array([max(low, start) for start in wanted if start <= high], known)


def _as_numbers(values: Array) -> Array:
    return values.view(np.uint8) if values.dtype.kind == "b" else values

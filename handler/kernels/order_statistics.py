"""Order statistics: which element of each cell is the k-th smallest, from elements that come in pieces, in any order.

Elements come as keys, the unsigned integers of ``active_storage.algebra.ordered_bits``. A *taker* takes all elements of
a pass over the data. Its memory does not depend on the number of elements, except that of a ``Collector``, which is
known before:

    Sampler    some of all elements, to choose bins
    BinCounter how many elements of each cell lie in each bin of an interval
    Gatherer   the elements that lie in some intervals of their cells, whose number is known
    Collector  all elements of some cells

Several threads call ``take``. All of it is counting and moving of integers, so that the order has no effect.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

# A box of cells: a slice for each dimension. A result without dimensions has one of length 1 here.
Box = tuple[slice, ...]

# The memory that sorting takes beside the elements: they are copied in blocks of cells.
SORT_BYTES = 4 << 20

# What is known of each gathered element, and what sorting them takes: the key, the number of the cell, and copies.
GATHERED_BYTES = 40

# Bins are counted by sorting their numbers into an array of all bins, if it is not much longer than the numbers.
_MOST_BINS_FOR_EACH = 4

# How many elements are kept of a pass that samples.
_SAMPLE = 1 << 18


class Taker(Protocol):
    """Takes the elements of a pass.

    Attributes:
        box: The cells whose elements it takes.
        element_bytes: The memory that it takes meanwhile for each element of a piece.
    """

    box: Box
    element_bytes: int

    def take(self, cells: Box, keys: Array, mask: Array | None) -> None:
        """Take the elements of some cells.

        Args:
            cells: The cells, counted from the beginning of the box.
            keys: The keys, of shape (elements of each cell, *shape of the cells), whose memory may be overwritten.
            mask: Which of them are missing; None for none.
        """


@dataclass(slots=True)
class OrderStatistics:
    """What is found: the elements of some ranks of each cell.

    Attributes:
        counts: The number of elements of each cell, int64, of the shape of the cells.
        keys: Their keys, of shape (ranks, *shape of the cells): 0 for a cell without elements, and the key of NaN in
            every rank for a cell that has a NaN.
    """

    counts: Array
    keys: Array


# The ranks, from 0, in cells with these numbers of elements: of shape (ranks, *shape of the counts).
FindRanks = Callable[[Array], Array]


class Sampler:
    """Keeps some of all elements.

    Args:
        box: All cells.
        step: One of this many elements is kept.
    """

    element_bytes = 24

    def __init__(self, box: Box, step: int) -> None:
        self.box = box
        self._step = max(1, step)
        self._kept: list[Array] = []
        self._lock = threading.Lock()

    def take(self, cells: Box, keys: Array, mask: Array | None) -> None:  # noqa: ARG002, D102  # the protocol's
        present = keys.ravel() if mask is None else keys[~mask]
        some = present[:: self._step].copy()
        with self._lock:
            self._kept.append(some)

    def sample(self) -> Array:
        """The keys that were kept, ascending."""
        return np.sort(np.concatenate(self._kept)) if self._kept else np.zeros(0, np.uint64)


def sample_step(elements: int) -> int:
    """One of how many elements is kept of so many."""
    return -(-elements // _SAMPLE)


class Collector:
    """Keeps all elements of a box of cells, and sorts them.

    Args:
        box: The cells.
        size: The most elements of a cell.
        dtype: The data type of keys.
        is_by_cell: Whether the elements of a cell lie together in memory, rather than those that come together.
        is_even: Whether each cell has as many elements, missing ones included.
    """

    element_bytes = 32

    def __init__(self, box: Box, size: int, dtype: np.dtype[Any], is_by_cell: bool, is_even: bool) -> None:
        self.box = box
        shape = shape_of(box)
        self._size = size
        self._is_by_cell = is_by_cell
        self._memory = np.empty((*shape, size) if is_by_cell else (size, *shape), dtype)
        if not is_even:
            # What is not filled is as if it was missing.
            self._memory[...] = np.iinfo(dtype).max
        # The same with the elements first.
        self._elements = np.moveaxis(self._memory, -1, 0) if is_by_cell else self._memory
        self._filled = np.zeros(shape, np.int64)
        self._counts = np.zeros(shape, np.int64)
        self._lock = threading.Lock()

    @staticmethod
    def cell_bytes(size: int, dtype: np.dtype[Any]) -> int:
        """The memory for each cell."""
        return size * dtype.itemsize + 16

    def take(self, cells: Box, keys: Array, mask: Array | None) -> None:  # noqa: D102  # the protocol's
        count = len(keys)
        present: Any = count
        if mask is not None:
            # Behind all others. Elements of the same key need not be told from them.
            keys[mask] = np.iinfo(keys.dtype).max
            present = count - np.count_nonzero(mask, axis=0)
        with self._lock:
            start = self._filled[cells].copy()
            self._filled[cells] += count
            self._counts[cells] += present
        first = int(start.flat[0])
        if (start == first).all():
            self._elements[(slice(first, first + count), *cells)] = keys
            return
        # Pieces of other cells came before: files can have other chunks.
        places = start + np.arange(count).reshape(-1, *(1,) * start.ndim)
        self._elements[(places, *np.ogrid[cells])] = keys

    def blocks(self) -> list[slice]:
        """Blocks of cells to be sorted, each by one call of ``find``."""
        cells = self._counts.size
        step = max(1, SORT_BYTES // 4 // max(1, self._size * self._memory.itemsize))
        return [slice(start, min(start + step, cells)) for start in range(0, cells, step)]

    def find(self, block: slice, find_ranks: FindRanks, nan_key: int) -> OrderStatistics:
        """The order statistics of a block of cells."""
        if self._is_by_cell:
            rows = self._memory.reshape(-1, self._size)[block]
        else:
            rows = np.ascontiguousarray(self._memory.reshape(self._size, -1)[:, block].T)
        rows.sort(axis=1)
        counts = self._counts.ravel()[block]
        each = np.arange(len(rows))
        ranks = find_ranks(counts)
        keys = rows[each, ranks] if self._size else np.zeros(ranks.shape, rows.dtype)
        if self._size:
            has_nan = rows[each, np.maximum(counts - 1, 0)] >= nan_key
            keys[:, has_nan] = nan_key if has_nan.any() else 0
        keys[:, counts == 0] = 0
        return OrderStatistics(counts, keys)


@dataclass(slots=True)
class Intervals:
    """For each rank and cell, an interval of keys that has the element of the rank.

    Attributes:
        low: The least key, uint64, of shape (ranks, cells).
        high: The greatest key.
        below: How many elements of the cell are below the interval, int64.
        inside: How many are in it.
    """

    low: Array
    high: Array
    below: Array
    inside: Array

    @property
    def are_known(self) -> Array:
        """Which elements are known: those whose interval is a single key."""
        found: Array = self.low == self.high
        return found

    def count_open(self) -> int:
        """How many elements lie in the intervals that are not single keys: those of each cell once."""
        total = 0
        for row in range(len(self.low)):
            is_open = ~self.are_known[row]
            for earlier in range(row):
                is_open &= (self.low[earlier] != self.low[row]) | (self.high[earlier] != self.high[row])
            total += int(self.inside[row][is_open].sum())
        return total

    def distinct_rows(self) -> list[int]:
        """The rows without those that are equal to an earlier one."""
        rows: list[int] = []
        for row in range(len(self.low)):
            if not any(self.is_same(row, known) for known in rows):
                rows.append(row)
        return rows

    def is_same(self, row: int, other: int) -> bool:
        """Whether two ranks have the same intervals in all cells."""
        return np.array_equal(self.low[row], self.low[other]) and np.array_equal(self.high[row], self.high[other])


@dataclass(frozen=True, slots=True)
class Window:
    """An interval of keys for each cell, cut into bins of a power of two.

    Attributes:
        low: The first key, uint64, of shape (cells,) or ().
        shift: The logarithm of the size of a bin, likewise.
        bins: The number of bins. Keys below are in a bin before them, and keys above in one after them.
    """

    low: Array
    shift: Array
    bins: int

    @classmethod
    def around(cls, sample: Array, bins: int, highest: int) -> "Window":
        """One window for all cells, in which most elements lie if the sample is like all of them.

        The most frequent key of the sample is the first one of a bin.

        Args:
            sample: Keys, ascending. They can be none.
            bins: The number of bins.
            highest: The greatest key of all.
        """
        if not len(sample):
            sample = np.array([0, highest], np.uint64)
        # Outliers, such as missing data that no rule names, would make wide bins.
        first, last = (int(sample[int(place * (len(sample) - 1))]) for place in (0.002, 0.998))
        first, last = max(0, first - (last - first) // 2), min(highest, last + (last - first) // 2)
        shift = max(0, ((last - first) // bins).bit_length())
        size = 1 << shift
        first = max(0, min(first, highest + 1 - bins * size))
        frequent = find_frequent(sample)
        aligned = first + (frequent - first) % size
        # Not beyond the greatest key.
        first = aligned if aligned + bins * size <= highest + 1 else max(0, aligned - size)
        return cls(np.array(first, np.uint64), np.array(shift, np.uint64), bins)

    @classmethod
    def of(cls, low: Array, high: Array, bins: int) -> "Window":
        """A window for each cell that is an interval of it."""
        width = high - low
        shift = np.zeros(width.shape, np.uint64)
        for _ in range(64):
            shift += (width >> shift) >= bins
        return cls(low, shift, bins)


def find_frequent(sample: Array) -> int:
    """The most frequent of some keys, ascending."""
    starts = np.flatnonzero(np.concatenate([[True], sample[1:] != sample[:-1]]))
    lengths = np.diff(np.append(starts, len(sample)))
    return int(sample[starts[np.argmax(lengths)]])


class BinCounter:
    """Counts the elements of each cell in bins of windows.

    Args:
        cells: The shape of the cells.
        windows: The windows, of which each element is counted in each.
        count_dtype: The data type of counts, uint32 or uint64.
        frequent: A key whose elements are counted in each cell; None for none.
        has_extremes: Whether the least and the greatest key of each cell are found too.
    """

    element_bytes = 64

    def __init__(
        self,
        cells: tuple[int, ...],
        windows: list[Window],
        count_dtype: np.dtype[Any],
        frequent: int | None,
        has_extremes: bool,
    ) -> None:
        self.box = tuple(slice(0, size) for size in cells)
        self.windows = windows
        self.frequent = frequent
        number = int(np.prod(cells))
        self._numbers = np.arange(number).reshape(cells)
        self.counts = [np.zeros((number, window.bins + 2), count_dtype) for window in windows]
        self.least = np.full(number if has_extremes else 0, np.iinfo(np.uint64).max, np.uint64)
        self.greatest = np.zeros(number if has_extremes else 0, np.uint64)
        self.equal = np.zeros(number if frequent is not None else 0, np.int64)
        self._lock = threading.Lock()

    @staticmethod
    def cell_bytes(windows: int, bins: int, count_dtype: np.dtype[Any]) -> int:
        """The memory for each cell: the counts, the cell's number, extremes and the frequent key."""
        return windows * (bins + 2) * count_dtype.itemsize + 32

    def take(self, cells: Box, keys: Array, mask: Array | None) -> None:  # noqa: D102  # the protocol's
        if keys.itemsize < 4:
            keys = keys.astype(np.uint32)
        numbers = np.broadcast_to(self._numbers[cells], keys.shape)
        if self.least.size:
            self._find_extremes(cells, keys, mask)
        if self.frequent is not None and self.frequent <= np.iinfo(keys.dtype).max:
            is_equal = keys == keys.dtype.type(self.frequent)
            if mask is not None:
                is_equal &= ~mask
            equal = np.count_nonzero(is_equal, axis=0)
            with self._lock:
                self.equal.reshape(self._numbers.shape)[cells] += equal
        for window, counts in zip(self.windows, self.counts, strict=True):
            self._count(window, counts, keys, numbers, mask)

    def _count(self, window: Window, counts: Array, keys: Array, numbers: Array, mask: Array | None) -> None:
        kind = keys.dtype.type
        low, shift = window.low.astype(kind), window.shift.astype(kind)
        if low.ndim:
            low, shift = low[numbers[0]], shift[numbers[0]]
        places = np.maximum(keys, low)
        places -= low
        places >>= shift
        np.minimum(places, kind(window.bins), out=places)
        places += keys >= low
        width = window.bins + 2
        first, last = int(numbers[0].flat[0]), int(numbers[0].flat[-1])
        flat = (numbers - first) * width + places.astype(np.int64)
        flat = flat.ravel() if mask is None else flat[~mask]
        total = (last - first + 1) * width
        # The cells from the first to the last lie together, others of the array between them.
        mine = counts[first : last + 1].reshape(-1)
        if total <= _MOST_BINS_FOR_EACH * flat.size:
            found = np.bincount(flat, minlength=total).astype(counts.dtype)
            with self._lock:
                mine += found
            return
        with self._lock:
            # Ten times as fast if the number has the data type of the counts.
            np.add.at(mine, flat, counts.dtype.type(1))

    def _find_extremes(self, cells: Box, keys: Array, mask: Array | None) -> None:
        lowest, highest = 0, np.iinfo(keys.dtype).max
        shape = self._numbers.shape
        has_some = np.True_ if mask is None else ~mask.all(axis=0)
        least = np.min(keys if mask is None else np.where(mask, keys.dtype.type(highest), keys), axis=0)
        greatest = np.max(keys if mask is None else np.where(mask, keys.dtype.type(lowest), keys), axis=0)
        least = np.where(has_some, least.astype(np.uint64), np.iinfo(np.uint64).max)
        with self._lock:
            for mine, found, choose in ((self.least, least, np.minimum), (self.greatest, greatest, np.maximum)):
                part = mine.reshape(shape)[cells]
                choose(part, found.astype(np.uint64), out=part)

    def count_elements(self) -> Array:
        """The number of elements of each cell."""
        return np.asarray(np.sum(self.counts[0], axis=1, dtype=np.int64))

    def first_intervals(self, ranks: Array, highest: int) -> Intervals:
        """The intervals of ranks after the first pass, whose window all cells have in common.

        Args:
            ranks: The ranks, of shape (ranks, cells).
            highest: The greatest key of all.
        """
        (window,) = self.windows
        low, size, bins = int(window.low), 1 << int(window.shift), window.bins
        places, below, inside = _find_bins(self.counts[0], ranks)
        starts = np.array([0, *(min(low + place * size, highest) for place in range(bins + 1))], np.uint64)
        ends = [max(low - 1, 0), *(min(low + (place + 1) * size - 1, highest) for place in range(bins)), highest]
        found = Intervals(
            np.maximum(starts[places], self.least),
            np.minimum(np.array(ends, np.uint64)[places], self.greatest),
            below,
            inside,
        )
        self._separate_frequent(found, ranks, starts[places])
        is_empty = self.least > self.greatest
        found.low[:, is_empty] = found.high[:, is_empty] = 0
        found.inside[:, is_empty] = 0
        return found

    def _separate_frequent(self, found: Intervals, ranks: Array, starts: Array) -> None:
        """If the frequent key is the first one of a bin, its elements are the first ones of the bin."""
        if self.frequent is None:
            return
        key = np.uint64(self.frequent)
        is_first = (starts == key) & (self.equal > 0)
        is_it = is_first & (ranks - found.below < self.equal)
        found.high[is_it] = key
        is_after = is_first & ~is_it
        found.low[is_after] = np.maximum(found.low, key + np.uint64(1))[is_after]
        equal = np.broadcast_to(self.equal, ranks.shape)
        found.below[is_after] += equal[is_after]
        found.inside[is_after] -= equal[is_after]

    def next_intervals(self, ranks: Array, known: Intervals, window_of: list[int]) -> Intervals:
        """The intervals of ranks after another pass, in the bins of their intervals.

        Args:
            ranks: The ranks, of shape (ranks, cells).
            known: The intervals, which the windows are.
            window_of: For each rank, the number of its window.
        """
        found = Intervals(*(array.copy() for array in (known.low, known.high, known.below, known.inside)))
        for row, number in enumerate(window_of):
            window = self.windows[number]
            places, below, inside = _find_bins(self.counts[number], ranks[row : row + 1])
            start = (np.maximum(places[0], 1).astype(np.uint64) - np.uint64(1)) << window.shift
            width = known.high[row] - known.low[row]
            size = (np.uint64(1) << window.shift) - np.uint64(1)
            is_open = ~known.are_known[row]
            found.low[row] = np.where(is_open, known.low[row] + start, known.low[row])
            found.high[row] = np.where(is_open, found.low[row] + np.minimum(size, width - start), known.high[row])
            found.below[row] = np.where(is_open, below[0], known.below[row])
            found.inside[row] = np.where(is_open, inside[0], known.inside[row])
        return found


def _find_bins(counts: Array, ranks: Array) -> tuple[Array, Array, Array]:
    """For each rank and cell the number of its bin, the number of elements below it, and in it."""
    places, below, inside = (np.zeros(ranks.shape, np.int64) for _ in range(3))
    # Sums take twice the memory of the counts.
    step = max(1, SORT_BYTES // 16 // counts.shape[1])
    for start in range(0, len(counts), step):
        block = slice(start, start + step)
        sums = np.cumsum(counts[block], axis=1, dtype=np.int64)
        each = np.arange(len(sums))
        for row, wanted in enumerate(ranks):
            place = np.minimum(np.count_nonzero(sums <= wanted[block, None], axis=1), counts.shape[1] - 1)
            places[row, block] = place
            inside[row, block] = counts[block][each, place]
            below[row, block] = sums[each, place] - inside[row, block]
    return places, below, inside


class Gatherer:
    """Keeps the elements in intervals that are not single keys.

    Args:
        cells: The shape of the cells.
        intervals: The intervals of ranks.
        dtype: The data type of keys.
    """

    element_bytes = 32

    def __init__(self, cells: tuple[int, ...], intervals: Intervals, dtype: np.dtype[Any]) -> None:
        self.box = tuple(slice(0, size) for size in cells)
        self._intervals = intervals
        self._total = intervals.count_open()
        self._numbers = np.arange(int(np.prod(cells))).reshape(cells)
        self._keys = np.empty(self._total, dtype)
        self._owners = np.empty(self._total, np.uint32 if self._numbers.size <= 2**32 else np.uint64)
        self._filled = 0
        self._bounds = [
            # An interval that is known has no key here.
            (
                np.where(intervals.are_known[row], 1, intervals.low[row]).astype(dtype),
                np.where(intervals.are_known[row], 0, intervals.high[row]).astype(dtype),
            )
            for row in intervals.distinct_rows()
        ]
        self._lock = threading.Lock()

    def take(self, cells: Box, keys: Array, mask: Array | None) -> None:  # noqa: D102  # the protocol's
        mine = self._numbers[cells]
        is_wanted = np.zeros(keys.shape, bool)
        for low, high in self._bounds:
            inside = keys >= low[mine]
            inside &= keys <= high[mine]
            is_wanted |= inside
        if mask is not None:
            is_wanted &= ~mask
        flat = np.flatnonzero(is_wanted)
        wanted = keys.ravel()[flat]
        owners = mine.ravel()[flat % mine.size]
        with self._lock:
            start, self._filled = self._filled, self._filled + len(wanted)
        # More than were counted can come only if the data changed, which the versions of the chunks will tell.
        room = max(0, min(len(wanted), self._total - start))
        self._keys[start : start + room] = wanted[:room]
        self._owners[start : start + room] = owners[:room]

    def find(self, ranks: Array) -> Array:
        """The keys of the ranks, of shape (ranks, cells), in uint64."""
        keys, owners = _sort_by_owner(self._keys[: self._filled], self._owners[: self._filled], self._numbers.size)
        held = np.bincount(owners, minlength=self._numbers.size)
        starts = np.cumsum(held) - held
        found = self._intervals.low.copy()
        for row in range(len(ranks)):
            is_open = ~self._intervals.are_known[row] & (self._intervals.inside[row] > 0)
            # Elements of the cell that lie in lower intervals.
            lower = keys < self._intervals.low[row].astype(keys.dtype)[owners]
            before = np.bincount(owners[lower], minlength=self._numbers.size)
            places = starts + before + ranks[row] - self._intervals.below[row]
            found[row][is_open] = keys[np.minimum(places[is_open], max(0, len(keys) - 1))]
        return found


def _sort_by_owner(keys: Array, owners: Array, cells: int) -> tuple[Array, Array]:
    """Keys and their owners, in the order of owners, and of keys for each owner."""
    if not len(keys):
        return keys, owners.astype(np.int64)
    lowest = int(keys.min())
    bits = (int(keys.max()) - lowest).bit_length()
    if bits + (cells - 1).bit_length() > 64:
        order = np.lexsort((keys, owners))
        return keys[order], owners[order].astype(np.int64)
    # As one number: that is several times as fast.
    joined = owners.astype(np.uint64)
    joined <<= np.uint64(bits)
    joined |= (keys - keys.dtype.type(lowest)).astype(np.uint64)
    joined.sort()
    keys = ((joined & np.uint64((1 << bits) - 1)) + np.uint64(lowest)).astype(keys.dtype)
    joined >>= np.uint64(bits)
    return keys, joined.astype(np.int64)


def shape_of(box: Box) -> tuple[int, ...]:
    """The shape of a box."""
    return tuple(side.stop - side.start for side in box)

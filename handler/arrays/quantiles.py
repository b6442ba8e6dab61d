"""Exact quantiles in bounded memory: which passes over the data find the elements that they lie between.

All elements of as many cells as fit the memory are collected and sorted, some cells in each pass. If that takes too
many passes, a pass counts elements in bins instead, which leaves for each rank an interval of keys that its element
lies in. Once the elements in all intervals fit the memory, the next pass gathers and sorts them. Elements in large
numbers that are equal, such as zeros of precipitation, need not be gathered: their interval becomes a single key.

All of it counts and sorts integers, so that the result is the same bits whatever the memory, the passes and the order.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from active_storage.algebra.ordered_bits import find_key_dtype, find_nan_key, find_numbers
from active_storage.algebra.quantiles import find_neighbours, interpolate
from active_storage.errors import EntityTooLarge, shown
from active_storage.model.dtypes import DTYPES
from active_storage.model.quantiles import PICKING_METHODS
from handler.arrays.elements import cells_of, count_piece_bytes
from handler.arrays.plan import ArrayPlan
from handler.arrays.sections import count_unit_bytes
from handler.arrays.selection import Listed
from handler.containers.side_by_side import map_side_by_side
from handler.engine.memory import Account
from handler.engine.result import Result
from handler.kernels.order_statistics import (
    GATHERED_BYTES,
    SORT_BYTES,
    BinCounter,
    Box,
    Collector,
    Gatherer,
    Intervals,
    OrderStatistics,
    Sampler,
    Taker,
    Window,
    find_frequent,
    sample_step,
    shape_of,
)

Array = np.ndarray[Any, np.dtype[Any]]

# Reads these sections once, and hands their elements to a taker, whose memory is counted. The last number says how many
# passes are expected, this one included; 0 for one that is beside them.
Read = Callable[[Sequence[int], Taker, Account, int], None]

# Collecting takes a third of the time of counting for each element, so that three such passes are as good as two of the
# others: one that counts, and one that gathers.
_MOST_COLLECTING = 3

# Counting with fewer bins in a cell hardly narrows an interval. With more, counts no longer fit a core's cache.
_LEAST_BINS = 16
_MOST_BINS = 1 << 16

# The memory for each rank of each cell: intervals, and those of the next pass.
_RANK_BYTES = 96

# Elements of a cell lie together from this size of a cell on: it is sorted in place.
_LARGE_CELL_BYTES = 1 << 20

# The memory for units of chunks under way: several small ones, but at least one.
_UNITS_BYTES = 24 << 20
_MOST_UNITS = 4

# How many blocks of cells are sorted side by side.
_SORTED_TOGETHER = 4


class QuantileFinder:
    """Finds the elements that the quantiles of a request lie between.

    Args:
        plan: The plan.
        read: Reads sections.
        account: Counts the memory of the request.
        open_account: Opens an account for what a pass holds beside it.
        most_passes: The most passes over the data.
        pool: The threads that help to sort.
        check: Raises an error if the result is not needed any more.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # what makes a request
        self,
        plan: ArrayPlan,
        read: Read,
        account: Account,
        open_account: Callable[[], Account],
        most_passes: int,
        pool: ThreadPoolExecutor,
        check: Callable[[], None],
    ) -> None:
        self._plan = plan
        self._read = read
        self._open_account = open_account
        self._most_passes = most_passes
        self._pool = pool
        self._check = check
        self._dtype = DTYPES[plan.spec.dtype]
        self._keys = find_key_dtype(self._dtype)
        self._cells = cells_of(plan)
        self._count = math.prod(self._cells)
        self._size = count_most_elements(plan)
        self._all = range(plan.sections)
        self._sort_bytes = min(SORT_BYTES, self._size * self._count * self._keys.itemsize)
        self._room = account.left_bytes - count_units_bytes(plan) - self._sort_bytes
        self._limit = account.left_bytes + account.total_bytes

    def find(self) -> OrderStatistics:
        """The two elements of each quantile in each cell, in the order of ``find_ranks``.

        Raises:
            EntityTooLarge: More memory is needed to find them in so many passes. The message names it.
            ActiveStorageError: The data cannot be read.
        """
        if not self._size or not self._count:
            return self._start()
        boxes, reads = self._plan_collecting()
        if boxes and reads <= min(self._most_passes, _MOST_COLLECTING):
            return self._collect(boxes, reads)
        bins = self._count_bins(1)
        if bins >= _LEAST_BINS and (self._most_passes > 1 or self._is_counted_by_key(bins)):
            return self._narrow(bins)
        if boxes and reads <= self._most_passes:
            return self._collect(boxes, reads)
        raise self._refuse(self._least_bytes())

    def _start(self) -> OrderStatistics:
        """What is found in cells without elements."""
        ranks = find_ranks(self._plan, np.zeros(self._cells, np.int64))
        return OrderStatistics(np.zeros(self._cells, np.int64), np.zeros(ranks.shape, self._keys))

    # Collecting

    def _plan_collecting(self) -> tuple[list[tuple[Box, list[int]]], float]:
        """The cells of each pass and the sections that have elements of them; and how often the data is read.

        Sections of other cells are left out, so that many passes can read the data once.
        """
        most = self._room // Collector.cell_bytes(self._size, self._keys)
        if most < 1:
            return [], math.inf
        sides = [self._plan.box(section) for section in self._all] if most < self._count else []
        starts, stops = (np.array([[getattr(each, end) for each in box] for box in sides]) for end in ("start", "stop"))
        boxes: list[tuple[Box, list[int]]] = []
        total = 0
        for box in cut_boxes(self._cells, most):
            sections = list(self._all)
            if sides and self._plan.selection.cells:
                first, last = (np.array([getattr(each, end) for each in box]) for end in ("start", "stop"))
                sections = np.flatnonzero(((starts < last) & (stops > first)).all(axis=1)).tolist()
            boxes.append((box, sections))
            total += len(sections)
        return boxes, total / len(self._all)

    def _collect(self, boxes: Sequence[tuple[Box, list[int]]], reads: float) -> OrderStatistics:
        found = self._start()
        left = reads
        for box, sections in boxes:
            with self._open_account() as account:
                account.hold(math.prod(shape_of(box)) * Collector.cell_bytes(self._size, self._keys) + self._sort_bytes)
                is_even = self._plan.selection.grouped is None
                collector = Collector(box, self._size, self._keys, self._is_by_cell(), is_even)
                self._read(sections, collector, account, max(1, math.ceil(left)))
                left -= len(sections) / len(self._all)
                self._sort(collector, found)
        return found

    def _is_by_cell(self) -> bool:
        """Whether the elements of a cell lie together while they are collected: as they come, or if they are many."""
        lengths = enumerate(self._plan.selection.indices)
        last = max((axis for axis, indices in lengths if len(indices) > 1), default=0)
        selection = self._plan.selection
        return last in (*selection.reduced, selection.grouped) or self._size * self._keys.itemsize > _LARGE_CELL_BYTES

    def _sort(self, collector: Collector, found: OrderStatistics) -> None:
        def find(block: slice) -> OrderStatistics:
            self._check()
            return collector.find(block, lambda counts: find_ranks(self._plan, counts), find_nan_key(self._dtype))

        shape = shape_of(collector.box)
        counts = np.empty(math.prod(shape), np.int64)
        keys = np.empty((len(found.keys), len(counts)), self._keys)
        blocks = collector.blocks()
        for first in range(0, len(blocks), _SORTED_TOGETHER):
            together = blocks[first : first + _SORTED_TOGETHER]
            for block, part in zip(together, map_side_by_side(self._pool, find, together), strict=True):
                counts[block], keys[:, block] = part.counts, part.keys
        found.counts[collector.box] = counts.reshape(shape)
        found.keys[(slice(None), *collector.box)] = keys.reshape(-1, *shape)

    # Counting

    @property
    def _count_dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint32 if self._size < 2**32 else np.uint64)

    @property
    def _ranks(self) -> int:
        return len(find_ranks(self._plan, np.zeros(1, np.int64)))

    @property
    def _highest(self) -> int:
        return int(np.iinfo(self._keys).max)

    def _count_bins(self, windows: int) -> int:
        """How many bins the memory has room for in each cell; a negative number if it has none."""
        left = self._room // self._count - self._ranks * _RANK_BYTES
        left = (left - BinCounter.cell_bytes(0, 0, self._count_dtype)) // windows // self._count_dtype.itemsize - 2
        return min(left, _MOST_BINS, self._highest + 1)

    def _is_counted_by_key(self, bins: int) -> bool:
        """Whether there is a bin for each key: then one pass finds all elements."""
        return bins > self._highest

    def _narrow(self, bins: int) -> OrderStatistics:
        sample = self._sample() if not self._is_counted_by_key(bins) else np.zeros(0, np.uint64)
        windows, frequent = [Window.around(sample, bins, self._highest)], find_frequent(sample) if len(sample) else None
        intervals: Intervals | None = None
        window_of = [0] * self._ranks
        counts: Array = np.zeros(0, np.int64)
        ranks, has_nan = counts, counts > 0
        for done in range(1, self._most_passes + 1):
            with self._open_account() as account:
                self._hold_counter(account, windows)
                counter = BinCounter(self._cells, windows, self._count_dtype, frequent, has_extremes=intervals is None)
                is_last = self._is_counted_by_key(bins) or done == self._most_passes
                self._read(self._all, counter, account, 1 if is_last else 2)
                if intervals is None:
                    counts = counter.count_elements()
                    ranks = find_ranks(self._plan, counts)
                    has_nan = (counts > 0) & (counter.greatest >= find_nan_key(self._dtype))
                    intervals = counter.first_intervals(ranks, self._highest)
                    intervals.low[:, has_nan] = intervals.high[:, has_nan] = min(
                        find_nan_key(self._dtype), self._highest
                    )
                else:
                    intervals = counter.next_intervals(ranks, intervals, window_of)
            if intervals.are_known.all():
                return self._finish_counting(counts, intervals.low, has_nan)
            needed = intervals.count_open() * GATHERED_BYTES + self._count * self._ranks * _RANK_BYTES
            if needed <= self._room and done < self._most_passes:
                return self._finish_counting(counts, self._gather(intervals, ranks), has_nan)
            rows = intervals.distinct_rows()
            bins = self._count_bins(len(rows))
            if done + 1 >= self._most_passes or bins < 2:
                raise self._refuse(min(needed, self._collecting_bytes()))
            window_of = [
                next(number for number, known in enumerate(rows) if intervals.is_same(row, known))
                for row in range(self._ranks)
            ]
            windows = [Window.of(intervals.low[row], intervals.high[row], bins) for row in rows]
            frequent = None
        raise AssertionError("the last pass ends in a result or a refusal")

    def _sample(self) -> Array:
        """Some keys, of two sections that are read beside the passes."""
        sections = sorted({0, len(self._all) // 2})
        chunks = sum(stretch.decoded_bytes for section in sections for stretch in self._plan.section(section))
        sampler = Sampler(tuple(slice(0, size) for size in self._cells), sample_step(chunks // self._dtype.itemsize))
        with self._open_account() as account:
            account.hold(self._sort_bytes)
            self._read(sections, sampler, account, 0)
        sample = sampler.sample()
        return sample[: np.searchsorted(sample, min(find_nan_key(self._dtype), self._highest), side="left")]

    def _hold_counter(self, account: Account, windows: Sequence[Window]) -> None:
        cell_bytes = BinCounter.cell_bytes(len(windows), windows[0].bins, self._count_dtype)
        account.hold(self._count * (cell_bytes + self._ranks * _RANK_BYTES) + self._sort_bytes)

    def _gather(self, intervals: Intervals, ranks: Array) -> Array:
        with self._open_account() as account:
            account.hold(intervals.count_open() * GATHERED_BYTES + self._count * self._ranks * _RANK_BYTES)
            gatherer = Gatherer(self._cells, intervals, self._keys)
            self._read(self._all, gatherer, account, 1)
            return gatherer.find(ranks)

    def _finish_counting(self, counts: Array, keys: Array, has_nan: Array) -> OrderStatistics:
        found = keys.astype(self._keys)
        if has_nan.any():
            found[:, has_nan] = find_nan_key(self._dtype)
        return OrderStatistics(counts.reshape(self._cells), found.reshape(-1, *self._cells))

    # Refusing

    def _least_bytes(self) -> int:
        """The memory with which the passes may do, beside what is held."""
        collected = self._collecting_bytes()
        if self._most_passes < 2:
            return collected
        bins = BinCounter.cell_bytes(1, _LEAST_BINS, self._count_dtype) + self._ranks * _RANK_BYTES
        return min(collected, self._count * bins)

    def _collecting_bytes(self) -> int:
        """The memory with which the passes do in any case: they collect all elements."""
        rows = -(-self._cells[0] // self._most_passes)
        return rows * math.prod(self._cells[1:]) * Collector.cell_bytes(self._size, self._keys)

    def _refuse(self, needed: int) -> EntityTooLarge:
        name, reducer = shown(self._plan.array.name), self._plan.reduction.reducer
        total = self._limit - self._room + needed
        return EntityTooLarge(
            f"array {name}: {reducer} needs at least {total} bytes of memory to be exact in {self._most_passes} passes "
            f"over the data (QUANTILE_PASSES); the limit is {self._limit} (MAX_OBJECT_MEMORY)"
        )


def count_most_elements(plan: ArrayPlan) -> int:
    """The most elements that a cell can have: those of the largest group, if a dimension is grouped."""
    selection = plan.selection
    count = math.prod(len(selection.indices[axis]) for axis in selection.reduced)
    if selection.grouped is None:
        return count
    listed = selection.indices[selection.grouped]
    members = np.bincount(listed.groups) if isinstance(listed, Listed) and listed.groups is not None else np.zeros(1)
    return count * int(np.max(members, initial=0))


def count_units_bytes(plan: ArrayPlan) -> int:
    """The memory for the units of chunks that are under way."""
    unit_bytes = count_unit_bytes(plan) + count_piece_bytes(plan, BinCounter.element_bytes)
    return max(unit_bytes, min(_UNITS_BYTES, _MOST_UNITS * unit_bytes))


def count_bytes(plan: ArrayPlan, limit_bytes: int) -> int:
    """The memory in which a request makes quantiles, beside the result: for all elements, if the limit allows it."""
    all_bytes = math.prod(cells_of(plan)) * Collector.cell_bytes(count_most_elements(plan), key_dtype_of(plan))
    return min(all_bytes + count_units_bytes(plan), max(0, limit_bytes - plan.result_bytes))


def key_dtype_of(plan: ArrayPlan) -> np.dtype[Any]:
    """The data type of the keys of elements."""
    return find_key_dtype(DTYPES[plan.spec.dtype])


def find_ranks(plan: ArrayPlan, counts: Array) -> Array:
    """The ranks of the elements that quantiles lie between, of shape (ranks, *shape of the counts), int64.

    They are ranks among stored numbers. Of each quantile there are the one below and the one above, or one only if the
    method picks it.
    """
    ranks: list[Array] = []
    for q in plan.reduction.quantiles:
        lower, upper, _ = find_neighbours(plan.reduction.method, q, counts)
        ranks += [lower] if _is_picked(plan) else [lower, upper]
    found: Array = np.stack(ranks)
    if plan.packing is not None and plan.packing.scale is not None and plan.packing.scale < 0:
        found = np.maximum(counts - 1, 0) - found
    return found


def _is_picked(plan: ArrayPlan) -> bool:
    return plan.reduction.method in PICKING_METHODS


def finish_quantiles(plan: ArrayPlan, found: OrderStatistics) -> Result:
    """The result, from the elements that quantiles lie between: unpacked first, as xarray does."""
    counts = found.counts.reshape(plan.selection.cells)
    dtype = np.dtype(plan.result_dtype)
    values = np.stack(
        [_finish_one(plan, found, number).astype(dtype) for number in range(len(plan.reduction.quantiles))]
    )
    values = values.reshape((*plan.leading, *counts.shape))
    return Result.of_numbers(plan.reduction.reducer, values, counts)


def _finish_one(plan: ArrayPlan, found: OrderStatistics, number: int) -> Array:
    stored = DTYPES[plan.spec.dtype]
    mine = found.keys[number : number + 1] if _is_picked(plan) else found.keys[2 * number : 2 * number + 2]
    elements = [find_numbers(keys, stored) for keys in mine]
    if plan.packing is not None:
        elements = [plan.packing.unpack(each) for each in elements]
    if _is_picked(plan):
        values = elements[0]
    else:
        _, _, weight = find_neighbours(plan.reduction.method, plan.reduction.quantiles[number], found.counts)
        lower, upper = elements
        values = interpolate(lower, upper, weight)
    # Integers have no NaN.
    nothing = np.nan if values.dtype.kind == "f" else 0
    return np.where(found.counts > 0, values, values.dtype.type(nothing))


def cut_boxes(cells: tuple[int, ...], most: int) -> Iterator[Box]:
    """Boxes of at most so many cells that are all cells together, in C order, of nearly equal sizes."""
    inner = [math.prod(cells[axis + 1 :]) for axis in range(len(cells))]
    depth = next(axis for axis, size in enumerate(inner) if size <= most)
    count = -(-cells[depth] // (most // inner[depth]))
    step = -(-cells[depth] // count)
    rest = tuple(slice(0, size) for size in cells[depth + 1 :])
    for number in range(math.prod(cells[:depth])):
        outer = tuple(slice(int(place), int(place) + 1) for place in np.unravel_index(number, cells[:depth] or (1,)))
        for start in range(0, cells[depth], step):
            yield (*outer[:depth], slice(start, min(start + step, cells[depth])), *rest)

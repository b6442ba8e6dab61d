"""HDF5: where the chunks of a dataset lie, by an index of any kind.

``ChunkTable`` keeps the entries of an index, so that each part of it is read once. 10,000 chunks take 120 kB.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from active_storage.errors import EntityTooLarge, UndecodableData, shown
from handler.containers.hdf5_arrays import ExtensibleArray, FixedArray
from handler.containers.hdf5_btree1 import ChunkTree1
from handler.containers.hdf5_btree2 import CHUNKS, FILTERED_CHUNKS, Btree2
from handler.containers.hdf5_chunks import ChunkGrid, ElementOrder, Entries
from handler.containers.hdf5_file import Hdf5File
from handler.containers.hdf5_filters import Pipeline
from handler.containers.hdf5_layout import BTREE_1, BTREE_2, EXTENSIBLE_ARRAY, FIXED_ARRAY, IMPLICIT, SINGLE, Layout
from handler.containers.hdf5_source import UNDEFINED, damaged
from handler.containers.stored_array import ABSENT, Numbers, Places

# In a table: a place that is not known yet, and that of an absent chunk. Offsets are stored plus 2.
_UNKNOWN, _ABSENT, _FIRST = 0, 1, 2

# The table has 4 bytes for a size. HDF5 itself allows no larger chunks before version 2.
MOST_CHUNK_BYTES = 2**32 - 1


class ChunkFinder(Protocol):
    """An index as it lies in the file."""

    def find(self, chunks: Numbers) -> Entries:
        """The entries of some chunks in the index. A chunk without an entry is absent.

        Args:
            chunks: Numbers of chunks of the grid, ascending and unique.

        Returns:
            The entries of these chunks, and of others that were read with them.

        Raises:
            ActiveStorageError: The index cannot be read, or is damaged.
        """


@dataclass(frozen=True)
class SingleChunk:
    """The index of a dataset with one chunk: the layout itself.

    Attributes:
        grid: The grid of chunks.
        layout: The layout.
    """

    grid: ChunkGrid
    layout: Layout

    def find(self, chunks: Numbers) -> Entries:
        """The entry that the layout has; see ``ChunkFinder``."""
        size = self.grid.chunk_bytes if self.layout.size is None else self.layout.size
        address = UNDEFINED if self.layout.address is None else self.layout.address
        values = (np.full(len(chunks), value, np.uint64) for value in (address, size, self.layout.mask))
        return Entries(chunks, *values)


class ImplicitIndex:
    """The index of chunks that lie one after the other, in the order of the grid of the largest shape.

    Args:
        address: Where the first chunk lies.
        grid: The grid of chunks.
    """

    def __init__(self, address: int, grid: ChunkGrid) -> None:
        self._address = address
        self._grid = grid
        self._order = ElementOrder(grid)
        if address + self._order.count * grid.chunk_bytes >= 2**63:
            raise damaged("the chunks lie outside the file")

    def find(self, chunks: Numbers) -> Entries:
        """The entries of these chunks, by arithmetic; see ``ChunkFinder``."""
        addresses = self._address + self._order.elements(chunks) * self._grid.chunk_bytes
        sizes = np.full(len(chunks), self._grid.chunk_bytes, np.uint64)
        return Entries(chunks, addresses.astype(np.uint64), sizes, np.zeros(len(chunks), np.uint64))


class ChunkTree2:
    """A version 2 B-tree of chunks: the index of datasets with several dimensions without a limit.

    Args:
        file: The file.
        address: Where the header of the tree lies.
        grid: The grid of chunks.
    """

    def __init__(self, file: Hdf5File, address: int, grid: ChunkGrid) -> None:
        self._grid = grid
        self._tree = Btree2(file.source, address, FILTERED_CHUNKS if grid.is_filtered else CHUNKS)
        # A record is an element, as in arrays, and the coordinates of the chunk.
        self._element_bytes = self._tree.record_bytes - 8 * len(grid.shape)
        grid.ensure_element_size(self._element_bytes)

    def find(self, chunks: Numbers) -> Entries:
        """What the index says of some chunks, and of others in the same nodes; see ``ChunkFinder``."""
        return Entries.join([self._parse(records) for records, _ in self._tree.descend(chunks, self._split)])

    def _parse(self, records: bytes) -> Entries:
        rows = np.frombuffer(records, np.uint8).reshape(-1, self._tree.record_bytes)
        coordinates = np.ascontiguousarray(rows[:, self._element_bytes :]).view("<u8")
        self._grid.ensure_inside(coordinates)
        elements = rows[:, : self._element_bytes].tobytes()
        return self._grid.parse_elements(elements, self._grid.flatten(coordinates), self._element_bytes)

    def _split(self, records: bytes, wanted: Numbers) -> list[Numbers | None]:
        keys = self._parse(records).numbers
        if np.any(keys[1:] <= keys[:-1]):
            raise damaged("the records of a B-tree are not in order")
        firsts = [0, *np.searchsorted(wanted, keys, side="right").tolist()]
        lasts = [*np.searchsorted(wanted, keys, side="left").tolist(), len(wanted)]
        return [wanted[first:last] if first < last else None for first, last in zip(firsts, lasts, strict=True)]


class ChunkTable:
    """The places of the chunks of a dataset. Threads may share it.

    Args:
        file: The file.
        layout: The layout of the dataset.
        grid: The grid of chunks.
        pipeline: The filters.
        needed_steps: The steps that no chunk may lack, as bits.
    """

    def __init__(
        self, file: Hdf5File, layout: Layout, grid: ChunkGrid, pipeline: Pipeline, needed_steps: int = 0
    ) -> None:
        self._file = file
        self._layout = layout
        self._grid = grid
        self._pipeline = pipeline
        self._needed_steps = needed_steps
        self._object = file.source.object.chunk_object
        self._lock = threading.Lock()
        # Memory that is not written to costs nothing.
        self._offsets = np.zeros(grid.count, np.int64)
        self._sizes = np.zeros(grid.count, np.uint32)
        self._masks: npt.NDArray[np.uint32] | None = None

    def locate(self, chunks: Numbers) -> Places:
        """The places of chunks; see ``ChunkIndex``.

        Raises:
            UndecodableData: The index is damaged, or names bytes outside the file.
            UnsupportedArray: A chunk was written with a filter that is not supported.
            EntityTooLarge: The index is larger than the limits allow.
            ActiveStorageError: The index cannot be read.
        """
        try:
            return self._locate(chunks)
        except (UndecodableData, EntityTooLarge) as error:
            raise error.located(f"array {shown(self._file.array)}") from error.__cause__

    def _locate(self, chunks: Numbers) -> Places:
        with self._lock:
            unknown = chunks[self._offsets[chunks] == _UNKNOWN]
        if len(unknown):
            # Two threads may read the same part at the same time, and then keep the same entries.
            entries = self._find(unknown)
            offsets, masks = self._check(entries), self._step_masks(entries)
            with self._lock:
                self._offsets[unknown] = _ABSENT
                self._keep(entries, offsets, masks)
        with self._lock:
            offsets = self._offsets[chunks] - _FIRST
            sizes = np.where(offsets < 0, ABSENT, self._sizes[chunks].astype(np.int64))
            skipped = None if self._masks is None else self._masks[chunks].astype(np.int64)
        return Places([self._object], np.zeros(len(chunks), np.int64), np.maximum(offsets, 0), sizes, skipped)

    def _find(self, chunks: Numbers) -> Entries:
        """The entries of stored chunks."""
        if self._layout.address is None:
            return Entries.join([])
        # The index of a large array is larger than what one request may read at once.
        finder = _open_index(self._file.for_section(), self._layout, self._layout.address, self._grid)
        found = finder.find(chunks)
        return found.only(found.addresses != UNDEFINED)

    def _check(self, entries: Entries) -> Numbers:
        """The offsets of stored chunks in the file.

        Raises:
            UndecodableData: A chunk lies outside the file.
        """
        source = self._file.source
        space = np.uint64(source.total_bytes - source.base)
        is_outside = (entries.addresses >= space) | (entries.sizes > space - np.minimum(entries.addresses, space))
        if np.any(is_outside) or not np.all(entries.sizes):
            raise damaged("a chunk lies outside the file, or has no bytes")
        if np.any(entries.sizes > MOST_CHUNK_BYTES):
            raise self._file.refuse(f"a chunk of more than {MOST_CHUNK_BYTES} bytes")
        return entries.addresses.astype(np.int64) + source.base

    def _step_masks(self, entries: Entries) -> npt.NDArray[np.uint32]:
        """The steps that were skipped, from the filters that were."""
        skipped = entries.masks
        if self._layout.has_plain_edges:
            skipped = np.where(self._grid.is_partial(entries.numbers), np.uint64(2**32 - 1), skipped)
        masks = np.zeros(len(skipped), np.uint32)
        for number, place in enumerate(self._pipeline.places):
            bits = (skipped >> np.uint64(number) & np.uint64(1)).astype(np.uint32)
            if place is not None:
                masks |= bits << np.uint32(place)
            elif not np.all(bits):
                raise self._file.refuse(self._pipeline.names[number])
        if np.any(masks & np.uint32(self._needed_steps)):
            raise self._file.refuse("a chunk of integers with unused bits, stored without the filter that clears them")
        return masks

    def _keep(self, entries: Entries, offsets: Numbers, masks: npt.NDArray[np.uint32]) -> None:
        self._offsets[entries.numbers] = offsets + _FIRST
        self._sizes[entries.numbers] = entries.sizes
        if self._masks is None and np.any(masks):
            self._masks = np.zeros(self._grid.count, np.uint32)
        if self._masks is not None:
            self._masks[entries.numbers] = masks


def _open_index(file: Hdf5File, layout: Layout, address: int, grid: ChunkGrid) -> ChunkFinder:
    """The index that the layout names."""
    if layout.index == SINGLE:
        if grid.count != 1:
            raise damaged(f"a dataset of {grid.count} chunks has the index of a single one")
        return SingleChunk(grid, layout)
    if layout.index == IMPLICIT:
        if grid.is_filtered:
            raise damaged("chunks with filters lie at equal distances")
        return ImplicitIndex(address, grid)
    kinds: dict[int, Callable[[Hdf5File, int, ChunkGrid], ChunkFinder]] = {
        BTREE_1: ChunkTree1,
        FIXED_ARRAY: FixedArray,
        EXTENSIBLE_ARRAY: ExtensibleArray,
        BTREE_2: ChunkTree2,
    }
    return kinds[layout.index](file, address, grid)

"""Shards of Zarr version 3: objects that hold many chunks and an index of them (the codec ``sharding_indexed``).

The index has a pair of 64-bit numbers for each chunk of the shard, in C order: its offset in the object and its size.
An absent chunk has 2**64-1 twice. The index is at the end or at the start of the object, with the checksums that its
codecs name.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from active_storage.errors import ActiveStorageError, InvalidRange, StoreError, UndecodableData, shown
from active_storage.model.dtypes import ByteOrder
from active_storage.model.steps import Step
from handler.codecs import IMPLEMENTATIONS
from handler.codecs.base import Budget, StepContext
from handler.containers.chunk_keys import ChunkKeys, unravel
from handler.containers.reader import ContainerReader, ObjectReader, is_absent
from handler.containers.stored_array import ABSENT, ChunkObject, Numbers, Places
from handler.stores.source import ObjectFacts

_ENTRY_BYTES = 16
_CHECKSUM_BYTES = 4

# The number of shards whose versions are compared from one section to the next. They take some MB.
_MOST_VERSIONS = 1 << 14

_NO_CHUNK = np.uint64(2**64 - 1)


@dataclass(frozen=True, slots=True)
class Shards:
    """The form of the shards of an array.

    Attributes:
        chunks: The number of chunks in a shard along each dimension.
        steps: The checksums of the index, in the order of writing.
        byte_order: The byte order of the index.
        is_at_end: Whether the index is at the end of the object, and not at its start.
        grid: The number of chunks of the array along each dimension.
    """

    chunks: tuple[int, ...]
    steps: tuple[Step, ...]
    byte_order: ByteOrder
    is_at_end: bool
    grid: tuple[int, ...]

    @property
    def index_bytes(self) -> int:
        """The size of an index, in bytes."""
        return _ENTRY_BYTES * math.prod(self.chunks) + _CHECKSUM_BYTES * len(self.steps)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The chunks of one shard that are looked for.

    Attributes:
        key: The key of the shard.
        entries: The numbers of the chunks in the index of the shard.
    """

    key: str
    entries: Numbers


@dataclass(frozen=True, slots=True)
class _Found:
    """Where the chunks of one shard lie: an offset and a size for each."""

    shard: ChunkObject
    offsets: Numbers
    sizes: Numbers


class ShardIndex:
    """The index of an array with shards. The index of each shard is read when its chunks are looked for.

    Args:
        reader: Reads the indexes.
        path: The beginning of the keys of the shards: the path of the array and a slash, or "".
        keys: The keys of the shards below the path.
        shards: The form of the shards.
    """

    def __init__(self, reader: ContainerReader, path: str, keys: ChunkKeys, shards: Shards) -> None:
        self._reader = reader
        self._path = path
        self._keys = keys
        self._shards = shards
        # The versions of shards, since sections can have chunks of the same one.
        self._versions: dict[str, ObjectFacts] = {}

    def locate(self, chunks: Numbers) -> Places:
        """The places of chunks, see ``ChunkIndex``. The index of each shard is read once, side by side.

        Raises:
            UndecodableData: An index is damaged, or places a chunk outside its shard.
            ActiveStorageError: An index cannot be read.
        """
        numbers, entries = self._find_shards(chunks)
        order = np.argsort(numbers, kind="stable")
        touched, starts = np.unique(numbers[order], return_index=True)
        groups = np.split(order, starts[1:]) if len(chunks) else []
        wanted = [
            _Wanted(self._path + key, entries[rows])
            for key, rows in zip(self._keys.format(touched), groups, strict=True)
        ]
        reader = self._reader.for_section()
        found = reader.map(lambda each: self._look_up(reader, each), wanted)
        return _place(len(chunks), groups, found)

    def _find_shards(self, chunks: Numbers) -> tuple[Numbers, Numbers]:
        """For each chunk, the number of its shard, and its number in the index of the shard."""
        numbers, entries = np.zeros(len(chunks), np.int64), np.zeros(len(chunks), np.int64)
        places = unravel(chunks, self._shards.grid)
        for place, count, shards in zip(places, self._shards.chunks, self._keys.grid, strict=True):
            numbers = numbers * shards + place // count
            entries = entries * count + place % count
        return numbers, entries

    def _look_up(self, reader: ContainerReader, wanted: _Wanted) -> _Found | None:
        """Where chunks lie; None if the shard is absent."""
        shard = reader.open_key(wanted.key)
        shard.facts = self._versions.get(wanted.key)
        try:
            index = self._read_index(reader, shard)
            pairs = np.frombuffer(index, "<u8" if self._shards.byte_order == "little" else ">u8").reshape(-1, 2)
            offsets, sizes = self._check(pairs[wanted.entries].astype(np.uint64), shard)
        except ActiveStorageError as error:
            if isinstance(error, StoreError) and is_absent(error):
                return None
            raise error.located(f"shard {shown(wanted.key)}") from None
        self._keep_version(wanted.key, shard.facts)
        return _Found(shard.chunk_object, offsets, sizes)

    def _keep_version(self, key: str, facts: ObjectFacts | None) -> None:
        if facts is not None and key not in self._versions and len(self._versions) < _MOST_VERSIONS:
            etag = facts.strong_etag
            self._versions[key] = facts if etag is None else ObjectFacts.named_by(etag)

    def _read_index(self, reader: ContainerReader, shard: ObjectReader) -> memoryview:
        size = self._shards.index_bytes
        reader.ensure_room(size)
        try:
            stored = shard.read_last(size) if self._shards.is_at_end else shard.read_up_to(0, size)
        except InvalidRange:
            stored = b""
        if len(stored) < size:
            raise UndecodableData("sharding_indexed", f"the object is shorter than its index, which has {size} bytes")
        data = memoryview(stored)
        budget = Budget(size, lambda _: None, reader.scope.check)
        for step in reversed(self._shards.steps):
            undo = IMPLEMENTATIONS[step.id].undo
            assert undo is not None  # noqa: S101  # checksums have one
            data = undo(data, StepContext(step, np.dtype(np.uint64), self._shards.byte_order, size, budget))
        return data

    def _check(self, pairs: "np.ndarray[Any, np.dtype[np.uint64]]", shard: ObjectReader) -> tuple[Numbers, Numbers]:
        """The offsets and sizes in pairs of an index, which are checked against the size of the object."""
        offsets, sizes = pairs[:, 0], pairs[:, 1]
        total, index_bytes = 0 if shard.facts is None else shard.facts.total, self._shards.index_bytes
        start, stop = (0, total - index_bytes) if self._shards.is_at_end else (index_bytes, total)
        is_absent_chunk = (offsets == _NO_CHUNK) & (sizes == _NO_CHUNK)
        # Unsigned numbers wrap: no sum of an offset and a size is formed.
        is_inside = (offsets >= np.uint64(start)) & (offsets <= np.uint64(stop))
        is_inside &= (sizes > 0) & (sizes <= np.uint64(stop) - np.minimum(offsets, np.uint64(stop)))
        if not (is_absent_chunk | is_inside).all():
            raise UndecodableData("sharding_indexed", "the index places a chunk outside the data of the object")
        return (
            np.where(is_absent_chunk, np.uint64(0), offsets).astype(np.int64),
            np.where(is_absent_chunk, np.uint64(0), sizes).astype(np.int64) + ABSENT * is_absent_chunk,
        )


def _place(count: int, groups: Sequence[Numbers], found: Sequence[_Found | None]) -> Places:
    """The places of ``count`` chunks, from what was found for each group of rows."""
    object_numbers, offsets = np.zeros(count, np.int64), np.zeros(count, np.int64)
    sizes = np.full(count, ABSENT, np.int64)
    objects: list[ChunkObject] = []
    for rows, each in zip(groups, found, strict=True):
        if each is not None:
            object_numbers[rows] = len(objects)
            offsets[rows], sizes[rows] = each.offsets, each.sizes
            objects.append(each.shard)
    return Places(objects, object_numbers, offsets, sizes)

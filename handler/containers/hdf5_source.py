"""The bytes of an HDF5 file: cached blocks and nodes, many ranges at a time, checksums, and a cursor over them.

All structures of the file are read here, so that a file whose structures point at themselves ends at a limit: each
structure counts whenever it is asked for, even if it was cached. Addresses count from the superblock.

Source of this and the other ``hdf5_`` files: "HDF5 File Format Specification Version 3.0" and 4.0.
"""

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from copy import copy
from typing import Self

from active_storage.errors import EntityTooLarge, UndecodableData
from handler.codecs.checksum import lookup3
from handler.containers.reader import ContainerReader, ObjectReader

SIGNATURE = b"\x89HDF\r\n\x1a\n"

# An address or a size that is not defined.
UNDEFINED = 2**64 - 1

CHECKSUM_BYTES = 4

_BLOCK_BYTES = 64 << 10

# 4 MiB of blocks: the metadata of a variable lies in a few of them.
_MOST_BLOCKS = 64

# Nodes of an index: those near its root are needed again for each section of an array.
_MOST_NODES = 256
_MOST_NODE_BYTES = 16 << 10

# Ranges that are nearer to each other are one request. Nodes of an index lie together, or a chunk apart.
_MOST_GAP_BYTES = 16 << 10
_MOST_RUN_BYTES = 1 << 20

# The least number of bytes that a structure counts: parsing one takes as long as reading this many bytes.
_LEAST_COUNTED_BYTES = 256


def damaged(what: str) -> UndecodableData:
    """The error for a file that contradicts itself or the format."""
    return UndecodableData("HDF5", what)


def count_bytes(limit: int) -> int:
    """The number of bytes in which HDF5 writes numbers up to ``limit``."""
    return max(0, limit.bit_length() - 1) // 8 + 1


def find_signature(head: bytes) -> int | None:
    """Where the superblock lies in the first bytes of a file: at 0, 512, 1024 and so on; None if it does not.

    A user block lies before it.
    """
    offset = 0
    while offset < len(head):
        if head.startswith(SIGNATURE, offset):
            return offset
        offset = max(512, 2 * offset)
    return None


def ensure_checksum(data: bytes, what: str) -> bytes:
    """The data without its last 4 bytes, which are its checksum.

    Raises:
        UndecodableData: The checksum is wrong.
    """
    plain, stored = data[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:]
    if lookup3(plain).to_bytes(CHECKSUM_BYTES, "little") != stored:
        raise damaged(f"the checksum of {what} is wrong")
    return plain


class Hdf5Source:
    """Reads the structures of a file. Threads may share it.

    Args:
        reader: Counts requests and bytes, and knows the limits.
        source: Reads the file; it has read ``head``.
        head: The first bytes of the file, at most a block.
        base: The offset of the superblock, from which addresses count.

    Attributes:
        object: Reads the file.
        limits: The limits of metadata.
        base: The offset of the superblock.
        total_bytes: The size of the file.
        handed_out: The size of the structures that were read so far, cached ones among them.
    """

    def __init__(self, reader: ContainerReader, source: ObjectReader, head: bytes, base: int) -> None:
        self.object = source
        self.limits = reader.limits
        self.base = base
        self.total_bytes = source.facts.total if source.facts else len(head)
        self._scope = reader.scope
        self._blocks = OrderedDict({0: head})
        self._nodes: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        # What was read ahead: pieces of the file by their first byte, and these in order.
        self._pieces: dict[int, bytes] = {}
        self._piece_starts: list[int] = []
        self.handed_out = 0
        self._lock = threading.Lock()

    def for_section(self) -> "Hdf5Source":
        """The same file, read with limits for one section. What is cached is shared."""
        section = copy(self)
        section.object = self.object.for_section()
        section.handed_out = 0
        return section

    def read(self, address: int, size: int, what: str) -> bytes:
        """The bytes of a structure.

        Args:
            address: Where it begins, counted from the superblock.
            size: Its size in bytes.
            what: Its name, for messages.

        Raises:
            UndecodableData: It lies outside the file.
            EntityTooLarge: The limits of metadata are reached.
            ActiveStorageError: It cannot be read.
        """
        data = self.read_up_to(address, size, what)
        if len(data) < size:
            raise damaged(f"{what} at byte {self.base + address} lies outside the file")
        return data

    def read_up_to(self, address: int, size: int, what: str) -> bytes:
        """The bytes of a structure, fewer if the file ends before."""
        start, stop = self._locate(address, size, what)
        if start == stop:
            return b""
        if (ahead := self._find_ahead(start, stop)) is not None:
            return ahead
        if stop - start > _MOST_RUN_BYTES:
            return self.object.read(start, stop)
        first, last = start // _BLOCK_BYTES, (stop - 1) // _BLOCK_BYTES
        data = b"".join(self._find_blocks(first, last))
        return data[start - first * _BLOCK_BYTES : stop - first * _BLOCK_BYTES]

    def read_ahead(self, spans: Sequence[tuple[int, int]], what: str) -> None:
        """Read structures side by side that are going to be read one by one. Those outside the file are left out.

        Args:
            spans: Their addresses, and how much of each is read.
            what: Their name, for messages.

        Raises:
            EntityTooLarge: The limits of metadata are reached.
            ActiveStorageError: They cannot be read.
        """
        inside = [span for span in spans if 0 <= self.base + span[0] < self.total_bytes]
        pieces = self.read_many(inside, what)
        with self._lock:
            self._pieces |= {self.base + address: data for (address, _), data in zip(inside, pieces, strict=True)}
            self._piece_starts = sorted(self._pieces)

    def _find_ahead(self, start: int, stop: int) -> bytes | None:
        """The bytes of a range if they were read ahead."""
        with self._lock:
            place = bisect_right(self._piece_starts, start) - 1
            if place < 0:
                return None
            first = self._piece_starts[place]
            piece = self._pieces[first]
        return piece[start - first : stop - first] if stop <= first + len(piece) else None

    def read_many(self, spans: Sequence[tuple[int, int]], what: str) -> list[bytes]:
        """The bytes of several structures, side by side. One that goes beyond the end of the file is cut there.

        Args:
            spans: Their addresses and sizes.
            what: Their name, for messages.

        Raises:
            UndecodableData: One begins outside the file.
            EntityTooLarge: The limits of metadata are reached.
            ActiveStorageError: They cannot be read.
        """
        ranges = [self._locate(address, size, what) for address, size in spans]
        found = [self._find_cached(start, stop) for start, stop in ranges]
        runs: list[tuple[int, int]] = []
        for start, stop in sorted(span for span, data in zip(ranges, found, strict=True) if data is None):
            if runs and start - runs[-1][1] <= _MOST_GAP_BYTES and stop - runs[-1][0] <= _MOST_RUN_BYTES:
                runs[-1] = runs[-1][0], max(stop, runs[-1][1])
            else:
                runs.append((start, stop))
        read = self.object.read_many(runs)
        starts = [start for start, _ in runs]
        results = []
        for (start, stop), cached in zip(ranges, found, strict=True):
            if cached is not None:
                results.append(cached)
                continue
            run = bisect_right(starts, start) - 1
            results.append(self._keep_node(start, stop, read[run][start - starts[run] : stop - starts[run]]))
        return results

    def _locate(self, address: int, size: int, what: str) -> tuple[int, int]:
        """Where a structure lies in the object: the first byte, and the byte after the last that exists."""
        start = self.base + address
        if not 0 <= start < self.total_bytes:
            raise damaged(f"{what} at byte {start} lies outside the file")
        stop = min(start + size, self.total_bytes)
        self._count(stop - start)
        return start, stop

    def _count(self, size: int) -> None:
        """Count a structure, so that a loop of structures ends at the limit."""
        self._scope.check()
        self.handed_out += max(size, _LEAST_COUNTED_BYTES)
        # Twice, since some structures are read for several purposes.
        if self.handed_out > 2 * self.limits.bytes:
            raise EntityTooLarge(f"the metadata takes more than twice {self.limits.bytes} bytes to read")

    def _find_blocks(self, first: int, last: int) -> list[bytes]:
        """Blocks of the file, by number; what is not cached is read at once."""
        with self._lock:
            blocks = [self._blocks.get(number) for number in range(first, last + 1)]
            for number, block in enumerate(blocks, first):
                if block is not None:
                    self._blocks.move_to_end(number)
        missing = [number for number, block in enumerate(blocks, first) if block is None]
        if missing:
            start, stop = missing[0] * _BLOCK_BYTES, min((missing[-1] + 1) * _BLOCK_BYTES, self.total_bytes)
            data = self.object.read(start, stop)
            for number in missing:
                offset = (number - missing[0]) * _BLOCK_BYTES
                blocks[number - first] = self._keep(number, data[offset : offset + _BLOCK_BYTES])
        return [block for block in blocks if block is not None]

    def _keep(self, number: int, block: bytes) -> bytes:
        with self._lock:
            self._blocks[number] = block
            if len(self._blocks) > _MOST_BLOCKS:
                self._blocks.popitem(last=False)
        return block

    def _keep_node(self, start: int, stop: int, data: bytes) -> bytes:
        if len(data) <= _MOST_NODE_BYTES:
            with self._lock:
                self._nodes[start, stop] = data
                if len(self._nodes) > _MOST_NODES:
                    self._nodes.popitem(last=False)
        return data

    def _find_cached(self, start: int, stop: int) -> bytes | None:
        """The bytes of a range if it is a cached node, or if all its blocks are cached."""
        if start == stop:
            return b""
        first, last = start // _BLOCK_BYTES, (stop - 1) // _BLOCK_BYTES
        with self._lock:
            if (start, stop) in self._nodes:
                self._nodes.move_to_end((start, stop))
                return self._nodes[start, stop]
            blocks = [self._blocks.get(number) for number in range(first, last + 1)]
        if None in blocks:
            return None
        data = b"".join(block for block in blocks if block is not None)
        return data[start - first * _BLOCK_BYTES : stop - first * _BLOCK_BYTES]


class Cursor:
    """Reads little-endian numbers from the bytes of a structure, from front to back.

    Args:
        data: The bytes.
        what: The name of the structure, for messages.

    Attributes:
        place: The index of the next byte.
    """

    def __init__(self, data: bytes, what: str) -> None:
        self.data = data
        self.what = what
        self.place = 0

    @classmethod
    def checked(cls, data: bytes, what: str) -> Self:
        """A cursor over a structure that ends with its checksum, which is verified and left out.

        Raises:
            UndecodableData: The checksum is wrong.
        """
        return cls(ensure_checksum(data, what), what)

    @property
    def left(self) -> int:
        """The number of bytes that are left."""
        return len(self.data) - self.place

    def take(self, size: int) -> bytes:
        """The next bytes.

        Raises:
            UndecodableData: There are fewer.
        """
        if not 0 <= size <= self.left:
            raise damaged(f"{self.what} is cut short")
        self.place += size
        return self.data[self.place - size : self.place]

    def uint(self, size: int) -> int:
        """The next unsigned number of ``size`` bytes."""
        return int.from_bytes(self.take(size), "little")

    def expect(self, expected: bytes) -> None:
        """Pass over these bytes.

        Raises:
            UndecodableData: The next bytes are other ones.
        """
        if self.take(len(expected)) != expected:
            raise damaged(f"{self.what} does not begin as it should")

    def terminated(self) -> bytes:
        """The next bytes, up to a null byte, which is passed over.

        Raises:
            UndecodableData: There is no null byte.
        """
        end = self.data.find(b"\0", self.place)
        if end < 0:
            raise damaged(f"{self.what} is cut short")
        return self.take(end + 1 - self.place)[:-1]

    def address(self) -> int | None:
        """The next address; None if it is not defined."""
        address = self.uint(8)
        return None if address == UNDEFINED else address

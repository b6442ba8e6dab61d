"""HDF5: the heaps. Local heaps hold names of links, global heaps elements of variable length, fractal heaps the rest.

A fractal heap holds links and attributes of objects that have many. Its space of addresses is a table of blocks whose
sizes double from row to row; where the table needs more than one block, indirect blocks say where the blocks are.
"""

from dataclasses import dataclass

from handler.containers.hdf5_btree2 import HUGE_OBJECTS, Btree2
from handler.containers.hdf5_source import (
    CHECKSUM_BYTES,
    Cursor,
    Hdf5Source,
    count_bytes,
    damaged,
    ensure_checksum,
)

# Kinds of objects in a fractal heap, in the upper half of the first byte of an id.
_MANAGED, _HUGE = 0, 1

# The blocks of a fractal heap have at most 64 KiB, unless a program chose otherwise.
_MOST_BLOCKS = 64

_FRACTAL_HEADER_BYTES = 142 + CHECKSUM_BYTES


class LocalHeap:
    """The names of the links of an old group.

    Args:
        source: Reads the file.
        address: Where the heap lies.

    Raises:
        UndecodableData: There is no heap at this address.
    """

    def __init__(self, source: Hdf5Source, address: int) -> None:
        cursor = Cursor(source.read(address, 32, "a local heap"), "a local heap")
        cursor.expect(b"HEAP\0")
        cursor.take(3)
        size = cursor.uint(8)
        cursor.take(8)
        self._data = source.read(cursor.uint(8), size, "a local heap") if size else b""

    def name(self, offset: int) -> bytes:
        """The text at an offset.

        Raises:
            UndecodableData: There is no text.
        """
        cursor = Cursor(self._data, "a local heap")
        cursor.take(offset)
        return cursor.terminated()


class GlobalHeaps:
    """The elements of variable length of a file.

    Args:
        source: Reads the file.
    """

    def __init__(self, source: Hdf5Source) -> None:
        self._source = source
        self._address: int | None = None
        self._objects: dict[int, bytes] = {}

    def find(self, address: int, number: int) -> bytes:
        """The bytes of an element.

        Args:
            address: Where the collection lies that holds it.
            number: Its number in the collection.

        Raises:
            UndecodableData: There is no such element.
        """
        # The elements of an attribute follow each other: one collection is kept.
        if address != self._address:
            self._objects = self._read(address)
            self._address = address
        if number not in self._objects:
            raise damaged("an element of variable length is missing")
        return self._objects[number]

    def _read(self, address: int) -> dict[int, bytes]:
        head = Cursor(self._source.read(address, 16, "a global heap"), "a global heap")
        head.expect(b"GCOL\1")
        head.take(3)
        size = head.uint(8)
        cursor = Cursor(self._source.read(address, size, "a global heap"), "a global heap")
        cursor.take(16)
        objects = {}
        while cursor.left >= 16:
            number = cursor.uint(2)
            cursor.take(6)
            size = cursor.uint(8)
            # The free space at the end has the number 0.
            if not number:
                break
            objects[number] = cursor.take(size)
            cursor.take(min(-size % 8, cursor.left))
        return objects


@dataclass(frozen=True, slots=True)
class _Table:
    """The doubling table of a fractal heap.

    Attributes:
        width: The number of blocks of a row.
        start_bytes: The size of a block of the first two rows. It doubles with each row after them.
        direct_rows: The number of rows whose blocks hold objects; those of later rows are indirect.
    """

    width: int
    start_bytes: int
    direct_rows: int

    def block_bytes(self, row: int) -> int:
        """The size of a block of a row."""
        return self.start_bytes << max(0, row - 1)

    def find(self, offset: int) -> tuple[int, int, int]:
        """The row of the block that holds an offset, its number in the table, and the offset where it begins."""
        row = (offset // (self.width * self.start_bytes)).bit_length()
        start = self.width * self.block_bytes(row) if row else 0
        column = (offset - start) // self.block_bytes(row)
        return row, row * self.width + column, start + column * self.block_bytes(row)

    def rows(self, size: int) -> int:
        """The number of rows of an indirect block whose blocks have ``size`` bytes in all."""
        return max(1, (size // (self.width * self.start_bytes)).bit_length())


class FractalHeap:
    """A heap of links or attributes.

    Args:
        source: Reads the file.
        address: Where the header of the heap lies.

    Raises:
        UndecodableData: There is no heap at this address, or it is damaged or compressed.
    """

    def __init__(self, source: Hdf5Source, address: int) -> None:
        self._source = source
        self._address = address
        self._blocks: dict[int, bytes] = {}
        data = source.read(address, _FRACTAL_HEADER_BYTES, "a fractal heap")
        cursor = Cursor(data, "a fractal heap")
        cursor.expect(b"FRHP\0")
        self._id_bytes = cursor.uint(2)
        if cursor.uint(2):
            raise damaged("a fractal heap is compressed, which no writer of links or attributes does")
        ensure_checksum(data, "a fractal heap")
        self._has_checksums = bool(cursor.uint(1) & 2)
        most_managed = cursor.uint(4)
        cursor.take(8)
        self._huge_tree = cursor.address()
        # The free space, and statistics.
        cursor.take(10 * 8)
        width, start_bytes, most_direct, offset_bits = cursor.uint(2), cursor.uint(8), cursor.uint(8), cursor.uint(2)
        cursor.take(2)
        self._root, self._root_rows = cursor.address(), cursor.uint(2)
        for power in (width, start_bytes, most_direct):
            if power.bit_count() != 1:
                raise damaged("the sizes of the blocks of a fractal heap are not powers of two")
        if most_direct < start_bytes:
            raise damaged("the first block of a fractal heap is larger than its largest")
        self._table = _Table(width, start_bytes, most_direct.bit_length() - start_bytes.bit_length() + 2)
        self._offset_bytes = -(-offset_bits // 8)
        self._length_bytes = min(count_bytes(most_direct), count_bytes(most_managed))

    def find(self, identifier: bytes) -> bytes:
        """The bytes of an object.

        Args:
            identifier: What names it, from a record of a B-tree.

        Raises:
            UndecodableData: There is no such object.
        """
        cursor = Cursor(identifier[: self._id_bytes], "the id of an object in a fractal heap")
        first = cursor.uint(1)
        kind = first >> 4
        if kind == _MANAGED:
            offset, length = cursor.uint(self._offset_bytes), cursor.uint(self._length_bytes)
            return self._find_managed(offset, length)
        # Objects so small that their id holds them are neither links nor attributes.
        if kind != _HUGE:
            raise damaged("there is no such kind of object in a fractal heap")
        return self._find_huge(cursor)

    def _find_huge(self, cursor: Cursor) -> bytes:
        if self._huge_tree is None:
            raise damaged("a fractal heap has no large objects")
        key = cursor.uint(min(cursor.left, 8))
        tree = Btree2(self._source, self._huge_tree, HUGE_OBJECTS)
        record = next(tree.find(key, lambda record: int.from_bytes(record[16:24], "little")), None)
        if record is None:
            raise damaged("a large object is missing in a fractal heap")
        found = Cursor(record, "a large object of a fractal heap")
        address, size = found.uint(8), found.uint(8)
        return self._source.read(address, size, "a large object of a fractal heap")

    def _find_managed(self, offset: int, length: int) -> bytes:
        if self._root is None:
            raise damaged("a fractal heap has no blocks")
        address, block_bytes = self._root, self._table.start_bytes
        rows = self._root_rows
        while rows:
            row, number, start = self._table.find(offset)
            if row >= rows:
                raise damaged("an object lies outside its fractal heap")
            address = self._read_pointer(address, rows, number)
            offset -= start
            block_bytes = self._table.block_bytes(row)
            below = 0 if row < self._table.direct_rows else self._table.rows(block_bytes)
            if below >= rows:
                raise damaged("the blocks of a fractal heap point at each other")
            rows = below
        # Objects are asked for in the order of a hash: a block is read once for all of its objects.
        if address not in self._blocks:
            if len(self._blocks) >= _MOST_BLOCKS:
                self._blocks.clear()
            self._blocks[address] = self._read_direct(address, block_bytes)
        cursor = Cursor(self._blocks[address], "an object of a fractal heap")
        cursor.take(offset)
        return cursor.take(length)

    def _read_pointer(self, address: int, rows: int, number: int) -> int:
        """The address of a block, from an indirect block."""
        if address not in self._blocks:
            size = 13 + self._offset_bytes + rows * self._table.width * 8 + CHECKSUM_BYTES
            data = self._source.read(address, size, "a fractal heap")
            self._blocks[address] = ensure_checksum(data, "a fractal heap")
        cursor = Cursor(self._blocks[address], "a fractal heap")
        cursor.expect(b"FHIB\0" + self._address.to_bytes(8, "little"))
        cursor.take(self._offset_bytes + number * 8)
        found = cursor.address()
        if found is None:
            raise damaged("an object lies in a block that its fractal heap does not have")
        return found

    def _read_direct(self, address: int, size: int) -> bytes:
        data = self._source.read(address, size, "a fractal heap")
        cursor = Cursor(data, "a fractal heap")
        cursor.expect(b"FHDB\0" + self._address.to_bytes(8, "little"))
        cursor.take(self._offset_bytes)
        if self._has_checksums:
            # The checksum is that of the block with zeros in its place.
            place = cursor.place
            plain = data[:place] + bytes(CHECKSUM_BYTES) + data[place + CHECKSUM_BYTES :]
            ensure_checksum(plain + data[place : place + CHECKSUM_BYTES], "a fractal heap")
        return data

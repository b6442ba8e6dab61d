"""HDF5: fixed and extensible arrays, the indexes of chunks of datasets with at most one dimension without a limit.

An element of the array is a chunk, in the order that ``ElementOrder`` says. A fixed array has one block of elements. An
extensible array has an index block, and ever larger blocks whose addresses are in the index block or in secondary
blocks. Long blocks are cut into pages with a checksum each. A bit for each page says whether it was ever written.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from handler.containers.hdf5_chunks import ChunkGrid, ElementOrder, Entries
from handler.containers.hdf5_file import Hdf5File
from handler.containers.hdf5_source import CHECKSUM_BYTES, Cursor, Hdf5Source, damaged
from handler.containers.stored_array import Numbers

# Signature, version, client, and the address of the header.
_PREFIX_BYTES = 14

_FIXED, _EXTENSIBLE = "a fixed array", "an extensible array"

# 2**63 chunks.
_MOST_BITS = 63


@dataclass(frozen=True, slots=True)
class _Run:
    """Elements that lie in the file one after the other, followed by a checksum.

    Attributes:
        address: Where they begin, or the prefix that the checksum covers as well.
        prefix: The size of that prefix.
        first: The number of the first element.
        count: The number of elements.
        signature: What the prefix begins with; nothing if there is no prefix.
    """

    address: int
    prefix: int
    first: int
    count: int
    signature: bytes = b""


@dataclass(frozen=True, slots=True)
class _SuperBlock:
    """Blocks of an extensible array that have one size.

    Attributes:
        start: The number of the first element, counted from the end of the index block.
        first_block: The number of blocks before.
        blocks: The number of blocks.
        block_elements: The number of elements of a block.
    """

    start: int
    first_block: int
    blocks: int
    block_elements: int

    @property
    def stop(self) -> int:
        """The number of the first element of the next super block."""
        return self.start + self.blocks * self.block_elements


@dataclass(frozen=True, slots=True)
class _Block:
    """A block of an extensible array that is to be read.

    Attributes:
        address: Where it lies.
        owner: The super block that it belongs to.
        place: Its number in the super block.
        pages: The pages that are to be read.
    """

    address: int
    owner: _SuperBlock
    place: int
    pages: list[int]


class _Elements:
    """The code that both kinds of arrays share: it knows the size of elements, and reads runs of them.

    Args:
        source: Reads the file.
        grid: The grid of chunks.
        order: The order of the elements.
        element_bytes: The size of an element.
        what: The name of the array, for messages.
    """

    def __init__(self, source: Hdf5Source, grid: ChunkGrid, order: ElementOrder, element_bytes: int, what: str) -> None:
        grid.ensure_element_size(element_bytes)
        self.size = element_bytes
        self._source = source
        self._grid = grid
        self._order = order
        self._what = what

    def read(self, runs: Sequence[_Run]) -> Entries:
        """The entries of all elements of some runs."""
        spans = [(run.address, run.prefix + run.count * self.size + CHECKSUM_BYTES) for run in runs]
        parts = []
        for run, block in zip(runs, self._source.read_many(spans, self._what), strict=True):
            cursor = Cursor.checked(block, self._what)
            cursor.expect(run.signature)
            cursor.take(run.prefix - len(run.signature))
            parts.append(self.parse(cursor.take(run.count * self.size), run.first))
        return Entries.join(parts)

    def parse(self, data: bytes, first: int) -> Entries:
        """The entries of elements that follow each other, of those that are chunks of the dataset as it is now."""
        count = len(data) // self.size
        numbers, is_inside = self._order.chunks(np.arange(first, first + count))
        rows = np.frombuffer(data, np.uint8).reshape(count, self.size)[is_inside]
        return self._grid.parse_elements(rows.tobytes(), numbers[is_inside], self.size)


class FixedArray:
    """A fixed array.

    Args:
        file: The file.
        address: Where its header lies.
        grid: The grid of chunks.
    """

    def __init__(self, file: Hdf5File, address: int, grid: ChunkGrid) -> None:
        self._source = file.source
        self._order = ElementOrder(grid)
        header = file.source.read(address, 24 + CHECKSUM_BYTES, _FIXED)
        cursor = Cursor.checked(header, _FIXED)
        cursor.expect(b"FAHD\0" + bytes([grid.is_filtered]))
        element_bytes, self._page_bits = cursor.uint(1), cursor.uint(1)
        self._count, self._block = cursor.uint(8), cursor.address()
        if self._order.count > self._count or self._page_bits > _MOST_BITS:
            raise damaged("a fixed array has fewer elements than the dataset has chunks")
        self._signature = b"FADB\0" + bytes([grid.is_filtered]) + address.to_bytes(8, "little")
        self._elements = _Elements(file.source, grid, self._order, element_bytes, _FIXED)

    def find(self, chunks: Numbers) -> Entries:
        """What the index says of some chunks, and of others beside them; see ``ChunkFinder``."""
        if self._block is None:
            return Entries.join([])
        if self._count <= 1 << self._page_bits:
            return self._elements.read([_Run(self._block, _PREFIX_BYTES, 0, self._count, self._signature)])
        elements = self._order.elements(chunks)
        return self._elements.read(self._find_pages(self._block, np.unique(elements >> self._page_bits).tolist()))

    def _find_pages(self, block: int, numbers: list[int]) -> list[_Run]:
        """The pages of the block that were ever written."""
        page = 1 << self._page_bits
        bitmap_bytes = -(-self._count // (8 * page))
        start = _PREFIX_BYTES + bitmap_bytes + CHECKSUM_BYTES
        prefix = self._source.read(block, start, _FIXED)
        cursor = Cursor.checked(prefix, _FIXED)
        cursor.expect(self._signature)
        bitmap = cursor.take(bitmap_bytes)
        page_bytes = page * self._elements.size + CHECKSUM_BYTES
        return [
            _Run(block + start + number * page_bytes, 0, number * page, min(page, self._count - number * page))
            for number in numbers
            if _has_bit(bitmap, number)
        ]


class ExtensibleArray:
    """An extensible array.

    The blocks of elements belong to *super blocks*, which double in size at every second one. The blocks of the first
    few super blocks have their addresses in the index block. Each later super block has a secondary block for them.

    Args:
        file: The file.
        address: Where its header lies.
        grid: The grid of chunks.
    """

    def __init__(self, file: Hdf5File, address: int, grid: ChunkGrid) -> None:
        self._source = file.source
        self._order = ElementOrder(grid)
        header = file.source.read(address, 68 + CHECKSUM_BYTES, _EXTENSIBLE)
        cursor = Cursor.checked(header, _EXTENSIBLE)
        client = bytes([grid.is_filtered])
        cursor.expect(b"EAHD\0" + client)
        element_bytes, most_bits, self._index_count, least_elements, least_pointers, page_bits = cursor.take(6)
        # Statistics.
        cursor.take(6 * 8)
        self._index_block = cursor.address()
        if least_elements.bit_count() != 1 or least_pointers.bit_count() != 1:
            raise damaged("the sizes of the blocks of an extensible array are not powers of two")
        if not least_elements.bit_length() <= most_bits <= _MOST_BITS or page_bits > _MOST_BITS:
            raise damaged("an extensible array has more elements than is possible")
        self._page = 1 << page_bits
        self._offset_bytes = -(-most_bits // 8)
        self._supers = _measure_super_blocks(most_bits, least_elements)
        # The super blocks whose blocks the index block names, and the number of these.
        self._direct_supers = 2 * (least_pointers.bit_length() - 1)
        self._direct_blocks = 2 * (least_pointers - 1)
        if self._direct_supers > len(self._supers):
            raise damaged("the index block of an extensible array has more blocks than the array")
        self._owner = client + address.to_bytes(8, "little")
        self._elements = _Elements(file.source, grid, self._order, element_bytes, _EXTENSIBLE)

    def find(self, chunks: Numbers) -> Entries:
        """What the index says of some chunks, and of others beside them; see ``ChunkFinder``."""
        if self._index_block is None:
            return Entries.join([])
        elements = np.sort(self._order.elements(chunks))
        if len(elements) and elements[-1] >= self._index_count + self._supers[-1].stop:
            raise damaged("an extensible array has fewer elements than the dataset has chunks")
        index, direct, secondary = self._read_index_block(self._index_block)
        touched = self._touch(elements[elements >= self._index_count] - self._index_count)
        blocks = self._find_blocks(touched, direct, secondary)
        return Entries.join([index, self._elements.read([run for block in blocks for run in self._cut(block)])])

    def _read_index_block(self, address: int) -> tuple[Entries, list[int | None], list[int | None]]:
        """The elements of the index block, and the addresses of blocks and of secondary blocks in it."""
        secondary = len(self._supers) - self._direct_supers
        element_bytes = self._index_count * self._elements.size
        size = _PREFIX_BYTES + element_bytes + 8 * (self._direct_blocks + secondary) + CHECKSUM_BYTES
        cursor = Cursor.checked(self._source.read(address, size, _EXTENSIBLE), _EXTENSIBLE)
        cursor.expect(b"EAIB\0" + self._owner)
        entries = self._elements.parse(cursor.take(element_bytes), 0)
        direct = [cursor.address() for _ in range(self._direct_blocks)]
        return entries, direct, [cursor.address() for _ in range(secondary)]

    def _touch(self, elements: Numbers) -> dict[int, dict[int, list[int]]]:
        """The touched pages by super block and block; elements count from the end of the index block."""
        touched: dict[int, dict[int, list[int]]] = {}
        starts = np.array([each.start for each in self._supers])
        supers = np.searchsorted(starts, elements, side="right") - 1
        for number in np.unique(supers).tolist():
            each = self._supers[number]
            pages = np.unique((elements[supers == number] - each.start) // min(self._page, each.block_elements))
            in_block = max(1, each.block_elements // self._page)
            for page in pages.tolist():
                touched.setdefault(number, {}).setdefault(page // in_block, []).append(page % in_block)
        return touched

    def _find_blocks(
        self, touched: dict[int, dict[int, list[int]]], direct: list[int | None], secondary: list[int | None]
    ) -> list[_Block]:
        """The touched blocks that were ever written."""
        blocks = []
        for number in (number for number in touched if number < self._direct_supers):
            each = self._supers[number]
            for place, pages in touched[number].items():
                address = direct[each.first_block + place]
                if address is not None:
                    blocks.append(_Block(address, each, place, pages))
        addresses = {
            number: secondary[number - self._direct_supers] for number in touched if number >= self._direct_supers
        }
        known = [(number, address) for number, address in addresses.items() if address is not None]
        spans = [(address, self._secondary_bytes(self._supers[number])) for number, address in known]
        for (number, _), data in zip(known, self._source.read_many(spans, _EXTENSIBLE), strict=True):
            blocks += self._parse_secondary(data, self._supers[number], touched[number])
        return blocks

    def _secondary_bytes(self, each: _SuperBlock) -> int:
        bitmap_bytes = each.blocks * -(-self._pages(each) // 8)
        return _PREFIX_BYTES + self._offset_bytes + bitmap_bytes + 8 * each.blocks + CHECKSUM_BYTES

    def _pages(self, each: _SuperBlock) -> int:
        """The number of pages of a block; 0 if its elements are not cut into pages."""
        return each.block_elements // self._page if each.block_elements > self._page else 0

    def _parse_secondary(self, data: bytes, each: _SuperBlock, touched: dict[int, list[int]]) -> list[_Block]:
        cursor = Cursor.checked(data, _EXTENSIBLE)
        cursor.expect(b"EASB\0" + self._owner)
        cursor.take(self._offset_bytes)
        in_block = self._pages(each)
        bitmap = cursor.take(each.blocks * -(-in_block // 8))
        addresses = [cursor.address() for _ in range(each.blocks)]
        blocks = []
        for place, pages in touched.items():
            address = addresses[place]
            written = [page for page in pages if not in_block or _has_bit(bitmap, place * in_block + page)]
            if address is not None:
                blocks.append(_Block(address, each, place, written))
        return blocks

    def _cut(self, block: _Block) -> list[_Run]:
        """The runs of elements of a block that are to be read."""
        each = block.owner
        prefix = _PREFIX_BYTES + self._offset_bytes
        first = self._index_count + each.start + block.place * each.block_elements
        if not self._pages(each):
            return [_Run(block.address, prefix, first, each.block_elements, b"EADB\0" + self._owner)]
        # The prefix has a checksum of its own.
        start, page_bytes = prefix + CHECKSUM_BYTES, self._page * self._elements.size + CHECKSUM_BYTES
        return [
            _Run(block.address + start + page * page_bytes, 0, first + page * self._page, self._page)
            for page in block.pages
        ]


def _measure_super_blocks(most_bits: int, least_elements: int) -> list[_SuperBlock]:
    """The super blocks of an array of up to 2**most_bits elements."""
    supers: list[_SuperBlock] = []
    start = first_block = 0
    for number in range(2 + most_bits - least_elements.bit_length()):
        each = _SuperBlock(start, first_block, 1 << number // 2, least_elements << (number + 1) // 2)
        supers.append(each)
        start, first_block = each.stop, first_block + each.blocks
    return supers


def _has_bit(bitmap: bytes, number: int) -> bool:
    """Whether a bit is set; the first is the highest of the first byte."""
    return bool(bitmap[number // 8] & 0x80 >> number % 8)

"""HDF5: the superblock and the headers of objects, which consist of messages.

The files for types, layouts, filters, groups and attributes interpret the messages.
"""

from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass

from active_storage.errors import UnsupportedArray
from handler.containers.hdf5_source import (
    CHECKSUM_BYTES,
    SIGNATURE,
    Cursor,
    Hdf5Source,
    damaged,
    ensure_checksum,
)

# Types of messages.
DATASPACE = 0x01
LINK_INFO = 0x02
DATATYPE = 0x03
OLD_FILL_VALUE = 0x04
FILL_VALUE = 0x05
LINK = 0x06
EXTERNAL_FILES = 0x07
LAYOUT = 0x08
GROUP_INFO = 0x0A
FILTERS = 0x0B
ATTRIBUTE = 0x0C
SYMBOL_TABLE = 0x11
ATTRIBUTE_INFO = 0x15
_NOTHING = 0x00
_CONTINUATION = 0x10
_TREE_SIZES = 0x13
_DRIVER_INFO = 0x14
_CACHE_IMAGE = 0x18

# Flags of messages: the data is elsewhere; readers that do not know the type must not open the object.
SHARED, _MUST_KNOW = 0x02, 0x80
_HIGHEST_TYPE = 0x18

# More blocks of messages than any header has.
_MOST_BLOCKS = 1024
_MOST_HEADERS = 4096

_HEADER_V2 = b"OHDR"

# How much of a header is read ahead: its first messages, such as the data space, and mostly all of its first block.
_AHEAD_BYTES = 1024


@dataclass(frozen=True, slots=True)
class TreeSizes:
    """The sizes of nodes of version 1 B-trees. A full node has twice as many entries.

    Attributes:
        chunk_nodes: For chunks.
        group_nodes: For the links of groups.
        group_leaves: For the tables below these.
    """

    chunk_nodes: int = 32
    group_nodes: int = 16
    group_leaves: int = 4


_DEFAULT_SIZES = TreeSizes()


@dataclass(frozen=True, slots=True)
class Message:
    """A message of the header of an object.

    Attributes:
        type: What it is about.
        flags: Its flags.
        data: Its bytes.
    """

    type: int
    flags: int
    data: bytes

    @property
    def is_shared(self) -> bool:
        """Whether the data is a reference to the message, and not the message itself."""
        return bool(self.flags & SHARED)


@dataclass(frozen=True, slots=True)
class ObjectHeader:
    """The header of an object.

    Attributes:
        address: Where it lies, which identifies the object.
        messages: Its messages.
    """

    address: int
    messages: tuple[Message, ...]

    def all(self, kind: int) -> Iterator[Message]:
        """The messages of a type."""
        return (message for message in self.messages if message.type == kind)

    def find(self, kind: int) -> Message | None:
        """The first message of a type."""
        return next(self.all(kind), None)

    @property
    def is_dataset(self) -> bool:
        """Whether the object is a dataset."""
        return self.find(LAYOUT) is not None

    @property
    def is_group(self) -> bool:
        """Whether the object is a group."""
        return any(self.find(kind) for kind in (SYMBOL_TABLE, LINK_INFO, LINK, GROUP_INFO))


class Hdf5File:
    """A file, opened for one array.

    Args:
        source: Reads the file.
        array: The path of the array, for messages.

    Attributes:
        root: The address of the header of the root group.
        tree_sizes: The sizes of nodes of version 1 B-trees.

    Raises:
        UnsupportedArray: The file has a feature that is not supported.
        UndecodableData: The superblock is damaged, or the file is cut short.
    """

    def __init__(self, source: Hdf5Source, array: str) -> None:
        self.source = source
        self.array = array
        self.tree_sizes = _DEFAULT_SIZES
        self._headers: dict[int, ObjectHeader] = {}
        self.root = self._read_superblock()

    def for_section(self) -> "Hdf5File":
        """The same file, read with limits for one section."""
        section = copy(self)
        section.source = self.source.for_section()
        return section

    def read_ahead(self, addresses: Iterable[int]) -> None:
        """Read headers side by side that are going to be read one by one. Any address will do."""
        unknown = [(address, _AHEAD_BYTES) for address in addresses if address not in self._headers]
        self.source.read_ahead(unknown, "an object header")

    def refuse(self, feature: str) -> UnsupportedArray:
        """The error for a feature that is not supported."""
        return UnsupportedArray(self.array, feature)

    def header(self, address: int) -> ObjectHeader:
        """The header of an object.

        Raises:
            UndecodableData: There is none, or it is damaged.
        """
        if address not in self._headers:
            if len(self._headers) >= _MOST_HEADERS:
                self._headers.clear()
            self._headers[address] = ObjectHeader(address, tuple(self._messages(address)))
        return self._headers[address]

    def find_message(self, address: int, kind: int) -> Message | None:
        """The first message of a type in the header of an object, which is read as far as needed; None without one.

        Raises:
            UndecodableData: There is no header, or it is damaged.
        """
        if address in self._headers:
            return self._headers[address].find(kind)
        return next((message for message in self._messages(address) if message.type == kind), None)

    def _messages(self, address: int) -> Iterator[Message]:
        start = self.source.read_up_to(address, len(_HEADER_V2), "an object header")
        return self._read_v2(address) if start == _HEADER_V2 else self._read_v1(address)

    def message_data(self, message: Message) -> bytes:
        """The bytes of a message, which may be those of a committed data type.

        Raises:
            UnsupportedArray: They are in the file's table of shared messages.
            UndecodableData: They are not there.
        """
        return self.resolve(message.data, message.type) if message.is_shared else message.data

    def resolve(self, reference: bytes, kind: int) -> bytes:
        """The bytes of a message that is the first of its type in another object.

        Args:
            reference: What names the object.
            kind: The type of the message.

        Raises:
            UnsupportedArray: The message is in the file's table of shared messages.
            UndecodableData: It is not there.
        """
        cursor = Cursor(reference, "a shared message")
        version, place = cursor.uint(1), cursor.uint(1)
        if not 1 <= version <= 3:
            raise damaged(f"there is no version {version} of shared messages")
        if version == 3 and place == 1:
            raise self.refuse("shared object header messages")
        if version == 1:
            cursor.take(6)
        found = self.header(cursor.uint(8)).find(kind)
        if found is None or found.is_shared:
            raise damaged("a reference to a shared message leads to an object without it")
        return found.data

    # The superblock

    def _read_superblock(self) -> int:
        cursor = Cursor(self.source.read_up_to(0, 128, "the superblock"), "the superblock")
        cursor.expect(SIGNATURE)
        version = cursor.uint(1)
        if version > 3:
            raise self.refuse(f"version {version} of the superblock")
        if version < 2:
            return self._read_old_superblock(cursor, version)
        self._check_sizes(cursor.uint(1), cursor.uint(1))
        cursor.take(1)
        base, extension, stop, root = cursor.uint(8), cursor.address(), cursor.uint(8), cursor.uint(8)
        ensure_checksum(cursor.data[: cursor.place + CHECKSUM_BYTES], "the superblock")
        if extension is not None:
            self._read_extension(extension)
        self._check_extent(base, stop)
        return root

    def _read_old_superblock(self, cursor: Cursor, version: int) -> int:
        cursor.take(4)
        self._check_sizes(cursor.uint(1), cursor.uint(1))
        cursor.take(1)
        leaves, nodes = cursor.uint(2), cursor.uint(2)
        cursor.take(4)
        self._set_tree_sizes(cursor.uint(2) if version == 1 else _DEFAULT_SIZES.chunk_nodes, nodes, leaves)
        cursor.take(2 * version)
        base, _, stop, driver = cursor.uint(8), cursor.uint(8), cursor.uint(8), cursor.address()
        if driver is not None:
            raise self.refuse("a driver information block: it is one of several files")
        self._check_extent(base, stop)
        # The entry of the root group: the offset of its name, then its header.
        cursor.take(8)
        return cursor.uint(8)

    def _check_sizes(self, offset_bytes: int, length_bytes: int) -> None:
        if (offset_bytes, length_bytes) != (8, 8):
            raise self.refuse(f"offsets of {offset_bytes} bytes and lengths of {length_bytes}, not 8")

    def _check_extent(self, base: int, stop: int) -> None:
        # As in the library, addresses count from the superblock, and the end of the file moves with it.
        stop += self.source.base - base
        if stop > self.source.total_bytes:
            raise damaged(f"the file is cut short: it has {self.source.total_bytes} bytes, not {stop}")

    def _set_tree_sizes(self, chunk_nodes: int, group_nodes: int, group_leaves: int) -> None:
        if not chunk_nodes or not group_nodes or not group_leaves:
            raise damaged("the nodes of B-trees have no entries")
        self.tree_sizes = TreeSizes(chunk_nodes, group_nodes, group_leaves)

    def _read_extension(self, address: int) -> None:
        header = self.header(address)
        if header.find(_CACHE_IMAGE):
            raise self.refuse("a metadata cache image")
        if header.find(_DRIVER_INFO):
            raise self.refuse("driver information: it is one of several files")
        if sizes := header.find(_TREE_SIZES):
            cursor = Cursor(sizes.data, "the sizes of B-trees")
            cursor.expect(b"\0")
            self._set_tree_sizes(cursor.uint(2), cursor.uint(2), cursor.uint(2))

    # Headers of objects

    def _read_v1(self, address: int) -> Iterator[Message]:
        cursor = Cursor(self.source.read(address, 16, "an object header"), "an object header")
        cursor.expect(b"\1")
        cursor.take(1)
        count = cursor.uint(2)
        cursor.take(4)
        blocks = _Blocks(self.source, [(address + 16, cursor.uint(4))])
        for block in blocks:
            cursor = Cursor(block, "an object header")
            while count and cursor.left >= 8:
                kind, size, flags = cursor.uint(2), cursor.uint(2), cursor.uint(1)
                cursor.take(3)
                count -= 1
                yield from self._keep(Message(kind, flags, cursor.take(size)), blocks)

    def _read_v2(self, address: int) -> Iterator[Message]:
        prefix = Cursor(self.source.read_up_to(address, 34, "an object header"), "an object header")
        prefix.expect(_HEADER_V2 + b"\2")
        flags = prefix.uint(1)
        # Times, and the numbers of attributes at which their storage changes.
        prefix.take(16 * bool(flags & 0x20) + 4 * bool(flags & 0x10))
        size = prefix.uint(1 << (flags & 3))
        has_order = bool(flags & 4)
        blocks = _Blocks(self.source, [(address, prefix.place + size + CHECKSUM_BYTES)])
        start = prefix.place
        for block in blocks:
            plain = ensure_checksum(block, "an object header")
            cursor = Cursor(plain, "an object header")
            if start:
                cursor.take(start)
                start = 0
            else:
                cursor.expect(b"OCHK")
            # What is left at the end is a gap, too small for a message.
            while cursor.left >= 4 + 2 * has_order:
                kind, length, message_flags = cursor.uint(1), cursor.uint(2), cursor.uint(1)
                cursor.take(2 * has_order)
                yield from self._keep(Message(kind, message_flags, cursor.take(length)), blocks)

    def _keep(self, message: Message, blocks: "_Blocks") -> Iterator[Message]:
        if message.type == _CONTINUATION:
            cursor = Cursor(message.data, "an object header")
            blocks.add(cursor.uint(8), cursor.uint(8))
        elif message.type > _HIGHEST_TYPE and message.flags & _MUST_KNOW:
            raise self.refuse(f"a message of the unknown type {message.type}")
        elif message.type != _NOTHING:
            yield message


class _Blocks:
    """The blocks of messages of a header: the first one, and those that continuation messages add."""

    def __init__(self, source: Hdf5Source, spans: list[tuple[int, int]]) -> None:
        self._source = source
        self._spans = spans

    def add(self, address: int, size: int) -> None:
        """Read another block after those that are known.

        Raises:
            UndecodableData: There are too many, as in a header whose blocks point at each other.
        """
        if (address, size) in self._spans or len(self._spans) >= _MOST_BLOCKS:
            raise damaged("the blocks of an object header point at each other")
        self._spans.append((address, size))

    def __iter__(self) -> Iterator[bytes]:
        for address, size in self._spans:
            yield self._source.read(address, size, "an object header")

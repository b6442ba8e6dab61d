"""HDF5: version 2 B-trees, of links, attributes, heap objects and chunks.

A node has records in ascending order. An inner node has also a child before, between and after its records. All nodes
of a level are read together.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from active_storage.errors import EntityTooLarge
from handler.containers.hdf5_source import (
    CHECKSUM_BYTES,
    Cursor,
    Hdf5Source,
    count_bytes,
    damaged,
)

# Types of records.
HUGE_OBJECTS = 1
LINK_NAMES = 5
ATTRIBUTE_NAMES = 8
CHUNKS = 10
FILTERED_CHUNKS = 11

_HEADER_BYTES = 34 + CHECKSUM_BYTES

# Signature, version, type and checksum of a node.
_NODE_OVERHEAD = 10

# A tree of 2**63 records is not deeper.
_MOST_LEVELS = 63
_MOST_NODES = 100_000

Wanted = TypeVar("Wanted")


@dataclass(frozen=True, slots=True)
class _Node:
    """A node that is not read yet: where it is, and the number of its records."""

    address: int
    count: int


class Btree2:
    """A tree of records.

    Args:
        source: Reads the file.
        address: Where the header of the tree lies.
        kinds: The types of records that the tree may have.

    Attributes:
        kind: The type of its records.
        record_bytes: The size of a record.

    Raises:
        UndecodableData: The header is damaged, or of another tree.
    """

    def __init__(self, source: Hdf5Source, address: int, *kinds: int) -> None:
        self._source = source
        cursor = Cursor.checked(source.read(address, _HEADER_BYTES, "a B-tree"), "a B-tree")
        cursor.expect(b"BTHD\0")
        self.kind = cursor.uint(1)
        if self.kind not in kinds:
            raise damaged(f"a B-tree has records of type {self.kind}")
        self._node_bytes, self.record_bytes, self._depth = cursor.uint(4), cursor.uint(2), cursor.uint(2)
        cursor.take(2)
        root, count = cursor.address(), cursor.uint(2)
        total = cursor.uint(8)
        if self._depth > _MOST_LEVELS or self.record_bytes < 1:
            raise damaged("a B-tree has more levels than is possible, or empty records")
        if root is None and total:
            raise damaged("a B-tree has records, but no node")
        self._root = None if root is None else _Node(root, count)
        self._most_records, self._pointer_bytes = self._measure()

    def _measure(self) -> tuple[list[int], list[tuple[int, int]]]:
        """For each level, the most records of a node; and the sizes of the two counts of a pointer to such a node."""
        most = [(self._node_bytes - _NODE_OVERHEAD) // self.record_bytes]
        count_size = count_bytes(max(0, most[0]))
        pointers = [(count_size, 0)]
        total = most[0]
        for _ in range(self._depth):
            pointer_bytes = 8 + sum(pointers[-1])
            most.append((self._node_bytes - _NODE_OVERHEAD - pointer_bytes) // (self.record_bytes + pointer_bytes))
            total = (most[-1] + 1) * total + most[-1]
            pointers.append((count_size, count_bytes(max(0, total))))
        if min(most) < 1:
            raise damaged("the nodes of a B-tree are too small for its records")
        return most, pointers

    def descend(
        self, wanted: Wanted, split: Callable[[bytes, Wanted], Sequence[Wanted | None]]
    ) -> Iterator[tuple[bytes, Wanted]]:
        """The records of the nodes from the root to the leaves, and what is wanted of them.

        Args:
            wanted: What the caller looks for in the tree.
            split: From the records of an inner node and what is wanted of it, what is wanted of each of its children;
                None for a child that has nothing of it. There is one child more than records.

        Raises:
            UndecodableData: A node is damaged.
            EntityTooLarge: The nodes are too many.
        """
        nodes = [] if self._root is None else [(self._root, wanted)]
        for level in range(self._depth, -1, -1):
            blocks = self._read_level([node for node, _ in nodes], level)
            below: list[tuple[_Node, Wanted]] = []
            for (node, part), block in zip(nodes, blocks, strict=True):
                cursor = Cursor.checked(block, "a node of a B-tree")
                cursor.expect((b"BTIN" if level else b"BTLF") + bytes([0, self.kind]))
                records = cursor.take(node.count * self.record_bytes)
                yield records, part
                if not level:
                    continue
                children = self._parse_children(cursor, node.count + 1, level)
                parts = split(records, part)
                below += [(child, each) for child, each in zip(children, parts, strict=True) if each is not None]
                if len(below) > _MOST_NODES:
                    raise EntityTooLarge(f"a level of a B-tree has more than {_MOST_NODES} nodes")
            nodes = below

    def _read_level(self, nodes: Sequence[_Node], level: int) -> list[bytes]:
        spans = []
        for node in nodes:
            if node.count > self._most_records[level]:
                raise damaged("a node of a B-tree has more records than it has room for")
            size = _NODE_OVERHEAD + node.count * self.record_bytes
            if level:
                size += (node.count + 1) * self._pointer_size(level)
            spans.append((node.address, size))
        return self._source.read_many(spans, "a node of a B-tree")

    def _pointer_size(self, level: int) -> int:
        """The size of a pointer in a node of this level."""
        return 8 + sum(self._pointer_bytes[level - 1])

    def _parse_children(self, cursor: Cursor, count: int, level: int) -> list[_Node]:
        count_size, total_size = self._pointer_bytes[level - 1]
        children = []
        for _ in range(count):
            children.append(_Node(cursor.uint(8), cursor.uint(count_size)))
            cursor.take(total_size)
        return children

    def all_records(self) -> Iterator[bytes]:
        """All records. Those of inner nodes come before those of their children."""
        size = self.record_bytes
        for records, _ in self.descend(True, lambda records, _: [True] * (len(records) // size + 1)):
            yield from (records[start : start + size] for start in range(0, len(records), size))

    def find(self, key: int, read_key: Callable[[bytes], int]) -> Iterator[bytes]:
        """The records with a key, of which there may be several.

        Args:
            key: The key.
            read_key: From a record to its key, by which the records are in ascending order.
        """
        size = self.record_bytes

        def keys(records: bytes) -> list[int]:
            return [read_key(records[start : start + size]) for start in range(0, len(records), size)]

        def split(records: bytes, _: bool) -> list[bool | None]:
            found = keys(records)
            lower, upper = [0, *found], [*found, key]
            return [True if low <= key <= high else None for low, high in zip(lower, upper, strict=True)]

        for records, _ in self.descend(True, split):
            for number, each in enumerate(keys(records)):
                if each == key:
                    yield records[number * size : (number + 1) * size]

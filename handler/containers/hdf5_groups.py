"""HDF5: groups and their links, from a path to an object.

Old groups have a version 1 B-tree of names. New ones have their links in the header or, if there are many, in a fractal
heap with a version 2 B-tree of the hashes of their names.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from active_storage.errors import EntityTooLarge, shown
from handler.codecs.checksum import lookup3
from handler.containers.hdf5_btree2 import LINK_NAMES, Btree2
from handler.containers.hdf5_file import LINK, LINK_INFO, SYMBOL_TABLE, Hdf5File, ObjectHeader
from handler.containers.hdf5_heaps import FractalHeap, LocalHeap
from handler.containers.hdf5_source import Cursor, damaged

HARD, _SOFT, _EXTERNAL = 0, 1, 64

# The number of soft links that HDF5 itself follows.
_MOST_SOFT_LINKS = 16

# Old groups: the start of a node of the B-tree, a key with a child, the start of a node of the table, an entry.
_TREE_BYTES, _CHILD_BYTES, _TABLE_BYTES, _ENTRY_BYTES = 24, 16, 8, 40
_MOST_LEVELS = 16

# A B-tree of names with more nodes takes more memory than a request should.
_MOST_NODES = 100_000


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a group.

    Attributes:
        name: Its name.
        kind: ``HARD``, ``_SOFT``, ``_EXTERNAL``, or another number for one that a user defined.
        address: For a hard link, the address of the header of the object.
        path: For a soft link, the path of the object.
    """

    name: bytes
    kind: int
    address: int = 0
    path: bytes = b""


@dataclass(frozen=True, slots=True)
class Found:
    """The object that a path leads to.

    Attributes:
        header: The header of the object.
        groups: The groups on the way to it, from the root; the last one holds the link.
        name: The name of the link.
    """

    header: ObjectHeader
    groups: tuple[ObjectHeader, ...]
    name: bytes


class Groups:
    """The groups of a file.

    Args:
        file: The file.
    """

    def __init__(self, file: Hdf5File) -> None:
        self._file = file
        self._soft_links = 0

    def find(self, path: bytes, groups: tuple[ObjectHeader, ...] = ()) -> Found | None:
        """The object that a path leads to; None if there is no such object.

        Args:
            path: The path.
            groups: Where it begins: a group after those that hold it. By default, and for a path with a leading slash,
                the root group.

        Raises:
            UnsupportedArray: The path leads to another file, or through too many soft links.
            UndecodableData: A group is damaged.
        """
        if not groups:
            self._soft_links = 0
        if path.startswith(b"/") or not groups:
            groups = (self._file.header(self._file.root),)
        found = Found(groups[-1], groups, b"")
        for name in (part for part in path.split(b"/") if part not in {b"", b"."}):
            if not found.header.is_group:
                return None
            groups = found.groups if found.header is found.groups[-1] else (*found.groups, found.header)
            link = self.link(found.header, name)
            step = None if link is None else self._follow(link, groups)
            if step is None:
                return None
            found = step
        return found

    def _follow(self, link: Link, groups: tuple[ObjectHeader, ...]) -> Found | None:
        if link.kind == HARD:
            return Found(self._file.header(link.address), groups, link.name)
        name = shown(link.name.decode(errors="replace"))
        if link.kind == _EXTERNAL:
            raise self._file.refuse(f"the external link {name} in its path")
        if link.kind != _SOFT:
            raise self._file.refuse(f"the user-defined link {name} in its path")
        self._soft_links += 1
        if self._soft_links > _MOST_SOFT_LINKS:
            raise self._file.refuse(f"more than {_MOST_SOFT_LINKS} soft links in its path")
        return self.find(link.path, groups)

    def link(self, group: ObjectHeader, name: bytes) -> Link | None:
        """The link of a group with a name; None if there is none."""
        if info := group.find(LINK_INFO):
            return next((link for link in self._dense(info.data, name) if link.name == name), None) or next(
                (link for link in self._compact(group) if link.name == name), None
            )
        return next((link for link in self.links(group) if link.name == name), None)

    def links(self, group: ObjectHeader) -> Iterator[Link]:
        """All links of a group."""
        yield from self._compact(group)
        if info := group.find(LINK_INFO):
            yield from self._dense(info.data, None)
        if table := group.find(SYMBOL_TABLE):
            yield from self._old(table.data)

    def _compact(self, group: ObjectHeader) -> Iterator[Link]:
        return (_parse_link(message.data) for message in group.all(LINK))

    def _dense(self, info: bytes, name: bytes | None) -> Iterator[Link]:
        """The links in the heap of a group; with a name, those whose names have the same hash."""
        cursor = Cursor(info, "the place of links")
        cursor.expect(b"\0")
        # The largest creation order.
        cursor.take(8 * (cursor.uint(1) & 1))
        heap_address, tree_address = cursor.address(), cursor.address()
        if heap_address is None or tree_address is None:
            return
        heap = FractalHeap(self._file.source, heap_address)
        tree = Btree2(self._file.source, tree_address, LINK_NAMES)
        records = tree.all_records() if name is None else tree.find(lookup3(name), _read_hash)
        for record in records:
            yield _parse_link(heap.find(record[4:]))

    def _old(self, table: bytes) -> Iterator[Link]:
        cursor = Cursor(table, "a symbol table")
        tree, heap = cursor.uint(8), LocalHeap(self._file.source, cursor.uint(8))
        previous = b""
        for entry in self._entries(tree):
            cursor = Cursor(entry, "a symbol table")
            name, address, kind = heap.name(cursor.uint(8)), cursor.uint(8), cursor.uint(4)
            if name <= previous:
                # There is no checksum that would show a wrong address of the heap.
                raise damaged("the names in a group are not in order")
            previous = name
            cursor.take(4)
            # The entry of a soft link has the place of its path in the heap.
            yield Link(name, _SOFT, path=heap.name(cursor.uint(4))) if kind == 2 else Link(name, HARD, address)

    def _entries(self, tree: int) -> Iterator[bytes]:
        """The entries of an old group: from the root of its B-tree to the nodes of the table, level by level."""
        read_many, sizes = self._file.source.read_many, self._file.tree_sizes
        node_bytes = _TREE_BYTES + 2 * sizes.group_nodes * _CHILD_BYTES
        table_bytes = _TABLE_BYTES + 2 * sizes.group_leaves * _ENTRY_BYTES
        addresses, level = [tree], None
        while addresses and level != 0:
            below: list[int] = []
            for block in read_many([(address, node_bytes) for address in addresses], "a B-tree"):
                cursor = Cursor(block, "a B-tree")
                cursor.expect(b"TREE\0")
                found, count = cursor.uint(1), cursor.uint(2)
                if found > _MOST_LEVELS or level not in {None, found + 1}:
                    raise damaged("a B-tree has a node of another level than its parent says")
                # The neighbours. Then each child lies between two keys, which are places of names in the heap.
                cursor.take(16)
                below += [int.from_bytes(cursor.take(_CHILD_BYTES)[8:], "little") for _ in range(count)]
            if len(below) > _MOST_NODES:
                raise EntityTooLarge(f"a group has a level of more than {_MOST_NODES} nodes")
            addresses, level = below, found
        for block in read_many([(address, table_bytes) for address in addresses], "a symbol table"):
            cursor = Cursor(block, "a symbol table")
            cursor.expect(b"SNOD\1")
            cursor.take(1)
            for _ in range(cursor.uint(2)):
                yield cursor.take(_ENTRY_BYTES)


def _read_hash(record: bytes) -> int:
    return int.from_bytes(record[:4], "little")


def _parse_link(data: bytes) -> Link:
    cursor = Cursor(data, "a link")
    cursor.expect(b"\1")
    flags = cursor.uint(1)
    kind = cursor.uint(1) if flags & 8 else HARD
    # The order of creation, and the character set of the name.
    cursor.take(8 * bool(flags & 4) + bool(flags & 16))
    name = cursor.take(cursor.uint(1 << (flags & 3)))
    if kind == HARD:
        return Link(name, kind, cursor.uint(8))
    return Link(name, kind, path=cursor.take(cursor.uint(2)))

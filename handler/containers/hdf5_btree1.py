"""HDF5: version 1 B-trees of chunks, the index of chunks in all but the newest versions of the format.

Nodes hold chunks, or children, in the C order of the grid, and the key of each: the size, the mask and the first
element of a chunk. All nodes of a level that touched chunks need are read together. The format has no checksums, but
the order of the keys can be checked.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from handler.containers.hdf5_chunks import ChunkGrid, Entries
from handler.containers.hdf5_file import Hdf5File
from handler.containers.hdf5_source import Cursor, damaged
from handler.containers.stored_array import Numbers

# The entries of a node.
Rows = npt.NDArray[Any]

_WHAT = "a B-tree"
_HEADER_BYTES = 24
_OF_CHUNKS = 1


@dataclass(frozen=True, slots=True)
class _Node:
    """A node that is not read yet.

    Attributes:
        address: Where it lies.
        wanted: The touched chunks that lie below it, ascending.
        low: The smallest number that its keys can have.
        high: The largest number that its keys can have.
    """

    address: int
    wanted: Numbers
    low: int
    high: int


class ChunkTree1:
    """The index of a dataset.

    Args:
        file: The file.
        address: Where the root of the tree lies.
        grid: The grid of chunks.
    """

    def __init__(self, file: Hdf5File, address: int, grid: ChunkGrid) -> None:
        self._source = file.source
        self._root = address
        self._grid = grid
        self._most = 2 * file.tree_sizes.chunk_nodes
        # The offset of the element inside itself, always 0, is a dimension of the key as well.
        self._key_bytes = 8 + 8 * (len(grid.shape) + 1)
        self._row = np.dtype(
            [("size", "<u4"), ("mask", "<u4"), ("start", "<u8", (len(grid.shape) + 1,)), ("child", "<u8")]
        )

    def find(self, chunks: Numbers) -> Entries:
        """What the index says of some chunks, and of others in the same nodes; see ``ChunkFinder``."""
        parts = []
        nodes = [_Node(self._root, chunks, 0, self._grid.count)]
        level = None
        while nodes:
            spans = [(node.address, self._node_bytes) for node in nodes]
            blocks = self._source.read_many(spans, _WHAT)
            below = []
            for node, block in zip(nodes, blocks, strict=True):
                found_level, rows, keys = self._parse(block)
                if level not in {None, found_level}:
                    raise damaged("a B-tree has a node of another level than its parent says")
                level = found_level
                self._ensure_order(keys, node)
                if level:
                    below += _choose_children(node, rows["child"], keys)
                else:
                    parts.append(self._read_leaf(rows, keys[:-1]))
            nodes = below
            level = None if level is None else level - 1
        return Entries.join(parts)

    @property
    def _node_bytes(self) -> int:
        return _HEADER_BYTES + self._most * self._row.itemsize + self._key_bytes

    def _parse(self, block: bytes) -> tuple[int, Rows, Numbers]:
        """The level of a node, its entries, and as many keys as numbers of chunks, with one more at the end."""
        cursor = Cursor(block, _WHAT)
        cursor.expect(b"TREE" + bytes([_OF_CHUNKS]))
        level, count = cursor.uint(1), cursor.uint(2)
        if count > self._most:
            raise damaged("a node of a B-tree has more entries than it has room for")
        # The addresses of the neighbours, which a walk from the root does not need.
        cursor.take(16)
        rows = np.frombuffer(cursor.take(count * self._row.itemsize), self._row)
        last = np.frombuffer(cursor.take(self._key_bytes)[8:], "<u8")
        starts, inside = np.split(np.concatenate([rows["start"], last[np.newaxis]]), [-1], axis=1)
        shape = np.array(self._grid.chunks, np.uint64)
        if np.any(starts % shape) or np.any(inside[:-1]):
            raise damaged("a key of a B-tree is not the first element of a chunk")
        coordinates = starts // shape
        if not level:
            self._grid.ensure_inside(coordinates[:-1])
        # The last key lies behind the last chunk: at the end of its element, or further.
        keys = self._grid.flatten(coordinates) + (inside[:, 0] != 0)
        return level, rows, np.minimum(keys, self._grid.count)

    @staticmethod
    def _ensure_order(keys: Numbers, node: _Node) -> None:
        if np.any(keys[1:] <= keys[:-1]) or keys[0] < node.low or keys[-1] > node.high:
            raise damaged("the keys of a B-tree are not in order")

    def _read_leaf(self, rows: Rows, numbers: Numbers) -> Entries:
        sizes, masks = (rows[name].astype(np.uint64) for name in ("size", "mask"))
        if not self._grid.is_filtered and np.any(sizes != self._grid.chunk_bytes):
            raise damaged("a chunk without filters has another size than its shape")
        return Entries(numbers, rows["child"].astype(np.uint64), sizes, masks)


def _choose_children(node: _Node, addresses: Rows, keys: Numbers) -> list[_Node]:
    """The children that hold wanted chunks: a child holds those from its key to before the next one."""
    cuts = np.searchsorted(node.wanted, keys)
    return [
        _Node(int(addresses[place]), node.wanted[cuts[place] : cuts[place + 1]], int(keys[place]), int(keys[place + 1]))
        for place in np.flatnonzero(cuts[1:] > cuts[:-1])
    ]

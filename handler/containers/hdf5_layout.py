"""HDF5: how the data of a dataset is laid out: contiguous, in the header itself, or in chunks with an index."""

from dataclasses import dataclass

from handler.containers.hdf5_file import Hdf5File
from handler.containers.hdf5_source import Cursor, damaged

COMPACT, CONTIGUOUS, CHUNKED = 0, 1, 2
_VIRTUAL = 3

# Kinds of chunk indexes. The version 1 B-tree has no number in the file: older layouts have no other.
BTREE_1, SINGLE, IMPLICIT, FIXED_ARRAY, EXTENSIBLE_ARRAY, BTREE_2 = range(6)

# Flags of chunked layouts: partial chunks at the edge are stored without filters; a single chunk is filtered.
_PLAIN_EDGES, _FILTERED_SINGLE = 0x01, 0x02


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of a dataset.

    Attributes:
        kind: ``COMPACT``, ``CONTIGUOUS`` or ``CHUNKED``.
        address: Where the data or the index lies; None if there is none.
        size: The size of contiguous data, or of a single chunk with filters; None if the layout does not say.
        data: The data of a compact dataset.
        chunks: The shape of a chunk, and the size of an element as the last number.
        index: The kind of the index of chunks.
        has_plain_edges: Whether partial chunks at the edge are stored without filters.
        mask: Of a single chunk: the filters that were skipped, as bits.
    """

    kind: int
    address: int | None = None
    size: int | None = None
    data: bytes = b""
    chunks: tuple[int, ...] = ()
    index: int = BTREE_1
    has_plain_edges: bool = False
    mask: int = 0


def parse_layout(file: Hdf5File, data: bytes) -> Layout:
    """The layout that a message describes.

    Args:
        file: The file, for messages.
        data: The bytes of the message.

    Raises:
        UnsupportedArray: The dataset is virtual, or the message has an unknown version.
        UndecodableData: The message is damaged.
    """
    cursor = Cursor(data, "a layout")
    version = cursor.uint(1)
    if version in {1, 2}:
        return _parse_old(cursor)
    if version not in {3, 4, 5}:
        raise file.refuse(f"a layout of version {version}")
    kind = cursor.uint(1)
    if kind == COMPACT:
        return Layout(kind, data=cursor.take(cursor.uint(2)))
    if kind == CONTIGUOUS:
        return Layout(kind, cursor.address(), cursor.uint(8))
    if kind == _VIRTUAL:
        raise file.refuse("a virtual layout, whose data is that of other datasets")
    if kind != CHUNKED:
        raise damaged(f"there is no layout of class {kind}")
    if version == 3:
        rank = cursor.uint(1)
        address = cursor.address()
        return Layout(kind, address, chunks=tuple(cursor.uint(4) for _ in range(rank)))
    return _parse_chunked(file, cursor)


def _parse_old(cursor: Cursor) -> Layout:
    rank, kind = cursor.uint(1), cursor.uint(1)
    cursor.take(5)
    if kind not in {COMPACT, CONTIGUOUS, CHUNKED}:
        raise damaged(f"there is no layout of class {kind}")
    address = None if kind == COMPACT else cursor.address()
    sizes = tuple(cursor.uint(4) for _ in range(rank))
    if kind == COMPACT:
        return Layout(kind, data=cursor.take(cursor.uint(4)))
    return Layout(kind, address, chunks=sizes if kind == CHUNKED else ())


def _parse_chunked(file: Hdf5File, cursor: Cursor) -> Layout:
    flags, rank, width = cursor.uint(1), cursor.uint(1), cursor.uint(1)
    chunks = tuple(cursor.uint(width) for _ in range(rank))
    index = cursor.uint(1)
    size, mask = None, 0
    if index == SINGLE:
        if flags & _FILTERED_SINGLE:
            size, mask = cursor.uint(8), cursor.uint(4)
    elif index in _PARAMETER_BYTES:
        # The index itself has these again.
        cursor.take(_PARAMETER_BYTES[index])
    else:
        raise file.refuse(f"an index of chunks of type {index}")
    return Layout(
        CHUNKED, cursor.address(), size, b"", chunks, index, has_plain_edges=bool(flags & _PLAIN_EDGES), mask=mask
    )


# The creation parameters of an index in the layout.
_PARAMETER_BYTES = {IMPLICIT: 0, FIXED_ARRAY: 1, EXTENSIBLE_ARRAY: 5, BTREE_2: 6}

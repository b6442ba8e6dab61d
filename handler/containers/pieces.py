"""Data that is stored without chunks, cut into pieces of whole rows that serve as chunks.

netCDF-3 and HDF5's contiguous layout store an array in one run of bytes, or in a run for each record. Pieces of about
1 MiB let a large array be read with constant memory, and a selection be read without the rest.
"""

import math
from dataclasses import dataclass

import numpy as np

from handler.containers.stored_array import ChunkObject, Numbers, Places

# A block of the kernels: larger pieces take more memory, and smaller ones more requests.
_PIECE_BYTES = 1 << 20


def cut_rows(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """The shape of pieces of about 1 MiB, each of which is one run of bytes in C order.

    The first dimension whose rows have at most 1 MiB is cut into pieces of several rows. Pieces have one index of the
    dimensions before it, and all of those behind it.

    Args:
        shape: The shape of the array.
        itemsize: The size of an element, in bytes.
    """
    if 0 in shape:
        return tuple(max(1, size) for size in shape)
    row_bytes = itemsize * math.prod(shape)
    for axis, size in enumerate(shape):
        row_bytes //= size
        if row_bytes <= _PIECE_BYTES:
            pieces = -(-size // (_PIECE_BYTES // row_bytes))
            return (1,) * axis + (-(-size // pieces),) + shape[axis + 1 :]
    return ()


def c_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """The distances of neighbours along each dimension in C order, in bytes."""
    return tuple(itemsize * math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


@dataclass(frozen=True)
class PieceIndex:
    """The places of pieces, each of which is one run of bytes. A piece at the edge ends at the edge.

    Attributes:
        chunk_object: The object that holds them.
        start: The first byte of the array in the object.
        shape: The shape of the array.
        chunks: The shape of a piece.
        strides: The distances of neighbours along each dimension, in bytes.
        itemsize: The size of an element, in bytes.
    """

    chunk_object: ChunkObject
    start: int
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    strides: tuple[int, ...]
    itemsize: int

    def locate(self, chunks: Numbers) -> Places:
        """The places of pieces, by arithmetic; see ``ChunkIndex``."""
        offsets = np.full(len(chunks), self.start, np.int64)
        sizes = np.full(len(chunks), self.itemsize, np.int64)
        rest = chunks
        for size, chunk, stride in reversed(list(zip(self.shape, self.chunks, self.strides, strict=True))):
            rest, place = np.divmod(rest, -(-size // chunk))
            offsets += place * (chunk * stride)
            sizes *= np.minimum(chunk, size - place * chunk)
        return Places([self.chunk_object], np.zeros(len(chunks), np.int64), offsets, sizes)

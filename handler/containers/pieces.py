"""Data that is stored without chunks, cut into pieces of whole rows that serve as chunks.

netCDF-3 and HDF5's contiguous layout store an array in one run of bytes, or in a run for each record. Pieces let a
large array be read with constant memory, and a selection be read without the rest.
"""

import math
from dataclasses import dataclass

import numpy as np

from handler.containers.stored_array import ChunkObject, Numbers, Places

# As float64, a block of the kernels: larger pieces take more memory, and smaller ones more requests. It is a number of
# elements, so that arrays of the same shape have the same pieces, and can be combined.
_PIECE_ELEMENTS = 1 << 17


def cut_rows(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of pieces of about 131,072 elements, each of which is one run of bytes in C order.

    The first dimension whose rows have at most as many elements is cut into pieces of several rows. Pieces have one
    index of the dimensions before it, and all of those behind it.

    Args:
        shape: The shape of the array.
    """
    if 0 in shape:
        return tuple(max(1, size) for size in shape)
    row_elements = math.prod(shape)
    for axis, size in enumerate(shape):
        row_elements //= size
        if row_elements <= _PIECE_ELEMENTS:
            pieces = -(-size // (_PIECE_ELEMENTS // row_elements))
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

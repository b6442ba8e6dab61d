"""From the bytes of a stream to blocks of elements, in the machine's byte order.

One buffer is filled, reduced and filled again, so that it stays in the processor's cache, and memory does not grow with
the object. A block is always filled to its end before it is reduced. The sizes of the network's reads therefore have no
effect on the arithmetic: the same bytes give the same bits.
"""

import math
import mmap
from typing import Any

import numpy as np

from active_storage.errors import InvalidArgument
from active_storage.model.dtypes import DTYPES
from active_storage.model.spec import ReductionSpec
from handler.codecs.readable import Block, Readable, fill


class Buffers:
    """Memory for blocks, which is reused. Threads may share it.

    Args:
        block_bytes: The size of a buffer.
    """

    def __init__(self, block_bytes: int) -> None:
        self.block_bytes = block_bytes
        # The free buffers. The last used one is last, since it is still in the cache. There are at most as many as
        # there were readers at the same time. append and pop are atomic, so that threads need no lock.
        self._spare: list[memoryview] = []

    def take(self) -> memoryview:
        """A buffer for one reader, until it is given back."""
        try:
            return self._spare.pop()
        except IndexError:
            # Whole pages: the kernel copies faster to the beginning of a page.
            return memoryview(mmap.mmap(-1, self.block_bytes))

    def give_back(self, buffer: memoryview) -> None:
        """Keep a buffer for the next reader."""
        self._spare.append(buffer)


class BlockReader:
    """The elements of an array, read front to back.

    Args:
        stream: The bytes of the elements from ``start`` to ``stop``.
        spec: The reduction, with the data type and the byte order of the source.
        start: The first element of the stream, counted from the beginning of the array.
        stop: The element after its last.
        buffers: The memory of blocks.
    """

    def __init__(self, stream: Readable, spec: ReductionSpec, start: int, stop: int, buffers: Buffers) -> None:
        self._stream = stream
        self._dtype = storage_dtype(spec.dtype)
        self._is_swapped = not self._dtype.newbyteorder(spec.byte_order).isnative
        self._is_bool = spec.dtype == "bool"
        self._position = start
        self._stop = stop
        self._buffers = buffers
        self._buffer = buffers.take()
        self._views: dict[tuple[int, ...], Block] = {}

    def read(self, first: int, shape: tuple[int, ...]) -> Block:
        """The elements from ``first`` on, in native byte order. Elements that the stream does not hold are undefined.

        The block is a view of the same memory as the last one. Bytes are swapped in place, and only bools are copied.

        Args:
            first: The first element, not before the end of the last block.
            shape: The shape of the block, which fits a buffer.

        Raises:
            InvalidArgument: The stream ends too early.
        """
        count = math.prod(shape)
        size = self._dtype.itemsize
        begin, end = max(first, self._position), min(first + count, self._stop)
        self._skip((begin - self._position) * size)
        self._fill(self._buffer[(begin - first) * size : (end - first) * size])
        self._position = end
        block = self._views.get(shape)
        if block is None:
            block = self._views[shape] = np.frombuffer(self._buffer, self._dtype, count).reshape(shape)
        if self._is_swapped:
            block.reshape(-1)[begin - first : end - first].byteswap(inplace=True)
        return block != 0 if self._is_bool else block

    def close(self) -> None:
        """Give the memory of the blocks to the next reader. Earlier blocks must not be used any more."""
        self._views.clear()
        self._buffers.give_back(self._buffer)
        self._buffer = memoryview(b"")

    def finish(self) -> None:
        """Read to the end of the stream, where a decoder checks its checksum.

        Raises:
            InvalidArgument: The stream has more or fewer elements than the shape.
        """
        self._skip((self._stop - self._position) * self._dtype.itemsize)
        if self._stream.readinto(memoryview(bytearray(1))):
            raise InvalidArgument("shape", "has fewer elements than the data")

    def _skip(self, count: int) -> None:
        while count:
            piece = self._buffer[: min(count, len(self._buffer))]
            self._fill(piece)
            count -= len(piece)

    def _fill(self, buffer: memoryview) -> None:
        if fill(self._stream, buffer) < len(buffer):
            raise InvalidArgument("shape", "has more elements than the data")


def storage_dtype(dtype: str) -> np.dtype[Any]:
    """The data type in which stored elements are read, in the machine's byte order.

    numpy's kernels disagree about bools whose byte is neither 0 nor 1. Therefore bools are read as numbers, and every
    number except 0 is true, as in C and HDF5.
    """
    return np.dtype(np.uint8) if dtype == "bool" else DTYPES[dtype]

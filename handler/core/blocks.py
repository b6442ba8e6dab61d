"""Bytes that arrive become numbers: whole elements, in the machine's byte order, a block at a time.

One buffer is filled, handed out and filled again, so that it stays in the CPU's cache and memory does not grow with the
object. A block is always filled to its end before it is handed out: what the network's reads were cut into never
reaches the arithmetic, and the same bytes give the same result to the last bit.
"""

import math
import mmap
from typing import Any, Protocol

import numpy as np

from handler.errors import InvalidArgument
from handler.spec import DTYPES, ReductionSpec

# Large enough that a block's fixed costs (some 15 µs of Python, in which no other thread of the process has the
# interpreter) vanish beside its bytes, small enough for the L2 cache of a core, and a multiple of every element's size.
BLOCK_BYTES = 1024 * 1024

# Buffers that nobody uses now, the last used one last: it is still in the cache, and its pages are there. No more than
# there were readers at a time. Appending and taking are single steps, so that threads need no lock.
_spare_buffers: list[memoryview] = []

Block = np.ndarray[tuple[int, ...], np.dtype[Any]]


class Readable(Protocol):
    """Where bytes come from, seen from here."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill some of ``buffer``; how many bytes, 0 only where the data ends."""


def fill(source: Readable, buffer: memoryview) -> int:
    """Fill all of ``buffer``; how many bytes, fewer only where the data ends."""
    filled = 0
    while filled < len(buffer) and (read := source.readinto(buffer[filled:])):
        filled += read
    return filled


class Held:
    """Bytes in memory, read like any others."""

    def __init__(self, data: memoryview) -> None:
        self._data = data

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill some of ``buffer``; 0 where there is no more."""
        count = min(len(buffer), len(self._data))
        buffer[:count] = self._data[:count]
        self._data = self._data[count:]
        return count


class BlockReader:
    """The elements of an array, read front to back.

    Args:
        stream: The bytes of the elements from ``start`` to ``stop``.
        spec: Gives the data type and the byte order of the source.
        start: The first element that the stream holds, counted from the beginning of the array.
        stop: The first that it no longer holds.
    """

    def __init__(self, stream: Readable, spec: ReductionSpec, start: int, stop: int) -> None:
        self._stream = stream
        self._dtype = _storage_dtype(spec)
        self._is_swapped = not self._dtype.newbyteorder(spec.byte_order).isnative
        self._is_bool = spec.dtype == "bool"
        self._position = start
        self._stop = stop
        self._buffer = _take_buffer()
        self._views: dict[tuple[int, ...], Block] = {}

    def read(self, first: int, shape: tuple[int, ...]) -> Block:
        """The elements from ``first`` on, in native byte order; those that the stream does not hold are anything.

        The block is a view of the same memory as the last one. Swaps bytes in place; copies nothing, but bools.

        Args:
            first: Where to begin, not before the end of the last block.
            shape: Of the block, which fits ``BLOCK_BYTES``.

        Raises:
            InvalidArgument: The stream ends before the elements that it should hold.
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
        """Give the memory of the blocks to the next reader. Nothing that was read is used after that."""
        self._views.clear()
        _spare_buffers.append(self._buffer)
        self._buffer = memoryview(b"")

    def finish(self) -> None:
        """Read to the end of the stream, so that whatever is checked there is checked.

        Raises:
            InvalidArgument: There is more than the elements, or less.
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


def _take_buffer() -> memoryview:
    try:
        return _spare_buffers.pop()
    except IndexError:
        # Whole pages: the kernel copies faster to where one begins.
        return memoryview(mmap.mmap(-1, BLOCK_BYTES))


def _storage_dtype(spec: ReductionSpec) -> np.dtype[Any]:
    # A byte other than 0 and 1 is no bool to numpy's kernels (some pass it through, some do not), so that bytes are
    # read as numbers, and every one that is not 0 is true, as in C and HDF5.
    return np.dtype(np.uint8) if spec.dtype == "bool" else DTYPES[spec.dtype]

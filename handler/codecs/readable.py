"""Where bytes come from, seen from a decoder: filled into the caller's buffer."""

from typing import Any, Protocol

import numpy as np

# Numbers in memory, of any shape.
Block = np.ndarray[tuple[int, ...], np.dtype[Any]]


class Readable(Protocol):
    """A stream of bytes."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill some of ``buffer``; how many bytes, 0 only where the data ends."""


def fill(source: Readable, buffer: memoryview) -> int:
    """Fill all of ``buffer``; how many bytes, fewer only where the data ends."""
    filled = 0
    while filled < len(buffer) and (read := source.readinto(buffer[filled:])):
        filled += read
    return filled


class MemoryReader:
    """Bytes in memory, read like any others."""

    def __init__(self, data: memoryview) -> None:
        self._data = data

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill some of ``buffer``; 0 where there is no more."""
        count = min(len(buffer), len(self._data))
        buffer[:count] = self._data[:count]
        self._data = self._data[count:]
        return count

"""The interface of a source of bytes, which fills the caller's buffer, and its implementation in memory."""

from typing import Any, Protocol

import numpy as np

# Numbers in memory, of any shape.
Block = np.ndarray[tuple[int, ...], np.dtype[Any]]


class Readable(Protocol):
    """A stream of bytes."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill some of ``buffer`` and return the number of bytes; 0 only at the end of the data."""


def fill(source: Readable, buffer: memoryview) -> int:
    """Fill all of ``buffer`` and return the number of bytes; fewer only at the end of the data."""
    filled = 0
    while filled < len(buffer) and (read := source.readinto(buffer[filled:])):
        filled += read
    return filled


class MemoryReader:
    """A ``Readable`` of bytes in memory."""

    def __init__(self, data: memoryview) -> None:
        self._data = data

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill some of ``buffer`` and return the number of bytes; 0 at the end."""
        count = min(len(buffer), len(self._data))
        buffer[:count] = self._data[:count]
        self._data = self._data[count:]
        return count

"""The keys of chunks that are an object each, and the index of an array that is stored so."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from handler.containers.reader import Container
from handler.containers.stored_array import WHOLE_OBJECT, ChunkObject, Numbers, Places


@dataclass(frozen=True, slots=True)
class ChunkKeys:
    """The keys of the chunks of a grid, below the path of the array.

    Attributes:
        grid: The number of chunks along each dimension.
        separator: The text between the numbers of a chunk.
        prefix: The first part of a key: "c" in the default encoding of Zarr version 3, "" in that of version 2.
    """

    grid: tuple[int, ...]
    separator: str
    prefix: str = ""

    def format(self, chunks: Numbers) -> list[str]:
        """The keys of chunks.

        Args:
            chunks: Numbers of chunks of the grid, flattened in C order.
        """
        if not self.grid:
            return [self.prefix or "0"] * len(chunks)
        first = (self.prefix,) if self.prefix else ()
        places = zip(*(column.tolist() for column in unravel(chunks, self.grid)), strict=True)
        return [self.separator.join((*first, *map(str, place))) for place in places]


class ObjectIndex:
    """The index of an array whose chunks are an object each. Only a request for a chunk shows whether it exists.

    Args:
        container: Opens the objects.
        path: The beginning of the keys: the path of the array and a slash, or "".
        keys: The keys below the path.
    """

    def __init__(self, container: Container, path: str, keys: ChunkKeys) -> None:
        self._container = container
        self._path = path
        self._keys = keys

    def locate(self, chunks: Numbers) -> Places:
        """The places of chunks, see ``ChunkIndex``. Nothing is read."""
        count = len(chunks)
        return Places(
            objects=_KeyedObjects(self._container, self._path, self._keys, chunks),
            object_numbers=np.arange(count, dtype=np.int64),
            offsets=np.zeros(count, np.int64),
            sizes=np.full(count, WHOLE_OBJECT, np.int64),
        )


class _KeyedObjects(Sequence[ChunkObject]):
    """Objects that are made when they are asked for, and their keys too: a plan locates many chunks and opens none."""

    def __init__(self, container: Container, path: str, keys: ChunkKeys, chunks: Numbers) -> None:
        self._container = container
        self._path = path
        self._keys = keys
        self._chunks = chunks
        self._formatted: list[str] | None = None
        self._made: dict[int, ChunkObject] = {}

    def __len__(self) -> int:
        return len(self._chunks)

    @overload
    def __getitem__(self, index: int) -> ChunkObject: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[ChunkObject]: ...

    def __getitem__(self, index: int | slice) -> ChunkObject | Sequence[ChunkObject]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        made = self._made.get(index)
        if made is None:
            if self._formatted is None:
                self._formatted = self._keys.format(self._chunks)
            key = self._path + self._formatted[index]
            # If two threads ask at the same time, both get the first object.
            made = self._made.setdefault(index, ChunkObject(key, self._container.open_key(key)))
        return made


def unravel(numbers: Numbers, grid: tuple[int, ...]) -> list[Numbers]:
    """The places of flattened numbers along each dimension of a grid in C order; a list for each dimension."""
    # numpy refuses a grid without dimensions.
    return [column.astype(np.int64, copy=False) for column in np.unravel_index(numbers, grid)] if grid else []

"""HDF5: the grid of chunks of a dataset, and what an index says of chunks. Arithmetic only, no reading."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from handler.containers.hdf5_source import damaged
from handler.containers.stored_array import Numbers

Unsigned = npt.NDArray[np.uint64]

_ADDRESS_BYTES, _MASK_BYTES = 8, 4


@dataclass(frozen=True, slots=True)
class Entries:
    """Chunks that an index names, in any order.

    Attributes:
        numbers: Their numbers in the grid, flattened in C order; int64.
        addresses: Where they lie, counted from the superblock; ``UNDEFINED`` for one that is not stored; uint64.
        sizes: Their stored sizes in bytes; uint64.
        masks: The filters that were skipped, as bits; uint64.
    """

    numbers: Numbers
    addresses: Unsigned
    sizes: Unsigned
    masks: Unsigned

    def only(self, is_chosen: npt.NDArray[np.bool_]) -> "Entries":
        """Some of the entries."""
        return Entries(self.numbers[is_chosen], self.addresses[is_chosen], self.sizes[is_chosen], self.masks[is_chosen])

    @classmethod
    def join(cls, parts: Sequence["Entries"]) -> "Entries":
        """All entries of some parts."""
        if not parts:
            nothing = np.zeros(0, np.uint64)
            return cls(np.zeros(0, np.int64), nothing, nothing, nothing)
        return cls(
            np.concatenate([part.numbers for part in parts]),
            np.concatenate([part.addresses for part in parts]),
            np.concatenate([part.sizes for part in parts]),
            np.concatenate([part.masks for part in parts]),
        )


@dataclass(frozen=True)
class ChunkGrid:
    """The grid of chunks of a dataset.

    Attributes:
        shape: The shape of the dataset.
        most: The largest shape that it can be extended to; None in a dimension without a limit.
        chunks: The shape of a chunk.
        itemsize: The size of an element, in bytes.
        is_filtered: Whether chunks pass filters, so that their sizes differ.
    """

    shape: tuple[int, ...]
    most: tuple[int | None, ...]
    chunks: tuple[int, ...]
    itemsize: int
    is_filtered: bool

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of chunks along each dimension."""
        return tuple(-(-size // chunk) for size, chunk in zip(self.shape, self.chunks, strict=True))

    @property
    def count(self) -> int:
        """The number of chunks."""
        return math.prod(self.sizes)

    @property
    def chunk_bytes(self) -> int:
        """The size of a chunk without filters, in bytes."""
        return math.prod(self.chunks) * self.itemsize

    def flatten(self, coordinates: Unsigned) -> Numbers:
        """The numbers of chunks in the grid.

        Coordinates beyond the grid give the number of the next chunk behind them in C order, so that order is kept.

        Args:
            coordinates: The chunks' coordinates in the grid, of shape (chunks, dimensions).
        """
        numbers = np.zeros(len(coordinates), np.int64)
        is_beyond = np.zeros(len(coordinates), bool)
        for axis, size in enumerate(self.sizes):
            place = np.minimum(coordinates[:, axis], np.uint64(size)).astype(np.int64)
            numbers = numbers * size + np.where(is_beyond, 0, place)
            is_beyond |= place == size
        return numbers

    def ensure_inside(self, coordinates: Unsigned) -> None:
        """Pass if all coordinates are those of chunks in the grid.

        Raises:
            UndecodableData: Some are not.
        """
        if np.any(coordinates >= np.array(self.sizes, np.uint64)):
            raise damaged("an index names a chunk outside of the dataset")

    def is_partial(self, chunks: Numbers) -> npt.NDArray[np.bool_]:
        """For each chunk, whether it reaches beyond the edge of the dataset."""
        found = np.zeros(len(chunks), bool)
        places = np.unravel_index(chunks, self.sizes) if self.sizes else ()
        for place, count, size, chunk in zip(places, self.sizes, self.shape, self.chunks, strict=True):
            found |= (place == count - 1) & bool(size % chunk)
        return found

    def parse_elements(self, data: bytes, numbers: Numbers, element_bytes: int) -> Entries:
        """The entries of chunks whose elements in an index follow each other.

        An element is an address, and of a filtered chunk its size and its mask.

        Args:
            data: The elements.
            numbers: The number of each chunk.
            element_bytes: The size of an element.
        """
        rows = np.frombuffer(data, np.uint8).reshape(len(numbers), element_bytes)
        addresses = read_unsigned(rows[:, :_ADDRESS_BYTES])
        if not self.is_filtered:
            sizes = np.full(len(numbers), self.chunk_bytes, np.uint64)
            return Entries(numbers, addresses, sizes, np.zeros(len(numbers), np.uint64))
        stop = element_bytes - _MASK_BYTES
        return Entries(numbers, addresses, read_unsigned(rows[:, _ADDRESS_BYTES:stop]), read_unsigned(rows[:, stop:]))

    def ensure_element_size(self, element_bytes: int) -> None:
        """Pass if an index can have elements of this size.

        Raises:
            UndecodableData: It cannot.
        """
        size_bytes = element_bytes - _ADDRESS_BYTES - _MASK_BYTES
        if not (1 <= size_bytes <= 8 if self.is_filtered else element_bytes == _ADDRESS_BYTES):
            raise damaged(f"an index of chunks has elements of {element_bytes} bytes")


def read_unsigned(rows: npt.NDArray[np.uint8]) -> Unsigned:
    """Little-endian numbers of up to 8 bytes, one a row."""
    padded = np.zeros((len(rows), 8), np.uint8)
    padded[:, : rows.shape[1]] = rows
    numbers: Unsigned = padded.view("<u8")[:, 0].astype(np.uint64)
    return numbers


class ElementOrder:
    """The order of chunks in indexes that are arrays: that of the grid of the largest shape.

    A dimension without a limit comes first, so that the array grows at its end.

    Args:
        grid: The grid of chunks.

    Raises:
        UndecodableData: There are several dimensions without a limit, or more chunks than can be numbered.
    """

    def __init__(self, grid: ChunkGrid) -> None:
        unlimited = [axis for axis, most in enumerate(grid.most) if most is None]
        if len(unlimited) > 1:
            raise damaged("an array is the index of chunks with several dimensions without a limit")
        rest = [axis for axis in range(len(grid.shape)) if axis not in unlimited]
        self._grid = grid
        self._axes = unlimited + rest
        limits = [
            size if most is None else -(-most // chunk)
            for size, most, chunk in zip(grid.sizes, grid.most, grid.chunks, strict=True)
        ]
        self._limits = tuple(max(1, limits[axis]) for axis in self._axes)
        # The number of elements that the dataset can have now; with a limit, that it can ever have.
        self.count = math.prod(self._limits)
        if self.count >= 2**63:
            raise damaged("an index has more than 2**63 chunks")

    def elements(self, chunks: Numbers) -> Numbers:
        """The elements of chunks."""
        coordinates = np.unravel_index(chunks, self._grid.sizes)
        places: Numbers = np.ravel_multi_index(tuple(coordinates[axis] for axis in self._axes), self._limits).astype(
            np.int64
        )
        return places

    def chunks(self, elements: Numbers) -> tuple[Numbers, npt.NDArray[np.bool_]]:
        """The chunks of elements, and which of the elements are chunks of the dataset as it is now."""
        is_inside = elements < self.count
        places = np.unravel_index(np.where(is_inside, elements, 0), self._limits)
        coordinates: list[Any] = [None] * len(self._axes)
        for axis, place in zip(self._axes, places, strict=True):
            is_inside &= place < self._grid.sizes[axis]
            coordinates[axis] = np.where(is_inside, place, 0)
        numbers = np.ravel_multi_index(tuple(coordinates), self._grid.sizes, mode="clip").astype(np.int64)
        return numbers, is_inside

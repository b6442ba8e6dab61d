"""The coordinates of an array: found beside it, read and decoded.

A coordinate is a variable with one dimension, which is one of the array's. Mostly it has the name of the dimension.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from active_storage.errors import ActiveStorageError, InvalidArgument, UnsupportedArray, shown
from active_storage.model.array_reduction import ArrayReduction
from handler.arrays.decoding import Decoding, Unpacking
from handler.arrays.times import Times
from handler.containers.concat import ConcatenatedArray, add_dimension, in_file
from handler.containers.reader import ContainerReader
from handler.containers.siblings import OpenVariable, Siblings
from handler.containers.stored_array import ChunkObject, StoredArray
from handler.containers.time_units import read_time_units

Array = np.ndarray[Any, np.dtype[Any]]

AnyArray = StoredArray | ConcatenatedArray

# Gives all elements of a small array as they are stored.
ReadStored = Callable[[ContainerReader, StoredArray], Array]

# The memory for each element of a coordinate: its value, its time, its place in the selection and its group, and what
# finds them. The same of an array beside this one: as it is stored, decoded, and spread as float64.
_COORDINATE_BYTES = 96
_ARRAY_BYTES = 32

# The memory of a label: a number or a text.
_LABEL_BYTES = 96

# How the values of coordinates and of weights are decoded, whatever the array's own decoding.
_DECODING = ArrayReduction("select", "netcdf", decode="cf")


@dataclass(frozen=True, slots=True)
class Coordinate:
    """The values of a coordinate.

    Attributes:
        name: Its name.
        axis: The number of the array's dimension that it belongs to.
        values: The values, in the order of the dimension; NaN for missing ones.
        times: The same as times; None if the units are not those of time.
    """

    name: str
    axis: int
    values: Array
    times: Times | None

    def list_labels(self, indices: "range | Array") -> list[Any]:
        """The values at some indices: numbers, or dates as text."""
        chosen = np.asarray(indices, np.int64)
        if self.times is not None:
            return self.times.take(chosen).isoformat()
        found: list[Any] = self.values[chosen].tolist()
        return found

    def describe_range(self) -> str:
        """The least and the greatest value, for an error."""
        present = np.flatnonzero(np.isfinite(self.values))
        if not len(present):
            return "which has no values"
        ends = [int(present[find(self.values[present])]) for find in (np.argmin, np.argmax)]
        low, high = self.list_labels(np.array(ends))
        return f"whose values go from {low} to {high}"


class Coordinates:
    """Finds and reads the coordinates of one array, and other arrays beside it. What was read is kept.

    Args:
        array: The array.
        siblings: Finds variables beside it: in its container, or in the first of several files.
        read_stored: Reads all elements of an array.

    Attributes:
        metadata: The objects that the metadata of the variables was read from.
    """

    def __init__(self, array: AnyArray, siblings: Siblings, read_stored: ReadStored) -> None:
        self.metadata: list[ChunkObject] = []
        self._array = array
        self._siblings = siblings
        self._read_stored = read_stored
        self._known: dict[str, Coordinate] = {}
        self._opened: dict[str, tuple[ContainerReader, StoredArray]] = {}

    @classmethod
    def beside(
        cls, array: AnyArray, reader: ContainerReader, path: str, open_variable: OpenVariable, read_stored: ReadStored
    ) -> "Coordinates":
        """The coordinates of an array that was opened at a path.

        Args:
            array: The array.
            reader: The reader of its container; unused for an array of several files, which have readers of their own.
            path: Its path in the container.
            open_variable: Opens a variable of the container.
            read_stored: Reads all elements of an array.
        """
        first = array.readers[0] if isinstance(array, ConcatenatedArray) else reader
        return cls(array, Siblings(first, path, open_variable), read_stored)

    def find(self, field: str, name: str) -> Coordinate:
        """A coordinate.

        Args:
            field: The parameter that names it, for errors.
            name: Its name.

        Raises:
            InvalidArgument: There is none, it has several dimensions or another one than the array, or its values are
                not numbers.
            ActiveStorageError: It cannot be read.
        """
        if name not in self._known:
            self._known[name] = self._read(field, name)
        return self._known[name]

    def read_array(self, field: str, path: str) -> tuple[Array, tuple[int, ...]]:
        """The values of an array beside this one, NaN for missing ones, and the numbers of its dimensions in this one.

        Raises:
            InvalidArgument: There is none, or its dimensions are not those of this array.
            ActiveStorageError: It cannot be read.
        """
        dimensions = self._open(field, path)[1].dimensions
        axes = tuple(self._find_axis(field, path, name) for name in dimensions)
        if len(set(axes)) != len(axes):
            raise InvalidArgument(field, f"{shown(path)} has a dimension twice")
        blocks = self._read_parts(self._open_parts(field, path, axes), _ARRAY_BYTES)
        along = axes.index(self._array.axis) if len(blocks) > 1 else 0  # type: ignore[union-attr]  # it has parts
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, along), axes

    def hold_values(self, count: int) -> None:
        """Count the memory of the values of a coordinate before they are read or made.

        Raises:
            EntityTooLarge: The request would take too much.
            SlowDown: Other requests hold too much memory at the moment.
        """
        self._siblings.reader.memory.take(count * _COORDINATE_BYTES)

    def hold_labels(self, count: int) -> None:
        """Count the memory of labels before they are made.

        Raises:
            EntityTooLarge: The request would take too much.
            SlowDown: Other requests hold too much memory at the moment.
        """
        self._siblings.reader.memory.take(count * _LABEL_BYTES)

    @property
    def own_name(self) -> str:
        """The name of the array itself: the end of its path."""
        return self._siblings.own_name

    def has_fewer_dimensions(self, field: str, path: str) -> bool:
        """Whether an array beside this one has fewer dimensions than it, as they are stored.

        Raises:
            InvalidArgument: There is no such array.
            ActiveStorageError: It cannot be read.
        """
        own = len(self._array.shape) - self._is_stacked
        return len(self._open(field, path)[1].shape) < own

    def open_alike(self, field: str, path: str) -> list[StoredArray]:
        """An array beside this one, in as many parts.

        Raises:
            InvalidArgument: There is no such array.
            ActiveStorageError: It cannot be read.
        """
        if isinstance(self._array, ConcatenatedArray):
            found = [self._open_part(field, path, number)[1] for number in range(len(self._array.parts))]
            return [add_dimension(each, self._array.dimensions[0]) for each in found] if self._is_stacked else found
        return [self._open(field, path)[1]]

    @property
    def _is_stacked(self) -> bool:
        return isinstance(self._array, ConcatenatedArray) and self._array.is_stacked

    def _read(self, field: str, name: str) -> Coordinate:
        found = self._open(field, name)
        _, stored = found
        if len(stored.shape) != 1:
            raise InvalidArgument(
                field, f"the coordinate {shown(name)} has {len(stored.shape)} dimensions; it should have one"
            )
        axis = self._find_axis(field, name, stored.dimensions[0])
        parts = self._open_parts(field, name, (axis,))
        values = self._read_parts(parts, _COORDINATE_BYTES)
        times = [_as_times(each, part) for each, (_, part) in zip(values, parts, strict=True)]
        if any((each is None) != (times[0] is None) for each in times):
            raise InvalidArgument(field, f"the coordinate {shown(name)} has units of time in some files only")
        try:
            joined = Times.concatenate([each for each in times if each is not None]) if times[0] is not None else None
        except ValueError as fault:
            raise InvalidArgument(field, f"the coordinate {shown(name)} has {fault}") from None
        return Coordinate(name, axis, np.concatenate(values), joined)

    def _open_parts(self, field: str, name: str, axes: tuple[int, ...]) -> list[tuple[ContainerReader, StoredArray]]:
        """A variable with these dimensions of the array: in each file if they follow each other along one of these.

        Raises:
            InvalidArgument: Its shape is not that of the array, or it has other dimensions in one of the files.
        """
        array, first = self._array, self._open(field, name)
        if not isinstance(array, ConcatenatedArray) or array.axis not in axes:
            self._ensure_shape(field, name, first[1], [array.shape[axis] for axis in axes])
            return [first]
        parts = [self._open_part(field, name, number) for number in range(len(array.parts))]
        for number, ((_, part), (start, stop)) in enumerate(zip(parts, array.bounds, strict=True)):
            try:
                if part.dimensions != first[1].dimensions:
                    raise InvalidArgument(field, f"{shown(name)} has other dimensions than in the first file")  # noqa: TRY301
                sizes = [stop - start if axis == array.axis else array.shape[axis] for axis in axes]
                self._ensure_shape(field, name, part, sizes)
            except InvalidArgument as error:
                raise in_file(error, number) from None
        return parts

    @staticmethod
    def _ensure_shape(field: str, name: str, found: StoredArray, sizes: list[int]) -> None:
        if list(found.shape) != sizes:
            raise InvalidArgument(
                field, f"{shown(name)} has the shape {list(found.shape)}, and the array has {sizes} there"
            )

    def _read_parts(self, parts: list[tuple[ContainerReader, StoredArray]], element_bytes: int) -> list[Array]:
        """The values of each part. Their memory is counted for the request before it is taken."""
        self._siblings.reader.memory.take(sum(math.prod(part.shape) for _, part in parts) * element_bytes)
        return [self._decode(*part) for part in parts]

    def _open(self, field: str, name: str) -> tuple[ContainerReader, StoredArray]:
        if name not in self._opened:
            found = self._siblings.find(name)
            if found is None:
                names = (shown(each) for each in self._array.dimensions if each)
                raise InvalidArgument(
                    field,
                    f"there is no variable {shown(name)} in the group of the array, or around it; the dimensions are "
                    f"{', '.join(names) or 'without names'}",
                )
            self.metadata += found[1].metadata
            self._opened[name] = found
        return self._opened[name]

    def _open_part(self, field: str, name: str, number: int) -> tuple[ContainerReader, StoredArray]:
        assert isinstance(self._array, ConcatenatedArray)  # noqa: S101  # the only arrays in parts
        try:
            if not number:
                return self._open(field, name)
            found = self._siblings.beside(self._array.readers[number]).find(name)
            if found is None:
                raise InvalidArgument(field, f"there is no variable {shown(name)}")
        except ActiveStorageError as error:
            raise in_file(error, number) from error.__cause__
        self.metadata += found[1].metadata
        return found

    def _find_axis(self, field: str, name: str, dimension: str | None) -> int:
        found = [number for number, own in enumerate(self._array.dimensions) if own == dimension]
        if dimension is None or len(found) != 1:
            text = "without a name" if dimension is None else shown(dimension)
            raise InvalidArgument(field, f"{shown(name)} has the dimension {text}, which is not one of the array's")
        return found[0]

    def _decode(self, reader: ContainerReader, array: StoredArray) -> Array:
        """The values of all elements, NaN for missing ones."""
        decoding = Decoding.of(_DECODING, array)
        if decoding.value_dtype.kind not in "iuf":
            raise UnsupportedArray(array.name, "a coordinate or weights that are not numbers")
        stored = self._read_stored(reader, array)
        if decoding.dtype != array.dtype:
            stored = stored.view(decoding.dtype)
        mask, dtype = decoding.find_missing(stored), decoding.value_dtype
        if mask is not None and dtype.kind != "f":
            dtype = np.dtype(np.float64)
        return Unpacking(decoding.packing, dtype, marks_missing=True)(stored, mask)


def _as_times(values: Array, array: StoredArray) -> Times | None:
    """The values as times; None if the units are not those of time.

    Raises:
        UnsupportedArray: They are units of time that are not supported, or a value is missing or too large.
    """
    units = read_time_units(array)
    if units is None:
        return None
    if not np.isfinite(values).all():
        raise UnsupportedArray(array.name, "times that are missing")
    try:
        return Times.of(values, units)
    except ValueError as fault:
        raise UnsupportedArray(array.name, str(fault)) from None

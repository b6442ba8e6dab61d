"""Concatenation: one variable over many files along one dimension.

The files must agree on everything but the size of that dimension: dimensions, data type, and the values of the other
coordinates. Chunks, codecs, packing and fill values are each file's own, and so are the units of its times: the parts
stay arrays of their own, which are decoded and reduced one by one. This file checks that they follow each other.

A dimension that the variable does not have is a new one: each file is an index of it, as for members of an ensemble.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from active_storage.errors import ActiveStorageError, InvalidArgument, UnsupportedArray, shown
from handler.containers.reader import ContainerReader
from handler.containers.siblings import OpenVariable, Siblings
from handler.containers.stored_array import StoredArray
from handler.containers.time_units import TimeUnits, read_time_units

Values = np.ndarray[Any, Any]

# Gives all elements of a small array of a file as they are stored.
ReadValues = Callable[[ContainerReader, StoredArray], Values]

# The attributes that say what the numbers of a coordinate mean.
_MEANINGS = ("units", "calendar", "scale_factor", "add_offset", "_Unsigned")


@dataclass(frozen=True, slots=True)
class ConcatenatedArray:
    """An array in parts that follow each other along one dimension.

    Attributes:
        axis: The number of the dimension.
        parts: The parts, in their order. They differ in the size of the dimension, in chunks, encoding and attributes.
        starts: For each part, its first index along the dimension.
        readers: The readers of the files.
        coordinate: The coordinate variable of the dimension, in the same parts; None if the files have none.
        is_stacked: Whether the dimension is a new one, of which each file is one index. It is then the first.
    """

    axis: int
    parts: tuple[StoredArray, ...]
    starts: tuple[int, ...]
    readers: tuple[ContainerReader, ...] = field(repr=False)
    coordinate: "ConcatenatedArray | None" = field(default=None, repr=False)
    is_stacked: bool = False

    @property
    def name(self) -> str:
        """The path of the variable in each file, for messages."""
        return self.parts[0].name

    @property
    def dtype(self) -> str:
        """The data type of the elements, a name in ``DTYPES``."""
        return self.parts[0].dtype

    @property
    def dimensions(self) -> tuple[str | None, ...]:
        """The names of the dimensions; None for one without a name."""
        return self.parts[0].dimensions

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of all parts together."""
        shape = list(self.parts[0].shape)
        shape[self.axis] = self.starts[-1] + self.parts[-1].shape[self.axis]
        return tuple(shape)

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """For each part, its first index along the dimension, and the index after its last."""
        return [(start, start + part.shape[self.axis]) for start, part in zip(self.starts, self.parts, strict=True)]


def add_dimension(array: StoredArray, name: str | None) -> StoredArray:
    """An array of a file with a new first dimension of one index. Its chunks have the same numbers."""
    return replace(
        array,
        shape=(1, *array.shape),
        chunks=(1, *array.chunks),
        permutation=(0, *(dimension + 1 for dimension in array.permutation)),
        dimensions=(name, *array.dimensions),
    )


def in_file(error: ActiveStorageError, number: int | None) -> ActiveStorageError:
    """The error with the number of its file in front of its message; unchanged if the request names one container."""
    return error if number is None else error.located(f"store.urls[{number}]")


def open_concat(
    readers: Sequence[ContainerReader], array: str, dim: str, open_variable: OpenVariable, read_values: ReadValues
) -> ConcatenatedArray:
    """A variable of several files, one behind the other.

    Args:
        readers: The files, in the order of the dimension.
        array: The path of the variable in each file.
        dim: The name of the dimension along which they follow each other. If the variable does not have it, it is a new
            first dimension, of which each file is one index.
        open_variable: Opens a variable of a file.
        read_values: Gives the elements of a coordinate.

    Raises:
        InvalidArgument: The files do not fit each other; the error's ``index`` is the file's.
        UnsupportedArray: The calendars of their times differ, or the units are not supported.
        ActiveStorageError: A file cannot be read.
    """
    if not readers:
        raise InvalidArgument("store.urls", "names no file")
    files = [_File(number, reader, open_variable, read_values) for number, reader in enumerate(readers)]
    parts = readers[0].map(lambda file: file.open(array), files)
    is_stacked = dim not in parts[0].dimensions
    if is_stacked:
        parts = [add_dimension(part, dim) for part in parts]
    first = parts[0]
    if first.dimensions.count(dim) > 1:
        raise InvalidArgument("store.concat", f"{shown(dim)} is the name of two dimensions of {shown(array)}")
    axis = first.dimensions.index(dim)
    for number, part in enumerate(parts):
        _ensure_fits(number, part, first, axis)
    for other in dict.fromkeys(first.dimensions):
        if other not in (dim, None):
            _ensure_same_coordinate(files, array, str(other))
    coordinate = None if is_stacked else _open_coordinate(files, array, dim, parts, axis)
    return replace(_join(files, parts, axis), coordinate=coordinate, is_stacked=is_stacked)


def _join(files: "Sequence[_File]", parts: Sequence[StoredArray], axis: int) -> ConcatenatedArray:
    sizes = [part.shape[axis] for part in parts]
    readers = tuple(file.reader for file in files)
    return ConcatenatedArray(axis, tuple(parts), (0, *accumulate(sizes[:-1])), readers)


@dataclass(frozen=True, slots=True)
class _File:
    """A file. Its errors name its number."""

    number: int
    reader: ContainerReader
    open_variable: OpenVariable
    read_values: ReadValues

    def open(self, path: str) -> StoredArray:
        """A variable of the file."""
        try:
            return self.open_variable(self.reader, path)
        except ActiveStorageError as error:
            raise in_file(error, self.number) from error.__cause__

    def find_coordinate(self, array: str, name: str) -> StoredArray | None:
        """The coordinate variable of a dimension: one-dimensional, in the group of the array or in one of its parents.

        None if there is none.
        """
        try:
            found = Siblings(self.reader, array, self.open_variable).find(name)
        except ActiveStorageError as error:
            raise in_file(error, self.number) from error.__cause__
        return None if found is None or found[1].dimensions != (name,) else found[1]

    def read(self, coordinate: StoredArray) -> Values:
        """The elements of a coordinate as they are stored."""
        try:
            return self.read_values(self.reader, coordinate)
        except ActiveStorageError as error:
            raise in_file(error, self.number) from error.__cause__


# The variable


def _ensure_fits(number: int, part: StoredArray, first: StoredArray, axis: int) -> None:
    if part.dimensions != first.dimensions:
        raise _wrong(number, f"the dimensions {_name_all(part)}, unlike the first file: {_name_all(first)}")
    for place, (size, expected) in enumerate(zip(part.shape, first.shape, strict=True)):
        if place != axis and size != expected:
            name = shown(first.dimensions[place] or str(place))
            raise _wrong(number, f"the size {size} of the dimension {name}, unlike the first file: {expected}")
    if part.dtype != first.dtype:
        raise _wrong(number, f"the data type {part.dtype}, unlike the first file: {first.dtype}")


def _name_all(array: StoredArray) -> str:
    return "(" + ", ".join(shown(name or "") for name in array.dimensions) + ")"


def _wrong(number: int, what: str) -> InvalidArgument:
    return InvalidArgument("store.urls", f"the file has {what}", number)


# The coordinates


def _find_all(files: Sequence[_File], array: str, name: str) -> list[StoredArray] | None:
    """The coordinate variable of a dimension in each file; None if no file has it.

    Raises:
        InvalidArgument: Only some files have it.
    """
    found = files[0].reader.map(lambda file: file.find_coordinate(array, name), files)
    for number, each in enumerate(found):
        if (each is None) != (found[0] is None):
            raise _wrong(number, f"{'no' if each is None else 'a'} coordinate {shown(name)}, unlike the first file")
    return [each for each in found if each is not None] or None


def _ensure_same_coordinate(files: Sequence[_File], array: str, name: str) -> None:
    """Pass if all files have the same values of a coordinate, or none of them has it."""
    coordinates = _find_all(files, array, name)
    if coordinates is None:
        return
    first, values = coordinates[0], files[0].read(coordinates[0])

    def ensure_same(file: _File) -> None:
        other = coordinates[file.number]
        for attribute in _MEANINGS:
            if other.attribute(attribute) != first.attribute(attribute):
                raise _wrong(file.number, f"other {attribute} of the coordinate {shown(name)} than the first file")
        if not np.array_equal(file.read(other), values, equal_nan=values.dtype.kind in "fc"):
            raise _wrong(file.number, f"other values of the coordinate {shown(name)} than the first file")

    files[0].reader.map(ensure_same, files[1:])


def _open_coordinate(
    files: Sequence[_File], array: str, dim: str, parts: Sequence[StoredArray], axis: int
) -> ConcatenatedArray | None:
    """The coordinate along which the files follow each other; None if no file has it.

    Raises:
        InvalidArgument: It does not go on from file to file.
        UnsupportedArray: Its units cannot be converted from file to file.
    """
    coordinates = _find_all(files, array, dim)
    if coordinates is None:
        return None
    for number, (coordinate, part) in enumerate(zip(coordinates, parts, strict=True)):
        if coordinate.shape != (part.shape[axis],):
            raise _wrong(
                number, f"the size {coordinate.shape[0]} of the coordinate {shown(dim)}, not {part.shape[axis]}"
            )
    units = _read_units(coordinates)
    spans = files[0].reader.map(lambda file: _read_span(file, coordinates[file.number], units[file.number]), files)
    _ensure_monotonic(dim, spans)
    return _join(files, coordinates, 0)


def _read_units(coordinates: Sequence[StoredArray]) -> list[TimeUnits | None]:
    """The units of time of a coordinate in each file; None for each if they are not units of time.

    Raises:
        InvalidArgument: They differ, and are not units of time.
        UnsupportedArray: They are not supported, or their calendars differ.
    """
    first = coordinates[0]
    units: list[TimeUnits | None] = []
    for number, coordinate in enumerate(coordinates):
        try:
            units.append(read_time_units(coordinate))
        except UnsupportedArray as error:
            raise in_file(error, number) from None
        ours, theirs = units[0], units[number]
        text = coordinate.text_attribute("units")
        if (ours is None) != (theirs is None) or (ours is None and text != first.text_attribute("units")):
            raise _wrong(
                number, f"the units {shown(text)} of the coordinate {shown(first.name)}, unlike the first file"
            )
        if ours is not None and theirs is not None and ours.calendar != theirs.calendar:
            differing = UnsupportedArray(
                coordinate.name, f"times in the calendars {ours.calendar} and {theirs.calendar}"
            )
            raise in_file(differing, number)
    return units


def _read_span(file: _File, coordinate: StoredArray, units: TimeUnits | None) -> tuple[Fraction, ...]:
    """The first and the last value of a coordinate in a file, exactly; times are in nanoseconds.

    There is one value if the coordinate has one element, and none if it is empty.

    Raises:
        InvalidArgument: A value is missing, or the values neither increase nor decrease.
        UnsupportedArray: They are not numbers.
    """
    values = file.read(coordinate)
    if not values.size:
        return ()
    if values.dtype.kind not in "iuf":
        raise in_file(UnsupportedArray(coordinate.name, "values that are not numbers"), file.number)
    if str(coordinate.attribute("_Unsigned")).lower() == "true":
        values = values.view(f"u{values.dtype.itemsize}")
    missing = [coordinate.attribute(name) for name in ("_FillValue", "missing_value")]
    if not np.isfinite(values).all() or any(np.isin(values, value).any() for value in missing if value is not None):
        raise _wrong(file.number, f"a missing value in the coordinate {shown(coordinate.name)}")
    is_up, is_down = np.all(values[1:] > values[:-1]), np.all(values[1:] < values[:-1])
    scale, offset = (
        _factor(file.number, coordinate, name, default) for name, default in (("scale_factor", 1), ("add_offset", 0))
    )
    if not (is_up or is_down) or not scale:
        raise _wrong(file.number, f"a coordinate {shown(coordinate.name)} that neither increases nor decreases")
    ends = (Fraction(value) * scale + offset for value in values[:: max(1, len(values) - 1)].tolist())
    return tuple(end if units is None else units.instant(end) for end in ends)


def _ensure_monotonic(dim: str, spans: Sequence[tuple[Fraction, ...]]) -> None:
    """Pass if the values go on from file to file. Those of each file have been checked before."""
    ends = [(number, value) for number, span in enumerate(spans) for value in span]
    is_up = len(ends) > 1 and ends[1][1] > ends[0][1]
    for (_, before), (number, after) in pairwise(ends):
        if after == before or (after > before) != is_up:
            raise _wrong(number, f"values of the coordinate {shown(dim)} that do not go on from the file before it")


def _factor(number: int, array: StoredArray, name: str, default: int) -> Fraction:
    value = array.attribute(name)
    if value is None:
        return Fraction(default)
    try:
        return Fraction(float(value))
    except (TypeError, ValueError, OverflowError):
        raise _wrong(number, f"a {name} of the coordinate {shown(array.name)} that is not a number") from None

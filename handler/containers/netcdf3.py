"""netCDF-3: the header of the classic format, and the places of its variables.

All three forms: CDF-1, CDF-2 with 64-bit offsets, and CDF-5 with 64-bit sizes and more data types. Everything is big
endian, and names and values are padded to 4 bytes. Variables of the record dimension are stored record by record; all
others are one run of bytes.

Source: "NetCDF Classic Format Specification" (netCDF User's Guide, appendix B), and PnetCDF's "CDF-5 file format".
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from struct import Struct
from types import MappingProxyType
from typing import Any

import numpy as np

from active_storage.errors import UndecodableData, UnsupportedArray, shown
from active_storage.model.dtypes import DTYPES, MAX_BYTES, MAX_DIMENSIONS
from handler.containers.listing import Listing
from handler.containers.pieces import PieceIndex, c_strides, cut_rows
from handler.containers.reader import ObjectReader
from handler.containers.stored_array import StoredArray
from handler.containers.variables import missing_variable

MAGIC = b"CDF"

_VERSIONS = frozenset({1, 2, 5})

# The tags of lists; an empty list may have 0 in place of its tag.
_DIMENSIONS, _VARIABLES, _ATTRIBUTES = 0x0A, 0x0B, 0x0C

_CHAR = 2

# The data types by number. CDF-1 and CDF-2 have the first six.
_TYPES: Mapping[int, str] = MappingProxyType(
    {
        1: "int8", _CHAR: "char", 3: "int16", 4: "int32", 5: "float32", 6: "float64",
        7: "uint8", 8: "uint16", 9: "uint32", 10: "int64", 11: "uint64",
    }
)  # fmt: skip
_CLASSIC_TYPES = 6

_UINT32, _INT64 = Struct(">I"), Struct(">q")

_FIRST_BYTES = 64 << 10


def open_netcdf3(source: ObjectReader, head: bytes, array: str) -> StoredArray:
    """A variable of a netCDF-3 file.

    Args:
        source: Reads the file.
        head: Its first bytes.
        array: The name of the variable, with or without a leading slash.

    Raises:
        InvalidArgument: There is no such variable.
        UnsupportedArray: It holds characters.
        UndecodableData: The header is damaged, or the file is cut short.
        ActiveStorageError: The file cannot be read.
    """
    return _Header.parse(_Cursor(source, head)).open(source, array)


def list_netcdf3(source: ObjectReader, head: bytes) -> Listing:
    """The variables of a netCDF-3 file.

    Args:
        source: Reads the file.
        head: Its first bytes.

    Raises:
        UndecodableData: The header is damaged, or the file is cut short.
        ActiveStorageError: The file cannot be read.
    """
    header = _Header.parse(_Cursor(source, head))
    names = [variable.name for variable in header.variables]
    return Listing.of(header.attributes, names, lambda name: header.open(source, name))


class _Cursor:
    """Reads the header from front to back, in ranges that grow.

    Args:
        source: Reads the file.
        head: Its first bytes.

    Attributes:
        place: The number of bytes that were taken.
        is_wide: Whether sizes have eight bytes, as in CDF5.
    """

    def __init__(self, source: ObjectReader, head: bytes) -> None:
        self._source = source
        self._data = bytearray(head)
        self.place = 0
        self.is_wide = False

    def take(self, size: int) -> bytes:
        """The next bytes.

        Raises:
            UndecodableData: The file ends before.
        """
        start, stop = self.place, self.place + size
        if stop > len(self._data):
            self._grow(stop)
        self.place = stop
        return bytes(self._data[start:stop])

    def _grow(self, stop: int) -> None:
        # Each range doubles what is known, so that a header of any size takes few requests.
        length, total = len(self._data), self.total_bytes
        if stop > total:
            raise UndecodableData("netCDF-3", "the header is cut short")
        self._data += self._source.read(length, min(max(stop, 2 * length, _FIRST_BYTES), total))

    @property
    def total_bytes(self) -> int:
        """The size of the file."""
        facts = self._source.facts
        return facts.total if facts else 0

    def uint32(self) -> int:
        """The next 4 bytes."""
        return int(_UINT32.unpack(self.take(4))[0])

    def size(self) -> int:
        """The next number that is not negative: 8 bytes in CDF-5, else 4.

        Raises:
            UndecodableData: It is negative.
        """
        number = int(_INT64.unpack(self.take(8))[0]) if self.is_wide else self.uint32()
        # The formats CDF-1 and CDF-2 define 31 bits, but writers use all 32 for the size of a variable.
        if number < 0:
            raise UndecodableData("netCDF-3", "a size in the header is negative")
        return number

    def offset(self, version: int) -> int:
        """The next offset."""
        offset = self.uint32() if version == 1 else int(_INT64.unpack(self.take(8))[0])
        if offset < 0:
            raise UndecodableData("netCDF-3", "an offset in the header is negative")
        return offset

    def padded(self, size: int) -> bytes:
        """The next bytes, without those that pad them to a multiple of 4."""
        return self.take(size + -size % 4)[:size]

    def name(self) -> str:
        """The next name. It should be UTF-8, but older writers used other encodings."""
        return self.padded(self.size()).decode(errors="replace")

    def count(self, tag: int) -> int:
        """The number of elements of the next list, which has this tag."""
        found, count = self.uint32(), self.size()
        if found != tag and (found or count):
            raise UndecodableData("netCDF-3", f"a list in the header has the tag {found}, not {tag}")
        return count


@dataclass(frozen=True, slots=True)
class _Variable:
    """A variable as the header describes it.

    Attributes:
        name: Its name.
        dimensions: The numbers of its dimensions.
        attributes: Its attributes.
        type: Its data type, a value of ``_TYPES``.
        begin: Its first byte in the file.
        inner: Its shape, without the record dimension.
        is_record: Whether its first dimension is the record dimension.
    """

    name: str
    dimensions: tuple[int, ...]
    attributes: Mapping[str, Any]
    type: str
    begin: int
    inner: tuple[int, ...]
    is_record: bool

    @property
    def itemsize(self) -> int:
        return 1 if self.type == "char" else DTYPES[self.type].itemsize

    @property
    def inner_bytes(self) -> int:
        """The size of a record, or of the whole variable if it has none, without padding."""
        return self.itemsize * math.prod(self.inner)


@dataclass(frozen=True, slots=True)
class _Header:
    """The header of a file.

    Attributes:
        records: The number of records.
        dimensions: Pairs of name and size; the size of the record dimension is 0.
        attributes: The attributes of the file.
        variables: The variables.
        record_bytes: The distance between two records of a variable.
        header_bytes: The size of the header.
        total_bytes: The size of the file.
    """

    records: int
    dimensions: tuple[tuple[str, int], ...]
    attributes: Mapping[str, Any]
    variables: tuple[_Variable, ...]
    record_bytes: int
    header_bytes: int
    total_bytes: int

    @classmethod
    def parse(cls, cursor: _Cursor) -> "_Header":
        """The header that the file begins with.

        Raises:
            UndecodableData: It is damaged.
        """
        magic = cursor.take(4)
        version = magic[3]
        if magic[:3] != MAGIC or version not in _VERSIONS:
            raise UndecodableData("netCDF-3", "the file does not begin with the magic number")
        cursor.is_wide = version == 5
        records_field = cursor.take(8 if cursor.is_wide else 4)
        dimensions = tuple((cursor.name(), cursor.size()) for _ in range(cursor.count(_DIMENSIONS)))
        attributes = _parse_attributes(cursor, version)
        variables = tuple(_parse_variable(cursor, version, dimensions) for _ in range(cursor.count(_VARIABLES)))
        in_records = [variable for variable in variables if variable.is_record]
        record_bytes, last_padding = _measure_record(in_records)
        if record_bytes > MAX_BYTES:
            raise UndecodableData("netCDF-3", "a record has more than 2**63 bytes")
        if records_field.strip(b"\xff"):
            records = int.from_bytes(records_field, "big")
        else:
            # The writer did not know the number of records. The padding of the last one may be missing.
            begin = min((variable.begin for variable in in_records), default=0)
            stored_bytes = max(0, cursor.total_bytes - begin + last_padding)
            records = stored_bytes // record_bytes if record_bytes else 0
        return cls(records, dimensions, attributes, variables, record_bytes, cursor.place, cursor.total_bytes)

    def open(self, source: ObjectReader, array: str) -> StoredArray:
        """A variable as a stored array."""
        name = array.removeprefix("/")
        variable = next((each for each in self.variables if each.name == name), None)
        if variable is None:
            raise missing_variable(array, [each.name for each in self.variables])
        if variable.type == "char":
            raise UnsupportedArray(array, "the data type char")
        if len(variable.dimensions) > MAX_DIMENSIONS:
            raise UnsupportedArray(array, f"more than {MAX_DIMENSIONS} dimensions")
        shape = ((self.records,) if variable.is_record else ()) + variable.inner
        self._ensure_inside(variable, shape)
        self._ensure_in_order()
        return self._describe(variable, shape, source)

    def _ensure_inside(self, variable: _Variable, shape: tuple[int, ...]) -> None:
        """Pass if the data of the variable lies in the file.

        Raises:
            UndecodableData: It does not: the header is damaged, or the file is cut short.
        """
        if variable.itemsize * math.prod(size or 1 for size in shape) > MAX_BYTES:
            raise UndecodableData("netCDF-3", f"the shape {shape} has more than 2**63 bytes")
        records = self.records if variable.is_record else 1
        if not records or not variable.inner_bytes:
            return
        last_stop = variable.begin + (records - 1) * self.record_bytes * variable.is_record + variable.inner_bytes
        if last_stop > self.total_bytes:
            raise UndecodableData(
                "netCDF-3", f"the data ends at byte {last_stop}, but the file has {self.total_bytes} bytes"
            )

    def _ensure_in_order(self) -> None:
        """Pass if each variable begins behind the one before it, as the netCDF library demands too.

        Raises:
            UndecodableData: One does not: a place in the header is wrong.
        """
        stop = self.header_bytes
        for variable in sorted(self.variables, key=attrgetter("is_record")):
            if variable.begin < stop:
                where = f"byte {variable.begin}, inside the header or the variable before it"
                raise UndecodableData("netCDF-3", f"variable {shown(variable.name)} begins at {where}")
            stop = variable.begin + variable.inner_bytes

    def _describe(self, variable: _Variable, shape: tuple[int, ...], source: ObjectReader) -> StoredArray:
        itemsize = variable.itemsize
        if variable.is_record and self.record_bytes != variable.inner_bytes:
            chunks = (1, *cut_rows(variable.inner))
            strides = (self.record_bytes, *c_strides(variable.inner, itemsize))
        else:
            # The records of the only record variable follow each other without a gap.
            chunks, strides = cut_rows(shape), c_strides(shape, itemsize)
        return StoredArray(
            name=variable.name,
            shape=shape,
            chunks=chunks,
            dtype=variable.type,
            byte_order="big",
            permutation=tuple(range(len(shape))),
            steps=(),
            fill=DTYPES[variable.type].type(0),
            dimensions=tuple(self.dimensions[number][0] for number in variable.dimensions),
            attributes=variable.attributes,
            index=PieceIndex(source.chunk_object, variable.begin, shape, chunks, strides, itemsize),
            metadata=(source.chunk_object,),
        )


def _parse_variable(cursor: _Cursor, version: int, dimensions: tuple[tuple[str, int], ...]) -> _Variable:
    name = cursor.name()
    numbers = tuple(cursor.size() for _ in range(cursor.size()))
    attributes = _parse_attributes(cursor, version)
    type_name = _parse_type(cursor, version)
    # The size is derived from the shape: the field has too few bits for large variables.
    cursor.size()
    begin = cursor.offset(version)
    if any(number >= len(dimensions) for number in numbers):
        raise UndecodableData("netCDF-3", f"variable {shown(name)} has a dimension that does not exist")
    sizes = tuple(dimensions[number][1] for number in numbers)
    if 0 in sizes[1:]:
        raise UndecodableData(
            "netCDF-3", f"variable {shown(name)} has the record dimension, which has to be its first, at another place"
        )
    is_record = sizes[:1] == (0,)
    return _Variable(name, numbers, attributes, type_name, begin, sizes[is_record:], is_record)


def _parse_type(cursor: _Cursor, version: int) -> str:
    number = cursor.uint32()
    if number not in _TYPES or (version != 5 and number > _CLASSIC_TYPES):
        raise UndecodableData("netCDF-3", f"there is no data type {number}")
    return _TYPES[number]


def _parse_attributes(cursor: _Cursor, version: int) -> Mapping[str, Any]:
    """The attributes of the next list: text as str, one number as a numpy scalar, others as an array."""
    attributes: dict[str, Any] = {}
    for _ in range(cursor.count(_ATTRIBUTES)):
        name = cursor.name()
        type_name = _parse_type(cursor, version)
        count = cursor.size()
        if type_name == "char":
            attributes[name] = cursor.padded(count).decode(errors="replace").rstrip("\0")
            continue
        dtype = DTYPES[type_name]
        numbers = np.frombuffer(cursor.padded(count * dtype.itemsize), dtype.newbyteorder(">")).astype(dtype)
        attributes[name] = numbers[0] if count == 1 else numbers
    return attributes


def _measure_record(variables: list[_Variable]) -> tuple[int, int]:
    """The size of a record of all variables, and how many bytes pad the last variable.

    The records of a single record variable are not padded, so that small types take no more space than they need.
    """
    if len(variables) == 1:
        return variables[0].inner_bytes, 0
    paddings = [-variable.inner_bytes % 4 for variable in variables]
    last = max(range(len(variables)), key=lambda number: variables[number].begin, default=None)
    record_bytes = sum(variable.inner_bytes for variable in variables) + sum(paddings)
    return record_bytes, 0 if last is None else paddings[last]

"""HDF5: attributes. Numbers become numpy scalars and arrays, and text becomes str. Other types are left out."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from active_storage.model.dtypes import DTYPES
from handler.containers.hdf5_btree2 import ATTRIBUTE_NAMES, Btree2
from handler.containers.hdf5_file import ATTRIBUTE, ATTRIBUTE_INFO, DATASPACE, DATATYPE, SHARED, Hdf5File, ObjectHeader
from handler.containers.hdf5_heaps import FractalHeap, GlobalHeaps
from handler.containers.hdf5_source import Cursor, damaged
from handler.containers.hdf5_types import Datatype, parse_dataspace, parse_datatype


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference to an object, the value of some attributes.

    Attributes:
        address: The address of its header; 0 for no object.
    """

    address: int


@dataclass(frozen=True, slots=True)
class Referrer:
    """A dataset that refers to a dimension scale, an element of the attribute ``REFERENCE_LIST`` of the scale.

    Attributes:
        address: The address of the header of the dataset.
        axis: The number of its dimension.
    """

    address: int
    axis: int


class Attributes:
    """Reads the attributes of the objects of a file.

    Args:
        file: The file.
    """

    def __init__(self, file: Hdf5File) -> None:
        self._file = file
        self._heaps = GlobalHeaps(file.source)

    def read(self, header: ObjectHeader) -> dict[str, Any]:
        """The attributes of an object, references among them.

        Raises:
            UndecodableData: They are damaged.
            ActiveStorageError: They cannot be read.
        """
        attributes = {}
        for data in self._find(header):
            name, value = self._parse(data)
            if value is not None:
                attributes[name] = value
        return attributes

    def _find(self, header: ObjectHeader) -> Iterator[bytes]:
        """The messages of attributes. Those of an object that has many are in a heap, and not in its header."""
        for message in header.all(ATTRIBUTE):
            yield self._file.message_data(message)
        info = header.find(ATTRIBUTE_INFO)
        if info is None:
            return
        cursor = Cursor(info.data, "the place of attributes")
        cursor.expect(b"\0")
        has_order = cursor.uint(1) & 1
        cursor.take(2 * has_order)
        heap_address, tree_address = cursor.address(), cursor.address()
        if heap_address is None or tree_address is None:
            return
        heap = FractalHeap(self._file.source, heap_address)
        for record in Btree2(self._file.source, tree_address, ATTRIBUTE_NAMES).all_records():
            # The id of an object in the heap, flags of the message, an order, and a hash.
            cursor = Cursor(record, "a record of an attribute")
            identifier, flags = cursor.take(8), cursor.uint(1)
            if flags & SHARED:
                raise self._file.refuse("shared attributes")
            yield heap.find(identifier)

    def _parse(self, data: bytes) -> tuple[str, Any]:
        """The name and the value of an attribute; None for a type that has no value here."""
        cursor = Cursor(data, "an attribute")
        version, flags = cursor.uint(1), cursor.uint(1)
        if not 1 <= version <= 3:
            raise damaged(f"there is no attribute of version {version}")
        sizes = cursor.uint(2), cursor.uint(2), cursor.uint(2)
        if version == 3:
            cursor.take(1)
        name, type_data, space_data = (self._take_padded(cursor, size, version) for size in sizes)
        # In version 1 the flags are reserved.
        if version > 1 and flags & 1:
            type_data = self._file.resolve(type_data, DATATYPE)
        if version > 1 and flags & 2:
            space_data = self._file.resolve(space_data, DATASPACE)
        datatype, shape = parse_datatype(type_data), parse_dataspace(space_data).shape
        text = name.partition(b"\0")[0].decode(errors="replace")
        if shape is None:
            return text, "" if datatype.is_text else None
        return text, self._parse_value(cursor, datatype, shape)

    @staticmethod
    def _take_padded(cursor: Cursor, size: int, version: int) -> bytes:
        data = cursor.take(size)
        if version == 1:
            cursor.take(min(-size % 8, cursor.left))
        return data

    def _parse_value(self, cursor: Cursor, datatype: Datatype, shape: tuple[int, ...]) -> Any:
        count = math.prod(shape)
        stored = datatype.numpy
        if stored is not None and datatype.dtype is not None:
            if datatype.bits is not None:
                return None
            numbers = np.frombuffer(cursor.take(count * datatype.size), stored).reshape(shape)
            native = numbers.astype(DTYPES[datatype.dtype])
            return native.reshape(-1)[0] if count == 1 else native
        if not datatype.is_text and not self._has_references(datatype) and not self._has_referrers(datatype):
            return None
        elements = Cursor(cursor.take(count * datatype.size), "an attribute")
        if datatype.size < 1:
            return None
        values = [self._parse_element(elements, datatype) for _ in range(count)]
        return values[0] if count == 1 and datatype.is_text else values

    @staticmethod
    def _has_references(datatype: Datatype) -> bool:
        element = datatype.base or datatype
        return element.kind == "object reference" and element.size == 8

    @classmethod
    def _has_referrers(cls, datatype: Datatype) -> bool:
        types = [member for _, member in datatype.members]
        return len(types) == 2 and cls._has_references(types[0]) and types[1].kind == "integer"

    @staticmethod
    def _parse_referrer(data: bytes, datatype: Datatype) -> Referrer:
        (start, _), (place, number) = datatype.members
        axis = data[place : place + number.size]
        return Referrer(int.from_bytes(data[start : start + 8], "little"), int.from_bytes(axis, number.byte_order))

    def _parse_element(self, cursor: Cursor, datatype: Datatype) -> Any:
        if datatype.base is None:
            stored = cursor.take(datatype.size)
            if datatype.members:
                return self._parse_referrer(stored, datatype)
            if not datatype.is_text:
                return Reference(int.from_bytes(stored, "little"))
            if datatype.is_padded_by_spaces:
                stored = stored.rstrip(b" ")
            return stored.rstrip(b"\0").decode(errors="replace")
        length, address, number = cursor.uint(4), cursor.uint(8), cursor.uint(4)
        data = self._heaps.find(address, number) if length and address else b""
        if datatype.is_text:
            return data[:length].rstrip(b"\0").decode(errors="replace")
        references = Cursor(data, "an attribute")
        return [Reference(references.uint(8)) for _ in range(length)]

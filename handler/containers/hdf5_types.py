"""HDF5: data types and data spaces of arrays and attributes."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from active_storage.model.dtypes import DTYPES, MAX_BYTES, MAX_DIMENSIONS, ByteOrder
from handler.containers.hdf5_source import UNDEFINED, Cursor, count_bytes, damaged

_INTEGER, _FLOAT, _STRING, _COMPOUND, _REFERENCE, _ENUM, _SEQUENCE, _COMPLEX = 0, 1, 3, 6, 7, 8, 9, 11

# How refusals name the classes of types.
_CLASS_NAMES = (
    "integer", "float", "time", "string", "bit field", "opaque", "compound", "reference", "enum", "variable-length",
    "array", "complex",
)  # fmt: skip

# The size of the properties of a type in bytes, for the classes that can be part of others.
_INTEGER_BYTES, _FLOAT_BYTES = 4, 12

# IEEE 754 by size: bit offset, precision, exponent's place and size, mantissa's place and size, bias; sign's place.
_IEEE = {
    2: (0, 16, 10, 5, 0, 10, 15, 15),
    4: (0, 32, 23, 8, 0, 23, 127, 31),
    8: (0, 64, 52, 11, 0, 52, 1023, 63),
}

# The first bit of a mantissa is implied.
_IMPLIED = 2

_MOST_DEPTH = 8

_BOOL_MEMBERS = [b"FALSE", b"TRUE"]


@dataclass(frozen=True, slots=True)
class Datatype:
    """A data type.

    Attributes:
        kind: The class, in words.
        size: The size of an element, in bytes.
        dtype: The name in ``DTYPES`` of elements that are numbers; None for others.
        byte_order: The byte order of numbers.
        bits: For integers with fewer bits than their bytes have: the place of the lowest bit, and the number of bits.
        base: The type of the elements of a sequence.
        is_text: Whether an element is text, of fixed or variable length.
        is_padded_by_spaces: Whether text of fixed length is padded by spaces, and not by null bytes.
        members: Of a compound of two members: the place of each in an element, and its type.
    """

    kind: str
    size: int
    dtype: str | None = None
    byte_order: ByteOrder = "little"
    bits: tuple[int, int] | None = None
    base: "Datatype | None" = None
    is_text: bool = False
    is_padded_by_spaces: bool = False
    members: tuple[tuple[int, "Datatype"], ...] = ()

    @property
    def numpy(self) -> np.dtype[Any] | None:
        """The numpy type of stored numbers; that of bools is int8."""
        if self.dtype is None:
            return None
        plain = np.dtype(np.int8) if self.dtype == "bool" else DTYPES[self.dtype]
        return plain.newbyteorder(self.byte_order)


def parse_datatype(data: bytes) -> Datatype:
    """The data type that a message describes.

    Raises:
        UndecodableData: The message is damaged.
    """
    return _parse(Cursor(data, "a data type"), 0)


def _parse(cursor: Cursor, depth: int) -> Datatype:
    first, flags, size = cursor.uint(1), cursor.uint(3), cursor.uint(4)
    version, kind = first >> 4, first & 15
    if not 1 <= version <= 5 or kind >= len(_CLASS_NAMES) or depth > _MOST_DEPTH:
        raise damaged(f"there is no data type of class {kind} and version {version}")
    byte_order: ByteOrder = "big" if flags & 1 else "little"
    other = Datatype(_CLASS_NAMES[kind], size)
    if kind == _INTEGER:
        return _parse_integer(cursor, size, byte_order, is_signed=bool(flags & 8))
    if kind == _FLOAT:
        return _parse_float(cursor, size, flags, byte_order)
    if kind == _STRING:
        return Datatype("string", size, is_text=True, is_padded_by_spaces=flags & 15 == 2)
    if kind == _COMPOUND:
        return _parse_compound(cursor, size, flags & 0xFFFF, version, depth) or other
    if kind == _COMPLEX:
        return _as_complex(_parse(cursor, depth + 1), size) or other
    if kind == _ENUM:
        return _parse_enum(cursor, flags & 0xFFFF, version, depth) or other
    if kind == _SEQUENCE:
        return Datatype(other.kind, size, base=_parse(cursor, depth + 1), is_text=flags & 15 == 1)
    if kind == _REFERENCE:
        # References to objects. Other references are to regions, or those of HDF5 1.12 and later.
        return Datatype("object reference" if not flags & 15 else other.kind, size)
    return other


def _parse_integer(cursor: Cursor, size: int, byte_order: ByteOrder, *, is_signed: bool) -> Datatype:
    offset, precision = cursor.uint(2), cursor.uint(2)
    if size not in {1, 2, 4, 8}:
        return Datatype(f"integer of {size} bytes", size)
    if not 1 <= precision <= 8 * size - offset:
        raise damaged(f"an integer of {size} bytes has {precision} bits from bit {offset}")
    bits = None if precision == 8 * size else (offset, precision)
    return Datatype("integer", size, f"{'' if is_signed else 'u'}int{8 * size}", byte_order, bits)


def _parse_float(cursor: Cursor, size: int, flags: int, byte_order: ByteOrder) -> Datatype:
    offset, precision = cursor.uint(2), cursor.uint(2)
    fields = [cursor.uint(1) for _ in range(4)]
    found = (offset, precision, *fields, cursor.uint(4), flags >> 8 & 0xFF)
    # The bit for VAX, and how the mantissa is normalized.
    if found != _IEEE.get(size) or flags & 0x40 or flags >> 4 & 3 != _IMPLIED:
        return Datatype(f"float of {size} bytes that is not one of IEEE 754", size)
    return Datatype("float", size, f"float{8 * size}", byte_order)


def _parse_compound(cursor: Cursor, size: int, count: int, version: int, depth: int) -> Datatype | None:
    """The type of a compound of two members; None if it has more or fewer.

    Two floats "r" and "i" are a complex number, as h5py writes it.
    """
    if count != 2:
        return None
    names, members = [], []
    for _ in range(count):
        name = _parse_name(cursor, version)
        offset = cursor.uint(count_bytes(size) if version >= 3 else 4)
        if version == 1:
            # The number of dimensions, a permutation, and sizes of dimensions, which no writer uses.
            cursor.take(28)
        member = _parse(cursor, depth + 1)
        names.append((name, offset))
        members.append((offset, member))
    plain = Datatype("compound", size, members=tuple(members))
    return plain if names != [(b"r", 0), (b"i", member.size)] else _as_complex(member, size) or plain


def _as_complex(part: Datatype, size: int) -> Datatype | None:
    if part.kind != "float" or size != 2 * part.size or part.size < 4:
        return None
    return Datatype("complex", size, f"complex{8 * size}", part.byte_order)


def _parse_enum(cursor: Cursor, count: int, version: int, depth: int) -> Datatype | None:
    base = _parse(cursor, depth + 1)
    if base.dtype is None:
        return None
    names = [_parse_name(cursor, version) for _ in range(count)]
    values = list(cursor.take(count * base.size))
    if base.dtype == "int8" and names == _BOOL_MEMBERS and values == [0, 1]:
        return Datatype("enum", 1, "bool")
    return Datatype("enum", base.size, base.dtype, base.byte_order, base.bits)


def _parse_name(cursor: Cursor, version: int) -> bytes:
    start = cursor.place
    name = cursor.terminated()
    if version < 3:
        cursor.take(-(cursor.place - start) % 8)
    return name


@dataclass(frozen=True, slots=True)
class Dataspace:
    """The shape of an array.

    Attributes:
        shape: The shape; () for a scalar; None for one without data.
        most: The largest shape that it can be extended to; None in a dimension without a limit.
    """

    shape: tuple[int, ...] | None
    most: tuple[int | None, ...]


def parse_dataspace(data: bytes) -> Dataspace:
    """The data space that a message describes.

    Raises:
        UndecodableData: The message is damaged, or the shape is too large for any file.
    """
    cursor = Cursor(data, "a data space")
    version, rank, flags, kind = cursor.uint(1), cursor.uint(1), cursor.uint(1), cursor.uint(1)
    if version == 1:
        cursor.take(4)
    elif version != 2:
        raise damaged(f"there is no data space of version {version}")
    elif kind == 2:
        return Dataspace(None, ())
    if rank > MAX_DIMENSIONS:
        raise damaged(f"an array has {rank} dimensions")
    shape = tuple(cursor.uint(8) for _ in range(rank))
    limits = [cursor.uint(8) for _ in range(rank)] if flags & 1 else shape
    most = tuple(None if limit == UNDEFINED else limit for limit in limits)
    ensure_shape(shape)
    if any(limit is not None and limit < size for size, limit in zip(shape, most, strict=True)):
        raise damaged(f"the shape {shape} is larger than its limits {most}")
    return Dataspace(shape, most)


def ensure_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape, if a file can have it.

    Raises:
        UndecodableData: It is too large for any file.
    """
    if math.prod(size or 1 for size in shape) > MAX_BYTES:
        raise damaged(f"the shape {shape} has more than 2**63 elements")
    return shape

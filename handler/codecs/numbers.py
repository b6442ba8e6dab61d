"""``delta``, ``fixedscaleoffset``, ``quantize``, ``astype`` and ``packbits``, numcodecs': numbers kept as others.

Each has a data type of the elements before it (``dtype``) and of what it made of them (``astype``). Where they are not
named, they are the one of the data that is asked for, and the one before. All give new memory.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from active_storage.errors import InvalidArgument, UndecodableData
from handler.codecs.base import Told, cut_short
from handler.codecs.readable import Block

# So many are worked on together: what numpy needs in between stays in the cache.
_PIECE_ELEMENTS = 64 * 1024


def undo_delta(data: memoryview, told: Told) -> memoryview:
    """The first element, then of each one its difference from the one before, added up; integers wrap.

    Of bools the difference is whether they differ; numcodecs writes them so, but adds them up when it reads.

    Raises:
        UndecodableData: The length is not a multiple of the element size.
    """
    stored, elements, memory = _open(data, told, "dtype")
    with np.errstate(all="ignore"):
        if elements.dtype.kind == "b":
            np.bitwise_xor.accumulate(stored != 0, out=elements)
        else:
            # In the type that numpy adds such numbers up in, as numcodecs does.
            np.cumsum(stored, out=elements)
    return memory


def undo_fixedscaleoffset(data: memoryview, told: Told) -> memoryview:
    """The elements times a scale and moved by an offset, as numbers again.

    Raises:
        UndecodableData: The length is not a multiple of the element size.
    """
    stored, elements, memory = _open(data, told, "dtype")
    # As floats, since numpy takes no whole number beyond the type of what it divides; the result is a float anyway.
    scale, offset = float(told.number("scale")), float(told.number("offset"))
    for piece in _pieces(len(elements), told):
        with np.errstate(all="ignore"):
            elements[piece] = (stored[piece] / scale) + offset
    return memory


def undo_scale_offset(data: memoryview, told: Told) -> memoryview:
    """The elements divided by a scale and moved by an offset, in their own type: Zarr 3's ``scale_offset``.

    Raises:
        UndecodableData: The length is not a multiple of the element size, or a result is not an integer of the type.
        InvalidArgument: The type cannot hold the scale or the offset.
    """
    stored, elements, memory = _open(data, told)
    scale, offset = (_find_scalar(told, name) for name in ("scale", "offset"))
    for piece in _pieces(len(elements), told):
        with np.errstate(all="ignore"):
            divided = stored[piece] / scale if told.dtype.kind in "fc" else _divide_whole(stored[piece], scale, told)
            if told.dtype.kind in "iu":
                _ensure_within(divided, int(offset), told)
            elements[piece] = divided + offset
    return memory


def _find_scalar(told: Told, name: str) -> Any:
    value, native = told.number(name), told.dtype.newbyteorder("=").type
    try:
        scalar = native(value)
    except OverflowError:
        scalar = None
    if scalar is None or (told.dtype.kind not in "fc" and scalar != value):
        raise InvalidArgument("filters", f"{told.step.id}: {name} {value} is not a number of {told.dtype.name}")
    return scalar


def _divide_whole(stored: Block, scale: Any, told: Told) -> Block:
    if (stored % scale).any():
        raise UndecodableData(told.step.id, "an integer cannot be divided by the scale without a rest")
    whole: Block = stored // scale
    return whole


def _ensure_within(divided: Block, offset: int, told: Told) -> None:
    limits = np.iinfo(told.dtype)
    if int(divided.min()) + offset < limits.min or int(divided.max()) + offset > limits.max:
        raise UndecodableData(told.step.id, f"an integer is beyond {told.dtype.name}")


def undo_quantize(data: memoryview, told: Told) -> memoryview:
    """The elements in the data type that they had: it rounds when it writes, and only the type is undone.

    Raises:
        UndecodableData: The length is not a multiple of the element size.
    """
    return _cast(data, told, "dtype")


def undo_astype(data: memoryview, told: Told) -> memoryview:
    """The elements in the data type that they had.

    Raises:
        UndecodableData: The length is not a multiple of the element size.
    """
    return _cast(data, told, "decode_dtype")


def _cast(data: memoryview, told: Told, before: str) -> memoryview:
    stored, elements, memory = _open(data, told, before)
    for piece in _pieces(len(elements), told):
        with np.errstate(all="ignore"):
            elements[piece] = stored[piece]
    return memory


def undo_packbits(data: memoryview, told: Told) -> memoryview:
    """A byte for every bit, 0 or 1; the first byte says how many bits of the last mean nothing.

    Raises:
        UndecodableData: There is not that first byte, or it says more bits than there are or than a byte has.
    """
    if not data:
        raise cut_short("packbits")
    unused, packed = data[0], np.frombuffer(data[1:], np.uint8)
    if unused > min(7, 8 * len(packed)):
        raise UndecodableData("packbits", f"{unused} bits of the last byte cannot be without a meaning")
    memory = told.allocate(8 * len(packed))
    bits = np.frombuffer(memory, np.uint8)
    for piece in _pieces(len(packed), told):
        bits[8 * piece.start : 8 * piece.stop] = np.unpackbits(packed[piece])
    return memory[: len(bits) - unused]


def _open(data: memoryview, told: Told, *before: str) -> tuple[Block, Block, memoryview]:
    """What is stored, as numbers; as many elements to be written, of the type that ``before`` names; their memory."""
    stored_dtype, dtype = told.encoded_dtype, told.read_dtype(*before)
    if stored_dtype.kind == "c" != dtype.kind:
        raise InvalidArgument("filters", f"{told.step.id}: {stored_dtype.name} cannot become {dtype.name}")
    if len(data) % stored_dtype.itemsize:
        raise UndecodableData(told.step.id, f"{len(data)} bytes are not a whole number of {stored_dtype.name} elements")
    stored = np.frombuffer(data, stored_dtype)
    memory = told.allocate(len(stored) * dtype.itemsize)
    return stored, np.frombuffer(memory, dtype), memory


def _pieces(count: int, told: Told) -> Iterator[slice]:
    for start in range(0, count, _PIECE_ELEMENTS):
        told.budget.check()
        yield slice(start, min(count, start + _PIECE_ELEMENTS))

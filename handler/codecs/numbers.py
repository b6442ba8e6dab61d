"""``delta``, ``fixedscaleoffset``, ``quantize``, ``astype`` and ``packbits``, numcodecs': numbers kept as others.

Each has a data type of the elements before it (``dtype``) and of what it made of them (``astype``). Where they are not
named, they are the one of the data that is asked for, and the one before. All give new memory.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from active_storage.errors import InvalidArgument, UndecodableData
from handler.codecs.base import StepContext, cut_short
from handler.codecs.readable import Block

# So many are worked on together: what numpy needs in between stays in the cache.
_PIECE_ELEMENTS = 64 * 1024


def undo_delta(data: memoryview, context: StepContext) -> memoryview:
    """The first element, then of each one its difference from the one before, added up; integers wrap.

    Of bools the difference is whether they differ; numcodecs writes them so, but adds them up when it reads.

    Raises:
        UndecodableData: The length is not a multiple of the element size.
    """
    stored, elements, memory = _open(data, context, "dtype")
    with np.errstate(all="ignore"):
        if elements.dtype.kind == "b":
            np.bitwise_xor.accumulate(stored != 0, out=elements)
        else:
            # In the type that numpy adds such numbers up in, as numcodecs does.
            np.cumsum(stored, out=elements)
    return memory


def undo_fixedscaleoffset(data: memoryview, context: StepContext) -> memoryview:
    """The elements times a scale and moved by an offset, as numbers again.

    Raises:
        UndecodableData: The length is not a multiple of the element size.
    """
    stored, elements, memory = _open(data, context, "dtype")
    # As floats, since numpy takes no whole number beyond the type of what it divides; the result is a float anyway.
    scale, offset = float(context.number("scale")), float(context.number("offset"))
    for piece in _pieces(len(elements), context):
        with np.errstate(all="ignore"):
            elements[piece] = (stored[piece] / scale) + offset
    return memory


def undo_scale_offset(data: memoryview, context: StepContext) -> memoryview:
    """The elements divided by a scale and moved by an offset, in their own type: Zarr 3's ``scale_offset``.

    Raises:
        UndecodableData: The length is not a multiple of the element size, or a result is not an integer of the type.
        InvalidArgument: The type cannot hold the scale or the offset.
    """
    stored, elements, memory = _open(data, context)
    scale, offset = (_find_scalar(context, name) for name in ("scale", "offset"))
    for piece in _pieces(len(elements), context):
        with np.errstate(all="ignore"):
            divided = (
                stored[piece] / scale if context.dtype.kind in "fc" else _divide_whole(stored[piece], scale, context)
            )
            if context.dtype.kind in "iu":
                _ensure_within(divided, int(offset), context)
            elements[piece] = divided + offset
    return memory


def _find_scalar(context: StepContext, name: str) -> Any:
    value, native = context.number(name), context.dtype.newbyteorder("=").type
    try:
        scalar = native(value)
    except OverflowError:
        scalar = None
    if scalar is None or (context.dtype.kind not in "fc" and scalar != value):
        raise InvalidArgument("filters", f"{context.step.id}: {name} {value} is not a number of {context.dtype.name}")
    return scalar


def _divide_whole(stored: Block, scale: Any, context: StepContext) -> Block:
    if (stored % scale).any():
        raise UndecodableData(context.step.id, "an integer cannot be divided by the scale without a rest")
    whole: Block = stored // scale
    return whole


def _ensure_within(divided: Block, offset: int, context: StepContext) -> None:
    limits = np.iinfo(context.dtype)
    if int(divided.min()) + offset < limits.min or int(divided.max()) + offset > limits.max:
        raise UndecodableData(context.step.id, f"an integer is beyond {context.dtype.name}")


def undo_quantize(data: memoryview, context: StepContext) -> memoryview:
    """The elements in the data type that they had: it rounds when it writes, and only the type is undone.

    Raises:
        UndecodableData: The length is not a multiple of the element size.
    """
    return _cast(data, context, "dtype")


def undo_astype(data: memoryview, context: StepContext) -> memoryview:
    """The elements in the data type that they had.

    Raises:
        UndecodableData: The length is not a multiple of the element size.
    """
    return _cast(data, context, "decode_dtype")


def _cast(data: memoryview, context: StepContext, before: str) -> memoryview:
    stored, elements, memory = _open(data, context, before)
    for piece in _pieces(len(elements), context):
        with np.errstate(all="ignore"):
            elements[piece] = stored[piece]
    return memory


def undo_packbits(data: memoryview, context: StepContext) -> memoryview:
    """A byte for every bit, 0 or 1; the first byte says how many bits of the last mean nothing.

    Raises:
        UndecodableData: There is not that first byte, or it says more bits than there are or than a byte has.
    """
    if not data:
        raise cut_short("packbits")
    unused, packed = data[0], np.frombuffer(data[1:], np.uint8)
    if unused > min(7, 8 * len(packed)):
        raise UndecodableData("packbits", f"{unused} bits of the last byte cannot be without a meaning")
    memory = context.allocate(8 * len(packed))
    bits = np.frombuffer(memory, np.uint8)
    for piece in _pieces(len(packed), context):
        bits[8 * piece.start : 8 * piece.stop] = np.unpackbits(packed[piece])
    return memory[: len(bits) - unused]


def _open(data: memoryview, context: StepContext, *before: str) -> tuple[Block, Block, memoryview]:
    """What is stored, as numbers; as many elements to be written, of the type that ``before`` names; their memory."""
    stored_dtype, dtype = context.encoded_dtype, context.read_dtype(*before)
    if stored_dtype.kind == "c" != dtype.kind:
        raise InvalidArgument("filters", f"{context.step.id}: {stored_dtype.name} cannot become {dtype.name}")
    if len(data) % stored_dtype.itemsize:
        raise UndecodableData(
            context.step.id, f"{len(data)} bytes are not a whole number of {stored_dtype.name} elements"
        )
    stored = np.frombuffer(data, stored_dtype)
    memory = context.allocate(len(stored) * dtype.itemsize)
    return stored, np.frombuffer(memory, dtype), memory


def _pieces(count: int, context: StepContext) -> Iterator[slice]:
    for start in range(0, count, _PIECE_ELEMENTS):
        context.budget.check()
        yield slice(start, min(count, start + _PIECE_ELEMENTS))

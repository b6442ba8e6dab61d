"""``delta``, ``fixedscaleoffset``, ``quantize``, ``astype`` and ``packbits`` of numcodecs: filters on numbers.

Each has the data type of the elements before the step (``dtype``) and after it (``astype``). The first is by default
that of the data before the step, the second by default the first. All functions return new memory.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from active_storage.errors import InvalidArgument, UndecodableData
from handler.codecs.base import StepContext, cut_short
from handler.codecs.readable import Block

# The number of elements that are processed at a time. numpy's temporary arrays then stay in the cache.
_PIECE_ELEMENTS = 64 * 1024


def undo_delta(data: memoryview, context: StepContext) -> memoryview:
    """The cumulative sum of the stored numbers: the first element, then the difference of each to the one before it.

    Integers wrap. The difference of bools is whether they differ; numcodecs writes that, but adds it up in reading.

    Raises:
        UndecodableData: The length is not a multiple of the element size.
    """
    stored, elements, memory = _open(data, context, "dtype")
    with np.errstate(all="ignore"):
        if elements.dtype.kind == "b":
            np.bitwise_xor.accumulate(stored != 0, out=elements)
        else:
            # In numpy's default data type for such sums, as in numcodecs.
            np.cumsum(stored, out=elements)
    return memory


def undo_fixedscaleoffset(data: memoryview, context: StepContext) -> memoryview:
    """The original numbers: the stored ones divided by the scale, plus the offset.

    Raises:
        UndecodableData: The length is not a multiple of the element size.
    """
    stored, elements, memory = _open(data, context, "dtype")
    # As floats, since numpy refuses a Python integer that the array's data type cannot hold. The result is a float.
    scale, offset = float(context.number("scale")), float(context.number("offset"))
    for piece in _pieces(len(elements), context):
        with np.errstate(all="ignore"):
            elements[piece] = (stored[piece] / scale) + offset
    return memory


def undo_scale_offset(data: memoryview, context: StepContext) -> memoryview:
    """The stored numbers divided by the scale, plus the offset, in their own data type: Zarr 3's ``scale_offset``.

    Raises:
        UndecodableData: The length is not a multiple of the element size, or a result does not fit an integer type.
        InvalidArgument: The data type cannot represent the scale or the offset.
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
        fault = f"{name} {value} cannot be represented as {context.dtype.name}"
        raise InvalidArgument("filters", f"{context.step.id}: {fault}")
    return scalar


def _divide_whole(stored: Block, scale: Any, context: StepContext) -> Block:
    if (stored % scale).any():
        raise UndecodableData(context.step.id, "a stored integer is not a multiple of the scale")
    whole: Block = stored // scale
    return whole


def _ensure_within(divided: Block, offset: int, context: StepContext) -> None:
    limits = np.iinfo(context.dtype)
    if int(divided.min()) + offset < limits.min or int(divided.max()) + offset > limits.max:
        raise UndecodableData(context.step.id, f"a decoded integer is out of range for {context.dtype.name}")


def undo_quantize(data: memoryview, context: StepContext) -> memoryview:
    """The elements in their original data type. The rounding of the writer cannot be undone.

    Raises:
        UndecodableData: The length is not a multiple of the element size.
    """
    return _cast(data, context, "dtype")


def undo_astype(data: memoryview, context: StepContext) -> memoryview:
    """The elements in their original data type.

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
    """A byte, 0 or 1, for each bit. The first stored byte is the number of unused bits in the last.

    Raises:
        UndecodableData: The data is empty, or its first byte is larger than 7 or than the number of bits.
    """
    if not data:
        raise cut_short("packbits")
    unused, packed = data[0], np.frombuffer(data[1:], np.uint8)
    most = min(7, 8 * len(packed))
    if unused > most:
        raise UndecodableData("packbits", f"the first byte gives {unused} unused bits; there can be at most {most}")
    memory = context.allocate(8 * len(packed))
    bits = np.frombuffer(memory, np.uint8)
    for piece in _pieces(len(packed), context):
        bits[8 * piece.start : 8 * piece.stop] = np.unpackbits(packed[piece])
    return memory[: len(bits) - unused]


def _open(data: memoryview, context: StepContext, *before: str) -> tuple[Block, Block, memoryview]:
    """The stored numbers; an array of as many elements for the result, of the data type in ``before``; its memory."""
    stored_dtype, dtype = context.encoded_dtype, context.read_dtype(*before)
    if stored_dtype.kind == "c" != dtype.kind:
        raise InvalidArgument("filters", f"{context.step.id}: {stored_dtype.name} cannot be converted to {dtype.name}")
    if len(data) % stored_dtype.itemsize:
        raise UndecodableData(
            context.step.id, f"{len(data)} bytes are not a multiple of the element size of {stored_dtype.name}"
        )
    stored = np.frombuffer(data, stored_dtype)
    memory = context.allocate(len(stored) * dtype.itemsize)
    return stored, np.frombuffer(memory, dtype), memory


def _pieces(count: int, context: StepContext) -> Iterator[slice]:
    for start in range(0, count, _PIECE_ELEMENTS):
        context.budget.check()
        yield slice(start, min(count, start + _PIECE_ELEMENTS))

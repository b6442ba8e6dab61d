"""``scaleoffset`` of HDF5: the differences from the smallest number, packed in few bits; floats are rounded first.

A chunk has the number of bits (4 bytes, little-endian), the size of the smallest number (1 byte, always 8), that number
(8 bytes), 8 unused bytes, and the packed differences (``bits.py``). The values of the filter in the file
(``cd_values``) are: the scale type, the scale factor, the number of elements, the class of the data type, its size,
whether it has a sign, its byte order, whether there is a fill value, and the bytes of the fill value.

If there is a fill value, a difference with all bits set stands for it. If the differences need all bits of the data
type, the numbers are stored unchanged. HDF5 assumes that the writer had the same byte order as the reader; this code
assumes a little-endian writer.
"""

from struct import Struct
from typing import Any

import numpy as np

from active_storage.errors import InvalidArgument, UndecodableData
from handler.codecs.base import StepContext, cut_short, read_cd_values
from handler.codecs.bits import ensure_length, ensure_packed, unpack
from handler.codecs.readable import Block

_ID = "scaleoffset"

_HEADER = Struct("<IBQ8x")
_BY_DIGITS, _INTEGERS = 0, 2
_SMALLEST_BYTES = 8


def undo(data: memoryview, context: StepContext) -> memoryview:
    """The numbers, in new memory and the file's byte order; ``data`` itself if the filter left it unchanged.

    Raises:
        UndecodableData: The chunk does not match its header.
        InvalidArgument: The values do not describe a data type of numbers.
    """
    scale, factor, count, is_float, size, has_sign, order, has_fill, low, high = read_cd_values(context, 8, 10)
    sizes = {4, 8} if is_float else {1, 2, 4, 8}
    if scale != (_BY_DIGITS if is_float else _INTEGERS) or size not in sizes or max(is_float, has_sign, order) > 1:
        raise InvalidArgument("filters", "scaleoffset: cd_values do not describe a data type of numbers")
    if not is_float and factor == 8 * size:
        return data
    if len(data) < _HEADER.size:
        raise cut_short(_ID)
    bits, smallest_bytes, smallest = _HEADER.unpack_from(data)
    if bits > 8 * size or smallest_bytes != _SMALLEST_BYTES:
        raise UndecodableData(_ID, "the header is not one that HDF5 writes")
    packed = data[_HEADER.size :]
    dtype = np.dtype(f"{'<>'[order]}{'f' if is_float else 'iu'[not has_sign]}{size}")
    is_whole = bits == 8 * size
    if is_whole:
        ensure_length(_ID, len(packed), count * size)
    else:
        ensure_packed(_ID, len(packed), count, bits)
    elements = context.allocate(count * size)
    numbers = np.frombuffer(elements, dtype)
    if is_whole:
        numbers[:] = np.frombuffer(packed, dtype.newbyteorder("<"))
        return elements
    fill = _read_bits(high << 32 | low, dtype)[0]
    restore = _restore_floats if is_float else _restore_integers
    for place, piece in unpack(packed, count, bits):
        is_filled = piece == np.uint64(2**bits - 1) if has_fill else None
        restored = restore(piece, smallest, dtype, factor)
        if is_filled is not None:
            restored[is_filled] = fill
        numbers[place] = restored
        context.budget.check()
    return elements


def _restore_integers(piece: Block, smallest: int, dtype: np.dtype[Any], _factor: int) -> Block:
    piece += np.uint64(smallest)
    # Wraps around, as in HDF5.
    return piece.astype(dtype.newbyteorder("="))


def _restore_floats(piece: Block, smallest: int, dtype: np.dtype[Any], factor: int) -> Block:
    native = dtype.newbyteorder("=")
    digits = factor - 2**32 if factor >= 2**31 else factor
    with np.errstate(all="ignore"):
        restored = piece.astype(native)
        restored /= native.type(np.float64(10) ** digits)
        restored += _read_bits(smallest, dtype)[0]
    return restored


def _read_bits(bits: int, dtype: np.dtype[Any]) -> Block:
    """The number whose little-endian bytes are the first ones of ``bits``."""
    return np.frombuffer(bits.to_bytes(8, "little")[: dtype.itemsize], dtype.newbyteorder("<"))

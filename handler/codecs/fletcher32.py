"""``fletcher32`` of HDF5 and numcodecs: a checksum of the data in the 4 bytes after it, little-endian.

It consists of two sums, both modulo 65,535. The first is that of the data as big-endian words of 16 bits; the second is
that of all values of the first, one after each word. If the data ends with a single byte, that is the upper byte of a
word. HDF5 up to 1.6.2 swapped the bytes of both sums on little-endian machines. Later versions accept both forms;
numcodecs accepts one.
"""

from struct import Struct

import numpy as np

from active_storage.errors import UndecodableData
from handler.codecs.base import StepContext, cut_short

_CHECKSUM = Struct("<I")
_HALVES = Struct("<HH")
_MODULUS = 65_535

# The number of words that are summed at a time: their weighted sum is exact in float64, and BLAS computes it.
_ROW_WORDS = 4096
_WEIGHTS = np.arange(_ROW_WORDS, 0, -1, dtype=np.float64)
_PIECE_ROWS = 64


def undo(data: memoryview, context: StepContext) -> memoryview:
    """The data without its checksum; a view.

    Raises:
        UndecodableData: The checksum is wrong, or the data is empty: HDF5 writes no checksum of empty data.
    """
    if len(data) <= _CHECKSUM.size:
        raise cut_short("fletcher32")
    plain, stored = data[: -_CHECKSUM.size], data[-_CHECKSUM.size :]
    checksum = _compute(plain, context)
    low, high = _HALVES.unpack(_CHECKSUM.pack(checksum))
    swapped = _HALVES.pack(low >> 8 | low << 8 & 0xFF00, high >> 8 | high << 8 & 0xFF00)
    if stored not in (_CHECKSUM.pack(checksum), swapped):
        raise UndecodableData("fletcher32", "the checksum does not match the data")
    return plain


def _compute(data: memoryview, context: StepContext) -> int:
    first, second = 0, 0
    row_bytes = 2 * _ROW_WORDS
    whole = len(data) // row_bytes * row_bytes
    for start in range(0, whole, _PIECE_ROWS * row_bytes):
        piece = data[start : min(whole, start + _PIECE_ROWS * row_bytes)]
        rows = np.frombuffer(piece, ">u2").reshape(-1, _ROW_WORDS).astype(np.float64)
        for plain, weighted in zip(rows.sum(axis=1).tolist(), (rows @ _WEIGHTS).tolist(), strict=True):
            second += _ROW_WORDS * first + int(weighted)
            first += int(plain)
        first, second = _fold(first), _fold(second)
        context.budget.check()
    rest = bytes(data[whole:])
    words = np.frombuffer(rest + bytes(len(rest) % 2), ">u2").astype(np.float64)
    second += len(words) * first + int(words @ _WEIGHTS[_ROW_WORDS - len(words) :])
    first += int(words.sum())
    return _fold(second) << 16 | _fold(first)


def _fold(total: int) -> int:
    """The total modulo 65,535, from 1 to 65,535; 0 only if the total is 0."""
    return (total - 1) % _MODULUS + 1 if total else 0

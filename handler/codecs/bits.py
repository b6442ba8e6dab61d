"""Packed integers of any number of bits, without gaps, the highest bit first, as in HDF5's nbit and scaleoffset.

Eight integers of b bits take b whole bytes. Therefore integer 0 of each group of eight begins at the same bit of a
byte, b bytes after that of the group before, and likewise the others. All integers of one place in their groups are
read together, as a view with a stride of b bytes.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from handler.codecs.base import cut_short, followed

# The number of integers that are unpacked at a time, a multiple of eight. numpy's arrays then stay in the cache.
_PIECE_ELEMENTS = 32 * 1024

_WORD_BYTES = 8


def ensure_packed(codec: str, packed_bytes: int, count: int, bits: int) -> None:
    """Pass if ``count`` packed integers of ``bits`` bits have this size. HDF5 adds a byte if the last one is full.

    Raises:
        UndecodableData: There are fewer or more bytes.
    """
    ensure_length(codec, packed_bytes, count * bits // 8 + 1)


def ensure_length(codec: str, stored_bytes: int, expected_bytes: int) -> None:
    """Pass if the data has the expected size.

    Raises:
        UndecodableData: There are fewer or more bytes.
    """
    if stored_bytes < expected_bytes:
        raise cut_short(codec)
    if stored_bytes > expected_bytes:
        raise followed(codec)


def unpack(packed: memoryview, count: int, bits: int) -> Iterator[tuple[slice, npt.NDArray[np.uint64]]]:
    """The integers in pieces, each with its slice of all integers. ``bits`` is from 0 to 64."""
    for start in range(0, count, _PIECE_ELEMENTS):
        stop = min(count, start + _PIECE_ELEMENTS)
        piece = packed[start * bits // 8 : -(-stop * bits // 8)]
        yield slice(start, stop), _unpack_piece(piece, stop - start, bits)


def _unpack_piece(packed: memoryview, count: int, bits: int) -> npt.NDArray[np.uint64]:
    if not bits:
        return np.zeros(count, np.uint64)
    groups = -(-count // 8)
    # The last integer is read as a word of 8 bytes and a byte after it, so that the memory is padded.
    padded = np.zeros(groups * bits + _WORD_BYTES + 1, np.uint8)
    padded[: len(packed)] = packed
    integers = np.empty((groups, 8), np.uint64)
    for place in range(8):
        first, skipped = divmod(place * bits, 8)
        integers[:, place] = _read(padded, first, groups, bits, ">u8")
        integers[:, place] <<= np.uint64(skipped)
        beyond = skipped + bits - 64
        if beyond > 0:
            last = _read(padded, first + _WORD_BYTES, groups, bits, "u1")
            integers[:, place] |= last >> np.uint8(8 - skipped)
    integers >>= np.uint64(64 - bits)
    return integers.reshape(-1)[:count]


def _read(padded: npt.NDArray[np.uint8], first: int, count: int, step: int, dtype: str) -> npt.NDArray[Any]:
    return np.ndarray((count,), dtype, padded, first, (step,))

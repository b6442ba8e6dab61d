"""Integers of any number of bits, one behind the other, the highest bit first: how HDF5's nbit and scaleoffset pack.

Eight integers of b bits take b whole bytes. So the first of every eight begins at the same bit of its byte, b bytes
after the one before, and all of them are read together as a view with steps of b bytes.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from handler.codecs.base import cut_short, followed

# So many are unpacked together, a multiple of eight: what numpy works on stays in the cache.
_PIECE_ELEMENTS = 32 * 1024

_WORD_BYTES = 8


def ensure_packed(codec: str, packed_bytes: int, count: int, bits: int) -> None:
    """Check the size of ``count`` packed integers of ``bits`` bits. HDF5 adds a byte if the last one is full.

    Raises:
        UndecodableData: There are fewer, or more.
    """
    ensure_length(codec, packed_bytes, count * bits // 8 + 1)


def ensure_length(codec: str, stored_bytes: int, expected_bytes: int) -> None:
    """Pass where there are as many bytes as there should be.

    Raises:
        UndecodableData: There are fewer, or more.
    """
    if stored_bytes < expected_bytes:
        raise cut_short(codec)
    if stored_bytes > expected_bytes:
        raise followed(codec)


def unpack(packed: memoryview, count: int, bits: int) -> Iterator[tuple[slice, npt.NDArray[np.uint64]]]:
    """The integers, a piece at a time, each with its place among all. ``bits`` are 0 to 64."""
    for start in range(0, count, _PIECE_ELEMENTS):
        stop = min(count, start + _PIECE_ELEMENTS)
        piece = packed[start * bits // 8 : -(-stop * bits // 8)]
        yield slice(start, stop), _unpack_piece(piece, stop - start, bits)


def _unpack_piece(packed: memoryview, count: int, bits: int) -> npt.NDArray[np.uint64]:
    if not bits:
        return np.zeros(count, np.uint64)
    groups = -(-count // 8)
    # Room for the last integer's word, and the byte after it.
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

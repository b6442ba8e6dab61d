"""``zfpy``, numcodecs': a stream of zfp with its whole header, decoded by imagecodecs. No checksum.

The library reads beyond the end of a stream that is cut short or damaged. So it is given the stream with as many zeros
behind it as the longest stream of that array could have: one that ends early gives other numbers, never other memory.

The header, the lowest bit first: 32 bits of magic, 2 of the type of the numbers, 2 of the number of dimensions, 48 of
the sizes, the last dimension's first, each less one; then 12 of the mode, or 76 where those 12 are all set.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from handler.core.codecs.base import Told, cut_short, load, translated
from handler.errors import UndecodableData

_ID = "zfpy"

_MAGIC = b"zfp\x05"
_HEADER_BYTES = 12
_DTYPES = (np.dtype(np.int32), np.dtype(np.int64), np.dtype(np.float32), np.dtype(np.float64))
_SIZE_BITS = (48, 24, 16, 12)

# Modes in 12 bits are those of a fixed rate, precision or accuracy, and without loss; zfpy writes no other.
_LONG_MODE = 0xFFF

# Blocks have this side. No block of a fixed rate takes more bits.
_SIDE = 4
_MOST_RATED_BITS = 2048


def undo(data: memoryview, told: Told) -> memoryview:
    """The numbers in C order, in new memory and this machine's byte order.

    Raises:
        UndecodableData: The header is none that zfpy writes.
        EntityTooLarge: More would come out than the budget allows.
    """
    header = _Header.parse(data)
    library = load(_ID, "imagecodecs", "imagecodecs")
    target = told.allocate(math.prod(header.shape) * header.dtype.itemsize)
    padded_bytes = max(header.most_bytes, len(data))
    told.budget.hold(padded_bytes)
    padded = np.zeros(padded_bytes, np.uint8)
    padded[: len(data)] = data
    numbers = np.frombuffer(target, header.dtype).reshape(header.shape)
    with translated(_ID, library.ZfpError, ValueError, RuntimeError):
        library.zfp_decode(padded, out=numbers)
    return target


@dataclass(frozen=True, slots=True)
class _Header:
    """What a stream says of its array."""

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]

    @classmethod
    def parse(cls, data: memoryview) -> Self:
        """The header that ``data`` begins with.

        Raises:
            UndecodableData: It is none that zfpy writes.
        """
        if len(data) < _HEADER_BYTES:
            raise cut_short(_ID)
        if data[: len(_MAGIC)] != _MAGIC:
            raise UndecodableData(_ID, "the data is damaged, or was not written by this codec")
        bits = int.from_bytes(data[len(_MAGIC) : _HEADER_BYTES], "little")
        kind, dimensions, sizes, mode = bits & 3, (bits >> 2 & 3) + 1, bits >> 4, bits >> 52
        if mode == _LONG_MODE:
            raise UndecodableData(_ID, "a mode with parameters of its own is not supported")
        width = _SIZE_BITS[dimensions - 1]
        shape = tuple((sizes >> width * place & (1 << width) - 1) + 1 for place in reversed(range(dimensions)))
        return cls(_DTYPES[kind], shape)

    @property
    def most_bytes(self) -> int:
        """No stream of the array is longer, whatever is in it.

        A block is an exponent, then planes of bits: of each number one in every plane, and as many that say where the
        next number begins.
        """
        blocks: int = math.prod(-(-size // _SIDE) for size in self.shape)
        numbers: int = _SIDE ** len(self.shape)
        bits = 64 + 2 * numbers * (8 * self.dtype.itemsize + 1)
        return _HEADER_BYTES + 16 + blocks * max(bits, _MOST_RATED_BITS) // 8

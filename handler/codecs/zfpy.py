"""``zfpy`` of numcodecs and HDF5's filter 32013: a stream of zfp, decoded by imagecodecs. The format has no checksum.

numcodecs writes the header before the stream. HDF5 keeps it in the file: its ``cd_values`` are a version and the
header. The library reads beyond the end of a truncated or damaged stream. Therefore the stream is padded with zeros to
the length of the longest stream of such an array: a truncated stream then gives wrong numbers, but never reads other
memory.

The header, from the lowest bit: 32 bits of magic, 2 for the data type, 2 for the number of dimensions minus one, 48 for
the sizes minus one, that of the last dimension first, and 12 for the mode. If all bits of the mode are set, 64 bits
follow: 15 for the minimum number of bits of a block minus one, and others that are not used here.
"""

import math
from dataclasses import dataclass
from struct import pack
from typing import Self

import numpy as np
import numpy.typing as npt

from active_storage.errors import UndecodableData
from handler.codecs.base import StepContext, cut_short, load, translated

Bytes = npt.NDArray[np.uint8]

_ID = "zfpy"

_MAGIC = b"zfp\x05"
_SHORT_BITS, _LONG_BITS = 96, 148
_LONG_MODE = 0xFFF
_DTYPES = (np.dtype(np.int32), np.dtype(np.int64), np.dtype(np.float32), np.dtype(np.float64))
_SIZE_BITS = (48, 24, 16, 12)

# The length of a block along each dimension, and the most bits of a block of fixed rate in a mode of 12 bits.
_SIDE = 4
_MOST_RATED_BITS = 2048


def undo(data: memoryview, context: StepContext) -> memoryview:
    """The numbers in C order, in new memory and this machine's byte order.

    Raises:
        UndecodableData: The header is invalid.
        EntityTooLarge: The decoded data is larger than the budget allows.
    """
    values = context.step.value("cd_values")
    head = pack(f"<{len(values)}I", *values)[4:] if isinstance(values, tuple) else b""
    header = _Header.parse(memoryview(head) if head else data)
    library = load(_ID, "imagecodecs", "imagecodecs")
    target = context.allocate(math.prod(header.shape) * header.dtype.itemsize)
    padded_bytes = max(header.most_bytes, len(head) + len(data) + 1)
    context.budget.hold(padded_bytes)
    padded = np.zeros(padded_bytes, np.uint8)
    _join(head, header.bits if head else 0, data, padded)
    numbers = np.frombuffer(target, header.dtype).reshape(header.shape)
    with translated(_ID, library.ZfpError, ValueError, RuntimeError):
        library.zfp_decode(padded, out=numbers)
    return target


def _join(head: bytes, head_bits: int, data: memoryview, padded: Bytes) -> None:
    """Append the bits of the data to those of a header, which can end inside a byte."""
    start, shift = divmod(head_bits, 8)
    stored = np.frombuffer(data, np.uint8)
    padded[: len(head)] = np.frombuffer(head, np.uint8)
    padded[start + bool(shift) :] = 0
    if not shift:
        padded[start : start + len(stored)] = stored
        return
    padded[start] &= (1 << shift) - 1
    padded[start : start + len(stored)] |= stored << shift
    padded[start + 1 : start + 1 + len(stored)] |= stored >> (8 - shift)


@dataclass(frozen=True, slots=True)
class _Header:
    """The header of a stream.

    Attributes:
        dtype: The data type of the numbers.
        shape: The shape of the array.
        bits: The size of the header, in bits.
        least_bits: The minimum size of a block, in bits.
    """

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    bits: int
    least_bits: int

    @classmethod
    def parse(cls, data: memoryview) -> Self:
        """The header at the beginning of ``data``.

        Raises:
            UndecodableData: The header is invalid.
        """
        if len(data) < _SHORT_BITS // 8:
            raise cut_short(_ID)
        if data[: len(_MAGIC)] != _MAGIC:
            raise UndecodableData(_ID, "the data is damaged, or was not written by this codec")
        bits = int.from_bytes(data[len(_MAGIC) : -(-_LONG_BITS // 8)], "little")
        kind, dimensions, sizes = bits & 3, (bits >> 2 & 3) + 1, bits >> 4
        width = _SIZE_BITS[dimensions - 1]
        shape = tuple((sizes >> width * place & (1 << width) - 1) + 1 for place in reversed(range(dimensions)))
        if bits >> 52 & _LONG_MODE != _LONG_MODE:
            return cls(_DTYPES[kind], shape, _SHORT_BITS, _MOST_RATED_BITS)
        if 8 * len(data) < _LONG_BITS:
            raise cut_short(_ID)
        return cls(_DTYPES[kind], shape, _LONG_BITS, (bits >> 64 & 0x7FFF) + 1)

    @property
    def most_bytes(self) -> int:
        """The maximum length of a stream of such an array, in bytes.

        A block is an exponent and bit planes. Each plane has a bit of each number, and at most as many bits that
        separate the numbers.
        """
        blocks: int = math.prod(-(-size // _SIDE) for size in self.shape)
        numbers: int = _SIDE ** len(self.shape)
        bits = 64 + 2 * numbers * (8 * self.dtype.itemsize + 1)
        return self.bits // 8 + 16 + blocks * max(bits, self.least_bits) // 8

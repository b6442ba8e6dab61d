"""``szip``, HDF5's: how many bytes there were (4 bytes, little-endian), then the code of CCSDS 121.0, libaec's.

Values of the filter in the file (``cd_values``): a mask of options, pixels in a block, bits in a pixel, pixels in a
scan line. No checksum, and what follows the code is not noticed.
"""

from dataclasses import dataclass
from struct import Struct
from typing import Self

import numpy as np

from active_storage.errors import InvalidArgument
from handler.codecs.base import StepContext, cut_short, load, read_cd_values, translated
from handler.codecs.readable import fill
from handler.codecs.shuffle import Unshuffled

_ID = "szip"

_LENGTH = Struct("<I")

# What szip itself allows (szlib.h): even blocks of up to 32 pixels, of which a scan line has up to 128.
_MAX_BLOCK_PIXELS, _MAX_LINE_BLOCKS = 32, 128
_MOST_OPTIONS = 255
_PIXEL_BITS = frozenset({*range(1, 25), 32, 64})
_MOST_SAMPLE_BITS = 24


@dataclass(frozen=True, slots=True)
class _Code:
    """How pixels were coded.

    Pixels of 32 and 64 bits are coded as so many planes of bytes. A scan line was padded to a
    whole number of blocks. The library would undo both in memory that it does not clear, so both are undone here.
    """

    options: int
    block: int
    bits: int
    line: int

    @classmethod
    def parse(cls, context: StepContext) -> Self:
        """The code that the values of the filter say.

        Raises:
            InvalidArgument: szip does not take such values.
        """
        options, block, bits, line = read_cd_values(context, 4, 4)
        is_block = 2 <= block <= _MAX_BLOCK_PIXELS and not block % 2
        if (
            options > _MOST_OPTIONS
            or not is_block
            or bits not in _PIXEL_BITS
            or not 1 <= line <= _MAX_LINE_BLOCKS * block
        ):
            raise InvalidArgument("filters", "szip: cd_values are outside of what szip takes")
        return cls(options, block, bits, line)

    @property
    def planes(self) -> int:
        """How many planes of bytes there are."""
        return self.bits // 8 if self.bits > _MOST_SAMPLE_BITS else 1

    @property
    def sample_bytes(self) -> int:
        """How many bytes a pixel of a plane takes, decoded."""
        bits = self.bits // self.planes
        return 1 if bits <= 8 else 2 if bits <= 16 else 4

    @property
    def line_blocks(self) -> int:
        """How many blocks a scan line has."""
        return -(-self.line // self.block)


def undo(data: memoryview, context: StepContext) -> memoryview:
    """What was compressed, in new memory.

    Raises:
        UndecodableData: The data is damaged or cut short.
        InvalidArgument: szip does not take such values.
        EntityTooLarge: More would come out than the budget allows.
    """
    code = _Code.parse(context)
    library = load(_ID, "imagecodecs", "imagecodecs")
    if len(data) <= _LENGTH.size:
        raise cut_short(_ID)
    (size,) = _LENGTH.unpack_from(data)
    line_bytes, padded_bytes = code.line * code.sample_bytes, code.line_blocks * code.block * code.sample_bytes
    lines = -(-size // line_bytes)
    padded = context.allocate(size if line_bytes == padded_bytes else lines * padded_bytes)
    with translated(_ID, library.SzipError, ValueError, RuntimeError):
        decoded = library.szip_decode(
            data[_LENGTH.size :],
            code.options,
            code.block,
            code.bits // code.planes,
            code.line_blocks * code.block,
            out=np.frombuffer(padded, np.uint8),
        )
    if decoded.nbytes != len(padded):
        raise cut_short(_ID)
    planes = _drop_padding(padded, lines, line_bytes, context)[:size]
    if code.planes == 1:
        return planes
    elements = context.allocate(size)
    fill(Unshuffled(planes, code.planes), elements)
    return elements


def _drop_padding(padded: memoryview, lines: int, line_bytes: int, context: StepContext) -> memoryview:
    """The scan lines without what was put behind each; ``padded`` itself where there is nothing."""
    if len(padded) <= lines * line_bytes:
        return padded
    plain = context.allocate(lines * line_bytes)
    rows = np.frombuffer(padded, np.uint8).reshape(lines, -1)
    np.frombuffer(plain, np.uint8).reshape(lines, line_bytes)[:] = rows[:, :line_bytes]
    return plain

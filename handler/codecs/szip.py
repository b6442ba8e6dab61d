"""``szip`` of HDF5: the decoded size (4 bytes, little-endian), then the code of CCSDS 121.0, decoded by libaec.

The values of the filter in the file (``cd_values``) are: a mask of options, the pixels in a block, the bits in a pixel,
and the pixels in a scan line. The format has no checksum, and bytes after the code are not detected.
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

# The limits of szip (szlib.h): blocks of an even number of up to 32 pixels, and scan lines of up to 128 blocks.
_MAX_BLOCK_PIXELS, _MAX_LINE_BLOCKS = 32, 128
_MOST_OPTIONS = 255
_PIXEL_BITS = frozenset({*range(1, 25), 32, 64})
_MOST_SAMPLE_BITS = 24


@dataclass(frozen=True, slots=True)
class _Code:
    """The parameters of the code.

    Pixels of 32 and 64 bits are coded as 4 and 8 planes of bytes. A scan line is padded to a multiple of the block
    size. The library would undo both in memory that it does not clear, so both are undone here.
    """

    options: int
    block: int
    bits: int
    line: int

    @classmethod
    def parse(cls, context: StepContext) -> Self:
        """The code that the values of the filter describe.

        Raises:
            InvalidArgument: A value is outside szip's limits.
        """
        options, block, bits, line = read_cd_values(context, 4, 4)
        is_block = 2 <= block <= _MAX_BLOCK_PIXELS and not block % 2
        if (
            options > _MOST_OPTIONS
            or not is_block
            or bits not in _PIXEL_BITS
            or not 1 <= line <= _MAX_LINE_BLOCKS * block
        ):
            raise InvalidArgument("filters", "szip: cd_values are outside szip's limits")
        return cls(options, block, bits, line)

    @property
    def planes(self) -> int:
        """The number of planes of bytes."""
        return self.bits // 8 if self.bits > _MOST_SAMPLE_BITS else 1

    @property
    def sample_bytes(self) -> int:
        """The decoded size of a pixel of a plane, in bytes."""
        bits = self.bits // self.planes
        return 1 if bits <= 8 else 2 if bits <= 16 else 4

    @property
    def line_blocks(self) -> int:
        """The number of blocks in a scan line."""
        return -(-self.line // self.block)


def undo(data: memoryview, context: StepContext) -> memoryview:
    """The decoded data, in new memory.

    Raises:
        UndecodableData: The data is damaged or truncated.
        InvalidArgument: A value of the filter is outside szip's limits.
        EntityTooLarge: The decoded data is larger than the budget allows.
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
    """The scan lines without their padding; ``padded`` itself if they have none."""
    if len(padded) <= lines * line_bytes:
        return padded
    plain = context.allocate(lines * line_bytes)
    rows = np.frombuffer(padded, np.uint8).reshape(lines, -1)
    np.frombuffer(plain, np.uint8).reshape(lines, line_bytes)[:] = rows[:, :line_bytes]
    return plain

"""``szip``, HDF5's: how many bytes there were (4 bytes, little-endian), then the code of CCSDS 121.0, libaec's.

Values of the filter in the file (``cd_values``): a mask of options, pixels in a block, bits in a pixel, pixels in a
scan line. No checksum, and what follows the code is not noticed.
"""

from struct import Struct

from handler.core.codecs.base import Told, cut_short, load, read_cd_values, translated
from handler.errors import InvalidArgument

_ID = "szip"

_LENGTH = Struct("<I")

# What szip itself allows (szlib.h): even blocks of up to 32 pixels, of which a scan line has up to 128.
_MAX_BLOCK_PIXELS, _MAX_LINE_BLOCKS = 32, 128
_PIXEL_BITS = frozenset({*range(1, 25), 32, 64})


def undo(data: memoryview, told: Told) -> memoryview:
    """What was compressed, in new memory.

    Raises:
        UndecodableData: The data is damaged or cut short.
        InvalidArgument: The values are none that szip takes.
        EntityTooLarge: More would come out than the budget allows.
    """
    options, block, bits, line = read_cd_values(told, 4, 4)
    is_block = 2 <= block <= _MAX_BLOCK_PIXELS and not block % 2
    if not is_block or bits not in _PIXEL_BITS or not 1 <= line <= _MAX_LINE_BLOCKS * block:
        raise InvalidArgument("filters", "szip: cd_values are none that szip takes")
    library = load(_ID, "imagecodecs", "imagecodecs")
    if len(data) <= _LENGTH.size:
        raise cut_short(_ID)
    (size,) = _LENGTH.unpack_from(data)
    target = told.allocate(size)
    with translated(_ID, library.SzipError, ValueError, RuntimeError):
        decoded = library.szip_decode(data[_LENGTH.size :], options, block, bits, line, out=target)
    if decoded.nbytes != size:
        raise cut_short(_ID)
    return target

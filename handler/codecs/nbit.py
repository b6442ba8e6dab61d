"""``nbit`` of HDF5: integers packed to the bits that their data type uses.

HDF5's filter puts the bits back into their place, and HDF5 then converts the numbers to whole bytes. Here both are done
at once: the result is the numbers. The values of the filter in the file (``cd_values``) are: their own number, whether
the filter left the data unchanged, the number of elements, and the class of the data type; then, for integers, the
size, the byte order, the number of bits used, and the number of unused bits below them.
"""

import numpy as np

from active_storage.errors import InvalidArgument
from handler.codecs.base import StepContext, read_cd_values
from handler.codecs.bits import ensure_packed, unpack

_ID = "nbit"
_ATOMIC = 1


def undo(data: memoryview, context: StepContext) -> memoryview:
    """The integers, in new memory and the file's byte order; ``data`` itself if the filter left it unchanged.

    Raises:
        UndecodableData: The data has fewer or more bits than the elements.
        InvalidArgument: The values do not describe an integer type.
    """
    # HDF5 leaves elements of any type unchanged if all their bits are used.
    if read_cd_values(context, 2, 2)[1]:
        return data
    _, _, count, kind, size, order, bits, lowest = read_cd_values(context, 8, 8)
    if kind != _ATOMIC or size not in {1, 2, 4, 8} or order > 1 or not 1 <= bits <= 8 * size - lowest:
        raise InvalidArgument("filters", "nbit: cd_values do not describe an integer data type")
    if context.dtype.kind not in "iu":
        raise InvalidArgument("filters", f"nbit: supports integers only, not {context.dtype.name}")
    ensure_packed(_ID, len(data), count, bits)
    elements = context.allocate(count * size)
    numbers = np.frombuffer(elements, f"{'<>'[order]}i{size}")
    # Shifted up and down again, which extends the sign of signed integers.
    above = np.int64(64 - bits)
    for place, piece in unpack(data, count, bits):
        if context.dtype.kind == "i":
            signed = piece.view(np.int64)
            signed <<= above
            signed >>= above
        numbers[place] = piece.view(np.int64)
        context.budget.check()
    return elements

"""``nbit``, HDF5's: of every integer only the bits that its data type uses.

HDF5's filter puts the bits back where they were, and its reading turns the number of so many bits into one of whole
bytes. Here both is one: what comes out is the number. Values of the filter in the file (``cd_values``): how many there
are, whether nothing was done, how many elements, the class of the data type; then, of a number, its size, its byte
order, how many bits it uses, and how many there are below them.
"""

import numpy as np

from active_storage.errors import InvalidArgument
from handler.codecs.base import StepContext, read_cd_values
from handler.codecs.bits import ensure_packed, unpack

_ID = "nbit"
_ATOMIC = 1


def undo(data: memoryview, context: StepContext) -> memoryview:
    """The integers, in new memory and the byte order that the file has; ``data`` itself where nothing was done.

    Raises:
        UndecodableData: There are not as many bits as the elements need.
        InvalidArgument: The values do not describe an integer type.
    """
    # HDF5 leaves whole bytes alone, of whatever type they are.
    if read_cd_values(context, 2, 2)[1]:
        return data
    _, _, count, kind, size, order, bits, lowest = read_cd_values(context, 8, 8)
    if kind != _ATOMIC or size not in {1, 2, 4, 8} or order > 1 or not 1 <= bits <= 8 * size - lowest:
        raise InvalidArgument("filters", "nbit: cd_values are not of a data type of integers")
    if context.dtype.kind not in "iu":
        raise InvalidArgument("filters", f"nbit: bits of {context.dtype.name} cannot be put together, only of integers")
    ensure_packed(_ID, len(data), count, bits)
    elements = context.allocate(count * size)
    numbers = np.frombuffer(elements, f"{'<>'[order]}i{size}")
    # Moved up and down again, so that the highest bit of a signed number fills those above it.
    above = np.int64(64 - bits)
    for place, piece in unpack(data, count, bits):
        if context.dtype.kind == "i":
            signed = piece.view(np.int64)
            signed <<= above
            signed >>= above
        numbers[place] = piece.view(np.int64)
        context.budget.check()
    return elements

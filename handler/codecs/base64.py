"""``base64`` of numcodecs: RFC 4648, section 4, without line breaks."""

import binascii

from active_storage.errors import UndecodableData
from handler.codecs.base import StepContext, translated

# The number of characters that are decoded at a time. Four characters encode three bytes.
_PIECE_CHARACTERS = 1024 * 1024


def undo(data: memoryview, context: StepContext) -> memoryview:
    """The decoded data, in new memory.

    Raises:
        UndecodableData: There are other characters, or their number is not a multiple of four.
        EntityTooLarge: The decoded data is larger than the budget allows.
    """
    target, filled = context.allocate(-(-len(data) // 4) * 3), 0
    for start in range(0, len(data), _PIECE_CHARACTERS):
        piece = data[start : start + _PIECE_CHARACTERS]
        is_last = start + len(piece) == len(data)
        with translated("base64", ValueError):
            decoded = binascii.a2b_base64(piece, strict_mode=True)
        if len(piece) % 4 or (not is_last and len(decoded) * 4 != len(piece) * 3):
            raise UndecodableData("base64", "the data is truncated, or other bytes follow its end")
        target[filled : filled + len(decoded)] = decoded
        filled += len(decoded)
        context.budget.check()
    return target[:filled]

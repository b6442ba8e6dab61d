"""``pcodec`` of numcodecs: a standalone file of pco. It has the data type of its numbers, but not always their number.

The format has no checksum, and bytes after the file are not detected.
"""

from typing import Any

import numpy as np

from active_storage.errors import InvalidArgument
from handler.codecs.base import StepContext, load, translated

_ID = "pcodec"

# The data types that pco supports.
_NUMBERS = frozenset(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)) | {"f2", "f4", "f8"}


def undo(data: memoryview, context: StepContext) -> memoryview:
    """The numbers, in new memory and this machine's byte order, as in numcodecs.

    Raises:
        UndecodableData: The data is damaged, or has another data type.
        InvalidArgument: pco does not support the data type.
        EntityTooLarge: The decoded data is larger than the budget allows.
    """
    dtype = context.dtype.newbyteorder("=")
    if dtype.str[1:] not in _NUMBERS:
        raise InvalidArgument("filters", f"pcodec: does not support {dtype.name}")
    library = load(_ID, "pcodec.standalone", "pcodec")
    context.budget.hold(len(data))
    stored, count = bytes(data), context.likely_bytes // dtype.itemsize + 1
    while True:
        target = context.allocate(count * dtype.itemsize)
        numbers: np.ndarray[Any, Any] = np.frombuffer(target, dtype)
        with translated(_ID, RuntimeError, TypeError, ValueError):
            progress = library.simple_decompress_into(stored, numbers)
        if progress.finished:
            return target[: progress.n_processed * dtype.itemsize]
        count *= 2

"""``fletcher32``, HDF5's and numcodecs': a checksum of the data in 4 bytes after it, little-endian."""

from functools import cache
from importlib import import_module
from typing import Any

from handler.core.codecs.base import cut_short, translated
from handler.spec import ReductionSpec

_CHECKSUM_BYTES = 4


@cache
def _library() -> Any:
    # Not at the top of the file: the package starts Blosc's threads, and only who needs it shall have them.
    return import_module("numcodecs.fletcher32").Fletcher32()


def undo(data: memoryview, _element_size: int, _spec: ReductionSpec, /) -> memoryview:
    """The data without its checksum, which was right; a view, nothing is copied.

    Raises:
        UndecodableData: The checksum is wrong, or there is nothing before it: HDF5 writes none of nothing.
    """
    if len(data) <= _CHECKSUM_BYTES:
        raise cut_short("fletcher32")
    with translated("fletcher32", RuntimeError, ValueError):
        _library().decode(data)
    return data[:-_CHECKSUM_BYTES]

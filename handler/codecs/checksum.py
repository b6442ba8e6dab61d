"""``crc32``, ``adler32``, ``crc32c`` and ``jenkins_lookup3`` of numcodecs: a checksum in 4 bytes, little-endian.

It is before the data or after it (``location``); Zarr 3's crc32c is after it. jenkins_lookup3 is HDF5's checksum of its
metadata, and is always after the data.
"""

import zlib
from collections.abc import Callable
from importlib import import_module
from struct import Struct

from active_storage.errors import UndecodableData
from handler.codecs.base import StepContext, cut_short

_CHECKSUM = Struct("<I")

# The number of bytes that are summed between two checks of the request's deadline.
_PIECE_BYTES = 1024 * 1024


def undo_crc32(data: memoryview, context: StepContext) -> memoryview:
    """The data without its CRC-32 (ISO-HDLC, as in zlib). Like all functions here, it returns a view."""
    return _undo(data, context, lambda plain: _add_up(plain, context, zlib.crc32, 0))


def undo_adler32(data: memoryview, context: StepContext) -> memoryview:
    """The data without its Adler-32 (RFC 1950)."""
    return _undo(data, context, lambda plain: _add_up(plain, context, zlib.adler32, 1))


def undo_crc32c(data: memoryview, context: StepContext) -> memoryview:
    """The data without its CRC-32C (RFC 3720)."""
    extend = import_module("google_crc32c").extend
    # The library accepts bytes only, so that each piece is copied.
    return _undo(
        data, context, lambda plain: _add_up(plain, context, lambda piece, value: extend(value, bytes(piece)), 0)
    )


def undo_jenkins_lookup3(data: memoryview, context: StepContext) -> memoryview:
    """The data without its lookup3 hash, whose initial value is ``initval``."""
    return _undo(data, context, lambda plain: lookup3(plain, context.integer("initval")), location="end")


def lookup3(data: bytes | memoryview, initval: int = 0) -> int:
    """Bob Jenkins' lookup3 hash of the data, whose initial value is ``initval``: HDF5's checksum of its metadata."""
    return int(import_module("numcodecs.jenkins").jenkins_lookup3(data, initval))


def _undo(
    data: memoryview, context: StepContext, compute: Callable[[memoryview], int], location: object = None
) -> memoryview:
    if len(data) < _CHECKSUM.size:
        raise cut_short(context.step.id)
    if (location or context.step.value("location")) == "start":
        stored, plain = data[: _CHECKSUM.size], data[_CHECKSUM.size :]
    else:
        plain, stored = data[: -_CHECKSUM.size], data[-_CHECKSUM.size :]
    if stored != _CHECKSUM.pack(compute(plain)):
        raise UndecodableData(context.step.id, "the checksum does not match the data")
    return plain


def _add_up(plain: memoryview, context: StepContext, extend: Callable[[memoryview, int], int], value: int) -> int:
    for start in range(0, len(plain), _PIECE_BYTES):
        value = extend(plain[start : start + _PIECE_BYTES], value)
        context.budget.check()
    return value

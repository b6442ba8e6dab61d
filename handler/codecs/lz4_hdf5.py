"""``lz4_hdf5``: HDF5's filter 32004: blocks of LZ4. All numbers are big-endian.

    8 bytes   the decoded size of the data
    4 bytes   the decoded size of a block; the last block can be smaller
    then, for each block: its stored size in 4 bytes, and the block; if the two sizes are equal, it is not compressed

The format has no checksum.
"""

from functools import cache
from importlib import import_module
from struct import Struct
from typing import Any

from active_storage.errors import UndecodableData
from handler.codecs.base import StepContext, cut_short, followed, translated

_ID = "lz4_hdf5"

_HEADER = Struct(">QI")
_LENGTH = Struct(">I")

# numcodecs expects the decoded size before a block.
_PREFIX = Struct("<I")


@cache
def _library() -> Any:
    # Imported on first use: the package starts Blosc's threads.
    return import_module("numcodecs.lz4")


def undo(data: memoryview, context: StepContext) -> memoryview:
    """The decoded data, in new memory. Copies each stored block, since the library expects a prefix before it.

    Raises:
        UndecodableData: The data is damaged, truncated, or followed by other bytes.
        EntityTooLarge: The decoded data is larger than the budget allows.
    """
    if len(data) < _HEADER.size:
        raise cut_short(_ID)
    size, block_bytes = _HEADER.unpack_from(data)
    if size and not block_bytes:
        raise UndecodableData(_ID, "the header has a block size of 0")
    context.budget.hold(len(data))
    target = context.allocate(size)
    rest = data[_HEADER.size :]
    for start in range(0, size, block_bytes or 1):
        block = target[start : start + block_bytes]
        stored, rest = split_block(_ID, rest)
        _decode_block(_ID, stored, block)
        context.budget.check()
    if rest:
        raise followed(_ID)
    return target


def split_block(codec: str, data: memoryview) -> tuple[memoryview, memoryview]:
    """The first block of ``data``, without the length before it, and the rest.

    Raises:
        UndecodableData: The data is shorter than the length says.
    """
    if len(data) < _LENGTH.size:
        raise cut_short(codec)
    (length,) = _LENGTH.unpack_from(data)
    if length > len(data) - _LENGTH.size:
        raise cut_short(codec)
    return data[_LENGTH.size : _LENGTH.size + length], data[_LENGTH.size + length :]


def _decode_block(codec: str, stored: memoryview, block: memoryview) -> None:
    """Decode a block into its place; copy it if it has the same size, since it is then not compressed."""
    if len(stored) == len(block):
        block[:] = stored
    else:
        decode_lz4(codec, stored, block)


def decode_lz4(codec: str, stored: memoryview, block: memoryview) -> None:
    """Decode a block of LZ4, which must fill ``block``.

    Raises:
        UndecodableData: It is damaged, or decodes to another number of bytes.
    """
    with translated(codec, RuntimeError, ValueError, OverflowError):
        _library().decompress(_PREFIX.pack(len(block)) + bytes(stored), block)

"""``lz4_hdf5``: HDF5's filter 32004: blocks of LZ4, each behind its length, after the length of all and of a block.

    8 bytes   how many bytes there were, big-endian as all numbers here
    4 bytes   how many of them a block has; the last one has the rest
    then, for each block: 4 bytes, how long it is as stored; the block, as it is where that is its length

No checksum.
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

# What numcodecs wants before a block: its decoded length.
_PREFIX = Struct("<I")


@cache
def _library() -> Any:
    # Not at the top of the file: the package starts Blosc's threads, and only who needs it shall have them.
    return import_module("numcodecs.lz4")


def undo(data: memoryview, context: StepContext) -> memoryview:
    """What was compressed, in new memory. Holds what is stored a second time: the library wants a prefix before it.

    Raises:
        UndecodableData: The data is damaged, cut short or followed by something.
        EntityTooLarge: More would come out than the budget allows.
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
    """The first block of ``data``, which its length stands before, and the rest.

    Raises:
        UndecodableData: There is less.
    """
    if len(data) < _LENGTH.size:
        raise cut_short(codec)
    (length,) = _LENGTH.unpack_from(data)
    if length > len(data) - _LENGTH.size:
        raise cut_short(codec)
    return data[_LENGTH.size : _LENGTH.size + length], data[_LENGTH.size + length :]


def _decode_block(codec: str, stored: memoryview, block: memoryview) -> None:
    """Decode all of a block into its place; as it is, where it takes as many bytes."""
    if len(stored) == len(block):
        block[:] = stored
    else:
        decode_lz4(codec, stored, block)


def decode_lz4(codec: str, stored: memoryview, block: memoryview) -> None:
    """Decode LZ4 that is to fill ``block``.

    Raises:
        UndecodableData: It is damaged, or gives another number of bytes.
    """
    with translated(codec, RuntimeError, ValueError, OverflowError):
        _library().decompress(_PREFIX.pack(len(block)) + bytes(stored), block)

"""``bitshuffle``: in blocks of 8 KiB, first bit 0 of every element, then bit 1 of every element, and so on.

The format is that of the library bitshuffle and of its HDF5 filter 32008. This is numpy code, because the library has
no wheel for Python 3.13; it decodes 400 to 800 MB/s.

If the filter compresses (``cname``), the data begins with a header: the decoded size (8 bytes) and the decoded size of
a block (4 bytes). Then each block is LZ4 or one frame of zstd, after its length in 4 bytes. All numbers are big-endian.
Without compression there is no header, and the parameter ``block_size`` gives the number of elements in a block; 0 is
the library's default.

A block of n elements of s bytes is stored as 8 s rows of n / 8 bytes. Row 8 b + i has bit i of byte b of all elements,
that of the first element in the lowest bit. Therefore eight rows have one byte of every element. For each group of
eight elements they form a matrix of 8 x 8 bits, which is transposed as one 64-bit integer (Warren, Hacker's Delight,
7-3).
"""

from collections.abc import Callable
from struct import Struct

import numpy as np
import numpy.typing as npt

from active_storage.errors import InvalidArgument, UndecodableData
from handler.codecs.base import StepContext, cut_short, followed, translated
from handler.codecs.lz4_hdf5 import decode_lz4, split_block
from handler.codecs.zstd import ZstdDecoder, start_zstd

Bytes = npt.NDArray[np.uint8]
Decode = Callable[[str, memoryview, memoryview], None]

_ID = "bitshuffle"

_HEADER = Struct(">QI")

# bitshuffle_core.h: BSHUF_TARGET_BLOCK_SIZE_B, BSHUF_BLOCKED_MULT and BSHUF_MIN_RECOMMEND_BLOCK.
_BLOCK_BYTES = 8192
_MULTIPLE = 8
_LEAST_ELEMENTS = 128

# The number of bytes that are undone at a time: numpy's fixed costs are small, and its arrays stay in the cache.
_GROUP_BYTES = 256 * 1024

# The three steps of the transposition: the distance of the bits that are swapped, and a mask of the lower ones.
_SWAPS = (
    (np.uint64(7), np.uint64(0x00AA00AA00AA00AA)),
    (np.uint64(14), np.uint64(0x0000CCCC0000CCCC)),
    (np.uint64(28), np.uint64(0x00000000F0F0F0F0)),
)


def undo(data: memoryview, context: StepContext) -> memoryview:
    """The original elements, in new memory. The last elements beyond a multiple of eight are stored unchanged.

    Raises:
        UndecodableData: The length is not a multiple of the element size, or the data does not match its header.
        InvalidArgument: The number of elements in a block is not a multiple of eight.
        EntityTooLarge: The decoded data is larger than the budget allows.
    """
    size, name = context.element_size, context.step.value("cname")
    usual_elements = max(_BLOCK_BYTES // size // _MULTIPLE * _MULTIPLE, _LEAST_ELEMENTS)
    block = (context.integer("block_size") or usual_elements) * size
    if name != "none":
        data, block = _decompress(data, context, _decode_zstd if name == "zstd" else decode_lz4)
    if block % (_MULTIPLE * size):
        raise InvalidArgument("filters", "bitshuffle: block_size should be a multiple of 8")
    if len(data) % size:
        raise UndecodableData(_ID, f"{len(data)} bytes are not a multiple of the element size, {size} bytes")
    stored = np.frombuffer(data, np.uint8)
    target = context.allocate(len(data))
    elements = np.frombuffer(target, np.uint8)
    group = max(_GROUP_BYTES // block, 1) * block
    blocked = len(data) // block * block
    for start in range(0, blocked, group):
        stop = min(start + group, blocked)
        _undo_blocks(stored[start:stop], elements[start:stop], block, size)
        context.budget.check()
    last = (len(data) - blocked) // (_MULTIPLE * size) * _MULTIPLE * size
    if last:
        _undo_blocks(stored[blocked : blocked + last], elements[blocked : blocked + last], last, size)
    elements[blocked + last :] = stored[blocked + last :]
    return target


def _decompress(data: memoryview, context: StepContext, decode: Decode) -> tuple[memoryview, int]:
    """The decompressed blocks, and the size of a block in bytes."""
    if len(data) < _HEADER.size:
        raise cut_short(_ID)
    total, block = _HEADER.unpack_from(data)
    unit = _MULTIPLE * context.element_size
    if not block or block % unit:
        raise UndecodableData(_ID, "the block size in the header is not a multiple of 8 elements")
    target, rest = context.allocate(total), data[_HEADER.size :]
    # The last elements beyond a multiple of eight are not compressed.
    blocked = total // unit * unit
    for start in range(0, blocked, block):
        stored, rest = split_block(_ID, rest)
        decode(_ID, stored, target[start : min(start + block, blocked)])
        context.budget.check()
    if len(rest) < total - blocked:
        raise cut_short(_ID)
    if len(rest) > total - blocked:
        raise followed(_ID)
    target[blocked:] = rest
    return target, block


def _decode_zstd(codec: str, stored: memoryview, block: memoryview) -> None:
    """Decode one frame, which must fill ``block``.

    Raises:
        UndecodableData: The frame is damaged, or decodes to another number of bytes.
    """
    decompressor = start_zstd()
    with translated(codec, *ZstdDecoder.errors):
        # One byte more than expected, so that a longer frame is detected.
        piece = decompressor.decompress(stored, len(block) + 1)
    if len(piece) != len(block) or not decompressor.eof or decompressor.unused_data:
        raise UndecodableData(codec, "a block does not have the size in the header")
    block[:] = piece


def _undo_blocks(stored: Bytes, elements: Bytes, block: int, element_size: int) -> None:
    count, width = len(stored) // block, block // element_size // 8
    rows = stored.reshape(count, element_size, 8, width)
    matrices = np.empty((count, element_size, width, 8), np.uint8)
    for row in range(8):
        matrices[..., row] = rows[:, :, row]
    _transpose_bits(matrices.view("<u8"))
    columns = elements.reshape(count, width * 8, element_size)
    for place in range(element_size):
        columns[..., place] = matrices[:, place].reshape(count, width * 8)


def _transpose_bits(matrices: npt.NDArray[np.uint64]) -> None:
    differing = np.empty_like(matrices)
    for distance, mask in _SWAPS:
        np.right_shift(matrices, distance, out=differing)
        differing ^= matrices
        differing &= mask
        matrices ^= differing
        differing <<= distance
        matrices ^= differing

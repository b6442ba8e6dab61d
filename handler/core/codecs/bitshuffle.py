"""``bitshuffle``: in blocks of 8 KiB first every element's first bit, then every second bit, and so on.

As the library of that name and its HDF5 filter without compression write it, with its default size of blocks. Written
in numpy, because the library has no wheel for Python 3.13: 400 to 800 MB/s.

A block of n elements of s bytes is 8 s rows of n / 8 bytes. Row 8 b + i holds the bits i of the elements' bytes b, the
first element's in the lowest bit. So eight rows hold what is to become one byte of each element: of every eight
elements a matrix of 8 x 8 bits, which is transposed as one number of 64 bits (Warren, Hacker's Delight, 7-3).
"""

import numpy as np
import numpy.typing as npt

from handler.errors import UndecodableData
from handler.spec import ReductionSpec

Bytes = npt.NDArray[np.uint8]

# bitshuffle_core.h: BSHUF_TARGET_BLOCK_SIZE_B, BSHUF_BLOCKED_MULT and BSHUF_MIN_RECOMMEND_BLOCK.
_BLOCK_BYTES = 8192
_MULTIPLE = 8
_LEAST_ELEMENTS = 128

# So many bytes are undone together: numpy's fixed costs vanish, and what it works on stays in the cache.
_GROUP_BYTES = 256 * 1024

# Of the three steps of the transposition: how far the bits are apart that are swapped, and the lower ones of them.
_SWAPS = (
    (np.uint64(7), np.uint64(0x00AA00AA00AA00AA)),
    (np.uint64(14), np.uint64(0x0000CCCC0000CCCC)),
    (np.uint64(28), np.uint64(0x00000000F0F0F0F0)),
)


def undo(data: memoryview, element_size: int, _spec: ReductionSpec, /) -> memoryview:
    """The elements again, in new memory. Of the last few, those beyond a multiple of eight are as they were.

    Raises:
        UndecodableData: The data is no whole number of elements, which the filter does not take.
    """
    if len(data) % element_size:
        raise UndecodableData("bitshuffle", f"{len(data)} bytes are no whole number of {element_size} bytes")
    stored = np.frombuffer(data, np.uint8)
    elements = np.empty_like(stored)
    block = max(_BLOCK_BYTES // element_size // _MULTIPLE * _MULTIPLE, _LEAST_ELEMENTS) * element_size
    group = max(_GROUP_BYTES // block, 1) * block
    blocked = len(data) // block * block
    for start in range(0, blocked, group):
        stop = min(start + group, blocked)
        _undo_blocks(stored[start:stop], elements[start:stop], block, element_size)
    last = (len(data) - blocked) // (_MULTIPLE * element_size) * _MULTIPLE * element_size
    if last:
        _undo_blocks(stored[blocked : blocked + last], elements[blocked : blocked + last], last, element_size)
    elements[blocked + last :] = stored[blocked + last :]
    return elements.data


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

"""Bytes that arrive become blocks of numbers: whole elements, in the machine's byte order.

One buffer is filled, handed out and filled again, so that it stays in the CPU's cache and memory does not grow with the
object. A block is always filled to the end before it is handed out, except the last: what the network's reads were
cut into never reaches the arithmetic, and the same bytes give the same result to the last bit.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from handler.errors import IncompleteElement, InvalidArgument
from handler.spec import DTYPES, ReductionSpec

# Large enough that a block's fixed costs (some 10 µs of Python) vanish beside its bytes, small enough for the L2 cache
# of a core, and a multiple of every element's size.
BLOCK_BYTES = 256 * 1024

Block = np.ndarray[tuple[int, ...], np.dtype[Any]]


class Readable(Protocol):
    """Where bytes come from, seen from here."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill some of ``buffer``; how many bytes, 0 only where the data ends."""


def read_blocks(stream: Readable, spec: ReductionSpec) -> Iterator[Block]:
    """The stream's elements as one-dimensional blocks in native byte order.

    Each block is a view of the same memory, good until the next one is asked for. Swaps bytes in place; copies nothing.

    Args:
        stream: Whole elements; its length was checked when it was opened.
        spec: Gives the data type and the byte order of the source.
    """
    buffer = bytearray(BLOCK_BYTES)
    elements = np.frombuffer(buffer, dtype=_storage_dtype(spec))
    is_swapped = not _storage_dtype(spec).newbyteorder(spec.byte_order).isnative
    while filled := _fill(stream, memoryview(buffer)):
        block: Block = elements[: filled // spec.element_bytes]
        if is_swapped:
            block.byteswap(inplace=True)
        yield block != 0 if spec.dtype == "bool" else block


def count_elements(spec: ReductionSpec, start: int, stop: int) -> int:
    """How many elements lie in the bytes from ``start`` to ``stop``, excluded, of an object.

    Raises:
        InvalidArgument: A range begins or ends inside an element.
        IncompleteElement: The bytes are not a whole number of elements.
    """
    element = f"{spec.dtype} elements are {spec.element_bytes} bytes"
    if spec.range is not None and (start % spec.element_bytes or stop % spec.element_bytes):
        raise InvalidArgument("Range", f"bytes {start} to {stop - 1} begin or end inside an element; {element}")
    if (stop - start) % spec.element_bytes:
        raise IncompleteElement(f"{stop - start} bytes are no whole number of elements; {element}")
    return (stop - start) // spec.element_bytes


def _storage_dtype(spec: ReductionSpec) -> np.dtype[Any]:
    # A byte other than 0 and 1 is no bool to numpy's kernels (some pass it through, some do not), so that bytes are
    # read as numbers, and every one that is not 0 is true, as in C and HDF5.
    return np.dtype(np.uint8) if spec.dtype == "bool" else DTYPES[spec.dtype]


def _fill(stream: Readable, buffer: memoryview) -> int:
    filled = 0
    while filled < len(buffer) and (received := stream.readinto(buffer[filled:])):
        filled += received
    return filled

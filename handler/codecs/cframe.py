"""The parser of Blosc 2's contiguous frame: where its chunks are, and how those of a blocked array are reordered.

Sources: c-blosc2's README_CFRAME_FORMAT and README_B2ND_METALAYER. The header is msgpack, with every field at a fixed
position and in a fixed form, so that it is read as a structure. The user's own metadata is skipped. Nothing is decoded
here.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from struct import Struct, error, unpack_from
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from active_storage.errors import UndecodableData
from handler.codecs.base import cut_short, followed

CODEC = "blosc2"

_MAGIC = b"\x9e\xa8b2frame\0"

# Sizes of the header and the frame, flags, type; decoded and encoded bytes; sizes of elements and chunks.
_HEADER = Struct(">11xixQxBB3xqxqxi5xxi")
_METADATA = 87

# The flags for chunks of varying size, and for chunks whose blocks vary in size.
_VARYING = 0xC0

# The name of a blocked array's layout among the metalayers, with the tag of the offset after it; the offset; and the
# number of bytes at that offset before the layout.
_LAYOUT = b"\xa4b2nd\xd2"
_LAYOUT_OFFSET = Struct(">i")
_LAYOUT_SKIPPED = 5

# b2nd.h allows 16, but each chunk of an array of n dimensions is copied in up to 2^n parts.
_MAX_AXES = 8

# The highest byte of a negative offset: a chunk that is not stored, because all its values are equal.
_ZEROS, _NANS = 0x81, 0x82
_NAN_TYPES = {4: "<f4", 8: "<f8"}


def is_frame(data: memoryview) -> bool:
    """Whether the data begins like a contiguous frame."""
    return data[: len(_MAGIC)] == _MAGIC


@dataclass(frozen=True, slots=True)
class Layout:
    """How an array is divided into chunks, and a chunk into blocks.

    Chunks are stored in C order. Each is padded to whole blocks, which are stored in C order too.
    """

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    block: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def grid(self) -> tuple[int, ...]:
        """The number of chunks along each dimension."""
        return tuple(-(-size // chunk) for size, chunk in zip(self.shape, self.chunk, strict=True))

    @property
    def blocks(self) -> tuple[int, ...]:
        """The number of blocks in a chunk along each dimension."""
        return tuple(-(-chunk // block) for chunk, block in zip(self.chunk, self.block, strict=True))

    @property
    def decoded_bytes(self) -> int:
        """The size of the array, in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def chunk_bytes(self) -> int:
        """The size of a chunk with its padding, in bytes."""
        return math.prod(self.blocks) * math.prod(self.block) * self.dtype.itemsize

    @property
    def is_plain(self) -> bool:
        """Whether the bytes are in C order: the array is one chunk of one block."""
        return self.shape == self.chunk == self.block

    def slices(self, place: tuple[int, ...]) -> tuple[slice, ...]:
        """The part of the array that the chunk at ``place`` of the grid has."""
        return tuple(
            slice(number * chunk, (number + 1) * chunk) for number, chunk in zip(place, self.chunk, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Frame:
    """The header of a frame.

    Attributes:
        chunks_start: The position at which the chunks begin; their offsets count from here.
        chunks_stop: The position at which they end, and the chunk with their offsets begins.
        padded_bytes: The decoded size of all chunks.
        chunk_bytes: The decoded size of a chunk, except the last.
        element_bytes: The size of an element.
        layout: The layout of a blocked array whose bytes are not in C order; None for all others.
    """

    chunks_start: int
    chunks_stop: int
    padded_bytes: int
    chunk_bytes: int
    element_bytes: int
    layout: Layout | None

    @classmethod
    def parse(cls, data: memoryview, stored_bytes: int) -> Self:
        """The frame at the beginning of ``data``, which must have the whole header.

        Args:
            data: The first bytes of the frame.
            stored_bytes: The size of the frame.

        Raises:
            UndecodableData: It is not a valid frame, or of an unsupported kind.
        """
        if len(data) < _METADATA:
            raise cut_short(CODEC)
        header_bytes, frame_bytes, flags, kind, decoded, encoded, element_bytes, chunk_bytes = _HEADER.unpack_from(data)
        if frame_bytes > stored_bytes:
            raise cut_short(CODEC)
        if frame_bytes < stored_bytes:
            raise followed(CODEC)
        if flags & _VARYING or kind:
            raise UndecodableData(CODEC, "a frame whose chunks vary in size, or are in other files, is not supported")
        chunks_stop = header_bytes + encoded
        if header_bytes > len(data) and header_bytes <= stored_bytes:
            raise UndecodableData(CODEC, f"a frame with a header of {header_bytes} bytes is not supported")
        if (
            min(decoded, encoded) < 0
            or element_bytes < 1
            or not _METADATA <= header_bytes <= chunks_stop <= stored_bytes
        ):
            raise _damaged()
        if decoded and chunk_bytes < 1:
            raise _damaged()
        layout = _find_layout(data[_METADATA:header_bytes], data[:header_bytes], element_bytes)
        if layout is not None and (layout.chunk_bytes, math.prod(layout.grid) * chunk_bytes) != (chunk_bytes, decoded):
            raise _damaged()
        if layout is not None and layout.is_plain:
            layout = None
        return cls(header_bytes, chunks_stop, decoded, chunk_bytes, element_bytes, layout)

    @property
    def decoded_bytes(self) -> int:
        """The decoded size of the frame."""
        return self.padded_bytes if self.layout is None else self.layout.decoded_bytes

    @property
    def chunks(self) -> int:
        """The number of chunks."""
        return -(-self.padded_bytes // self.chunk_bytes) if self.padded_bytes else 0

    def fill(self, offset: int, target: memoryview) -> None:
        """Fill ``target`` with a chunk that is not stored.

        Raises:
            UndecodableData: The offset stands for a kind of chunk that is not supported.
        """
        kind = offset >> 56 & 0xFF
        if kind == _ZEROS:
            np.frombuffer(target, np.uint8)[:] = 0
        elif kind == _NANS and self.element_bytes in _NAN_TYPES and not len(target) % self.element_bytes:
            np.frombuffer(target, _NAN_TYPES[self.element_bytes])[:] = np.nan
        else:
            raise UndecodableData(CODEC, "a chunk of this kind, whose data is not in the chunk, is not supported")


def unblock(padded: npt.NDArray[Any], target: npt.NDArray[Any], layout: Layout) -> None:
    """Copy the blocks of a decoded chunk, in C order, to its part of the array. Copies each element once."""
    blocks = padded.reshape(*layout.blocks, *layout.block)
    interleaved = blocks.transpose([axis for pair in zip(*_halves(blocks.ndim), strict=True) for axis in pair])
    # Along each dimension: whole blocks, and the rest of a partial one. Each combination is one copy.
    parts = [list(_parts(size, block)) for size, block in zip(target.shape, layout.block, strict=True)]
    for corner in product(*parts):
        source = interleaved[tuple(index for _, outer, inner in corner for index in (outer, inner))]
        part = target[tuple(where for where, _, _ in corner)]
        # Splitting an axis never copies.
        part.reshape(source.shape)[...] = source


def _halves(axes: int) -> tuple[range, range]:
    return range(axes // 2), range(axes // 2, axes)


def _parts(size: int, block: int) -> Iterator[tuple[slice, slice, slice]]:
    whole, rest = divmod(size, block)
    if whole:
        yield slice(0, whole * block), slice(0, whole), slice(0, block)
    if rest:
        yield slice(whole * block, size), slice(whole, whole + 1), slice(0, rest)


def _find_layout(metadata: memoryview, header: memoryview, element_bytes: int) -> Layout | None:
    name = bytes(metadata).find(_LAYOUT)
    if name < 0:
        return None
    try:
        (offset,) = _LAYOUT_OFFSET.unpack_from(metadata, name + len(_LAYOUT))
        return _parse_layout(header, offset + _LAYOUT_SKIPPED, element_bytes)
    except (error, ValueError) as damage:
        raise _damaged() from damage


def _parse_layout(header: memoryview, start: int, element_bytes: int) -> Layout:
    _, _, axes = unpack_from(">BBB", header, start)
    if not 1 <= axes <= _MAX_AXES:
        raise _damaged()
    sizes = unpack_from(">" + "x" + "xq" * axes + "x" + "xi" * axes + "x" + "xi" * axes, header, start + 3)
    shape, chunk, block = sizes[:axes], sizes[axes : 2 * axes], sizes[2 * axes :]
    if min(shape) < 0 or min(chunk + block) < 1 or any(b > c for b, c in zip(block, chunk, strict=True)):
        raise _damaged()
    return Layout(shape, chunk, block, np.dtype(f"V{element_bytes}"))


def _damaged() -> UndecodableData:
    return UndecodableData(CODEC, "the frame's header is damaged")

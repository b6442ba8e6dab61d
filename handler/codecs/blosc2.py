"""``blosc2``: a chunk of Blosc 2, or a contiguous frame of such chunks (``cframe.py``).

A chunk is what ``blosc2.compress2`` writes; a frame is what HDF5's filter writes, and ``to_cframe`` of python-blosc2's
``SChunk`` and ``NDArray``. Neither has a checksum.

The library's own reader of frames is not used. It unpacks whatever they hold beside the data, starts ``python`` as
another process where a chunk names a codec that is a plug-in, and holds the interpreter's lock meanwhile. So frames
are taken apart here, and no chunk gets to the library but with the codecs and filters that are built into it.
"""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from struct import Struct
from typing import Any, Self

import numpy as np

from active_storage.errors import UndecodableData
from handler.codecs.base import BlockDecoder, cut_short, followed, translated
from handler.codecs.blosc import leaves_gaps
from handler.codecs.cframe import CODEC, Frame, is_frame, unblock

# c-blosc2's README_CHUNK_FORMAT. The flags of an extended header are both of Blosc 1's shuffles at once.
_HEADER = Struct("<BxBBiIi6s8xBB")
_EXTENDED = 0x05

# BLOSC2_VERSION_FORMAT_STABLE. Before it, a bitshuffle's last bytes were not written, nor are they on reading.
_FIRST_VERSION = 5

# The upper three bits of the flags: blosclz, lz4, zlib and zstd. 6 is a plug-in.
_CODECS = frozenset({0, 1, 3, 4})

# None, shuffle, bitshuffle, delta, truncated precision, and bytedelta of the registered ones; others are plug-ins or
# need the frame around the chunk.
_FILTERS = frozenset({0, 1, 2, 3, 4, 35})

# The last byte: a dictionary, and the special kinds of chunk in three bits. Others say that the data is elsewhere, or
# that the chunk holds measurements of the codec in its place.
_DICTIONARY, _SPECIAL = 0x01, 0x70

# Values "that are not initialized": decoding leaves the memory as it was, somebody else's data.
_UNINITIALIZED = 0x40

# Each costs some 20 µs beside its bytes, and all are decoded in one go. Frames of real arrays have chunks of MiBs.
_MAX_CHUNKS = 16 * 1024


@cache
def _library() -> Any:
    # Not at the top of the file: it takes 0.3 s and 27 MB, and only who needs it shall pay.
    library = import_module("blosc2")
    library.set_releasegil(True)
    return library


class Blosc2Decoder(BlockDecoder):
    """One chunk, or one frame. A frame of a blocked array holds a chunk of it twice while it puts it in order."""

    codec = CODEC

    def _measure(self, head: memoryview) -> int:
        if is_frame(head):
            frame = Frame.parse(head, self._stored_bytes)
            if frame.padded_bytes > self._limit_bytes:
                raise self._too_large()
            return frame.decoded_bytes
        chunk = _Header.parse(head)
        if chunk.encoded_bytes > self._stored_bytes:
            raise cut_short(self.codec)
        if chunk.encoded_bytes < self._stored_bytes:
            raise followed(self.codec)
        return chunk.decoded_bytes

    def _decode(self, block: memoryview, target: memoryview) -> None:
        if is_frame(block):
            _decode_frame(block, Frame.parse(block, len(block)), target)
        else:
            _decode_chunk(block, target)


@dataclass(frozen=True, slots=True)
class _Header:
    """The header of a chunk that the library may see."""

    encoded_bytes: int
    decoded_bytes: int

    @classmethod
    def parse(cls, data: memoryview) -> Self:
        """The header that ``data`` begins with.

        Raises:
            UndecodableData: It is none, or of a kind that is not supported.
        """
        if len(data) < _HEADER.size:
            raise cut_short(CODEC)
        version, flags, element, decoded, block, encoded, filters, more_flags, kind = _HEADER.unpack_from(data)
        if version < _FIRST_VERSION or flags & _EXTENDED != _EXTENDED or encoded < _HEADER.size or decoded < 0:
            raise UndecodableData(CODEC, "neither a chunk nor a contiguous frame")
        if flags >> 5 not in _CODECS or not _FILTERS.issuperset(filters):
            raise UndecodableData(CODEC, "a chunk needs a plug-in, which is not supported")
        if more_flags or kind & ~(_DICTIONARY | _SPECIAL) or kind & _UNINITIALIZED:
            raise UndecodableData(CODEC, "a chunk is of a kind that holds no data, or not by itself")
        if not decoded and encoded != _HEADER.size:
            raise UndecodableData(CODEC, "the header tells of no data, but there is some")
        if not kind & _SPECIAL and leaves_gaps(flags, element, min(block, decoded)):
            raise UndecodableData(CODEC, "the blocks of a chunk are of parts of elements")
        return cls(encoded, decoded)


def _decode_chunk(data: memoryview, target: memoryview) -> None:
    """Decode the chunk that ``data`` begins with into ``target``, which must be of its size."""
    header = _Header.parse(data)
    if header.encoded_bytes > len(data):
        raise cut_short(CODEC)
    if header.decoded_bytes != len(target):
        raise UndecodableData(CODEC, "a chunk is not of the size that the frame tells")
    with translated(CODEC, RuntimeError, ValueError):
        # One thread, the caller's: the service has others of its own. A call has a context of its own.
        _library().decompress2(data[: header.encoded_bytes], target, nthreads=1)


def _decode_frame(block: memoryview, frame: Frame, target: memoryview) -> None:
    layout = frame.layout
    offsets = _decode_index(block, frame)
    if layout is None:
        for number, offset in enumerate(offsets):
            start = number * frame.chunk_bytes
            _decode_framed(block, frame, offset, target[start : start + frame.chunk_bytes])
        return
    array = np.frombuffer(target, layout.dtype).reshape(layout.shape)
    padded = np.empty(frame.chunk_bytes, np.uint8).data
    for place, offset in zip(np.ndindex(*layout.grid), offsets, strict=True):
        _decode_framed(block, frame, offset, padded)
        unblock(np.frombuffer(padded, layout.dtype), array[layout.slices(place)], layout)


def _decode_index(block: memoryview, frame: Frame) -> list[int]:
    if frame.chunks > _MAX_CHUNKS:
        raise UndecodableData(CODEC, f"a frame of {frame.chunks} chunks is not supported")
    offsets = np.empty(frame.chunks, "<i8")
    _decode_chunk(block[frame.chunks_stop :], offsets.view(np.uint8).data)
    return [int(offset) for offset in offsets]


def _decode_framed(block: memoryview, frame: Frame, offset: int, target: memoryview) -> None:
    if offset < 0:
        frame.fill(offset, target)
    else:
        _decode_chunk(block[frame.chunks_start + offset : frame.chunks_stop], target)

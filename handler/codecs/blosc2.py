"""``blosc2``: a chunk of Blosc 2, or a contiguous frame of such chunks (``cframe.py``).

``blosc2.compress2`` writes a chunk. HDF5's filter writes a frame, and so does ``to_cframe`` of python-blosc2's
``SChunk`` and ``NDArray``. Neither has a checksum.

The library's own reader of frames is not used. It unpacks all metadata in a frame, starts ``python`` as another process
if a chunk names a codec that is a plug-in, and holds the interpreter's lock meanwhile. Therefore frames are parsed
here, and the library receives only chunks whose codecs and filters are built into it.
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

# c-blosc2's README_CHUNK_FORMAT. An extended header has the flags of both of Blosc 1's shuffles.
_HEADER = Struct("<BxBBiIi6s8xBB")
_EXTENDED = 0x05

# BLOSC2_VERSION_FORMAT_STABLE. In earlier versions, bitshuffle's last bytes are not stored, and decoding leaves them
# unwritten.
_FIRST_VERSION = 5

# The upper three bits of the flags: blosclz, lz4, zlib and zstd. 6 is a plug-in.
_CODECS = frozenset({0, 1, 3, 4})

# None, shuffle, bitshuffle, delta, truncated precision, and bytedelta, which is registered; others are plug-ins or need
# the frame around the chunk.
_FILTERS = frozenset({0, 1, 2, 3, 4, 35})

# The last byte of the header: a flag for a dictionary, and the special kind of the chunk in three bits. Other flags
# mean that the data is elsewhere, or that the chunk contains measurements of the codec instead of data.
_DICTIONARY, _SPECIAL = 0x01, 0x70

# The kind of "values that are not initialized": decoding leaves the target unwritten, with data of another request.
_UNINITIALIZED = 0x40

# Each chunk takes about 20 µs in addition to its decoding, and all are decoded in one call. Real arrays have chunks of
# some MiB.
_MAX_CHUNKS = 16 * 1024


@cache
def _library() -> Any:
    # Imported on first use: it takes 0.3 s and 27 MB.
    library = import_module("blosc2")
    library.set_releasegil(True)
    return library


class Blosc2Decoder(BlockDecoder):
    """Decodes one chunk or one frame. A chunk of a blocked array is decoded into temporary memory, then reordered."""

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
    """The header of a chunk that the library can decode safely."""

    encoded_bytes: int
    decoded_bytes: int

    @classmethod
    def parse(cls, data: memoryview) -> Self:
        """The header at the beginning of ``data``.

        Raises:
            UndecodableData: It is not a valid header, or of an unsupported kind.
        """
        if len(data) < _HEADER.size:
            raise cut_short(CODEC)
        version, flags, element, decoded, block, encoded, filters, more_flags, kind = _HEADER.unpack_from(data)
        if version < _FIRST_VERSION or flags & _EXTENDED != _EXTENDED or encoded < _HEADER.size or decoded < 0:
            raise UndecodableData(CODEC, "the data is neither a chunk of version 5 or later nor a contiguous frame")
        if flags >> 5 not in _CODECS or not _FILTERS.issuperset(filters):
            raise UndecodableData(CODEC, "a chunk needs a plug-in; plug-ins are not supported")
        if more_flags or kind & ~(_DICTIONARY | _SPECIAL) or kind & _UNINITIALIZED:
            raise UndecodableData(CODEC, "a chunk of this kind, whose data is not in the chunk, is not supported")
        if not decoded and encoded != _HEADER.size:
            raise UndecodableData(CODEC, "the header has a decoded size of 0, but data follows it")
        if not kind & _SPECIAL and leaves_gaps(flags, element, min(block, decoded)):
            raise UndecodableData(CODEC, "the block size of a chunk is not a multiple of the element size")
        return cls(encoded, decoded)


def _decode_chunk(data: memoryview, target: memoryview) -> None:
    """Decode the chunk at the beginning of ``data`` into ``target``, which must have its decoded size."""
    header = _Header.parse(data)
    if header.encoded_bytes > len(data):
        raise cut_short(CODEC)
    if header.decoded_bytes != len(target):
        raise UndecodableData(CODEC, "a chunk does not have the decoded size that the frame gives")
    with translated(CODEC, RuntimeError, ValueError):
        # In the caller's thread: the service has threads of its own. Each call has its own context.
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
        raise UndecodableData(CODEC, f"a frame of {frame.chunks} chunks is not supported; the maximum is {_MAX_CHUNKS}")
    offsets = np.empty(frame.chunks, "<i8")
    _decode_chunk(block[frame.chunks_stop :], offsets.view(np.uint8).data)
    return [int(offset) for offset in offsets]


def _decode_framed(block: memoryview, frame: Frame, offset: int, target: memoryview) -> None:
    if offset < 0:
        frame.fill(offset, target)
    else:
        _decode_chunk(block[frame.chunks_start + offset : frame.chunks_stop], target)

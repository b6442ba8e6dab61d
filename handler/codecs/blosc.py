"""``blosc``: a chunk of Blosc 1, with any of its codecs and shuffles, as numcodecs and HDF5's filter write it.

The format has no checksum.
"""

from functools import cache
from importlib import import_module
from struct import Struct
from typing import Any

from active_storage.errors import UndecodableData
from handler.codecs.base import BlockDecoder, cut_short, followed, translated

# c-blosc's README_CHUNK_FORMAT: versions, flags, element size; then the decoded size, block size and encoded size.
_HEADER = Struct("<2xBBIII")

# Flags: the chunk is an uncompressed copy; each block is one stream.
_COPIED, _UNSPLIT = 0x02, 0x10


@cache
def _library() -> Any:
    # Imported on first use: the package starts Blosc's threads.
    library: Any = import_module("numcodecs.blosc")
    # The service has threads of its own. Without Blosc's threads, every call has its own context, so that calls can run
    # in parallel. numcodecs does the same in every thread except the main one.
    library.use_threads = False
    return library.Blosc()


def leaves_gaps(flags: int, element_bytes: int, block_bytes: int) -> bool:
    """Whether decoding a chunk would leave some of the target unwritten, with data of another request.

    A split block has one stream for each byte of an element, all of the same size. No encoder splits a block whose size
    is not a multiple of the element size. The libraries, Blosc 1 and 2, decode such a block without its rest, and do
    not report it.
    """
    return not flags & (_COPIED | _UNSPLIT) and block_bytes > element_bytes > 0 != block_bytes % element_bytes


class BloscDecoder(BlockDecoder):
    """Decodes one chunk."""

    codec = "blosc"

    def _measure(self, head: memoryview) -> int:
        if len(head) < _HEADER.size:
            raise cut_short(self.codec)
        flags, element, decoded, block, encoded = _HEADER.unpack_from(head)
        if encoded > self._stored_bytes:
            raise cut_short(self.codec)
        if encoded < self._stored_bytes:
            raise followed(self.codec)
        if not decoded and encoded != _HEADER.size:
            raise UndecodableData(self.codec, "the header has a decoded size of 0, but data follows it")
        if leaves_gaps(flags, element, block):
            raise UndecodableData(self.codec, "the block size is not a multiple of the element size")
        return int(decoded)

    def _decode(self, block: memoryview, target: memoryview) -> None:
        with translated(self.codec, RuntimeError, ValueError, OverflowError):
            _library().decode(block, target)

"""``blosc``: a chunk of Blosc 1, with any of its codecs and shuffles, as numcodecs and HDF5's filter write it.

No checksum.
"""

from functools import cache
from importlib import import_module
from struct import Struct
from typing import Any

from active_storage.errors import UndecodableData
from handler.codecs.base import BlockDecoder, cut_short, followed, translated

# c-blosc's README_CHUNK_FORMAT: versions, flags, size of elements; then the sizes decoded, of a block, encoded.
_HEADER = Struct("<2xBBIII")

# Flags: the chunk is a plain copy; its blocks are one stream each.
_COPIED, _UNSPLIT = 0x02, 0x10


@cache
def _library() -> Any:
    # Not at the top of the file: the package starts Blosc's threads, and only who needs it shall have them.
    library: Any = import_module("numcodecs.blosc")
    # The service has threads of its own. Without Blosc's, every call has a context of its own, so that they can
    # run side by side; it is what numcodecs does in every thread but the main one.
    library.use_threads = False
    return library.Blosc()


def leaves_gaps(flags: int, element_bytes: int, block_bytes: int) -> bool:
    """Whether some of what a chunk decodes to would be whatever the memory held, somebody else's data.

    A block that is split is as many streams as an element has bytes, each an equal part. No encoder splits a block that
    is no whole number of elements, but the libraries, Blosc 1 and 2, would, and not miss the rest.
    """
    return not flags & (_COPIED | _UNSPLIT) and block_bytes > element_bytes > 0 != block_bytes % element_bytes


class BloscDecoder(BlockDecoder):
    """One chunk."""

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
            raise UndecodableData(self.codec, "the header tells of no data, but there is some")
        if leaves_gaps(flags, element, block):
            raise UndecodableData(self.codec, "the blocks are of parts of elements")
        return int(decoded)

    def _decode(self, block: memoryview, target: memoryview) -> None:
        with translated(self.codec, RuntimeError, ValueError, OverflowError):
            _library().decode(block, target)

"""``lz4``: an LZ4 block behind its decoded length in 4 bytes, little-endian, as numcodecs writes it.

No checksum. HDF5's filter of the same name frames its blocks in another way, the command line tool in a third; neither
is understood, and neither is taken for this one.
"""

from functools import cache
from importlib import import_module
from struct import Struct
from typing import Any

from active_storage.errors import UndecodableData
from handler.codecs.base import BlockDecoder, cut_short, translated

_LENGTH = Struct("<I")

# How numcodecs writes nothing, which it cannot read itself: a token of no literals and no match.
_NOTHING = b"\0"


@cache
def _library() -> Any:
    # Not at the top of the file: the package starts Blosc's threads, and only who needs it shall have them.
    return import_module("numcodecs.lz4").LZ4()


class Lz4Decoder(BlockDecoder):
    """One block."""

    codec = "lz4"

    def _measure(self, head: memoryview) -> int:
        if len(head) <= _LENGTH.size:
            raise cut_short(self.codec)
        length: int = _LENGTH.unpack_from(head)[0]
        if not length and head[_LENGTH.size :] != _NOTHING:
            raise UndecodableData(self.codec, "the header tells of no data, but there is some")
        return length

    def _decode(self, block: memoryview, target: memoryview) -> None:
        with translated(self.codec, RuntimeError, ValueError, OverflowError):
            _library().decode(block, target)

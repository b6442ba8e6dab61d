"""``lz4``: the decoded length in 4 bytes, little-endian, and an LZ4 block, as numcodecs writes it.

The format has no checksum. HDF5's filter of the same name (``lz4_hdf5``) and the command-line tool frame their blocks
in other ways. Data of either is refused as ``lz4``.
"""

from functools import cache
from importlib import import_module
from struct import Struct
from typing import Any

from active_storage.errors import UndecodableData
from handler.codecs.base import BlockDecoder, cut_short, translated

_LENGTH = Struct("<I")

# numcodecs encodes empty data as a token without literals and without a match, and cannot decode that itself.
_NOTHING = b"\0"


@cache
def _library() -> Any:
    # Imported on first use: the package starts Blosc's threads.
    return import_module("numcodecs.lz4").LZ4()


class Lz4Decoder(BlockDecoder):
    """Decodes one block."""

    codec = "lz4"

    def _measure(self, head: memoryview) -> int:
        if len(head) <= _LENGTH.size:
            raise cut_short(self.codec)
        length: int = _LENGTH.unpack_from(head)[0]
        if not length and head[_LENGTH.size :] != _NOTHING:
            raise UndecodableData(self.codec, "the header has a decoded size of 0, but data follows it")
        return length

    def _decode(self, block: memoryview, target: memoryview) -> None:
        with translated(self.codec, RuntimeError, ValueError, OverflowError):
            _library().decode(block, target)

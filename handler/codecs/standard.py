"""``bz2`` and ``lzma``: through the standard library, several streams in a row, as their command line tools write."""

import bz2
import lzma

from handler.codecs.base import Decompressor, StreamDecoder

# What the largest preset needs (xz -9: a dictionary of 64 MiB, and some 1 MiB beside it); a header may ask for 4 GiB.
_LZMA_MEMORY_BYTES = 68 * 1024 * 1024


class Bz2Decoder(StreamDecoder):
    """bzip2, each block and stream ended by its CRC-32. What it holds goes by its block size of 100 to 900 kB."""

    codec = "bz2"
    errors = (OSError, EOFError, ValueError)
    window_bytes = 4 * 1024 * 1024

    def _start(self, _first: int, /) -> Decompressor:
        return bz2.BZ2Decompressor()


class LzmaDecoder(StreamDecoder):
    """The .xz format, with any of its checks, without padding.

    Not the older .lzma: it has no checksum, and hardly a header that tells it from something else.
    """

    codec = "lzma"
    errors = (lzma.LZMAError, EOFError, ValueError)
    window_bytes = _LZMA_MEMORY_BYTES

    def _start(self, _first: int, /) -> Decompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY_BYTES)

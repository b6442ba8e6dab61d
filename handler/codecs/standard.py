"""``bz2`` and ``lzma``, decoded by the standard library: one stream or several, as the command-line tools write."""

import bz2
import lzma

from handler.codecs.base import Decompressor, StreamDecoder

# The memory for the largest preset (xz -9: a dictionary of 64 MiB, and about 1 MiB more). A header can ask for 4 GiB.
_LZMA_MEMORY_BYTES = 68 * 1024 * 1024


class Bz2Decoder(StreamDecoder):
    """bzip2, with a CRC-32 for each block and stream. Its memory depends on the block size of 100 to 900 kB."""

    codec = "bz2"
    errors = (OSError, EOFError, ValueError)
    window_bytes = 4 * 1024 * 1024

    def _start(self, _first: int, /) -> Decompressor:
        return bz2.BZ2Decompressor()


class LzmaDecoder(StreamDecoder):
    """The .xz format, with any of its checks, without padding.

    The older .lzma format is not supported: it has no checksum, and its header hardly identifies it.
    """

    codec = "lzma"
    errors = (lzma.LZMAError, EOFError, ValueError)
    window_bytes = _LZMA_MEMORY_BYTES

    def _start(self, _first: int, /) -> Decompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY_BYTES)

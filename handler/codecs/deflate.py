"""``gzip`` and ``zlib``: deflate (RFC 1951) in two containers, decoded by isal, which is twice as fast as zlib."""

from typing import cast

from isal.igzip_lib import DECOMP_GZIP, DECOMP_ZLIB, IgzipDecompressor, IsalError

from handler.codecs.base import Decompressor, StreamDecoder

# ID1 of RFC 1952, 2.3.1. No zlib stream begins with it: the lower half of its first byte is 8 (RFC 1950, CM).
_GZIP_ID1 = 0x1F

# isal's stub declares the class as an instance of itself.
_ERRORS = (cast("type[Exception]", IsalError), EOFError, ValueError)


# RFC 1951, section 2.
_WINDOW_BYTES = 32 * 1024


class ZlibDecoder(StreamDecoder):
    """RFC 1950: one stream, with its Adler-32 at the end."""

    codec = "zlib"
    errors = _ERRORS
    window_bytes = _WINDOW_BYTES

    def _start(self, _first: int, /) -> Decompressor:
        return IgzipDecompressor(DECOMP_ZLIB)

    def _repeat(self, _first: int, /) -> None:
        return


class GzipDecoder(StreamDecoder):
    """RFC 1952: one member or several, each with its CRC-32 and length at the end, without padding.

    Also one zlib stream, because HDF5's filter "gzip" writes that.
    """

    codec = "gzip"
    errors = _ERRORS
    window_bytes = _WINDOW_BYTES

    def _start(self, first: int, /) -> Decompressor:
        self._is_gzip = first == _GZIP_ID1
        return IgzipDecompressor(DECOMP_GZIP if self._is_gzip else DECOMP_ZLIB)

    def _repeat(self, first: int, /) -> Decompressor | None:
        return self._start(first) if self._is_gzip and first == _GZIP_ID1 else None

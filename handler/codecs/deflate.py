"""``gzip`` and ``zlib``: deflate (RFC 1951) in one of its two wrappings, decoded by isal, twice as fast as zlib."""

from typing import cast

from isal.igzip_lib import DECOMP_GZIP, DECOMP_ZLIB, IgzipDecompressor, IsalError

from handler.codecs.base import Decompressor, StreamDecoder

# ID1 of RFC 1952, 2.3.1. No zlib stream begins with it: the lower half of its first byte is 8 (RFC 1950, CM).
_GZIP_ID1 = 0x1F

# isal's stub takes the class for one of its instances.
_ERRORS = (cast("type[Exception]", IsalError), EOFError, ValueError)


# RFC 1951, section 2.
_WINDOW_BYTES = 32 * 1024


class ZlibDecoder(StreamDecoder):
    """RFC 1950: one stream, ended by its Adler-32."""

    codec = "zlib"
    errors = _ERRORS
    window_bytes = _WINDOW_BYTES

    def _start(self, _first: int, /) -> Decompressor:
        return IgzipDecompressor(DECOMP_ZLIB)

    def _repeat(self, _first: int, /) -> None:
        return


class GzipDecoder(StreamDecoder):
    """RFC 1952: members one after the other, each ended by its CRC-32 and length, without padding.

    Or one zlib stream, because that is what HDF5's filter "gzip" writes.
    """

    codec = "gzip"
    errors = _ERRORS
    window_bytes = _WINDOW_BYTES

    def _start(self, first: int, /) -> Decompressor:
        self._is_gzip = first == _GZIP_ID1
        return IgzipDecompressor(DECOMP_GZIP if self._is_gzip else DECOMP_ZLIB)

    def _repeat(self, first: int, /) -> Decompressor | None:
        return self._start(first) if self._is_gzip and first == _GZIP_ID1 else None

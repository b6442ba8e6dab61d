"""``zstd``: RFC 8878, decoded by the standard library since Python 3.14, and by its backport in older versions.

Other libraries do not report the end of a frame, or cannot limit the size of their output. numcodecs allocates the size
in the header, or doubles its buffer if the header has none. zstandard's ``stream_reader`` reports a truncated frame as
complete, and its ``decompressobj`` returns the whole expansion of 64 KiB, up to 2 GiB.
"""

import sys
from collections.abc import Mapping

from handler.codecs.base import Decompressor, StreamDecoder

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# 128 MiB, the window of the highest level (--ultra -22) and the library's own limit. A header can ask for 2 GiB.
_WINDOW_LOG = 27
_OPTIONS: Mapping[int, int] = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}


class ZstdDecoder(StreamDecoder):
    """One frame or several, with or without the size of their content, and skippable frames.

    Damage is certain to be detected only if a frame has a checksum. numcodecs and HDF5 write frames without one.
    """

    codec = "zstd"
    errors = (zstd.ZstdError, EOFError, ValueError)
    window_bytes = 1 << _WINDOW_LOG

    def _start(self, _first: int, /) -> Decompressor:
        return start_zstd()


def start_zstd() -> Decompressor:
    """A decompressor for one frame."""
    return zstd.ZstdDecompressor(options=_OPTIONS)

"""``zstd``: RFC 8878, decoded by the module that Python 3.14 brought, or by backports.zstd, the same for older ones.

Of the libraries only this one tells when a frame has ended and can be asked for so many bytes and no more. numcodecs
allocates what the header says, or doubles its buffer where it says nothing; zstandard's ``stream_reader`` takes a frame
that is cut short for one that has ended, and its ``decompressobj`` gives all that 64 KiB expand to, up to 2 GiB.
"""

import sys
from collections.abc import Mapping

from handler.codecs.base import Decompressor, StreamDecoder

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# 128 MiB, the format's largest level (--ultra -22), and the library's own limit; a header may ask for 2 GiB.
_WINDOW_LOG = 27
_OPTIONS: Mapping[int, int] = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}


class ZstdDecoder(StreamDecoder):
    """Frames one after the other, with or without the size of their content, and skippable ones.

    Damage is certain to be found only where the frame has a checksum: numcodecs and HDF5 write none.
    """

    codec = "zstd"
    errors = (zstd.ZstdError, EOFError, ValueError)
    window_bytes = 1 << _WINDOW_LOG

    def _start(self, _first: int, /) -> Decompressor:
        return start_zstd()


def start_zstd() -> Decompressor:
    """What decodes one frame."""
    return zstd.ZstdDecompressor(options=_OPTIONS)

"""Codecs: from bytes as stored to those that were written, at a known cost. One file or class for each id on the wire.

What lives here: the libraries of compression, the formats that wrap their data, what those libraries raise, and what is
done about data that wants more memory than it may have. What does not: which codec data was written with, in which
order filters are undone, and what becomes of the bytes; ``core/decode.py`` knows.

- A *decoder* is a ``Readable`` around another one: it decodes into the caller's buffer, no more than the limit that it
  was built with, and says that the data has ended only after it verified the end. What cannot stream says what it
  holds (``base.py``).
- A *filter* keeps the number of bytes, or nearly so, and is undone in memory, in one go. ``undo`` takes the data, the
  size of an element and the spec; each says whether it copies. Nobody's memory is changed. One that can be undone as
  it is read, with nothing but its data held, is so where nothing but the reduction follows.
- Whatever is wrong with the data is ``UndecodableData`` that names the codec: the object is the caller's, not the
  store's fault. Too much of it is ``EntityTooLarge``.

What did not fit: a codec without a checksum (lz4, blosc, blosc2, often zstd) decodes some damaged data to other bytes.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from handler.core.blocks import Readable
from handler.core.codecs import bitshuffle, delta, fletcher32, shuffle
from handler.core.codecs.base import Decoder
from handler.core.codecs.blosc import BloscDecoder
from handler.core.codecs.blosc2 import Blosc2Decoder
from handler.core.codecs.deflate import GzipDecoder, ZlibDecoder
from handler.core.codecs.lz4 import Lz4Decoder
from handler.core.codecs.standard import Bz2Decoder, LzmaDecoder
from handler.core.codecs.zstd import ZstdDecoder
from handler.spec import ReductionSpec

# By their names in ``handler.spec.COMPRESSIONS``.
DECODERS: Mapping[str, type[Decoder]] = MappingProxyType(
    {
        "gzip": GzipDecoder,
        "zlib": ZlibDecoder,
        "zstd": ZstdDecoder,
        "lz4": Lz4Decoder,
        "blosc": BloscDecoder,
        "blosc2": Blosc2Decoder,
        "bz2": Bz2Decoder,
        "lzma": LzmaDecoder,
    }
)

Undo = Callable[[memoryview, int, ReductionSpec], memoryview]

# By their names in ``handler.spec.FILTERS``: the data before the filter, from the data after it.
UNDO: Mapping[str, Undo] = MappingProxyType(
    {
        "shuffle": shuffle.undo,
        "bitshuffle": bitshuffle.undo,
        "fletcher32": fletcher32.undo,
        "delta": delta.undo,
    }
)

# Those of them that are undone as they are read: a ``Readable`` of as many bytes, from the data and an element's size.
UNDONE_READING: Mapping[str, Callable[[memoryview, int], Readable]] = MappingProxyType({"shuffle": shuffle.Unshuffled})

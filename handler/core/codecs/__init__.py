"""Codecs: from bytes as stored to those that were written, at a known cost. One file or class for each id on the wire.

What lives here: the libraries of compression, the formats that wrap their data, what those libraries raise, and what is
done about data that wants more memory than it may have. What does not: which codec data was written with, in which
order filters are undone, and what becomes of the bytes; ``core/decode.py`` knows.

- A *decoder* is a ``Readable`` around another one: it decodes into the caller's buffer, no more than the limit that it
  was built with, and says that the data has ended only after it verified the end. What cannot stream says what it
  holds (``base.py``).
- Everything else is *undone* in memory, in one go, whether HDF5 calls it a filter or a compression. ``undo`` takes the
  data and what the step is told (``Told``), and accounts for what it allocates; each says whether it copies. Nobody's
  memory is changed. One that can be undone as it is read, with nothing but its data held, is so where nothing but the
  reduction follows.
- Whatever is wrong with the data is ``UndecodableData`` that names the codec: the object is the caller's, not the
  store's fault. Too much of it is ``EntityTooLarge``.

What did not fit: a codec without a checksum (lz4, blosc, blosc2, often zstd) decodes some damaged data to other bytes.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from handler.core.blocks import Readable
from handler.core.codecs import (
    base64,
    bitshuffle,
    checksum,
    fletcher32,
    lz4_hdf5,
    lzf,
    nbit,
    numbers,
    pcodec,
    scaleoffset,
    shuffle,
    szip,
    zfpy,
)
from handler.core.codecs.base import Decoder, Told
from handler.core.codecs.blosc import BloscDecoder
from handler.core.codecs.blosc2 import Blosc2Decoder
from handler.core.codecs.deflate import GzipDecoder, ZlibDecoder
from handler.core.codecs.lz4 import Lz4Decoder
from handler.core.codecs.standard import Bz2Decoder, LzmaDecoder
from handler.core.codecs.zstd import ZstdDecoder

# Together with ``UNDO`` and ``AS_IT_IS``, by their names in ``handler.codecs.CODECS``, each in one of the three.
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

Undo = Callable[[memoryview, Told], memoryview]

UNDO: Mapping[str, Undo] = MappingProxyType(
    {
        "lz4_hdf5": lz4_hdf5.undo,
        "lzf": lzf.undo,
        "szip": szip.undo,
        "pcodec": pcodec.undo,
        "zfpy": zfpy.undo,
        "base64": base64.undo,
        "bitshuffle": bitshuffle.undo,
        "shuffle": shuffle.undo,
        "fletcher32": fletcher32.undo,
        "crc32c": checksum.undo_crc32c,
        "crc32": checksum.undo_crc32,
        "adler32": checksum.undo_adler32,
        "jenkins_lookup3": checksum.undo_jenkins_lookup3,
        "delta": numbers.undo_delta,
        "fixedscaleoffset": numbers.undo_fixedscaleoffset,
        "scale_offset": numbers.undo_scale_offset,
        "quantize": numbers.undo_quantize,
        "astype": numbers.undo_astype,
        "packbits": numbers.undo_packbits,
        "scaleoffset": scaleoffset.undo,
        "nbit": nbit.undo,
    }
)

# Steps that change what is written and not how: ``bitround`` leaves floats with fewer bits set.
AS_IT_IS = frozenset({"bitround"})

# Those of ``UNDO`` that are undone as they are read: a ``Readable`` of as many bytes, from the data and the size of an
# element.
UNDONE_READING: Mapping[str, Callable[[memoryview, int], Readable]] = MappingProxyType({"shuffle": shuffle.Unshuffled})

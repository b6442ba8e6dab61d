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
from dataclasses import dataclass
from types import MappingProxyType

from handler.codecs import (
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
from handler.codecs.base import Decoder, Told
from handler.codecs.blosc import BloscDecoder
from handler.codecs.blosc2 import Blosc2Decoder
from handler.codecs.deflate import GzipDecoder, ZlibDecoder
from handler.codecs.lz4 import Lz4Decoder
from handler.codecs.readable import Readable
from handler.codecs.standard import Bz2Decoder, LzmaDecoder
from handler.codecs.zstd import ZstdDecoder

Undo = Callable[[memoryview, Told], memoryview]


@dataclass(frozen=True, slots=True)
class Implementation:
    """How a step is undone; one with nothing set leaves the bytes as they are.

    Attributes:
        decoder: Decodes a stream of bytes, for steps whose data need not be in memory, or whose header tells what it
            will hold.
        undo: Undoes it in memory, in one go.
        undo_reading: Undoes it while it is read, beside ``undo``: a ``Readable`` of as many bytes, from the data and
            the size of an element.
    """

    decoder: type[Decoder] | None = None
    undo: Undo | None = None
    undo_reading: Callable[[memoryview, int], Readable] | None = None

    @property
    def is_identity(self) -> bool:
        """Whether there is nothing to undo."""
        return self.decoder is None and self.undo is None


# One row a codec, by its id in ``active_storage.model.codecs.CODECS``, which says what a caller can ask of it.
IMPLEMENTATIONS: Mapping[str, Implementation] = MappingProxyType(
    {
        "gzip": Implementation(decoder=GzipDecoder),
        "zlib": Implementation(decoder=ZlibDecoder),
        "zstd": Implementation(decoder=ZstdDecoder),
        "lz4": Implementation(decoder=Lz4Decoder),
        "blosc": Implementation(decoder=BloscDecoder),
        "blosc2": Implementation(decoder=Blosc2Decoder),
        "bz2": Implementation(decoder=Bz2Decoder),
        "lzma": Implementation(decoder=LzmaDecoder),
        "lz4_hdf5": Implementation(undo=lz4_hdf5.undo),
        "lzf": Implementation(undo=lzf.undo),
        "szip": Implementation(undo=szip.undo),
        "pcodec": Implementation(undo=pcodec.undo),
        "zfpy": Implementation(undo=zfpy.undo),
        "base64": Implementation(undo=base64.undo),
        "bitshuffle": Implementation(undo=bitshuffle.undo),
        "shuffle": Implementation(undo=shuffle.undo, undo_reading=shuffle.Unshuffled),
        "fletcher32": Implementation(undo=fletcher32.undo),
        "crc32c": Implementation(undo=checksum.undo_crc32c),
        "crc32": Implementation(undo=checksum.undo_crc32),
        "adler32": Implementation(undo=checksum.undo_adler32),
        "jenkins_lookup3": Implementation(undo=checksum.undo_jenkins_lookup3),
        "delta": Implementation(undo=numbers.undo_delta),
        "fixedscaleoffset": Implementation(undo=numbers.undo_fixedscaleoffset),
        "scale_offset": Implementation(undo=numbers.undo_scale_offset),
        "quantize": Implementation(undo=numbers.undo_quantize),
        "astype": Implementation(undo=numbers.undo_astype),
        "packbits": Implementation(undo=numbers.undo_packbits),
        "scaleoffset": Implementation(undo=scaleoffset.undo),
        "nbit": Implementation(undo=nbit.undo),
        # It leaves floats with fewer bits set, which changes what is written and not how.
        "bitround": Implementation(),
    }
)

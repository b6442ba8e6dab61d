"""Codecs: from stored bytes to the bytes that were encoded, in bounded memory. One class or function for each codec.

This folder wraps the compression libraries: the formats around their data, the translation of their errors, and the
limits of memory. ``chain.py`` undoes the steps of a spec in reverse order. Nothing here knows where bytes come from.

- A *decoder* is a ``Readable`` around another one. It decodes into the caller's buffer, up to its limit. It reports the
  end of the data only after it has verified the end. ``base.py`` has the two kinds.
- All other codecs are *undone* in memory, in one call, whether HDF5 calls them a filter or a compression. ``undo``
  takes the data and the ``StepContext``, and accounts for the memory that it allocates. Its docstring says whether it
  copies, and it never changes its input. The last step before the reduction is undone while it is read, if that needs
  no additional memory.
- Invalid data raises ``UndecodableData``, which names the codec: the object is at fault, not the store. Data that
  decodes to more bytes than the limit raises ``EntityTooLarge``.

Limit: a codec without a checksum (lz4, blosc, blosc2, often zstd) decodes some damaged data to wrong bytes.
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
from handler.codecs.base import Decoder, StepContext
from handler.codecs.blosc import BloscDecoder
from handler.codecs.blosc2 import Blosc2Decoder
from handler.codecs.deflate import GzipDecoder, ZlibDecoder
from handler.codecs.lz4 import Lz4Decoder
from handler.codecs.readable import Readable
from handler.codecs.standard import Bz2Decoder, LzmaDecoder
from handler.codecs.zstd import ZstdDecoder

Undo = Callable[[memoryview, StepContext], memoryview]


@dataclass(frozen=True, slots=True)
class Implementation:
    """How a step is undone. If no attribute is set, the step leaves the bytes unchanged.

    Attributes:
        decoder: Decodes a stream of bytes, for codecs that stream or have the decoded size in a header.
        undo: Undoes the step in memory, in one call.
        undo_reading: Undoes the step while it is read: makes a ``Readable`` of the same number of bytes, from the data
            and the size of an element. Such a step has ``undo`` as well.
    """

    decoder: type[Decoder] | None = None
    undo: Undo | None = None
    undo_reading: Callable[[memoryview, int], Readable] | None = None

    @property
    def is_identity(self) -> bool:
        """Whether the step leaves the bytes unchanged."""
        return self.decoder is None and self.undo is None


# One row for each codec, by its id in ``active_storage.model.codecs.CODECS``, which lists the parameters.
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
        # The writer cleared low bits of floats: the values differ, but there is nothing to undo.
        "bitround": Implementation(),
    }
)

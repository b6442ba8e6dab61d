"""Codecs and filters: data of the libraries that write it and of HDF5, frozen files, damage, and bombs."""

import bz2
import gzip
import itertools
import lzma
import math
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import blosc2
import h5py
import hdf5plugin
import numcodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs.fletcher32 import Fletcher32

from active_storage.errors import EntityTooLarge, UndecodableData
from active_storage.model.codecs import CODECS
from active_storage.model.dtypes import DTYPES, ByteOrder
from active_storage.model.steps import Step
from handler.codecs import IMPLEMENTATIONS
from handler.codecs.base import PIECE_BYTES, translated
from tests.codecs.codec_exam import (
    DECODERS,
    UNDO,
    check_bomb,
    check_codec,
    check_ends,
    check_flips,
    check_refused,
    decode,
    decode_damaged,
    make_context,
    undo,
)
from tests.helpers import examples

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Encode = Callable[[bytes], bytes]

DATA = Path(__file__).parents[1] / "data" / "codecs"
# The steps of frozen files whose parameters are not the defaults, by the name of the file.
FROZEN = {
    "bitshuffle.lz4": Step("bitshuffle", 4, (("cname", "lz4"),)),
    "bitshuffle.zstd": Step("bitshuffle", 4, (("cname", "zstd"),)),
    "szip": Step("szip", None, (("cd_values", (169, 8, 32, 100)),)),
    "nbit": Step("nbit", None, (("cd_values", (8, 0, 100, 1, 4, 0, 20, 3)),)),
    "scaleoffset": Step("scaleoffset", None, (("cd_values", (2, 0, 100, 0, 4, 1, 0, 1)),)),
    "astype": Step("astype", None, (("encode_dtype", "<i8"),)),
    "fixedscaleoffset": Step("fixedscaleoffset", None, (("offset", -1234), ("scale", 2), ("astype", "<i2"))),
    "quantize": Step("quantize", None, (("astype", "<f4"),)),
    "scale_offset": Step("scale_offset", None, (("offset", -1234), ("scale", 3))),
}
MIB = 1 << 20

# Sizes around 0, an element, a block of bitshuffle and a piece; and larger than a block and most windows.
SIZES = [0, 1, 7, 8, 4096, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, MIB + PIECE_BYTES + 5]


def make_plain(size: int) -> bytes:
    """``size`` bytes of float32 like measurements: smooth, with noise in the last digits."""
    generator = np.random.default_rng(size)
    walk = np.cumsum(generator.normal(size=size // 4 + 1))
    return np.round(walk, 2).astype("<f4").tobytes()[:size]


def halves(encode: Encode) -> Encode:
    return lambda plain: encode(plain[: len(plain) // 2]) + encode(plain[len(plain) // 2 :])


# Encoders


def _zstd(**options: int) -> Encode:
    chosen: dict[int, int] = {zstd.CompressionParameter[name]: value for name, value in options.items()}
    return lambda plain: zstd.compress(plain, options=chosen)


def _zstd_streamed(plain: bytes) -> bytes:
    encoder = zstd.ZstdCompressor()
    return encoder.compress(plain) + encoder.flush()


def _blosc(name: str, shuffle: int) -> Encode:
    codec = numcodecs.Blosc(name, shuffle=shuffle, typesize=4)
    return lambda plain: bytes(codec.encode(plain))


def _chunk(codec: blosc2.Codec, *filters: blosc2.Filter, **options: Any) -> Encode:
    pipeline = {"filters": list(filters), "filters_meta": [0] * len(filters)} if filters else {}
    return lambda plain: bytes(blosc2.compress2(plain, codec=codec, typesize=_element(plain), **pipeline, **options))


def _frame(chunk_bytes: int) -> Encode:
    def encode(plain: bytes) -> bytes:
        data = np.frombuffer(plain, f"V{_element(plain)}")
        return bytes(blosc2.SChunk(chunksize=chunk_bytes, data=data, cparams={"typesize": _element(plain)}).to_cframe())

    return encode


def _blocked(plain: bytes) -> bytes:
    """A blocked array, of two dimensions if it is large enough, whose sizes are not multiples of chunks or blocks."""
    width = 5 if len(plain) % 5 == 0 else 1
    array = np.frombuffer(plain, np.uint8).reshape(-1, width)
    rows = max(len(array) // 3, 1)
    blocks = (max(rows // 2 - 1, 1), min(width, 2))
    return bytes(blosc2.asarray(array, chunks=(rows, min(width, 3)), blocks=blocks).to_cframe())


def _element(plain: bytes) -> int:
    return 4 if len(plain) % 4 == 0 else 1


ENCODERS: Mapping[str, Mapping[str, Encode]] = {
    "gzip": {
        "a member": lambda plain: gzip.compress(plain, 4, mtime=0),
        "members": halves(lambda plain: gzip.compress(plain, 1, mtime=0)),
        "as HDF5 does": zlib.compress,
    },
    "zlib": {f"level {level}": partial(zlib.compress, level=level) for level in (0, 1, 4, 9)},
    "zstd": {
        "checksum": _zstd(checksum_flag=1),
        "numcodecs": lambda plain: bytes(numcodecs.Zstd().encode(plain)),
        "no size": _zstd_streamed,
        "frames": halves(_zstd(compression_level=1)),
        "large window": _zstd(window_log=27),
    },
    "lz4": {"numcodecs": lambda plain: bytes(numcodecs.LZ4().encode(plain))},
    "blosc": {
        f"{name}, shuffle {shuffle}": _blosc(name, shuffle)
        for name in ("blosclz", "lz4", "lz4hc", "zlib", "zstd")
        for shuffle in (0, 1, 2)
    },
    "blosc2": {
        **{f"chunk, {codec.name}": _chunk(codec) for codec in list(blosc2.Codec)[:5]},
        "chunk, bitshuffle": _chunk(blosc2.Codec.LZ4, blosc2.Filter.BITSHUFFLE),
        "chunk, filters": _chunk(blosc2.Codec.ZSTD, blosc2.Filter.DELTA, blosc2.Filter.SHUFFLE),
        "chunk, bytedelta": _chunk(blosc2.Codec.ZSTD, blosc2.Filter.SHUFFLE, blosc2.Filter.BYTEDELTA),
        "frame": _frame(8 * MIB),
        "frame, chunks": _frame(1000),
        "frame, blocked": _blocked,
    },
    "bz2": {"a stream": bz2.compress, "streams": halves(lambda plain: bz2.compress(plain, 1))},
    "lzma": {
        "a stream": lzma.compress,
        "streams": halves(lambda plain: lzma.compress(plain, preset=1)),
        "SHA-256": lambda plain: lzma.compress(plain, check=lzma.CHECK_SHA256, preset=0),
        "preset 9": lambda plain: lzma.compress(plain, preset=9),
    },
}

# The variants with a checksum of the data.
CHECKED = [
    (codec, name) for codec in ("gzip", "zlib", "bz2", "lzma") for name in ENCODERS[codec] if name != "preset 9"
] + [("zstd", "checksum")]

# Variants that cannot encode empty data: a blocked array has at least one element.
WITHOUT_EMPTY = {("blosc2", "frame, blocked")}
PADDED = {"blosc2": 8 * MIB}

VARIANTS: list[tuple[str, str]] = [(codec, name) for codec, encoders in ENCODERS.items() for name in encoders]


@pytest.fixture(params=VARIANTS, ids=": ".join)
def variant(request: pytest.FixtureRequest) -> tuple[str, Encode]:
    codec, name = request.param
    return codec, ENCODERS[codec][name]


# Tables


def test_every_codec_has_one_implementation() -> None:
    assert sorted(IMPLEMENTATIONS) == sorted(CODECS)
    assert not [name for name, row in IMPLEMENTATIONS.items() if row.decoder and row.undo]
    assert tuple(DECODERS) == tuple(ENCODERS)
    assert all(decoder.codec == name for name, decoder in DECODERS.items())


@pytest.mark.parametrize("name", [*DECODERS, *UNDO])
def test_every_codec_and_filter_has_a_frozen_file(name: str) -> None:
    assert (DATA / f"{name}.bin").is_file()


@pytest.mark.parametrize("path", sorted(DATA.glob("*.bin")), ids=lambda path: path.stem)
def test_frozen_data_still_decodes(path: Path) -> None:
    """The files were written once; see their README."""
    stored, plain = path.read_bytes(), (DATA / "plain").read_bytes()
    name = path.name.split(".")[0]
    if name in DECODERS:
        check_codec(name, stored, plain, PADDED.get(name, 0))
    else:
        undone = undo(FROZEN.get(path.stem) or Step(name), stored)
        assert (np.packbits(np.frombuffer(undone, "u1")).tobytes() if name == "packbits" else undone) == plain


def test_libraries_are_imported_on_first_use() -> None:
    """Some start threads or take much memory, and a process may never need them."""
    program = (
        "import sys\n"
        "for name in ('numcodecs', 'blosc2', 'google_crc32c', 'imagecodecs', 'pcodec', 'http'):\n"
        "    sys.modules[name] = None\n"
        "import handler.codecs\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# Codecs


@pytest.mark.parametrize(
    ("codec", "name", "size"),
    [(*variant, size) for variant in VARIANTS for size in SIZES if size or variant not in WITHOUT_EMPTY],
)
def test_encoded_data_is_decoded(codec: str, name: str, size: int) -> None:
    plain = make_plain(size)
    check_codec(codec, ENCODERS[codec][name](plain), plain, PADDED.get(codec, 0))


@pytest.mark.parametrize(("codec", "name"), [one for one in VARIANTS if one[1] not in {"members", "frames", "streams"}])
def test_a_truncated_stream_or_extra_bytes_are_refused(codec: str, name: str) -> None:
    """Not tested with several streams: without the last one, the data would be valid."""
    check_ends(codec, ENCODERS[codec][name](make_plain(200)))


@pytest.mark.parametrize("codec", DECODERS)
def test_empty_input_is_refused(codec: str) -> None:
    assert check_refused(codec, b"").message.endswith("truncated")


@pytest.mark.parametrize("codec", DECODERS)
def test_data_of_another_kind_is_refused(codec: str) -> None:
    """Zeros, text, and the data of other codecs."""
    related = {"gzip", "zlib"} if codec in {"gzip", "zlib"} else {codec}
    encoders = [encode for other in ENCODERS.keys() - related for encode in ENCODERS[other].values()]
    others = [encode(make_plain(200)) for encode in encoders]
    for stored in (bytes(100), b"<html>502 Bad Gateway</html>\n" * 10, *others):
        with pytest.raises((UndecodableData, EntityTooLarge), match=f"^{codec}: "):
            decode(codec, stored, 1 << 20)


@pytest.mark.parametrize(("codec", "name"), CHECKED)
def test_a_flipped_bit_is_detected_if_there_is_a_checksum(codec: str, name: str) -> None:
    plain = make_plain(200)
    check_flips(codec, ENCODERS[codec][name](plain), plain)


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("zstd", "numcodecs"),
        ("lz4", "numcodecs"),
        ("blosc", "zstd, shuffle 2"),
        ("blosc2", "chunk, ZSTD"),
        ("blosc2", "frame, chunks"),
        ("blosc2", "frame, blocked"),
    ],
)
def test_a_flipped_bit_without_a_checksum_is_refused_or_keeps_the_size(codec: str, name: str) -> None:
    """Without a checksum, damage may not be detected. There is no other exception, and no unwritten memory."""
    plain = make_plain(3000)
    stored = ENCODERS[codec][name](plain)
    for place in range(0, 8 * min(len(stored), 300), 3):
        decoded = decode_damaged(codec, stored, place, 2 * len(plain))
        assert decoded == decode_damaged(codec, stored, place, 2 * len(plain), buffer_bytes=100)


@given(plain=st.binary(max_size=5000), repeat=st.integers(1, 20), data=st.data())
@settings(max_examples=examples(100), deadline=None)
def test_any_bytes_are_decoded_by_any_codec(plain: bytes, repeat: int, data: st.DataObject) -> None:
    codec, name = data.draw(st.sampled_from([one for one in VARIANTS if plain or one not in WITHOUT_EMPTY]))
    buffer_bytes = data.draw(st.integers(10, 10_000))
    plain *= repeat
    assert decode(codec, ENCODERS[codec][name](plain), read_bytes=100, buffer_bytes=buffer_bytes) == plain


def test_sixteen_threads_decode_in_parallel(variant: tuple[str, Encode]) -> None:
    codec, encode = variant
    plain = make_plain(200_000)
    stored = encode(plain)
    with ThreadPoolExecutor(16) as threads:
        decoded = list(threads.map(lambda _: decode(codec, stored, buffer_bytes=70_000), range(32)))
    assert all(each == plain for each in decoded)


def test_the_librarys_own_error_is_the_cause() -> None:
    assert isinstance(check_refused("bz2", b"BZh9 and something else").__cause__, OSError)


def test_a_failed_allocation_is_too_much_data() -> None:
    with pytest.raises(EntityTooLarge, match=r"^lzma: "), translated("lzma", lzma.LZMAError):
        raise MemoryError


def test_zlib_refuses_gzip() -> None:
    check_refused("zlib", gzip.compress(b"plain"))
    check_refused("gzip", gzip.compress(b"plain") + zlib.compress(b"plain"))
    check_refused("gzip", zlib.compress(b"plain") + zlib.compress(b"plain"))
    check_refused("zlib", zlib.compress(b"plain") + zlib.compress(b"plain"))


def test_padding_after_the_data_is_refused() -> None:
    """Some tools allow zeros between and after streams. Here they are an error."""
    for codec, encode in (("gzip", gzip.compress), ("bz2", bz2.compress), ("lzma", lzma.compress)):
        check_refused(codec, encode(b"plain") + bytes(4))


def test_a_dictionary_larger_than_any_presets_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 27}]
    check_refused("lzma", lzma.compress(b"plain", filters=filters))
    check_refused("zstd", bytes.fromhex("28b52ffd 00 a0 000000"))


def test_the_older_lzma_format_is_refused() -> None:
    check_refused("lzma", lzma.compress(b"plain", lzma.FORMAT_ALONE))


def test_skippable_frames_are_skipped() -> None:
    skippable = struct.pack("<II", 0x184D2A50, 5) + b"notes"
    assert decode("zstd", skippable + zstd.compress(b"plain") + skippable) == b"plain"


# Blosc 2


def _flagged(place: int, value: int) -> bytes:
    chunk = bytearray(ENCODERS["blosc2"]["chunk, ZSTD"](make_plain(400)))
    chunk[place] = value
    return bytes(chunk)


@pytest.mark.parametrize(
    ("place", "value"),
    [(0, 2), (2, 0xD5), (16, 32), (21, 160), (30, 1), (31, 0x08), (31, 0x40), (31, 0x80)],
    ids=["version", "codec", "registered filter", "own filter", "blocks", "lazy", "uninitialized", "measurements"],
)
def test_a_chunk_of_an_unsupported_kind_is_refused(place: int, value: int) -> None:
    """The library would start python for a plug-in, and leave an uninitialized chunk unwritten."""
    check_refused("blosc2", _flagged(place, value))


@pytest.mark.parametrize(("codec", "name"), [("blosc", "lz4, shuffle 1"), ("blosc2", "chunk, LZ4")])
def test_a_block_size_that_leaves_unwritten_bytes_is_refused(codec: str, name: str) -> None:
    """The libraries would leave the last bytes of each block unwritten, with data of another request."""
    chunk = bytearray(ENCODERS[codec][name](make_plain(8192)))
    # Flags: split into streams; then the size of an element.
    chunk[2] &= ~0x10
    chunk[3] = 7
    assert "not a multiple of the element size" in check_refused(codec, bytes(chunk)).message


@pytest.mark.parametrize(
    ("special", "expected"),
    [
        (blosc2.SpecialValue.ZERO, np.zeros(5500, "<f4")),
        (blosc2.SpecialValue.NAN, np.full(5500, np.nan, "<f4")),
        (blosc2.SpecialValue.UNINIT, None),
    ],
)
def test_chunks_that_are_not_stored_are_filled(special: Any, expected: np.ndarray[Any, Any] | None) -> None:
    frame = blosc2.SChunk(chunksize=4000, cparams={"typesize": 4})
    frame.fill_special(5500, special)
    stored = bytes(frame.to_cframe())
    if expected is None:
        check_refused("blosc2", stored)
    else:
        np.testing.assert_array_equal(np.frombuffer(decode("blosc2", stored), "<f4"), expected)


def test_metadata_in_a_frame_is_ignored() -> None:
    frame = blosc2.SChunk(data=b"plain", meta={"codec": "anything"}, cparams={"typesize": 1})
    frame.vlmeta["about"] = {"b2nd": [1, 2, 3]}
    assert decode("blosc2", bytes(frame.to_cframe())) == b"plain"


@pytest.mark.parametrize("dtype", ["u1", "<i2", "<f4", "<c16", "V3"])
@pytest.mark.parametrize("shape", [(1,), (60,), (13, 17), (5, 6, 7), (3, 4, 5, 6)], ids=str)
def test_blocked_arrays_are_reordered(shape: tuple[int, ...], dtype: str) -> None:
    generator = np.random.default_rng(len(shape))
    array = np.frombuffer(generator.bytes(math.prod(shape) * np.dtype(dtype).itemsize), dtype).reshape(shape)
    for _ in range(10):
        chunks = [int(generator.integers(1, size + 3)) for size in shape]
        blocks = [int(generator.integers(1, size + 1)) for size in chunks]
        stored = bytes(blosc2.asarray(array, chunks=chunks, blocks=blocks).to_cframe())
        assert decode("blosc2", stored) == array.tobytes(), f"chunks {chunks}, blocks {blocks}"


def test_the_padding_of_a_blocked_array_counts_for_the_limit() -> None:
    """The decoded size of all chunks is limited, not only the size of the array."""
    array = blosc2.asarray(np.zeros((1, 1), "u1"), chunks=(1000, 1000), blocks=(1000, 1000))
    with pytest.raises(EntityTooLarge):
        decode("blosc2", bytes(array.to_cframe()), 10_000)


# Bombs


def _flushed(wrapping: int) -> tuple[bytes, bytes]:
    """The head of a stream, and a segment that encodes 1 MiB of zeros and can be repeated."""
    encoder = zlib.compressobj(9, wbits=wrapping)
    head = encoder.compress(bytes(MIB)) + encoder.flush(zlib.Z_FULL_FLUSH)
    return head, encoder.compress(bytes(MIB)) + encoder.flush(zlib.Z_FULL_FLUSH)


def _bombs() -> Iterator[tuple[str, bytes, bytes]]:
    yield "zlib", *_flushed(15)
    yield "gzip", *_flushed(31)
    # Blocks that repeat a byte, 4 bytes for 128 KiB: 320 GiB in total.
    yield "zstd", bytes.fromhex("28b52ffd 00 58"), bytes.fromhex("020010 00")
    yield "bz2", b"", bz2.compress(bytes(40 * MIB))
    yield "lzma", b"", lzma.compress(bytes(16 * MIB), preset=6)
    # Formats with the decoded size in a header.
    yield "lz4", b"\xff\xff\xff\x7f", bytes(4096)
    yield "blosc", struct.pack("<4BIII", 2, 1, 0x21, 4, 1 << 31, 1 << 20, 10 * MIB), bytes(16)
    yield "blosc2", blosc2.compress2(bytes(1 << 20), typesize=4)[:4] + struct.pack("<I", (1 << 31) - 4) + (
        blosc2.compress2(bytes(1 << 20), typesize=4)[8:]
    ), b""  # fmt: skip


BOMBS = list(_bombs())


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from Linux's /proc")
@pytest.mark.parametrize(("codec", "head", "segment"), BOMBS, ids=[codec for codec, _, _ in BOMBS])
def test_a_bomb_costs_no_more_memory_than_the_limit(codec: str, head: bytes, segment: bytes) -> None:
    """10 MiB that would decode to 10 GiB or more, or, for codecs that do not stream, a header with such a size."""
    times = (10 * MIB - len(head)) // len(segment) if segment else 0
    check_bomb(codec, head, segment, times, 8 * MIB)


# Filters


@pytest.mark.parametrize("element_size", [1, 2, 3, 4, 8, 16, 257, 4096])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 1000])
def test_shuffle_is_undone(element_size: int, count: int) -> None:
    plain = make_plain(element_size * count)
    shuffled = numcodecs.Shuffle(element_size).encode(plain) if plain else b""
    assert undo(Step("shuffle", element_size), bytes(shuffled)) == plain


@pytest.mark.parametrize("element_size", [2, 4, 8])
def test_many_shuffled_elements_are_undone_in_pieces(element_size: int) -> None:
    plain = np.random.default_rng(element_size).bytes(140_001 * element_size)
    shuffled = bytes(numcodecs.Shuffle(element_size).encode(plain))
    assert undo(Step("shuffle", element_size), shuffled) == plain


def test_shuffle_does_not_copy_unshuffled_data() -> None:
    data = memoryview(b"abcd")
    assert UNDO["shuffle"](data, make_context(Step("shuffle", 1))) is data
    assert UNDO["shuffle"](data, make_context(Step("shuffle", 3))) is data


@pytest.mark.parametrize(("element_size", "size"), [(4, 403), (4, 3), (7, 100), (8, 4097)])
def test_shuffle_keeps_bytes_after_the_last_element(element_size: int, size: int) -> None:
    """As in HDF5. numcodecs refuses to encode such data."""
    plain = make_plain(size)
    whole = size // element_size * element_size
    shuffled = bytes(numcodecs.Shuffle(element_size).encode(plain[:whole])) if whole else b""
    assert undo(Step("shuffle", element_size), shuffled + plain[whole:]) == plain


@given(plain=st.binary(max_size=200), element_size=st.integers(1, 9), sizes=st.lists(st.integers(1, 50), min_size=1))
def test_a_step_undone_in_reading_gives_the_same_bytes_for_any_buffer(
    plain: bytes, element_size: int, sizes: list[int]
) -> None:
    """A buffer can end inside an element, since the element size of the filter can differ from the data type's."""
    stored = memoryview(plain)
    reading_rows = {name: row.undo_reading for name, row in IMPLEMENTATIONS.items() if row.undo_reading}
    for name, reading in reading_rows.items():
        undone, read = reading(stored, element_size), bytearray()
        for size in itertools.cycle(sizes):
            piece = memoryview(bytearray(size))
            count = undone.readinto(piece)
            if not count:
                break
            read += piece[:count]
        assert read == undo(Step(name, element_size), plain)
        assert bytes(stored) == plain


@pytest.mark.parametrize("count", [1, 7, 8, 9, 127, 128, 2047, 2048, 2049, 100_003])
@pytest.mark.parametrize("dtype", ["u1", "<u2", "<f4", "<f8", "<c16"])
def test_bitshuffle_undoes_data_of_its_own_library(dtype: str, count: int) -> None:
    array = np.frombuffer(np.random.default_rng(count).bytes(count * np.dtype(dtype).itemsize), dtype)
    stored, _ = _write_chunk(array, **hdf5plugin.Bitshuffle(cname="none"))
    assert undo(Step("bitshuffle", array.itemsize), stored) == array.tobytes()


def test_bitshuffle_of_no_elements_is_empty() -> None:
    assert undo("bitshuffle", b"") == b""


@pytest.mark.parametrize("name", ["bitshuffle", "delta"])
def test_a_size_that_is_not_a_multiple_of_the_element_size_is_refused(name: str) -> None:
    with pytest.raises(UndecodableData, match=f"^{name}: "):
        undo(name, bytes(7))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 719, 720, 721, 722, 100_001])
def test_fletcher32_of_hdf5_is_verified(size: int) -> None:
    plain = make_plain(size)
    stored, _ = _write_chunk(np.frombuffer(plain, "u1"), fletcher32=True)
    assert stored == Fletcher32().encode(plain)
    assert undo("fletcher32", stored) == plain


@pytest.mark.parametrize("plain", [bytes(100), b"\xff" * 100, make_plain(100)], ids=["zeros", "ones", "data"])
def test_fletcher32_finds_every_flipped_bit(plain: bytes) -> None:
    stored = bytes(Fletcher32().encode(plain))
    for place in range(8 * len(stored)):
        damaged = bytearray(stored)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(UndecodableData, match=r"^fletcher32: ") as refusal:
            undo("fletcher32", bytes(damaged))
        assert refusal.value.message.endswith("the checksum does not match the data")


def test_fletcher32_without_data_or_checksum_is_refused() -> None:
    for size in range(5):
        with pytest.raises(UndecodableData, match=r"^fletcher32: "):
            undo("fletcher32", bytes(size))


def test_fletcher32_copies_nothing() -> None:
    stored = bytearray(Fletcher32().encode(b"plain"))
    undone = UNDO["fletcher32"](memoryview(stored), make_context(Step("fletcher32")))
    stored[:5] = b"other"
    assert bytes(undone) == b"other"


@pytest.mark.parametrize("byte_order", ["little", "big"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_delta_is_undone_as_numcodecs_does(dtype: str, byte_order: ByteOrder) -> None:
    """In the source's byte order; integers wrap. Bools are not compared, since numcodecs decodes them wrongly."""
    stored_dtype = DTYPES[dtype].newbyteorder(byte_order)
    array = np.random.default_rng(1).integers(0, 2 if dtype == "bool" else 200, 1000).astype(stored_dtype)
    codec = numcodecs.Delta(stored_dtype)
    with np.errstate(all="ignore"):
        stored = codec.encode(array).tobytes()
        expected = array if dtype == "bool" else codec.decode(stored)
    assert undo("delta", stored, dtype, byte_order) == expected.tobytes()
    assert undo("delta", b"", dtype, byte_order) == b""


@given(plain=st.binary(max_size=3000), element_size=st.integers(1, 40))
@settings(max_examples=examples(50), deadline=None)
def test_any_bytes_are_undone_by_shuffle_and_fletcher32(plain: bytes, element_size: int) -> None:
    whole = len(plain) // element_size * element_size
    shuffled = plain[:whole]
    if whole:
        shuffled = np.frombuffer(plain, "u1", whole).reshape(-1, element_size).T.tobytes()
    stored = shuffled + plain[whole:]
    assert undo(Step("shuffle", element_size), stored) == plain
    if stored:
        assert undo("fletcher32", bytes(Fletcher32().encode(stored))) == stored


# HDF5


def _write_chunk(array: np.ndarray[Any, Any], **options: Any) -> tuple[bytes, list[int]]:
    """The single chunk of an array as HDF5 stores it, and the ids of the filters, in the order of writing.

    Without those that HDF5 left out of this chunk, because it did not become smaller.
    """
    with h5py.File("chunk.h5", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset("x", data=array, chunks=array.shape, **options)
        return _read_chunk(dataset)


def _read_chunk(dataset: Any) -> tuple[bytes, list[int]]:
    filters = dataset.id.get_create_plist()
    mask, stored = dataset.id.read_direct_chunk((0,) * dataset.ndim)
    numbers = [filters.get_filter(place)[0] for place in range(filters.get_nfilters()) if not mask >> place & 1]
    return bytes(stored), numbers


# The ids of filters in HDF5, and our names.
HDF5_FILTERS = {
    h5py.h5z.FILTER_DEFLATE: "gzip",
    h5py.h5z.FILTER_SHUFFLE: "shuffle",
    h5py.h5z.FILTER_FLETCHER32: "fletcher32",
    32008: "bitshuffle",
    32001: "blosc",
    32026: "blosc2",
    32015: "zstd",
    307: "bz2",
}


def _undo_chain(stored: bytes, numbers: list[int], element_size: int) -> bytes:
    for name in [HDF5_FILTERS[number] for number in reversed(numbers)]:
        stored = decode(name, stored) if name in DECODERS else undo(Step(name, element_size), stored)
    return stored


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i2", "u1"])
@pytest.mark.parametrize(
    "options",
    [
        {"compression": "gzip", "compression_opts": 4},
        {"compression": "gzip", "shuffle": True},
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
        {"shuffle": True, "fletcher32": True},
        {"shuffle": True, **hdf5plugin.Zstd()},
        {"shuffle": True, **hdf5plugin.BZip2()},
        hdf5plugin.Bitshuffle(cname="none"),
        hdf5plugin.Blosc(cname="zstd", shuffle=hdf5plugin.Blosc.BITSHUFFLE),
        hdf5plugin.Blosc2(cname="lz4"),
    ],
    ids=lambda options: " ".join(f"{key}={value}" for key, value in options.items()),
)
@pytest.mark.parametrize("shape", [(1000,), (30, 40), (300, 1001)], ids=str)
def test_chunks_of_hdf5_are_decoded(options: Any, dtype: str, shape: tuple[int, ...]) -> None:
    """In HDF5's order of filters, with fletcher32 last: its checksum is that of the compressed bytes."""
    array = np.frombuffer(make_plain(math.prod(shape) * 8), "<i4")[: math.prod(shape)].astype(dtype).reshape(shape)
    stored, numbers = _write_chunk(array, **options)
    assert _undo_chain(stored, numbers, array.itemsize) == array.tobytes()


def test_a_chunk_with_fletcher32_before_the_compression_is_decoded() -> None:
    """The order of ``filters=shuffle:4,fletcher32`` and ``compression=zlib``."""
    array = np.frombuffer(make_plain(4000), "<f4")
    with h5py.File("chunk.h5", "w", driver="core", backing_store=False) as file:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk(array.shape)
        creation.set_shuffle()
        creation.set_fletcher32()
        creation.set_deflate(4)
        space = h5py.h5s.create_simple(array.shape)
        dataset = h5py.Dataset(h5py.h5d.create(file.id, b"x", h5py.h5t.IEEE_F32LE, space, creation))
        dataset[...] = array
        stored, _ = _read_chunk(dataset)
    assert undo("shuffle", undo("fletcher32", decode("zlib", stored))) == array.tobytes()

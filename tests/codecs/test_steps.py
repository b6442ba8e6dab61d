"""Steps of real files: compared with HDF5, hdf5plugin, numcodecs and Zarr; truncated, damaged, and limited."""

import itertools
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import h5py
import hdf5plugin
import imagecodecs
import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs.fletcher32 import Fletcher32

from active_storage.errors import CodecNotInstalled, DeadlineExceeded, EntityTooLarge, InvalidArgument, UndecodableData
from active_storage.model.dtypes import DTYPES
from active_storage.model.spec import ReductionSpec
from active_storage.model.steps import Step
from handler.codecs.base import Budget
from tests.codecs.chunks import Array, decode_chunk, read_chunk, spec_of, write_chunk
from tests.codecs.codec_exam import UNDO, limit_to, make_context, undo
from tests.helpers import examples

# Sizes around 0, a multiple of 8, and a block of szip and of bitshuffle.
COUNTS = [1, 2, 7, 8, 9, 100, 1001, 50_000]
INTEGERS = ["i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", ">i2", ">u4", ">i8"]
FLOATS = ["<f4", "<f8", ">f4", ">f8"]


def step(name: str, /, **parameters: Any) -> Step:
    return Step(name, None, tuple(parameters.items()))


def make_numbers(dtype: str, count: int) -> Array:
    """A random walk that every data type can represent; for floats, with two decimal digits."""
    walk = np.random.default_rng(count).normal(size=count).cumsum() * 10
    numbers: Array = np.round(np.clip(walk, 0 if np.dtype(dtype).kind == "u" else -120, 120), 2).astype(dtype)
    return numbers


# HDF5

ANY_NUMBERS: Mapping[str, Any] = {
    "lzf": {"compression": "lzf"},
    "lzf with filters": {"compression": "lzf", "shuffle": True, "fletcher32": True},
    "lz4": hdf5plugin.LZ4(),
    "lz4, blocks": hdf5plugin.LZ4(nbytes=256),
    **{f"bitshuffle, {name}": hdf5plugin.Bitshuffle(cname=name) for name in ("none", "lz4", "zstd")},
    **{f"bitshuffle, {name}, blocks": hdf5plugin.Bitshuffle(nelems=64, cname=name) for name in ("none", "lz4", "zstd")},
    "bitshuffle, fletcher32": {**hdf5plugin.Bitshuffle(cname="lz4"), "fletcher32": True},
    "fletcher32": {"fletcher32": True},
    "szip": {"compression": "szip", "compression_opts": ("nn", 2)},
    "szip, ec": {"compression": "szip", "compression_opts": ("ec", 32)},
}

OF_INTEGERS: Mapping[str, Any] = {
    "scaleoffset": {"scaleoffset": 0},
    "scaleoffset, 5 bits": {"scaleoffset": 5},
    "scaleoffset, fill": {"scaleoffset": 0, "fillvalue": 7},
    "scaleoffset, shuffle": {"scaleoffset": 0, "shuffle": True},
}

OF_FLOATS: Mapping[str, Any] = {
    **{f"scaleoffset, {digits} digits": {"scaleoffset": digits} for digits in range(5)},
    "scaleoffset, fill": {"scaleoffset": 2, "fillvalue": 7.5},
}

CHUNKS = [
    *itertools.product(INTEGERS, [*ANY_NUMBERS.items(), *OF_INTEGERS.items()]),
    *itertools.product(FLOATS, [*ANY_NUMBERS.items(), *OF_FLOATS.items()]),
]


@pytest.mark.parametrize(("dtype", "options"), CHUNKS, ids=[f"{dtype} {named[0]}" for dtype, named in CHUNKS])
def test_data_of_hdf5_is_decoded_like_hdf5_reads_it(dtype: str, options: tuple[str, Mapping[str, Any]]) -> None:
    """With and without a shape; arrays of one value, for which scaleoffset stores no bits; and the largest numbers."""
    # szip cannot encode a chunk that is smaller than one of its blocks.
    least = options[1]["compression_opts"][1] if options[1].get("compression") == "szip" else 1
    arrays = [make_numbers(dtype, count) for count in COUNTS if count >= least]
    arrays += [np.full(100, value, dtype) for value in (5, 7)]
    if np.dtype(dtype).kind in "iu" and "5 bits" not in options[0]:
        limits = np.iinfo(dtype)
        arrays.append(np.array([limits.min, 7, limits.max] * 40, dtype))
    for array in arrays:
        stored, steps, expected = write_chunk(array, **options[1])
        for shape in (array.shape, None):
            assert decode_chunk(stored, spec_of(dtype, shape, *steps)) == expected.tobytes(), f"{array[:3]} {steps}"


def test_scaleoffset_of_all_bits_is_exact() -> None:
    stored, steps, expected = write_chunk(make_numbers("<i2", 100), scaleoffset=16)
    assert decode_chunk(stored, spec_of("<i2", (100,), *steps)) == expected.tobytes() == stored


@pytest.mark.parametrize(("bits", "below"), [(8, 0), (9, 0), (11, 3), (15, 1), (16, 0), (10, 6)])
@pytest.mark.parametrize("name", ["STD_I16LE", "STD_U16BE", "STD_U16LE"])
def test_nbit_gives_the_numbers_that_hdf5_reads(name: str, bits: int, below: int) -> None:
    check_nbit(getattr(h5py.h5t, name), bits, below)


@pytest.mark.parametrize(
    ("standard", "bits", "below"),
    [
        (h5py.h5t.STD_I32BE, 17, 0),
        (h5py.h5t.STD_I32LE, 31, 1),
        (h5py.h5t.STD_U64BE, 33, 7),
        (h5py.h5t.STD_I64LE, 57, 3),
        (h5py.h5t.STD_I64LE, 58, 6),
        (h5py.h5t.STD_U64LE, 63, 1),
        (h5py.h5t.STD_I64BE, 64, 0),
        (h5py.h5t.STD_I8LE, 8, 0),
    ],
)
def test_nbit_decodes_numbers_of_up_to_64_bits(standard: Any, bits: int, below: int) -> None:
    """Numbers of more than 57 bits can extend over nine bytes."""
    check_nbit(standard, bits, below)


def check_nbit(standard: Any, bits: int, below: int) -> None:
    stored_type = standard.copy()
    stored_type.set_precision(bits)
    stored_type.set_offset(below)
    is_signed = stored_type.get_sign() == h5py.h5t.SGN_2
    native = np.dtype(f"{'i' if is_signed else 'u'}{stored_type.get_size()}")
    dtype = native.newbyteorder("<" if stored_type.get_order() == h5py.h5t.ORDER_LE else ">")
    lowest, highest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if is_signed else (0, 2**bits - 1)
    for count in COUNTS:
        numbers = np.random.default_rng(count).integers(lowest, highest, count, native, endpoint=True)
        with h5py.File("chunk.h5", "w", driver="core", backing_store=False) as file:
            creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            creation.set_chunk((count,))
            creation.set_filter(h5py.h5z.FILTER_NBIT, 0, ())
            space = h5py.h5s.create_simple((count,))
            dataset = h5py.Dataset(h5py.h5d.create(file.id, b"x", stored_type, space, creation))
            dataset.id.write(h5py.h5s.ALL, h5py.h5s.ALL, numbers, mtype=h5py.h5t.py_create(native))
            stored, steps = read_chunk(dataset)
        assert decode_chunk(stored, spec_of(dtype, (count,), *steps)) == numbers.astype(dtype).tobytes()


def test_fletcher32_of_old_files_is_accepted_with_swapped_bytes() -> None:
    """HDF5 up to 1.6.2 wrote the checksum in this form on little-endian machines."""
    array = make_numbers("<f4", 101)
    stored, steps, _ = write_chunk(array, fletcher32=True)
    plain, (first, second) = stored[:-4], struct.unpack("<2H", stored[-4:])
    swapped = plain + struct.pack(">2H", first, second)
    assert swapped != stored
    with h5py.File("chunk.h5", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset("x", data=array, chunks=array.shape, fletcher32=True)
        dataset.id.write_direct_chunk((0,), swapped)
        np.testing.assert_array_equal(dataset[...], array)
    assert decode_chunk(swapped, spec_of("<f4", array.shape, *steps)) == array.tobytes()
    exchanged = plain + struct.pack("<2H", second, first)
    with pytest.raises(UndecodableData, match=r"^fletcher32: the checksum does not match the data"):
        decode_chunk(exchanged, spec_of("<f4", array.shape, *steps))


@given(plain=st.binary(min_size=1, max_size=100), times=st.integers(1, 2000))
@settings(max_examples=examples(50), deadline=None)
def test_fletcher32_of_any_bytes_equals_hdf5s(plain: bytes, times: int) -> None:
    assert undo("fletcher32", bytes(Fletcher32().encode(plain * times))) == plain * times


# numcodecs

SIGNED = ["i1", "i2", "i4", "i8", "f4", "f8"]


def encode(codec: Any, array: Array) -> bytes:
    encoded = codec.encode(array)
    return encoded.tobytes() if isinstance(encoded, np.ndarray) else bytes(encoded)


@pytest.mark.parametrize("location", [None, "start", "end"])
@pytest.mark.parametrize("name", ["crc32", "adler32", "crc32c"])
@pytest.mark.parametrize("size", [0, 1, 4, 101, (1 << 20) + 1])
def test_checksums_of_numcodecs_are_verified(name: str, location: str | None, size: int) -> None:
    parameters = {} if location is None else {"location": location}
    plain = np.random.default_rng(size).bytes(size)
    stored = encode(numcodecs.get_codec({"id": name, **parameters}), np.frombuffer(plain, "u1"))
    assert undo(step(name, **parameters), stored) == plain
    for place in range(0, 8 * len(stored), max(len(stored) // 100, 1)):
        damaged = bytearray(stored)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(UndecodableData, match=f"^{name}: "):
            undo(step(name, **parameters), bytes(damaged))


@pytest.mark.parametrize("initval", [0, 1, 2**32 - 1])
def test_jenkins_lookup3_is_verified(initval: int) -> None:
    stored = encode(numcodecs.get_codec({"id": "jenkins_lookup3", "initval": initval}), make_numbers("<i4", 33))
    assert undo(step("jenkins_lookup3", initval=initval), stored) == stored[:-4]
    with pytest.raises(UndecodableData, match=r"^jenkins_lookup3: "):
        undo(step("jenkins_lookup3", initval=initval ^ 1), stored)


def make_codecs(dtype: str, other: str) -> Iterator[tuple[Any, Step]]:
    yield numcodecs.Delta(dtype, other), step("delta", astype=other)
    yield numcodecs.FixedScaleOffset(3, 7, dtype, other), step("fixedscaleoffset", offset=3, scale=7, astype=other)
    yield (
        numcodecs.FixedScaleOffset(-3.5, 0.125, dtype, other),
        step("fixedscaleoffset", offset=-3.5, scale=0.125, dtype=dtype, astype=other),
    )
    yield numcodecs.AsType(other, dtype), step("astype", encode_dtype=other, decode_dtype=dtype)
    if np.dtype(dtype).kind == np.dtype(other).kind == "f":
        yield numcodecs.Quantize(2, dtype, other), step("quantize", digits=2, astype=other)


@pytest.mark.parametrize("orders", ["<<", "<>", ">>", "><"])
@pytest.mark.parametrize(("dtype", "other"), list(itertools.product(SIGNED, SIGNED)))
def test_filters_on_numbers_agree_with_numcodecs(dtype: str, other: str, orders: str) -> None:
    """For every pair of data types and byte orders, including numbers that do not fit."""
    dtype, other = orders[0] + dtype, orders[1] + other
    for count, (codec, undone) in itertools.product([1, 9, 70_000], make_codecs(dtype, other)):
        with np.errstate(all="ignore"):
            stored = encode(codec, make_numbers(dtype, count))
            expected = codec.decode(stored).astype(dtype)
        assert decode_chunk(stored, spec_of(dtype, (count,), undone)) == expected.tobytes(), undone


@pytest.mark.parametrize("digits", [2**31 - 1, 2**31, 2**32 - 3])
def test_scaleoffset_is_computed_for_any_number_of_digits(digits: int) -> None:
    """As in HDF5, the results can be infinite, or rounded to tens and more."""
    undone = step("scaleoffset", cd_values=(0, digits, 8, 1, 4, 0, 0, 0))
    stored = struct.pack("<IBQ8x", 8, 8, 0) + bytes(range(8)) + b"\0"
    with np.errstate(all="ignore"):
        power = np.float32(np.float64(10) ** np.int32(digits - 2**32 if digits >= 2**31 else digits))
        expected = np.arange(8, dtype="<f4") / power
    assert undo(undone, stored, "float32") == expected.tobytes()


def test_a_scale_can_be_larger_than_the_stored_type_allows() -> None:
    undone = step("fixedscaleoffset", offset=1, scale=1000, astype="i1")
    assert np.frombuffer(undo(undone, b"\x7f", "float64"), "<f8") == 1.127


def test_a_type_without_a_byte_order_has_that_of_the_request() -> None:
    array = make_numbers(">f8", 50)
    stored = encode(numcodecs.FixedScaleOffset(0, 100, ">f8", ">i2"), array)
    scaled = step("fixedscaleoffset", offset=0, scale=100, astype="i2")
    assert decode_chunk(stored, spec_of(">f8", (50,), scaled)) == array.tobytes()


def test_a_step_gets_the_data_type_of_the_step_before_it() -> None:
    """The element size of shuffle, and the data type of delta, are those of fixedscaleoffset's output."""
    array = make_numbers("<f8", 1000)
    codecs = [numcodecs.FixedScaleOffset(0, 100, "<f8", "<i4"), numcodecs.Delta("<i4", "<i2"), numcodecs.Shuffle(2)]
    data: Any = array
    for codec in codecs:
        data = codec.encode(data)
    steps = [step("fixedscaleoffset", offset=0, scale=100, astype="<i4"), step("delta", astype="<i2"), step("shuffle")]
    spec = spec_of("<f8", (1000,), *steps, step("zlib"))
    np.testing.assert_allclose(
        np.frombuffer(decode_chunk(encode(numcodecs.Zlib(), data), spec), "<f8"), array, atol=1e-9
    )


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i4", ">u2", "<i8"])
def test_scale_offset_is_computed_in_the_type_of_the_elements(dtype: str) -> None:
    """Zarr 3's codec. It is not in the oldest version of zarr that is tested. Integers are divided exactly."""
    stored = (np.arange(0, 3000, 3) * (1 if np.dtype(dtype).kind == "u" else -1)).astype(dtype)
    native = np.dtype(dtype).newbyteorder("=").type
    divided = stored / native(3) if np.dtype(dtype).kind == "f" else stored // native(3)
    expected = (divided + native(7)).astype(dtype)
    undone = step("scale_offset", offset=7, scale=3)
    assert decode_chunk(stored.tobytes(), spec_of(dtype, (1000,), undone)) == expected.tobytes()
    assert decode_chunk(stored.tobytes(), spec_of(dtype, (1000,), step("scale_offset"))) == stored.tobytes()


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"scale": 2}, UndecodableData),
        ({"offset": 100}, UndecodableData),
        ({"offset": 128}, InvalidArgument),
        ({"scale": 0.5}, InvalidArgument),
    ],
)
def test_scale_offset_of_integers_is_exact_or_refused(parameters: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=r"scale_offset: "):
        undo(step("scale_offset", **parameters), bytes([101, 3]), "int8")


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 1000, 3 << 18, (3 << 18) + 1])
def test_base64_is_decoded(size: int) -> None:
    plain = np.random.default_rng(size).bytes(size)
    stored = encode(numcodecs.Base64(), np.frombuffer(plain, "u1"))
    assert undo("base64", stored) == plain
    for damaged in (stored + b"=", stored[:-1], stored + b"\n", b"*" + stored[1:]):
        if damaged and len(stored):
            with pytest.raises(UndecodableData, match=r"^base64: "):
                undo("base64", damaged)


NUMBER_STEPS = [
    ("delta", {}, "astype"),
    ("fixedscaleoffset", {"offset": -1.5, "scale": 10**6}, "astype"),
    ("quantize", {}, "astype"),
    ("astype", {}, "encode_dtype"),
]


@pytest.mark.parametrize(("name", "parameters", "encoded"), NUMBER_STEPS, ids=[one[0] for one in NUMBER_STEPS])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_pair_of_types_is_converted_or_refused(
    name: str, parameters: dict[str, Any], encoded: str, dtype: str
) -> None:
    """For any bytes. Complex numbers cannot be converted to real ones, or the reverse."""
    data = np.random.default_rng(1).bytes(16 * 9)
    for other in DTYPES:
        undone = step(name, **parameters, **{encoded: other})
        if DTYPES[other].kind == "c" != DTYPES[dtype].kind:
            with pytest.raises(InvalidArgument, match=f"{name}: {other} cannot be converted to {dtype}"):
                undo(undone, data, dtype)
        else:
            count = len(data) // DTYPES[other].itemsize
            assert len(undo(undone, data, dtype)) == count * DTYPES[dtype].itemsize


@pytest.mark.parametrize("dtype", DTYPES)
def test_scale_offset_of_any_type_is_computed_or_refused(dtype: str) -> None:
    """With a scale of 2, odd integers cannot be decoded, and bools cannot represent the scale."""
    data = np.random.default_rng(1).bytes(16 * 9)
    kind, scaled = DTYPES[dtype].kind, step("scale_offset", offset=1, scale=2)
    assert undo("scale_offset", data, dtype) == data or kind in "bfc"
    if kind in "fc":
        assert len(undo(scaled, data, dtype)) == len(data)
    else:
        with pytest.raises(InvalidArgument if kind == "b" else UndecodableData, match=r"scale"):
            undo(scaled, data, dtype)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 1001])
def test_packed_bits_are_unpacked(count: int) -> None:
    array = np.random.default_rng(count).integers(0, 2, count).astype(bool)
    assert (
        decode_chunk(encode(numcodecs.PackBits(), array), spec_of("bool", (count,), step("packbits")))
        == array.tobytes()
    )


@pytest.mark.parametrize("stored", [b"", b"\1", b"\x08\xff", b"\xff\xff"])
def test_invalid_packed_bits_are_refused(stored: bytes) -> None:
    with pytest.raises(UndecodableData, match=r"^packbits: "):
        undo("packbits", stored)


def test_bitround_keeps_floats_unchanged() -> None:
    stored = encode(numcodecs.BitRound(5), make_numbers("<f4", 1000))
    for shape, steps in (((1000,), ()), (None, ()), ((1000,), (step("zlib"),))):
        data = encode(numcodecs.Zlib(), np.frombuffer(stored, "u1")) if steps else stored
        assert decode_chunk(data, spec_of("<f4", shape, step("bitround", keepbits=5), *steps)) == stored
    with pytest.raises(InvalidArgument, match=r"^shape: "):
        decode_chunk(stored, spec_of("<f4", (999,), step("bitround", keepbits=5)))


@pytest.mark.parametrize("dtype", ["i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8"])
@pytest.mark.parametrize("count", [1, 1001, 300_000])
def test_pcodec_is_decoded(dtype: str, count: int) -> None:
    array = make_numbers(dtype, count)
    stored = encode(numcodecs.get_codec({"id": "pcodec"}), array)
    for shape in (array.shape, None):
        spec = spec_of(dtype, shape, Step("pcodec"))
        assert decode_chunk(stored, spec) == array.tobytes()


def test_pcodec_of_numbers_of_another_type_is_refused() -> None:
    stored = encode(numcodecs.get_codec({"id": "pcodec"}), make_numbers("i4", 100))
    with pytest.raises(UndecodableData, match=r"^pcodec: "):
        undo("pcodec", stored, "float32")
    with pytest.raises(InvalidArgument, match=r"does not support bool"):
        undo("pcodec", stored, "bool")


@pytest.mark.parametrize("mode", ["REVERSIBLE", "FIXED_ACCURACY", "FIXED_PRECISION", "FIXED_RATE"])
@pytest.mark.parametrize("shape", [(1,), (7,), (100, 101), (3, 4, 5), (2, 3, 4, 9)], ids=str)
@pytest.mark.parametrize("dtype", ["i4", "i8", "f4", "f8"])
def test_zfp_is_decoded(dtype: str, shape: tuple[int, ...], mode: str) -> None:
    array = make_numbers(dtype, int(np.prod(shape))).reshape(shape)
    stored = bytes(imagecodecs.zfp_encode(array, mode=imagecodecs.ZFP.MODE[mode], level=8))
    expected = imagecodecs.zfp_decode(stored).tobytes()
    for known in (shape, None):
        assert decode_chunk(stored, spec_of(dtype, known, Step("zfpy"))) == expected


@pytest.mark.parametrize(
    "mode", [{}, {"rate": 12.0}, {"precision": 16}, {"accuracy": 0.1}, {"reversible": True}, {"minexp": -12}], ids=str
)
@pytest.mark.parametrize("dtype", ["<i4", "<i8", "<f4", "<f8"])
def test_zfp_of_hdf5_is_decoded_by_the_header_in_the_file(dtype: str, mode: Mapping[str, Any]) -> None:
    """The header of a long mode ends inside a byte."""
    if "accuracy" in mode and dtype[1] == "i":
        mode = {"precision": 20}
    for shape in [(1,), (100,), (13, 17), (5, 6, 7)]:
        array = make_numbers(dtype, int(np.prod(shape))).reshape(shape)
        stored, steps, expected = write_chunk(array, **hdf5plugin.Zfp(**mode))
        for known in (shape, None):
            assert decode_chunk(stored, spec_of(dtype, known, *steps)) == expected.tobytes(), f"{shape} {steps}"


# Zarr


def write_one_chunk(array: Any, **codecs: Any) -> tuple[dict[str, Any], Any]:
    """The store of a zarr array with one chunk, and the array."""
    store: Any = {}
    written = zarr.create_array(
        zarr.storage.MemoryStore(store), shape=array.shape, chunks=array.shape, dtype=array.dtype, **codecs
    )
    written[...] = array
    return store, written


@pytest.mark.parametrize(
    ("filters", "compressor"),
    [
        ([numcodecs.Delta("<i4", "<i2")], numcodecs.Zlib(5)),
        ([numcodecs.FixedScaleOffset(0, 10, "<i4", "<i4"), numcodecs.Shuffle(4)], numcodecs.Blosc("zstd", 3)),
        ([numcodecs.AsType("<i2", "<i4"), numcodecs.CRC32()], numcodecs.Zstd(2)),
        ([], numcodecs.LZ4()),
        (None, numcodecs.get_codec({"id": "pcodec", "level": 3})),
    ],
)
def test_a_chunk_of_zarr_2_is_decoded_by_its_own_metadata(filters: Any, compressor: Any) -> None:
    """Every member of numcodecs' configurations is used, or known and ignored."""
    array = make_numbers("<i4", 500)
    store, _ = write_one_chunk(array, zarr_format=2, filters=filters, compressors=compressor)
    configurations = [codec.get_config() for codec in [*(filters or []), compressor]]
    steps = [
        Step.of(each["id"], {key: value for key, value in each.items() if key != "id" and value is not None})
        for each in configurations
    ]
    spec = spec_of("<i4", array.shape, *steps)
    assert decode_chunk(store["0"].to_bytes(), spec) == array.tobytes()


def named(name: str, /, **configuration: Any) -> dict[str, Any]:
    return {"name": name, "configuration": configuration}


@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3")
@pytest.mark.parametrize(
    ("filters", "compressors"),
    [
        ([], [named("gzip", level=1), named("crc32c")]),
        ([], [named("zstd", level=1, checksum=True)]),
        ([], [named("blosc", cname="lz4", clevel=5, shuffle="bitshuffle", typesize=4, blocksize=0)]),
        (
            [named("numcodecs.delta", dtype="<i4", astype="<i2")],
            [named("numcodecs.shuffle", elementsize=2), named("numcodecs.zlib", level=1)],
        ),
        ([], [named("numcodecs.bz2", level=1), named("numcodecs.lz4", acceleration=1)]),
        ([named("numcodecs.fixedscaleoffset", offset=1, scale=2, dtype="<i4", astype="<i4")], []),
        ([], [named("numcodecs.crc32"), named("numcodecs.adler32"), named("numcodecs.lzma")]),
    ],
)
def test_a_chunk_of_zarr_3_is_decoded_by_its_own_metadata(filters: Any, compressors: Any) -> None:
    """Names with the prefix ``numcodecs.`` are the same codecs; ``bytes`` gives the byte order of the request."""
    array = make_numbers("<i4", 500)
    store, written = write_one_chunk(array, zarr_format=3, filters=filters, compressors=compressors)
    metadata: Any = written.metadata.to_dict()
    described = [codec for codec in metadata["codecs"] if codec["name"] != "bytes"]
    steps = [Step.of(each["name"], dict(each.get("configuration", {}))) for each in described]
    assert decode_chunk(store["c/0"].to_bytes(), spec_of("<i4", array.shape, *steps)) == array.tobytes()


# Damage and limits


def make_samples() -> Iterator[tuple[str, Step, bytes, bytes]]:
    """For each step with its own format: a name, the step, stored data, and the decoded data."""
    for name in ("lzf", "lz4", "lz4, blocks", "bitshuffle, lz4", "bitshuffle, zstd", "bitshuffle, lz4, blocks", "szip"):
        array = make_numbers("<i4", 203)
        stored, (only,), _ = write_chunk(array, **ANY_NUMBERS[name])
        yield name, only, stored, array.tobytes()
    stored, (only,), expected = write_chunk(make_numbers("<i4", 203), scaleoffset=0)
    yield "scaleoffset", only, stored, expected.tobytes()
    array = np.arange(100, dtype="<i4")
    yield (
        "nbit",
        step("nbit", cd_values=(8, 0, 100, 1, 4, 0, 8, 0)),
        array.astype("u1").tobytes() + b"\0",
        array.tobytes(),
    )
    yield "pcodec", Step("pcodec"), encode(numcodecs.get_codec({"id": "pcodec"}), make_numbers("<i4", 203)), (
        make_numbers("<i4", 203).tobytes()
    )  # fmt: skip
    array = make_numbers("<i4", 203)
    stored, (only,), expected = write_chunk(array, **hdf5plugin.Zfp())
    yield "zfpy, HDF5", only, stored, expected.tobytes()
    yield "zfpy", Step("zfpy"), bytes(imagecodecs.zfp_encode(array)), array.tobytes()


SAMPLES = list(make_samples())

# Faults that the libraries do not detect: extra bytes, and truncated data of zfp.
BLIND_BEHIND = {"szip", "pcodec", "zfpy"}
WITHOUT_END = "zfpy"

each_sample = pytest.mark.parametrize(("name", "only", "stored", "plain"), SAMPLES, ids=[one[0] for one in SAMPLES])


@each_sample
def test_truncated_data_is_refused(name: str, only: Step, stored: bytes, plain: bytes) -> None:
    assert undo(only, stored) == plain
    for length in range(len(stored)):
        if only.id == WITHOUT_END and (only.parameters or length >= 12):
            assert len(undo(only, stored[:length])) == len(plain)
            continue
        if name == "lzf":
            # Truncation between two runs is detected by the length only.
            check_shorter(only, stored[:length], plain)
            continue
        with pytest.raises(UndecodableData, match=f"^{only.id}: "):
            undo(only, stored[:length])


def check_shorter(only: Step, stored: bytes, plain: bytes) -> None:
    try:
        undone = undo(only, stored)
    except UndecodableData:
        return
    assert len(undone) < len(plain)
    assert plain.startswith(undone)


@each_sample
def test_extra_bytes_after_the_data_are_refused(name: str, only: Step, stored: bytes, plain: bytes) -> None:
    for more in (b"\0\0", b"\xff\xff", stored):
        if only.id in BLIND_BEHIND:
            assert undo(only, stored + more) == plain
        elif name == "lzf":
            with pytest.raises((UndecodableData, InvalidArgument)):
                decode_chunk(stored + more, spec_of("<i4", (203,), only))
        else:
            with pytest.raises(UndecodableData, match=f"^{only.id}: "):
                undo(only, stored + more)


@each_sample
def test_damaged_data_is_refused_or_decoded_deterministically(
    name: str, only: Step, stored: bytes, plain: bytes
) -> None:
    """There is no other exception, no unwritten memory, and no more bytes than the limit."""
    generator = np.random.default_rng(1)
    for place in [*range(8 * min(len(stored), 60)), *generator.integers(0, 8 * len(stored), 300).tolist()]:
        damaged = bytearray(stored)
        damaged[place // 8] ^= 1 << place % 8
        outcomes = {_decode_damaged(only, bytes(damaged)) for _ in range(2)}
        assert len(outcomes) == 1, f"bit {place % 8} of {place // 8}"


@each_sample
@given(data=st.data())
@settings(max_examples=examples(30), deadline=None)
def test_any_mutation_is_refused_or_decoded_deterministically(
    name: str, only: Step, stored: bytes, plain: bytes, data: st.DataObject
) -> None:
    damaged = bytearray(stored)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(stored) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(stored)))])
    assert _decode_damaged(only, cut) == _decode_damaged(only, cut)


def _decode_damaged(only: Step, stored: bytes) -> bytes | None:
    # Memory that differs between calls, so that unwritten bytes are detected.
    junk = np.full(1 << 12, np.random.default_rng(len(stored)).integers(256), np.uint8)
    del junk
    try:
        return undo(only, stored, limit_bytes=1 << 16)
    except (UndecodableData, EntityTooLarge) as refusal:
        if not refusal.message.startswith(f"{only.id}: "):
            raise
        return None


@each_sample
def test_no_step_gives_more_than_the_limit(name: str, only: Step, stored: bytes, plain: bytes) -> None:
    limit = len(plain) - 1
    with pytest.raises(EntityTooLarge, match=f"^{only.id}: the data decodes to more than {limit} bytes$"):
        undo(only, stored, limit_bytes=limit)


@pytest.mark.parametrize(
    ("only", "stored"),
    [
        (Step("lz4_hdf5"), struct.pack(">QI", 2**60, 2**20)),
        (Step("bitshuffle", 4, (("cname", "lz4"),)), struct.pack(">QI", 2**60, 8192)),
        (step("szip", cd_values=(141, 8, 32, 128)), struct.pack("<I", 2**32 - 1) + bytes(100)),
        (step("scaleoffset", cd_values=(2, 0, 2**32 - 1, 0, 8, 1, 0, 0)), struct.pack("<IBQ8x", 0, 8, 5) + b"\0"),
        (Step("zfpy"), b"zfp\x05" + bytes([0xE0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x88]) + bytes(8)),
        (Step("packbits"), bytes(10_000_000)),
        (step("astype", encode_dtype="i1"), bytes(20_000_000)),
    ],
    ids=lambda value: value.id if isinstance(value, Step) else "",
)
def test_a_bomb_is_refused_before_it_is_allocated(only: Step, stored: bytes) -> None:
    held: list[int] = []
    context = replace(make_context(only, "int64"), budget=Budget(64 << 20, held.append))
    with pytest.raises(EntityTooLarge):
        UNDO[only.id](memoryview(stored), context)
    assert sum(held) <= 64 << 20


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("szip", (141, 8, 32)),
        ("szip", (141, 7, 32, 128)),
        ("szip", (141, 0, 32, 128)),
        ("szip", (141, 8, 31, 128)),
        ("szip", (141, 8, 32, 0)),
        ("nbit", (8, 0, 100, 1, 4, 0, 33, 0)),
        ("nbit", (8, 0, 100, 1, 3, 0, 8, 0)),
        ("nbit", (8, 0, 100, 1, 4, 2, 8, 0)),
        ("nbit", (8, 0, 100, 3, 4, 0, 8, 0)),
        ("nbit", (8, 0, 100, 1, 4, 0, 0, 0)),
        ("scaleoffset", (2, 0, 100, 0)),
        ("scaleoffset", (1, 0, 100, 1, 4, 1, 0, 0)),
        ("scaleoffset", (2, 0, 100, 0, 3, 1, 0, 0)),
        ("scaleoffset", (0, 0, 100, 0, 4, 1, 0, 0)),
        ("scaleoffset", (2, 0, 100, 0, 4, 1, 2, 0)),
    ],
)
def test_invalid_values_of_an_hdf5_filter_are_refused(name: str, values: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgument, match=rf"^filters: {name}: .*cd_values"):
        undo(step(name, cd_values=values), bytes(100))


def test_nbit_refuses_floats() -> None:
    with pytest.raises(InvalidArgument, match=r"nbit: supports integers only, not float32"):
        undo(step("nbit", cd_values=(8, 0, 100, 1, 4, 0, 20, 7)), bytes(250), "float32")


@pytest.mark.parametrize(
    ("name", "library"),
    [("lzf", "imagecodecs"), ("szip", "imagecodecs"), ("zfpy", "imagecodecs"), ("pcodec", "pcodec")],
)
def test_a_library_that_is_not_installed_is_named(name: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error differs from that of an unknown codec, since an operator can install the library."""
    only, stored = next((only, stored) for _, only, stored, _ in SAMPLES if only.id == name)
    for module in [module for module in sys.modules if module.partition(".")[0] == library]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        CodecNotInstalled,
        match=f"^{name}: the library {library} is not installed .* 'codecs' of s3-active-storage-service",
    ) as caught:
        undo(only, stored)
    assert (caught.value.status, caught.value.code) == (400, "CodecNotInstalled")


def test_long_work_checks_the_deadline() -> None:
    """Every step with a loop over pieces checks it."""

    def stop() -> None:
        raise DeadlineExceeded("over")

    budget = Budget(1 << 28, lambda _: None, stop)
    for _, only, stored, _ in SAMPLES:
        if only.id in {"szip", "pcodec", "zfpy", "lzf"}:
            continue
        with pytest.raises(DeadlineExceeded):
            UNDO[only.id](memoryview(stored), replace(make_context(only), budget=budget))


def test_steps_of_any_order_are_undone_in_reverse() -> None:
    """Random chains of steps that keep the length, change it, or check it."""
    array = make_numbers("<f4", 4000)
    inner = encode(numcodecs.Shuffle(4), array)
    chain: list[tuple[Step, Callable[[bytes], bytes]]] = [
        (step("adler32", location="end"), _encoder("adler32", location="end")),
        (step("zstd"), _encoder("zstd")),
        (step("fletcher32"), _encoder("fletcher32")),
        (step("lzma"), partial(_encode_with, numcodecs.LZMA())),
        (step("crc32c"), _encoder("crc32c")),
    ]
    data = inner
    for _, wrap in chain:
        data = wrap(data)
    spec: ReductionSpec = spec_of("<f4", (4000,), step("shuffle"), *(one for one, _ in chain))
    assert decode_chunk(data, spec) == array.tobytes()
    with pytest.raises(EntityTooLarge):
        decode_chunk(data, spec, limit_to(10_000))


def _encoder(name: str, **parameters: Any) -> Callable[[bytes], bytes]:
    return partial(_encode_with, numcodecs.get_codec({"id": name, **parameters}))


def _encode_with(codec: Any, data: bytes) -> bytes:
    return encode(codec, np.frombuffer(data, "u1"))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_the_codec_after_bitround_gets_integers(dtype: str) -> None:
    """numcodecs' BitRound writes integers, and pcodec must decode that data type."""
    array = make_numbers(dtype, 500)
    rounded = numcodecs.BitRound(keepbits=5).encode(array.copy())
    stored = encode(numcodecs.get_codec({"id": "pcodec"}), np.asarray(rounded).astype(f"i{array.itemsize}"))
    decoded = decode_chunk(stored, spec_of(dtype, array.shape, Step("bitround"), Step("pcodec")))
    assert decoded == np.asarray(rounded).astype(f"i{array.itemsize}").tobytes()


@pytest.mark.parametrize("cd_values", ["2147483648-32-8-64", "256-32-8-64", "4294967295-8-8-8"])
def test_szip_refuses_invalid_options(cd_values: str) -> None:
    numbers = tuple(int(part) for part in cd_values.split("-"))
    with pytest.raises(InvalidArgument, match=r"szip: cd_values are outside szip's limits"):
        undo(step("szip", cd_values=numbers), bytes(20), "uint8")


@pytest.mark.parametrize("cd_values", [(3, 1, 20), (18, 1, 20, 3, 8, 0, 0, 1)])
def test_nbit_returns_data_that_hdf5_left_unchanged(cd_values: tuple[int, ...]) -> None:
    assert undo(step("nbit", cd_values=cd_values), bytes(range(20)), "bool") == bytes(range(20))

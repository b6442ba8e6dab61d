"""Arrays that zarr-python writes have the same elements here: every data type, order, codec, shard and absent chunk."""

import itertools
import json
import math
from collections.abc import Callable
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import numcodecs as of_v3

from active_storage.model.dtypes import DTYPES
from handler.containers.stored_array import ABSENT
from tests.containers.exam import Array
from tests.containers.zarr_stores import ZarrStore, check_same, document, open_array

pytestmark = pytest.mark.filterwarnings("ignore")

KEYS = (
    {"name": "default", "separator": "/"},
    {"name": "default", "separator": "."},
    *({"name": "v2", "separator": each} for each in "./"),
)


def draw(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> Array:
    """Elements of every kind: all bits can be set, NaN and infinity among floats."""
    wanted = DTYPES[dtype]
    if wanted.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    numbers = rng.integers(0, 256, (*shape, wanted.itemsize), dtype=np.uint8)
    return numbers.view(wanted).reshape(shape)


def draw_shape(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A shape and the shape of a chunk."""
    dimensions = int(rng.integers(0, 5))
    most = (0, 40, 12, 7, 5)[dimensions]
    shape = tuple(int(size) for size in rng.integers(0 if rng.integers(8) == 0 else 1, most + 1, dimensions))
    return shape, tuple(int(rng.integers(1, size + 3)) for size in shape)


def leave_out(rng: np.random.Generator, objects: dict[str, bytes], name: str) -> dict[str, bytes]:
    """The objects of a store without some chunks."""
    return {
        key: data
        for key, data in objects.items()
        if key.rpartition("/")[2] in (".zarray", ".zattrs", "zarr.json") or rng.integers(4)
    }


def read_by_zarr(objects: dict[str, bytes], name: str) -> Array:
    buffers = {
        key: zarr.core.buffer.default_buffer_prototype().buffer.from_bytes(data) for key, data in objects.items()
    }
    whole: Array = np.asarray(zarr.open_array(zarr.storage.MemoryStore(buffers), path=name, mode="r")[...])
    return whole


def fill_of(rng: np.random.Generator, dtype: str) -> Any:
    return draw(rng, dtype, (1,))[0]


V2_COMPRESSORS = [
    None,
    numcodecs.Blosc("lz4"),
    numcodecs.Blosc("zstd", shuffle=2),
    numcodecs.Zstd(),
    numcodecs.Zlib(),
    numcodecs.GZip(),
    numcodecs.LZ4(),
    numcodecs.BZ2(),
    numcodecs.LZMA(),
]


@pytest.mark.parametrize("seed", range(120))
def test_random_arrays_of_version_2(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dtype = sorted(DTYPES)[seed % len(DTYPES)]
    shape, chunks = draw_shape(rng)
    values = draw(rng, dtype, shape).astype(("<", ">")[rng.integers(2)] + DTYPES[dtype].str[1:])
    written = ZarrStore()
    written.write(
        "g/a",
        values,
        zarr_format=2,
        chunks=chunks,
        fill_value=fill_of(rng, dtype) if rng.integers(3) else None,
        order="CF"[rng.integers(2)],
        compressors=V2_COMPRESSORS[rng.integers(len(V2_COMPRESSORS))],
        filters=[numcodecs.Shuffle(DTYPES[dtype].itemsize)] if rng.integers(3) == 0 else None,
        chunk_key_encoding={"name": "v2", "separator": "./"[rng.integers(2)]},
    )
    objects = leave_out(rng, written.objects, "g/a")
    check_same(objects, "g/a", read_by_zarr(objects, "g/a"))


# numcodecs' codecs warn when they are made.
V3_COMPRESSORS: list[Callable[[], tuple[Any, ...]]] = [
    lambda: (),
    lambda: (zarr.codecs.ZstdCodec(),),
    lambda: (zarr.codecs.GzipCodec(), zarr.codecs.Crc32cCodec()),
    lambda: (zarr.codecs.BloscCodec(cname="zstd"),),
    lambda: (of_v3.Shuffle(), of_v3.Zlib()),
    lambda: (of_v3.LZ4(),),
    lambda: (of_v3.BZ2(),),
    lambda: (of_v3.LZMA(),),
    lambda: (of_v3.Adler32(), of_v3.Fletcher32()),
    lambda: (of_v3.CRC32(), of_v3.JenkinsLookup3()),
]


@pytest.mark.parametrize("seed", range(160))
def test_random_arrays_of_version_3(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dtype = sorted(DTYPES)[seed % len(DTYPES)]
    shape, chunks = draw_shape(rng)
    options: dict[str, Any] = {}
    if shape and rng.integers(2):
        options["shards"] = tuple(chunk * int(rng.integers(1, 4)) for chunk in chunks)
    if shape and rng.integers(2):
        options["filters"] = [zarr.codecs.TransposeCodec(order=[int(each) for each in rng.permutation(len(shape))])]
    written = ZarrStore()
    written.write(
        "g/a",
        draw(rng, dtype, shape),
        chunks=chunks,
        fill_value=fill_of(rng, dtype),
        serializer=zarr.codecs.BytesCodec(endian=("little", "big")[rng.integers(2)]),
        compressors=V3_COMPRESSORS[rng.integers(len(V3_COMPRESSORS))](),
        chunk_key_encoding=KEYS[rng.integers(len(KEYS))],
        **options,
    )
    objects = leave_out(rng, written.objects, "g/a")
    check_same(objects, "g/a", read_by_zarr(objects, "g/a"))


# Filters: what they lose is lost when they write, and both read the same.

FLOATS = np.linspace(-5, 300, 5 * 7).reshape(5, 7)

FILTERS: dict[str, tuple[Array, tuple[numcodecs.abc.Codec, ...]]] = {
    "delta": (np.arange(35, dtype="i4").reshape(5, 7) ** 2, (numcodecs.Delta("i4"),)),
    "delta of shorter integers": (np.arange(35, dtype="i4").reshape(5, 7), (numcodecs.Delta("i4", "i2"),)),
    "fixedscaleoffset": (FLOATS, (numcodecs.FixedScaleOffset(offset=10, scale=50, dtype="f8", astype="i2"),)),
    "quantize": (FLOATS.astype("f4"), (numcodecs.Quantize(digits=2, dtype="f4"),)),
    "astype": (np.arange(35, dtype="i8").reshape(5, 7), (numcodecs.AsType("i2", "i8"),)),
    "bitround": (FLOATS.astype("f4"), (numcodecs.BitRound(keepbits=6),)),
    "packbits": (FLOATS > 100, (numcodecs.PackBits(),)),
    "two": (
        FLOATS,
        (numcodecs.FixedScaleOffset(offset=0, scale=10, dtype="f8", astype="i4"), numcodecs.Delta("i4", "i2")),
    ),
}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("case", FILTERS)
def test_filters_of_version_2(case: str, order: str) -> None:
    values, filters = FILTERS[case]
    written = ZarrStore()
    judge = written.write(
        "a", values, zarr_format=2, chunks=(2, 4), filters=filters, order=order, compressors=numcodecs.Zlib()
    )
    check_same(written.objects, "a", judge[...])


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("case", [case for case in FILTERS if case != "packbits"])
def test_filters_of_version_3(case: str, sharded: bool) -> None:
    values, filters = FILTERS[case]
    written = ZarrStore()
    names = {"delta": of_v3.Delta, "fixedscaleoffset": of_v3.FixedScaleOffset, "quantize": of_v3.Quantize}
    names |= {"astype": of_v3.AsType, "bitround": of_v3.BitRound}
    configs = [each.get_config() for each in filters]
    codecs = [names[config.pop("id")](**config) for config in configs]
    shards = (4, 8) if sharded else None
    judge = written.write("a", values, chunks=(2, 4), shards=shards, filters=codecs)
    check_same(written.objects, "a", judge[...])


def test_pcodec_of_version_3() -> None:
    written = ZarrStore()
    judge = written.write("a", FLOATS, chunks=(5, 4), serializer=of_v3.PCodec(), compressors=())
    check_same(written.objects, "a", judge[...])


def test_packbits_of_version_3() -> None:
    """zarr-python cannot write it."""
    values = np.arange(24).reshape(4, 6) % 5 == 0
    chunks = {f"a/c/{row}/{column}": values[2 * row :, 3 * column :][:2, :3] for row, column in np.ndindex(2, 2)}
    objects = {key: numcodecs.PackBits().encode(np.ascontiguousarray(chunk)).tobytes() for key, chunk in chunks.items()}
    codecs = [{"name": "numcodecs.packbits"}, "bytes"]
    objects["a/zarr.json"] = document(data_type="bool", codecs=codecs, fill_value=False)
    check_same(objects, "a", values)


# Shards


@pytest.mark.parametrize("location", ["start", "end"])
@pytest.mark.parametrize("endian", ["little", "big"])
@pytest.mark.parametrize(
    "checksums",
    [(), ("crc32c",), ("numcodecs.crc32", "numcodecs.adler32"), ("numcodecs.fletcher32", "numcodecs.jenkins_lookup3")],
)
def test_indexes_of_shards(location: Any, endian: Any, checksums: tuple[str, ...]) -> None:
    values = np.arange(15 * 11).reshape(15, 11)
    values[:4, :6] = 0
    values[4:6, 3:6] = 0
    checks: list[Any] = [{"name": name, "configuration": {}} for name in checksums]
    codec = zarr.codecs.ShardingCodec(
        chunk_shape=(2, 3),
        codecs=[zarr.codecs.BytesCodec(), zarr.codecs.ZstdCodec()],
        index_codecs=[
            zarr.codecs.BytesCodec(endian=endian),
            *checks,
        ],
        index_location=location,
    )
    written = ZarrStore()
    written.write("a", values, chunks=(4, 6), serializer=codec, compressors=(), fill_value=0)
    array = check_same(written.objects, "a", values)
    assert array.chunks == (2, 3)
    sizes = array.index.locate(np.arange(math.prod(array.grid))).sizes.reshape(array.grid)
    assert (sizes[:2, :2] == ABSENT).all()
    assert sizes[2, 1] == ABSENT
    assert (sizes != ABSENT).sum() == sizes.size - 5


# Places


@pytest.mark.parametrize(
    ("keys", "expected"), [(KEYS[0], "a/c/1/0"), (KEYS[1], "a/c.1.0"), (KEYS[2], "a/1.0"), (KEYS[3], "a/1/0")]
)
def test_keys_of_chunks(keys: dict[str, str], expected: str) -> None:
    written = ZarrStore()
    written.write("a", np.ones((4, 4)), chunks=(2, 4), chunk_key_encoding=keys)
    places = open_array(written.objects, "a").index.locate(np.array([1]))
    assert [each.name for each in places.objects] == [expected]
    assert expected in written.objects


@pytest.mark.parametrize(
    ("version", "keys", "expected"),
    [(2, KEYS[2], "a/0"), (3, KEYS[0], "a/c"), (3, KEYS[1], "a/c"), (3, KEYS[2], "a/0")],
)
def test_the_key_of_a_scalar(version: int, keys: dict[str, str], expected: str) -> None:
    written = ZarrStore()
    written.write("a", np.array(7), zarr_format=version, chunk_key_encoding=keys)
    array = check_same(written.objects, "a", np.array(7))
    assert [each.name for each in array.index.locate(np.array([0])).objects] == [expected]


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0, 2)])
def test_arrays_without_elements(version: int, shape: tuple[int, ...]) -> None:
    written = ZarrStore()
    written.write("a", np.empty(shape), zarr_format=version, chunks=tuple(max(1, size) for size in shape))
    check_same(written.objects, "a", np.empty(shape))
    # zarr-python up to 3.1 wrote chunks of size 0 if it was told so.
    name = "a/.zarray" if version == 2 else "a/zarr.json"
    document = json.loads(written.objects[name])
    if version == 2:
        document["chunks"] = list(shape)
    else:
        document["chunk_grid"]["configuration"]["chunk_shape"] = list(shape)
    objects = {**written.objects, name: json.dumps(document).encode()}
    assert open_array(objects, "a").grid.count(0) == 1
    check_same(objects, "a", np.empty(shape))


def test_chunks_are_located_in_any_part_of_the_array() -> None:
    """The places of some chunks are those that they have among all."""
    written = ZarrStore()
    written.write("a", np.arange(15 * 11).reshape(15, 11), chunks=(2, 3), shards=(4, 6))
    array = open_array(written.objects, "a")
    everything = array.index.locate(np.arange(math.prod(array.grid)))
    for step in (1, 3, 7):
        wanted = np.arange(step, math.prod(array.grid), step)
        places = array.index.locate(wanted)
        assert (places.offsets == everything.offsets[wanted]).all()
        assert (places.sizes == everything.sizes[wanted]).all()
        for row, number in enumerate(wanted):
            shard = everything.objects[everything.object_numbers[number]]
            assert places.objects[places.object_numbers[row]].name == shard.name


def test_order_of_transposes() -> None:
    """Two transposes are one, and every order of three dimensions is read."""
    values = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    for first, second in itertools.product(itertools.permutations(range(3)), repeat=2):
        written = ZarrStore()
        judge = written.write(
            "a", values, chunks=(2, 3, 4), filters=[zarr.codecs.TransposeCodec(order=each) for each in (first, second)]
        )
        check_same(written.objects, "a", judge[...])

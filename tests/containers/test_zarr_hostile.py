"""Metadata and indexes that lie or are damaged: an error of ours, in bounded time, and never a wrong place."""

import json
import math
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import google_crc32c
import numpy as np
import pytest

from active_storage.errors import EntityTooLarge, InvalidArgument, StoreError, UndecodableData, UnsupportedArray
from handler.containers.reader import ContainerReader, ReadLimits
from handler.containers.zarr import open_zarr
from handler.scope import Scope
from tests.containers.memory import MemoryContainer
from tests.containers.zarr_stores import ZarrStore, check_same, document, document_v2, dump, open_array

BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
SHARDED = {
    "name": "sharding_indexed",
    "configuration": {"chunk_shape": [2, 3], "codecs": [BYTES], "index_codecs": [BYTES, "crc32c"]},
}
ABSENT = 2**64 - 1
VALUES = np.arange(24, dtype="<i2").reshape(4, 6)
CHUNK_BYTES = 12


def make_shard(*pairs: tuple[int, int], data: bytes = bytes(48), is_checked: bool = True) -> dict[str, bytes]:
    """An array of four chunks in one shard, whose index says that the chunks lie there."""
    index = b"".join(struct.pack("<QQ", *pair) for pair in pairs)
    codec = json.loads(json.dumps(SHARDED))
    if is_checked:
        index += struct.pack("<I", google_crc32c.value(index))
    else:
        codec["configuration"]["index_codecs"] = [BYTES]
    grid = {"name": "regular", "configuration": {"chunk_shape": [4, 6]}}
    return {"a/zarr.json": document(chunk_grid=grid, codecs=[codec]), "a/c/0/0": data + index}


REGULAR = tuple((CHUNK_BYTES * number, CHUNK_BYTES) for number in range(4))


def locate_all(objects: dict[str, bytes], limits: ReadLimits | None = None) -> Any:
    array = open_zarr(MemoryContainer(objects).reader(limits), "a")
    return array.index.locate(np.arange(math.prod(array.grid)))


# Shards


def test_chunks_of_a_shard() -> None:
    """Chunks can lie in any order, and share bytes."""
    chunks = [VALUES[:2, :3], VALUES[:2, 3:], VALUES[2:, :3], VALUES[2:, 3:]]
    data = b"".join(chunk.tobytes() for chunk in reversed(chunks))
    check_same(make_shard(*reversed(REGULAR), data=data), "a", VALUES)
    places = locate_all(make_shard((0, 12), (0, 12), (ABSENT, ABSENT), (6, 42)))
    assert places.sizes.tolist() == [12, 12, -1, 42]


@pytest.mark.parametrize(
    "pair",
    [
        (0, 49),
        (48, 12),
        (37, 12),
        (0, 0),
        (49, 1),
        (2**63, 12),
        (2**64 - 2, 12),
        (12, 2**64 - 6),
        (2**64 - 6, 12),
        (ABSENT, 12),
        (0, ABSENT),
        (ABSENT, 0),
    ],
)
def test_a_chunk_outside_the_data_of_its_shard(pair: tuple[int, int]) -> None:
    """The index is not data. Sums of 64-bit numbers that wrap around are not inside."""
    for number in range(4):
        pairs = [pair if number == each else REGULAR[each] for each in range(4)]
        with pytest.raises(UndecodableData, match="outside the data") as caught:
            locate_all(make_shard(*pairs))
        assert "shard 'a/c/0/0'" in caught.value.message


def test_only_the_chunks_that_are_wanted_are_checked() -> None:
    array = open_array(make_shard(REGULAR[0], (0, 49), (0, 49), (0, 49)), "a")
    assert array.index.locate(np.array([0])).sizes.tolist() == [12]


@pytest.mark.parametrize("size", [0, 1, 67, 68 - 4])
def test_a_shard_that_is_shorter_than_its_index(size: int) -> None:
    objects = make_shard(*REGULAR)
    with pytest.raises(UndecodableData, match=r"shorter than its index|outside the data|checksum"):
        locate_all({**objects, "a/c/0/0": objects["a/c/0/0"][:size]})


def test_every_flipped_bit_of_a_checked_index_is_found() -> None:
    objects = make_shard(*REGULAR)
    shard = objects["a/c/0/0"]
    for place in range(48, len(shard)):
        for bit in range(8):
            damaged = bytearray(shard)
            damaged[place] ^= 1 << bit
            with pytest.raises(UndecodableData, match="the checksum does not match the data"):
                locate_all({**objects, "a/c/0/0": bytes(damaged)})


def test_flipped_bits_of_an_index_without_a_checksum_stay_inside_the_object() -> None:
    objects = make_shard(*REGULAR, is_checked=False)
    shard = objects["a/c/0/0"]
    for place in range(48, len(shard)):
        for bit in range(8):
            damaged = bytearray(shard)
            damaged[place] ^= 1 << bit
            try:
                places = locate_all({**objects, "a/c/0/0": bytes(damaged)})
            except UndecodableData:
                continue
            assert ((places.offsets >= 0) & (places.sizes > 0) & (places.offsets + places.sizes <= 48)).all()


def test_an_index_that_is_larger_than_the_limit_is_not_asked_for() -> None:
    grid = {"name": "regular", "configuration": {"chunk_shape": [2**20, 3 * 2**20]}}
    container = MemoryContainer({"a/zarr.json": document(chunk_grid=grid, codecs=[SHARDED]), "a/c/0/0": bytes(100)})
    array = open_zarr(container.reader(), "a")
    with pytest.raises(EntityTooLarge):
        array.index.locate(np.array([0]))
    assert [key for key, _ in container.asked] == ["a/zarr.json"]


def test_limits_hold_for_the_indexes_of_a_section() -> None:
    """An array can have any number of shards, and every section has limits of its own; the totals are kept."""
    written = ZarrStore()
    written.write("a", np.arange(1, 65), chunks=(1,), shards=(2,))
    container = MemoryContainer(written.objects)
    reader = container.reader(ReadLimits(requests=5))
    array = open_zarr(reader, "a")
    for start in range(0, 64, 8):
        assert (array.index.locate(np.arange(start, start + 8)).sizes > 0).all()
    assert reader.requests == 33 == len(container.asked)
    assert reader.bytes_read == len(written.objects["a/zarr.json"]) + 32 * 36
    with pytest.raises(EntityTooLarge, match="more than 5 requests"):
        array.index.locate(np.arange(64))


def test_indexes_are_read_side_by_side_in_the_same_order() -> None:
    written = ZarrStore()
    written.write("a", np.arange(1, 65), chunks=(1,), shards=(2,))
    container = MemoryContainer(written.objects)
    with ThreadPoolExecutor(4) as helpers:
        reader = ContainerReader(container, ReadLimits(), Scope.after(60), helpers)
        places = open_zarr(reader, "a").index.locate(np.arange(64))
    assert [each.name for each in places.objects] == [f"a/c/{number}" for number in range(32)]
    assert places.object_numbers.tolist() == [number // 2 for number in range(64)]


def test_the_facts_of_a_shard_go_with_its_chunks() -> None:
    """Ranges of the chunks are then of the version that the index is of."""
    places = locate_all(make_shard(*REGULAR))
    (shard,) = places.objects
    assert shard.facts is not None
    assert str(shard.facts.etag) == '"a/c/0/0"'


# Metadata


def attack(objects: dict[str, bytes]) -> None:
    """Open an array and locate chunks: an error of ours, or places."""
    try:
        array = open_zarr(MemoryContainer(objects).reader(), "a")
        count = math.prod(array.grid)
        places = array.index.locate(np.arange(min(count, 100)))
        assert len(places.sizes) == min(count, 100)
    except (UndecodableData, UnsupportedArray, EntityTooLarge):
        return
    except (InvalidArgument, StoreError) as error:
        if "'a' is a group" not in error.message and error.status != 404:
            raise


@pytest.mark.parametrize("version", [2, 3])
def test_every_byte_of_the_metadata_flipped(version: int) -> None:
    written = ZarrStore()
    options: dict[str, Any] = {"shards": (4, 6)} if version == 3 else {"attributes": {"_ARRAY_DIMENSIONS": ["y", "x"]}}
    written.write("a", VALUES, zarr_format=version, chunks=(2, 3), fill_value=7, **options)
    objects = written.objects
    rng = np.random.default_rng(0)
    for key in objects:
        if not key.startswith("a/.z") and key != "a/zarr.json":
            continue
        for place in range(len(objects[key])):
            for value in (0, 0xFF, ord("9"), ord('"'), int(rng.integers(256))):
                damaged = bytearray(objects[key])
                damaged[place] = value
                attack({**objects, key: bytes(damaged)})


HOSTILE: list[Any] = [
    *(None, True, -1, 0, 1.5, 2**63, 2**64, 10**4000, "", "NaN", "x" * 1000, [], {}, [[]], [{}], {"name": []}),
    *({"name": "bytes"}, [None], [2**62, 2**62], [0, 0], {"id": "zlib", "level": [[]]}, {"must_understand": False}),
    *([{"name": "sharding_indexed", "configuration": {}}], ["bytes"] * 3, {"name": "regular", "configuration": 3}),
]


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: repr(value)[:30])
def test_every_member_of_the_metadata_replaced(value: Any) -> None:
    shards = make_shard(*REGULAR)
    for key, text in (("a/zarr.json", shards["a/zarr.json"]), ("a/.zarray", document_v2())):
        for name in json.loads(text):
            attack({"a/c/0/0": shards["a/c/0/0"], "a/0.0": bytes(12), key: dump({**json.loads(text), name: value})})
    codec = SHARDED["configuration"]
    assert isinstance(codec, dict)
    for name in codec:
        codecs = [{"name": "sharding_indexed", "configuration": {**codec, name: value}}]
        attack({"a/c/0/0": bytes(100), "a/zarr.json": document(codecs=codecs)})


def test_random_bytes() -> None:
    rng = np.random.default_rng(0)
    for key in ("a/zarr.json", "a/.zarray", "a/.zattrs", "zarr.json", ".zmetadata"):
        for size in range(0, 200, 3):
            attack({"a/.zarray": document_v2(), key: rng.bytes(size)} if key == "a/.zattrs" else {key: rng.bytes(size)})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"[" * 1000, "elements|levels|JSON"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "levels"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "levels"),
        (b'{"a": [' + b"[]," * 300_000 + b"1]}", "elements"),
        (b'{"a": ' + b"9" * 100_000 + b"}", "too many digits"),
        (b"{" + b",".join(b'"%d": 1' % number for number in range(70_000)) + b"}", "members"),
    ],
)
def test_metadata_that_is_deep_or_huge(text: bytes, reason: str) -> None:
    with pytest.raises(UndecodableData, match=reason):
        open_array({"a/zarr.json": text}, "a")


def test_metadata_that_is_larger_than_the_limit() -> None:
    container = MemoryContainer({"a/zarr.json": document(attributes={"a": "x" * 10_000})})
    with pytest.raises(EntityTooLarge, match="more than 1000 bytes"):
        open_zarr(container.reader(ReadLimits(bytes=1000)), "a")


def test_chunks_of_the_largest_grid_are_located() -> None:
    """Counted, never listed."""
    grid = {"name": "regular", "configuration": {"chunk_shape": [1, 1]}}
    shape = [2**31, 2**30]
    array = open_array({"a/zarr.json": document(shape=shape, chunk_grid=grid)}, "a")
    places = array.index.locate(np.array([0, 2**61 - 1]))
    assert [each.name for each in places.objects] == ["a/c/0/0", f"a/c/{2**31 - 1}/{2**30 - 1}"]


@pytest.mark.parametrize(
    "nodes", [[], 3, {"a": []}, {"a": None}, {"a": {"node_type": []}}, {"a": {"node_type": "group"}}, {"a": {}}]
)
def test_consolidated_metadata_that_is_damaged(nodes: Any) -> None:
    group = {"zarr_format": 3, "node_type": "group", "consolidated_metadata": {"metadata": nodes}}
    attack({"zarr.json": dump(group)})
    attack({"a/zarr.json": dump(group)})
    attack({".zmetadata": dump({"metadata": nodes})})
    attack({".zmetadata": dump({"metadata": {"a/.zarray": nodes, "a/.zattrs": nodes}})})
    attack({"a/.zmetadata": dump({"metadata": nodes})})

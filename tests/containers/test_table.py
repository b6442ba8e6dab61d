"""Chunk tables of clients: checked strictly, and pinned to the ETags that they name."""

import json
import math
from typing import Any

import numpy as np
import pytest

from active_storage.errors import (
    EntityTooLarge,
    InvalidArgument,
    ObjectChanged,
    OriginNotAllowed,
    UnsupportedArray,
)
from active_storage.model.etag import ETag
from handler.containers.reader import ReadLimits
from handler.containers.stored_array import ABSENT, StoredArray
from handler.containers.table import open_table
from handler.stores.source import ObjectFacts
from tests.containers.exam import read_whole
from tests.containers.memory import MemoryContainer, MemorySource
from tests.containers.reference_stores import pack, write_store

DATA = np.arange(7 * 5, dtype=">i4").reshape(7, 5)
URLS = ["s3://bucket/first.nc", "https://data.test/second.nc"]
ETAGS = [MemorySource(MemoryContainer({}), url).etag for url in URLS]


def make_table(data: np.ndarray[Any, Any] = DATA, version: int = 2, **members: Any) -> tuple[dict[str, Any], Any]:
    """The table of an array that zarr-python wrote, and its objects."""
    options = {"compressors": members.pop("compressors")} if "compressors" in members else {}
    references, objects = pack(write_store(data, "x", (3, 2)[: data.ndim], zarr_format=version, **options), *URLS)
    document = json.loads(references["x/.zarray" if version == 2 else "x/zarr.json"])
    chunks = document["chunks"] if version == 2 else document["chunk_grid"]["configuration"]["chunk_shape"]
    grid = [math.ceil(size / chunk) for size, chunk in zip(data.shape, chunks, strict=True)]
    start, separator = ("x/", ".") if version == 2 else ("x/c/", "/")
    keys = [start + (separator.join(map(str, place)) or "0") for place in np.ndindex(*grid)]
    places = [references.get(key, [URLS[0], 0, -1]) for key in keys]
    table = {
        "type": "table",
        "dtype": document["dtype"] if version == 2 else document["data_type"],
        "shape": list(data.shape),
        "chunks": chunks,
        "codecs": {name: document[name] for name in ("filters", "compressor", "order")}
        if version == 2
        else document["codecs"],
        "fill_value": document["fill_value"],
        "dims": ["y", None][: data.ndim],
        "attributes": {"units": "K"},
        "urls": URLS,
        "url": np.array([URLS.index(place[0]) for place in places], "<i4").tobytes(),
        "offset": np.array([place[1] for place in places], "<i8").tobytes(),
        "size": np.array([place[2] for place in places], "<i8").tobytes(),
        "etags": ETAGS,
    }
    return table | members, objects


def open_with(limits: Any = None, **members: Any) -> StoredArray:
    table, objects = make_table()
    table |= members
    table = {name: value for name, value in table.items() if value is not ...}
    return open_table(table, MemoryContainer(objects).reader(limits))


def column(values: Any, dtype: str = "<i8") -> bytes:
    return np.array(values, dtype).tobytes()


# What is right


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("compressors", ["auto", None])
def test_the_array_is_what_zarr_wrote(version: int, compressors: Any) -> None:
    table, objects = make_table(version=version, compressors=compressors)
    array = open_table(table, MemoryContainer(objects).reader())
    np.testing.assert_array_equal(read_whole(array), DATA)
    assert array.dimensions == ("y", None)
    assert array.attributes == {"units": "K"}
    assert list(array.metadata) == []
    assert array.fill_marks_missing is (version == 2)


def test_the_data_type_of_version_2_can_be_a_name() -> None:
    table, objects = make_table(DATA.astype("<i4"), dtype="int32")
    np.testing.assert_array_equal(read_whole(open_table(table, MemoryContainer(objects).reader())), DATA)


def test_optional_members_can_be_left_out() -> None:
    array = open_with(type=..., dims=..., attributes=..., etags=...)
    assert array.dimensions == (None, None)
    assert array.attributes == {}
    assert all(each.facts is None for each in array.index.locate(np.arange(9)).objects)
    np.testing.assert_array_equal(read_whole(array), DATA)


def test_a_size_of_minus_1_is_an_absent_chunk() -> None:
    sizes = np.full(9, ABSENT)
    array = open_with(size=column(sizes), url=column([99] * 9, "<i4"), offset=column([-5] * 9), fill_value=7)
    np.testing.assert_array_equal(read_whole(array), np.full((7, 5), 7))


def test_a_scalar_has_one_chunk() -> None:
    table, objects = make_table(np.array(5, "<f8"))
    assert read_whole(open_table(table, MemoryContainer(objects).reader())) == 5


def test_an_array_of_size_0_has_no_chunk() -> None:
    array = open_with(shape=[0, 5], url=b"", offset=b"", size=b"")
    assert array.index.locate(np.arange(0)).sizes.tolist() == []


# The version of an object


def test_an_etag_pins_the_object() -> None:
    array = open_with()
    objects = array.index.locate(np.arange(9)).objects
    etags = {each.name: str(each.facts.etag) for each in objects if each.facts}
    assert etags == dict(zip(URLS, ETAGS, strict=True))
    np.testing.assert_array_equal(read_whole(array), DATA)


def test_another_etag_is_another_version() -> None:
    array = open_with(etags=['"old"', None])
    with pytest.raises(ObjectChanged):
        read_whole(array)


@pytest.mark.parametrize("answered", [None, ETag("a", is_weak=True), ETag("b")])
def test_facts_of_an_etag_are_those_of_no_other(answered: ETag | None) -> None:
    facts = ObjectFacts.named_by(ETag("a"))
    with pytest.raises(ObjectChanged):
        facts.ensure_same(ObjectFacts(206, 5, 7, 100, answered))
    facts.ensure_same(ObjectFacts(206, 5, 7, 100, ETag("a"), {"last-modified": "any"}))


# What is wrong


@pytest.mark.parametrize("name", ["dtype", "shape", "chunks", "codecs", "fill_value", "urls", "url", "offset", "size"])
def test_a_member_that_is_missing_is_an_error(name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"has no member {name}$"):
        open_with(**{name: ...})


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"sizes": b""}, "store"), ({"dtype": 1}, "store"), ({"shape": [7]}, "store"), ({"shape": "x"}, "store"),
        ({"shape": [-1, 5]}, "store"), ({"shape": [2**62, 2**62]}, "store"), ({"shape": [True, 5]}, "store"),
        ({"chunks": [0, 1]}, "store"), ({"chunks": [3]}, "store"), ({"chunks": None}, "store"),
        ({"codecs": None}, "store.codecs"), ({"codecs": "blosc"}, "store.codecs"),
        ({"codecs": {"x": 1}}, "store.codecs"),
        ({"codecs": {"filters": 1}}, "store"), ({"codecs": [], "dtype": "int32"}, "store"),
        ({"codecs": {"compressor": 1}}, "store"),
        ({"codecs": {"order": "X"}}, "store"), ({"fill_value": 2**31}, "store"), ({"fill_value": "x"}, "store"),
        ({"fill_value": {}}, "store"), ({"dims": ["y"]}, "store"), ({"dims": "yx"}, "store"),
        ({"dims": [1, 2]}, "store"),
        ({"attributes": []}, "store.attributes"), ({"urls": "x"}, "store.urls"), ({"urls": [1, 2]}, "store.urls"),
        ({"urls": ["s3://b/" + "x" * 9000, ""]}, "store.urls"), ({"urls": ["s3://b/\ud800", ""]}, "store.urls"),
        ({"etags": []}, "store.etags"), ({"etags": "xy"}, "store.etags"), ({"etags": ['"a"']}, "store.etags"),
        ({"etags": ['W/"a"', None]}, "store.etags"), ({"etags": ["a", None]}, "store.etags"),
        ({"etags": ['""', None]}, "store.etags"), ({"etags": [1, None]}, "store.etags"),
        ({"etags": ['"a"\r\nx: y', None]}, "store.etags"), ({"etags": ['"a", "b"', None]}, "store.etags"),
        ({"url": bytes(35)}, "store.url"), ({"url": bytes(40)}, "store.url"), ({"url": "x" * 36}, "store.url"),
        ({"url": [0] * 9}, "store.url"), ({"offset": b""}, "store.offset"), ({"size": bytes(71)}, "store.size"),
        ({"url": column([2] * 9, "<i4")}, "store.url"), ({"url": column([-1] * 9, "<i4")}, "store.url"),
        ({"offset": column([-1] * 9)}, "store.offset"), ({"offset": column([2**63 - 1] * 9)}, "store.offset"),
        ({"size": column([0] * 9)}, "store.size"), ({"size": column([-2] * 9)}, "store.size"),
        ({"size": column([2**63 - 1] * 9), "offset": column([1] * 9)}, "store.offset"),
    ],
)  # fmt: skip
def test_a_member_that_is_wrong_is_an_error_that_names_it(members: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        open_with(**members)
    assert caught.value.field == field


def test_the_first_wrong_cell_is_named() -> None:
    sizes = np.frombuffer(make_table()[0]["size"], "<i8").copy()
    sizes[[0, 5, 7]] = -1, 0, 0
    with pytest.raises(InvalidArgument, match=r"store\.size\[5\]: should be -1 or at least 1"):
        open_with(size=column(sizes))


@pytest.mark.parametrize(
    "members",
    [
        {"dtype": "<M8[ns]"}, {"dtype": "|S4"}, {"codecs": {"compressor": {"id": "unknown"}}},
        {"urls": ["gs://bucket/key", ""]}, {"urls": ["relative", ""]},
        {"dtype": "int32", "codecs": [{"name": "unknown"}]},
        {"dtype": ">i4", "codecs": [{"name": "bytes", "configuration": {"endian": "big"}}]},
    ],
)  # fmt: skip
def test_what_is_not_supported_is_refused_by_name(members: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedArray, match="'table' has "):
        open_with(**members)


def test_shards_are_refused_by_name() -> None:
    table, _ = make_table()
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    sharding = {"chunk_shape": [1, 1], "codecs": [little], "index_codecs": [little]}
    table |= {"dtype": "int32", "codecs": [{"name": "sharding_indexed", "configuration": sharding}]}
    with pytest.raises(UnsupportedArray, match="references to shards"):
        open_table(table, MemoryContainer({}).reader())


def test_more_chunks_or_urls_than_the_limit_are_refused() -> None:
    with pytest.raises(EntityTooLarge, match="9 chunks, more than 8"):
        open_with(ReadLimits(references=8))
    with pytest.raises(EntityTooLarge, match="there are 10, more than 9"):
        open_with(ReadLimits(references=9), urls=URLS * 5)
    with pytest.raises(EntityTooLarge):
        open_with(shape=[2**40, 5])


def test_an_origin_that_is_not_allowed_is_an_error() -> None:
    array = open_with(urls=["http://169.254.169.254/", "s3://bucket/x"])
    with pytest.raises(OriginNotAllowed):
        array.index.locate(np.arange(9))


def test_the_digest_tells_tables_apart_and_not_the_signatures_of_links() -> None:
    table, objects = make_table()

    def digest(**members: Any) -> str | None:
        return open_table(table | members, MemoryContainer(objects).reader()).places_digest

    link, again = (f"https://data.test/second.nc?versionId=1&X-Amz-Signature={text}" for text in ("aa", "bb"))
    assert digest(urls=[URLS[0], link]) == digest(urls=[URLS[0], again])
    assert digest(urls=[URLS[0], link]) != digest(urls=[URLS[0], link.replace("=1", "=2")])
    different = [
        digest(),
        digest(fill_value=7),
        digest(attributes={"scale_factor": 2.0}),
        digest(attributes={"note": b"\x00"}),
        digest(dtype="<i4"),
        digest(etags=None),
    ]
    assert len(set(different)) == len(different)


def test_the_memory_of_objects_is_counted() -> None:
    table, objects = make_table()
    held: list[int] = []
    reader = MemoryContainer(objects).reader()
    reader.memory.hold = held.append
    array = open_table(table, reader)
    for _ in range(2):
        array.index.locate(np.arange(9))
    assert held == [2048] * len(URLS)

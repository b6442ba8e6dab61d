"""Containers that lie, through the whole engine: a clear error of ours, at a small cost, and never a number."""

import json
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from active_storage.errors import (
    ActiveStorageError,
    ArrayChanged,
    EntityTooLarge,
    InvalidArgument,
    InvalidRange,
    OriginNotAllowed,
    StoreError,
    UndecodableData,
    UnsupportedArray,
)
from active_storage.model.array_reduction import ArrayReduction
from active_storage.model.ranges import ByteRange, Slice
from handler.arrays.engine import ArrayAnswer
from handler.scope import Scope
from handler.stores.source import ObjectFacts, Source
from tests.arrays.memory_array import make_engine, values_of
from tests.arrays.written import KINDS, Contents
from tests.containers.memory import MemoryContainer, MemorySource
from tests.containers.zarr_stores import document, document_v2

REDUCERS = ("sum", "select", "argmax", "last", "histogram")
VALUES = np.arange(24, dtype="<i2").reshape(4, 6)
PACKED = "s3://bucket/packed"


def ask(kind: Any, container: MemoryContainer, reducer: str = "sum", **fields: Any) -> ArrayAnswer:
    return make_engine().reduce(ArrayReduction(reducer, kind, "v", **fields), container, Scope.after(20))


def ask_zarr(metadata: bytes, reducer: str = "sum") -> ArrayAnswer:
    key = "v/zarr.json" if b'"zarr_format": 3' in metadata else "v/.zarray"
    chunks = {f"v/{y}.{x}": bytes(12) for y in range(2) for x in range(2)}
    return ask("zarr", MemoryContainer({key: metadata, **chunks}), reducer)


def references(chunks: Mapping[str, Any], /, **members: Any) -> dict[str, bytes]:
    """References to chunks of a small array, and the object that they name."""
    named = {"v/.zarray": document_v2(**members).decode(), ".zgroup": '{"zarr_format": 2}', **chunks}
    return {"": json.dumps(named).encode(), PACKED: VALUES.tobytes()}


WHOLE = {f"v/{y}.{x}": [PACKED, 12 * (2 * y + x), 12] for y in range(2) for x in range(2)}


# Zarr


@pytest.mark.parametrize("reducer", REDUCERS)
@pytest.mark.parametrize(
    ("make", "members"),
    [
        (document_v2, {"shape": [2**40, 2**40], "chunks": [1, 1]}),
        (document_v2, {"shape": [2**63, 2]}),
        (document_v2, {"shape": [2**64 + 4, 6]}),
        (document_v2, {"shape": [-4, 6]}),
        (document_v2, {"shape": [4.5, 6]}),
        (document_v2, {"shape": [4]}),
        (document_v2, {"shape": [1] * 100, "chunks": [1] * 100}),
        (document_v2, {"chunks": [0, 3]}),
        (document_v2, {"chunks": [2**40, 2**40]}),
        (document_v2, {"chunks": [2**31, 1]}),
        (document_v2, {"dtype": "<i3"}),
        (document_v2, {"dtype": "|O"}),
        (document_v2, {"dtype": [["a", "<i2"]]}),
        (document_v2, {"fill_value": 70000}),
        (document_v2, {"fill_value": "NaN"}),
        (document_v2, {"fill_value": 0.5}),
        (document_v2, {"compressor": {"id": "nowhere"}}),
        (document_v2, {"compressor": {"id": ["zlib"]}}),
        (document_v2, {"filters": [{"id": "zlib"}] * 1000}),
        (document_v2, {"order": "D"}),
        (document_v2, {"zarr_format": 4}),
        (document, {"shape": [2**40, 2**40]}),
        (document, {"codecs": []}),
        (document, {"codecs": [{"name": "bytes"}]}),
        (document, {"codecs": [{"name": "nowhere"}]}),
        (document, {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [0, 3]}}}),
        (document, {"chunk_grid": {"name": "rectilinear", "configuration": {}}}),
        (document, {"fill_value": 40000}),
        (document, {"data_type": "float1024"}),
        (document, {"node_type": "group"}),
    ],
)
def test_metadata_of_zarr_that_lies(make: Callable[..., bytes], members: dict[str, Any], reducer: str) -> None:
    with pytest.raises((UndecodableData, UnsupportedArray, EntityTooLarge, InvalidArgument)) as caught:
        ask_zarr(make(**members), reducer)
    assert caught.value.status == 400
    assert "v" in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        bytes(100 << 20),
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"{" + b'"shape": [1],' * 1000 + b"}",
        b"\xff\xfe" + "{}".encode("utf-16-le"),
        b"",
        b"null",
        b"1e999",
    ],
    ids=lambda text: f"{text[:8]!r} of {len(text)}",
)
@pytest.mark.parametrize("kind", ["zarr", "kerchunk"])
def test_json_that_is_no_metadata(kind: str, text: bytes) -> None:
    container = MemoryContainer({"v/.zarray": text, "": text})
    with pytest.raises((UndecodableData, EntityTooLarge, InvalidArgument)):
        ask(kind, container)


# References


def test_references_to_the_whole_array_are_read() -> None:
    assert values_of(ask("kerchunk", MemoryContainer(references(WHOLE)))) == VALUES.sum()


def test_chunks_may_overlap_in_their_object() -> None:
    """Two chunks of the same bytes are what a writer of references may mean."""
    chunks = {key: [PACKED, 6, 12] for key in WHOLE}
    wanted = 4 * VALUES.ravel()[3:9].sum()
    assert values_of(ask("kerchunk", MemoryContainer(references(chunks)))) == wanted


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ([PACKED, 40, 12], UndecodableData),
        ([PACKED, 48, 12], UndecodableData),
        ([PACKED, 2**62, 12], UndecodableData),
        ([PACKED, 2**63, 12], UndecodableData),
        ([PACKED, 2**64 - 6, 12], UndecodableData),
        ([PACKED, -12, 12], UndecodableData),
        ([PACKED, 0, -12], UndecodableData),
        ([PACKED, 0, 0], UndecodableData),
        ([PACKED, 0, 11], UndecodableData),
        ([PACKED, 0, 2**40], UndecodableData),
        ([PACKED], UndecodableData),
        ([PACKED, 0], UndecodableData),
        (["https://elsewhere.example/x", 0, 12], OriginNotAllowed),
        (["file:///etc/passwd", 0, 12], ActiveStorageError),
        (["http://169.254.169.254/latest", 0, 12], OriginNotAllowed),
        ("base64:AAAA", UndecodableData),
        ("base64:*", UndecodableData),
        (5, UndecodableData),
        ({"url": PACKED}, UndecodableData),
    ],
    ids=str,
)
@pytest.mark.parametrize("reducer", REDUCERS)
def test_a_reference_that_lies(place: Any, error: type[ActiveStorageError], reducer: str) -> None:
    with pytest.raises(error) as caught:
        ask("kerchunk", MemoryContainer(references({**WHOLE, "v/1.0": place})), reducer)
    assert 400 <= caught.value.status < 500
    assert "v" in caught.value.message


def test_an_object_that_references_name_must_exist() -> None:
    objects = references({**WHOLE, "v/1.0": ["s3://bucket/gone", 0, 12]})

    class Vanishing(MemoryContainer):
        def open_url(self, url: str) -> Source:
            return MemorySource(self, url)

    with pytest.raises(StoreError) as caught:
        ask("kerchunk", Vanishing(objects))
    for word in ("array 'v'", "chunk (1,0)", "s3://bucket/gone"):
        assert word in caught.value.message


def test_references_are_counted_before_they_are_enumerated() -> None:
    members = {"shape": [10**9, 10**9], "chunks": [1, 1]}
    with pytest.raises((EntityTooLarge, UnsupportedArray)):
        ask("kerchunk", MemoryContainer(references({}, **members)))
    generated = {
        "version": 1,
        "refs": {},
        "gen": [{"key": "v/{{i}}", "url": PACKED, "dimensions": {"i": {"stop": 10**9}}}],
    }
    with pytest.raises(ActiveStorageError, match="gen"):
        ask("kerchunk", MemoryContainer({"": json.dumps(generated).encode()}))


# HDF5 and netCDF-3


@pytest.mark.parametrize("seed", range(40))
def test_random_bytes_after_the_signature(seed: int) -> None:
    rng = np.random.default_rng(seed)
    starts = (b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n\0\0\0\0\0\x08\x08\0", b"CDF\1", b"CDF\2", b"CDF\5", b"")
    data = starts[seed % len(starts)] + rng.bytes(int(rng.integers(0, 20_000)))
    with pytest.raises((UndecodableData, UnsupportedArray, EntityTooLarge)):
        ask("netcdf", MemoryContainer({"": data}))


@pytest.mark.parametrize("kind", ["h5py earliest", "h5py latest", "netCDF-3 classic", "netCDF-3 CDF5"])
def test_a_file_that_is_cut_short(kind: str, tmp_path: Any) -> None:
    contents = Contents(VALUES, (2, 3), codec=0)
    data = KINDS[kind].write(contents, tmp_path).container.objects[""]
    whole = values_of(ask("netcdf", MemoryContainer({"": data})))
    for stop in range(0, len(data), max(1, len(data) // 150)):
        # Only padding may be missing.
        with suppress(UndecodableData, UnsupportedArray, InvalidRange):
            assert values_of(ask("netcdf", MemoryContainer({"": data[:stop]}))) == whole


# Objects that change


class ChangingSource(MemorySource):
    """An object that is another one after some requests for it."""

    def head(self, byte_range: ByteRange | None) -> ObjectFacts:
        container = self._container
        assert isinstance(container, ChangingContainer)
        facts = super().head(byte_range)
        if self._key == container.key:
            container.left -= 1
            if container.left < 0:
                self.etag = f'"version{container.left}"'
                facts = super().head(byte_range)
        return facts


class ChangingContainer(MemoryContainer):
    """A container of which one object changes.

    Args:
        objects: Bytes by key.
        key: The key of the object.
        left: How many requests it answers before it changes.
    """

    def __init__(self, objects: Mapping[str, bytes], key: str, left: int) -> None:
        super().__init__(objects)
        self.key = key
        self.left = left

    def open_key(self, key: str) -> Source:
        return ChangingSource(self, key)

    def open_url(self, url: str) -> Source:
        return ChangingSource(self, url)


@pytest.mark.parametrize("left", range(8))
def test_a_file_that_changes_is_never_a_mixture(left: int, tmp_path: Any) -> None:
    contents = Contents(np.arange(4096, dtype="f8"), (64,), codec=0)
    objects = KINDS["h5py latest"].write(contents, tmp_path).container.objects
    container = ChangingContainer(objects, "", left)
    with pytest.raises(ArrayChanged, match=r"'v'.*twice"):
        ask("netcdf", container, selection={0: Slice(None, None, 640)})


@pytest.mark.parametrize("key", ["v/zarr.json", "v/.zarray"])
def test_metadata_that_changes_is_noticed_at_the_end(key: str) -> None:
    form, metadata = ("v/c/{}/{}", document()) if "json" in key else ("v/{}.{}", document_v2())
    chunks = {form.format(y, x): bytes(12) for y in range(2) for x in range(2)}
    with pytest.raises(ArrayChanged):
        ask("zarr", ChangingContainer({key: metadata, **chunks}, key, 1))


@pytest.mark.parametrize("damage", [b"", bytes(11), bytes(13), bytes(12) + b"x"])
def test_a_chunk_of_another_size_is_named(damage: bytes) -> None:
    chunks = {f"v/{y}.{x}": bytes(12) for y in range(2) for x in range(2)}
    with pytest.raises(UndecodableData) as caught:
        ask("zarr", MemoryContainer({"v/.zarray": document_v2(), **chunks, "v/1.0": damage}))
    for word in ("array 'v'", "chunk (1,0)", "object 'v/1.0'"):
        assert word in caught.value.message


def test_an_index_of_a_shard_that_points_elsewhere() -> None:
    """The places of chunks overlap the index, lie outside, or wrap around: none of them is read."""
    sharded = {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": [2, 3],
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
            "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        },
    }
    grid = {"name": "regular", "configuration": {"chunk_shape": [4, 6]}}
    metadata = document(chunk_grid=grid, codecs=[sharded])
    for pair in ((40, 12), (48, 12), (2**64 - 12, 12), (0, 2**63), (2**63, 2**63)):
        places = [(0, 12), (12, 12), pair, (36, 12)]
        shard = VALUES.tobytes() + b"".join(struct.pack("<QQ", *each) for each in places)
        with pytest.raises(UndecodableData) as caught:
            ask("zarr", MemoryContainer({"v/zarr.json": metadata, "v/c/0/0": shard}))
        assert "v" in caught.value.message

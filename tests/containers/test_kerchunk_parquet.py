"""Kerchunk references in Parquet: as fsspec writes them, read lazily, and refused if they lie."""

import contextlib
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from active_storage.errors import (
    EntityTooLarge,
    OriginNotAllowed,
    ReaderNotInstalled,
    StoreError,
    UndecodableData,
    UnsupportedArray,
)
from active_storage.model.ranges import ByteRange
from handler.containers.kerchunk import open_kerchunk
from handler.containers.kerchunk_parquet import load_pyarrow
from handler.containers.reader import ReadLimits
from handler.containers.stored_array import ABSENT, WHOLE_OBJECT, StoredArray
from handler.stores.source import ObjectFacts, Source
from tests.containers.exam import read_whole
from tests.containers.memory import MemoryContainer, MemorySource
from tests.containers.reference_stores import pack, write_store

pa = pytest.importorskip("pyarrow", reason="pyarrow is in the extra parquet, which the group dev has")
pq = pytest.importorskip("pyarrow.parquet")

DATA = np.arange(7 * 5, dtype="<f4").reshape(7, 5)
URLS = ("s3://bucket/first.nc", "https://data.test/second.nc")
REFERENCES, OBJECTS = pack(write_store(DATA, "group/tas", (3, 2)), *URLS)
RECORD_SIZE = 4

# Written by fsspec 2026.9 with kerchunk 0.2.10 and each of its engines.
WRITTEN = Path(__file__).parent / "data" / "kerchunk_parquet"


def make_table(rows: Sequence[Any], *, types: Any = ("string", "int64", "int64", "binary")) -> Any:
    """A table of references: each a list, bytes or None."""
    targets = [row if isinstance(row, list) else [None] for row in rows]
    columns = {
        "path": [target[0] for target in targets],
        "offset": [target[1] if len(target) > 1 else 0 for target in targets],
        "size": [target[2] if len(target) > 1 else 0 for target in targets],
        "raw": [row if isinstance(row, bytes) else None for row in rows],
    }
    arrays = [pa.array(values, kind) for values, kind in zip(columns.values(), types, strict=True)]
    return pa.table(arrays, list(columns))


def write_table(table: Any, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", **options)
    return bytes(sink.getvalue().to_pybytes())


def make_container(
    replaced: dict[str, bytes | None] | None = None, rows: Sequence[Any] | None = None, **options: Any
) -> MemoryContainer:
    """References to the nine chunks of ``DATA`` in three files."""
    documents = {key: json.loads(value) for key, value in REFERENCES.items() if isinstance(value, str)}
    metadata = json.dumps({"metadata": documents, "record_size": RECORD_SIZE})
    if rows is None:
        rows = [REFERENCES[f"group/tas/{row // 3}.{row % 3}"] for row in range(9)]
    rows = [*rows, *[None] * (-len(rows) % RECORD_SIZE)]
    files: dict[str, bytes | None] = {
        f"group/tas/refs.{start // RECORD_SIZE}.parq": write_table(
            make_table(rows[start : start + RECORD_SIZE], **options)
        )
        for start in range(0, len(rows), RECORD_SIZE)
    }
    objects = {**OBJECTS, ".zmetadata": metadata.encode(), **files, **(replaced or {})}
    return MemoryContainer({key: value for key, value in objects.items() if value is not None})


def open_container(container: MemoryContainer, **limits: int) -> StoredArray:
    return open_kerchunk(container.reader(ReadLimits(**limits)), "group/tas")


def locate(container: MemoryContainer, *chunks: int) -> list[int]:
    return open_container(container).index.locate(np.array(chunks, np.int64)).sizes.tolist()  # type: ignore[no-any-return]


# What is right


@pytest.mark.parametrize(
    "types",
    [
        ("string", "int64", "int64", "binary"),
        ("large_string", "int32", "uint32", "null"),
        ("string", "uint64", "int64", "large_binary"),
    ],
)
def test_the_array_is_what_zarr_wrote(types: Any) -> None:
    np.testing.assert_array_equal(read_whole(open_container(make_container(types=types))), DATA)


def test_categories_are_read() -> None:
    types = (pa.dictionary("int8", "string"), "int64", "int64", "binary")
    np.testing.assert_array_equal(read_whole(open_container(make_container(types=types))), DATA)


@pytest.mark.parametrize("engine", ["fastparquet", "pyarrow"])
def test_files_that_fsspec_wrote_are_read(engine: str) -> None:
    root = WRITTEN / engine
    objects = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    container = MemoryContainer({**objects, "s3://bucket/first": bytes(range(100)), "s3://bucket/whole": b"whole**!"})
    reader = container.reader()
    places = open_kerchunk(reader, "tas").index.locate(np.arange(12))
    sizes = [8, 8, 8, ABSENT, 8, 8, 8, WHOLE_OBJECT, 8, 8, 8, 8]
    assert places.sizes.tolist() == sizes
    assert places.offsets.tolist() == [0, 0, 8, 0, 0, 16, 24, 0, 32, 32, 40, 40]
    assert places.inline == {4: bytes([1, 0, 0, 0, 2, 0, 0, 0])}
    names = [places.objects[number].name for number in places.object_numbers[[0, 7]]]
    assert names == ["s3://bucket/first", "s3://bucket/whole"]
    assert read_whole(open_kerchunk(reader, "scalar")) == 5


def test_a_file_is_read_when_a_chunk_in_it_is_asked_for() -> None:
    container = make_container()
    array = open_container(container)
    assert [key for key, _ in container.asked] == ["", ".zmetadata"]
    for _ in range(2):
        assert array.index.locate(np.array([4, 5])).sizes.tolist() == [
            REFERENCES[f"group/tas/1.{n}"][2] for n in (1, 2)
        ]
    assert [key for key, _ in container.asked][2:] == ["group/tas/refs.1.parq"]


def test_a_url_in_several_files_is_one_object() -> None:
    container = make_container()
    array = open_container(container)
    objects = {each for chunk in range(9) for each in array.index.locate(np.array([chunk])).objects}
    assert sorted(each.name for each in objects) == sorted(URLS)
    assert len(array.index.locate(np.arange(9)).objects) == 2


def test_rows_and_files_that_are_missing_are_absent() -> None:
    assert locate(make_container(rows=[None] * 9), 0, 8) == [ABSENT, ABSENT]
    assert locate(make_container({"group/tas/refs.1.parq": None}), 4, 7) == [ABSENT, ABSENT]


def test_a_url_alone_is_a_whole_object() -> None:
    assert locate(make_container(rows=[["s3://bucket/first.nc"]] * 9), 8) == [WHOLE_OBJECT]


def test_inline_bytes_are_read() -> None:
    places = open_container(make_container(rows=[b"abc", b"base64:YWJj"] * 4)).index.locate(np.arange(8))
    assert places.inline == dict.fromkeys(range(8), b"abc")
    assert places.sizes.tolist() == [3] * 8


def test_columns_can_be_missing() -> None:
    table = make_table([["s3://bucket/first.nc", 7, 8]] * 4)
    only_urls = write_table(table.select(["path", "offset", "size"]))
    assert locate(make_container({"group/tas/refs.0.parq": only_urls}), 0) == [8]
    only_raw = write_table(make_table([b"abc"] * 4).select(["raw"]))
    assert locate(make_container({"group/tas/refs.0.parq": only_raw}), 0) == [3]


def test_no_chunk_is_no_place() -> None:
    container = make_container()
    assert locate(container) == []
    assert [key for key, _ in container.asked] == ["", ".zmetadata"]


def test_a_separator_of_chunk_keys_does_not_matter() -> None:
    container = make_container()
    document = json.loads(container.objects[".zmetadata"])
    document["metadata"]["group/tas/.zarray"]["dimension_separator"] = "/"
    array = open_container(make_container({".zmetadata": json.dumps(document).encode()}))
    np.testing.assert_array_equal(read_whole(array), DATA)


# What is not supported


def test_without_pyarrow_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ReaderNotInstalled, match=r'pyarrow is not installed .* extra "parquet"') as caught:
        open_container(make_container())
    assert (caught.value.status, caught.value.code) == (400, "ReaderNotInstalled")
    with pytest.raises(ReaderNotInstalled):
        load_pyarrow()


def test_an_array_at_the_root_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedArray):
        open_kerchunk(make_container().reader(), "")


@pytest.mark.parametrize("url", ["gs://bucket/key", "relative/key", "file:///etc/passwd", ""])
def test_urls_that_are_not_supported_are_refused_by_name(url: str) -> None:
    with pytest.raises(UnsupportedArray, match="'group/tas' has references to"):
        locate(make_container(rows=[[url, 0, 1]]), 0)


def test_an_array_or_a_store_that_is_not_there_is_an_error() -> None:
    with pytest.raises(StoreError, match="no Zarr array 'group/ta'"):
        open_kerchunk(make_container().reader(), "group/ta")
    with pytest.raises(StoreError, match="does not exist"):
        open_kerchunk(MemoryContainer({}).reader(), "group/tas")


# What is wrong


@pytest.mark.parametrize(
    "row",
    [
        ["s3://b/k", -1, 5], ["s3://b/k", 5, -1], ["s3://b/k", 5, 0], ["s3://b/k", 2**62, 2**62],
        ["s3://b/k", 2**63 - 1, 1], b"base64:?",
    ],
)  # fmt: skip
def test_a_row_that_is_malformed_is_an_error(row: Any) -> None:
    with pytest.raises(UndecodableData, match="'group/tas'"):
        locate(make_container(rows=[row] * 4), 0)


@pytest.mark.parametrize(
    "types",
    [
        ("binary", "int64", "int64", "binary"), ("string", "float64", "int64", "binary"),
        ("string", "int64", "string", "binary"), ("string", "int64", "int64", "int64"), ("int64",) * 4,
        (pa.list_(pa.string()), "int64", "int64", "binary"),
        (pa.dictionary("int8", "int64"), "int64", "int64", "binary"),
    ],
)  # fmt: skip
def test_columns_of_other_types_are_an_error(types: Any) -> None:
    table = pa.table([pa.nulls(4, kind) for kind in types], ["path", "offset", "size", "raw"])
    with pytest.raises(UndecodableData, match="'group/tas'"):
        locate(make_container({"group/tas/refs.0.parq": write_table(table)}), 0)


def test_too_many_or_too_few_rows_are_an_error() -> None:
    for count in (3, 5):
        file = write_table(make_table([["s3://bucket/first.nc", 7, 8]] * count))
        with pytest.raises(UndecodableData, match=r"refs\.0\.parq has"):
            locate(make_container({"group/tas/refs.0.parq": file}), 3)


@pytest.mark.parametrize(
    "document",
    [
        b"", b"[]", b"{", b'{"metadata": {}}', b'{"record_size": 4}', b'{"metadata": [], "record_size": 4}',
        b'{"metadata": {"group/tas/.zarray": 1}, "record_size": 4}',
        b'{"metadata": {"group/tas/.zarray": {}}, "record_size": 4}',
        *(b'{"metadata": {}, "record_size": %s}' % size for size in (b"0", b"-1", b"1.5", b"true", b'"4"', b"1e9")),
        b'{"metadata": {}, "record_size": 99999999999999999999}',
    ],
)  # fmt: skip
def test_metadata_that_is_malformed_is_an_error(document: bytes) -> None:
    with pytest.raises((UndecodableData, StoreError)) as caught:
        open_container(make_container({".zmetadata": document}))
    assert isinstance(caught.value, UndecodableData) or b'"metadata": {}' in document


def test_a_file_that_decodes_to_more_than_the_limit_is_refused() -> None:
    rows = [[f"s3://bucket/{'x' * 2000}{number}", 0, 1] for number in range(4)]
    container = make_container(rows=rows)
    with pytest.raises(EntityTooLarge):
        open_container(container, bytes=6000).index.locate(np.array([0]))


def test_more_references_in_a_file_than_the_limit_are_refused() -> None:
    with pytest.raises(EntityTooLarge, match=r"refs\.0\.parq has more than 3 references"):
        open_container(make_container(), references=3).index.locate(np.array([0]))


def test_a_value_that_is_repeated_takes_no_more_memory() -> None:
    """A million rows of one inline value of 1 MB are a file of some kB."""
    rows = 10**6
    table = pa.table(
        [
            pa.nulls(rows, "string"),
            pa.array(np.zeros(rows, np.int64)),
            pa.array(np.zeros(rows, np.int64)),
            pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array([b"x" * 2**20])),
        ],
        ["path", "offset", "size", "raw"],
    )
    container = make_container({"group/tas/refs.0.parq": write_table(table)})
    document = json.loads(container.objects[".zmetadata"]) | {"record_size": rows}
    container = make_container({**container.objects, ".zmetadata": json.dumps(document).encode()})
    assert locate(container, 0, 8) == [2**20] * 2


class DeniedSource(MemorySource):
    """An object that may not be read."""

    def head(self, byte_range: ByteRange | None) -> ObjectFacts:
        raise StoreError(403, "AccessDenied", "denied")


class DenyingContainer(MemoryContainer):
    """A container that denies the root, which is a folder, and all files that begin with ``denied``."""

    denied = "?"

    def open_key(self, key: str) -> Source:
        return DeniedSource(self, key) if key == "" or key.startswith(self.denied) else super().open_key(key)


def test_a_file_that_may_not_be_read_is_not_absent() -> None:
    container = DenyingContainer(make_container().objects)
    container.denied = "group/tas/refs"
    with pytest.raises(StoreError, match="denied"):
        locate(container, 0)


def test_a_folder_that_may_not_be_listed_is_found() -> None:
    container = DenyingContainer(make_container().objects)
    np.testing.assert_array_equal(read_whole(open_container(container)), DATA)
    with pytest.raises(StoreError, match="denied"):
        open_container(DenyingContainer({}))


# Any bytes


def test_every_byte_that_is_changed_gives_places_or_an_error() -> None:
    """Parquet has no checksum of its pages here: some changes give other places, and none another error than ours."""
    container = make_container(rows=[["s3://bucket/first.nc", 7, 8], b"abc", None, ["https://data.test/second.nc"]])
    file = container.objects["group/tas/refs.0.parq"]
    for number in range(len(file)):
        for value in {0, 0xFF, file[number] ^ 1, file[number] ^ 0x80}:
            damaged = file[:number] + bytes([value]) + file[number + 1 :]
            objects = {**container.objects, "group/tas/refs.0.parq": damaged}
            with contextlib.suppress(UndecodableData, UnsupportedArray, EntityTooLarge, OriginNotAllowed):
                places = open_container(MemoryContainer(objects)).index.locate(np.arange(4))
                assert len(places.sizes) == 4


def test_random_bytes_and_cuts_are_errors() -> None:
    source = random.Random(7)
    file = make_container().objects["group/tas/refs.0.parq"]
    for number in range(200):
        data = source.randbytes(number) if number % 2 else file[: source.randrange(len(file))]
        with pytest.raises(UndecodableData):
            locate(make_container({"group/tas/refs.0.parq": data}), 0)

"""Where the metadata of a Zarr array is looked for, what is taken from it, and what the errors say."""

import json
from typing import Any

import numpy as np
import pytest

from active_storage.errors import ActiveStorageError, InvalidArgument, StoreError, UndecodableData, UnsupportedArray
from active_storage.model.codecs import CODECS
from active_storage.model.ranges import ByteRange
from handler.containers.zarr import list_zarr, open_zarr
from handler.stores.source import ObjectFacts, Source
from tests.containers.memory import MemoryContainer, MemorySource
from tests.containers.zarr_stores import ZarrStore, check_same, document, document_v2, dump, open_array

VALUES = np.arange(24, dtype="i2").reshape(4, 6)


def write(version: int, *names: str, **options: Any) -> ZarrStore:
    written = ZarrStore()
    for name in names:
        written.write(name, VALUES, zarr_format=version, chunks=(2, 3), **options)
    return written


def find_requests(objects: dict[str, bytes], name: str) -> list[str]:
    container = MemoryContainer(objects)
    open_zarr(container.reader(), name)
    return [key for key, _ in container.asked]


# Requests


def test_version_3_takes_one_request() -> None:
    written = write(3, "g/a")
    written.consolidate(3)
    assert find_requests(written.objects, "g/a") == ["g/a/zarr.json"]


def test_version_2_takes_three_requests() -> None:
    written = write(2, "g/a")
    written.consolidate(2)
    assert find_requests(written.objects, "g/a") == ["g/a/zarr.json", "g/a/.zarray", "g/a/.zattrs"]


@pytest.mark.parametrize("version", [2, 3])
def test_the_root_can_be_the_array(version: int) -> None:
    """On the plain-URL doors it always is. No key begins with a slash."""
    written = write(version, "")
    container = MemoryContainer(written.objects)
    array = open_zarr(container.reader(), "")
    assert not any(key.startswith("/") for key, _ in container.asked)
    assert array.name == "/"
    check_same(written.objects, "", VALUES)


@pytest.mark.parametrize("version", [2, 3])
def test_slashes_around_a_path_do_not_matter(version: int) -> None:
    written = write(version, "g/a")
    assert check_same(written.objects, "/g/a/", VALUES).name == "g/a"


def test_version_3_counts_if_there_are_both() -> None:
    objects = {"a/zarr.json": document(shape=[4, 6]), "a/.zarray": document_v2(shape=[9, 9])}
    assert open_array(objects, "a").shape == (4, 6)


@pytest.mark.parametrize(("version", "names"), [(2, ["a/.zarray", "a/.zattrs"]), (3, ["a/zarr.json"])])
def test_metadata_are_the_objects_that_were_read(version: int, names: list[str]) -> None:
    array = open_array(write(version, "a").objects, "a")
    assert [each.name for each in array.metadata] == names
    assert all(each.facts is not None and str(each.facts.etag) == f'"{each.name}"' for each in array.metadata)


@pytest.mark.parametrize("version", [2, 3])
def test_locating_chunks_that_are_objects_asks_for_nothing(version: int) -> None:
    container = MemoryContainer(write(version, "a").objects)
    array = open_zarr(container.reader(), "a")
    asked = len(container.asked)
    places = array.index.locate(np.arange(4))
    assert len(places.objects) == 4
    assert places.objects[3] is places.objects[3]
    assert len(places.objects[1:3]) == 2
    assert len(container.asked) == asked


# Consolidated metadata


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("parent", ["", "g", "g/h"])
def test_consolidated_metadata_of_any_parent_is_enough(version: int, parent: str) -> None:
    written = write(version, "g/h/a", attributes={"scale_factor": 2})
    written.consolidate(version, parent)
    own = {"g/h/a/zarr.json", "g/h/a/.zarray", "g/h/a/.zattrs"}
    objects = {key: data for key, data in written.objects.items() if key not in own}
    array = check_same(objects, "g/h/a", VALUES)
    assert array.attributes["scale_factor"] == 2
    assert any(each.name.removeprefix(parent).strip("/") in (".zmetadata", "zarr.json") for each in array.metadata)


# Absent arrays and groups


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("consolidated", [False, True])
@pytest.mark.parametrize("path", ["b", "g/b", "a/b"])
def test_an_array_that_is_absent(version: int, consolidated: bool, path: str) -> None:
    written = write(version, "a", "g/a")
    if consolidated:
        written.consolidate(version)
    with pytest.raises(StoreError, match=f"'{path}'") as caught:
        open_array(written.objects, path)
    assert (caught.value.status, caught.value.code) == (404, "NoSuchKey")


@pytest.mark.parametrize("version", [2, 3])
def test_an_absent_array_is_named_with_some_that_there_are(version: int) -> None:
    names = [f"v{number:02}" for number in range(20)]
    written = write(version, "tas", "g/b", *names)
    written.consolidate(version)
    with pytest.raises(StoreError, match=r"; there are 'tas', 'g/b', 'v00', .*'v07' and 12 more$"):
        open_array(written.objects, "tass")
    with pytest.raises(StoreError, match=r"no Zarr group 'gg': neither zarr.json nor .zgroup; there are 'g'$"):
        list_zarr(MemoryContainer(written.objects).reader(), "gg")
    one = write(version, "h/tas")
    one.consolidate(version, "h")
    with pytest.raises(StoreError, match=r"; there are 'h/tas'$"):
        open_array(one.objects, "h/tos")


def test_a_deep_path_takes_few_requests() -> None:
    container = MemoryContainer({})
    with pytest.raises(StoreError):
        open_zarr(container.reader(), "/".join("a" * 500))
    assert len(container.asked) < 25


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(("path", "names"), [("", ["a", "g/b"]), ("g", ["b"])])
def test_a_group_lists_its_arrays_if_they_are_known(version: int, path: str, names: list[str]) -> None:
    written = write(version, "a", "g/b")
    with pytest.raises(InvalidArgument, match=f"'{path or '/'}' is a group$"):
        open_array(written.objects, path)
    written.consolidate(version, path)
    with pytest.raises(InvalidArgument, match="is a group; its arrays are ") as caught:
        open_array(written.objects, path)
    assert sorted(caught.value.message.rpartition("are ")[2].split(", ")) == [repr(name) for name in names]


def test_a_group_lists_a_few_of_many_arrays() -> None:
    nodes = {f"a{number}": {"node_type": "array"} for number in range(1000)}
    group = {"zarr_format": 3, "node_type": "group", "consolidated_metadata": {"metadata": nodes}}
    with pytest.raises(InvalidArgument, match=r"'a19' and 980 more$"):
        open_array({"zarr.json": dump(group)}, "")


@pytest.mark.parametrize("path", ["a//b", "..", "a/../b", "a/.", "./a"])
def test_a_malformed_path(path: str) -> None:
    with pytest.raises(InvalidArgument, match="has a part that is empty"):
        open_array({}, path)


# Stores that deny, and stores that fail


class _FailingSource(MemorySource):
    def __init__(self, container: MemoryContainer, key: str, error: StoreError | None) -> None:
        super().__init__(container, key)
        self._error = error

    def head(self, byte_range: ByteRange | None) -> ObjectFacts:
        if self._error is not None:
            raise self._error
        return super().head(byte_range)


class _FailingContainer(MemoryContainer):
    """Objects that are absent give another error than 404."""

    def __init__(self, objects: dict[str, bytes], status: int, code: str) -> None:
        super().__init__(objects)
        self._error = (status, code, "so says the store")

    def open_key(self, key: str) -> Source:
        return _FailingSource(self, key, None if key in self.objects else StoreError(*self._error))


def test_documents_that_are_denied_pass_for_absent_ones_if_others_are_there() -> None:
    container = _FailingContainer(write(2, "a").objects, 403, "AccessDenied")
    assert open_zarr(container.reader(), "a").shape == (4, 6)


def test_attributes_that_are_denied_are_an_error() -> None:
    """They may hold a scale factor."""
    objects = write(2, "a").objects
    del objects["a/.zattrs"]
    assert open_array(objects, "a").attributes == {}
    with pytest.raises(StoreError) as caught:
        open_zarr(_FailingContainer(objects, 403, "AccessDenied").reader(), "a")
    assert caught.value.code == "AccessDenied"
    assert caught.value.message.startswith("'a/.zattrs' (S3 answers so for a missing key, too")
    assert caught.value.message.endswith(": so says the store")


def test_an_array_of_which_all_is_denied_is_not_absent() -> None:
    with pytest.raises(StoreError) as caught:
        open_zarr(_FailingContainer({}, 403, "AccessDenied").reader(), "g/a")
    assert (caught.value.status, caught.value.code) == (403, "AccessDenied")
    assert caught.value.message.startswith("Zarr array 'g/a': 'g/a/zarr.json' (S3 answers so for a missing key, too")


@pytest.mark.parametrize(
    ("status", "code"), [(403, "SignatureDoesNotMatch"), (404, "NoSuchBucket"), (500, "InternalError")]
)
def test_other_errors_are_not_absence(status: int, code: str) -> None:
    with pytest.raises(StoreError) as caught:
        open_zarr(_FailingContainer({"a/.zarray": document_v2()}, status, code).reader(), "a")
    assert caught.value.code == code
    assert caught.value.message == "'a/zarr.json': so says the store"


# Dimensions and attributes


def test_dimensions_of_version_3() -> None:
    assert open_array({"a/zarr.json": document(dimension_names=["y", None])}, "a").dimensions == ("y", None)
    assert open_array({"a/zarr.json": document()}, "a").dimensions == (None, None)
    assert open_array({"a/zarr.json": document(dimension_names=None)}, "a").dimensions == (None, None)


def test_dimensions_of_version_2() -> None:
    objects = {"a/.zarray": document_v2(), "a/.zattrs": dump({"_ARRAY_DIMENSIONS": ["y", "x"], "units": "K"})}
    array = open_array(objects, "a")
    assert array.dimensions == ("y", "x")
    assert array.attributes["units"] == "K"


@pytest.mark.parametrize("version", [2, 3])
def test_attributes_stay_as_they_are_written(version: int) -> None:
    attributes = {"units": "K", "list": [1, 2.5], "_FillValue": "AAAAAAAA+H8=", "nested": {"a": None}, "flag": True}
    text = json.dumps(attributes)[:-1] + ', "missing_value": NaN, "high": Infinity}'
    objects = {"a/.zarray": document_v2(), "a/.zattrs": text.encode()}
    if version == 3:
        objects = {"a/zarr.json": document(attributes=...)[:-1] + f', "attributes": {text}}}'.encode()}
    read = dict(open_array(objects, "a").attributes)
    assert np.isnan(read.pop("missing_value"))
    assert read == {**attributes, "high": float("inf")}


# Fill values


@pytest.mark.parametrize(("fill_value", "marks"), [(None, False), (0, True), (7, True)])
def test_the_fill_value_of_version_2_marks_missing_elements(fill_value: int | None, marks: bool) -> None:
    array = open_array({"a/.zarray": document_v2(fill_value=fill_value)}, "a")
    assert array.fill == (fill_value or 0)
    assert array.fill_marks_missing is marks


def test_the_fill_value_of_version_3_does_not_mark_missing_elements() -> None:
    assert not open_array({"a/zarr.json": document(fill_value=7)}, "a").fill_marks_missing


def test_a_fill_value_of_null_in_version_3_is_no_value() -> None:
    assert open_array({"a/zarr.json": document(fill_value=None)}, "a").fill is None


# Codecs

REQUIRED: dict[str, dict[str, Any]] = {
    "szip": {"cd_values": [141, 8, 16, 32]},
    "scaleoffset": {"cd_values": [2] * 20},
    "nbit": {"cd_values": [8] * 8},
    "fixedscaleoffset": {"offset": 1, "scale": 2, "dtype": "<f4"},
    "astype": {"encode_dtype": "<f4"},
}


@pytest.mark.parametrize("codec", CODECS)
def test_version_2_takes_every_codec_of_the_table(codec: str) -> None:
    text = document_v2(compressor={"id": codec, **REQUIRED.get(codec, {})})
    assert [step.id for step in open_array({"a/.zarray": text}, "a").steps] == [codec]


def test_filters_come_before_the_compressor() -> None:
    filters = [{"id": "delta", "dtype": "<i2", "astype": "<i2"}, {"id": "shuffle", "elementsize": 2}]
    text = document_v2(filters=filters, compressor={"id": "zlib", "level": 1})
    assert [step.id for step in open_array({"a/.zarray": text}, "a").steps] == ["delta", "shuffle", "zlib"]


def test_defaults_are_those_of_numcodecs() -> None:
    """A data type without a byte order is the machine's, and all of them are little-endian."""
    filters = [{"id": "delta", "dtype": "i2", "astype": "int16"}, {"id": "shuffle"}]
    delta, shuffle = open_array({"a/.zarray": document_v2(dtype=">i2", filters=filters)}, "a").steps
    assert delta.value("dtype") == delta.value("astype") == "<i2"
    assert shuffle.element_size == 4


def test_a_parameter_of_null_has_its_default() -> None:
    text = document_v2(filters=[{"id": "jenkins_lookup3", "initval": 0, "prefix": None}])
    assert open_array({"a/.zarray": text}, "a").steps[0].id == "jenkins_lookup3"


def test_the_byte_order_of_version_3_is_that_of_the_codec_bytes() -> None:
    """Also for what a filter makes of the elements, whatever byte order its data types name."""
    codecs = [
        {"name": "numcodecs.delta", "configuration": {"dtype": "<i2", "astype": "<i2"}},
        {"name": "bytes", "configuration": {"endian": "big"}},
    ]
    objects = {"a/zarr.json": document(codecs=codecs)}
    # Differences that carry from one byte to the other.
    values = VALUES * np.int16(511)
    for row, column in np.ndindex(2, 2):
        chunk = values[2 * row :, 3 * column :][:2, :3].reshape(-1)
        objects[f"a/c/{row}/{column}"] = np.diff(chunk, prepend=np.int16(0)).astype(">i2").tobytes()
    check_same(objects, "a", values)


@pytest.mark.parametrize(
    "codecs",
    [
        ["bytes"],
        [{"name": "bytes"}],
        [{"name": "bytes", "configuration": {}}],
        [{"name": "bytes", "configuration": {"endian": "little"}, "must_understand": True}],
        [{"name": "numcodecs.delta", "configuration": {"dtype": "|i1"}}, "bytes"],
    ],
)
def test_single_bytes_need_no_byte_order(codecs: list[Any]) -> None:
    assert open_array({"a/zarr.json": document(data_type="int8", codecs=codecs)}, "a").byte_order == "little"


def test_extensions_that_need_not_be_understood_are_ignored() -> None:
    text = document(statistics={"must_understand": False, "min": 0}, storage_transformers=[])
    assert open_array({"a/zarr.json": text}, "a").shape == (4, 6)


# Refusals

BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
CHECKED = [BYTES, {"name": "crc32c"}]


def transpose(*order: Any) -> dict[str, Any]:
    return {"name": "transpose", "configuration": {"order": list(order)}}


def regular(*chunks: Any) -> dict[str, Any]:
    return {"name": "regular", "configuration": {"chunk_shape": list(chunks)}}


def shard(**members: Any) -> list[Any]:
    usual = {"chunk_shape": [1, 3], "codecs": [BYTES], "index_codecs": CHECKED}
    return [{"name": "sharding_indexed", "configuration": {**usual, **members}}]


UNSUPPORTED: list[tuple[dict[str, Any], str]] = [
    ({"data_type": "string"}, "the data type 'string'"),
    ({"data_type": "r16"}, "the data type 'r16'"),
    ({"data_type": {"name": "numpy.datetime64", "configuration": {"unit": "s"}}}, "the data type 'numpy.datetime64'"),
    ({"data_type": {"name": "int16", "configuration": {"x": 1}}}, "the data type 'int16'"),
    ({"chunk_grid": {"name": "rectilinear", "configuration": {}}}, "the chunk grid 'rectilinear'"),
    ({"chunk_key_encoding": {"name": "suffix"}}, "the chunk key encoding 'suffix'"),
    ({"codecs": [BYTES, {"name": "lzw"}]}, "the codec 'lzw'"),
    ({"codecs": [{"name": "cast_value", "configuration": {"data_type": "int8"}}, BYTES]}, "the codec 'cast_value'"),
    ({"codecs": ["vlen-utf8"]}, "the codec 'vlen-utf8'"),
    ({"codecs": ["packbits", BYTES]}, "the codec 'packbits'"),
    ({"codecs": [BYTES, {"name": "gzip", "configuration": {"window": 1}}]}, "the codec 'gzip' whose 'window'"),
    ({"codecs": [BYTES, {"name": "gzip", "other": 1}]}, "the member 'other' in a codec"),
    ({"codecs": [{"name": "bytes", "configuration": {"endian": "little", "x": 1}}]}, "the parameter 'x' of bytes"),
    ({"codecs": [BYTES] + ["zstd"] * 40}, "more than 32 codecs"),
    (
        {"codecs": [{"name": "numcodecs.delta", "configuration": {"dtype": "<i2"}},
                    transpose(1, 0), BYTES]},
        "the codec transpose after delta",
    ),
    ({"codecs": [*shard(), {"name": "zstd"}]}, "a codec beside sharding_indexed"),
    ({"codecs": shard(codecs=shard())}, "sharding within sharding"),
    ({"codecs": shard(index_codecs=[BYTES, {"name": "zstd"}])}, "the codec zstd in the index of a shard"),
    ({"codecs": shard(index_codecs=[transpose(1, 0, 2), BYTES])}, "in the index of a shard"),
    ({"codecs": shard(index_codecs=shard())}, "in the index of a shard"),
    ({"codecs": shard(index_codecs=[{"name": "numcodecs.pcodec"}])}, "the codec pcodec in the index of a shard"),
    ({"codecs": shard(other=1)}, "the parameter 'other' of sharding_indexed"),
    ({"storage_transformers": [{"name": "x"}]}, "storage transformers"),
    ({"extra": 1}, "the extension 'extra'"),
    ({"extra": {"must_understand": True}}, "the extension 'extra'"),
    ({"extra": {"name": "x"}}, "the extension 'extra'"),
    ({"shape": [1] * 40}, "more than 32 dimensions"),
    ({"zarr_format": 4}, "a zarr.json of version '4'"),
]  # fmt: skip


@pytest.mark.parametrize(("members", "feature"), UNSUPPORTED, ids=[feature for _, feature in UNSUPPORTED])
def test_version_3_refuses_by_name_what_it_does_not_support(members: dict[str, Any], feature: str) -> None:
    with pytest.raises(UnsupportedArray) as caught:
        open_array({"a/zarr.json": document(**members)}, "a")
    assert feature in caught.value.message
    assert "'a' has" in caught.value.message


UNSUPPORTED_V2: list[tuple[dict[str, Any], str]] = [
    *(
        ({"dtype": text}, f"the data type '{text}'")
        for text in ("|S4", "<U4", "|O", "<M8[ns]", "<m8[s]", "|V8", "<f16")
    ),
    *(({"dtype": text}, f"the data type '{text}'") for text in ("|i2", "=i2", "i2", "int16", "", "<", "<x9")),
    ({"dtype": [["a", "<i2"]]}, "a structured data type"),
    ({"compressor": {"id": "lzw"}}, "the codec 'lzw'"),
    ({"filters": [{"id": "vlen-utf8"}]}, "the codec 'vlen-utf8'"),
    ({"filters": [{"id": "pickle"}]}, "the codec 'pickle'"),
    ({"filters": [{"id": "delta", "dtype": "<M8[s]"}]}, "the codec 'delta' whose 'dtype'"),
    ({"compressor": {"id": "zlib", "window": 1}}, "the codec 'zlib' whose 'window'"),
    ({"compressor": {"id": "lzma", "format": 3}}, "the codec 'lzma' whose 'format'"),
    ({"filters": [{"id": "zlib"}] * 40}, "more than 32 codecs"),
    ({"zarr_format": 1}, "a .zarray of version '1'"),
]


@pytest.mark.parametrize(("members", "feature"), UNSUPPORTED_V2)
def test_version_2_refuses_by_name_what_it_does_not_support(members: dict[str, Any], feature: str) -> None:
    with pytest.raises(UnsupportedArray) as caught:
        open_array({"a/.zarray": document_v2(**members)}, "a")
    assert feature in caught.value.message


BROKEN: list[tuple[dict[str, Any], str]] = [
    *(({name: ...}, f"{name} is missing") for name in ("shape", "data_type", "chunk_grid", "chunk_key_encoding")),
    *(({name: ...}, f"{name} is missing") for name in ("codecs", "fill_value", "zarr_format", "node_type")),
    *(({"shape": value}, "shape should be") for value in (None, 4, "4", [4.0, 6], [True, 6], [-1, 6], [2**63, 6])),
    ({"shape": [4]}, "chunk_shape has 2 dimensions, the shape has 1"),
    ({"shape": [2**40, 2**40]}, "more than 2**63-1 bytes"),
    ({"shape": [2**62 + 1, 1], "chunk_grid": regular(2**62, 1)}, "2**63"),
    ({"shape": [0, 2**62], "chunk_grid": regular(1, 4)}, "2**63"),
    *(({"chunk_grid": regular(*each)}, "chunk_shape") for each in ([0, 3], [2], [2, 3, 1], "23", [2, -3], [2, 2**64])),
    ({"chunk_grid": {"name": "regular"}}, "chunk_shape is missing"),
    ({"chunk_grid": 1}, "chunk_grid should be an object with a name"),
    ({"chunk_grid": {"name": "regular", "configuration": []}}, "the configuration of chunk_grid"),
    ({"chunk_key_encoding": {"name": "v2", "configuration": {"separator": "-"}}}, "the separator"),
    ({"data_type": 3}, "data_type should be"),
    ({"codecs": {}}, "codecs should be a list"),
    ({"codecs": []}, "codecs should list codecs from arrays to arrays"),
    ({"codecs": [{"configuration": {}}]}, "a codec should be an object with a name"),
    ({"codecs": [[]]}, "a codec should be an object with a name"),
    ({"codecs": ["zstd", BYTES]}, "codecs should list codecs from arrays to arrays"),
    ({"codecs": [BYTES, BYTES]}, "codecs should list codecs from arrays to arrays"),
    ({"codecs": [BYTES, transpose(1, 0)]}, "codecs should list codecs from arrays to arrays"),
    ({"codecs": ["bytes"]}, "the codec bytes has no endian"),
    ({"codecs": [{"name": "bytes", "configuration": {"endian": "middle"}}]}, "should be little or big"),
    *(({"codecs": [transpose(*order), BYTES]}, "order") for order in ([0], [0, 0], [0, 2], [0, 1, 2], "F", [1, -1])),
    ({"codecs": ["transpose", BYTES]}, "order is missing"),
    (
        {"data_type": "int8",
         "codecs": [{"name": "numcodecs.astype", "configuration": {"encode_dtype": "f4"}}, "bytes"]},
        "the codec bytes has no endian",
    ),
    ({"codecs": shard(chunk_shape=[2, 2])}, "does not divide"),
    ({"codecs": shard(chunk_shape=[2])}, "chunk_shape has 1 dimensions"),
    ({"codecs": shard(chunk_shape=[0, 3])}, "chunk_shape has a size of 0"),
    ({"codecs": shard(index_location="middle")}, "index_location"),
    ({"codecs": shard(index_codecs=[])}, "index_codecs should list codecs from"),
    ({"codecs": shard(codecs=None)}, "codecs should be a list"),
    ({"fill_value": "0"}, "fill_value should be a whole number"),
    ({"fill_value": 40000}, "fill_value should be a whole number"),
    ({"attributes": []}, "attributes should be an object"),
    ({"dimension_names": ["x"]}, "1 names for 2 dimensions"),
    ({"dimension_names": "xy"}, "dimension_names should be a list of names"),
    ({"dimension_names": ["x", 1]}, "dimension_names should be a list of names"),
    ({"node_type": "other"}, "node_type should be array"),
]  # fmt: skip


@pytest.mark.parametrize(("members", "text"), BROKEN)
def test_version_3_that_contradicts_itself(members: dict[str, Any], text: str) -> None:
    with pytest.raises(UndecodableData) as caught:
        open_array({"a/zarr.json": document(**members)}, "a")
    assert text in caught.value.message
    assert "'a'" in caught.value.message


BROKEN_V2: list[tuple[dict[str, Any], str]] = [
    *(
        ({name: ...}, f"{name} is missing")
        for name in ("shape", "chunks", "dtype", "compressor", "fill_value", "order")
    ),
    ({"zarr_format": ...}, "zarr_format is missing"),
    *(({"chunks": chunks}, "chunks") for chunks in ([0, 3], [2], None, [2, "3"], True)),
    ({"shape": [2**40, 2**40]}, "more than 2**63-1 bytes"),
    ({"dtype": 4}, "dtype should be a text"),
    ({"order": "A"}, "order should be C or F"),
    ({"order": ["C"]}, "order should be C or F"),
    ({"dimension_separator": "-"}, "dimension_separator"),
    ({"dimension_separator": None}, "dimension_separator"),
    ({"filters": {"id": "zlib"}}, "filters should be a list"),
    ({"filters": ["zlib"]}, "an object with an id"),
    ({"compressor": {"level": 1}}, "an object with an id"),
    ({"compressor": {"id": ["zlib"]}}, "an object with an id"),
    ({"compressor": "zlib"}, "an object with an id"),
    ({"fill_value": 1.5}, "fill_value should be a whole number"),
    ({"fill_value": [1]}, "fill_value should be a whole number"),
]


@pytest.mark.parametrize(("members", "text"), BROKEN_V2)
def test_version_2_that_contradicts_itself(members: dict[str, Any], text: str) -> None:
    with pytest.raises(UndecodableData) as caught:
        open_array({"a/.zarray": document_v2(**members)}, "a")
    assert text in caught.value.message
    assert "'a'" in caught.value.message


@pytest.mark.parametrize("value", [["x"], ["x", None], "xy", [1, 2]])
def test_names_of_dimensions_of_version_2_that_do_not_fit(value: Any) -> None:
    objects = {"a/.zarray": document_v2(), "a/.zattrs": dump({"_ARRAY_DIMENSIONS": value})}
    with pytest.raises(UndecodableData, match="_ARRAY_DIMENSIONS"):
        open_array(objects, "a")


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"7", b"\xff", b'{"a": 1, "a": 2}', b'{"a": 1e999}', b'{"a": "\\ud800"}']
)
@pytest.mark.parametrize("key", ["a/zarr.json", "a/.zarray", "a/.zattrs", "zarr.json", ".zmetadata", "a/.zgroup"])
def test_documents_that_are_not_json(key: str, text: bytes) -> None:
    objects = {"a/.zarray": document_v2()} if key == "a/.zattrs" else {}
    with pytest.raises(UndecodableData, match=key) as caught:
        open_array({**objects, key: text}, "a")
    assert isinstance(caught.value, ActiveStorageError)

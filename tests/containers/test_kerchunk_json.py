"""Kerchunk references in JSON: the whole arrays are those that zarr-python wrote, and what is not right is refused."""

import json
import random
from typing import Any

import fsspec
import numpy as np
import pytest

from active_storage.errors import (
    ActiveStorageError,
    EntityTooLarge,
    OriginNotAllowed,
    StoreError,
    UndecodableData,
    UnsupportedArray,
)
from handler.containers.kerchunk import open_kerchunk
from handler.containers.reader import ContainerReader, ReadLimits
from handler.containers.stored_array import ABSENT, WHOLE_OBJECT, StoredArray
from handler.scope import Scope
from tests.containers.exam import read_whole
from tests.containers.memory import MemoryContainer
from tests.containers.reference_stores import inline, pack, write_store

DATA = np.arange(7 * 5, dtype="<f4").reshape(7, 5)
URLS = ("s3://bucket/first.nc", "https://data.test/second.nc")

REFERENCES, OBJECTS = pack(write_store(DATA, "group/tas", (3, 2)), *URLS)


def open_text(
    text: str | bytes,
    objects: dict[str, bytes] | None = None,
    array: str = "group/tas",
    limits: ReadLimits | None = None,
) -> StoredArray:
    text = text.encode() if isinstance(text, str) else text
    container = MemoryContainer({"": text, **(OBJECTS if objects is None else objects)})
    return open_kerchunk(container.reader(limits), array)


def open_references(refs: dict[str, Any], objects: dict[str, bytes] | None = None, **limits: int) -> StoredArray:
    return open_text(json.dumps({"version": 1, "refs": refs}), objects, limits=ReadLimits(**limits))


def with_reference(key: str, reference: Any) -> dict[str, Any]:
    return {**REFERENCES, f"group/tas/{key}": reference}


# What is right


def test_version_1_gives_what_zarr_wrote() -> None:
    array = open_references(REFERENCES)
    np.testing.assert_array_equal(read_whole(array), DATA)
    assert [each.name for each in array.metadata] == [""]
    assert array.metadata[0].facts is not None


@pytest.mark.parametrize(
    "write",
    [
        json.dumps,
        # ujson, which kerchunk's own examples use, escapes every slash.
        lambda document: json.dumps(document).replace("/", "\\/"),
        lambda document: json.dumps(document, indent=2, separators=(" ,\r\n", "\t: ")) + "\n ",
        lambda document: json.dumps(document).replace("tas", "t\\u0061s").replace("s3:", "s\\u0033:"),
        lambda document: json.dumps(dict(reversed(document.items()))),
    ],
)
@pytest.mark.parametrize("version", [0, 1])
def test_every_way_to_write_json_is_read(write: Any, version: int) -> None:
    document = REFERENCES if version == 0 else {"version": 1, "templates": {"a": "b"}, "gen": [], "refs": REFERENCES}
    np.testing.assert_array_equal(read_whole(open_text(write(document))), DATA)


@pytest.mark.parametrize("version", [0, 1])
def test_documents_can_be_objects_of_json(version: int) -> None:
    references = {key: json.loads(value) if isinstance(value, str) else value for key, value in REFERENCES.items()}
    document = references if version == 0 else {"refs": references, "version": 1}
    np.testing.assert_array_equal(read_whole(open_text(json.dumps(document))), DATA)


def test_nan_is_read_in_documents_that_are_texts() -> None:
    attributes = '{"valid_max": NaN}'
    array = open_references({**REFERENCES, "group/tas/.zattrs": attributes})
    assert np.isnan(array.attributes["valid_max"])
    text = json.dumps({**REFERENCES, "group/tas/.zattrs": "?"})
    with pytest.raises(UndecodableData, match="'group/tas': the JSON text cannot be read"):
        open_text(text.replace('"?"', attributes))


def test_documents_can_be_references() -> None:
    zarray = REFERENCES["group/tas/.zarray"].encode()
    objects = {**OBJECTS, "s3://bucket/zarray": b"??" + zarray, "s3://bucket/zattrs": b'{"units": "K"}'}
    references = {
        **REFERENCES,
        "group/tas/.zarray": ["s3://bucket/zarray", 2, len(zarray)],
        "group/tas/.zattrs": ["s3://bucket/zattrs"],
    }
    array = open_references(references, objects)
    np.testing.assert_array_equal(read_whole(array), DATA)
    assert array.attributes == {"units": "K"}
    assert [each.name for each in array.metadata] == ["", "s3://bucket/zarray", "s3://bucket/zattrs"]


def test_documents_can_be_base64() -> None:
    references = {**REFERENCES, "group/tas/.zarray": inline(REFERENCES["group/tas/.zarray"].encode())}
    np.testing.assert_array_equal(read_whole(open_references(references)), DATA)


def test_consolidated_metadata_serves_where_there_is_no_other() -> None:
    references = dict(REFERENCES)
    zarray = json.loads(references.pop("group/tas/.zarray"))
    zattrs = json.loads(references.pop("group/tas/.zattrs"))
    documents = {"group/tas/.zarray": zarray, "group/tas/.zattrs": zattrs}
    references[".zmetadata"] = json.dumps({"zarr_consolidated_format": 1, "metadata": documents})
    np.testing.assert_array_equal(read_whole(open_references(references)), DATA)


@pytest.mark.parametrize("separator", [".", "/"])
def test_either_separator_of_version_2_is_read(separator: str) -> None:
    encoding = {"name": "v2", "separator": separator}
    references, objects = pack(write_store(DATA, "group/tas", (3, 2), chunk_key_encoding=encoding), *URLS)
    np.testing.assert_array_equal(read_whole(open_references(references, objects)), DATA)


@pytest.mark.parametrize("encoding", [{"name": "default", "separator": "/"}, {"name": "v2", "separator": "."}])
def test_zarr_version_3_is_read(encoding: Any) -> None:
    store = write_store(DATA, "group/tas", (3, 2), zarr_format=3, chunk_key_encoding=encoding, dimension_names="yx")
    references, objects = pack(store, *URLS)
    array = open_references(references, objects)
    np.testing.assert_array_equal(read_whole(array), DATA)
    assert array.dimensions == ("y", "x")


def test_a_scalar_is_read() -> None:
    for version in (2, 3):
        references, objects = pack(write_store(np.array(2.5), "group/tas", (), zarr_format=version), *URLS)
        assert read_whole(open_references(references, objects)) == 2.5


def test_an_array_at_the_root_is_read() -> None:
    references = {key.removeprefix("group/tas/"): value for key, value in REFERENCES.items() if "tas/" in key}
    array = open_text(json.dumps(references), array="")
    np.testing.assert_array_equal(read_whole(array), DATA)


def test_inline_chunks_are_read_as_bytes_or_base64() -> None:
    data = np.array([[48, 49], [50, 51]], "u1")
    references, _ = pack(write_store(data, "group/tas", (1, 2), compressors=None), *URLS)
    references |= {"group/tas/0.0": "01", "group/tas/1.0": inline(b"\x32\x33")}
    array = open_references(references)
    np.testing.assert_array_equal(read_whole(array), data)
    places = array.index.locate(np.arange(2))
    assert places.inline == {0: b"01", 1: b"23"}
    assert places.sizes.tolist() == [2, 2]
    assert list(places.objects) == []


def test_chunks_without_a_reference_are_absent() -> None:
    references = {key: value for key, value in REFERENCES.items() if key not in ("group/tas/0.1", "group/tas/2.2")}
    array = open_references(references)
    expected = DATA.copy()
    expected[0:3, 2:4] = expected[6:, 4:] = 0
    np.testing.assert_array_equal(read_whole(array), expected)
    assert array.index.locate(np.array([0, 1, 8])).sizes.tolist()[1:] == [ABSENT, ABSENT]


def test_an_array_without_references_is_all_absent() -> None:
    references = {key: value for key, value in REFERENCES.items() if isinstance(value, str)}
    assert not read_whole(open_references(references)).any()


def test_a_url_alone_is_a_whole_object() -> None:
    chunk = OBJECTS[URLS[0]][7 : 7 + REFERENCES["group/tas/0.0"][2]]
    key = next(key for key, value in REFERENCES.items() if value[:2] == [URLS[0], 7])
    references = {**REFERENCES, key: ["s3://bucket/whole"]}
    array = open_references(references, {**OBJECTS, "s3://bucket/whole": OBJECTS[URLS[0]][7:][: REFERENCES[key][2]]})
    assert chunk
    np.testing.assert_array_equal(read_whole(array), DATA)
    assert WHOLE_OBJECT in array.index.locate(np.arange(9)).sizes


def test_templates_are_filled_in() -> None:
    text = json.dumps({"version": 1, "templates": {"b": "s3://bucket", "n c": "first"}, "refs": REFERENCES})
    text = text.replace("s3://bucket/first", "{{b}}/{{n c}}").replace('"b": "{{b}}"', '"b": "s3://bucket"')
    assert "{{b}}/{{n c}}.nc" in text
    np.testing.assert_array_equal(read_whole(open_text(text)), DATA)


def test_one_url_is_one_object_for_all_chunks_and_arrays() -> None:
    references = {**REFERENCES, **{key.replace("tas", "pr"): value for key, value in REFERENCES.items()}}
    container = MemoryContainer({"": json.dumps(references).encode(), **OBJECTS})
    reader = container.reader()
    arrays = [open_kerchunk(reader, name) for name in ("group/tas", "group/pr")]
    located = [array.index.locate(np.arange(9)).objects for array in arrays for _ in range(2)]
    assert len({frozenset(objects) for objects in located}) == 1
    assert len(located[0]) == 2
    assert all(each.facts is None for each in located[0])
    # The references were read once.
    assert [key for key, _ in container.asked] == [""]


def test_only_the_objects_of_the_chunks_are_opened() -> None:
    array = open_references(REFERENCES)
    chunk = next(key for key, value in REFERENCES.items() if value[0] == URLS[1])
    row, column = map(int, chunk.rpartition("/")[2].split("."))
    places = array.index.locate(np.array([3 * row + column]))
    assert [each.name for each in places.objects] == [URLS[1]]


def test_keys_that_are_not_chunks_of_the_array_are_ignored() -> None:
    others = (
        "00.0",
        "0.0.0",
        "0",
        "3.0",
        "0.3",
        "0.-1",
        "0.+1",
        "a.b",
        "0.1 ",
        "\u0660.0",
        "99999999999999999999.0",
        "x/0.0",
    )
    references = {**REFERENCES, **{f"group/tas/{key}": ["s3://bucket/nowhere", 1, 1] for key in others}}
    np.testing.assert_array_equal(read_whole(open_references(references)), DATA)


def test_objects_that_are_named_with_a_query_show_none() -> None:
    array = open_references(with_reference("0.0", ["https://data.test/x?token=secret", 0, 1]))
    with pytest.raises(OriginNotAllowed) as caught:
        array.index.locate(np.arange(9))
    # The message is the container's.
    assert "secret" not in repr(array)
    assert caught.value.status == 403


# What is not supported


@pytest.mark.parametrize(
    ("reference", "named"),
    [
        (["gs://bucket/key", 0, 1], "gs://"),
        (["file:///etc/passwd", 0, 1], "file://"),
        (["zip://file.nc::s3://bucket/archive.zip", 0, 1], "zip://"),
        (["memory://x"], "memory://"),
        (["bucket/key", 0, 1], "relative URLs"),
        (["../key.nc?secret", 0, 1], "relative URLs such as '../key.nc'"),
        (["//host/key", 0, 1], "relative URLs"),
        (["", 0, 1], "relative URLs"),
        (["{{unknown}}/key", 0, 1], "Jinja expression 'unknown'"),
        (["{{ b }}/key", 0, 1], "Jinja expression ' b '"),
        (["{{f(c='x')}}", 0, 1], "Jinja expression"),
        (["{{function}}", 0, 1], "Jinja expression 'function'"),
        (["{{b.__class__}}", 0, 1], "Jinja expression"),
        (["{{f('{b}')}}", 0, 1], "Jinja expression"),
        (["{{b", 0, 1], "Jinja expression"),
    ],
)
def test_urls_that_are_not_supported_are_refused_by_name(reference: list[Any], named: str) -> None:
    templates = {"b": "s3://bucket", "function": "s3://{{c}}/x"}
    array = open_text(
        json.dumps({"version": 1, "templates": templates, "refs": with_reference("0.0", reference)}),
    )
    with pytest.raises(UnsupportedArray, match=r"'group/tas' has .*not supported") as caught:
        array.index.locate(np.array([0]))
    assert named in caught.value.message
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ({"version": 2, "refs": {}}, "a version other than 0 and 1"),
        ({"version": "1", "refs": {}}, "a version other than 0 and 1"),
        ({"version": 1, "gen": [{"key": "x"}], "refs": {}}, "gen"),
        ({"version": 1, "gen": {"key": "x"}, "refs": {}}, "gen"),
        ({"version": 1, "gen": ["x"], "refs": {}}, "gen"),
    ],
)
def test_documents_that_are_not_supported_are_refused_by_name(document: dict[str, Any], named: str) -> None:
    with pytest.raises(UnsupportedArray) as caught:
        open_text(json.dumps(document))
    assert named in caught.value.message


def test_shards_are_refused_by_name() -> None:
    store = write_store(DATA, "group/tas", (3, 1), shards=(6, 2), zarr_format=3)
    with pytest.raises(UnsupportedArray, match="references to shards"):
        open_references(*pack(store, *URLS))


def test_an_array_that_is_not_there_is_an_error() -> None:
    for text in (json.dumps(REFERENCES), "{}", '{"version": 1, "refs": {}}'):
        with pytest.raises(StoreError, match="there is no Zarr array 'group/ta'") as caught:
            open_text(text, array="group/ta")
        assert (caught.value.status, caught.value.code) == (404, "NoSuchKey")


# What is wrong


@pytest.mark.parametrize(
    "reference",
    [
        None, True, 1, {}, {"a": 1}, [], [1], [None, 0, 1], ["s3://b/k", 0], ["s3://b/k", 0, 1, 2], [["s3://b/k"]],
        ["s3://b/k", -1, 5], ["s3://b/k", 0.0, 5], ["s3://b/k", 0, -5], ["s3://b/k", "0", "1"], ["s3://b/k", 0, 0],
        ["s3://b/k", 2**63 - 1, 1], ["s3://b/k", 2**62, 2**62], ["s3://b/k", 2**63, 1], ["s3://b/k", 10**30, 1],
        ["s3://b/k", 0, 10**18 * 9 + 10**18], ["s3://b/k", None, None],
    ],
)  # fmt: skip
def test_a_reference_that_is_malformed_is_an_error(reference: Any) -> None:
    with pytest.raises(UndecodableData, match="'group/tas'"):
        open_references(with_reference("0.0", reference))


@pytest.mark.parametrize("text", ["base64:?", "base64:YQ=", "base64:é"])
def test_an_inline_chunk_that_is_not_base64_is_an_error(text: str) -> None:
    array = open_references(with_reference("0.0", text))
    with pytest.raises(UndecodableData, match=r"'group/tas': .* base64"):
        array.index.locate(np.array([0]))


@pytest.mark.parametrize(
    "document",
    [
        "", " ", "[]", "1", '"', "{", '{"a"', '{"a":', '{"a":1', '{"a":1,', '{"a":1,}', "{,}", "{}{}", "{} x",
        "{1:2}", '{"a" "b"}', '{"a": "b" "c": "d"}', '{"a": ,}', '{"a": ]}', '{"a": ["b", 1, 2}', '{"a": [}', '{"a": }',
        '{"refs": {}}', '{"version": 1}',
        '{"version": 1, "refs": []}', '{"version": 1, "refs": "x"}', '{"version": 1, "refs": {"a": }}',
        '{"version": 1, "version": 1, "refs": {}}', '{"version": 1, "refs": {}, "refs": {}}', '{"a": "\x01"}',
        '{"version": 1, "templates": [], "refs": {}}', '{"version": 1, "templates": {"a": 1, "a": 2}, "refs": {}}',
        '{"version": 1, "refs": {"group/tas/.zarray": "{}"}}', '{"version": 1, "refs": {"group/tas/.zarray": "["}}',
        '{"version": 1, "refs": {"group/tas/.zarray": {"a": [}}}', '{"version": 1, "refs": {"group/tas/.zarray": []}}',
        '{"version": 1, "refs": {"group/tas/.zarray": 1}}', '{"version": 1, "refs": {"group/tas/.zarray": "base64:?"}}',
        '{"version": 1, "refs": {"group/tas/.zarray": {}, "group/tas/.zarray": {}}}',
        '{"version": 1, "refs": {"\\ud800": ""}}', '{"version": 1, "refs": {"\\x": ""}}',
        '{"version": 1, "refs": {".zmetadata": {}}}', '{"version": 1, "refs": {".zmetadata": {"metadata": 1}}}',
        '{"version": 1, "refs": {".zmetadata": {"metadata": {"group/tas/.zarray": 1}}}}',
        '{"version": 1, "refs": {"group/tas/.zarray": ["s3://bucket/first.nc", 9223372036854775807, 1]}}',
    ],
)  # fmt: skip
def test_a_document_that_is_malformed_is_an_error(document: str) -> None:
    with pytest.raises(UndecodableData):
        open_text(document)


def test_bytes_that_are_not_utf_8_are_an_error() -> None:
    for text in (b'{"\xff\\/": "x"}', json.dumps(with_reference("0.0", "?")).encode().replace(b'"?"', b'"\xff"')):
        with pytest.raises(UndecodableData, match="'group/tas'"):
            open_text(text)


@pytest.mark.parametrize("surrogate", ["\\ud800", "\\udc00", "\\ud800x", "\\ud800\\ud800"])
@pytest.mark.parametrize("text", ['"%s"', '["s3://bucket/%s"]', '["s3://bucket/%s", 7, 8]', '[], "%s": []'])
def test_unpaired_surrogates_are_an_error(text: str, surrogate: str) -> None:
    with pytest.raises(UndecodableData, match="'group/tas'"):
        open_text(json.dumps(with_reference("0.0", "?")).replace('"?"', text % surrogate))


def test_a_chunk_with_two_references_is_an_error() -> None:
    text = json.dumps(REFERENCES)
    for key in ("group/tas/0.0", "group\\/tas/0\\u002e0"):
        with pytest.raises(UndecodableData, match=r"'group/tas': .* a key twice"):
            open_text(f'{text[:-1]}, "{key}": ["s3://bucket/first.nc", 7, 8]}}')


def test_a_url_that_templates_make_endless_is_an_error() -> None:
    document = {
        "version": 1,
        "templates": {"b": "s3://" + "b" * 4000},
        "refs": with_reference("0.0", ["{{b}}" * 1000, 0, 1]) | {"group/tas/0.1": ["{{" * 1_000_000]},
    }
    for chunk in range(2):
        with pytest.raises(UndecodableData, match="more than 8192 characters"):
            open_text(json.dumps(document)).index.locate(np.array([chunk]))


def test_an_origin_that_is_not_allowed_is_an_error() -> None:
    with pytest.raises(OriginNotAllowed):
        open_references(with_reference("0.0", ["http://169.254.169.254/", 0, 1])).index.locate(np.array([0]))
    with pytest.raises(OriginNotAllowed):
        open_references({**REFERENCES, "group/tas/.zarray": ["http://169.254.169.254/", 0, 1]})


def test_a_whole_object_that_is_not_there_is_an_error() -> None:
    array = open_references(with_reference("0.0", ["s3://bucket/gone"]), {**OBJECTS})
    with pytest.raises(OriginNotAllowed):
        read_whole(array)

    class Lost(MemoryContainer):
        def open_url(self, url: str) -> Any:
            return self.open_key(url)

    container = Lost({"": json.dumps(with_reference("0.0", ["s3://bucket/gone"])).encode(), **OBJECTS})
    with pytest.raises(StoreError, match="does not exist"):
        read_whole(open_kerchunk(container.reader(), "group/tas"))


# Limits


def test_more_references_than_the_limit_are_refused() -> None:
    limit = len(REFERENCES)
    open_references(REFERENCES, references=limit)
    with pytest.raises(EntityTooLarge, match=f"more than {limit - 1} references"):
        open_references(REFERENCES, references=limit - 1)


def test_more_bytes_than_the_limit_are_refused() -> None:
    with pytest.raises(EntityTooLarge):
        open_references(REFERENCES, bytes=100)


@pytest.mark.parametrize(
    "document", ['{"x": %s}', '{"version": 1, "refs": {"group/tas/.zarray": %s}}', '{"version": 1, "gen": %s}']
)
@pytest.mark.parametrize("value", ["[" * 500_000, '{"a":' * 200_000, "[" * 600_000 + "]" * 600_000])
def test_deep_values_are_refused(value: str, document: str) -> None:
    with pytest.raises(UndecodableData, match="'group/tas'"):
        open_text(document % value)


@pytest.mark.parametrize("value", ["[" + "[]," * 600_000 + "[]]", "[" + "1," * 600_000 + "1]", "9" * 600_000])
def test_endless_values_become_no_objects(value: str) -> None:
    def write(key: str) -> str:
        return json.dumps({**REFERENCES, key: "?"}).replace('"?"', value)

    for key in ("group/tas/.zarray", "group/tas/0.0"):
        with pytest.raises(UndecodableData, match=f"'group/tas': '{key}' is not a valid reference"):
            open_text(write(key))
    np.testing.assert_array_equal(read_whole(open_text(write("x"))), DATA)


def test_all_members_are_counted() -> None:
    with pytest.raises(EntityTooLarge):
        open_text("{" + ",".join(f'"{number}":0' for number in range(100)) + "}", limits=ReadLimits(references=50))


def test_reading_ends_at_the_deadline() -> None:
    text = json.dumps(REFERENCES).encode()
    now = [0.0]

    class Late(MemoryContainer):
        def open_key(self, key: str) -> Any:
            now[0] = 2.0
            return super().open_key(key)

    reader = ContainerReader(Late({"": text}), ReadLimits(), Scope.after(0))
    with pytest.raises(ActiveStorageError) as caught:
        open_kerchunk(reader, "group/tas")
    assert caught.value.status == 504


def test_a_grid_that_lies_takes_no_memory() -> None:
    zarray = json.loads(REFERENCES["group/tas/.zarray"])
    zarray |= {"shape": [2**20, 2**39], "chunks": [1, 1]}
    array = open_references({**REFERENCES, "group/tas/.zarray": json.dumps(zarray)})
    assert array.index.locate(np.array([5, 2**58])).sizes.tolist() == [ABSENT, ABSENT]


# Any bytes


def test_every_byte_that_is_changed_gives_an_error_or_what_fsspec_reads() -> None:
    text = json.dumps({"version": 1, "refs": REFERENCES}).encode()
    for number in range(len(text)):
        for value in (0, 0x22, 0x5C, 0x7B, text[number] ^ 1, text[number] ^ 0x80):
            damaged = text[:number] + bytes([value]) + text[number + 1 :]
            try:
                array = open_text(damaged)
                places = array.index.locate(np.arange(9))
            except (UndecodableData, UnsupportedArray, OriginNotAllowed, StoreError):
                continue
            document = json.loads(damaged.decode(errors="replace"))
            expected = fsspec.filesystem("reference", fo=document, skip_instance_cache=True).references
            separator = json.loads(expected["group/tas/.zarray"]).get("dimension_separator", ".")
            for row in range(9) if array.grid == (3, 3) else ():
                reference = expected.get(f"group/tas/{row // 3}{separator}{row % 3}")
                if reference is None:
                    assert places.sizes[row] == ABSENT
                elif isinstance(reference, list):
                    place = places.objects[places.object_numbers[row]].name, places.offsets[row], places.sizes[row]
                    assert list(place) == reference
                else:
                    assert places.inline[row] == reference.encode()


def test_random_bytes_and_cuts_are_errors() -> None:
    source = random.Random(7)
    text = json.dumps(REFERENCES).encode()
    for number in range(300):
        data = source.randbytes(number) if number % 2 else text[: source.randrange(len(text))]
        with pytest.raises(UndecodableData):
            open_text(data)

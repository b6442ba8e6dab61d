"""The JSON doors, with a store in memory: the bytes of replies, and the errors of invalid requests."""

import base64
import io
import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cbor2
import flask
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from active_storage import errors
from active_storage.model.reducers import REDUCERS
from handler.app import create_app
from handler.doors.json_body import MAX_BODY_BYTES, read_object
from handler.doors.json_errors import find_status
from handler.stores.fake import FakeStore
from handler.stores.source import Stream
from handler.stores.store_request import StoreRequest
from tests.helpers import ask, make_settings

DATA = Path(__file__).parents[1] / "data"

# In addition to the objects of conftest.py: 1 to 10 as big-endian int32, after eight other bytes.
BIG = bytes(8) + np.arange(1, 11, dtype=">i4").tobytes()

WHERE: Mapping[str, Mapping[str, str]] = {
    "v1": {"source": "http://store.test:9000", "bucket": "bucket", "object": "key"},
    "v2": {"interface_type": "s3", "url": "http://store.test:9000/bucket/key"},
}
VERSIONS = ("v1", "v2")


@pytest.fixture
def store(store: FakeStore) -> FakeStore:
    objects = {"big": BIG, "f": np.arange(6, dtype="<i8").tobytes(), "wide": np.arange(600, dtype="<f4").tobytes()}
    more = FakeStore({f"/bucket/{key}": data for key, data in objects.items()})
    store.sources.update(more.sources)
    return store


def post(app: flask.Flask, path: str, document: Any, authorization: str | None = None) -> TestResponse:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return post_stream(app, path, io.BytesIO(body), len(body), authorization)


def post_stream(
    app: flask.Flask, path: str, stream: io.BytesIO, length: int, authorization: str | None = None
) -> TestResponse:
    headers = {"Content-Type": "application/json", **({"Authorization": authorization} if authorization else {})}
    environ: dict[str, Any] = {"wsgi.input": stream, "CONTENT_LENGTH": str(length)}
    return ask(app, path, "POST", headers, **environ)


def request(version: str, **members: Any) -> dict[str, Any]:
    return {**WHERE[version], "dtype": "float32", **members}


def basic(user: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()


def read_error(response: TestResponse) -> tuple[str, list[str]]:
    """Check that a reply is an error, and return its message and its causes."""
    assert response.headers["Content-Type"] == "application/json"
    assert isinstance(response.json, dict)
    assert list(response.json) == ["error"]
    error = response.json["error"]
    assert error.keys() <= {"message", "caused_by", "code"}
    assert error["code"].replace(".", "").isalnum()
    causes = error.get("caused_by", [])
    assert all(isinstance(cause, str) for cause in causes)
    return error["message"], causes


def values(response: TestResponse) -> tuple[Any, Any]:
    """The numbers and the counts of a reply of version 2, as PyActiveStorage reads it."""
    assert response.status_code == 200, response.text
    reply = cbor2.loads(response.data)
    return np.frombuffer(reply["bytes"], reply["dtype"]).reshape(reply["shape"]).tolist(), reply["count"]


# Replies


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "json_v2_sum.cbor"),
        ({"option_shape_as_bytes": False, "option_count_as_bytes": None}, "json_v2_sum.cbor"),
        ({"option_shape_as_bytes": True, "option_count_as_bytes": True}, "json_v2_sum_as_bytes.cbor"),
    ],
)
def test_a_reply_of_version_2_to_the_byte(app: flask.Flask, options: dict[str, Any], name: str) -> None:
    response = post(app, "/v2/sum/", request("v2", shape=[2, 5], axis=1, **options))
    assert response.data == (DATA / name).read_bytes()
    assert response.headers["Content-Type"] == "application/cbor"
    assert response.headers["Content-Length"] == str(len(response.data))


def test_each_option_changes_its_own_field_only(app: flask.Flask) -> None:
    shape = {"shape": [2, 5], "axis": [1]}
    reply = cbor2.loads(post(app, "/v2/max/", request("v2", option_shape_as_bytes=True, **shape)).data)
    assert (reply["shape"], reply["shape_as_bytes"]) == ([], struct.pack("<Q", 2))
    assert (reply["count"], reply["count_as_bytes"]) == ([5, 5], b"")


@pytest.mark.parametrize("missing", [{}, {"missing": {"missing_value": 300}}])
def test_many_counts_have_the_same_form_as_few(app: flask.Flask, missing: dict[str, Any]) -> None:
    wanted = request("v2", shape=[2, 300], axis=[0], **missing) | {"url": "http://store.test:9000/bucket/wide"}
    body = post(app, "/v2/count/", wanted).data
    reply = cbor2.loads(body)
    assert reply["count"] == np.frombuffer(reply["bytes"], np.int64).tolist() == [2 - len(missing), *[2] * 299]
    assert body == cbor2.dumps(reply)


def test_a_reply_of_version_1_to_the_byte(app: flask.Flask) -> None:
    wanted = request("v1", shape=[2, 5], selection=[[0, 2, 1], [0, 5, 2]])
    response = post(app, "/v1/select/", wanted)
    assert response.data == struct.pack("<6f", 1, 3, 5, 6, 8, 10)
    sent = {name.lower(): value for name, value in response.headers.items()}
    golden = dict(line.split(": ") for line in (DATA / "json_v1_select.headers").read_text().splitlines())
    assert golden == {name: value for name, value in sent.items() if name != "x-amz-request-id"}


@pytest.mark.parametrize("reducer", REDUCERS)
def test_both_versions_give_the_same_numbers(app: flask.Flask, reducer: str) -> None:
    one = post(app, f"/v1/{reducer}/", request("v1"))
    two = cbor2.loads(post(app, f"/v2/{reducer}/", request("v2")).data)
    assert one.data == two["bytes"]
    assert one.headers["x-activestorage-dtype"] == two["dtype"]
    assert json.loads(one.headers["x-activestorage-shape"]) == two["shape"]
    assert json.loads(one.headers["x-activestorage-count"]) == two["count"]


def test_offset_size_and_byte_order_locate_a_chunk(app: flask.Flask) -> None:
    wanted = {
        "url": "http://store.test:9000/bucket/big", "dtype": "int32", "byte_order": "big", "offset": 8, "size": 40,
        "shape": [5, 2], "selection": [[-1, None, -2], [0, 99, 1]], "order": "C", "axis": [0],
    }  # fmt: skip
    assert values(post(app, "/v2/sum/", request("v2", **wanted))) == ([15, 18], [3, 3])


def test_missing_elements_are_not_counted(app: flask.Flask) -> None:
    wanted = request("v2", shape=[2, 5], axis=[1], missing={"valid_range": [2, 7.5]})
    assert values(post(app, "/v2/min", wanted)) == ([2, 6], [4, 2])
    assert values(post(app, "/v2/count", request("v2", missing={"missing_values": [1, 2, 3]}))) == (7, [7])


def test_data_in_f_order_keeps_its_order_if_it_is_not_reduced(app: flask.Flask) -> None:
    wanted = request("v2", url="http://store.test:9000/bucket/f", dtype="int64", shape=[2, 3], order="F")
    for reply in (
        cbor2.loads(post(app, "/v2/select/", wanted).data),
        cbor2.loads(post(app, "/v2/sum/", {**wanted, "axis": []}).data),
    ):
        assert reply["shape"] == [2, 3]
        assert np.frombuffer(reply["bytes"], "<i8").tolist() == [0, 1, 2, 3, 4, 5]
    assert values(post(app, "/v2/sum/", {**wanted, "axis": 1})) == ([6, 9], [3, 3])


# No elements


@pytest.mark.parametrize(
    ("reducer", "dtype", "value"),
    [
        ("sum", "float32", 0),
        ("count", "float32", 0),
        ("max", "float32", float(np.finfo("f4").min)),
        ("min", "float32", float(np.finfo("f4").max)),
        ("max", "int32", -(2**31)),
        ("min", "uint32", 2**32 - 1),
    ],
)
@pytest.mark.parametrize(
    "nothing", [{"selection": [[3, 3, 1]]}, {"selection": [[9, 2, 1]]}, {"missing": {"valid_min": 2**31 - 1}}]
)
def test_a_result_of_no_elements_has_a_count_of_0(
    app: flask.Flask, reducer: str, dtype: str, value: float, nothing: dict[str, Any]
) -> None:
    assert values(post(app, f"/v2/{reducer}/", request("v2", dtype=dtype, shape=[10], **nothing))) == (value, [0])


@pytest.mark.parametrize(
    ("rule", "count"),
    [
        ({"missing_value": "nan"}, 3),
        ({"missing_value": "NaN"}, 3),
        ({"missing_values": ["nan", 2.0]}, 2),
        ({"missing_value": -3.4028235e38}, 4),
        ({"valid_min": -3.4028235e38}, 5),
    ],
)
def test_nan_is_a_string_and_limits_are_rounded_to_the_type(
    app: flask.Flask, store: FakeStore, rule: dict[str, Any], count: int
) -> None:
    data = np.array([1, np.nan, 2, np.finfo("f4").min, np.nan], "<f4")
    store.sources.update(FakeStore({"/bucket/nan": data.tobytes()}).sources)
    body = request("v2", url="http://store.test:9000/bucket/nan", byte_order="little", missing=rule)
    assert values(post(app, "/v2/count/", body))[0] == count


@pytest.mark.parametrize(
    "rule",
    [{"missing_value": "inf"}, {"missing_value": "1"}, {"valid_min": "nan"}, {"valid_range": ["nan", 1]},
     {"missing_value": 3.4028236e38}, {"missing_values": [1, "nam"]}, {"valid_max": -3.5e38}],
)  # fmt: skip
def test_other_strings_and_numbers_out_of_range_are_refused(app: flask.Flask, rule: dict[str, Any]) -> None:
    response = post(app, "/v2/count/", request("v2", missing=rule))
    assert response.status_code == 400
    assert next(iter(rule)) in read_error(response)[1][0]


def test_a_data_type_can_include_its_byte_order(app: flask.Flask) -> None:
    whole = {"url": "http://store.test:9000/bucket/big", "offset": 8, "size": 40}
    assert values(post(app, "/v2/sum/", request("v2", **{**whole, "dtype": ">i4"}))) == (55, [10])
    response = post(app, "/v2/sum/", request("v2", **{**whole, "dtype": ">i4", "byte_order": "little"}))
    assert response.status_code == 400
    assert read_error(response)[1] == ["byte_order: is 'little', but dtype is big-endian"]


def test_an_empty_selection_has_an_empty_result(app: flask.Flask) -> None:
    assert values(post(app, "/v2/select/", request("v2", shape=[10], selection=[[3, 3, 1]]))) == ([], [0])


@pytest.mark.parametrize("reducer", ["max", "min"])
def test_version_1_refuses_the_maximum_of_no_elements(app: flask.Flask, reducer: str) -> None:
    response = post(app, f"/v1/{reducer}/", request("v1", shape=[10], selection=[[3, 3, 1]]))
    assert response.status_code == 400
    assert read_error(response)[0]
    assert post(app, "/v1/sum/", request("v1", missing={"valid_min": 11})).data == bytes(4)


# The path


@pytest.mark.parametrize("path", ["/v2/sum/", "/v2/sum", "//v2/sum/", "///v2//sum//", "/v2/s%75m/", "/v2/sum/?x=1"])
def test_additional_slashes_are_ignored(app: flask.Flask, path: str) -> None:
    assert values(post(app, path, request("v2"))) == (55, [10])


@pytest.mark.parametrize("version", VERSIONS)
def test_an_unknown_operation_is_not_found(app: flask.Flask, version: str) -> None:
    for body in (b"", b"[", json.dumps(request(version)).encode()):
        response = post(app, f"/{version}/median/", body)
        assert response.status_code == 404
        assert read_error(response) == ("unsupported operation median", [])


@pytest.mark.parametrize("path", ["/v2", "/v2/", "//v2//", "/v1/", "/v2/sum/more", "/v2/sum/bucket/key"])
def test_a_path_without_exactly_one_operation_is_not_found(app: flask.Flask, path: str) -> None:
    response = post(app, path, request("v2"))
    assert response.status_code == 404
    assert read_error(response)[0].startswith("no such path")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/v1/sum/", "//v2/sum", "/v2/nothing"])
def test_other_methods_get_405_with_the_allowed_method(app: flask.Flask, method: str, path: str) -> None:
    response = ask(app, path, method)
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")
    assert response.headers["Content-Type"] == "application/json"


# Invalid members


def each(member: str, *values: Any, name: str = "") -> list[tuple[dict[str, Any], str]]:
    """For each value: a request with that member, and the name with which the cause begins."""
    return [({member: value}, name or member) for value in values]


def missing(member: str, *values: Any) -> list[tuple[dict[str, Any], str]]:
    """The same for a member of ``missing``."""
    return [({"missing": {member: value}}, f"missing.{member}") for value in values]


def filters(*sizes: Any) -> list[tuple[dict[str, Any], str]]:
    """The same for the element size of a filter."""
    return [({"filters": [{"id": "shuffle", "element_size": size}]}, "filters[0].element_size: ") for size in sizes]


def of_dtype(dtype: str, *values: Any) -> list[tuple[dict[str, Any], str]]:
    """The same for missing values that the data type cannot represent."""
    return [({"dtype": dtype, "missing": {"missing_value": value}}, "missing.missing_value: ") for value in values]


def of_shape(member: str, *values: Any) -> list[tuple[dict[str, Any], str]]:
    """The same for a member together with a shape of two dimensions."""
    return [({"shape": [2, 5], member: value}, member) for value in values]


FAULTS = [
    *each("dtype", None, 1, True, [], {}, "", "float31", "FLOAT32", "\ud800"),
    *each("byte_order", 1, True, "", "middle", "Big", ["big"]),
    *each("order", 1, "", "A", "c", []),
    *each("offset", -1, 1.0, True, "0", [0], 2**63, 10**4000),
    *each("size", -1, 0, 4.0, False, "4", {}, 2**63, 2**64),
    *each("shape", 10, "10", {}, [], [0], [-1], [1.0], ["10"], [True], [[10]], [None], [1] * 33, [1] * 1000),
    *each("shape", [2**32, 2**32], [2**63], [2**64], [2**61 + 1, 8], [10**4000], [10**4000] * 32),
    *each("shape", [9], [11], [2, 4], [1] * 32),
    *each("selection", [[0, 1, 1]], [], [[]], 1, "0:1:1"),
    *each("missing", 1, [-1], {}, {"missing_value": None}, {"missing_value": 1, "valid_min": 2}),
    *each("missing", {"maximum": 1}, name="missing.maximum"),
    *missing("missing_value", "1", True, [1], {}, 1e39, -1e300, 10**400, 2**1024 - 1),
    *missing("missing_values", 1, [], ["1"], [None], [1, True], [0] * 1025),
    *missing("valid_min", "", [0], False),
    *missing("valid_max", "", [0], False),
    *missing("valid_range", 1, [1], [1, 2, 3], [2, 1], [1, 1], [0, "1"], {"min": 0, "max": 1}),
    *each("compression", "gzip", ["gzip"], {}, {"id": None}, {"id": 1}, {"id": "rar"}),
    *each("compression", {"id": "gzip", "speed": 1}, name="compression.speed"),
    *each("compression", {"id": "bitshuffle"}, name="compression.element_size"),
    *each("compression", {"id": "szip"}, {"id": "szip", "cd_values": [1.0]}, name="compression.cd_values"),
    *each("filters", "shuffle", {}, ["shuffle"], [{}], [{"id": "rot13"}], [None], [{"id": "fletcher32"}] * 33),
    *each("filters", [{"id": "shuffle"}], name="filters[0].element_size"),
    *each("filters", [{"id": "shuffle", "element_size": 4, "more": 1}], name="filters[0].more"),
    *each("filters", [{"id": "delta"}, {"id": "delta", "astype": "i3"}], name="filters[1].astype"),
    *each("filters", [{"id": "delta", "astype": ["i2"]}], name="filters[0].astype"),
    *each("filters", [{"id": "fixedscaleoffset", "scale": 1}], name="filters[0].offset"),
    *each("filters", [{"id": "fixedscaleoffset", "scale": True, "offset": 1}], name="filters[0].scale"),
    *each("filters", [{"id": "crc32", "location": "middle"}], name="filters[0].location"),
    *each("filters", [{"id": "shuffle", "element_size": 4, "elementsize": 4}], name="filters[0].element_size"),
    *filters(None, 0, -4, 4.0, "4", True, 2**40),
    # A nested member is named by its path, with indices of lists.
    *each("shape", [2, 0, 5], name="shape[1]: "),
    *each("shape", [2, "5"], name="shape[1]: "),
    *each("missing", {"valid_range": [1, "2"]}, name="missing.valid_range[1]: "),
    *each("missing", {"valid_range": [0, 1e39]}, name="missing.valid_range[1]: "),
    *each("missing", {"valid_range": [2, 1]}, {"valid_range": [1]}, name="missing.valid_range: "),
    *each("missing", {"missing_values": [1, 2, 1e39]}, name="missing.missing_values[2]: "),
    *each("missing", {"missing_values": [1e39]}, name="missing.missing_values[0]: "),
    *each("missing", {"missing_values": []}, name="missing.missing_values: "),
    *each("missing", {"valid_min": 1e39}, name="missing.valid_min: "),
    *each("missing", {"valid_max": "1"}, name="missing.valid_max: "),
    *each("compression", {"id": "rar"}, {"id": 1}, {}, name="compression.id: "),
    *each("filters", [{"id": "fletcher32"}, {"id": "rot13"}], name="filters[1].id: "),
    *each("filters", [{"id": "shuffle", "element_size": 0}], name="filters[0].element_size: "),
    ({"shape": [2, 5], "selection": [[0, 1, 1], [0, 5, 0]]}, "selection[1][2]: "),
    ({"shape": [2, 5], "selection": [[0, 1, 1], [0, "5", 1]]}, "selection[1][1]: "),
    ({"dtype": "complex64", "missing": {"valid_range": [0, 1]}}, "missing.valid_range: "),
    # An unpaired surrogate in any place.
    *each("byte_order", "\ud800", name="byte_order: has an unpaired surrogate, which UTF-8 cannot encode"),
    *each("compression", {"id": "\udfff"}, name="compression.id: has an unpaired surrogate, which UTF-8 cannot encode"),
    *each(
        "filters", [{"id": "x\udc00\ud800"}], name="filters[0].id: has an unpaired surrogate, which UTF-8 cannot encode"
    ),
    *each("missing", {"\ud800": 1}, name="missing: has an unpaired surrogate, which UTF-8 cannot encode"),
    *each(
        "missing",
        {"valid_min": "\ud800"},
        name="missing.valid_min: has an unpaired surrogate, which UTF-8 cannot encode",
    ),
    *each("Dtype", "float32"),
    *each("ddof", 1),
    *each("range", None),
    *each("", 1, name="''"),
    *each("é", 1, name="'\\xe9'"),
    *each("\ud800", 1, name="body"),
    # Members that contradict each other, or the object, which has 40 bytes.
    ({"shape": [10], "size": 44}, "size"),
    ({"shape": [10], "size": 36}, "size"),
    ({"size": 3}, "size"),
    ({"size": 44}, "size"),
    ({"offset": 36, "size": 8}, "size"),
    ({"offset": 40}, "offset"),
    ({"offset": 41, "size": 4}, "offset"),
    ({"offset": 2**62, "size": 4}, "offset"),
    ({"offset": 2**63 - 4, "size": 4}, "size"),
    ({"offset": 38}, "size"),
    ({"shape": [9], "offset": 8}, "shape"),
    *of_shape(
        "selection", [[0, 1, 1]], [[0, 1, 1]] * 3, [[0, 1, 0]] * 2, [[0, 1, 1], [0, 1]], [[0, 1, 1], [0, 1, 1, 1]]
    ),
    *of_shape(
        "selection", [[0, 1.0, 1]] * 2, [["0", 1, 1]] * 2, [[True, 1, 1]] * 2, [[0, 2**63, 1]] * 2, [1, 1], [{}, None]
    ),
    *of_dtype("int32", 2**31, 1.0, -1e20),
    *of_dtype("uint32", -1, 2**32),
    *of_dtype("int64", 2**63),
    *of_dtype("uint64", 2**64, -1),
    *of_dtype("int8", 128),
    *of_dtype("float16", 65536),
    *of_dtype("bool", 2),
    *of_dtype("complex64", 1),
]

V1_FAULTS = [
    *each("source", None, "", 1, True, [], "\ud800"),
    *each("source", "store.test", "s3://store.test", "file:///", "http://", "http://store.test/path", "http://[::1"),
    *each(
        "source",
        *(f"http://store.test{odd}:9000" for odd in " \t\n\r\0\v\f\x1f\x7f\x85\xa0\u2028\u3000\u202e\U0001f600"),
    ),
    *each(
        "source",
        " http://store.test:9000",
        "http://store.test:9000 ",
        "http://store.test:9000\n",
        "ht\ttp://store.test",
    ),
    *each("source", "\x1fhttp://store.test:9000", "http://store.test:\uff19\uff10", "http://store.test:+90"),
    *each("source", "http://store.test:09000", "http://store.test:0", "http://store.test:", "http://store.test:9_0"),
    *each("source", "http://\u212aey.test", "http://\u0130.test", "http\u017f://store.test", "http://[::1]x"),
    *each("source", "http://[fe80::1%25eth0]", "http://[127.0.0.1]", "http://[:::]", "http://[::ffff:999.0.0.1]"),
    *each("source", "http://store.test?x=1", "http://user:canary@store.test", "http://store.test:99999"),
    *each("bucket", None, "", 1, True, [], "\ud800"),
    *each("object", None, "", 1, True, [], "\ud800"),
    *each("axis", 0, None),
    *each("url", "http://store.test/bucket/key"),
    *each("option_shape_as_bytes", True),
    *each("storage_type", "https"),
]

V2_FAULTS = [
    *each("axis", 0, [0], []),
    *of_shape("axis", 2, -1, True, "0", 0.0, {}, [2], [-1], [0, 0], [1, 0], [0, 1, 2]),
    *of_shape("axis", [0.0], ["0"], [None], [[0]], [10**400], [0] * 33),
    *each("option_disable_chunk_cache", 0, 1, "true", []),
    *each("option_shape_as_bytes", 0, 1, "true", []),
    *each("option_count_as_bytes", 0, 1, "true", []),
    *each("interface_type", None, "", 1, "S3", "file", "ftp", ["s3"]),
    *each("url", *(f"http://store.test{odd}:9000/bucket/key" for odd in " \t\n\0\x7f\x85\xa0\u2028\u202e\U0001f600")),
    *each("url", "http://\u212aey.test/bucket/key", "http://store.test:\uff19\uff10/bucket/key"),
    *each(
        "url", "http://store.test/bucket/%ED%A0%80", "http://store.test/bucket/%C0%AF", "http://store.test/bucket/%F8"
    ),
    *each("url", None, "", 1, [], "store.test/bucket/key", "//store.test/bucket/key", " http://store.test/bucket/key"),
    *each("url", "s3://bucket/key", "file:///etc/passwd", "ftp://store.test/bucket/key", "http:bucket/key"),
    *each("url", "http://", "http:///bucket/key", "http://store.test", "http://store.test/"),
    *each("url", "http://store.test/bucket", "http://store.test/bucket/", "http://store.test//key"),
    *each("url", "http://user:canary@store.test/bucket/key", "http://canary@store.test/bucket/key"),
    *each("url", "http://store.test\\@other.test/bucket/key", "http://store.test\\bucket/key"),
    *each(
        "url",
        "http://store.test:0x50/bucket/key",
        "http://store.test:99999/bucket/key",
        "http://store.test:/bucket/key",
    ),
    *each("url", "http://[::1/bucket/key", "http://st ore.test/bucket/key", "http://störe.test/bucket/key"),
    *each("url", "http://store.test/bucket/a\nb", "http://store.test/bucket/a\tb", "http://store.test/bucket/a\x00b"),
    *each(
        "url", "http://store.test/bucket/key#part", "http://store.test/bucket/%FF", "http://store.test/bucket/\ud800"
    ),
    *each("url", "http://store.test/bucket/key?acl", "http://store.test/bucket/key?versionId=1&acl"),
    *each("url", "http://store.test/bucket/" + "k" * 9000),
    *each("source", "http://store.test:9000"),
    *each("bucket", None),
]


def refuses(app: flask.Flask, version: str, document: Any, name: str) -> None:
    response = post(app, f"/{version}/sum/", document, basic("AKIDEXAMPLE", "canary"))
    assert response.status_code == 400, response.text
    message, causes = read_error(response)
    assert message == "request data is not valid"
    assert causes[0].startswith(name), causes
    assert "canary" not in response.text


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("members", "name"), FAULTS)
def test_an_invalid_member_is_named(app: flask.Flask, version: str, members: dict[str, Any], name: str) -> None:
    refuses(app, version, request(version, **members), name)


@pytest.mark.parametrize(("members", "name"), V2_FAULTS)
def test_an_invalid_member_of_version_2_is_named(
    app: flask.Flask, store: FakeStore, members: dict[str, Any], name: str
) -> None:
    refuses(app, "v2", request("v2", **members), name)
    assert store.requests == []


@pytest.mark.parametrize(("members", "name"), V1_FAULTS)
def test_an_invalid_member_of_version_1_is_named(
    app: flask.Flask, store: FakeStore, members: dict[str, Any], name: str
) -> None:
    refuses(app, "v1", request("v1", **members), name)
    assert store.requests == []


@pytest.mark.parametrize("version", VERSIONS)
def test_an_absent_required_member_is_named(app: flask.Flask, version: str) -> None:
    for name in (*WHERE[version], "dtype"):
        members = request(version)
        del members[name]
        refuses(app, version, members, name)


@pytest.mark.parametrize("version", VERSIONS)
def test_null_means_absent(app: flask.Flask, version: str) -> None:
    names = ["byte_order", "offset", "size", "shape", "order", "selection", "compression", "filters", "missing"]
    if version == "v2":
        names += ["axis", "option_disable_chunk_cache", "option_shape_as_bytes", "option_count_as_bytes"]
    bare = post(app, f"/{version}/sum/", request(version))
    assert bare.status_code == 200
    assert post(app, f"/{version}/sum/", request(version, **dict.fromkeys(names))).data == bare.data
    missing = {"missing_value": 1, "valid_min": None}
    assert post(app, f"/{version}/sum/", request(version, missing=missing)).status_code == 200
    selection = [[None, 5, None]]
    assert post(app, f"/{version}/sum/", request(version, shape=[10], selection=selection)).status_code == 200


# Invalid bodies


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"1",
        b'"text"',
        b"[]",
        b"{",
        b"{}{}",
        b"{'dtype': 1}",
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b'{"dtype": "\xff"}',
        b"[" * 100_000,
        b'{"missing":' * 80_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"missing":' * 40 + b"1" + b"}" * 40,
        b'{"shape": [%s1]}' % (b"1," * 20_000),
        b'{"shape": [%s[]]}' % (b"[]," * 20_000),
        b'{"missing": {"valid_min": NaN}}',
        b'{"missing": {"valid_min": -Infinity}}',
        b'{"offset": ' + b"9" * 5000 + b"}",
        b'{"offset": ' + b"9" * (MAX_BODY_BYTES - 20) + b"}",
        b"{%s}" % b",".join(b'"%d": 1' % number for number in range(257)),
        b" " * (MAX_BODY_BYTES + 1),
        b'{"dtype": "' + b"x" * MAX_BODY_BYTES + b'"}',
    ],
    ids=lambda body: repr(body[:24]),
)
@pytest.mark.parametrize("version", VERSIONS)
def test_an_invalid_body_is_refused(app: flask.Flask, version: str, body: bytes) -> None:
    refuses(app, version, body, "body")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_duplicate_member_is_refused(app: flask.Flask, version: str) -> None:
    """JSON parsers differ in which one they use."""
    text = json.dumps(request(version, missing={"valid_min": 1}))
    refuses(app, version, text.replace('"dtype"', '"dtype": "int32", "dtype"').encode(), "dtype: is given twice")
    refuses(
        app,
        version,
        text.replace('"valid_min"', '"valid_min": 0, "valid_min"').encode(),
        "missing.valid_min: is given twice",
    )


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("text", ["1e999", "-1e400", "1" + "0" * 400, f"{'9' * 400}.5"])
def test_a_number_beyond_float64_is_refused(app: flask.Flask, version: str, text: str) -> None:
    """Infinity would mark other elements as missing."""
    body = json.dumps(request(version, missing={"valid_range": [0, 1]})).replace("[0, 1]", f"[0, {text}]")
    refuses(app, version, body.encode(), "missing.valid_range[1]: should be a")


@pytest.mark.parametrize("rest", ["", ",", '"', "[" * 20_000, "1" * 5000, "[1e999"])
def test_a_number_beyond_float64_in_invalid_json_is_refused(rest: str) -> None:
    for text in (f'{{"a": 1e999 {rest}', f'{{"a": [1e999], "b": {rest}'):
        with pytest.raises(errors.InvalidArgument):
            read_object(text.encode())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("dtype", "value"),
    [("uint64", 2**64), ("uint64", -1), ("uint64", 10**30), ("int64", 2**63), ("int64", -(2**63) - 1), ("uint8", 256)],
)
def test_an_integer_beyond_its_type_is_out_of_range(app: flask.Flask, version: str, dtype: str, value: int) -> None:
    body = request(version, dtype=dtype, missing={"missing_value": value})
    refuses(app, version, body, f"missing.missing_value: {value} is out of range for {dtype}")


def test_a_fill_value_of_many_digits_is_a_float(app: flask.Flask) -> None:
    """Some clients write all digits of 1e20."""
    missing = {"missing_values": [10**20, -(10**30)]}
    assert values(post(app, "/v2/sum/", request("v2", missing=missing))) == (55, [10])
    refuses(app, "v2", request("v2", dtype="uint64", missing=missing), "missing.missing_values")


def test_a_body_with_a_too_large_content_length_is_not_read(app: flask.Flask) -> None:
    class Unread(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            raise AssertionError

    for length in (MAX_BODY_BYTES + 1, 100 << 20, 10**30):
        response = post_stream(app, "/v2/sum/", Unread(), length)
        assert (response.status_code, read_error(response)[1]) == (
            400,
            ["body: is longer than 1048576 bytes, the maximum"],
        )


def test_a_truncated_body_is_the_callers_error(app: flask.Flask) -> None:
    class Broken(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            raise ConnectionResetError("canary")

    response = post_stream(app, "/v2/sum/", Broken(), 5)
    assert (response.status_code, read_error(response)[1]) == (400, ["body: could not be read to its end"])


def test_a_body_of_the_maximum_length_is_accepted(app: flask.Flask) -> None:
    text = json.dumps(request("v2")).encode()
    assert post(app, "/v2/sum/", text + b" " * (MAX_BODY_BYTES - len(text))).status_code == 200


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["s3", "int32", "C", "http://a/b/c"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
NAMES = (
    "source", "bucket", "object", "interface_type", "url", "dtype", "byte_order", "offset", "size", "shape", "order",
    "selection", "axis", "compression", "filters", "missing", "option_shape_as_bytes",
)  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(version=st.sampled_from(VERSIONS), members=st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=4))
def test_no_value_of_a_member_causes_an_internal_error(version: str, members: dict[str, Any]) -> None:
    app = create_app(make_settings(), FakeStore({"/bucket/key": bytes(40)}))
    response = post(app, f"/{version}/sum/", request(version, **members))
    assert response.status_code in (200, 400), response.text
    if response.status_code == 400:
        read_error(response)


# The location of the object


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://store.test:9000/bucket/key", "/bucket/key"),
        ("HTTP://STORE.test:9000/bucket/key", "/bucket/key"),
        ("http://store.test:9000/bucket/a/b//c/", "/bucket/a/b//c/"),
        ("http://store.test:9000/bucket/with space", "/bucket/with%20space"),
        ("http://store.test:9000/bucket/with%20space", "/bucket/with%20space"),
        ("http://store.test:9000/bucket/été€", "/bucket/%C3%A9t%C3%A9%E2%82%AC"),
        ("http://store.test:9000/bucket/a%2Fb+c", "/bucket/a/b%2Bc"),
        ("http://store.test:9000/bucket/100%.nc", "/bucket/100%25.nc"),
        ("http://store.test:9000/bucket/a%0D%0AX: b", "/bucket/a%0D%0AX%3A%20b"),
        ("http://store.test:9000/bucket/~'()*!@$&:=;,", "/bucket/~%27%28%29%2A%21%40%24%26%3A%3D%3B%2C"),
        ("http://store.test:9000/bucket/a/../b", "/bucket/a/../b"),
        ("http://store.test:9000/bucket/key?versionId=a/b%3D", "/bucket/key?versionId=a%2Fb%3D"),
    ],
)
def test_keys_are_encoded_as_in_signatures(app: flask.Flask, store: FakeStore, url: str, target: str) -> None:
    post(app, "/v2/sum/", request("v2", url=url))
    assert store.requests[0].target == target
    assert str(store.requests[0].origin) == "http://store.test:9000"


@pytest.mark.parametrize("interface_type", ["http", "https"])
@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://store.test:9000/bucket/key", "/bucket/key"),
        ("http://store.test:9000", "/"),
        ("http://store.test:9000?a=b", "/?a=b"),
        ("http://store.test:9000/a%2Fb+c d?x=1&y=%20é", "/a%2Fb+c%20d?x=1&y=%20%C3%A9"),
        ("http://store.test:9000//a/b", "//a/b"),
    ],
)
def test_the_path_for_a_web_server_is_unchanged(
    app: flask.Flask, store: FakeStore, interface_type: str, url: str, target: str
) -> None:
    post(app, "/v2/sum/", request("v2", interface_type=interface_type, url=url))
    assert [sent.target for sent in store.requests] == [target]


@pytest.mark.parametrize(("bucket", "key", "target"), [
    ("bucket", "a b/ü", "/bucket/a%20b/%C3%BC"), ("bucket", "100%25", "/bucket/100%2525"),
    ("bucket/sub", "key?#", "/bucket/sub/key%3F%23"), ("b", "/", "/b//"),
])  # fmt: skip
def test_version_1_has_bucket_and_key_unencoded(
    app: flask.Flask, store: FakeStore, bucket: str, key: str, target: str
) -> None:
    post(app, "/v1/sum/", request("v1", source="http://store.test:9000/", bucket=bucket, object=key))
    assert [sent.target for sent in store.requests] == [target]


@pytest.mark.parametrize(
    ("version", "place"), [("v1", {"object": "/key"}), ("v2", {"url": "http://store.test:9000/bucket//key"})]
)
def test_a_key_with_a_leading_slash_is_tried_with_it_and_then_without(
    app: flask.Flask, store: FakeStore, version: str, place: dict[str, str]
) -> None:
    assert post(app, f"/{version}/sum/", request(version, **place), basic("AKIDEXAMPLE", "x")).status_code == 200
    assert [sent.target for sent in store.requests] == ["/bucket//key", "/bucket/key"]
    assert all("AKIDEXAMPLE" in sent.headers["authorization"] for sent in store.requests)


def test_an_origin_that_is_not_allowed_is_refused() -> None:
    """With a real transport. None of these names can be connected to."""
    app = create_app(make_settings(s3_endpoint="http://store.test:9000"))
    for version, where, field in (
        ("v2", {"url": "http://169.254.169.254/latest/meta-data"}, "url"),
        ("v2", {"url": "https://store.test:9000/bucket/key"}, "url"),
        ("v2", {"url": "http://other.test/file", "interface_type": "http"}, "url"),
        ("v1", {"source": "http://store.test:9001"}, "source"),
    ):
        response = post(app, f"/{version}/sum/", request(version, **where))
        message, causes = read_error(response)
        assert (response.status_code, message) == (400, "request data is not valid")
        assert causes[0].startswith(f"{field}: ")
        assert "is not one of the origins" in causes[-1]


# Credentials


@pytest.mark.parametrize("authorization", [None, "", basic("None", "None"), basic("", "")])
@pytest.mark.parametrize("interface_type", ["s3", "https"])
def test_a_request_without_credentials_is_anonymous(
    app: flask.Flask, store: FakeStore, authorization: str | None, interface_type: str
) -> None:
    assert post(app, "/v2/sum/", request("v2", interface_type=interface_type), authorization).status_code == 200
    assert "authorization" not in store.requests[0].headers


@pytest.mark.parametrize("prefix", ["Basic ", "basic ", "BASIC   "])
def test_a_request_to_an_s3_store_is_signed(app: flask.Flask, store: FakeStore, prefix: str) -> None:
    token = basic("AKIDEXAMPLE", "se:cret/").removeprefix("Basic ")
    for version in VERSIONS:
        assert post(app, f"/{version}/sum/", request(version), prefix + token).status_code == 200
    for sent in store.requests:
        assert sent.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
        assert "cret" not in str(sent.headers)


@pytest.mark.parametrize("pair", [b"user:pass:word", b"user:", b":password", b"us\xe9r:\xff"])
def test_a_web_server_gets_the_callers_basic_credentials(app: flask.Flask, store: FakeStore, pair: bytes) -> None:
    authorization = "Basic " + base64.b64encode(pair).decode()
    post(app, "/v2/sum/", request("v2", interface_type="https"), authorization)
    assert store.requests[0].headers["authorization"] == authorization


@pytest.mark.parametrize(
    "authorization",
    [
        "Basic",
        "Basic !",
        "Basic YWJj",
        "Basic YQ",
        "Bearer YTpi",
        "Negotiate",
        "YTpi",
        "Basic YTpi, Basic YTpi",
        "Basic YTpi YTpi",
        "Basic " + base64.b64encode(b"a\r\nX-Evil: 1:b").decode(),
        "Basic " + base64.b64encode(b"a,b:c").decode(),
        "Basic " + base64.b64encode("clé:c".encode()).decode(),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_malformed_credentials_are_refused(
    app: flask.Flask, store: FakeStore, version: str, authorization: str
) -> None:
    response = post(app, f"/{version}/sum/", request(version), authorization)
    assert response.status_code == 401
    assert read_error(response)[0].startswith("Authorization: ")
    assert response.headers["WWW-Authenticate"].startswith("Basic ")
    assert store.requests == []


def test_no_secret_is_in_a_reply(
    capfd: pytest.CaptureFixture[str], make_app: Callable[..., flask.Flask], store: FakeStore
) -> None:
    app = make_app(log_level="debug")
    for members in ({}, {"url": "http://store.test:9000/bucket/nokey"}, {"url": "http://a:canary@b/"}, {"shape": [3]}):
        response = post(app, "/v2/sum/", request("v2", **members), basic("AKIDEXAMPLE", "canary"))
        token = basic("AKIDEXAMPLE", "canary").removeprefix("Basic ")
        for shown in (str(response.data), str(response.headers), capfd.readouterr().err, repr(store.requests)):
            assert "canary" not in shown
            assert token not in shown


# Errors of the store

REFUSALS = [
    (errors.StoreError(404, "NoSuchKey", "gone"), 400, "NoSuchKey"),
    (errors.StoreError(404, "NoSuchBucket", "gone"), 400, "NoSuchBucket"),
    (errors.StoreError(404, "NoSuchVersion", "gone"), 400, "NoSuchVersion"),
    (errors.StoreError(403, "AccessDenied", "no."), 401, "Access Denied"),
    (errors.StoreError(403, "InvalidAccessKeyId", "who?"), 401, "InvalidAccessKeyId"),
    (errors.StoreError(403, "SignatureDoesNotMatch", "no"), 401, "SignatureDoesNotMatch"),
    (errors.StoreError(401, "Unauthorized", "no"), 401, "Access Denied"),
    (errors.StoreError(403, "AllAccessDisabled", "no"), 401, "AllAccessDisabled"),
    (errors.StoreError(403, "InvalidObjectState", "in a vault"), 400, "InvalidObjectState"),
    (errors.StoreError(403, "RequestTimeTooSkewed", "late"), 502, "RequestTimeTooSkewed"),
    (errors.StoreError(400, "InvalidRequest", "no"), 400, "InvalidRequest"),
    (errors.StoreError(405, "MethodNotAllowed", "deleted"), 400, "MethodNotAllowed"),
    (errors.StoreError(429, "TooManyRequests", "no"), 503, "TooManyRequests"),
    (errors.StoreError(500, "InternalError", "sorry"), 502, "InternalError"),
    (errors.StoreError(501, "NotImplemented", "sorry"), 502, "NotImplemented"),
    (errors.StoreError(503, "SlowDown", "wait"), 503, "SlowDown"),
    (errors.StoreError(504, "StoreError", "late"), 504, "StoreError"),
    (errors.StoreUnreachable("no connection"), 502, "no connection"),
    (errors.StoreCutOff("cut off"), 502, "cut off"),
    (errors.StoreProtocolError("redirects"), 502, "redirects"),
    (errors.StoreTimeout("late"), 504, "late"),
    (errors.ObjectChanged(), 503, "replaced"),
    (errors.NotModified(None), 502, ""),
    (errors.EncryptedObject("ciphertext"), 400, "ciphertext"),
    (errors.EncodedObject("encoded"), 400, "encoded"),
    (errors.InvalidRange("outside of 40 bytes", length=40), 400, "outside of 40 bytes"),
    (errors.StoreError(416, "InvalidRange", "outside"), 400, "offset: is beyond the end of the object"),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("error", "status", "part"), REFUSALS, ids=lambda value: getattr(value, "code", None))
def test_an_error_has_the_status_that_the_clients_expect(
    version: str, error: errors.ActiveStorageError, status: int, part: str
) -> None:
    class Refusing(FakeStore):
        def open(self, request: StoreRequest, *_: Any) -> Stream:
            raise error

    response = post(create_app(make_settings(), Refusing({})), f"/{version}/sum/", request(version))
    message, causes = read_error(response)
    assert response.status_code == status
    assert part in " ".join([message, *causes])
    assert ("Access Denied" in causes) == (status == 401)


def test_every_error_has_a_status_here() -> None:
    known = {400, 401, 404, 405, 409, 500, 502, 503, 504}
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.ActiveStorageError):
            error = kind.__new__(kind)
            error.status, error.code = getattr(kind, "status", 500), getattr(kind, "code", "InternalError")
            assert find_status(error) in known


def test_a_full_memory_gets_503_with_retry_after(make_app: Callable[..., flask.Flask]) -> None:
    app = make_app(memory_limit="64KiB", max_object_memory="64KiB")
    response = post(app, "/v2/sum/", request("v2"))
    assert response.status_code == 400
    assert "memory" in read_error(response)[0]


def test_an_unexpected_exception_is_an_error_in_json(app: flask.Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError("canary")

    monkeypatch.setattr("handler.doors.json_door.find_reducer", fail)
    response = post(app, "/v2/sum/", request("v2"))
    assert response.status_code == 500
    assert "canary" not in response.text
    assert read_error(response)[0]


def test_a_foreign_cause_is_not_shown(app: flask.Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise errors.StoreUnreachable("no connection") from OSError("canary")

    monkeypatch.setattr("handler.doors.json_door.find_reducer", fail)
    assert read_error(post(app, "/v2/sum/", request("v2"))) == ("no connection", [])

"""The direct proxy, with a store in memory: its replies, and its requests to the store."""

import dataclasses
import json
from collections.abc import Callable
from functools import partial

import botocore.session
import flask
import numpy as np
import pytest
from werkzeug.test import TestResponse

from active_storage import errors
from active_storage.model.dtypes import DTYPES
from active_storage.model.etag import ETag
from active_storage.model.ranges import ByteRange
from active_storage.model.reducers import REDUCERS
from active_storage.model.spec import ReductionSpec
from handler.app import create_app
from handler.doors.results import find_source_etag, make_result_etag
from handler.doors.s3_door import STORE_QUERY_NAMES
from handler.engine.engine import Engine
from handler.stores.fake import FakeSource, FakeStore
from handler.stores.source import Stream
from tests.conformance import SMALL, check, questions
from tests.conftest import NUMBERS
from tests.helpers import BLOCK_BYTES, ask, make_settings, read_error

KEY = "/sum/float32/bucket/key"
AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261123/us-east-1/s3/aws4_request, "
    "SignedHeaders={names}, Signature=0123456789abcdef0123456789abcdef"
)


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_agree_with_numpy(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handler.doors.service.Engine", partial(Engine, sizes=SMALL))
    mine = [(case, reducer) for case, reducer in questions(SMALL.block_bytes) if case.dtype == dtype]
    app = create_app(make_settings(), FakeStore({f"/bucket/{case.key}": case.data() for case, _ in mine}))
    for case, reducer in mine:
        response = ask(app, f"/{reducer}/{case.segment()}/bucket/{case.key}", headers=case.range_header())
        assert response.status_code == 200
        check(case, reducer, response.data)


def test_headers_describe_the_result(app: flask.Flask) -> None:
    response = ask(app, KEY)
    assert response.data == np.float32(55).tobytes()
    headers = {name.lower(): value for name, value in response.headers.items()}
    for prefix in ("x-activestorage-", "x-amz-meta-activestorage-"):
        assert headers[f"{prefix}dtype"] == "float32"
        assert json.loads(headers[f"{prefix}shape"]) == []
        assert json.loads(headers[f"{prefix}count"]) == [10]
        assert headers[f"{prefix}count-total"] == "10"
        assert headers[f"{prefix}byte-order"] == "little"
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-length"] == "4"


def test_a_count_is_an_int64_whatever_the_data(app: flask.Flask) -> None:
    response = ask(app, "/count/float32/bucket/key")
    assert response.data == np.int64(10).tobytes()
    assert response.headers["x-activestorage-dtype"] == "int64"


@pytest.mark.parametrize("reducer", REDUCERS)
def test_head_has_the_headers_of_get(app: flask.Flask, reducer: str) -> None:
    got = ask(app, f"/{reducer}/float32/bucket/key")
    head = ask(app, f"/{reducer}/float32/bucket/key", "HEAD")
    assert head.data == b""
    for name in ("Content-Length", "Content-Type", "ETag", "x-activestorage-shape", "x-activestorage-count"):
        assert head.headers[name] == got.headers[name]


def test_a_range_selects_the_input(app: flask.Flask) -> None:
    response = ask(app, KEY, headers={"Range": "bytes=4-11"})
    assert response.status_code == 200
    assert response.data == np.float32(5).tobytes()


# Errors


@pytest.mark.parametrize(
    ("target", "headers", "status", "code", "part"),
    [
        ("/median/float32/bucket/key", {}, 404, "NoSuchReducer", "'median'"),
        ("/sum", {}, 404, "NoSuchBucket", "/reducer/dtype/bucket/key"),
        ("/", {}, 404, "NoSuchBucket", "/reducer/dtype/bucket/key"),
        ("/sum/float32/bucket", {}, 400, "InvalidArgument", "key"),
        ("/sum/float31/bucket/key", {}, 400, "InvalidArgument", "'float31'"),
        ("/sum/float32;byte_order=odd/bucket/key", {}, 400, "InvalidArgument", "byte_order"),
        ("/sum/float32/bucket/key?byte_ordr=big", {}, 400, "InvalidArgument", "'byte_ordr'"),
        ("/sum/float32/bucket/key?acl", {}, 400, "InvalidArgument", "'acl'"),
        ("/sum/float32/bucket/odd", {}, 400, "IncompleteElement", "7 bytes"),
        ("/sum/float64/bucket/odd", {}, 400, "IncompleteElement", "8 bytes"),
        ("/max/float32/bucket/empty", {}, 400, "NothingToReduce", "max"),
        ("/sum/float64/bucket/key", {"Range": "bytes=0-3"}, 400, "InvalidArgument", "Range"),
        ("/sum/float32/bucket/key", {"Range": "bytes=2-5"}, 400, "InvalidArgument", "inside an element"),
        ("/sum/float32/bucket/key", {"Range": "bytes=0-3,8-11"}, 400, "InvalidArgument", "several"),
        ("/sum/float32/bucket/key", {"Range": "lines=0-3"}, 400, "InvalidArgument", "Range"),
        ("/sum/float32/bucket/key", {"Range": "bytes=40-"}, 416, "InvalidRange", "40 bytes"),
        ("/sum/float32/bucket/key", {"If-Range": '"x"'}, 400, "InvalidArgument", "If-Range"),
        ("/sum/float32/bucket/nokey", {}, 404, "NoSuchKey", "does not exist"),
        ("/sum/float32/bucket/%FF", {}, 400, "InvalidArgument", "UTF-8"),
        ("/sum/float32/bucket/%zz", {}, 400, "InvalidArgument", "hexadecimal"),
        ("/sum/float32/bucket/key#part", {}, 400, "InvalidArgument", "key"),
        ("/sum/float32/bucket/a b", {}, 400, "InvalidArgument", "percent-encoded"),
        ("/sum/float32/bucket/\xc3\xa9", {}, 400, "InvalidArgument", "percent-encoded"),
        ("/sum/float32/bucket/key?versionId=%", {}, 400, "InvalidArgument", "query"),
    ],
)
def test_each_fault_is_named_in_s3s_xml(
    app: flask.Flask, target: str, headers: dict[str, str], status: int, code: str, part: str
) -> None:
    response = ask(app, target, headers=headers)
    fields = read_error(response)
    assert (response.status_code, fields["Code"]) == (status, code)
    assert part in fields["Message"]
    assert fields["Resource"] == target.partition("?")[0]


def test_a_416_has_the_size_of_the_object(app: flask.Flask) -> None:
    assert ask(app, KEY, headers={"Range": "bytes=40-"}).headers["Content-Range"] == "bytes */40"


@pytest.mark.parametrize("target", ["/max/float32/bucket/empty", "/sum/float32/bucket/odd", "/sum/float31/bucket/key"])
def test_an_error_to_head_has_the_status_of_get_and_no_body(app: flask.Flask, target: str) -> None:
    head, got = ask(app, target, "HEAD"), ask(app, target)
    assert head.status_code == got.status_code
    assert head.data == b""


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "TRACE"])
@pytest.mark.parametrize("target", [KEY, "/obj/bucket/key", "/healthz", "/.well-known/s3-active-storage"])
def test_other_methods_get_405_with_the_allowed_methods(app: flask.Flask, target: str, method: str) -> None:
    response = ask(app, target, method)
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD")
    assert read_error(response)["Code"] == "MethodNotAllowed"


def test_a_request_beyond_its_own_limit_is_too_large(make_app: Callable[..., flask.Flask]) -> None:
    response = ask(make_app(max_object_memory="64KiB"), KEY)
    assert (response.status_code, read_error(response)["Code"]) == (400, "EntityTooLarge")


def test_a_full_memory_gets_503_with_retry_after(make_app: Callable[..., flask.Flask], store: FakeStore) -> None:
    """There is memory for one request, and a second one arrives while the first is being reduced."""
    app = make_app(memory_limit=f"{BLOCK_BYTES + 50_000}B")
    answers: list[TestResponse] = []

    class Busy(FakeSource):
        def _open(self, byte_range: ByteRange | None) -> Stream:
            if not answers:
                answers.append(ask(app, KEY))
            return super()._open(byte_range)

    store.sources["/bucket/key"] = Busy(NUMBERS.tobytes())
    assert ask(app, KEY).data == np.float32(55).tobytes()
    assert (answers[0].status_code, read_error(answers[0])["Code"]) == (503, "SlowDown")
    assert int(answers[0].headers["Retry-After"]) >= 1


def test_the_memory_of_a_large_result_is_counted_until_it_is_sent(
    make_app: Callable[..., flask.Flask], store: FakeStore
) -> None:
    """A slow client keeps its result in memory. A hundred of them would otherwise exceed the limit."""
    store.sources["/bucket/large"] = FakeSource(bytes(1_600_000))
    target = "/select/float32/bucket/large"
    app = make_app(memory_limit="10000KB", cache_bytes="0")
    slow = app.test_client().open("/", environ_overrides={"RAW_URI": target}, buffered=False)
    assert slow.status_code == 200
    assert ask(app, target).status_code == 503
    slow.close()
    assert ask(app, target).data == bytes(1_600_000)


# Requests to the store


@pytest.mark.parametrize(
    "object_path",
    [
        "/bucket/plain",
        "/bucket/with%20space",
        "/bucket/%C3%A9t%c3%a9",
        "/bucket/a+b",
        "/bucket/a%2Fb%2fc",
        "/bucket//double//slash",
        "/bucket/trailing/",
        "/bucket/a/../b/./c",
        "/bucket/..",
        "/bucket/semi;colon=1,2",
        "/bucket/%25",
        "/bucket/~'()*!@$&:",
        "/bucket/" + "k" * 1024,
        "/bucket/" + "%E2%82%AC" * 341,
    ],
)
def test_keys_reach_the_store_unchanged(app: flask.Flask, store: FakeStore, object_path: str) -> None:
    query = "versionId=a%2Fb&X-Amz-Signature=00"
    ask(app, f"/sum/float32%3Bbyte_order%3Dbig{object_path}?byte_order=big&{query}")
    assert store.requests[-1].target == f"{object_path}?{query}"


def test_signed_parts_are_forwarded_unchanged(app: flask.Flask, store: FakeStore) -> None:
    names = "accept-encoding;host;range;x-amz-content-sha256;x-amz-date;x-goog-custom"
    signed = {
        "Accept-Encoding": "gzip",
        "Range": "bytes=0-7",
        "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
        "x-amz-date": "20261123T000000Z",
        "x-goog-custom": "two  spaces",
        "Authorization": AUTHORIZATION.format(names=names),
    }
    ask(app, KEY, headers={**signed, "Accept": "*/*", "Cookie": "c=1", "X-Forwarded-For": "10.0.0.1"})
    sent = store.requests[-1]
    assert sent.has_fixed_range
    assert {name.lower(): value for name, value in signed.items()}.items() <= sent.headers.items()
    assert sent.headers["host"] == "store.test:9000"
    assert not {"accept", "cookie", "x-forwarded-for"} & sent.headers.keys()


def test_a_signed_header_that_is_absent_is_an_error(app: flask.Flask, store: FakeStore) -> None:
    response = ask(app, KEY, headers={"Authorization": AUTHORIZATION.format(names="host;x-amz-date;x-goog-custom")})
    fields = read_error(response)
    assert (response.status_code, fields["Code"]) == (400, "InvalidArgument")
    assert "'x-amz-date'" in fields["Message"]
    response = ask(app, f"{KEY}?X-Amz-SignedHeaders=host%3Bx-amz-thing&X-Amz-Signature=00")
    assert "'x-amz-thing'" in read_error(response)["Message"]
    assert store.requests == []


def test_customer_keys_and_tokens_are_forwarded(app: flask.Flask, store: FakeStore) -> None:
    headers = {"x-amz-server-side-encryption-customer-algorithm": "AES256", "x-amz-security-token": "token"}
    ask(app, KEY, headers=headers)
    assert headers.items() <= store.requests[-1].headers.items()


def test_the_host_is_the_public_endpoint_and_the_connection_goes_to_the_other(
    make_app: Callable[..., flask.Flask], store: FakeStore
) -> None:
    app = make_app(s3_public_endpoint="https://s3.example.org")
    ask(app, KEY)
    assert str(store.requests[-1].origin) == "http://store.test:9000"
    assert store.requests[-1].headers["host"] == "s3.example.org"


@pytest.mark.parametrize("host", ["sum.proxy.example.org", "SUM.Proxy.Example.org:8000"])
def test_a_virtual_host_names_the_reducer(make_app: Callable[..., flask.Flask], host: str) -> None:
    app = make_app(base_domain="proxy.example.org")
    assert ask(app, "/float32/bucket/key", HTTP_HOST=host).data == np.float32(55).tobytes()
    assert ask(app, KEY, HTTP_HOST="proxy.example.org").data == np.float32(55).tobytes()
    assert ask(app, "/bucket/key", HTTP_HOST="obj.proxy.example.org").data == NUMBERS.tobytes()


def test_the_query_names_of_s3_are_those_of_botocores_model() -> None:
    model = botocore.session.get_session().get_service_model("s3").operation_model("GetObject").input_shape
    assert model is not None
    names = {
        shape.serialization["name"]
        for shape in model.members.values()
        if shape.serialization.get("location") == "querystring"
    }
    assert names == STORE_QUERY_NAMES - {"x-id", "AWSAccessKeyId", "Expires", "Signature"}


# ETags


def test_the_etag_of_a_result_has_the_objects_etag_and_differs_for_every_reduction() -> None:
    specs = [
        ReductionSpec(reducer, dtype, order, range=byte_range)
        for reducer in REDUCERS
        for dtype in ("int32", "float32")
        for order in ("little", "big")
        for byte_range in (None, ByteRange(0, 7), ByteRange(8, None), ByteRange(None, 8))
    ]
    for source in (ETag("0123-9"), ETag("x", is_weak=True), ETag("")):
        etags = [make_result_etag(source, spec) for spec in specs]
        assert len(set(etags)) == len(specs)
        for spec, etag in zip(specs, etags, strict=True):
            assert etag is not None
            assert find_source_etag(etag, spec) == source
            assert find_source_etag(etag, dataclasses.replace(spec, dtype="uint8")) is None
    assert make_result_etag(None, specs[0]) is None
    assert make_result_etag(ETag.from_header("unquoted"), specs[0]) is None


def test_equal_reductions_have_the_same_etag(app: flask.Flask) -> None:
    """Workers cache digests. Whatever spelling was first, all workers must make the same ETag."""
    texts = ("missing_value=1", "missing_value=1.0", "missing_value=%2B1e0")
    etags = {ask(app, f"/sum/float32;{text}/bucket/key").headers["ETag"] for text in texts}
    assert len(etags) == 1


def test_a_current_copy_gets_304(app: flask.Flask, store: FakeStore) -> None:
    etag = ask(app, KEY).headers["ETag"]
    read = store.sources["/bucket/key"].bytes_read
    for header in (etag, f'"other", {etag}', f"W/{etag}"):
        response = ask(app, KEY, headers={"If-None-Match": header})
        assert (response.status_code, response.data, response.headers["ETag"]) == (304, b"", etag)
    assert store.sources["/bucket/key"].bytes_read == read


def test_the_etag_of_another_result_does_not_match(app: flask.Flask) -> None:
    etag = ask(app, "/max/float32/bucket/key").headers["ETag"]
    assert ask(app, KEY, headers={"If-None-Match": etag}).data == np.float32(55).tobytes()
    response = ask(app, KEY, headers={"If-Match": etag})
    assert (response.status_code, read_error(response)["Code"]) == (412, "PreconditionFailed")


def test_if_match_is_translated_to_the_objects_etag(app: flask.Flask, store: FakeStore) -> None:
    etag = ask(app, KEY).headers["ETag"]
    assert ask(app, KEY, headers={"If-Match": etag}).status_code == 200
    assert ask(app, KEY, headers={"If-Match": "*"}).status_code == 200
    store.sources["/bucket/key"].etag = '"replaced"'
    assert ask(app, KEY, headers={"If-Match": etag}).status_code == 412


def test_conditions_on_times_are_forwarded(app: flask.Flask, store: FakeStore) -> None:
    headers = {"If-Modified-Since": "Mon, 23 Nov 2026 00:00:00 GMT"}
    ask(app, KEY, headers=headers)
    assert store.requests[-1].headers["if-modified-since"] == headers["If-Modified-Since"]


def test_signed_conditions_are_forwarded_unchanged(app: flask.Flask, store: FakeStore) -> None:
    headers = {"If-Match": '"source"', "Authorization": AUTHORIZATION.format(names="host;if-match")}
    ask(app, KEY, headers=headers)
    assert store.requests[-1].headers["if-match"] == '"source"'


def test_a_range_with_the_results_etag_selects_bytes_of_the_result(app: flask.Flask) -> None:
    """s3fs opens a file with a HEAD, and reads it with that ETag and a range within that length."""
    etag = ask(app, KEY, "HEAD").headers["ETag"]
    response = ask(app, KEY, headers={"If-Match": etag, "Range": "bytes=1-9"})
    assert (response.status_code, response.headers["Content-Range"]) == (206, "bytes 1-3/4")
    assert response.data == np.float32(55).tobytes()[1:]
    outside = ask(app, KEY, headers={"If-Match": etag, "Range": "bytes=4-"})
    assert (outside.status_code, outside.headers["Content-Range"]) == (416, "bytes */4")


def test_the_etag_of_a_reduced_range_matches_that_range_only(app: flask.Flask) -> None:
    selected = {"Range": "bytes=0-7"}
    etag = ask(app, KEY, headers=selected).headers["ETag"]
    assert ask(app, KEY, headers={**selected, "If-Match": etag}).data == np.float32(3).tobytes()
    assert ask(app, KEY, headers={"Range": "bytes=0-11", "If-Match": etag}).status_code == 412


# The door


def test_an_unexpected_exception_is_an_internal_error_without_details(
    capfd: pytest.CaptureFixture[str], app: flask.Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError("canary")

    monkeypatch.setattr("handler.doors.proxy.split_path", fail)
    response = ask(app, KEY)
    assert (response.status_code, read_error(response)["Code"]) == (500, "InternalError")
    log = json.loads(capfd.readouterr().err)
    assert log["fault"].startswith("ZeroDivisionError in fail:")
    assert (log["outcome"], log["level"]) == ("InternalError", "error")
    assert "canary" not in response.text + str(log)


def test_every_error_has_a_code_that_aws_accepts() -> None:
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.ActiveStorageError):
            assert kind.code.isalpha()
            assert kind.code[0].isupper()
            assert 300 <= kind.status < 600


@pytest.mark.parametrize("place", ["", ";offset=0", ";size=40", ";offset=0;size=40"])
def test_a_range_of_the_result_works_together_with_offset_and_size(app: flask.Flask, place: str) -> None:
    """s3fs reads files by ranges, and a chunk of an HDF5 file has an offset and a size."""
    target = f"/select/float32;shape=10{place}/bucket/key"
    etag = ask(app, target).headers["ETag"]
    response = ask(app, target, headers={"If-Match": etag, "Range": "bytes=4-11"})
    assert response.status_code == 206, response.text
    assert response.data == NUMBERS[1:3].tobytes()
    head = ask(app, target, "HEAD", {"If-Match": etag, "Range": "bytes=4-11"})
    assert (head.status_code, head.headers["Content-Length"]) == (206, "8")

"""Results that are kept from one request to the next: for the same reduction, version, and by each caller's right."""

import dataclasses
import json
import threading

import flask
import numpy as np
import pytest

from active_storage.errors import StoreError
from active_storage.model.missing import Missing
from active_storage.model.ranges import ByteRange, Slice
from active_storage.model.spec import ReductionSpec
from active_storage.model.steps import Step
from handler.app import create_app
from handler.scope import Scope
from handler.stores.fake import FakeStore
from handler.stores.source import Stream
from handler.stores.store_request import StoreRequest
from tests.helpers import ask, make_settings, post_json

TARGET = "/sum/float32/bucket/key"
NUMBERS = np.arange(1000, dtype="<f4")
AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential={name}/20261123/us-east-1/s3/aws4_request, "
    "SignedHeaders=host;x-amz-date, Signature=0123456789abcdef0123456789abcdef"
)


class GuardedStore(FakeStore):
    """A store that refuses a caller whose credentials have the word "stranger"."""

    def open(self, request: StoreRequest, byte_range: ByteRange | None, scope: Scope) -> Stream:
        if "stranger" in request.headers.get("authorization", ""):
            self.requests.append(request)
            raise StoreError(403, "AccessDenied", "Access Denied")
        return super().open(request, byte_range, scope)


@pytest.fixture
def store() -> GuardedStore:
    return GuardedStore({"/bucket/key": NUMBERS.tobytes()})


@pytest.fixture
def app(store: GuardedStore) -> flask.Flask:
    return create_app(make_settings(s3_endpoint="http://store.test:9000"), store)


def sign(name: str) -> dict[str, str]:
    return {"authorization": AUTHORIZATION.format(name=name), "x-amz-date": "20261123T000000Z"}


def test_an_unchanged_object_is_asked_for_once_and_not_read(app: flask.Flask, store: GuardedStore) -> None:
    first = ask(app, TARGET)
    read = store.bytes_read
    assert read == NUMBERS.nbytes
    store.requests.clear()
    again = ask(app, TARGET)
    assert (again.status_code, again.data, again.headers["ETag"]) == (200, first.data, first.headers["ETag"])
    names = ("x-amz-request-id", "Date")
    assert [pair for pair in again.headers if pair[0] not in names] == [
        pair for pair in first.headers if pair[0] not in names
    ]
    (request,) = store.requests
    assert request.headers["if-none-match"] == store.sources["/bucket/key"].etag
    assert store.bytes_read == read


def test_the_log_says_that_a_result_was_kept(app: flask.Flask, capsys: pytest.CaptureFixture[str]) -> None:
    ask(app, TARGET)
    ask(app, TARGET)
    first, again = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert "kept" not in first
    assert again["kept"] is True
    assert again["bytes_read"] == 0


def test_a_caller_whom_the_store_refuses_gets_nothing(app: flask.Flask, store: GuardedStore) -> None:
    assert ask(app, TARGET, headers=sign("owner")).status_code == 200
    response = ask(app, TARGET, headers=sign("stranger"))
    assert (response.status_code, b"AccessDenied" in response.data) == (403, True)
    assert "stranger" in store.requests[-1].headers["authorization"]
    del store.sources["/bucket/key"]
    assert ask(app, TARGET, headers=sign("owner")).status_code == 404


def test_another_caller_gets_the_result_by_their_own_right(app: flask.Flask, store: GuardedStore) -> None:
    first = ask(app, TARGET, headers=sign("owner"))
    read = store.bytes_read
    again = ask(app, TARGET, headers=sign("friend"))
    assert again.data == first.data
    assert store.bytes_read == read
    assert "friend" in store.requests[-1].headers["authorization"]


def test_a_changed_object_of_the_same_length_is_read_by_the_same_request(app: flask.Flask, store: GuardedStore) -> None:
    ask(app, TARGET)
    source = store.sources["/bucket/key"]
    source.data, source.etag = (NUMBERS + 1).tobytes(), '"new"'
    store.requests.clear()
    assert ask(app, TARGET).data == (NUMBERS + 1).sum(dtype=np.float32).tobytes()
    assert len(store.requests) == 1
    assert ask(app, TARGET).data == (NUMBERS + 1).sum(dtype=np.float32).tobytes()


@pytest.mark.parametrize(
    ("etag", "headers"),
    [
        ('W/"weak"', {}),
        (None, {"last-modified": "Mon, 23 Nov 2026 10:00:00 GMT"}),
        ('"1"', {"x-amz-server-side-encryption-customer-key-md5": "digest"}),
        ('"1"', {"x-amz-server-side-encryption": "aws:kms"}),
    ],
)
def test_without_a_strong_etag_or_with_a_key_nothing_is_kept(
    app: flask.Flask, store: GuardedStore, etag: str | None, headers: dict[str, str]
) -> None:
    store.sources["/bucket/key"].etag, store.sources["/bucket/key"].headers = etag, headers
    ask(app, TARGET)
    ask(app, TARGET)
    assert store.bytes_read == 2 * NUMBERS.nbytes
    assert not any("if-none-match" in request.headers for request in store.requests)


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        (TARGET, {"x-amz-server-side-encryption-customer-key": "a2V5"}),
        (TARGET, {"if-modified-since": "Mon, 23 Nov 2026 10:00:00 GMT"}),
        (f"{TARGET}?partNumber=1", {}),
    ],
)
def test_a_request_with_conditions_or_keys_of_its_own_uses_nothing_that_was_kept(
    app: flask.Flask, store: GuardedStore, target: str, headers: dict[str, str]
) -> None:
    for _ in range(2):
        ask(app, target, headers=headers)
    assert not any("if-none-match" in request.headers for request in store.requests)


@pytest.mark.parametrize("says", [{"last-modified": "Tue, 24 Nov 2026 10:00:00 GMT"}, {"x-amz-version-id": "2"}])
def test_a_304_of_another_version_is_not_believed(app: flask.Flask, store: GuardedStore, says: dict[str, str]) -> None:
    source = store.sources["/bucket/key"]
    source.headers = {"last-modified": "Mon, 23 Nov 2026 10:00:00 GMT", "x-amz-version-id": "1"}
    ask(app, TARGET)
    source.headers = {**source.headers, **says}
    ask(app, TARGET)
    assert store.bytes_read == 2 * NUMBERS.nbytes


def test_a_304_for_a_weak_etag_is_not_believed(app: flask.Flask, store: GuardedStore) -> None:
    """``If-None-Match`` is compared weakly, and a weak ETag does not name bytes."""
    source = store.sources["/bucket/key"]
    ask(app, TARGET)
    source.data, source.etag = bytes(len(source.data)), f"W/{source.etag}"
    assert ask(app, TARGET).data == bytes(4)


def test_nothing_is_kept_where_the_setting_is_zero(store: GuardedStore) -> None:
    app = create_app(make_settings(s3_endpoint="http://store.test:9000", cache_bytes="0"), store)
    ask(app, TARGET)
    ask(app, TARGET)
    assert store.bytes_read == 2 * NUMBERS.nbytes


def test_a_result_that_is_large_beside_the_setting_is_not_kept(store: GuardedStore) -> None:
    app = create_app(make_settings(s3_endpoint="http://store.test:9000", cache_bytes="40KiB"), store)
    for reducer, reads in (("select", 2), ("sum", 1)):
        read = store.bytes_read
        for _ in range(2):
            ask(app, f"/{reducer}/float32/bucket/key")
        assert store.bytes_read - read == reads * NUMBERS.nbytes


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_json_doors_keep_results_too(app: flask.Flask, store: GuardedStore, version: str) -> None:
    body = {"source": "http://store.test:9000", "bucket": "bucket", "object": "key", "dtype": "float32"}
    if version == "v2":
        body = {"interface_type": "s3", "url": "http://store.test:9000/bucket/key", "dtype": "float32"}
    replies = [post_json(app, f"/{version}/sum/", body) for _ in range(2)]
    assert [reply.status_code for reply in replies] == [200, 200]
    assert replies[0].data == replies[1].data
    assert store.bytes_read == NUMBERS.nbytes


def test_requests_at_the_same_time_agree(app: flask.Flask, store: GuardedStore) -> None:
    source, results = store.sources["/bucket/key"], list[tuple[bytes, bytes]]()
    expected = {f'"{step}"': np.float32(step * 1000).tobytes() for step in range(5)}

    def work(number: int) -> None:
        for _ in range(40):
            response = ask(app, TARGET, headers=sign(f"owner{number}"))
            results.append((response.headers["ETag"].rpartition("-")[0].encode() + b'"', response.data))

    source.data, source.etag = np.zeros(1000, "<f4").tobytes(), '"0"'
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for step in range(1, 5):
        source.data, source.etag = np.full(1000, step, "<f4").tobytes(), f'"{step}"'
        work(0)
    assert len(results) == 4 * 40 + 4 * 40
    assert all(expected[etag.decode()] == data for etag, data in results)


# A spec, and for each of its fields another value, with which it must not be taken for the same one.
SPEC = ReductionSpec("sum", "int16", shape=(2, 6))
OTHERS: dict[str, object] = {
    "reducer": "max",
    "dtype": "int32",
    "byte_order": "big",
    "shape": (3, 4),
    "order": "F",
    "selection": (Slice(0, 2, 1), Slice(0, 3, 1)),
    "axis": (0,),
    "offset": 2,
    "size": 24,
    "steps": (Step("zlib"),),
    "missing": Missing((1,)),
    "sum_dtype": "float64",
    "range": ByteRange(0, 23),
    "is_weighted": True,
    "has_other": True,
}


def test_no_two_specs_are_taken_for_the_same() -> None:
    specs = [SPEC, *(dataclasses.replace(SPEC, **{name: value}) for name, value in OTHERS.items())]  # type: ignore[arg-type]
    deviation, histogram = (ReductionSpec(reducer, "int16", shape=(2, 6)) for reducer in ("std", "histogram"))
    specs += [deviation, dataclasses.replace(deviation, ddof=1)]
    specs += [histogram, *(dataclasses.replace(histogram, edges=edges) for edges in ((0, 1), (0, 2)))]
    assert {field.name for field in dataclasses.fields(ReductionSpec)} == {*OTHERS, "ddof", "edges"}
    assert len(set(specs)) == len(specs)


QUERIES = [
    "/sum/float32/bucket/key",
    "/max/float32/bucket/key",
    "/sum/int32/bucket/key",
    "/sum/float32;size=400/bucket/key",
    "/sum/float32;offset=400/bucket/key",
    "/sum/float32;shape=10,100;axis=0/bucket/key",
    "/sum/float32;shape=10,100;axis=1/bucket/key",
    "/sum/float32;shape=100,10;axis=1/bucket/key",
    "/sum/float32;missing_value=3/bucket/key",
    "/sum/float32;missing_value=4/bucket/key",
    "/sum/float32;byte_order=big/bucket/key",
]


def test_replies_are_those_of_an_app_that_keeps_nothing(app: flask.Flask, store: GuardedStore) -> None:
    plain = create_app(make_settings(s3_endpoint="http://store.test:9000", cache_bytes="0"), store)
    ranges: list[dict[str, str]] = [{}, {"range": "bytes=0-399"}, {"range": "bytes=-400"}]
    asked: list[tuple[str, dict[str, str]]] = [(target, header) for target in QUERIES for header in ranges]
    for _ in range(2):
        for target, header in asked:
            kept, made = ask(app, target, headers=header), ask(plain, target, headers=header)
            assert (kept.status_code, kept.headers.get("ETag")) == (made.status_code, made.headers.get("ETag"))
            if kept.status_code == 200:
                assert kept.data == made.data


def test_a_range_is_asked_for_with_the_condition(app: flask.Flask, store: GuardedStore) -> None:
    for _ in range(2):
        ask(app, TARGET, headers={"range": "bytes=0-399"})
    assert store.bytes_read == 400

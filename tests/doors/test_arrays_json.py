"""POST /arrays/v1/: results, progress, partial results and plans of whole arrays, in CBOR, and every refusal."""

import base64
import io
import json
import threading
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import cbor2
import flask
import numpy as np
import pytest
from werkzeug.test import TestResponse

from active_storage.algebra import ALGEBRAS
from active_storage.errors import ObjectChanged, StoreCutOff
from active_storage.model.array_reduction import ArrayReduction
from active_storage.model.dtypes import DTYPES
from active_storage.model.ranges import ByteRange
from active_storage.model.reducers import REDUCERS
from handler.app import Application, create_app
from handler.arrays import plan as plans
from handler.arrays.engine import ArrayAnswer, ArrayEngine, Progress, Tell
from handler.containers.reader import Container
from handler.doors import array_items
from handler.doors.containers import make_located_container
from handler.doors.json_location import locate_object
from handler.doors.service import Service
from handler.scope import Scope
from handler.stores.fake import FakeSource, FakeStore
from handler.stores.source import Stream
from tests.array_replies import join, numbers, split_items
from tests.arrays.memory_array import SMALL
from tests.doors.array_stores import VALUES, make_store, write_zarr
from tests.doors.fake_arrays import FakeArrays, make_answer
from tests.doors.test_json import read_error
from tests.helpers import FakeClock, ask, make_settings

STORE = "http://store.test:9000"
TAS = {"type": "zarr", "url": f"{STORE}/bucket/store.zarr", "array": "tas"}
SECRET = "canary-secret-of-the-caller"


@pytest.fixture
def store() -> FakeStore:
    return make_store()


@pytest.fixture
def app(store: FakeStore) -> flask.Flask:
    return create_app(make_settings(s3_endpoint=STORE), store)


def post(
    app: flask.Flask, name: str, body: Any, headers: Mapping[str, str] | None = None, is_cbor: bool = False
) -> TestResponse:
    if not isinstance(body, bytes):
        body = cbor2.dumps(body) if is_cbor else json.dumps(body).encode()
    environ: dict[str, Any] = {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    kind = {"Content-Type": "application/cbor" if is_cbor else "application/json"}
    return ask(app, f"/arrays/v1/{name}", "POST", {**kind, **(headers or {})}, **environ)


def read(response: TestResponse) -> dict[str, Any]:
    """The map of a reply."""
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "application/cbor"
    assert response.headers["Content-Length"] == str(len(response.data))
    reply = cbor2.loads(response.data)
    assert isinstance(reply, dict)
    return reply


def unpack(count: dict[str, Any]) -> Any:
    """Packed counts."""
    assert count["compression"] == "zlib"
    return numbers({**count, "bytes": zlib.decompress(count["bytes"])})


def read_items(response: TestResponse) -> list[dict[str, Any]]:
    """The items of a reply."""
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "application/cbor-seq"
    assert "Content-Length" not in response.headers
    return split_items(response.data)


def request(**members: Any) -> dict[str, Any]:
    return {"store": TAS, **members}


# Results


def test_counts_are_a_list_or_packed_or_left_out(app: flask.Flask) -> None:
    asked = request(axis=["time"], gt=float(VALUES[-1].mean()))
    listed = read(post(app, "mean", asked))
    packed, none = (read(post(app, "mean", {**asked, "counts": form})) for form in ("packed", "none"))
    counts = unpack(packed["count"])
    assert (counts.dtype, counts.ravel().tolist()) == (np.uint8, listed["count"])
    assert len(set(listed["count"])) > 1
    assert none["count"] is None
    same = {"count", "requests", "bytes_read"}
    assert len({str({name: each[name] for name in each.keys() - same}) for each in (listed, packed, none)}) == 1
    # One number, if all are equal.
    equal = read(post(app, "mean", request(axis=["time"], counts="packed")))["count"]
    assert (equal["shape"], int(unpack(equal))) == ([], len(VALUES))
    (result,) = (
        item
        for item in read_items(post(app, "mean", {**asked, "counts": "none", "answer": "progress"}))
        if item["type"] == "result"
    )
    assert result["count"] is None


@pytest.mark.parametrize("is_cbor", [False, True])
def test_a_result_is_that_of_version_2_and_what_arrays_have_beside(app: flask.Flask, is_cbor: bool) -> None:
    reply = read(post(app, "mean", request(axis=["time"]), is_cbor=is_cbor))
    assert np.array_equal(numbers(reply), VALUES.mean(axis=0))
    assert list(reply) == [
        *("bytes", "dtype", "shape", "shape_as_bytes", "count", "count_as_bytes", "byte_order"),
        *("dims", "labels", "units", "missing_chunks", "requests", "bytes_read"),
    ]
    assert reply["count"] == [6, 6, 6, 6]
    assert (reply["dims"], reply["units"], reply["missing_chunks"]) == (["lat"], "K", 0)
    assert reply["requests"] > 6
    assert reply["bytes_read"] > VALUES.nbytes


@pytest.mark.parametrize("reducer", REDUCERS)
def test_every_door_gives_the_same_numbers(app: flask.Flask, reducer: str) -> None:
    reply = read(post(app, reducer, request(axis=0, selection=[[4, None, -2], [None, None, None]])))
    got = ask(app, f"/{reducer}/zarr;axis=0;selection=4::-2,:/bucket/store.zarr/tas")
    assert reply["bytes"] == got.data
    assert reply["dims"] == json.loads(got.headers["x-activestorage-dims"])


@pytest.mark.parametrize(
    ("kind", "key", "array"),
    [
        ("zarr", "store.zarr", "/tas3"),
        ("netcdf", "f.nc", "g/tas"),
        ("hdf5", "f.nc", "/g/tas"),
        ("kerchunk", "references.json", "tas"),
    ],
)
def test_every_container_has_the_same_numbers(
    app: flask.Flask, store: FakeStore, kind: str, key: str, array: str
) -> None:
    wanted = {"store": {"type": kind, "url": f"{STORE}/bucket/{key}", "array": array}, "axis": ["time"]}
    reply = read(post(app, "mean", wanted, basic()))
    assert np.array_equal(numbers(reply), VALUES.mean(axis=0))
    assert (reply["dims"], reply["units"]) == (["lat"], "K")
    assert all("authorization" in each.headers for each in store.requests)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, VALUES),
        ({"selection": [[1, 3, None], [None, None, 2]]}, VALUES[1:3, ::2]),
        ({"selection": {"lat": {"index": [None, None, 2]}}}, VALUES[:, ::2]),
        ({"selection": {"1": {"index": [-1, None, None]}, "time": {"index": [0, 1, 1]}}}, VALUES[:1, -1:]),
        ({"selection": {}}, VALUES),
        ({"missing": {"missing_values": [0, "nan"], "valid_max": 20}}, VALUES[(VALUES > 0) & (VALUES <= 20)]),
        ({"missing": {"missing_value": 23.0}, "decode": "none"}, VALUES[VALUES != 23]),
        ({"skipna": True, "absent": 403, "ddof": 0, "decode": "xarray"}, VALUES),
        ({"answer": "result", "axis": None, "selection": None, "missing": None, "plan": None}, VALUES),
    ],
)
def test_what_members_mean(app: flask.Flask, members: dict[str, Any], expected: Any) -> None:
    assert numbers(read(post(app, "sum", request(**members)))) == expected.sum()


@pytest.mark.parametrize(("q", "shape"), [(0.5, [4]), ([0.5], [4]), ([0, 0.5, 1], [3, 4])])
def test_quantiles_by_json(app: flask.Flask, q: Any, shape: list[int]) -> None:
    reply = read(post(app, "quantile", request(axis="time", q=q, method="lower")))
    wanted = np.quantile(VALUES, np.array(q, float), axis=0, method="lower").reshape(shape)
    assert np.array_equal(numbers(reply), wanted)
    assert reply["dims"] == ([] if len(shape) == 1 else ["quantile"]) + ["lat"]
    assert (reply["units"], reply["dtype"], reply["count"]) == ("K", "float32", [6] * 4)


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({}, "q: is required"),
        ({"q": []}, "q: is required"),
        ({"q": "0.5"}, "q: "),
        ({"q": [True]}, "q[0]: should be a finite number"),
        ({"q": [0.5, 7]}, "q[1]: is 7.0"),
        ({"q": 0.5, "method": "best"}, "method: is 'best'"),
        ({"q": 0.5, "answer": "partials"}, "answer: partials of quantile do not exist"),
    ],
)
def test_wrong_quantiles_are_refused_by_name(app: flask.Flask, members: dict[str, Any], field: str) -> None:
    response = post(app, "quantile", request(**members))
    assert response.status_code == 400
    assert field in response.text


def test_the_progress_of_a_quantile_ends_with_its_result(app: flask.Flask) -> None:
    header, *others, end = read_items(post(app, "quantile", request(q=0.5, answer="progress")))
    assert (header["type"], others[-1]["type"], end["type"]) == ("header", "result", "end")
    assert numbers(others[-1]) == np.quantile(VALUES, 0.5)


def test_the_root_of_a_store_can_be_the_array(app: flask.Flask) -> None:
    for url in (f"{STORE}/bucket/store.zarr/tas", f"{STORE}/bucket/store.zarr/tas/"):
        store = {"type": "zarr", "url": url}
        assert numbers(read(post(app, "max", {"store": store}))) == 23


def test_cells_of_nothing_are_nan_and_a_single_value_has_a_count_of_0(app: flask.Flask) -> None:
    nothing = {"store": TAS | {"array": "nan"}}
    assert np.isnan(numbers(read(post(app, "max", nothing | {"axis": 0})))).all()
    reply = read(post(app, "max", nothing))
    assert (numbers(reply), reply["count"]) == (np.finfo("f4").min, [0])


def test_nan_in_cbor_is_a_number(app: flask.Flask) -> None:
    wanted = request(missing={"missing_values": [float("nan"), 0]})
    assert read(post(app, "count", wanted, is_cbor=True))["count"] == [23]


# Tables


def make_table(**members: Any) -> dict[str, Any]:
    """The table of the chunks of an array of version 2, at URLs of the store."""
    names = [f"{row}.{column}" for row in range(3) for column in range(2)]
    return {
        "type": "table",
        "dtype": "float32",
        "shape": [6, 4],
        "chunks": [2, 3],
        "codecs": {},
        "fill_value": None,
        "dims": ["time", "lat"],
        "urls": [f"s3://bucket/store.zarr/tas/{name}" for name in names],
        "url": np.arange(6, dtype="<i4").tobytes(),
        "offset": bytes(6 * 8),
        "size": np.full(6, 24, "<i8").tobytes(),
        **members,
    }


def test_a_table_names_the_chunks(app: flask.Flask) -> None:
    reply = read(post(app, "mean", {"store": make_table(), "axis": "time"}, is_cbor=True))
    assert np.array_equal(numbers(reply), VALUES.mean(axis=0))
    assert reply["dims"] == ["lat"]


def test_a_plan_is_of_one_table(app: flask.Flask) -> None:
    tables = [
        make_table(),
        make_table(size=np.full(6, -1, "<i8").tobytes()),
        make_table(etags=['"24-fake"'] * 6),
        make_table(urls=make_table()["urls"][::-1]),
    ]
    digests = [read(post(app, "plan", {"store": table}, is_cbor=True))["digest"] for table in (*tables, make_table())]
    assert len(set(digests)) == 4
    assert digests[0] == digests[-1]
    wanted = {"store": tables[1], "answer": "partials", "plan": digests[0]}
    assert post(app, "sum", wanted, is_cbor=True).status_code == 409


def test_a_table_of_json_has_no_columns(app: flask.Flask) -> None:
    table = make_table(url="AAAA", offset="AAAA", size="AAAA")
    response = post(app, "mean", {"store": table})
    assert (response.status_code, read_error(response)[1]) == (
        400,
        ["store.url: should be 24 bytes, for 6 chunks"],
    )


def basic() -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"key:{SECRET}".encode()).decode()}


@pytest.mark.parametrize(
    ("urls", "signed"),
    [
        (["s3://b/k", f"{STORE}/b/k"], [True, True]),
        (["https://a.example.org/b/k", "https://a.example.org/b/k"], [True, True]),
        (["https://a.example.org/b/k", "https://b.example.org/b/k"], [True, False]),
        (["https://a.example.org/b/k", "s3://b/k"], [True, False]),
    ],
)
def test_keys_go_to_the_origin_of_the_first_url_of_a_table(
    app: flask.Flask, store: FakeStore, urls: list[str], signed: list[bool]
) -> None:
    columns = {"url": np.arange(2, dtype="<i4"), "offset": np.zeros(2, "<i8"), "size": np.full(2, 4, "<i8")}
    table = make_table(shape=[2], chunks=[1], dims=["x"], urls=urls) | {
        name: column.tobytes() for name, column in columns.items()
    }
    store.sources["/b/k"] = FakeStore({"/b/k": bytes(4)}).sources["/b/k"]
    read(post(app, "sum", {"store": table}, basic(), is_cbor=True))
    asked = {str(each.origin): "authorization" in each.headers for each in store.requests}
    expected: dict[str, bool] = {}
    for url, is_signed in zip(urls, signed, strict=True):
        expected[STORE if url.startswith("s3:") else url.removesuffix("/b/k")] = is_signed
    assert asked == expected


# Credentials


def test_every_request_is_signed_in_the_callers_name(app: flask.Flask, store: FakeStore) -> None:
    headers = {**basic(), "x-amz-security-token": "session", "x-amz-request-payer": "requester"}
    read(post(app, "mean", request(), headers))
    assert len(store.requests) > 6
    for each in store.requests:
        assert each.headers["authorization"].startswith("AWS4-HMAC-SHA256 ")
        assert (each.headers["x-amz-security-token"], each.headers["x-amz-request-payer"]) == ("session", "requester")


def test_without_keys_nothing_is_signed(app: flask.Flask, store: FakeStore) -> None:
    read(post(app, "mean", request()))
    assert not [each for each in store.requests if "authorization" in each.headers]


def test_bad_credentials_are_refused(app: flask.Flask) -> None:
    for headers in ({"Authorization": "Bearer x"}, {"x-amz-security-token": "session"}):
        response = post(app, "mean", request(), headers)
        assert response.status_code == 401
        assert "WWW-Authenticate" in response.headers


# Plans, progress, partial results


@pytest.fixture
def many_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A section for each chunk."""
    monkeypatch.setattr(plans, "_SECTION_BYTES", 1)
    monkeypatch.setattr(plans.PartPlan, "batch_chunks", 1)


def test_a_plan_says_what_a_reduction_takes(app: flask.Flask, many_sections: None) -> None:
    plan = read(post(app, "plan", request(axis="time", reducer="mean")))
    assert plan.keys() == {
        *("digest", "sections", "chunks", "shape", "dims", "dtype", "chunk_shape"),
        *("stored_bytes", "decoded_bytes", "requests", "memory_bytes", "etags", "result"),
    }
    assert (plan["sections"], plan["chunks"], plan["requests"]) == (6, 6, 6)
    assert (plan["shape"], plan["dims"], plan["dtype"], plan["chunk_shape"]) == (
        [6, 4],
        ["time", "lat"],
        "float32",
        [2, 3],
    )
    assert plan["decoded_bytes"] == 144
    assert plan["memory_bytes"] > 0
    assert plan["result"] == {"dtype": "float32", "shape": [4], "dims": ["lat"], "labels": {}, "units": "K"}
    other = read(post(app, "plan", request(axis="time")))
    assert (other["digest"], other["memory_bytes"], other["result"]) == (plan["digest"], None, None)
    assert read(post(app, "plan", request()))["digest"] != plan["digest"]


def test_progress_is_a_result_with_items_on_the_way(app: flask.Flask, many_sections: None) -> None:
    header, *on_the_way, result, end = read_items(post(app, "mean", request(axis="time", answer="progress")))
    assert (header["type"], header["of"], header["sections"], header["chunks"]) == ("header", 6, [0, 6], 6)
    assert (header["dims"], header["cells"], header["dtype"], header["reducer"]) == (["lat"], [4], "float32", "mean")
    done = [(item["sections"], item["of"], item["chunks"], item["of_chunks"]) for item in on_the_way]
    assert done == [(number, 6, number, 6) for number in range(1, 7)]
    assert [item["bytes_read"] for item in on_the_way] == [24 * number for number in range(1, 7)]
    assert result.pop("type") == "result"
    # The answer was kept: nothing is read again.
    kept = read(post(app, "mean", request(axis="time")))
    took = ("requests", "bytes_read")
    assert {**result, **dict.fromkeys(took)} == {**kept, **dict.fromkeys(took)}
    assert kept["bytes_read"] == 0
    assert end == {"type": "end"}


def test_progress_of_an_answer_that_was_kept_is_a_header_and_the_result(app: flask.Flask, many_sections: None) -> None:
    asked = request(axis="time", answer="progress")
    *_, first, _ = read_items(post(app, "mean", asked))
    header, *on_the_way, result, end = read_items(post(app, "mean", asked))
    assert {item["sections"] for item in on_the_way} <= {0}
    assert (header["type"], header["of"]) == ("header", 6)
    assert (result["type"], result["bytes"], result["labels"]) == ("result", first["bytes"], first["labels"])
    assert end == {"type": "end"}


@pytest.mark.parametrize("reducer", REDUCERS)
@pytest.mark.parametrize("axis", ["time", ["lat", "time"], []])
def test_partial_results_join_to_the_result(app: flask.Flask, many_sections: None, reducer: str, axis: Any) -> None:
    if REDUCERS[reducer].one_axis and len(axis) != 4:
        axis = None
    wanted = request(axis=axis, answer="partials")
    items = read_items(post(app, reducer, wanted))
    assert [item["type"] for item in items] == ["header", *["section"] * 6, "end"]
    assert [item["section"] for item in items[1:-1]] == list(range(6))
    expected = read(post(app, reducer, request(axis=axis)))
    np.testing.assert_array_equal(join(items[0], items[1:-1]), numbers(expected))
    # The same from two services, of which each has some of the sections.
    plan = items[0]["plan"]
    parts = [read_items(post(app, reducer, wanted | {"sections": s, "plan": plan})) for s in ([0, 2], [2, 6])]
    assert [part[0]["sections"] for part in parts] == [[0, 2], [2, 6]]
    assert [item for part in parts for item in part[1:-1]] == items[1:-1]


def test_every_algebra_has_partial_results() -> None:
    assert ALGEBRAS.keys() == REDUCERS.keys()


def test_packed_data_is_joined_as_it_is_stored(app: flask.Flask, store: FakeStore) -> None:
    attributes = {"scale_factor": 0.5, "add_offset": 10.0}
    store.sources.update(FakeStore(write_zarr("/bucket/packed", VALUES.astype("<i2"), attributes=attributes)).sources)
    wanted = {"store": {"type": "zarr", "url": f"{STORE}/bucket/packed"}, "answer": "partials"}
    header, *_ = read_items(post(app, "mean", wanted))
    assert header["partial"]["dtype"] == "int16"
    assert numbers(header["packing"]["scale"]) == 0.5
    assert numbers(header["packing"]["offset"]) == 10
    assert header["packing"]["dtype"] == header["dtype"]
    assert DTYPES[header["dtype"]].kind == "f"


def test_a_plan_that_no_longer_holds_is_409(app: flask.Flask, store: FakeStore) -> None:
    plan = read(post(app, "plan", request()))["digest"]
    wanted = request(answer="partials", plan=plan)
    assert read_items(post(app, "mean", wanted))[-1] == {"type": "end"}
    store.sources["/bucket/store.zarr/tas/.zarray"].etag = '"changed"'
    response = post(app, "mean", wanted)
    assert response.status_code == 409
    assert "plan" in read_error(response)[0]


@pytest.mark.parametrize("answer", ["progress", "partials"])
def test_what_is_wrong_before_the_first_item_is_an_error_with_a_status(app: flask.Flask, answer: str) -> None:
    response = post(app, "mean", request(axis="lon", answer=answer))
    assert response.status_code == 400
    assert "axis: no dimension is named 'lon'" in read_error(response)[1][0]
    response = post(app, "mean", {"store": TAS | {"array": "other"}, "answer": answer})
    assert (response.status_code, "NoSuchKey" in read_error(response)[1][0]) == (400, True)


def test_sections_that_there_are_not_are_refused(app: flask.Flask) -> None:
    response = post(app, "mean", request(answer="partials", sections=[0, 2]))
    assert response.status_code == 400
    assert read_error(response)[1][0].startswith("sections: ")


@pytest.mark.parametrize("answer", ["progress", "partials"])
def test_a_reply_that_fails_on_the_way_has_no_end(
    app: flask.Flask, store: FakeStore, many_sections: None, capsys: pytest.CaptureFixture[str], answer: str
) -> None:
    del store.sources["/bucket/store.zarr/tas/1.0"]
    store.sources["/bucket/store.zarr/tas/1.0"] = BrokenSource(bytes(24))
    items = read_items(post(app, "mean", request(answer=answer)))
    assert [item["type"] for item in items][-1] == "error"
    assert items[0]["type"] == "header"
    assert items[-1]["status"] == 502
    assert "1.0" in items[-1]["error"]["message"]
    line = json.loads(capsys.readouterr().err)
    assert (line["status"], line["outcome"]) == (200, "StoreCutOff")


class BrokenSource(FakeSource):
    """An object whose bytes cannot be read."""

    def _open(self, byte_range: ByteRange | None) -> Stream:
        raise StoreCutOff("the store sent fewer bytes than it announced")


class Stuck(FakeArrays):
    """An engine that tells of its plan and then waits until the request is given up."""

    def __init__(self, plan: Any) -> None:
        super().__init__(make_answer())
        self.plan_of_array = plan
        self.goes_on = threading.Event()
        self.has_ended = threading.Event()

    def reduce(  # type: ignore[override]
        self, reduction: ArrayReduction, container: Container, scope: Scope, tell: Tell
    ) -> ArrayAnswer:
        try:
            tell(self.plan_of_array, Progress)
            while not self.goes_on.wait(0.01):
                scope.check()
            return self.answer
        finally:
            self.has_ended.set()


@pytest.fixture
def stuck(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[flask.Flask, Stuck]]:
    monkeypatch.setattr(array_items, "_MOST_QUIET_SECONDS", 0.01)
    service = Service.of(make_settings(s3_endpoint=STORE), store)
    found: list[Any] = []

    class Ended(Exception):
        pass

    def tell(plan: Any, _: object) -> None:
        found.append(plan)
        raise Ended

    app = Application(service)
    read_items(post(app, "mean", request(answer="partials")))
    container = make_located_container(
        locate_object("s3", f"{STORE}/bucket/store.zarr"), None, service, Scope.after(60)
    )
    with pytest.raises(Ended):
        service.arrays.reduce(ArrayReduction("mean", "zarr", "tas"), container, Scope.after(60), tell)
    arrays = Stuck(found[0])
    yield Application(replace(service, arrays=arrays)), arrays  # type: ignore[arg-type]  # as far as a door needs it
    arrays.goes_on.set()


def test_a_reply_is_never_quiet_for_long(stuck: tuple[flask.Flask, Stuck]) -> None:
    app, arrays = stuck
    body = json.dumps(request(answer="progress")).encode()
    environ: dict[str, Any] = {"RAW_URI": "/arrays/v1/mean", "wsgi.input": io.BytesIO(body)}
    response = app.test_client().open("/", method="POST", environ_overrides=environ, buffered=False)
    pieces = response.iter_encoded()
    assert cbor2.loads(next(pieces))["type"] == "header"
    quiet = {"type": "progress", "sections": 0, "of": 1, "chunks": 0, "of_chunks": 6, "bytes_read": 0}
    assert [cbor2.loads(next(pieces)) for _ in range(3)] == [quiet] * 3
    arrays.goes_on.set()
    rest = [cbor2.loads(piece) for piece in pieces]
    assert [item["type"] for item in rest if item["type"] != "progress"] == ["result", "end"]
    response.close()


def test_the_work_ends_when_the_caller_goes(
    stuck: tuple[flask.Flask, Stuck], capsys: pytest.CaptureFixture[str]
) -> None:
    app, arrays = stuck
    capsys.readouterr()
    body = json.dumps(request(answer="progress")).encode()
    environ: dict[str, Any] = {"RAW_URI": "/arrays/v1/mean", "wsgi.input": io.BytesIO(body)}
    response = app.test_client().open("/", method="POST", environ_overrides=environ, buffered=False)
    assert cbor2.loads(next(response.iter_encoded()))["type"] == "header"
    response.close()
    assert arrays.has_ended.is_set()
    assert json.loads(capsys.readouterr().err)["outcome"] == "ClientClosedRequest"


@pytest.mark.parametrize("reads", [1, 2, 100])
def test_items_that_wait_for_a_slow_client_are_memory_in_use(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch, reads: int
) -> None:
    monkeypatch.setattr(plans, "_SECTION_BYTES", 1)
    service = Service.of(make_settings(s3_endpoint=STORE), store)
    service.engine.sizes = SMALL
    service = replace(service, arrays=ArrayEngine(service.engine))
    body = json.dumps(request(answer="partials")).encode()
    environ: dict[str, Any] = {"RAW_URI": "/arrays/v1/mean", "wsgi.input": io.BytesIO(body)}
    response = Application(service).test_client().open("/", method="POST", environ_overrides=environ, buffered=False)
    pieces = response.iter_encoded()
    for _ in range(reads):
        next(pieces, None)
    assert (service.engine.gate.held_bytes > 0) == (reads < 100)
    response.close()
    assert service.engine.gate.held_bytes == 0


@pytest.mark.parametrize(("name", "headers"), [(".zarray", 2), ("0.0", 1)])
def test_a_changed_array_has_another_header(
    app: flask.Flask, store: FakeStore, monkeypatch: pytest.MonkeyPatch, name: str, headers: int
) -> None:
    def change(*_: object) -> None:
        source = store.sources[f"/bucket/store.zarr/tas/{name}"]
        if source.etag != '"changed"':
            source.etag = '"changed"'
            raise ObjectChanged

    monkeypatch.setattr("handler.arrays.engine.ArrayEngine._ensure_unchanged", change)
    items = read_items(post(app, "mean", request(answer="progress")))
    assert [item["type"] for item in items].count("header") == headers
    assert [item["type"] for item in items][-2:] == ["result", "end"]


@pytest.mark.parametrize("answer", ["progress", "partials"])
def test_a_mistake_of_ours_is_told_as_one(
    app: flask.Flask, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str
) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise RuntimeError("canary")

    monkeypatch.setattr("handler.arrays.engine.ArrayEngine._open", fail)
    response = post(app, "mean", request(answer=answer))
    assert response.status_code == 500
    assert "canary" not in response.text
    line = capsys.readouterr().err
    assert "canary" not in line
    assert "RuntimeError in fail" in line


# Deadlines and memory


def test_a_request_has_its_own_deadline(store: FakeStore) -> None:
    """Each section has DEADLINE, and all of them ARRAY_DEADLINE."""
    seconds: list[float] = []
    clock = FakeClock()

    class Slow(FakeArrays):
        def reduce(  # type: ignore[override]
            self, reduction: ArrayReduction, container: Container, scope: Scope, tell: Tell
        ) -> ArrayAnswer:
            while not scope.is_over:
                seconds.append(clock())
                clock.advance(6)
                tell(None, Progress)  # type: ignore[arg-type]  # the plan is not looked at
            return self.answer

    service = Service.of(make_settings(s3_endpoint=STORE, deadline="7s", array_deadline="1m"), store, clock)
    app = Application(replace(service, arrays=Slow(make_answer())))  # type: ignore[arg-type]  # as far as needed
    read(post(app, "mean", request()))
    assert seconds[-1] == 54


def test_a_body_of_cbor_counts_as_memory_before_it_is_read(store: FakeStore) -> None:
    service = Service.of(make_settings(s3_endpoint=STORE, max_request_bytes=4096), store)
    held: list[int] = []

    class Body(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            held.append(service.engine.gate.held_bytes)
            return super().read(size)

    app = Application(service)
    body = cbor2.dumps(request())
    kind = {"Content-Type": "application/cbor; x=y"}
    response = ask(app, "/arrays/v1/max", "POST", kind, **{"wsgi.input": Body(body), "CONTENT_LENGTH": str(len(body))})
    assert numbers(read(response)) == 23
    assert held == [2 * len(body)]
    response = ask(app, "/arrays/v1/max", "POST", kind, **{"wsgi.input": Body(body), "CONTENT_LENGTH": ""})
    assert numbers(read(response)) == 23
    assert held[1:] == [2 * 4096]
    assert service.engine.gate.held_bytes == 0


@pytest.mark.parametrize("length", [True, False])
def test_a_body_of_cbor_that_is_too_long_is_refused(store: FakeStore, length: bool) -> None:
    app = create_app(make_settings(s3_endpoint=STORE, max_request_bytes=64), store)
    body = cbor2.dumps(request())
    environ = {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body)) if length else ""}
    response = ask(app, "/arrays/v1/max", "POST", {"Content-Type": "application/cbor"}, **environ)
    assert response.status_code == 400
    assert "MAX_REQUEST_BYTES" in read_error(response)[0]


def test_a_body_of_cbor_is_refused_while_the_memory_is_in_use(store: FakeStore) -> None:
    service = Service.of(make_settings(s3_endpoint=STORE), store)
    service.engine.gate.take(service.settings.memory_limit)
    response = post(Application(service), "max", request(), is_cbor=True)
    assert (response.status_code, "Retry-After" in response.headers) == (503, True)


def test_a_json_body_keeps_to_its_own_limit(app: flask.Flask) -> None:
    response = post(app, "max", json.dumps(request()).encode() + b" " * (1 << 20))
    assert (response.status_code, read_error(response)[1]) == (400, ["body: is longer than 1048576 bytes, the maximum"])


@pytest.mark.parametrize(
    ("setting", "value"), [("max_metadata_bytes", 100), ("max_metadata_requests", 1), ("max_chunks", 5)]
)
def test_limits_are_settings_and_named(store: FakeStore, setting: str, value: int) -> None:
    app = create_app(make_settings(s3_endpoint=STORE, **{setting: value}), store)
    response = post(app, "max", request())
    assert response.status_code == 400
    assert setting.upper() in response.text


# Refusals


@pytest.mark.parametrize(
    ("members", "part"),
    [
        ({"store": None}, "store: "),
        ({"store": "x"}, "store: "),
        ({"store": {}}, "store.type: is required"),
        ({"store": TAS | {"type": "grib"}}, "store.type: should be one of zarr"),
        ({"store": TAS | {"type": 1}}, "store.type: "),
        ({"store": {"type": "zarr"}}, "store.url: is required"),
        ({"store": TAS | {"url": "ftp://a/b/c"}}, "store.url: is not of the form"),
        ({"store": TAS | {"url": f"{STORE}/bucket"}}, "store.url: has no key"),
        ({"store": TAS | {"url": "http://user:canary@a/b/c"}}, "store.url: contains credentials"),
        ({"store": TAS | {"url": f"{STORE}/bucket/a?X-Amz-Signature=canary"}}, "store.url: has a query"),
        ({"store": TAS | {"url": f"{STORE}/bucket/a?versionId=1"}}, "store.url: has a query"),
        ({"store": TAS | {"interface_type": "gs"}}, "store.interface_type: is 'gs'"),
        ({"store": TAS | {"array": "a;b"}}, "store.array: has a semicolon"),
        ({"store": TAS | {"array": "../tas"}}, "array: "),
        ({"store": TAS | {"array": "/"}}, "store.array: names no array"),
        ({"store": TAS | {"chunks": [1]}}, "store.chunks: is not a member"),
        ({"store": {"type": "netcdf", "url": f"{STORE}/b/k"}}, "store.array: is required"),
        ({"store": {"type": "hdf5", "url": f"{STORE}/b/k"}}, "store.array: is required"),
        ({"store": {"type": "table"}}, "store: has no member dtype"),
        ({"selection": 5}, "selection"),
        ({"selection": [[0, 1]]}, "selection[0]: "),
        ({"selection": [[0, 1, 1.0], [0, 1, 1]]}, "selection[0][2]: "),
        ({"selection": [[0, 1, 0], [0, 1, 1]]}, "selection[0][2]: a step cannot be 0"),
        ({"selection": [[0, 1, 1]] * 33}, "selection: "),
        ({"selection": [[0, 1, 1]]}, "selection: has 1 dimensions"),
        ({"selection": {"lat": {"index": [0, 1, 0]}}}, "selection.lat.index[2]: a step"),
        ({"selection": {"lat": {"index": [0, 1]}}}, "selection.lat.index: "),
        ({"selection": {"lat": [0, 1, 1]}}, "selection.lat: "),
        ({"selection": {"lat": {}}}, "selection.lat: should have index, nearest, or from and to"),
        ({"selection": {"lat": {"from": 0, "nearest": 1}}}, "selection.lat.nearest: cannot be given together"),
        ({"selection": {"lat": {"from": [0]}}}, "selection.lat.from: should be a number or the text of a date"),
        ({"selection": {"lat": {"nearest": 1}}}, "where: there is no variable 'lat'"),
        ({"group": {"time": "month", "lat": "month"}}, "group: should name one coordinate"),
        ({"group": "time:week"}, "group: is by 'week', not by one of year, year-month, month"),
        ({"group": "time", "bins": [1]}, "bins: has 1 numbers, and should have from 2"),
        ({"group": "time", "bins": [1, 1]}, "bins: should be finite numbers, each larger"),
        ({"bins": [1, 2]}, "bins: are of a coordinate that group names"),
        ({"counts": "all"}, "counts"),
        ({"counts": "none", "answer": "partials"}, "counts: is about results"),
        ({"weights": {}}, "weights: should have cos, or array, or dims and values"),
        ({"weights": {"cos": "lat", "array": "area"}}, "weights: should have cos, or array, or dims and values"),
        ({"weights": {"dims": ["lat"], "values": ["x"]}}, "weights.values: should be numbers"),
        ({"weights": {"dims": ["lat"], "values": [[1]]}}, "weights: has values that do not fit its dims"),
        ({"weights": {"dims": ["lat"], "values": [1]}}, "weights: have the shape [1], which is not that of their dims"),
        ({"selection": {"a,b": {"index": [0, 1, 1]}}}, "selection: 'a,b'"),
        ({"selection": {"0": {"index": [0, 1, 1]}, "00": {"index": [0, 1, 1]}}}, "selection.'00': names a dimension"),
        ({"selection": {"x": {"index": [0, 1, 1]}}}, "selection: no dimension is named 'x'"),
        ({"axis": 1.5}, "axis"),
        ({"axis": [True]}, "axis[0]: should be the name or the number"),
        ({"axis": ["time", "time"]}, "axis: names a dimension twice"),
        ({"axis": [""]}, "axis: has an empty name"),
        ({"axis": "lon"}, "axis: no dimension is named 'lon'"),
        ({"decode": "CF"}, "decode: is 'CF'"),
        ({"missing": {"missing_value": "x"}}, "missing.missing_value: "),
        ({"missing": {"valid_range": [2, 1]}}, "valid_range: "),
        ({"missing": {"other": 1}}, "missing.other: is not a member"),
        ({"ddof": 1}, "ddof: is not a parameter of mean"),
        ({"ddof": 1.0}, "ddof: "),
        ({"skipna": "true"}, "skipna: "),
        ({"absent": 404}, "absent: "),
        ({"answer": "all"}, "answer: "),
        ({"sections": [0, 1]}, "sections: is a member of partials"),
        ({"answer": "partials", "sections": [1, 1]}, "sections: should be [first, after the last]"),
        ({"answer": "partials", "sections": [-1, 1]}, "sections[0]: "),
        ({"answer": "partials", "sections": [0]}, "sections: "),
        ({"shape": [1]}, "shape: is not a member of this request"),
        ({"reducer": "mean"}, "reducer: is not a member of this request"),
    ],
)
def test_what_is_refused(app: flask.Flask, members: dict[str, Any], part: str) -> None:
    for is_cbor in (False, True):
        response = post(app, "mean", request(**members), is_cbor=is_cbor)
        assert response.status_code == 400, response.text
        message, causes = read_error(response)
        assert message == "request data is not valid"
        assert part in causes[0]
        assert "canary" not in response.text


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/arrays/v1/mode", "POST", 404),
        ("/arrays/v1", "POST", 404),
        ("/arrays/", "POST", 404),
        ("/arrays/v2/mean", "POST", 404),
        ("/arrays/v1/mean/more", "POST", 404),
        ("/arrays/v1/mean", "GET", 405),
    ],
)
def test_paths_that_there_are_not(app: flask.Flask, path: str, method: str, status: int) -> None:
    body = json.dumps(request()).encode()
    environ: dict[str, Any] = {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    assert ask(app, path, method, **environ).status_code == status


@pytest.mark.parametrize("path", ["/arrays/v1/max/", "//arrays//v1//max", "/arrays/v1/m%61x"])
def test_a_slash_more_does_no_harm(app: flask.Flask, path: str) -> None:
    body = json.dumps(request()).encode()
    environ: dict[str, Any] = {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    assert numbers(read(ask(app, path, "POST", **environ))) == 23


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'{"store": 1, "store": 2}', b"[" * 10000])
def test_a_body_that_is_no_object_is_refused(app: flask.Flask, body: bytes) -> None:
    for is_cbor in (False, True):
        response = post(app, "mean", body, is_cbor=is_cbor)
        assert response.status_code == 400
        assert read_error(response)[1][0].startswith("body: " if is_cbor or b"store" not in body else "store: ")


def test_an_origin_that_is_not_allowed_is_refused() -> None:
    app = create_app(make_settings(s3_endpoint=STORE))
    response = post(app, "mean", {"store": TAS | {"url": "https://other.example.org/bucket/store.zarr"}})
    assert response.status_code == 400
    assert "not one of the origins" in read_error(response)[0]


@pytest.mark.parametrize("answer", ["result", "partials"])
def test_a_histogram_has_the_bins_of_the_request_in_every_reply(
    app: flask.Flask, many_sections: None, answer: str
) -> None:
    edges = [0, 4.5, 11, 23]
    response = post(app, "histogram", request(axis="time", edges=edges, answer=answer))
    wanted = [np.histogram(column, edges)[0] for column in VALUES.T]
    if answer == "partials":
        header, *items = read_items(response)
        assert header["partial"]["edges"] == edges
        assert np.array_equal(join(header, items[:-1]), wanted)
        return
    reply = read(response)
    assert (reply["dims"], reply["units"]) == (["lat", "bin"], None)
    assert np.array_equal(numbers(reply), wanted)
    assert reply["count"] == [6, 6, 6, 6]


def test_thresholds_are_members_and_parameters_and_part_of_the_plan(app: flask.Flask) -> None:
    reply = read(post(app, "count", request(axis="time", gt=5, le=17.0)))
    wanted = np.sum((VALUES > 5) & (VALUES <= 17), axis=0)
    assert np.array_equal(numbers(reply), wanted)
    got = ask(app, "/count/zarr;axis=time;gt=5;le=17/bucket/store.zarr/tas")
    assert got.data == reply["bytes"]
    digests = {read(post(app, "plan", request(**members)))["digest"] for members in ({}, {"gt": 5}, {"ge": 5})}
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("reducer", "members", "field"),
    [
        ("histogram", {"edges": [1]}, "edges: has 1 numbers"),
        ("histogram", {"edges": [2, 1]}, "edges: should be finite numbers"),
        ("histogram", {"edges": ["1", 2]}, "edges[0]: "),
        ("mean", {"edges": [1, 2]}, "edges: is a parameter of histogram"),
        ("mean", {"gt": "5"}, "gt: "),
        ("mean", {"le": True}, "le: "),
    ],
)
def test_wrong_edges_and_thresholds_are_refused_by_name(
    app: flask.Flask, reducer: str, members: dict[str, Any], field: str
) -> None:
    response = post(app, reducer, request(**members))
    assert response.status_code == 400
    assert read_error(response)[1][0].startswith(field)

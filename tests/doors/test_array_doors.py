"""Whole arrays on the doors of S3 clients: what comes back, which conditions hold, and what is refused."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import flask
import numpy as np
import pytest

from active_storage.errors import DeadlineExceeded, NotModified, OriginNotAllowed
from active_storage.model.array_reduction import ArrayReduction
from active_storage.model.etag import ETag
from active_storage.model.reducers import REDUCERS
from handler.app import Application, create_app
from handler.arrays.engine import ArrayAnswer
from handler.containers.reader import Container
from handler.doors.service import Service
from handler.scope import Scope
from handler.stores.fake import FakeStore
from tests.doors.array_stores import VALUES, make_store, write_zarr
from tests.doors.fake_arrays import FakeArrays, make_answer
from tests.doors.test_proxy import AUTHORIZATION
from tests.events import LINK_QUERY, STORE, make_event, post
from tests.helpers import ask, make_settings, read_error

TAS = "/bucket/store.zarr/tas"


@pytest.fixture
def store() -> FakeStore:
    return make_store()


@pytest.fixture
def app(store: FakeStore) -> flask.Flask:
    return create_app(make_settings(s3_endpoint=STORE), store)


@pytest.fixture
def arrays() -> FakeArrays:
    return FakeArrays(make_answer())


@pytest.fixture
def fake_app(arrays: FakeArrays) -> flask.Flask:
    service = Service.of(make_settings(s3_endpoint=STORE), FakeStore({"/bucket/f.nc": b"root"}))
    return Application(replace(service, arrays=arrays))  # type: ignore[arg-type]  # as far as a door needs it


# Replies


# The same array in every container: what stands for the data type, and its object.
CONTAINERS = {
    "zarr version 2": ("zarr", TAS),
    "zarr version 3": ("zarr", "/bucket/store.zarr/tas3"),
    "netcdf": ("netcdf;var=g%2Ftas", "/bucket/f.nc"),
    "hdf5": ("hdf5;var=%2Fg%2Ftas", "/bucket/f.nc"),
    "kerchunk": ("kerchunk;var=tas", "/bucket/references.json"),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_an_array_is_reduced_as_numpy_does(app: flask.Flask, name: str) -> None:
    segment, path = CONTAINERS[name]
    response = ask(app, f"/mean/{segment};axis=time;selection=lat:::2{path}")
    assert response.status_code == 200, response.text
    assert np.array_equal(np.frombuffer(response.data, "<f4"), VALUES[:, ::2].mean(axis=0))
    for prefix in ("x-activestorage-", "x-amz-meta-activestorage-"):
        assert response.headers[f"{prefix}dtype"] == "float32"
        assert json.loads(response.headers[f"{prefix}shape"]) == [2]
        assert json.loads(response.headers[f"{prefix}count"]) == [6, 6]
        assert json.loads(response.headers[f"{prefix}dims"]) == ["lat"]
        assert response.headers[f"{prefix}units"] == "K"
        assert response.headers[f"{prefix}missing-chunks"] == "0"
    assert response.headers["Content-Length"] == "8"
    assert response.headers["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize("reducer", REDUCERS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_each_dimension_of_the_result_has_a_name_or_null(app: flask.Flask, reducer: str, method: str) -> None:
    headers = ask(app, f"/{reducer}/zarr;axis=0{TAS}", method).headers
    dimensions: dict[str, list[str | None]] = {
        "stats": [None, "lat"],
        "select": ["time", "lat"],
        "histogram": ["lat", "bin"],
    }
    expected = dimensions.get(reducer, ["lat"])
    assert json.loads(headers["x-activestorage-dims"]) == expected
    assert len(json.loads(headers["x-activestorage-shape"])) == len(expected)


@pytest.mark.parametrize("way", ["path", "encoded path", "query", "both"])
def test_parameters_stand_in_the_path_or_in_the_query(app: flask.Flask, way: str) -> None:
    target = {
        "path": f"/max/zarr;axis=lat;selection=2:4,:{TAS}",
        "encoded path": f"/max/zarr%3Baxis%3Dlat%3Bselection%3D2%3A4%2C%3A{TAS}",
        "query": f"/max/zarr{TAS}?axis=lat&selection=2:4,:",
        "both": f"/max/zarr;axis=lat{TAS}?selection=2%3A4,%3A&axis=lat",
    }[way]
    assert np.array_equal(np.frombuffer(ask(app, target).data, "<f4"), VALUES[2:4].max(axis=1))


def test_a_slash_at_the_end_of_an_array_does_no_harm(app: flask.Flask) -> None:
    assert ask(app, f"/sum/zarr{TAS}/").data == np.float32(VALUES.sum()).tobytes()


def test_absent_chunks_are_counted(app: flask.Flask, store: FakeStore) -> None:
    store.sources.update(FakeStore(write_zarr("/bucket/holes", fill_value=9)).sources)
    del store.sources["/bucket/holes/1.1"]
    response = ask(app, "/max/zarr;decode=none;selection=2:4,3:/bucket/holes")
    assert response.data == np.float32(9).tobytes()
    assert response.headers["x-activestorage-missing-chunks"] == "1"


def test_a_maximum_of_nothing_is_nan_in_a_cell_and_an_error_alone(app: flask.Flask) -> None:
    response = ask(app, "/max/zarr;axis=0/bucket/store.zarr/nan")
    assert np.isnan(np.frombuffer(response.data, "<f4")).all()
    assert response.headers["x-activestorage-empty"] == "3"
    response = ask(app, "/max/zarr/bucket/store.zarr/nan")
    assert response.status_code == 400
    assert read_error(response)["Code"] == "NothingToReduce"


def test_quantiles_have_a_dimension_if_there_are_several(app: flask.Flask) -> None:
    target = "/quantile/zarr;axis=time;q=0.25,0.5/bucket/store.zarr/tas"
    got, head = (ask(app, target, method) for method in ("GET", "HEAD"))
    assert np.array_equal(np.frombuffer(got.data, "<f8").reshape(2, 4), np.quantile(VALUES, [0.25, 0.5], axis=0))
    assert got.headers["x-activestorage-dims"] == head.headers["x-activestorage-dims"] == '["quantile", "lat"]'
    assert got.headers["Content-Length"] == head.headers["Content-Length"]
    median = ask(app, "/median/zarr;axis=time/bucket/store.zarr/tas")
    assert np.array_equal(np.frombuffer(median.data, "<f4"), np.median(VALUES, axis=0))
    assert median.headers["x-activestorage-dims"] == '["lat"]'


@pytest.mark.parametrize("name", CONTAINERS)
def test_head_says_what_get_would(app: flask.Flask, name: str) -> None:
    segment, path = CONTAINERS[name]
    got, head = (ask(app, f"/stats/{segment};axis=time{path}", method) for method in ("GET", "HEAD"))
    for header in ("Content-Length", "Content-Type", "x-activestorage-shape", "x-activestorage-dtype"):
        assert head.headers[header] == got.headers[header]
    assert head.data == b""
    assert "ETag" not in head.headers
    assert "x-activestorage-missing-chunks" not in head.headers
    assert head.headers["x-activestorage-dims"] == got.headers["x-activestorage-dims"]


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({"dimensions": ("lat", None, "lön\r\nx: y")}, "dims", '["lat", null, "l\\u00f6n\\r\\nx: y"]'),
        ({"dimensions": ("x" * 1020,)}, "dims", f'["{"x" * 1020}"]'),
        ({"dimensions": ("x" * 1021,)}, "dims", None),
        ({"units": " K "}, "units", "K"),
        ({"units": None}, "units", None),
        ({"units": ""}, "units", None),
        ({"units": " "}, "units", None),
        ({"units": "°C"}, "units", None),
        ({"units": "K\r\nSet-Cookie: x"}, "units", None),
        ({"units": "K" * 1025}, "units", None),
        ({"missing_chunks": 7}, "missing-chunks", "7"),
    ],
)
def test_what_a_header_cannot_hold_is_left_out(
    fake_app: flask.Flask, arrays: FakeArrays, changes: dict[str, Any], name: str, value: str | None
) -> None:
    arrays.answer = make_answer(**changes)
    response = ask(fake_app, "/mean/netcdf;var=tas/bucket/f.nc")
    assert response.status_code == 200
    assert response.headers.get(f"x-activestorage-{name}") == value


def test_metadata_keeps_to_the_limit_of_s3(fake_app: flask.Flask, arrays: FakeArrays) -> None:
    arrays.answer = make_answer(dimensions=("x" * 1000,), units="y" * 1000)
    response = ask(fake_app, "/mean/netcdf;var=tas/bucket/f.nc")
    metadata = {name[11:]: value for name, value in response.headers.items() if name.startswith("x-amz-meta-")}
    assert sum(len(name) + len(value) for name, value in metadata.items()) <= 2048
    assert {"activestorage-dtype", "activestorage-shape", "activestorage-dims"} <= metadata.keys()
    assert len(response.headers["x-activestorage-units"]) == 1000


# Conditions


def test_the_etag_is_that_of_the_answer(app: flask.Flask, store: FakeStore) -> None:
    target = f"/mean/zarr{TAS}"
    etag = ask(app, target).headers["ETag"]
    assert ask(app, target).headers["ETag"] == etag
    assert ask(app, f"/max/zarr{TAS}").headers["ETag"] != etag
    response = ask(app, target, headers={"If-None-Match": f'"other", {etag}'})
    assert (response.status_code, response.headers["ETag"], response.data) == (304, etag, b"")
    assert ask(app, target, headers={"If-None-Match": '"other"'}).status_code == 200
    assert ask(app, target, headers={"If-Match": etag}).status_code == 200
    assert ask(app, target, headers={"If-Match": "*"}).status_code == 200
    response = ask(app, target, headers={"If-Match": '"other"'})
    assert (response.status_code, read_error(response)["Code"]) == (412, "PreconditionFailed")
    store.sources[f"{TAS}/2.1"].etag = '"changed"'
    assert ask(app, target, headers={"If-None-Match": etag}).status_code == 200


def test_a_condition_that_is_signed_is_about_the_object(fake_app: flask.Flask, arrays: FakeArrays) -> None:
    headers = {"Authorization": AUTHORIZATION.format(names="host;if-match"), "If-Match": '"4-fake"'}
    assert ask(fake_app, "/mean/netcdf;var=tas/bucket/f.nc", headers=headers).status_code == 200
    arrays.error = NotModified(ETag("object"))
    headers = {"Authorization": AUTHORIZATION.format(names="host;if-none-match"), "If-None-Match": '"4-fake"'}
    response = ask(fake_app, "/mean/netcdf;var=tas/bucket/f.nc", headers=headers)
    assert response.status_code == 304
    assert "ETag" not in response.headers


# Refusals


@pytest.mark.parametrize(
    ("target", "headers", "status", "code", "part"),
    [
        (f"/mean/zarr{TAS}", {"Range": "bytes=0-3"}, 400, "InvalidArgument", "Range: selects bytes of an object"),
        (f"/mean/zarr{TAS}", {"If-Range": '"x"'}, 400, "InvalidArgument", "If-Range"),
        (f"/mean/zarr{TAS}?partNumber=1", {}, 400, "InvalidArgument", "partNumber"),
        (f"/mean/zarr{TAS}?versionId=1", {}, 400, "InvalidArgument", "versionId"),
        (f"/mean/zarr{TAS}?response-content-type=a", {}, 400, "InvalidArgument", "response-content-type"),
        (f"/mean/zarr{TAS}?ax=1", {}, 400, "InvalidArgument", "'ax'"),
        (f"/mean/zarr{TAS}?where=lat:1..2", {}, 400, "InvalidArgument", "where: there is no variable 'lat'"),
        (f"/mean/zarr;shape=6,4{TAS}", {}, 400, "InvalidArgument", "shape: means nothing with zarr"),
        (f"/mean/zarr;axis=lon{TAS}", {}, 400, "InvalidArgument", "axis: no dimension is named 'lon'"),
        (f"/mean/zarr;selection=:{TAS}", {}, 400, "InvalidArgument", "selection"),
        (f"/mode/zarr{TAS}", {}, 404, "NoSuchReducer", "mode"),
        (f"/quantile/zarr{TAS}", {}, 400, "InvalidArgument", "q: is required for quantile"),
        ("/mean/netcdf/bucket/f.nc", {}, 400, "InvalidArgument", "var: is required"),
        ("/mean/table/bucket/f.nc", {}, 400, "InvalidArgument", "POST /arrays/v1/"),
        ("/mean/zarr/bucket/store.zarr/other", {}, 404, "NoSuchKey", ""),
        ("/sum/float32;var=tas/bucket/key", {}, 400, "InvalidArgument", "var: is a parameter of whole arrays"),
    ],
)
def test_what_is_refused(
    app: flask.Flask, target: str, headers: dict[str, str], status: int, code: str, part: str
) -> None:
    response = ask(app, target, headers=headers)
    error = read_error(response)
    assert (response.status_code, error["Code"]) == (status, code), error
    assert part in error["Message"]


SIGNED = {
    "header": ("", {"Authorization": AUTHORIZATION.format(names="host")}),
    "link": (f"?{LINK_QUERY}", {}),
    "version 2": ("?AWSAccessKeyId=a&Expires=1&Signature=b", {}),
    "half a signature": ("?X-Amz-Signature=a", {}),
    "anything": ("", {"Authorization": "Bearer x"}),
}


@pytest.mark.parametrize("way", SIGNED)
def test_a_signed_request_for_zarr_is_told_of_the_json_door(app: flask.Flask, store: FakeStore, way: str) -> None:
    query, headers = SIGNED[way]
    response = ask(app, f"/mean/zarr{TAS}{query}", headers=headers)
    assert response.status_code == 400
    assert "POST /arrays/v1/" in read_error(response)["Message"]
    assert store.requests == []


@pytest.mark.parametrize("way", SIGNED)
def test_a_container_of_one_object_takes_a_signature(fake_app: flask.Flask, arrays: FakeArrays, way: str) -> None:
    query, headers = SIGNED[way]
    assert ask(fake_app, f"/mean/netcdf;var=tas/bucket/f.nc{query}", headers=headers).status_code == 200
    assert arrays.asked == [ArrayReduction("mean", "netcdf", "tas")]


def check_signed(store: FakeStore, path: str, query: str, headers: Mapping[str, str]) -> None:
    """The root was asked for with the signature, more than once, and everything else without one."""
    roots = [each for each in store.requests if each.target.startswith(path)]
    others = [each for each in store.requests if each not in roots]
    assert len(roots) > 1
    for each in roots:
        assert each.target == f"{path}{query}"
        assert each.headers.get("authorization") == headers.get("Authorization")
    for each in others:
        assert "?" not in each.target
        assert "authorization" not in each.headers


@pytest.mark.parametrize("way", SIGNED)
@pytest.mark.parametrize("name", ["netcdf", "kerchunk"])
def test_the_signature_goes_along_with_the_object_only(app: flask.Flask, store: FakeStore, way: str, name: str) -> None:
    (query, headers), (segment, path) = SIGNED[way], CONTAINERS[name]
    response = ask(app, f"/sum/{segment}{path}{query}", headers=headers)
    assert response.data == np.float32(VALUES.sum()).tobytes(), response.text
    check_signed(store, path, query, headers)
    assert len([each for each in store.requests if not each.target.startswith(path)]) == 6 * (name == "kerchunk")


@pytest.mark.parametrize("name", ["netcdf", "kerchunk"])
def test_a_lambda_reduces_a_real_file_by_its_link(app: flask.Flask, store: FakeStore, name: str) -> None:
    segment, path = CONTAINERS[name]
    response = post(app, f"/sum/{segment}", make_event(f"{STORE}{path}?{LINK_QUERY}", url=path))
    assert response.data == np.float32(VALUES.sum()).tobytes(), response.text
    check_signed(store, path, f"?{LINK_QUERY}", {})


@pytest.mark.parametrize("way", SIGNED)
def test_head_of_a_signed_request_is_told_of_get(fake_app: flask.Flask, arrays: FakeArrays, way: str) -> None:
    query, headers = SIGNED[way]
    response = ask(fake_app, f"/mean/netcdf;var=tas/bucket/f.nc{query}", "HEAD", headers)
    assert response.status_code == 501
    assert arrays.asked == []
    assert ask(fake_app, "/mean/netcdf;var=tas/bucket/f.nc", "HEAD").status_code == 200


def test_a_reference_passes_the_allow_list() -> None:
    """The real transport refuses it, before it connects."""
    service = Service.of(make_settings(s3_endpoint=STORE))

    class Follows:
        def reduce(self, reduction: ArrayReduction, container: Container, scope: Scope) -> ArrayAnswer:
            container.open_url("https://other.example.org/b/k").open(None)
            raise AssertionError

    app = Application(replace(service, arrays=Follows()))  # type: ignore[arg-type]  # as far as a door needs it
    response = ask(app, "/mean/kerchunk;var=tas/bucket/references.json")
    assert (response.status_code, read_error(response)["Code"]) == (403, OriginNotAllowed.code)


# Object lambdas


def test_the_webhook_reduces_a_container_of_one_object(fake_app: flask.Flask, arrays: FakeArrays) -> None:
    link = f"{STORE}/bucket/f.nc?{LINK_QUERY}"
    ways: dict[str, Any] = {
        "/mean/netcdf;var=g%2Ftas;axis=lat": make_event(link, url="/bucket/f.nc"),
        "/": make_event(link, url="/bucket/f.nc?reducer=mean&dtype=netcdf&var=g/tas&axis=lat"),
        "/mean/netcdf": make_event(link, "/bucket/f.nc", {"X-ActiveStorage-Reduction": ";var=/g/tas;axis=lat"}),
        "/mean": make_event(link, "/bucket/f.nc")
        | {"configuration": {"payload": json.dumps({"dtype": "netcdf", "var": "g/tas", "axis": ["lat"]})}},
    }
    for path, document in ways.items():
        response = post(fake_app, path, document)
        assert response.status_code == 200, response.text
        assert response.headers["x-amz-fwd-header-x-activestorage-dims"] == '["lat"]'
        assert response.headers["x-amz-fwd-header-x-amz-meta-activestorage-units"] == "K"
    assert arrays.asked == [ArrayReduction("mean", "netcdf", "g/tas", axis=("lat",))] * len(ways)


def test_a_lambdas_link_is_not_for_an_array_of_many_objects(fake_app: flask.Flask) -> None:
    document = make_event(f"{STORE}{TAS}?{LINK_QUERY}", url=TAS)
    response = post(fake_app, "/mean/zarr", document)
    assert response.headers["x-amz-fwd-error-code"] == "InvalidArgument"
    assert "POST /arrays/v1/" in response.headers["x-amz-fwd-error-message"]


@pytest.mark.parametrize("way", SIGNED)
def test_signed_references_that_are_absent_are_absent(app: flask.Flask, way: str) -> None:
    query, headers = SIGNED[way]
    response = ask(app, f"/mean/kerchunk;var=tas/bucket/absent.json{query}", headers=headers)
    assert response.status_code == 404, response.text


def test_a_deadline_names_the_door_for_longer_requests(fake_app: flask.Flask, arrays: FakeArrays) -> None:
    arrays.error = DeadlineExceeded("the time for this request was over after 3 of 9 chunks")
    response = ask(fake_app, f"/mean/zarr{TAS}")
    assert response.status_code == 504
    assert "3 of 9 chunks (POST /arrays/v1/reducer answers longer requests" in read_error(response)["Message"]

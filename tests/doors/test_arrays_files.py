"""POST /arrays/v1/ with ``store.urls``: one variable over many files, and every refusal."""

import base64
import io
import json
from typing import Any

import flask
import h5py
import numpy as np
import pytest

from active_storage.errors import OriginNotAllowed
from active_storage.model.ranges import ByteRange
from handler.app import create_app
from handler.scope import Scope
from handler.stores.fake import FakeStore
from handler.stores.source import Stream
from handler.stores.store_request import StoreRequest
from tests.array_replies import numbers
from tests.doors.test_arrays_json import SECRET, STORE, basic, post, read, read_items
from tests.doors.test_json import read_error
from tests.helpers import make_settings

OTHER = "https://other.example.org"
FORBIDDEN = "https://forbidden.example.org"

VALUES = np.arange(30, dtype="<i2").reshape(10, 3)


def write_file(first: int, stop: int, **attributes: Any) -> bytes:
    """A file with some rows of ``tas`` and their times."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        tas = file.create_dataset("tas", data=VALUES[first:stop], chunks=(2, 3), maxshape=(None, 3))
        time = file.create_dataset("time", data=np.arange(first, stop))
        lat = file.create_dataset("lat", data=np.arange(3.0))
        tas.attrs.update(attributes)
        for number, (name, scale) in enumerate({"time": time, "lat": lat}.items()):
            scale.make_scale(name)
            tas.dims[number].attach_scale(scale)
    return stream.getvalue()


class Store(FakeStore):
    """A store that refuses an origin, as the transport does."""

    def open(self, request: StoreRequest, byte_range: ByteRange | None, scope: Scope) -> Stream:
        if str(request.origin) == FORBIDDEN:
            raise OriginNotAllowed(f"{request.origin} is not one of the origins")
        return super().open(request, byte_range, scope)


@pytest.fixture
def store() -> FakeStore:
    packed = {"units": "K", "scale_factor": 0.5, "add_offset": 1.0}
    return Store(
        {
            "/b/0.nc": write_file(0, 4, **packed),
            "/b/1.nc": write_file(4, 5, **packed),
            "/b/2.nc": write_file(5, 10, **packed),
            "/b/other.nc": write_file(5, 10, units="K", scale_factor=0.25),
        }
    )


@pytest.fixture
def app(store: FakeStore) -> flask.Flask:
    return create_app(make_settings(s3_endpoint=STORE), store)


def name_files(*names: str, origin: str = STORE, **members: Any) -> dict[str, Any]:
    """A store of several files."""
    urls = [name if "//" in name else f"{origin}/b/{name}" for name in names]
    return {"type": "netcdf", "urls": urls, "array": "tas", "concat": "time", **members}


FILES = name_files("0.nc", "1.nc", "2.nc")


@pytest.mark.parametrize("is_cbor", [False, True])
def test_files_are_one_array(app: flask.Flask, is_cbor: bool) -> None:
    wanted = {"store": FILES, "axis": "lat", "selection": {"time": {"index": [None, None, -2]}}}
    reply = read(post(app, "mean", wanted, is_cbor=is_cbor))
    assert np.array_equal(numbers(reply), (VALUES * 0.5 + 1)[::-2].mean(1))
    assert (reply["dims"], reply["units"], reply["missing_chunks"]) == (["time"], "K", 0)


def test_the_order_of_the_urls_is_that_of_the_array(app: flask.Flask) -> None:
    reply = read(post(app, "select", {"store": name_files("0.nc", "1.nc", "other.nc", type="hdf5")}))
    assert np.array_equal(numbers(reply), np.concatenate([VALUES[:5] * 0.5 + 1, VALUES[5:] * 0.25]))
    response = post(app, "select", {"store": name_files("0.nc", "2.nc", "1.nc")})
    assert response.status_code == 400
    assert "store.urls[2]: the file has values of the coordinate 'time' that do not go on" in read_error(response)[1][0]


def test_plan_progress_and_partial_results(app: flask.Flask, store: FakeStore) -> None:
    plan = read(post(app, "plan", {"store": FILES}))
    assert (plan["shape"], plan["dims"], plan["chunks"], plan["sections"]) == ([10, 3], ["time", "lat"], 6, 1)
    assert len(plan["etags"]) == 3
    items = read_items(post(app, "max", {"store": FILES, "answer": "progress"}))
    assert [item["type"] for item in items] == ["header", "progress", "result", "end"]
    partials = {"store": FILES, "answer": "partials", "plan": plan["digest"]}
    header, section, end = read_items(post(app, "max", partials))
    assert (header["dims"], header["chunks"], end) == ([], 6, {"type": "end"})
    assert numbers(section["pieces"][0]["count"]) == 30
    store.sources["/b/1.nc"].etag = '"changed"'
    assert post(app, "max", partials).status_code == 409


def test_keys_go_to_the_origin_of_the_first_file(app: flask.Flask, store: FakeStore) -> None:
    asked = name_files(f"{OTHER}/b/0.nc", "1.nc", f"{OTHER}/b/2.nc")
    assert read(post(app, "count", {"store": asked}, basic()))["count"] == [30]
    signed = {(str(each.origin), "authorization" in each.headers) for each in store.requests}
    assert signed == {(OTHER, True), (STORE, False)}
    assert SECRET not in str(store.requests)


def test_each_file_is_asked_for_in_the_callers_name(app: flask.Flask, store: FakeStore) -> None:
    read(post(app, "count", {"store": FILES}, basic()))
    assert all(each.headers["authorization"].startswith("AWS4-HMAC-SHA256 ") for each in store.requests)
    store.requests.clear()
    web = name_files("0.nc", "1.nc?a=b", interface_type="http")
    read(post(app, "count", {"store": web}, basic()))
    assert all(each.headers["authorization"].startswith("Basic ") for each in store.requests)


def write_zarr(first: int, stop: int) -> dict[str, bytes]:
    """A Zarr store with some rows of ``tas`` and their times, as in a file."""
    arrays: dict[str, tuple[Any, Any, list[str]]] = {
        "tas": (VALUES[first:stop], (2, 3), ["time", "lat"]),
        "time": (np.arange(first, stop), (stop - first,), ["time"]),
    }
    objects: dict[str, bytes] = {}
    for name, (values, chunks, dims) in arrays.items():
        array = {"zarr_format": 2, "shape": values.shape, "chunks": chunks, "dtype": values.dtype.str, "order": "C"}
        array |= {"compressor": None, "filters": None, "fill_value": 0}
        objects[f"{name}/.zarray"] = json.dumps(array).encode()
        objects[f"{name}/.zattrs"] = json.dumps({"_ARRAY_DIMENSIONS": dims}).encode()
        for number in range(-(-len(values) // chunks[0])):
            chunk = np.zeros(chunks, values.dtype)
            rows = values[number * chunks[0] : (number + 1) * chunks[0]]
            chunk[: len(rows)] = rows
            objects[f"{name}/{number}" + ".0" * (values.ndim - 1)] = chunk.tobytes()
    return objects


def test_stores_and_references_are_one_array_as_well(app: flask.Flask, store: FakeStore) -> None:
    kept: dict[str, bytes] = {}
    for number, (first, stop) in enumerate([(0, 4), (4, 5), (5, 10)]):
        objects = write_zarr(first, stop)
        kept |= {f"/b/{number}.zarr/{key}": data for key, data in objects.items()}
        texts = {key: "base64:" + base64.b64encode(data).decode() for key, data in objects.items()}
        kept[f"/b/{number}.json"] = json.dumps({"version": 1, "refs": texts}).encode()
    store.sources |= Store(kept).sources
    for kind, end in (("zarr", "zarr"), ("kerchunk", "json")):
        files = name_files(*(f"{number}.{end}" for number in range(3)), type=kind)
        selection = {"time": {"from": 3, "to": 6}}
        reply = read(post(app, "select", {"store": files, "selection": selection}))
        assert np.array_equal(numbers(reply), VALUES[3:7])
        assert reply["labels"]["time"] == [3, 4, 5, 6]
        reply = read(post(app, "sum", {"store": files, "axis": "time"}))
        assert np.array_equal(numbers(reply), VALUES.sum(0))
        response = post(app, "sum", {"store": {**files, "urls": files["urls"][::2] + files["urls"][1:2]}})
        assert (
            "store.urls[2]: the file has values of the coordinate 'time' that do not go on"
            in read_error(response)[1][0]
        )


@pytest.mark.parametrize("answer", ["result", "progress", "partials"])
def test_an_origin_that_is_not_allowed_is_named_by_its_index(app: flask.Flask, answer: str) -> None:
    response = post(app, "max", {"store": name_files("0.nc", f"{FORBIDDEN}/b/1.nc"), "answer": answer})
    assert response.status_code == 400
    assert read_error(response)[0] == f"store.urls[1]: {FORBIDDEN} is not one of the origins"


def test_a_file_that_is_not_there_is_named_by_its_index(app: flask.Flask) -> None:
    response = post(app, "max", {"store": name_files("0.nc", "9.nc")})
    assert response.status_code == 400
    assert read_error(response)[1][0].startswith("NoSuchKey: store.urls[1]: ")


@pytest.mark.parametrize(
    ("members", "part"),
    [
        ({"concat": None}, "store.concat: is required with urls"),
        ({"urls": None}, "store.urls: is required with concat"),
        ({"urls": []}, "store.urls: "),
        ({"urls": [1]}, "store.urls[0]: "),
        ({"urls": f"{STORE}/b/0.nc"}, "store.urls: "),
        ({"url": f"{STORE}/b/0.nc"}, "store.url: cannot be given together with urls"),
        ({"type": "zarr"}, "store.urls[0]: "),
        ({"type": "zarr", "urls": [f"{STORE}/b/0.zarr", f"{STORE}/b/1.zarr?a=b"]}, "store.urls[1]: has a query"),
        ({"array": None}, "store.array: is required"),
        ({"array": "pr"}, "store.urls[0]: array: there is no variable 'pr'"),
        ({"concat": "member"}, "store.urls[1]: the file has the size 1 of the dimension 'time'"),
        ({"urls": [f"{STORE}/b/0.nc", "ftp://a/b/c"]}, "store.urls[1]: is not of the form"),
        ({"urls": [f"{STORE}/b/0.nc", f"{STORE}/b"]}, "store.urls[1]: has no key"),
        ({"urls": [f"{STORE}/b/0.nc", f"{STORE}/b/1.nc?X-Amz-Signature=canary"]}, "store.urls[1]: has a query"),
        ({"urls": [f"{STORE}/b/0.nc", "http://user:canary@a/b/c"]}, "store.urls[1]: contains credentials"),
        ({"interface_type": "gs"}, "store.interface_type: is 'gs'"),
    ],
)
def test_what_is_refused(app: flask.Flask, members: dict[str, Any], part: str) -> None:
    for is_cbor in (False, True):
        response = post(app, "max", {"store": FILES | members}, is_cbor=is_cbor)
        assert response.status_code == 400, response.text
        assert part in read_error(response)[1][0]
        assert "canary" not in response.text

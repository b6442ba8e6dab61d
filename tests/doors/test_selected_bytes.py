"""Only the selected bytes must exist: in some archives, the object ends before the last row of an array does."""

from typing import Any

import cbor2
import flask
import numpy as np
import pytest
from werkzeug.test import TestResponse

from handler.app import create_app
from handler.stores.fake import FakeStore
from tests.helpers import ask, make_settings, post_json, read_error

HEADER = 64

# A netCDF-3 file of seven records: two variables of 2 and 5 float64. The second begins at byte 80.
RECORDS = np.arange(49, dtype=">f8").reshape(7, 7)
SECOND = RECORDS[:, 2:]


@pytest.fixture
def records_app() -> flask.Flask:
    objects = {"/b/records": bytes(HEADER) + RECORDS.tobytes(), "/b/odd": bytes(HEADER) + RECORDS.tobytes()[:-3]}
    return create_app(make_settings(s3_endpoint="http://store.test:9000"), FakeStore(objects))


def reduce(app: flask.Flask, parameters: str, key: str = "records", **options: Any) -> TestResponse:
    return ask(app, f"/sum/float64;byte_order=big;{parameters}/b/{key}", **options)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("size", ["", ";size=392"])
def test_the_tail_of_the_last_record_need_not_exist(records_app: flask.Flask, size: str, method: str) -> None:
    response = reduce(records_app, f"offset=80;shape=7,7;selection=:,:5;axis=0{size}", method=method)
    assert response.status_code == 200, response.text
    assert response.headers["x-activestorage-shape"] == "[5]"
    assert method == "HEAD" or np.frombuffer(response.data, "<f8").tolist() == SECOND.sum(axis=0).tolist()


def test_a_signed_range_can_end_before_the_shape(records_app: flask.Flask) -> None:
    response = reduce(records_app, "shape=7,7;selection=:,:5;axis=1", headers={"Range": "bytes=80-"})
    assert np.frombuffer(response.data, "<f8").tolist() == SECOND.sum(axis=1).tolist()


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_json_interface_reads_records(records_app: flask.Flask, version: str) -> None:
    place = {"url": "http://store.test:9000/b/records", "interface_type": "s3"}
    if version == "v1":
        place = {"source": "http://store.test:9000", "bucket": "b", "object": "records"}
    body = {**place, "dtype": "float64", "byte_order": "big", "offset": 80, "size": 392, "shape": [7, 7]}
    body["selection"] = [[0, 7, 1], [0, 5, 1]]
    response = post_json(records_app, f"/{version}/sum/", body)
    assert response.status_code == 200, response.text
    data = response.data if version == "v1" else cbor2.loads(response.data)["bytes"]
    assert np.frombuffer(data, "<f8").tolist() == [SECOND.sum()]


def test_steps_and_reversals_need_only_the_selected_bytes(records_app: flask.Flask) -> None:
    response = reduce(records_app, "offset=80;shape=7,7;selection=::-2,4::-2;axis=")
    assert np.frombuffer(response.data, "<f8").reshape(4, 3).tolist() == SECOND[::-2, 4::-2].tolist()


@pytest.mark.parametrize(
    ("parameters", "key"),
    [
        ("offset=80;shape=7,7", "records"),
        ("offset=80;shape=7,7;size=392", "records"),
        ("offset=80;shape=7,7;selection=:,:6;axis=0", "records"),
        ("offset=80;shape=8,7;selection=:,:5;axis=0", "records"),
        ("offset=80;shape=7,7;selection=-1:,5", "records"),
        ("offset=80;shape=7,7;selection=:,:5", "odd"),
        # If there is more data than the shape has, it is not clear which was meant.
        ("offset=80;shape=6,7;selection=:,:5", "records"),
    ],
)
def test_selected_bytes_must_exist_and_the_shape_must_cover_the_object(
    records_app: flask.Flask, parameters: str, key: str
) -> None:
    response = reduce(records_app, parameters, key)
    assert (response.status_code, read_error(response)["Code"]) == (400, "InvalidArgument"), response.text


def test_an_empty_selection_needs_no_bytes(records_app: flask.Flask) -> None:
    for parameters in (
        "offset=80;shape=9,9;selection=3:3,:",
        "shape=99,7;selection=0:0,:",
        "offset=456;shape=7,7;selection=:,7:",
        "offset=9999;shape=7,7;size=392;selection=:,7:",
    ):
        for key in ("records", "odd"):
            assert reduce(records_app, parameters, key).data == bytes(8), parameters
            head = reduce(records_app, parameters, key, method="HEAD")
            assert (head.status_code, head.headers["x-activestorage-count-total"]) == (200, "0")

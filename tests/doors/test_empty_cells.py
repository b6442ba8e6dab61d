"""Cells without elements: the results for S3 clients, and for clients of the JSON interface."""

from typing import Any

import cbor2
import flask
import numpy as np
import pytest

from handler.app import create_app
from handler.stores.fake import FakeStore
from tests.helpers import ask, make_settings, post_json, read_error

GRID = [[1, -99, 3], [2, -99, 1]]


@pytest.fixture
def grid_app() -> flask.Flask:
    objects = {f"/b/{dtype}": np.array(GRID, dtype).tobytes() for dtype in ("float32", "float64", "int16", "bool")}
    return create_app(make_settings(s3_endpoint="http://store.test:9000"), FakeStore(objects))


def read(app: flask.Flask, reducer: str, dtype: str, rule: str = "missing_value=-99;axis=0") -> tuple[Any, str | None]:
    response = ask(app, f"/{reducer}/{dtype};byte_order=little;shape=2,3;{rule}/b/{dtype.lstrip('<')}")
    assert response.status_code == 200, response.text
    values = np.frombuffer(response.data, response.headers["x-activestorage-dtype"])
    return values.tolist(), response.headers.get("x-activestorage-empty")


@pytest.mark.parametrize(
    ("reducer", "dtype", "values"),
    [
        ("max", "float32", [2, None, 3]),
        ("min", "float64", [1, None, 1]),
        ("max", "int16", [2, -(2**15), 3]),
        ("min", "int16", [1, 2**15 - 1, 1]),
        ("argmax", "float32", [1, -1, 0]),
        ("argmin", "int16", [0, -1, 1]),
        ("mean", "int16", [1.5, None, 2]),
        ("var", "float32", [0.25, None, 1]),
        ("sum", "float32", [3, 0, 4]),
        ("count", "float32", [2, 0, 2]),
        ("any", "int16", [True, False, True]),
        ("all", "int16", [True, True, True]),
    ],
)
def test_an_empty_cell_does_not_change_the_others(
    grid_app: flask.Flask, reducer: str, dtype: str, values: list[Any]
) -> None:
    answer, empty = read(grid_app, reducer, dtype)
    assert [None if value != value else value for value in answer] == values  # noqa: PLR0124  # NaN
    assert empty == "1"


def test_without_empty_cells_there_is_no_header_for_them(grid_app: flask.Flask) -> None:
    assert read(grid_app, "max", "float32", "axis=0") == ([2, -99, 3], None)
    assert read(grid_app, "select", "float32", "missing_value=-99")[1] is None


def test_without_reduced_axes_every_element_is_a_cell(grid_app: flask.Flask) -> None:
    values, empty = read(grid_app, "min", "float32", "missing_value=-99;axis=")
    assert [np.isnan(value) for value in values] == [False, True, False] * 2
    assert empty == "2"


def test_cells_of_an_empty_selection_are_empty(grid_app: flask.Flask) -> None:
    for reducer in ("max", "sum"):
        answer = np.array(read(grid_app, reducer, "float64", "selection=:,3:;axis=1")[0])
        assert np.isnan(answer).all() if reducer == "max" else not answer.any()
    head = ask(grid_app, "/max/float64;shape=2,3;selection=:,3:;axis=1/b/float64", method="HEAD")
    assert (head.status_code, head.headers["x-activestorage-empty"]) == (200, "2")


@pytest.mark.parametrize("reducer", ["max", "min", "argmax", "argmin"])
def test_a_single_value_of_no_elements_is_an_error(grid_app: flask.Flask, reducer: str) -> None:
    for rule in ("missing_value=-99;valid_min=5", "selection=:,3:"):
        response = ask(grid_app, f"/{reducer}/float32;shape=2,3;{rule}/b/float32")
        assert (response.status_code, read_error(response)["Code"]) == (400, "NothingToReduce")


def test_the_json_interface_returns_identities_for_empty_cells(grid_app: flask.Flask) -> None:
    body: dict[str, Any] = {"interface_type": "s3", "url": "http://store.test:9000/b/float32", "dtype": "float32"}
    body |= {"shape": [2, 3], "axis": [0], "missing": {"missing_value": -99}}
    response = post_json(grid_app, "/v2/max/", body)
    reply = cbor2.loads(response.data)
    assert np.frombuffer(reply["bytes"], "<f4").tolist() == [2, float(np.finfo("f4").min), 3]
    assert reply["count"] == [2, 0, 2]

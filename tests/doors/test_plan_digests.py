"""The digest of a plan covers everything that decides a result, but for the reducer."""

import itertools
from typing import Any

import flask
import numpy as np
import pytest

from handler.app import create_app
from handler.doors.array_members import ReductionMembers
from handler.stores.fake import FakeStore
from tests.doors.array_stores import write_zarr
from tests.doors.test_arrays_json import STORE, post, read
from tests.helpers import make_settings

ROOT = "/bucket/climate.zarr"
DIMS = ("time", "lat", "lon")

# For each member, values that ask for different results. Together with no member at all, all digests differ.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "axis": [{"axis": axis} for axis in ([], ["time"], ["time", "lat"], ["lat"])],
    "selection": [
        {"selection": selection}
        for selection in (
            {"time": {"index": [0, 6, None]}},
            {"time": {"index": [6, None, None]}},
            {"time": {"index": [None, None, -1]}},
            {"lat": {"from": 0}},
            {"lat": {"to": 0}},
            {"lat": {"nearest": 0}},
            {"lon": {"from": -90, "to": 90, "cyclic": True}},
            {"time": {"from": "2000-02", "to": "2000-03"}},
        )
    ],
    "group": [
        {"group": group}
        for group in ({"time": "month"}, {"time": "year-month"}, {"time": "season"}, {"time": "30D"}, {"time": "60D"})
    ]
    + [{"group": "zone"}, {"group": "region"}]
    + [
        {"group": {"dims": [dim], "values": values}}
        for dim, values in (
            ("lat", [0, 1, 1, 0]),
            ("lat", [0, 1, 0, 1]),
            ("lat", [0, 1, 0, 2]),
            ("lat", [0, 1, 0, None]),
            ("lon", [0, 1, 0, 2]),
        )
    ],
    "bins": [{"group": "lat", "bins": bins} for bins in ([-90, 0, 90], [-90, 0, 91], [-90, 1, 90], [-90, 90])],
    "weights": [
        {"weights": weights}
        for weights in (
            {"cos": "lat"},
            {"array": "area"},
            {"dims": ["lon"], "values": [1, 2, 3, 4]},
            {"dims": ["lon"], "values": [1, 2, 4, 3]},
            {"dims": ["lat"], "values": [1, 2, 4, 3]},
        )
    ],
    "other": [{"reducer": "cov", "other": other} for other in ("pr", "tas", "copy")],
    "expr": [
        {"expr": text} for text in ("tas", "tas + pr", "pr + tas", "tas - 1", "tas - 2", "tas + area", "tas + copy")
    ],
    "decode": [{"decode": "xarray"}, {"decode": "none"}],
    "missing": [
        {"missing": {name: value}}
        for name, value in (
            ("missing_value", 1),
            ("missing_values", [1, 2]),
            ("valid_min", 1),
            ("valid_max", 1),
            ("valid_range", [1, 2]),
            ("valid_range", [1, 3]),
        )
    ],
    "ddof": [{"reducer": "var", "ddof": 1}, {"reducer": "var", "ddof": 2}],
    "edges": [{"reducer": "histogram", "edges": edges} for edges in ([0, 1], [0, 2], [0, 1, 2])],
    **{name: [{name: 1}, {name: 2}] for name in ("gt", "ge", "lt", "le")},
    "skipna": [{"skipna": True}],
    "absent": [{"absent": 403}],
}

# Those that say where the array is, what is sent of its result, and which quantiles of the same elements are found.
OTHER_MEMBERS = {"counts", "store", "answer", "sections", "plan", "q", "method"}


@pytest.fixture(scope="module")
def app() -> flask.Flask:
    values = np.random.default_rng(3).integers(0, 9, (12, 4, 4)).astype("<f4")
    units = {"units": "days since 2000-01-15", "calendar": "360_day"}
    objects: dict[str, bytes] = {}
    for name, numbers, dims, attributes in (
        *((name, values, DIMS, {}) for name in ("tas", "pr", "copy")),
        ("time", np.arange(12) * 30, ("time",), units),
        ("lat", np.linspace(-60, 60, 4), ("lat",), {}),
        ("lon", np.arange(4) * 90.0, ("lon",), {}),
        ("zone", np.array([0, 1, 0, 1]), ("lat",), {}),
        ("region", np.array([0, 1, 1, 0]), ("lat",), {}),
        ("area", np.arange(16.0).reshape(4, 4), ("lat", "lon"), {}),
    ):
        chunks = (5, 3, 3) if numbers.ndim == 3 else numbers.shape
        objects |= write_zarr(f"{ROOT}/{name}", numbers, dimensions=dims, chunks=chunks, attributes=attributes)
    return create_app(make_settings(s3_endpoint=STORE), FakeStore(objects))


def _find_digest(app: flask.Flask, members: dict[str, Any]) -> str:
    store = {"type": "zarr", "url": f"{STORE}{ROOT}", "array": "tas"}
    digest: str = read(post(app, "plan", {"store": store, **members}))["digest"]
    return digest


def test_all_members_are_in_the_table() -> None:
    assert ReductionMembers.model_fields.keys() == VARIANTS.keys() | OTHER_MEMBERS


def test_requests_with_other_results_have_other_digests(app: flask.Flask) -> None:
    requests = [{}, *itertools.chain.from_iterable(VARIANTS.values())]
    known: dict[str, dict[str, Any]] = {}
    for members in requests:
        digest = _find_digest(app, members)
        assert digest not in known, f"{members} has the digest of {known[digest]}"
        known[digest] = members


def test_one_plan_serves_all_reducers(app: flask.Flask) -> None:
    for members in ({}, {"axis": ["time"], "group": {"time": "month"}}, {"expr": "tas - pr", "gt": 1}):
        digests = {_find_digest(app, members | {"reducer": name}) for name in ("mean", "max", "std", "last", "count")}
        assert len(digests) == 1

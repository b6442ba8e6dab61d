"""Selection by coordinates, groups and weights through the doors: by URL and by JSON, and by partial results."""

import json
import math
from typing import Any
from urllib.parse import quote

import cbor2
import flask
import numpy as np
import pytest
import xarray as xr

from active_storage.errors import StoreError
from handler.app import create_app
from handler.stores.fake import FakeStore
from tests.array_replies import join, numbers, split_items
from tests.doors.array_stores import VALUES as SMALL_VALUES
from tests.doors.array_stores import make_store, write_zarr
from tests.doors.test_arrays_json import STORE, make_table, post, read
from tests.helpers import ask, make_settings

ROOT = "/bucket/climate.zarr"
TAS = f"{ROOT}/tas"

# Two years of months, from the south to the north, and all around.
VALUES = np.random.default_rng(7).normal(280, 10, (24, 5, 8)).astype("<f4")
TIMES = np.arange(24) * 30
LAT, LON = np.linspace(-80, 80, 5), np.arange(8) * 45.0
AREA = np.outer(np.cos(np.deg2rad(LAT)), np.arange(8) + 1)


@pytest.fixture
def store() -> FakeStore:
    units = {"units": "days since 2000-01-15", "calendar": "360_day"}
    tas = write_zarr(TAS, VALUES, dimensions=("time", "lat", "lon"), chunks=(5, 3, 3), attributes={"units": "K"})
    return FakeStore(
        {
            **tas,
            **write_zarr(f"{ROOT}/time", TIMES, dimensions=("time",), chunks=(7,), attributes=units),
            **write_zarr(f"{ROOT}/lat", LAT, dimensions=("lat",), chunks=(5,)),
            **write_zarr(f"{ROOT}/lon", LON, dimensions=("lon",), chunks=(8,)),
            **write_zarr(f"{ROOT}/area", AREA.T, dimensions=("lon", "lat"), chunks=(8, 5)),
        }
    )


@pytest.fixture
def app(store: FakeStore) -> flask.Flask:
    return create_app(make_settings(s3_endpoint=STORE), store)


CASES: list[tuple[str, dict[str, Any], Any, Any]] = [
    (
        "mean/zarr;axis=time;group=time:month",
        {"axis": "time", "group": {"time": "month"}},
        VALUES.reshape(2, 12, 5, 8).astype(float).mean(axis=0),
        {"month": list(range(1, 13))},
    ),
    (
        "max/zarr;axis=time,lon;group=time:year",
        {"axis": ["time", "lon"], "group": "time:year"},
        VALUES.reshape(2, 12, 5, 8).max(axis=(1, 3)),
        {"year": [2000, 2001]},
    ),
    (
        "mean/zarr;axis=lat,lon;weights=cos:lat",
        {"axis": ["lat", "lon"], "weights": {"cos": "lat"}},
        np.average(VALUES.astype(float).mean(axis=2), axis=1, weights=np.cos(np.deg2rad(LAT))),
        {},
    ),
    (
        "sum_of_weights/zarr;axis=lat,lon;weights=area;selection=time:0:1",
        {"axis": ["lat", "lon"], "weights": {"array": "area"}, "selection": {"time": {"index": [0, 1, 1]}}},
        [AREA.sum()],
        {},
    ),
    (
        "select/zarr;where=lat:-50..40,lon:-60..50:cyclic,time:2001-02",
        {
            "selection": {
                "lat": {"from": -50, "to": 40},
                "lon": {"from": -60, "to": 50, "cyclic": True},
                "time": {"from": "2001-02", "to": "2001-02"},
            }
        },
        VALUES[13:14, 1:4][:, :, [7, 0, 1]],
        {"lat": [-40.0, 0.0, 40.0], "lon": [315.0, 0.0, 45.0], "time": ["2001-02-15"]},
    ),
    (
        "select/zarr;where=lat:~51.5,lon:~-0.1:cyclic,time:2000-11-15..2001-01",
        {
            "selection": {
                "lat": {"nearest": 51.5},
                "lon": {"nearest": -0.1, "cyclic": True},
                "time": {"from": "2000-11-15", "to": "2001-01"},
            }
        },
        VALUES[10:13, 3:4, 0:1],
        {"lat": [40.0], "lon": [0.0], "time": ["2000-11-15", "2000-12-15", "2001-01-15"]},
    ),
    (
        "count/zarr;group=lat;bins=-100,-40,0,200",
        {"group": "lat", "bins": [-100, -40, 0, 200]},
        [2 * 192, 192, 2 * 192],
        {"lat_bins": [[-100.0, -40.0], [-40.0, 0.0], [0.0, 200.0]]},
    ),
    (
        "sum/zarr;axis=0,1,2;group=time:90D",
        {"axis": [0, 1, 2], "group": {"time": "90D"}},
        VALUES.reshape(8, -1).astype(float).sum(axis=1),
        {"time": [f"{2000 + each // 4}-{1 + each % 4 * 3:02d}-15" for each in range(8)]},
    ),
    (
        "argmax/zarr;axis=time;group=time:season;selection=time:::-1",
        {"axis": "time", "group": {"time": "season"}, "selection": {"time": {"index": [None, None, -1]}}},
        np.stack(
            [
                np.array(months)[np.argmax(VALUES[::-1][months], axis=0)]
                for months in (
                    [0, 10, 11, 12, 22, 23],
                    [4, 5, 6, 16, 17, 18],
                    [7, 8, 9, 19, 20, 21],
                    [1, 2, 3, 13, 14, 15],
                )
            ]
        ),
        {"season": ["DJF", "JJA", "MAM", "SON"]},
    ),
]


@pytest.mark.parametrize(("path", "members", "expected", "labels"), CASES)
def test_a_question_has_one_answer_on_both_doors(
    app: flask.Flask, path: str, members: dict[str, Any], expected: Any, labels: dict[str, Any]
) -> None:
    reducer = path.partition("/")[0]
    reply = read(post(app, reducer, {"store": {"type": "zarr", "url": f"{STORE}{ROOT}", "array": "tas"}, **members}))
    assert reply["shape"] == list(np.shape(expected))
    np.testing.assert_allclose(numbers(reply), expected, rtol=1e-6)
    assert reply["labels"] == labels
    by_url = ask(app, f"/{path}{TAS}")
    assert by_url.data == reply["bytes"]
    assert json.loads(by_url.headers["x-activestorage-dims"]) == reply["dims"]
    assert json.loads(by_url.headers.get("x-activestorage-labels", "{}")) == labels


def test_the_header_of_partial_results_names_groups_and_weights(app: flask.Flask) -> None:
    body = {
        "store": {"type": "zarr", "url": f"{STORE}{ROOT}", "array": "tas"},
        "group": {"time": "month"},
        "weights": {"cos": "lat"},
        "answer": "partials",
    }
    items = post(app, "mean", body).data
    header = cbor2.loads(items)
    assert header["dims"] == ["month"]
    assert header["labels"] == {"month": list(range(1, 13))}
    assert header["partial"]["is_weighted"]
    assert header["cells"] == [12]


# The decade of each time, or none; the same numbers are those of the coordinate "decade".
DECADES = [*[10] * 5, None, *[20.5] * 8, *[10] * 9, None]


@pytest.mark.parametrize("is_cbor", [False, True])
def test_groups_can_be_given_as_numbers(app: flask.Flask, store: FakeStore, is_cbor: bool) -> None:
    decades = np.array(DECADES, float)
    more = write_zarr(f"{ROOT}/decade", decades, dimensions=("time",), chunks=(7,))
    store.sources.update(FakeStore(more).sources)
    body = {"store": {"type": "zarr", "url": f"{STORE}{ROOT}", "array": "tas"}, "axis": ["time"]}
    values = decades.tolist() if is_cbor else DECADES
    for members in ({}, {"selection": {"time": {"index": [None, 4, -2]}, "lat": {"from": 0}}}, {"bins": [0, 10, 30]}):
        for name in ("time", 0, -3):
            given = {"group": {"dims": [name], "values": values}}
            got = read(post(app, "mean", body | members | given, is_cbor=is_cbor))
            wanted = read(post(app, "mean", body | members | {"group": "decade"}))
            label = "group_bins" if "bins" in members else "group"
            assert got["dims"] == [label, "lat", "lon"]
            assert got["labels"].pop(label) == wanted["labels"].pop(label.replace("group", "decade"))
            assert [got[each] for each in ("bytes", "count", "labels")] == [
                wanted[each] for each in ("bytes", "count", "labels")
            ]
            asked = body | members | given
            plan = read(post(app, "plan", asked | {"reducer": "mean"}, is_cbor=is_cbor))
            partials = post(app, "mean", asked | {"answer": "partials"}, is_cbor=is_cbor)
            header, *sections, _ = split_items(partials.data)
            assert (header["plan"], plan["sections"]) == (plan["digest"], len(sections))
            assert join(header, sections).tobytes() == got["bytes"]


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"dims": ["time"], "values": [1, 2]}, "group: has 2 values, and its dimension has 24 indices"),
        (
            {"dims": ["tme"], "values": DECADES},
            "group: no dimension is named 'tme'; the array has 'time', 'lat', 'lon'",
        ),
        ({"dims": ["lat"], "values": [1] * 5}, "axis: should contain the dimension of the group, 'lat'"),
        ({"dims": ["time", "lat"], "values": DECADES}, "group.dims: has 2 dimensions, and groups are along one"),
        ({"dims": [], "values": []}, "group.dims: has 0 dimensions, and groups are along one"),
        ({"dims": [1.5], "values": DECADES}, "group.dims[0]: should be the name or the number of a dimension"),
        ({"dims": ["time"], "values": [*DECADES[:23], "a"]}, "group.values[23]: should be a finite number, or null"),
        ({"dims": ["time"], "values": [*DECADES[:23], True]}, "group.values[23]: should be a finite number, or null"),
        ({"dims": ["time"], "values": [[1]] * 24}, "group.values[0]: should be a finite number, or null for no group"),
        ({"dims": ["time"], "values": [*[1] * 23, 1e400]}, "group.values[23]: should be a finite number, or null"),
        ({"dims": ["time"], "values": [*[1] * 23, -math.inf]}, "group.values[23]: should be a finite number, or null"),
        ({"dims": ["time"], "values": [*[1] * 23, 10**400]}, "group.values[23]: should be a finite number, or null"),
        ({"dims": ["time"], "values": [2**64] * 24}, "group.values: has integers that are too large for one data type"),
        ({"dims": ["time"], "values": [2**53 + 1, *[None] * 23]}, "group.values: has integers that are too large"),
        ({"dims": ["time"]}, "group.values: is required"),
        ({"values": DECADES}, "group.dims: is required"),
        ({"dims": ["time"], "values": DECADES, "by": "month"}, "group.by: is not a member of this request"),
        ({"time": 30}, "group.time: should be a part of a date, or a period such as 30D"),
        ({"time": "month", "lat": "month"}, "group: should name one coordinate, or have dims and values"),
        ({}, "group: should name one coordinate, or have dims and values"),
    ],
)
def test_numbers_of_groups_that_are_wrong_are_refused(app: flask.Flask, group: Any, message: str) -> None:
    body = {"store": {"type": "zarr", "url": f"{STORE}{ROOT}", "array": "tas"}, "axis": ["time"], "group": group}
    # JSON has no number for what is not finite.
    reply = post(app, "mean", body, is_cbor=math.inf in map(abs, _numbers_in(group)))
    assert reply.status_code == 400
    assert message in json.loads(reply.text)["error"]["caused_by"][0]


def _numbers_in(group: dict[str, Any]) -> list[float]:
    return [each for each in group.get("values", []) if isinstance(each, float)]


@pytest.mark.parametrize("values", [DECADES, [2**63, 5] * 12, [-(2**63), 2**53 + 1] * 12, [0.1, -0.0, 0.0, 1e-320] * 6])
def test_labels_are_the_numbers_themselves(app: flask.Flask, values: list[Any]) -> None:
    body = {
        "store": {"type": "zarr", "url": f"{STORE}{ROOT}", "array": "tas"},
        "group": {"dims": ["time"], "values": values},
    }
    wanted = sorted({each for each in values if each is not None})
    assert read(post(app, "count", body))["labels"] == {"group": wanted}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("where=lat:85..90", "where: selects nothing of 'lat', whose values go from -80.0 to 80.0"),
        ("where=time:1999", "where: selects nothing of 'time', whose values go from 2000-01-15 to 2001-12-15"),
        ("where=time:2000-02-31", "2000-02-31"),
        ("where=lat:south..north", "where: 'south' is not a number, as the values of 'lat' are"),
        ("where=area:1..2", "where: the coordinate 'area' has 2 dimensions; it should have one"),
        ("where=plev:1..2", "where: there is no variable 'plev' in the group of the array, or around it"),
        ("where=time:1999..2001:cyclic", "where: 'time' is a time, which is not cyclic"),
        ("where=lat:..1:cyclic", "where: needs two bounds for a cyclic coordinate"),
        ("where=lat", "where: 'lat' is not of the form name:low..high or name:~value"),
        ("where=lat:~", "where: has no value after ~"),
        ("where=lat:1..2,lat:~1", "where: names the coordinate 'lat' twice"),
        ("group=lat:month", "group: 'lat' is not a time, so that it has no groups by month"),
        ("group=time;bins=1,2", "bins: are numbers, and 'time' is a time"),
        ("group=lat;bins=3,2", "bins: should be finite numbers, each larger than the one before it"),
        ("group=time:month;axis=lat", "axis: should contain the dimension of the group, 'time'"),
        ("weights=tas3", "weights: there is no variable 'tas3'"),
        ("weights=cos:time", "weights: 'time' is a time, and not an angle"),
        ("weights=cos:lon", "weights: 'lon' has values that are no latitudes"),
        ("weights=cos:", "weights: names no coordinate after cos:"),
        ("ddof=1;weights=cos:lat", "ddof: is not a parameter of mean"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(app: flask.Flask, parameters: str, message: str) -> None:
    response = ask(app, f"/mean/zarr;{parameters}{TAS}")
    assert response.status_code == 400
    assert message in response.text.replace("&#x27;", "'").replace("&apos;", "'").replace("&gt;", ">")


def test_weights_of_other_reducers_are_refused(app: flask.Flask) -> None:
    assert "weights: is a parameter of sum, mean, var, std" in ask(app, f"/max/zarr;weights=cos:lat{TAS}").text
    assert "weights: of var should not be negative" in ask(app, f"/var/zarr;weights=lat{TAS}").text
    assert "weights: is required for sum_of_weights" in ask(app, f"/sum_of_weights/zarr{TAS}").text
    assert "group: means nothing for select" in ask(app, f"/select/zarr;group=time:month{TAS}").text


def test_a_table_has_no_coordinates(app: flask.Flask, store: FakeStore) -> None:
    store.sources.update(make_store().sources)
    body = {"store": make_table(), "group": {"time": "month"}}
    reply = post(app, "mean", body, is_cbor=True).text
    assert "group: names another variable, and a table of chunks has one array" in reply
    # Numbers of the caller's are no variable.
    given = {
        "group": {"dims": ["time"], "values": [1, 0, 1, 0, None, 1]},
        "weights": {"dims": ["lat"], "values": [1] * 4},
    }
    summed = read(post(app, "sum", {"store": make_table(), **given}, is_cbor=True))
    assert numbers(summed).tolist() == [SMALL_VALUES[[1, 3]].sum(), SMALL_VALUES[[0, 2, 5]].sum()]


def test_a_billion_groups_are_refused_before_they_are_listed(app: flask.Flask, store: FakeStore) -> None:
    units = {"units": "days since 0001-01-01", "calendar": "noleap"}
    far = write_zarr("/bucket/far/time", np.array([0, 10**8]), dimensions=("time",), chunks=(2,), attributes=units)
    values = write_zarr("/bucket/far/v", VALUES[:2, 0, 0], dimensions=("time",), chunks=(2,))
    store.sources.update(FakeStore({**far, **values}).sources)
    response = ask(app, "/mean/zarr;group=time:1h/bucket/far/v")
    assert response.status_code == 400
    assert "group: gives more than 1000000 periods of 1h" in response.text


# Expressions, and two arrays


def add_arrays(store: FakeStore) -> None:
    """Another array of the same chunks, one of other chunks, and one of fewer dimensions."""
    dims = ("time", "lat", "lon")
    for path, values, chunks, names in (
        ("pr", VALUES[::-1] / 100, (5, 3, 3), dims),
        ("coarse", VALUES, (6, 3, 3), dims),
        ("clim", VALUES.mean(axis=0), (5, 8), dims[1:]),
        ("short", VALUES[:3], (5, 3, 3), dims),
    ):
        options: dict[str, Any] = {"dimensions": names, "chunks": chunks}
        store.sources.update(FakeStore(write_zarr(f"{ROOT}/{path}", values, **options)).sources)


@pytest.mark.parametrize(
    ("segment", "members", "expected"),
    [
        (
            "mean/zarr;axis=time;expr=tas-273.15",
            {"axis": "time", "expr": "tas - 273.15"},
            (VALUES - 273.15).mean(axis=0),
        ),
        ("max/zarr;expr=tas-clim", {"expr": "tas - clim"}, (VALUES - VALUES.mean(axis=0)).max()),
        (
            "sum/zarr;expr=sqrt(tas*tas+pr**2);axis=0,1",
            {"expr": "sqrt(tas*tas + pr**2)", "axis": [0, 1]},
            np.sqrt(VALUES**2 + (VALUES[::-1] / 100) ** 2).sum(axis=(0, 1), dtype=float),
        ),
        (
            "count/zarr;expr=tas-273.15;gt=10;axis=time,lat,lon",
            {"expr": "tas - 273.15", "gt": 10, "axis": ["time", "lat", "lon"]},
            np.sum(VALUES - np.float32(273.15) > 10),
        ),
        (
            "cov/zarr;other=pr;axis=time;ddof=1",
            {"other": "pr", "axis": "time", "ddof": 1},
            np.array([[np.cov(VALUES[:, y, x], VALUES[::-1, y, x] / 100)[0, 1] for x in range(8)] for y in range(5)]),
        ),
        ("corr/zarr;other=tas", {"other": "tas"}, 1.0),
    ],
)
def test_arrays_are_combined_on_both_doors(
    app: flask.Flask, store: FakeStore, segment: str, members: dict[str, Any], expected: Any
) -> None:
    add_arrays(store)
    reducer = segment.partition("/")[0]
    reply = read(post(app, reducer, {"store": {"type": "zarr", "url": f"{STORE}{ROOT}", "array": "tas"}, **members}))
    np.testing.assert_allclose(numbers(reply).reshape(np.shape(expected)), expected, rtol=2e-5)
    assert reply["units"] is None
    assert ask(app, f"/{segment.replace('/100', '%2F100')}{TAS}").data == reply["bytes"]


@pytest.mark.parametrize(
    ("segment", "message"),
    [
        ("mean/zarr;expr=pr*2", "expr: should name the array itself, 'tas'"),
        ("mean/zarr;expr=tas*nowhere", "expr: there is no variable 'nowhere'"),
        ("mean/zarr;expr=tas*coarse", "other chunks than the array that it is combined with"),
        ("mean/zarr;expr=tas*short", "'short' has other dimensions or another shape than the array"),
        ("mean/zarr;expr=tas+", "expr: ends too early"),
        ("mean/zarr;expr=eval(tas)", "expr: has no function 'eval'"),
        ("mean/zarr;other=pr", "other: is not a parameter of mean"),
        ("cov/zarr", "other: is required for cov"),
        ("cov/zarr;other=clim", "'clim' has other dimensions or another shape than the array"),
        ("cov/zarr;other=pr;expr=tas*2", "expr: is not supported for cov"),
        ("corr/zarr;other=pr;ddof=1", "ddof: is not a parameter of corr"),
        ("cov/zarr;other=pr;weights=cos:lat", "weights: is a parameter of sum, mean"),
    ],
)
def test_combinations_that_do_not_fit_are_refused(
    app: flask.Flask, store: FakeStore, segment: str, message: str
) -> None:
    add_arrays(store)
    response = ask(app, f"/{segment}{TAS}")
    assert response.status_code == 400
    assert message in response.text


def test_an_operand_that_changes_is_a_change_of_the_array(app: flask.Flask, store: FakeStore) -> None:
    add_arrays(store)
    body = {"store": {"type": "zarr", "url": f"{STORE}{ROOT}", "array": "tas"}, "expr": "tas * pr"}
    before = read(post(app, "plan", body))["digest"]
    del store.sources[f"{ROOT}/pr/0.0.0"]
    assert read(post(app, "sum", body))["missing_chunks"] == 1
    store.sources[f"{ROOT}/pr/.zarray"].etag = '"changed"'
    assert read(post(app, "plan", body))["digest"] != before


# Numbers at the edges of what they can be


def add_coordinate(store: FakeStore, name: str, values: Any) -> None:
    """A coordinate of the dimension lat."""
    more = write_zarr(f"{ROOT}/{name}", np.asarray(values), dimensions=("lat",), chunks=(5,))
    store.sources.update(FakeStore(more).sources)


@pytest.mark.parametrize(
    ("where", "chosen"),
    [
        (f"id:{2**53 + 1}", [3]),
        (f"id:..{2**53 + 1}", [0, 3]),
        (f"id:{2**64 - 1}..", [1]),
        ("id:0.5..1e30", [1, 2, 3, 4]),
        (f"id:~{2**53 + 1}", [3]),
        (f"id:~{2**63 + 2**62}", [1]),
        ("id:~-7", [0]),
        ("id:~1e30", [1]),
    ],
)
def test_whole_numbers_of_64_bits_are_selected_exactly(
    app: flask.Flask, store: FakeStore, where: str, chosen: list[int]
) -> None:
    ids = np.array([0, 2**64 - 1, 2**63, 2**53 + 1, 2**53 + 2], "u8")
    if where.startswith(f"id:~{2**63 + 2**62}"):
        # As far from both: the larger one.
        ids[1] = 2**63 + 2**63 - 2**32
        ids[2] = 2**63 + 2**32
    add_coordinate(store, "id", ids)
    got = ask(app, f"/select/zarr;where={where}{TAS}")
    assert got.status_code == 200, got.text
    assert got.data == VALUES[:, chosen].tobytes()


@pytest.mark.parametrize("where", ["z:..9", "z:-9..", "z:-9..9", "z:~1", "z:0..720:cyclic", "z:~361:cyclic"])
def test_what_is_not_finite_is_nowhere(app: flask.Flask, store: FakeStore, where: str) -> None:
    add_coordinate(store, "z", [np.inf, np.nan, 1.0, -np.inf, np.nan])
    assert ask(app, f"/select/zarr;where={where}{TAS}").data == VALUES[:, 2:3].tobytes()
    by_value = ask(app, f"/sum/zarr;axis=time,lat,lon;group=z{TAS}")
    assert json.loads(by_value.headers["x-activestorage-labels"]) == {"z": [1.0]}


@pytest.mark.parametrize("text", ["1_0", " 1", "infinity", "nan", "0x10", "\u0661"])
def test_bounds_are_numbers_as_elsewhere(app: flask.Flask, text: str) -> None:
    place = {"selection": {"lat": {"from": text}}}
    reply = post(app, "sum", {"store": {"type": "zarr", "url": f"{STORE}{ROOT}", "array": "tas"}, **place})
    assert reply.status_code == 400
    assert "is not a number, as the values of 'lat' are" in reply.text


@pytest.mark.parametrize("place", [{"from": 10**400}, {"nearest": -(10**400)}])
def test_bounds_beyond_all_numbers_are_refused(app: flask.Flask, place: dict[str, Any]) -> None:
    body = {"store": {"type": "zarr", "url": f"{STORE}{ROOT}", "array": "tas"}, "selection": {"lat": place}}
    reply = post(app, "sum", body)
    assert reply.status_code == 400
    assert f"selection.lat.{next(iter(place))}: should be a number" in reply.text


def test_a_place_without_bounds_is_refused(app: flask.Flask) -> None:
    reply = ask(app, f"/sum/zarr;where=lat:..{TAS}")
    assert "where: needs a lower bound, an upper bound, or both" in reply.text


@pytest.mark.parametrize("reducer", ["argmax", "argmin", "first", "last"])
@pytest.mark.parametrize("selection", ["", ";selection=time:::-1,lon:::3"])
def test_positions_are_found_in_groups_of_any_dimension(app: flask.Flask, reducer: str, selection: str) -> None:
    values = VALUES[::-1, :, ::3] if selection else VALUES
    rows = values.transpose(1, 0, 2).reshape(5, -1)
    wanted: dict[str, Any] = {"first": rows[:, 0], "last": rows[:, -1]}
    for name in ("argmax", "argmin"):
        time, lon = np.unravel_index(getattr(rows, name)(axis=1), values.shape[::2])
        wanted[name] = np.ravel_multi_index((time, np.arange(5), lon), values.shape)
    got = ask(app, f"/{reducer}/zarr;group=lat{selection}{TAS}")
    assert got.status_code == 200, got.text
    dtype = "<i8" if reducer.startswith("arg") else "<f4"
    np.testing.assert_array_equal(np.frombuffer(got.data, dtype), wanted[reducer])


def test_a_scalar_can_have_a_weight(app: flask.Flask, store: FakeStore) -> None:
    for name, value in (("height", 2.0), ("share", 3.0)):
        more = write_zarr(f"{ROOT}/{name}", np.float64(value), dimensions=(), chunks=())
        store.sources.update(FakeStore(more).sources)
    body = {"store": {"type": "zarr", "url": f"{STORE}{ROOT}", "array": "height"}, "weights": {"array": "share"}}
    assert numbers(read(post(app, "sum", body))) == 6.0
    assert numbers(read(post(app, "mean", body))) == 2.0


@pytest.mark.parametrize(
    ("reducer", "members"),
    [
        ("cov", {"other": "pr", "axis": ["time"]}),
        ("corr", {"other": "pr", "group": {"time": "season"}, "axis": ["time"]}),
        ("var", {"weights": {"array": "area"}, "group": "time:month"}),
        ("sum_of_weights", {"weights": {"cos": "lat"}, "axis": ["lat"]}),
        ("mean", {"expr": "tas - clim", "group": "lat", "bins": [-90, 0, 90]}),
    ],
)
def test_a_client_can_join_the_partial_results(
    app: flask.Flask, store: FakeStore, reducer: str, members: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handler.arrays.plan._MOST_BATCH_CHUNKS", 2)
    monkeypatch.setattr("handler.arrays.plan._SECTION_BYTES", 256)
    add_arrays(store)
    body = {"store": {"type": "zarr", "url": f"{STORE}{ROOT}", "array": "tas"}, **members}
    whole = read(post(app, reducer, body))
    header, *sections, end = split_items(post(app, reducer, body | {"answer": "partials"}).data)
    assert end["type"] == "end"
    assert len(sections) > 1
    assert join(header, sections).astype(whole["dtype"]).tobytes() == whole["bytes"]


def test_a_plan_counts_the_chunks_of_operands(app: flask.Flask, store: FakeStore) -> None:
    add_arrays(store)
    body = {"store": {"type": "zarr", "url": f"{STORE}{ROOT}", "array": "tas"}}
    alone, paired = (read(post(app, "plan", body | more)) for more in ({}, {"expr": "tas + pr"}))
    assert paired["requests"] == 2 * alone["requests"]


@pytest.mark.parametrize(("type_", "key"), [("netcdf", "/bucket/months.nc"), ("zarr", ROOT)])
def test_a_reply_counts_every_request_to_the_store_once(
    app: flask.Flask, store: FakeStore, type_: str, key: str
) -> None:
    """Variables of one file have one object of metadata, which is asked for again once."""
    dataset = xr.Dataset({"tas": (("time", "lat"), VALUES[:, :, 0])}, {"time": ("time", TIMES), "lat": LAT})
    dataset["time"].attrs = {"units": "days since 2000-01-15", "calendar": "360_day"}
    store.sources.update(FakeStore({"/bucket/months.nc": bytes(dataset.to_netcdf(engine="h5netcdf"))}).sources)
    body = {
        "store": {"type": type_, "url": f"{STORE}{key}", "array": "tas"},
        "selection": {"lat": {"from": -50, "to": 50}},
        "group": {"time": "month"},
    }
    before = len(store.requests)
    assert read(post(app, "mean", body))["requests"] == len(store.requests) - before
    etags = read(post(app, "plan", body))["etags"]
    assert len(etags) == (1 if type_ == "netcdf" else 6)


# Where coordinates are found


def add_level(store: FakeStore, path: str, value: float, group: str | None = None) -> None:
    """A coordinate ``level`` of the dimension lat in a folder, and the document that makes this a group."""
    values = np.full(5, value)
    more = write_zarr(f"{path}/level", values, dimensions=("lat",), chunks=(5,))
    if group is not None:
        name = "zarr.json" if group == "3" else ".zgroup"
        more[f"{path}/{name}"] = json.dumps({"zarr_format": int(group), "node_type": "group"}).encode()
    store.sources.update(FakeStore(more).sources)


@pytest.mark.parametrize("group", ["2", "3"])
def test_a_coordinate_of_the_nearest_group_is_taken(app: flask.Flask, store: FakeStore, group: str) -> None:
    for name in (".zarray", ".zattrs", *(f"{a}.{b}.{c}" for a in range(5) for b in range(2) for c in range(3))):
        store.sources[f"{ROOT}/g/h/tas/{name}"] = store.sources[f"{TAS}/{name}"]
    segment = "count/zarr;group=level"
    body = {"store": {"type": "zarr", "url": f"{STORE}{ROOT}", "array": "g/h/tas"}, "group": "level"}

    def levels() -> list[Any]:
        reply = ask(app, f"/{segment}{ROOT}/g/h/tas")
        assert reply.status_code == 200, reply.text
        return [
            json.loads(reply.headers["x-activestorage-labels"])["level"],
            read(post(app, "count", body))["labels"]["level"],
        ]

    add_level(store, ROOT, 1, group)
    assert levels() == [[1.0]] * 2
    add_level(store, f"{ROOT}/g", 2, group)
    assert levels() == [[2.0]] * 2
    # The folder of the array may lack the document of a group.
    add_level(store, f"{ROOT}/g/h", 3)
    assert levels() == [[3.0]] * 2


def test_a_coordinate_of_another_store_is_not_taken(app: flask.Flask, store: FakeStore) -> None:
    add_level(store, "/bucket", 1)
    reply = ask(app, f"/count/zarr;group=level{TAS}")
    assert reply.status_code == 400
    assert "group: there is no variable 'level' in the group of the array, or around it" in reply.text


@pytest.mark.parametrize("code", ["AccessDenied", "NoSuchBucket"])
def test_a_coordinate_that_may_be_hidden_is_an_error(app: flask.Flask, store: FakeStore, code: str) -> None:
    """The one of a group further away is not taken, since a nearer one may be there."""
    add_level(store, "/bucket", 1, "2")
    find = store._find

    def hide(request: Any, scope: Any) -> Any:
        if "/climate.zarr/level" in request.target:
            raise StoreError(403 if code == "AccessDenied" else 404, code, "Access Denied.")
        return find(request, scope)

    store._find = hide  # type: ignore[method-assign]
    reply = ask(app, f"/count/zarr;group=level{TAS}")
    assert reply.status_code in (403, 404)
    assert code in reply.text
    assert "level" in reply.text


def test_an_expression_can_name_any_array(app: flask.Flask, store: FakeStore) -> None:
    for path in ("2m_temperature", "g/u"):
        more = write_zarr(f"{ROOT}/{path}", VALUES, dimensions=("time", "lat", "lon"), chunks=(5, 3, 3))
        store.sources.update(FakeStore(more).sources)
    text = "`2m_temperature` - `g/u`"
    body = {"store": {"type": "zarr", "url": f"{STORE}{ROOT}", "array": "2m_temperature"}, "expr": text}
    assert numbers(read(post(app, "max", body))) == 0
    assert ask(app, f"/max/zarr;expr={quote(text, safe='')}{ROOT}/2m_temperature").data == bytes(4)


@pytest.mark.parametrize("reducer", ["mean", "var", "sum", "std", "sum_of_weights"])
def test_infinity_has_the_same_effect_beside_cells_without_weights(
    app: flask.Flask, store: FakeStore, reducer: str
) -> None:
    values = np.where(np.arange(VALUES.size).reshape(VALUES.shape) % 97 == 0, np.inf, VALUES).astype("<f4")
    for name, numbers_of in (("v", values), ("zeros", np.array([0.0, 1, 1, 1, 1])), ("ones", np.ones(5))):
        dims = ("time", "lat", "lon")[3 - numbers_of.ndim :] if numbers_of.ndim == 3 else ("lat",)
        more = write_zarr(f"{ROOT}/{name}", numbers_of, dimensions=dims, chunks=(5, 3, 3)[: numbers_of.ndim])
        store.sources.update(FakeStore(more).sources)
    got = [
        np.frombuffer(ask(app, f"/{reducer}/zarr;axis=time;weights={name}{ROOT}/v").data).reshape(5, 8)
        for name in ("zeros", "ones")
    ]
    np.testing.assert_array_equal(got[0][1:], got[1][1:])
    if reducer != "sum":
        assert np.isnan(got[0][0]).all()


def test_bins_with_nothing_in_them_are_given(app: flask.Flask) -> None:
    got = ask(app, f"/count/zarr;group=lat;bins=1000,2000,3000{TAS}")
    assert np.frombuffer(got.data, "<i8").tolist() == [0, 0]
    got = ask(app, f"/mean/zarr;group=lat;bins=-100,-90,100{TAS}")
    assert np.isnan(np.frombuffer(got.data, "<f4")).tolist() == [True, False]

"""Selection by coordinates, groups and weights: random climate data in containers, and xarray says what is right."""

import functools
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cftime
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from active_storage.grammar.expressions import parse_expression
from active_storage.model.array_reduction import ArrayReduction
from active_storage.model.coordinates import (
    ArrayWeights,
    Between,
    CosineWeights,
    Group,
    Nearest,
    NumberGroup,
    NumberWeights,
)
from active_storage.model.ranges import Slice
from handler.arrays.engine import ArrayEngine, finish, join_section
from handler.scope import Scope
from tests.arrays.memory_array import values_of
from tests.arrays.stores import write_zarr
from tests.containers.memory import MemoryContainer

EXAMPLES = int(os.environ.get("ARRAY_EXAMPLES", "20"))

CALENDARS = ("standard", "proleptic_gregorian", "noleap", "all_leap", "360_day", "julian")
KINDS = ("zarr2", "zarr3", "netcdf4", "netcdf3")
REDUCERS = ("sum", "mean", "max", "min", "var", "std", "count", "any", "all", "first", "last")
PARTS = ("year", "month", "season", "day", "dayofyear", "hour")


EXPRESSIONS: dict[str, Any] = {
    "v - 273.15": lambda v, w, area: v - 273.15,
    "sqrt(abs(v * w)) / 2": lambda v, w, area: np.sqrt(abs(v * w)) / 2,
    "v - 100 * area": lambda v, w, area: v - 100 * area,
    "area ** 2 + maximum(v / 100, w)": lambda v, w, area: area**2 + np.maximum(v / 100, w),
    "log(w - 2) + 0 * v": lambda v, w, area: np.log(w - 2) + 0 * v,
}

PHASES = (Phase.explicit, Phase.generate)


@st.composite
def datasets(draw: st.DrawFn) -> xr.Dataset:
    """Data of (time, lat, lon) with some missing values, and weights of (lat, lon)."""
    rng = np.random.default_rng(draw(st.integers(0, 2**20)))
    calendar = draw(st.sampled_from(CALENDARS))
    size = draw(st.integers(1, 40)), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    step = draw(st.sampled_from([1, 6, 24, 24 * 15, 24 * 31]))
    units = draw(st.sampled_from(["hours since 1999-12-01", "hours since 2000-02-27 12:00", "hours since 1850-01-01"]))
    times = cftime.num2date(np.arange(size[0]) * step, units, calendar)
    lat = np.linspace(-80, 80, size[1]).astype(draw(st.sampled_from(["float32", "float64"])))
    lat = lat[::-1].copy() if draw(st.booleans()) else lat
    lon = np.arange(size[2]) * (360.0 / size[2])
    values = rng.normal(280, 20, size).astype(draw(st.sampled_from(["float32", "float64"])))
    if draw(st.booleans()):
        values[rng.random(size) < 0.2] = np.nan
    others = rng.normal(5, 2, size)
    others[rng.random(size) < 0.1] = np.nan
    dataset = xr.Dataset(
        {
            "v": (("time", "lat", "lon"), values),
            "w": (("time", "lat", "lon"), others.astype(draw(st.sampled_from(["float32", "float64"])))),
            "area": (("lat", "lon"), rng.random(size[1:]) * 3),
        },
        {"time": times, "lat": lat, "lon": lon, "zone": ("lat", rng.integers(0, 3, size[1]))},
    )
    dataset["lat"].attrs["units"] = "degrees_north"
    dataset["time"].encoding = {"units": units, "calendar": calendar, "dtype": draw(st.sampled_from(["i4", "f8"]))}
    chunks = tuple(draw(st.integers(1, each)) for each in size)
    for name in ("v", "w"):
        dataset[name].encoding = {"chunks": chunks}
    return dataset


def write(dataset: xr.Dataset, kind: str, folder: Path) -> tuple[Any, MemoryContainer]:
    """The container of a dataset, and its type."""
    chunks = dataset["v"].encoding["chunks"]
    if kind.startswith("zarr"):
        return "zarr", write_zarr(dataset, folder / "store", int(kind[-1]))
    for name in {"v", "w"} & dataset.keys():
        dataset[name].encoding = {"chunksizes": chunks} if kind == "netcdf4" else {}
    formats: Any = {"netcdf4": "NETCDF4", "netcdf3": "NETCDF3_64BIT"}
    path = folder / "file.nc"
    if kind == "netcdf3":
        dataset = dataset.assign_coords(zone=dataset["zone"].astype("int32"))
    dataset.to_netcdf(path, format=formats[kind], engine="netcdf4")
    return "netcdf", MemoryContainer({"": path.read_bytes()})


@st.composite
def questions(draw: st.DrawFn, dataset: xr.Dataset) -> tuple[dict[str, Any], Any]:
    """The fields of a request, and what selects the same in xarray."""
    fields: dict[str, Any] = {"where": {}, "selection": {}}
    array = dataset["v"]
    times = array["time"].values
    if draw(st.booleans()):
        low, high = sorted(draw(st.sampled_from(times.tolist())) for _ in range(2))
        fields["where"]["time"] = Between(low.isoformat(), high.isoformat())
        array = array.sel(time=slice(low, high))
    choice = draw(st.integers(0, 3))
    lat = array["lat"].values
    if choice == 1:
        low, high = sorted(draw(st.sampled_from(lat.tolist())) for _ in range(2))
        fields["where"]["lat"] = Between(repr(low), repr(high))
        array = array.isel(lat=(lat >= low) & (lat <= high))
    elif choice == 2:
        sought = draw(st.floats(-90, 90))
        fields["where"]["lat"] = Nearest(repr(sought))
        array = array.isel(lat=[_find_nearest(lat.astype(float), np.asarray(sought, lat.dtype).astype(float))])
    elif choice == 3:
        step = draw(st.sampled_from([1, 2, -1, -3]))
        fields["selection"]["lat"] = Slice(None, None, step)
        array = array.isel(lat=slice(None, None, step))
    if draw(st.booleans()):
        west, width = draw(st.integers(-180, 359)), draw(st.integers(60, 300))
        lon = array["lon"].values
        found = np.flatnonzero(np.mod(lon - west, 360) <= width)
        if len(found):
            fields["where"]["lon"] = Between(str(west), str(west + width), is_cyclic=True)
            array = array.isel(lon=found[np.argsort(np.mod(lon[found] - west, 360))])
    return fields, array


def _find_nearest(values: Any, sought: Any) -> int:
    apart = np.abs(values - sought)
    nearest = np.flatnonzero(apart == apart.min())
    return int(nearest[np.argmax(values[nearest])])


# So that the 24 times fall into the months one after the other.
_MONTH = np.timedelta64(2_629_800, "s")


@pytest.fixture(autouse=True)
def small_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sections of a few chunks."""
    monkeypatch.setattr("handler.arrays.plan._SECTION_BYTES", 1024)


def _join_sections(engine: ArrayEngine, reduction: ArrayReduction, container: MemoryContainer) -> bytes:
    """The result that the partial results of all sections give."""
    plan, sections = engine.reduce_sections(reduction, container, Scope.after(60))
    whole = plan.algebra.start(plan.selection.cells)
    for section in sections:
        join_section(plan, whole, section)
    return finish(plan, whole).data


def _check(got: Any, wanted: xr.DataArray, counts: Any) -> None:
    values = np.asarray(wanted.values)
    assert got.shape == values.shape
    tolerance = 1e-6 if got.dtype == np.float32 else 1e-9
    filled = np.asarray(counts).reshape(got.shape) > 0
    np.testing.assert_allclose(
        got[filled].astype(float), values[filled].astype(float), rtol=tolerance, atol=tolerance * 300
    )


def _pick(values: Any, axis: Any, *, place: int) -> Any:
    """The first or the last element along some axes that is not NaN, in C order."""
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    kept = [number for number in range(values.ndim) if number not in axes]
    sizes = [values.shape[number] for number in kept]
    rows = values.transpose(*kept, *sorted(axes)).reshape(math.prod(sizes), -1)
    present = [row[~np.isnan(row)] for row in rows]
    return np.array([row[place] if row.size else np.nan for row in present]).reshape(sizes)


def _reduce(array: Any, reducer: str, dims: Any, **options: Any) -> Any:
    if reducer in ("first", "last"):
        return array.reduce(functools.partial(_pick, place=0 if reducer == "first" else -1), dims)
    if reducer == "count":
        return array.count(dims, **options)
    if reducer in ("any", "all"):
        return getattr(array, reducer)(dims, **options)
    return getattr(array, reducer)(dims, skipna=True, **options)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_places_groups_and_weights_are_what_xarray_says(
    engine: ArrayEngine, folders: Iterator[Path], kind: str
) -> None:
    @settings(max_examples=EXAMPLES, phases=PHASES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def examine(data: st.DataObject) -> None:
        dataset = data.draw(datasets())
        container_type, container = write(dataset, kind, next(folders))
        for _ in range(6):
            _examine_question(engine, container_type, container, dataset, data)

    examine()


def _examine_question(
    engine: ArrayEngine,
    container_type: Any,
    container: MemoryContainer,
    dataset: xr.Dataset,
    data: st.DataObject,
) -> None:
    fields, array = data.draw(questions(dataset))
    form = data.draw(st.sampled_from(["plain", "group", "bins", "values", "given", "weights", "expr", "cov"]))
    dims: list[str] = data.draw(st.lists(st.sampled_from(["time", "lat", "lon"]), unique=True, min_size=1))
    reducer = data.draw(st.sampled_from(REDUCERS))
    other = dataset["w"].sel({dim: array[dim] for dim in array.dims}).astype("float64")
    array = array.astype("float64")
    if form == "expr":
        text = data.draw(st.sampled_from(list(EXPRESSIONS)))
        fields["expression"] = parse_expression(text)
        array = EXPRESSIONS[text](array, other, dataset["area"])
        if data.draw(st.booleans()):
            threshold = data.draw(st.sampled_from([-1.0, 3.5, 17.0]))
            fields["thresholds"] = {"gt": threshold}
            array = array.where(array > threshold)
        wanted = _reduce(array, reducer, dims)
    elif form == "cov":
        reducer = data.draw(st.sampled_from(["cov", "corr"]))
        fields["other"] = "w"
        options = {"ddof": 0} if reducer == "cov" else {}
        wanted = getattr(xr, reducer)(array, other, dims, **options)
    elif form == "weights":
        reducer = data.draw(st.sampled_from(["sum", "mean", "var", "std", "sum_of_weights"]))
        fields["weights"], weights = data.draw(_weights(dataset))
        wanted = getattr(array.weighted(weights), reducer)(dims)
    elif form == "plain":
        wanted = _reduce(array, reducer, dims)
    else:
        along = data.draw(st.sampled_from(array.dims)) if form == "given" else "time" if form == "group" else "lat"
        dims = list(dict.fromkeys([*dims, along]))
        if form == "given":
            fields["group"], by = data.draw(_numbers(dataset[along], array[along]))
            wanted = _reduce(array.groupby(by), reducer, dims)
        else:
            wanted = _group(data, fields, form, array, reducer, dims)
    reduction = ArrayReduction(reducer, container_type, "v", axis=tuple(dims), decode="xarray", **fields)
    answer = engine.reduce(reduction, container, Scope.after(60))
    assert values_of(answer).tobytes() == _join_sections(engine, reduction, container)
    order = [each for each in answer.dimensions if each is not None]
    labels = {name: list(values) for name, values in answer.labels.items()}
    wanted = wanted.transpose(*order)
    _check(values_of(answer), wanted, answer.result.counts)
    for name in order:
        if name in PARTS or name in ("zone", "group"):
            assert labels[name] == wanted[name].values.tolist()


@st.composite
def _weights(draw: st.DrawFn, dataset: xr.Dataset) -> tuple[Any, xr.DataArray]:
    kind = draw(st.sampled_from(["cos", "array", "numbers"]))
    if kind == "cos":
        lat = dataset["lat"].astype(float)
        return CosineWeights("lat"), lat.copy(data=np.cos(np.deg2rad(lat.values)))
    if kind == "array":
        return ArrayWeights("area"), dataset["area"]
    values = np.random.default_rng(draw(st.integers(0, 99))).integers(
        0, 3, (dataset.sizes["lon"], dataset.sizes["time"])
    )
    numbers = NumberWeights(("lon", "time"), values.shape, tuple(values.ravel().astype(float).tolist()))
    coords = {"lon": dataset["lon"], "time": dataset["time"]}
    return numbers, xr.DataArray(values.astype(float), coords, ("lon", "time"))


@st.composite
def _numbers(draw: st.DrawFn, whole: xr.DataArray, selected: xr.DataArray) -> tuple[NumberGroup, xr.DataArray]:
    """Groups of the caller's for a dimension, some of whose indices are in none; and what xarray groups by."""
    rng = np.random.default_rng(draw(st.integers(0, 2**20)))
    numbers = rng.integers(0, 4, whole.size).astype(draw(st.sampled_from(["i1", "u8", "f4", "f8"])))
    by = xr.DataArray(numbers, {whole.name: whole}, (whole.name,), name="group")
    if numbers.dtype.kind == "f":
        # xarray refuses to group by nothing but NaN.
        by = by.where((rng.random(whole.size) < 0.7) | (whole == selected[0]))
    return NumberGroup(str(whole.name), tuple(by.values.tolist())), by.sel({whole.name: selected})


def _group(
    data: st.DataObject, fields: dict[str, Any], form: str, array: xr.DataArray, reducer: str, dims: list[str]
) -> Any:
    if form == "values":
        fields["group"] = Group("zone")
        return _reduce(array.groupby("zone"), reducer, dims)
    if form == "bins":
        edges = [-90.0, -30.0, 10.0, 90.0]
        fields |= {"group": Group("lat"), "bins": tuple(edges)}
        return _reduce(array.groupby_bins("lat", edges), reducer, dims)
    part = data.draw(st.sampled_from(PARTS))
    fields["group"] = Group("time", part)
    return _reduce(array.groupby(f"time.{part}"), reducer, dims)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reducer", ["argmax", "argmin", "first", "last"])
def test_positions_are_those_in_the_selection_where_a_month_is_once_in_a_chunk(
    engine: ArrayEngine, tmp_path: Path, kind: str, reducer: str
) -> None:
    values = np.random.default_rng(0).permutation(24 * 3 * 4).reshape(24, 3, 4).astype(float)
    coords: dict[str, Any] = {
        "time": ("time", np.datetime64("2000-01-15", "ns") + np.arange(24) * _MONTH),
        "lat": np.arange(3.0),
        "lon": np.arange(4.0),
    }
    zone = ("lat", np.zeros(3, np.int32))
    dataset = xr.Dataset({"v": (("time", "lat", "lon"), values), "zone": zone}, coords)
    dataset["v"].encoding |= {"chunks": (6, 2, 4), "chunksizes": (6, 2, 4)}
    container_type, container = write(dataset, kind, tmp_path)
    reduction = ArrayReduction(reducer, container_type, "v", axis=("time",), group=Group("time", "month"))
    got = values_of(engine.reduce(reduction, container, Scope.after(60)))
    months = values.reshape(2, 12, 3, 4)
    place = np.arange(12).reshape(12, 1, 1)
    wanted = {
        "argmax": months.argmax(0) * 12 + place,
        "argmin": months.argmin(0) * 12 + place,
        "first": months[0],
        "last": months[1],
    }
    np.testing.assert_array_equal(got, wanted[reducer])

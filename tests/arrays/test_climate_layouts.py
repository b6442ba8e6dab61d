"""Two layouts of climate data, and what scientists ask of them: xarray says what is right, with flox if it is there.

One is like CMIP's: NetCDF-4 files of a year each, float32, the calendar noleap, bounds of coordinates, areas of cells
in a variable of their own, and levels of pressure. The other is like that of ERA5: Zarr, packed int16, times as int32
hours since 1900, latitudes from the north, and longitudes from 0 to 359.75.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cftime
import numpy as np
import pytest
import xarray as xr

from active_storage.grammar.expressions import parse_expression
from active_storage.model.array_reduction import ArrayReduction
from active_storage.model.coordinates import ArrayWeights, Between, CosineWeights, Group, Nearest
from handler.scope import Scope
from tests.arrays.memory_array import make_engine, values_of
from tests.arrays.stores import write_zarr
from tests.arrays.test_concat import File, Files
from tests.containers.memory import MemoryContainer


@dataclass(frozen=True)
class Layout:
    """A container, and the same as xarray decodes it, with float64 values.

    Attributes:
        container: The container.
        dataset: The data.
        fields: The fields of each request.
    """

    container: MemoryContainer
    dataset: xr.Dataset
    fields: dict[str, Any]


def _make_year(year: int, rng: np.random.Generator) -> xr.Dataset:
    """A year of every fifth day."""
    lat, lon, plev = np.linspace(-75, 75, 6), np.arange(8) * 45.0 + 22.5, np.array([100000.0, 85000.0, 50000.0])
    days = (year - 1850) * 365 + np.arange(73) * 5 + 2.5
    season = np.cos(2 * np.pi * np.arange(73) / 73)[:, None, None] * np.sin(np.deg2rad(lat))[:, None]
    tas = 288 - 15 * season - 30 * np.sin(np.deg2rad(lat))[:, None] ** 2 + rng.normal(0, 3, (73, 6, 8))
    tas[rng.random(tas.shape) < 0.02] = np.nan
    dims = ("time", "lat", "lon")
    dataset = xr.Dataset(
        {
            "tas": (dims, tas.astype("float32"), {"units": "K", "cell_methods": "area: time: mean"}),
            "pr": (dims, rng.exponential(3, tas.shape).astype("float32"), {"units": "mm day-1"}),
            "ta": (("time", "plev", "lat", "lon"), rng.normal(260, 5, (73, 3, 6, 8)).astype("float32")),
            "areacella": (
                ("lat", "lon"),
                np.outer(np.cos(np.deg2rad(lat)), np.ones(8)).astype("float32"),
                {"units": "m2"},
            ),
            "hours": ("time", rng.integers(20, 24, 73).astype("float64")),
            "time_bnds": (("time", "bnds"), np.stack([days - 2.5, days + 2.5], axis=1)),
            "lat_bnds": (("lat", "bnds"), np.stack([lat - 15, lat + 15], axis=1)),
        },
        {"time": days, "lat": lat, "lon": lon, "plev": plev},
    )
    dataset["time"].attrs = {"units": "days since 1850-01-01", "calendar": "noleap", "bounds": "time_bnds"}
    dataset["lat"].attrs = {"units": "degrees_north", "bounds": "lat_bnds"}
    dataset["plev"].attrs = {"units": "Pa", "positive": "down"}
    for name in ("tas", "pr"):
        dataset[name].encoding = {"_FillValue": np.float32(1e20), "zlib": True, "chunksizes": (7, 6, 8)}
    dataset["ta"].encoding = {"_FillValue": np.float32(1e20), "zlib": True, "chunksizes": (10, 1, 6, 8)}
    return dataset


@pytest.fixture(scope="module")
def cmip(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    rng, folder = np.random.default_rng(23), tmp_path_factory.mktemp("cmip")
    files, years = Files(folder), []
    for number, year in enumerate((2000, 2001, 2002)):
        path = folder / f"tas_day_{year}.nc"
        _make_year(year, rng).to_netcdf(path, engine="netcdf4", unlimited_dims=["time"])
        files.files.append(File(path.read_bytes(), number))
        with xr.open_dataset(path, engine="netcdf4", decode_times=xr.coders.CFDatetimeCoder(use_cftime=True)) as opened:
            years.append(opened.load())
    dataset = xr.concat(years, "time", data_vars="minimal", coords="minimal", compat="override", join="override")
    dataset = dataset.drop_vars("time_bnds").astype("float64")
    return Layout(files, dataset, {"container": "netcdf", "concat": "time"})


@pytest.fixture(scope="module")
def era5(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    rng, folder = np.random.default_rng(5), tmp_path_factory.mktemp("era5")
    lat, lon = np.arange(60, -61, -15).astype("float32"), np.arange(0, 360, 0.25).astype("float32")
    # Every six hours, from November 2019 to January 2020.
    hours = np.arange(1050552, 1050552 + 6 * 4 * 75, 6).astype("int32")
    warmth = 273 + 30 * np.cos(np.deg2rad(lat))[:, None] + 5 * np.sin(hours * np.pi / 12)[:, None, None]
    values = warmth + rng.normal(0, 4, (len(hours), len(lat), len(lon)))
    values[rng.random(values.shape) < 0.01] = np.nan
    dataset = xr.Dataset(
        {"t2m": (("time", "latitude", "longitude"), values, {"units": "K"})},
        {"time": hours, "latitude": lat, "longitude": lon},
    )
    dataset["time"].attrs = {"units": "hours since 1900-01-01 00:00:00.0", "calendar": "gregorian"}
    dataset["latitude"].attrs = {"units": "degrees_north"}
    packing = {"dtype": "int16", "scale_factor": 0.0017, "add_offset": 290.0, "_FillValue": np.int16(-32767)}
    dataset["t2m"].encoding = {**packing, "chunks": (31, 4, 480)}
    container = write_zarr(dataset, folder / "era5.zarr", 2)
    with xr.open_zarr(folder / "era5.zarr", chunks=None, mask_and_scale=False) as stored:
        packed = stored["t2m"].load()
    # In float64 throughout.
    decoded = packed.astype(float).where(packed != -32767) * 0.0017 + 290.0
    return Layout(container, decoded.to_dataset(name="t2m"), {"container": "zarr"})


def _weigh(array: xr.DataArray, weights: xr.DataArray) -> xr.DataArray:
    """The weighted mean along all dimensions of one group."""
    return array.weighted(weights).mean()


def _find_cosines(degrees: xr.DataArray) -> xr.DataArray:
    return degrees.copy(data=np.cos(np.deg2rad(degrees.values.astype(float))))


def _is_inside(coordinate: Any, west: float, east: float) -> Any:
    return np.flatnonzero(np.mod(coordinate.values - west, 360) <= east - west)


CMIP: dict[str, tuple[str, str, dict[str, Any], Callable[[xr.Dataset], Any]]] = {
    "monthly climatology": (
        "mean", "tas", {"axis": ("time",), "group": Group("time", "month")},
        lambda data: data["tas"].groupby("time.month").mean(),
    ),
    "monthly climatology of the tropics": (
        "std", "tas",
        {"axis": ("time", "lon"), "group": Group("time", "month"), "where": {"lat": Between("-30", "30")}},
        lambda data: data["tas"].sel(lat=slice(-30, 30)).groupby("time.month").std(["time", "lon"]),
    ),
    "area-weighted mean": (
        "mean", "tas", {"axis": ("lat", "lon"), "weights": ArrayWeights("areacella")},
        lambda data: data["tas"].weighted(data["areacella"]).mean(["lat", "lon"]),
    ),
    "area-weighted mean, year by year": (
        "mean", "tas", {"weights": ArrayWeights("areacella"), "group": Group("time", "year")},
        lambda data: data["tas"].groupby("time.year").map(_weigh, weights=data["areacella"]),
    ),
    "weights along the files": (
        "mean", "tas", {"axis": ("time",), "weights": ArrayWeights("hours")},
        lambda data: data["tas"].weighted(data["hours"]).mean("time"),
    ),
    "seasons": (
        "max", "tas", {"axis": ("time", "lon"), "group": Group("time", "season")},
        lambda data: data["tas"].groupby("time.season").max(["time", "lon"]),
    ),
    "days of the year": (
        "mean", "tas", {"axis": ("time",), "group": Group("time", "dayofyear")},
        lambda data: data["tas"].groupby("time.dayofyear").mean(),
    ),
    "a winter over the end of a file": (
        "mean", "tas", {"axis": ("time",), "where": {"time": Between("2000-12", "2001-02")}},
        lambda data: data["tas"].sel(time=slice("2000-12", "2001-02")).mean("time"),
    ),
    "quarters": (
        "sum", "pr", {"axis": ("time", "lat", "lon"), "group": Group("time", "3M")},
        lambda data: data["pr"].resample(time="3MS").sum(["time", "lat", "lon"]),
    ),
    "the nearest point": (
        "select", "tas", {"where": {"lat": Nearest("51.5"), "lon": Nearest("-0.1", is_cyclic=True)}},
        lambda data: data["tas"].sel(lat=[51.5], lon=[359.9], method="nearest"),
    ),
    "a level": (
        "mean", "ta", {"axis": ("time",), "where": {"plev": Between("85000", "85000"), "lat": Between(None, "0")}},
        lambda data: data["ta"].sel(plev=[85000], lat=slice(None, 0)).mean("time"),
    ),
    "degrees Celsius": (
        "min", "tas", {"axis": ("time",), "expression": parse_expression("tas - 273.15")},
        lambda data: (data["tas"] - 273.15).min("time"),
    ),
    "an expression along the files": (
        "sum", "pr", {"axis": ("time",), "expression": parse_expression("pr * hours / 24")},
        lambda data: (data["pr"] * data["hours"] / 24).sum("time"),
    ),
    "wet days": (
        "count", "pr", {"axis": ("time",), "group": Group("time", "year"), "thresholds": {"ge": 1.0}},
        lambda data: (data["pr"] >= 1).groupby("time.year").sum("time"),
    ),
    "correlation": (
        "corr", "tas", {"axis": ("time",), "other": "pr"},
        lambda data: xr.corr(data["tas"], data["pr"], "time"),
    ),
}  # fmt: skip

ERA5: dict[str, tuple[str, str, dict[str, Any], Callable[[xr.Dataset], Any]]] = {
    "hours of the day": (
        "mean", "t2m", {"axis": ("time", "longitude"), "group": Group("time", "hour")},
        lambda data: data["t2m"].groupby("time.hour").mean(["time", "longitude"]),
    ),
    "months": (
        "mean", "t2m", {"axis": ("time",), "group": Group("time", "month"), "where": {"longitude": Between("0", "20")}},
        lambda data: data["t2m"].sel(longitude=slice(0, 20)).groupby("time.month").mean(),
    ),
    "seasons": (
        "var", "t2m", {"axis": ("time", "longitude"), "group": Group("time", "season")},
        lambda data: data["t2m"].groupby("time.season").var(["time", "longitude"]),
    ),
    "daily maxima": (
        "max", "t2m", {"axis": ("time",), "group": Group("time", "1D"), "where": {"longitude": Between("100", "110")}},
        lambda data: data["t2m"].sel(longitude=slice(100, 110)).resample(time="1D").max(),
    ),
    "cosine-weighted mean": (
        "mean", "t2m", {"axis": ("latitude", "longitude"), "weights": CosineWeights("latitude")},
        lambda data: data["t2m"].weighted(_find_cosines(data["latitude"])).mean(["latitude", "longitude"]),
    ),
    "over the meridian of Greenwich": (
        "mean", "t2m",
        {
            "axis": ("time", "latitude"),
            "where": {"latitude": Between("-30", "30"), "longitude": Between("-10", "9.75", is_cyclic=True)},
        },
        lambda data: data["t2m"]
        .sel(latitude=slice(30, -30))
        .isel(longitude=np.roll(_is_inside(data["longitude"], -10, 9.75), 40))
        .mean(["time", "latitude"]),
    ),
    "the nearest point": (
        "select", "t2m",
        {"where": {
            "latitude": Nearest("51.5"), "longitude": Nearest("-0.13", is_cyclic=True),
            "time": Between("2019-12", "2019-12"),
        }},
        lambda data: data["t2m"].sel(time="2019-12").sel(latitude=[51.5], longitude=[359.87], method="nearest"),
    ),
    "warm hours": (
        "count", "t2m", {"axis": ("time", "longitude"), "group": Group("time", "year"), "thresholds": {"gt": 300.0}},
        lambda data: (data["t2m"] > 300).groupby("time.year").sum(["time", "longitude"]),
    ),
    "bins of latitudes": (
        "mean", "t2m",
        {"axis": ("latitude", "longitude"), "group": Group("latitude"), "bins": (-90.0, -20.0, 20.0, 90.0)},
        lambda data: data["t2m"].groupby_bins("latitude", [-90, -20, 20, 90]).mean(["latitude", "longitude"]),
    ),
}  # fmt: skip


def _check(layout: Layout, question: tuple[str, str, dict[str, Any], Callable[[xr.Dataset], Any]]) -> None:
    reducer, name, fields, find = question
    reduction = ArrayReduction(reducer, array=name, decode="xarray", **layout.fields, **fields)
    answers = [make_engine(fetchers=count).reduce(reduction, layout.container, Scope.after(60)) for count in (1, 2, 8)]
    assert len({answer.result.data for answer in answers}) == 1
    wanted = find(layout.dataset)
    order = [str(each) for each in answers[0].dimensions]
    got = values_of(answers[0])
    tolerance = 2e-6 if got.dtype == np.float32 else 1e-10
    np.testing.assert_allclose(got, wanted.transpose(*order).values, rtol=tolerance, atol=tolerance * 300)
    for dimension, labels in answers[0].labels.items():
        values = wanted[dimension].values
        if values.dtype.kind == "M" or isinstance(values.flat[0], cftime.datetime):
            assert [label[:10] for label in labels] == [str(each)[:10] for each in values]
        elif values.dtype.kind in "iufU":
            np.testing.assert_array_equal(values, labels)


@pytest.mark.parametrize("question", CMIP)
def test_questions_to_files_of_a_climate_model(cmip: Layout, question: str) -> None:
    _check(cmip, CMIP[question])


@pytest.mark.parametrize("question", ERA5)
def test_questions_to_a_packed_reanalysis(era5: Layout, question: str) -> None:
    _check(era5, ERA5[question])


@pytest.mark.parametrize("layout", ["cmip", "era5"])
def test_histograms_are_those_of_numpy(layout: str, request: pytest.FixtureRequest) -> None:
    data: Layout = request.getfixturevalue(layout)
    name, edges = ("tas", np.arange(240, 321, 5.0)) if layout == "cmip" else ("t2m", np.arange(260, 320, 2.5))
    reduction = ArrayReduction(
        "histogram", array=name, edges=tuple(edges), group=Group("time", "month"), decode="cf", **data.fields
    )
    got = values_of(make_engine().reduce(reduction, data.container, Scope.after(60)))
    array = data.dataset[name]
    months = np.unique(array["time"].dt.month)
    wanted = [np.histogram(array.values[array["time"].dt.month == month], edges)[0] for month in months]
    np.testing.assert_array_equal(got, wanted)

"""Datasets that stay in the store, with the real service: each expression beside xarray on the same data.

An expression that is pushed down takes one request, and a reply of at most the result and 4 KiB.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import xarray as xr
from hypothesis import strategies

import active_storage
from active_storage.client import connection
from active_storage.client.datasets import ServiceBackend
from active_storage.client.failures import ServiceUnreachable
from active_storage.client.remote import LoadWarning
from active_storage.client.service_array import ServiceArray
from active_storage.errors import InvalidArgument
from deploy.local.processes import LOOPBACK, free_ports
from deploy.local.store import Store, make_bucket

# numpy says so where the service says nothing.
pytestmark = [pytest.mark.live, pytest.mark.filterwarnings("ignore:All-NaN slice:RuntimeWarning")]

BUCKET = "xarray"
_SHAPE = (24, 6, 8)
_MOST_BYTES = 4096
_NAMES = ("two.zarr", "three.zarr", "four.nc", "classic.nc")


def make_dataset() -> xr.Dataset:
    """Two years of months: floats with missing data, packed integers, and integers; times, labels and bounds."""
    random = np.random.default_rng(7)
    values = random.normal(280, 10, _SHAPE).astype("f4")
    values[::5, 1, 2] = np.nan
    values[:, 3, 3] = np.nan
    values[[0, 1, 4], 0, 0] = np.nan
    dims = ("time", "lat", "lon")
    packed = values.astype("f8")
    packed[3, 4] = np.nan
    time = xr.date_range("2000-01-16", periods=24, freq="MS")
    coordinates = {
        "time": ("time", time, {"standard_name": "time"}),
        "lat": ("lat", np.linspace(-75, 75, 6), {"units": "degrees_north"}),
        "lon": np.arange(0, 360, 45.0),
        "height": ((), 2.0, {"units": "m"}),
        "area": (("lat", "lon"), random.random(_SHAPE[1:])),
    }
    variables = {
        "tas": (dims, values, {"units": "K", "long_name": "temperature"}),
        "packed": (dims, packed, {"units": "K"}),
        "days": (("time", "lat"), random.integers(-5, 31, _SHAPE[:2]).astype("i4")),
        "bounds": (("time", "edge"), np.stack([time, time + np.timedelta64(30, "D")], axis=1)),
    }
    return xr.Dataset(variables, coordinates, {"title": "a test", "number": 7})


@pytest.fixture(scope="module")
def folder(live_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset in each container, in a folder and in the store."""
    folder = tmp_path_factory.mktemp("xarray")
    dataset = make_dataset()
    packing = {"dtype": "i2", "scale_factor": 0.01, "add_offset": 273.15, "_FillValue": -32768}
    times = {"units": "days since 1999-12-01"}
    encoding: Any = {"packed": packing, "time": times, "bounds": times}
    chunked: Any = {**encoding, "tas": {"chunks": (6, 3, 8)}, "packed": {**packing, "chunks": (6, 3, 8)}}
    dataset.to_zarr(folder / "two.zarr", zarr_format=2, encoding=chunked, consolidated=True)
    with warnings.catch_warnings():
        # zarr-python says that consolidated metadata is not in the specification of version 3.
        warnings.simplefilter("ignore")
        dataset.to_zarr(folder / "three.zarr", zarr_format=3, encoding=chunked, consolidated=True)
    dataset.to_netcdf(folder / "four.nc", engine="h5netcdf", encoding=encoding)
    dataset.to_netcdf(folder / "classic.nc", engine="scipy", encoding=encoding)
    client = live_store.client()
    make_bucket(client, BUCKET)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            client.put_object(Bucket=BUCKET, Key=path.relative_to(folder).as_posix(), Body=path.read_bytes())
    return folder


@dataclass
class Traffic:
    """What went between the client and the service.

    Attributes:
        requests: The paths of requests for arrays.
        bytes: The sizes of all replies together.
    """

    requests: list[str] = field(default_factory=list)
    bytes: int = 0

    def clear(self) -> None:
        self.requests, self.bytes = [], 0


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Traffic:
    seen = Traffic()
    send, readinto = connection.Connections._send, connection._Body.readinto

    def send_and_see(self: Any, method: str, target: str, *rest: Any) -> Any:
        if method == "POST":
            seen.requests.append(target)
        return send(self, method, target, *rest)

    def readinto_and_see(self: Any, buffer: Any) -> int:
        size = readinto(self, buffer)
        seen.bytes += size
        return size

    monkeypatch.setattr(connection.Connections, "_send", send_and_see)
    monkeypatch.setattr(connection._Body, "readinto", readinto_and_see)
    return seen


# It has no types.
set_options: Any = xr.set_options

Open = Callable[..., xr.Dataset]


@pytest.fixture
def open_remote(live_store: Store, endpoint: str, folder: Path) -> Iterator[Open]:
    opened: list[xr.Dataset] = []

    def open_one(name: str, engine: Any = None, **options: Any) -> xr.Dataset:
        keys = {"key": live_store.access_key, "secret": live_store.secret_key}
        given: Any = {"service": endpoint, **keys, **options}
        url = f"s3://{BUCKET}/{name}"
        dataset = xr.open_dataset(url, engine=engine, **given) if engine else active_storage.open_dataset(url, **given)
        opened.append(dataset)
        return dataset

    yield open_one
    for each in opened:
        each.close()


def open_local(folder: Path, name: str, **options: Any) -> xr.Dataset:
    if name.endswith(".zarr"):
        return xr.open_dataset(folder / name, engine="zarr", **options)
    engine: Any = "scipy" if name.startswith("classic") else "h5netcdf"
    return xr.open_dataset(folder / name, engine=engine, **options)


def load(dataset: xr.Dataset) -> xr.Dataset:
    """The dataset with its elements."""
    loaded = dataset.compute()
    assert not any(is_lazy(loaded[name]) for name in loaded.data_vars)
    return loaded


def is_lazy(array: xr.DataArray) -> bool:
    return isinstance(array.variable._data, ServiceArray)


@pytest.mark.parametrize("name", _NAMES)
def test_a_dataset_is_that_of_xarray(open_remote: Open, folder: Path, traffic: Traffic, name: str) -> None:
    remote, local = open_remote(name), open_local(folder, name)
    # xarray looks at both ends of a variable of time, which is no coordinate here.
    assert traffic.requests == ["/arrays/v1/describe", *["/arrays/v1/select"] * 2]
    assert {name for name in remote.data_vars if is_lazy(remote[name])} == {"tas", "packed", "days"}
    assert {name: each.dtype for name, each in remote.variables.items()} == {
        name: each.dtype for name, each in local.variables.items()
    }
    assert "ServiceArray" in repr(remote.tas)
    traffic.clear()
    xr.testing.assert_identical(load(remote), local)
    # One for each of the others, and for the two coordinates of other shapes.
    assert traffic.requests == ["/arrays/v1/select"] * 6


Compute = Callable[[xr.Dataset], Any]

# The reducers of the interface. Along with an array, they are told a dimension; groups know theirs.
REDUCERS: dict[str, Callable[..., Any]] = {
    **{
        name: lambda array, name=name, **dim: getattr(array, name)(**dim)
        for name in ("mean", "sum", "min", "max", "var", "std", "count", "any", "all", "median", "argmin", "argmax")
    },
    "quantile": lambda array, **dim: array.quantile([0.2, 0.9], **dim),
}

# What happens to an array before: indexing, transposing, grouping.
BEFORE: dict[str, Callable[[xr.DataArray], Any]] = {
    "plain": lambda array: array,
    "isel": lambda array: array.isel(time=slice(20, 3, -2), lat=-1),
    "sel": lambda array: array.sel(time=slice("2000-05", "2001-06"), lon=[315, 225]),
    "mask": lambda array: array.isel(time=np.arange(24) % 5 > 1, lon=np.arange(array.sizes["lon"]) % 2 == 0),
    "list": lambda array: array.isel(time=[1, 4, 6, 7, 22], lat=[2, 0]),
    "transpose": lambda array: array.transpose("lon", "time", "lat"),
    "months": lambda array: array.groupby("time.month"),
    "seasons": lambda array: array.transpose("lat", "time", "lon").groupby("time.season"),
    "bins": lambda array: array.groupby_bins("lat", [-80, -40, 0, 10, 80]),
    "years": lambda array: array.resample(time="YS"),
    "quarters": lambda array: array.resample(time="QS"),
    "two months": lambda array: array.isel(time=slice(1, None)).resample(time="2MS"),
}


def make_expression(before: str, reducer: str) -> Compute:
    """A reducer of the interface, after indexing or grouping."""
    is_grouped = before in {"months", "seasons", "bins", "years", "quarters", "two months"}

    def compute(dataset: xr.Dataset) -> Any:
        # Elements that are all missing have no place. Quantiles of singles can be rounded to singles by numpy.
        arrays = {"argmin": dataset.tas[:, :, 4:], "argmax": dataset.tas[:, :, 4:], "quantile": dataset.packed}
        array = BEFORE[before](arrays.get(reducer, dataset.tas))
        if not is_grouped:
            return REDUCERS[reducer](array, dim="time")
        if not reducer.startswith("arg"):
            return REDUCERS[reducer](array)
        return array.map(lambda each: getattr(each, reducer)("lat" if before == "bins" else "time"))

    return compute


# What xarray computes, of which each needs one request.
EXPRESSIONS: dict[str, Compute] = {
    **{f"{reducer} of {before}": make_expression(before, reducer) for reducer in REDUCERS for before in BEFORE},
    "mean of all": lambda ds: ds.tas.mean(),
    "mean of packed": lambda ds: ds.packed.mean(("lat", "lon")),
    "mean with NaN": lambda ds: ds.tas.mean("time", skipna=False),
    "mean of integers": lambda ds: ds.days.mean("time"),
    "sum of packed": lambda ds: ds.packed.sum(),
    "sum with NaN": lambda ds: ds.packed.sum("lon", skipna=False),
    "sum of few": lambda ds: ds.tas.sum("time", min_count=20),
    "sum of few in all": lambda ds: ds.tas.sum(min_count=2000),
    "sum of integers": lambda ds: ds.days.sum("lat"),
    "count of packed": lambda ds: ds.packed.count(),
    "count of integers": lambda ds: ds.days.count("lat"),
    "min of two": lambda ds: ds.tas.min(("lat", "time")),
    "max without attributes": lambda ds: ds.tas.max("time", keep_attrs=False),
    "var of few": lambda ds: ds.tas.var("time", ddof=1),
    "var of too few": lambda ds: ds.packed.isel(time=[3]).var("time", ddof=1),
    "one quantile": lambda ds: ds.tas.quantile(0.9, "time"),
    "quantiles of two": lambda ds: ds.tas.quantile([0.1, 0.5, 0.9], ("time", "lon")),
    "quantile by a method": lambda ds: ds.tas.quantile(0.3, "time", method="lower"),
    "quantiles with NaN": lambda ds: ds.tas.quantile([0.1], "time", skipna=False),
    "any missing": lambda ds: ds.tas.isnull().any("time"),
    "all of integers": lambda ds: ds.days.all("time"),
    "argmin of integers": lambda ds: ds.days.argmin("lat"),
    "argmax backwards": lambda ds: ds.days.isel(time=slice(None, None, -1)).argmax("time"),
    "argmin of two": lambda ds: ds.tas[:, :, 4:].argmin(["lat", "lon"])["lon"],
    "argmax of one": lambda ds: ds.tas.isel(lon=5).argmax("time"),
    "keepdims": lambda ds: ds.tas.mean("lat", keepdims=True),
    "isel of any list": lambda ds: ds.tas.isel(lat=[4, 0, 0], lon=2).mean("time"),
    "isel of lists": lambda ds: ds.tas.isel(lat=[4, 0], lon=[7, 2, 3]).max("time"),
    "sum of two lists": lambda ds: ds.tas[:, :3].isel(time=[1, 4, 4], lon=[7, 3]).sum(("time", "lon")),
    "count of a list": lambda ds: ds.tas.isel(time=[0, 0, 6]).count("time"),
    "max of a list": lambda ds: ds.tas.isel(time=[6, 6, 0]).max("time"),
    "any of a list": lambda ds: ds.days.isel(time=[6, 6, 0]).any("time"),
    "mean of a list with NaN": lambda ds: ds.tas.isel(time=[0, 5, 6]).mean("time", skipna=False),
    "mean of a list of missing": lambda ds: ds.tas.isel(time=[0, 1, 4], lat=slice(0, 3)).mean("time"),
    "mean of integers of a list": lambda ds: ds.days.isel(lat=[0, 0, 5]).mean("lat"),
    "sel nearest": lambda ds: ds.packed.sel(lat=40, lon=100, method="nearest").max("time"),
    "two steps": lambda ds: ds.tas.T.isel(lon=slice(6, 1, -2)).isel(lon=1, time=slice(2, None)).std("time"),
    "stacked": lambda ds: ds.tas.stack(at=("lat", "lon")).max("at"),
    "stacked and kept": lambda ds: ds.tas.stack(at=("lat", "lon")).max("time"),
    "new dimension": lambda ds: ds.tas.mean("time").expand_dims("member").transpose(..., "member"),
    "arithmetic of a result": lambda ds: ds.tas.mean("time") * 2 - 273.15,
    "months of packed": lambda ds: ds.packed.groupby("time.month").sum(min_count=2),
    "months of one place": lambda ds: ds.packed.sel(lat=40, lon=100, method="nearest").groupby("time.month").mean(),
    "months over all": lambda ds: ds.tas.groupby("time.month").mean(...),
    "months with NaN": lambda ds: ds.tas.groupby("time.month").mean(skipna=False),
    "months of a mask": lambda ds: ds.tas.isel(time=np.arange(24) % 7 > 1).groupby("time.month").mean(),
    "years of integers": lambda ds: ds.days.groupby("time.year").sum(),
    "var of years": lambda ds: ds.packed.resample(time="YS").var(ddof=1),
    "years without attributes": lambda ds: ds.tas.resample(time="YS").mean(keep_attrs=False),
    "some bins": lambda ds: ds.tas.groupby_bins("lat", [-20, 40]).mean(),
    "weighted mean": lambda ds: ds.packed.weighted(cosine(ds)).mean(("lat", "lon")),
    "weighted sum": lambda ds: ds.packed.weighted(cosine(ds)).sum(("lat", "lon")),
    "weighted var": lambda ds: ds.packed.weighted(cosine(ds)).var(("lat", "lon")),
    "weighted std": lambda ds: ds.packed.weighted(cosine(ds)).std(("lat", "lon")),
    "sum of weights": lambda ds: ds.packed.weighted(cosine(ds)).sum_of_weights(("lat", "lon")),
    "weighted mean of all": lambda ds: ds.tas.weighted(cosine(ds)).mean(),
    "weighted mean along one": lambda ds: ds.tas.weighted(cosine(ds)).mean("lon"),
    "weighted std along one": lambda ds: ds.tas.weighted(ds.area).std("lat"),
    "weighted mean by area": lambda ds: ds.tas.weighted(ds.area.T).mean(("lat", "lon")),
    "weighted var by area": lambda ds: ds.tas.T.weighted(ds.area.T).var(("lon", "lat")),
    "weighted mean with NaN": lambda ds: ds.tas.weighted(ds.area).mean(("lat", "lon"), skipna=False),
    "weighted var with NaN": lambda ds: ds.tas[:, :3].weighted(ds.area).var("lat", skipna=False),
    "weighted mean of integers": lambda ds: ds.days.weighted(cosine(ds)).mean("lat"),
    "weighted std of integers": lambda ds: ds.days.weighted(cosine(ds)).std("lat"),
    "weighted mean by integers": lambda ds: ds.tas.weighted(ds.time.dt.days_in_month).mean("time"),
    "weighted mean by singles": lambda ds: ds.tas.weighted(ds.area.astype("f4")).mean(("lat", "lon")),
    "weighted mean with rounding": lambda ds: ds.tas.weighted(round_cosine(ds)).mean(("lat", "lon")),
    "weighted sum with rounding": lambda ds: ds.packed.weighted(round_cosine(ds)).sum("lat"),
    "weighted sum by negative weights": lambda ds: ds.packed.weighted(ds.lat).sum("lat"),
    "weighted mean by negative weights": lambda ds: ds.packed.weighted(ds.area - 0.5).mean(("lat", "lon")),
    "weighted mean by weights that cancel": lambda ds: ds.days.weighted(ds.lat).mean("lat"),
    "weighted mean by bools": lambda ds: ds.packed.weighted(ds.lat > 20).mean(("lat", "lon")),
    "weighted mean by zeros": lambda ds: ds.packed.weighted(ds.lat * 0).mean("lat"),
    "weighted var by zeros": lambda ds: ds.packed.weighted(ds.lat * 0).var("lat"),
    "weighted mean of a part": lambda ds: ds.tas.isel(lat=slice(4, 1, -1)).weighted(ds.area).mean(("lat", "lon")),
    "weighted var of a list": lambda ds: ds.tas.isel(lat=[0, 1, 5]).weighted(cosine(ds)).var(("lat", "lon")),
    "weighted mean of months": lambda ds: ds.tas.groupby("time.month").map(
        lambda each: each.weighted(ds.time.dt.days_in_month).mean("time")
    ),
}


def cosine(dataset: xr.Dataset) -> xr.DataArray:
    weights: xr.DataArray = np.cos(np.deg2rad(dataset.lat))
    return weights


def round_cosine(dataset: xr.Dataset) -> xr.DataArray:
    """The cosine in float32, from pole to pole: there it is a little less than 0."""
    weights: xr.DataArray = np.cos(np.deg2rad((dataset.lat * 90 / 75).astype("f4")))
    assert -1e-7 < weights.min() < 0
    return weights


@pytest.fixture(scope="module")
def opened(live_store: Store, endpoint: str, folder: Path) -> Iterator[dict[str, xr.Dataset]]:
    """The dataset as the function opens it, as xarray does, which wraps the arrays, and by xarray alone."""
    options: Any = {"service": endpoint, "key": live_store.access_key, "secret": live_store.secret_key}
    url = f"s3://{BUCKET}/two.zarr"
    with (
        active_storage.open_dataset(url, **options) as by_function,
        xr.open_dataset(url, engine=ServiceBackend, **options) as by_engine,
        open_local(folder, "two.zarr") as local,
    ):
        for dataset in (by_function, by_engine, local):
            # Coordinates of other shapes are selected when they are needed.
            for name in ("area", "height"):
                dataset[name].load()
        yield {"function": by_function, "engine": by_engine, "local": local}


# Opened by the function, and by xarray, which wraps the arrays.
ENGINES = pytest.mark.parametrize("engine", [None, ServiceBackend], ids=["function", "engine"])


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_is_one_request_and_equals_that_of_xarray(
    opened: dict[str, xr.Dataset], traffic: Traffic, expression: str
) -> None:
    compute = EXPRESSIONS[expression]
    # flox, which groups arrays of numpy, keeps other coordinates for quantiles than xarray itself.
    with warnings.catch_warnings(), set_options(use_flox=False):
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = compute(opened["local"])
    for way, use_flox in (("function", False), ("engine", True)):
        traffic.clear()
        with set_options(use_flox=use_flox):
            found = evaluate(compute, opened[way])
        assert len(traffic.requests) == 1
        assert traffic.requests != ["/arrays/v1/select"]
        assert traffic.bytes <= expected.nbytes + _MOST_BYTES
        check_alike(found, expected)
        assert len(traffic.requests) == 1


def test_load_asks_for_results(opened: dict[str, xr.Dataset], traffic: Traffic) -> None:
    names = ["tas", "days"]
    for way in ("function", "engine"):
        traffic.clear()
        remote, local = opened[way], opened["local"]
        quantile, means, later = remote.tas.quantile(0.5), remote[names].mean("time"), remote.tas.max("time")
        assert not traffic.requests
        check_alike(quantile.compute(), local.tas.quantile(0.5))
        assert isinstance(later.load().variable._data, np.ndarray)
        loaded = means.compute()
        assert len(traffic.requests) == 4
        for name in names:
            assert isinstance(loaded[name].variable._data, np.ndarray)
            check_alike(loaded[name], local[name].mean("time"))
        assert len(traffic.requests) == 4


def test_a_weighted_dataset_is_one_request_for_each_array(opened: dict[str, xr.Dataset], traffic: Traffic) -> None:
    names = ["tas", "packed", "days"]
    found, expected = (each[names].weighted(cosine(each)).std("lat") for each in (opened["engine"], opened["local"]))
    for name in names:
        assert isinstance(found[name].values, np.ndarray)
    assert traffic.requests == ["/arrays/v1/var"] * 3
    for name in names:
        check_alike(found[name], expected[name])


# Of maps that are larger than what a reply may have beside the result.
LARGE: dict[str, Callable[[xr.Dataset], Any]] = {
    "mean": lambda ds: ds.tas.mean("time"),
    "sum": lambda ds: ds.tas.sum("time"),
    "max": lambda ds: ds.tas.max("time"),
    "std": lambda ds: ds.tas.std("time", ddof=1),
    "median": lambda ds: ds.tas.median("time"),
    "quantiles": lambda ds: ds.tas.quantile([0.1, 0.9], "time"),
    "months": lambda ds: ds.tas.groupby("time.month").mean(),
    "years": lambda ds: ds.tas.resample(time="YS").max(),
    "weights": lambda ds: ds.tas.weighted(ds.time.dt.days_in_month).mean("time"),
    "list": lambda ds: ds.tas.isel(time=[0, 1, 5, 7]).min("time"),
    "accessor": lambda ds: ds.tas.active.mean("time", group="time.season"),
}


@pytest.fixture(scope="module")
def large(live_store: Store, endpoint: str, folder: Path) -> Iterator[tuple[xr.Dataset, xr.Dataset]]:
    """Maps with gaps at random places, from the service and in memory."""
    random = np.random.default_rng(11)
    values = random.normal(280, 10, (24, 60, 70)).astype("f4")
    values[random.random(values.shape) < 0.2] = np.nan
    dataset = xr.Dataset(
        {"tas": (("time", "lat", "lon"), values)}, {"time": xr.date_range("2000-01-16", periods=24, freq="MS")}
    )
    dataset.to_netcdf(folder / "large.nc", engine="h5netcdf")
    client = live_store.client()
    client.put_object(Bucket=BUCKET, Key="large.nc", Body=(folder / "large.nc").read_bytes())
    keys: Any = {"key": live_store.access_key, "secret": live_store.secret_key}
    with active_storage.open_dataset(f"s3://{BUCKET}/large.nc", endpoint, **keys) as remote:
        yield remote, dataset


@pytest.mark.parametrize("expression", LARGE)
def test_a_reply_has_no_more_than_the_result(
    large: tuple[xr.Dataset, xr.Dataset], traffic: Traffic, expression: str
) -> None:
    remote, local = large
    found = evaluate(LARGE[expression], remote)
    assert len(traffic.requests) == 1
    assert traffic.bytes <= found.nbytes + _MOST_BYTES
    if expression != "accessor":
        xr.testing.assert_allclose(found, LARGE[expression](local), rtol=2e-5)


def test_a_weighted_sum_of_squares_is_two_requests(opened: dict[str, xr.Dataset], traffic: Traffic) -> None:
    def compute(dataset: xr.Dataset) -> Any:
        return dataset.packed.weighted(cosine(dataset)).sum_of_squares("lat")

    found = evaluate(compute, opened["function"])
    assert sorted(traffic.requests) == ["/arrays/v1/sum_of_weights", "/arrays/v1/var"]
    check_alike(found, compute(opened["local"]))


def evaluate(compute: Compute, dataset: xr.Dataset) -> xr.DataArray:
    """A result whose numbers have been needed."""
    found: xr.DataArray = compute(dataset)
    assert isinstance(np.asarray(found), np.ndarray)
    return found


def check_alike(found: Any, expected: Any) -> None:
    """Pass if two arrays differ in rounding only."""
    assert found.dtype == expected.dtype
    assert found.name == expected.name
    single = found.dtype == np.float32
    xr.testing.assert_allclose(found, expected, rtol=2e-5 if single else 1e-12)
    rounded = found.copy(data=expected.values)
    xr.testing.assert_identical(rounded, expected)
    if found.dtype.kind in "bi":
        np.testing.assert_array_equal(found.values, expected.values)


# What the accessor asks for, and what xarray computes of it.
QUESTIONS: dict[str, tuple[Callable[[xr.Dataset], Any], Callable[[xr.Dataset], Any]]] = {
    "mean": (lambda ds: ds.tas.active.mean("time"), lambda ds: ds.tas.mean("time")),
    "max of all": (lambda ds: ds.packed.active.max(), lambda ds: ds.packed.max()),
    "months": (
        lambda ds: ds.tas.active.mean("time", group="time.month"),
        lambda ds: ds.tas.groupby("time.month").mean(),
    ),
    "seasons": (
        lambda ds: ds.packed.isel(lat=slice(None, None, -1)).active.max("time", group="time.season"),
        lambda ds: ds.packed.isel(lat=slice(None, None, -1)).groupby("time.season").max(),
    ),
    "transposed": (
        lambda ds: ds.tas.transpose("lon", "time", "lat").active.sum("time", group="time.year"),
        lambda ds: ds.tas.transpose("lon", "time", "lat").groupby("time.year").sum(),
    ),
    "quantiles": (
        lambda ds: ds.tas.active.quantile([0.25, 0.5], "time"),
        lambda ds: ds.tas.quantile([0.25, 0.5], "time"),
    ),
    "quantile": (lambda ds: ds.tas.active.quantile(0.5), lambda ds: ds.tas.quantile(0.5)),
    "weights": (
        lambda ds: ds.packed.active.mean(("lat", "lon"), weights="cos:lat"),
        lambda ds: ds.packed.weighted(np.cos(np.deg2rad(ds.lat))).mean(("lat", "lon")),
    ),
    "weights of an array": (
        lambda ds: ds.packed.active.mean(("lat", "lon"), weights="area"),
        lambda ds: ds.packed.weighted(ds.area).mean(("lat", "lon")),
    ),
}


@ENGINES
@pytest.mark.parametrize("question", QUESTIONS)
def test_the_accessor_asks_once_and_gives_what_xarray_computes(
    open_remote: Open, folder: Path, traffic: Traffic, question: str, engine: Any
) -> None:
    ask, compute = QUESTIONS[question]
    remote = open_remote("two.zarr", engine)
    traffic.clear()
    found, expected = ask(remote), compute(open_local(folder, "two.zarr"))
    assert len(traffic.requests) == 1
    assert traffic.bytes <= expected.nbytes + _MOST_BYTES
    check_alike(found, expected)


def test_a_dataset_is_reduced_by_one_request_for_each_array(open_remote: Open, folder: Path, traffic: Traffic) -> None:
    names = ["tas", "packed", "days"]
    remote = open_remote("two.zarr")[names]
    traffic.clear()
    found = remote.mean("time")
    assert not traffic.requests
    expected = open_local(folder, "two.zarr")[names].mean("time")
    assert found.attrs == expected.attrs
    assert all(found[name].values is not None for name in names)
    assert traffic.requests == ["/arrays/v1/mean"] * 3
    for name in names:
        check_alike(found[name], expected[name])
    remote.coords.to_dataset().load()
    traffic.clear()
    found = remote.groupby("time.month").max()
    assert traffic.requests == ["/arrays/v1/max"] * 3
    xr.testing.assert_identical(found, load(remote).groupby("time.month").max())


@pytest.mark.filterwarnings("ignore::active_storage.client.remote.LoadWarning")
def test_a_dataset_can_be_copied_written_and_given_to_dask(open_remote: Open, folder: Path, tmp_path: Path) -> None:
    remote, local = open_remote("two.zarr"), open_local(folder, "two.zarr").load()
    assert is_lazy(remote.copy(deep=True).tas)
    remote.to_netcdf(tmp_path / "copy.nc", engine="h5netcdf")
    xr.testing.assert_identical(open_local(tmp_path, "copy.nc").load(), local)
    chunked = remote.tas.chunk({"time": 6})
    check_alike(chunked.mean("time").compute(), local.tas.mean("time"))
    xr.testing.assert_identical(xr.concat([remote.tas, remote.tas], "member"), xr.concat([local.tas] * 2, "member"))


def test_the_accessor_counts_bins(open_remote: Open, folder: Path) -> None:
    edges = [250, 270, 280, 290, 310]
    found = open_remote("two.zarr").tas.active.histogram(edges, ("time", "lon"))
    assert found.dims == ("lat", "bin")
    local = open_local(folder, "two.zarr").tas.transpose("lat", ...).values.reshape(6, -1)
    np.testing.assert_array_equal(found.values, [np.histogram(row, edges)[0] for row in local])
    assert [each.left for each in found["bin"].values] == edges[:-1]


def test_the_accessor_plans(open_remote: Open, traffic: Traffic) -> None:
    tas = open_remote("two.zarr").tas
    traffic.clear()
    plan = tas.isel(time=slice(0, 6)).active.plan("mean", "time")
    assert (plan.chunks, plan.shape) == (2, _SHAPE)
    assert traffic.requests == ["/arrays/v1/plan"]


def test_the_accessor_refuses_what_is_not_in_the_store(open_remote: Open) -> None:
    tas = open_remote("two.zarr").tas
    with pytest.raises(TypeError, match="are not in the store"):
        tas.active.load().active.mean("time")
    with pytest.raises(ValueError, match="should be reduced"):
        tas.active.mean("lat", group="time.month")
    with pytest.raises(ValueError, match="groups or weights of a list of indices cannot be done by the service"):
        tas.isel(time=[0, 1, 5]).active.mean("time", group="time.month")
    with pytest.raises(ValueError, match="max over a list of indices cannot be done by the service"):
        tas.isel(time=[0, 1, 5], lat=[0, 1, 3]).active.max(("time", "lat"))
    with pytest.raises(ValueError, match="'height'"):
        tas.active.mean("height")


# What the service does not do, and the number of warnings for it.
OTHERS: dict[str, Callable[[xr.Dataset], Any]] = {
    "arithmetic": lambda ds: (ds.tas - 273.15).mean("time"),
    "prod": lambda ds: ds.days.prod("lat"),
    "cumsum": lambda ds: ds.tas.cumsum("time"),
    "where": lambda ds: ds.tas.where(ds.tas > 280).max("time"),
    "element of a stack": lambda ds: ds.tas.stack(at=("lat", "lon")).isel(at=[3, 5]).max("time"),
    "negative weights": lambda ds: ds.tas.weighted(ds.area - 0.5).var("lat"),
    "max over two lists": lambda ds: ds.tas.isel(time=[0, 5, 6], lat=[0, 1, 3]).max(("time", "lat")),
    "sum of integers listed twice": lambda ds: ds.days.isel(lat=[0, 0, 5]).sum("lat"),
    "median of what is listed twice": lambda ds: ds.tas.isel(time=[0, 5, 5]).median("time"),
    "points": lambda ds: ds.tas.isel(lat=xr.DataArray([0, 2], dims="at"), lon=xr.DataArray([1, 3], dims="at")),
    "argmax of a list backwards": lambda ds: ds.days.isel(time=[5, 3, 0]).argmax("time"),
    "argmax of other dimensions": lambda ds: ds.tas[:, :, 4:].argmax(["lon", "lat"])["lon"],
    "argmax of NaN": lambda ds: ds.tas.argmax("time", skipna=False),
    "median of deviations": lambda ds: (ds.packed - ds.packed.weighted(cosine(ds)).mean("lat")).median("time"),
    "anomalies": lambda ds: ds.tas.groupby("time.month") - ds.tas.groupby("time.month").mean(),
    "rolling": lambda ds: ds.tas.rolling(time=3).mean(),
}


@ENGINES
@pytest.mark.parametrize("expression", OTHERS)
def test_what_the_service_does_not_do_is_loaded_and_said_once(
    open_remote: Open, folder: Path, traffic: Traffic, expression: str, engine: Any
) -> None:
    compute = OTHERS[expression]
    remote = open_remote("two.zarr", engine)
    with pytest.warns(LoadWarning, match="are loaded through it"):
        found = evaluate(compute, remote)
    expected = compute(open_local(folder, "two.zarr"))
    check_alike(found, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error", LoadWarning)
        evaluate(compute, remote)
    assert "/arrays/v1/select" in traffic.requests


@pytest.mark.parametrize("name", _NAMES)
def test_the_engine_of_xarray(live_store: Store, endpoint: str, folder: Path, traffic: Traffic, name: str) -> None:
    keys: Any = {"key": live_store.access_key, "secret": live_store.secret_key}
    url = f"{live_store.endpoint}/{BUCKET}/{name}"
    with xr.open_dataset(url, engine=ServiceBackend, service=endpoint, group=None, **keys) as remote:
        assert traffic.requests.count("/arrays/v1/describe") == 1
        traffic.clear()
        found, expected = remote.tas.mean("time"), open_local(folder, name).tas.mean("time")
        assert found.values is not None
        assert traffic.requests == ["/arrays/v1/mean"]
        check_alike(found, expected)
        xr.testing.assert_identical(load(remote), open_local(folder, name))


# Means of nothing, and what is loaded.
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::active_storage.client.remote.LoadWarning")
@hypothesis.settings(
    max_examples=100, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(strategies.data())
def test_random_selections_are_those_of_xarray(opened: dict[str, xr.Dataset], data: strategies.DataObject) -> None:
    """Up to three steps of indexing and transposing, and a reduction, of groups or with weights."""
    name = data.draw(strategies.sampled_from(["tas", "packed", "days"]))
    # xarray 2026.9 does not index what it has transposed and not loaded, such as a coordinate.
    arrays = (opened["function"], opened["local"].load())
    found, expected = (each[name].drop_vars("area", errors="ignore") for each in arrays)
    for _ in range(data.draw(strategies.integers(0, 3))):
        dims = data.draw(strategies.permutations(expected.dims))
        keys = {
            each: data.draw(draw_key(expected.sizes[each])) for each in dims[: data.draw(strategies.integers(0, 2))]
        }
        found, expected = (each.transpose(*dims).isel(keys) for each in (found, expected))
        if not expected.ndim:
            break
    # numpy refuses the maximum of nothing, and some medians.
    hypothesis.assume(expected.size)
    kinds = ["reduce", *(["group"] if "time" in expected.dims else []), *(["weigh"] if "lat" in expected.dims else [])]
    compute = data.draw(DRAW[data.draw(strategies.sampled_from(kinds))](name, expected))
    with set_options(use_flox=False):
        check_alike(*(compute(each) for each in (found, expected)))


@strategies.composite
def draw_reduction(draw: strategies.DrawFn, name: str, array: xr.DataArray) -> Compute:
    """A reduction along any dimensions."""
    # Elements that are all missing have no place, and numpy rounds quantiles of some singles.
    left_out = {"days": (), "packed": ("argmin", "argmax"), "tas": ("argmin", "argmax", "quantile")}[name]
    reducer = draw(strategies.sampled_from([each for each in REDUCERS if each not in left_out]))
    dims = draw(strategies.lists(strategies.sampled_from(array.dims), unique=True)) if array.ndim else []
    options: Any = {"skipna": False} if draw(strategies.booleans()) and reducer not in {"count", "any", "all"} else {}
    if reducer.startswith("arg"):
        dims = dims[:1] or [*array.dims[:1]]
        return lambda each: REDUCERS[reducer](each, dim=dims[0], **options) if dims else each
    return lambda each: REDUCERS[reducer](each, dim=dims or None, **options)


@strategies.composite
def draw_grouping(draw: strategies.DrawFn, name: str, array: xr.DataArray) -> Compute:
    """A reduction of groups of times."""
    reducer = draw(strategies.sampled_from(["mean", "sum", "min", "max", "var", "count", "any", "all", "median"]))
    size = array.sizes["time"]
    numbers = draw(strategies.lists(strategies.integers(0, 3), min_size=size, max_size=size))
    labels = xr.DataArray(numbers, dims="time", name="label")
    return lambda each: getattr(each.groupby(labels), reducer)()


@strategies.composite
def draw_weighting(draw: strategies.DrawFn, name: str, array: xr.DataArray) -> Compute:
    """A weighted reduction along any dimensions."""
    reducer = draw(strategies.sampled_from(["mean", "sum", "var", "std", "sum_of_weights"]))
    size = array.sizes["lat"]
    weights = draw(strategies.lists(strategies.sampled_from([0.0, 0.25, 1.0, 3.0]), min_size=size, max_size=size))
    dims = draw(strategies.lists(strategies.sampled_from(array.dims), unique=True, min_size=1))
    return lambda each: getattr(each.weighted(xr.DataArray(weights, dims="lat")), reducer)(dims)


DRAW: dict[str, Any] = {"reduce": draw_reduction, "group": draw_grouping, "weigh": draw_weighting}


def draw_key(size: int) -> strategies.SearchStrategy[Any]:
    """An index, a slice, a list or a mask of a dimension of a size."""
    numbers = strategies.integers(-size, size - 1)
    if not size:
        return strategies.just(slice(None))
    return strategies.one_of(
        numbers,
        strategies.slices(size),
        strategies.lists(numbers, max_size=4),
        strategies.lists(strategies.booleans(), min_size=size, max_size=size).map(np.array),
    )


def test_the_options_of_xarray(open_remote: Open, folder: Path) -> None:
    for name in ("two.zarr", "four.nc"):
        for options in (
            {"mask_and_scale": False},
            {"decode_times": False},
            {"decode_coords": False},
            {"drop_variables": ["tas", "bounds"]},
        ):
            remote, local = open_remote(name, **options), open_local(folder, name, **options)
            if "tas" in local:
                check_alike(remote.tas.mean("time"), local.tas.mean("time"))
            xr.testing.assert_identical(load(remote), local)


def test_the_next_service_is_asked_if_one_cannot_be_reached(open_remote: Open, endpoint: str) -> None:
    (port,) = free_ports(1)
    down = f"http://{LOOPBACK}:{port}"
    remote = open_remote("two.zarr", service=[down, endpoint], retries=0)
    assert float(remote.tas.count()) > 0
    with pytest.raises(ServiceUnreachable):
        open_remote("two.zarr", service=[down], retries=0)


def test_wrong_indices_and_axes_are_those_of_numpy(open_remote: Open) -> None:
    data = open_remote("two.zarr").tas.variable.data
    with pytest.raises(IndexError, match="4 indices for 3 dimensions"):
        data[0, 0, 0, 0]
    with pytest.raises(IndexError):
        data[24]
    with pytest.raises(np.exceptions.AxisError):
        np.mean(data, axis=3)
    with pytest.raises(TypeError, match="unsized"):
        len(data[0, 0, 0])
    with pytest.raises(ValueError, match="All-NaN slice"):
        np.asarray(np.nanargmax(data, axis=0))
    assert (np.ndim(data), np.shape(data), np.size(data), data.nbytes) == (3, _SHAPE, 1152, 4608)
    assert np.transpose(data).shape == _SHAPE[::-1]
    assert np.moveaxis(data, 0, -1).shape == (6, 8, 24)


def test_variables_that_cannot_be_read_are_left_out(open_remote: Open, live_store: Store, folder: Path) -> None:
    xr.Dataset({"name": ("x", ["a", "b"]), "n": ("x", [1.0, 2.0])}).to_netcdf(folder / "texts.nc", engine="h5netcdf")
    live_store.client().put_object(Bucket=BUCKET, Key="texts", Body=(folder / "texts.nc").read_bytes())
    # The URL does not tell the container.
    with pytest.warns(LoadWarning, match="left out: name: "):
        remote = open_remote("texts")
    assert list(remote.variables) == ["n"]
    assert float(remote.n.sum()) == 3
    assert "name" not in open_remote("texts", drop_variables="name")


def test_a_wrong_place_is_one_error(open_remote: Open) -> None:
    with pytest.raises(active_storage.errors.ActiveStorageError, match=r"absent\.zarr|no Zarr group"):
        open_remote("absent.zarr")
    with pytest.raises(InvalidArgument, match="is an array"):
        open_remote("three.zarr", group="tas")
    with pytest.raises(InvalidArgument, match="service: is required"):
        xr.open_dataset(f"s3://{BUCKET}/two.zarr", engine=ServiceBackend)

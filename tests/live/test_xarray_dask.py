"""Datasets in the store whose reductions are dask arrays, with the real service: the same bits as without dask."""

import pickle
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import cloudpickle
import dask.base
import dask.config
import numpy as np
import pytest
import xarray as xr

import active_storage
from active_storage.client.failures import InsecureService
from active_storage.client.remote import LoadWarning
from active_storage.errors import InvalidArgument, PlanOutdated
from deploy.local.store import Store, make_bucket

pytestmark = pytest.mark.live

BUCKET = "xarray-dask"
URL = f"s3://{BUCKET}/a.zarr"
_SHAPE = (24, 6, 8)


def make_dataset(first: float = 280) -> xr.Dataset:
    """Two years of months, with missing data, and integers."""
    random = np.random.default_rng(11)
    values = random.normal(first, 10, _SHAPE).astype("f4")
    values[::5, 1, 2] = values[:, 3, 3] = np.nan
    dims = ("time", "lat", "lon")
    coordinates = {
        "time": xr.date_range("2000-01-16", periods=24, freq="MS"),
        "lat": np.linspace(-75, 75, 6),
        "lon": np.arange(0, 360, 45.0),
    }
    days = random.integers(-5, 31, _SHAPE[:2]).astype("i4")
    return xr.Dataset({"tas": (dims, values, {"units": "K"}), "days": (dims[:2], days)}, coordinates, {"title": "a"})


@pytest.fixture(scope="module")
def put(live_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Callable[[xr.Dataset, str], None]:
    """Puts a dataset in the store, as Zarr or NetCDF by the end of the name."""
    client = live_store.client()
    make_bucket(client, BUCKET)

    def put(dataset: xr.Dataset, name: str) -> None:
        folder = tmp_path_factory.mktemp("dask")
        encoding: Any = {"tas": {"chunks": (5, 3, 8)}}
        if name.endswith(".zarr"):
            dataset.to_zarr(folder / name, zarr_format=2, encoding=encoding, consolidated=True)
        else:
            dataset.to_netcdf(folder / name, engine="h5netcdf")
        for path in folder.rglob("*"):
            if path.is_file():
                client.put_object(Bucket=BUCKET, Key=path.relative_to(folder).as_posix(), Body=path.read_bytes())

    return put


@pytest.fixture(scope="module")
def remote(live_store: Store, endpoint: str, put: Callable[..., None]) -> Iterator[xr.Dataset]:
    put(make_dataset(), "a.zarr")
    keys: Any = {"key": live_store.access_key, "secret": live_store.secret_key}
    with active_storage.open_dataset(URL, service=endpoint, **keys) as dataset:
        yield dataset


@pytest.fixture(scope="module")
def lazy(live_store: Store, endpoint: str, remote: xr.Dataset) -> xr.Dataset:
    dataset: xr.Dataset = remote.active.to_dask([endpoint], key=live_store.access_key, secret=live_store.secret_key)
    return dataset


def cosine(dataset: xr.Dataset) -> xr.DataArray:
    weights: xr.DataArray = np.cos(np.deg2rad(dataset.lat))
    return weights


# Those of which numpy's rules are not the service's, each kind of indexing, and what is made of several requests.
EXPRESSIONS: dict[str, Callable[[xr.Dataset], xr.DataArray]] = {
    "mean": lambda ds: ds.tas.mean("time"),
    "mean with NaN": lambda ds: ds.tas.mean("time", skipna=False),
    "sum of few": lambda ds: ds.tas.isel(lat=slice(None, None, -2)).sum("time", min_count=20),
    "count of integers": lambda ds: ds.days.count("lat"),
    "max of a list": lambda ds: ds.tas.isel(time=[6, 6, 0], lon=3).max("time"),
    "any": lambda ds: ds.tas.T.isnull().any("time"),
    "quantiles": lambda ds: ds.tas.sel(lat=slice(0, 90)).quantile([0.1, 0.5], "time"),
    "argmax": lambda ds: ds.days.argmax("time"),
    "keepdims": lambda ds: ds.tas.var(("lat", "lon"), keepdims=True),
    "months": lambda ds: ds.tas.groupby("time.month").mean(),
    "years": lambda ds: ds.tas.resample(time="YS").max(),
    "weighted": lambda ds: ds.tas.weighted(cosine(ds)).mean(("lat", "lon")),
    "arithmetic of results": lambda ds: ds.tas.max("time") - ds.tas.min("time"),
    "months in one pass": lambda ds: ds.tas.active.mean("time", group="time.month"),
    "weights in one pass": lambda ds: ds.tas.active.mean(("lat", "lon"), weights="cos:lat"),
    "histogram": lambda ds: ds.tas.active.histogram([200, 270, 280, 300], "time"),
    "quantile in one pass": lambda ds: ds.tas.active.quantile(0.5, "time"),
}

# Those for which elements are loaded, by the tasks.
OTHERS: dict[str, Callable[[xr.Dataset], xr.DataArray]] = {
    "elements": lambda ds: ds.tas.isel(time=slice(3, 20, 2)).active.load(),
    "arithmetic": lambda ds: (ds.tas - 273.15).max("time"),
    "points": lambda ds: ds.tas.isel(lat=xr.DataArray([0, 2], dims="at"), lon=xr.DataArray([1, 3], dims="at")),
    "argmax of NaN": lambda ds: ds.tas.argmax("time", skipna=False),
    "anomalies": lambda ds: ds.tas.groupby("time.month") - ds.tas.active.mean("time", group="time.month"),
}


def compute_nothing(*_: Any, **__: Any) -> NoReturn:
    raise AssertionError("something was computed while the graph was built")


def build(expression: Callable[[xr.Dataset], xr.DataArray], dataset: xr.Dataset) -> xr.DataArray:
    """An expression, of which nothing is computed."""
    with dask.config.set(scheduler=compute_nothing):
        built: xr.DataArray = expression(dataset)
    assert dask.base.is_dask_collection(built)
    return built


def ensure_same(found: xr.DataArray, expected: xr.DataArray) -> None:
    """Pass if two arrays are the same to the last bit, with coordinates and attributes."""
    xr.testing.assert_identical(found, expected.copy(data=np.asarray(expected)))
    assert found.dtype == expected.dtype


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_has_the_bits_that_it_has_without_dask(
    lazy: xr.Dataset, remote: xr.Dataset, expression: str
) -> None:
    found = build(EXPRESSIONS[expression], lazy)
    ensure_same(found.compute(), EXPRESSIONS[expression](remote))


@pytest.mark.parametrize("expression", OTHERS)
@pytest.mark.filterwarnings("ignore::active_storage.client.remote.LoadWarning")
def test_what_the_service_does_not_do_is_computed_of_elements(
    lazy: xr.Dataset, remote: xr.Dataset, expression: str
) -> None:
    found = build(OTHERS[expression], lazy)
    ensure_same(found.compute(), OTHERS[expression](remote))


@pytest.mark.parametrize("expression", ["weighted", "argmax of NaN", "anomalies"])
@pytest.mark.filterwarnings("ignore::active_storage.client.remote.LoadWarning")
def test_a_graph_can_be_pickled(lazy: xr.Dataset, remote: xr.Dataset, expression: str) -> None:
    compute = {**EXPRESSIONS, **OTHERS}[expression]
    # As dask does for the workers of other processes.
    again = pickle.loads(cloudpickle.dumps(build(compute, lazy)))  # noqa: S301  # our own
    ensure_same(again.compute(), compute(remote))


def test_a_dataset_is_reduced_as_a_whole(lazy: xr.Dataset, remote: xr.Dataset) -> None:
    with dask.config.set(scheduler=compute_nothing):
        built = lazy.mean("time")
    xr.testing.assert_identical(built.compute(), remote.mean("time").map(lambda each: each.copy(data=np.asarray(each))))


def test_elements_are_loaded_with_a_warning(lazy: xr.Dataset, endpoint: str) -> None:
    # A dataset warns once of each operation.
    fresh = lazy.days.copy(data=lazy.days.variable.data)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        build(lambda _: fresh.cumsum("time"), lazy)
    assert [each.category for each in seen] == [LoadWarning]


def test_a_change_is_an_error(live_store: Store, endpoint: str, put: Callable[..., None]) -> None:
    keys: Any = {"key": live_store.access_key, "secret": live_store.secret_key}
    put(make_dataset(), "changing.nc")
    with active_storage.open_dataset(f"s3://{BUCKET}/changing.nc", service=endpoint, **keys) as dataset:
        tas = dataset.tas.active.to_dask([endpoint], **keys)
        built = [tas.mean("time"), tas.median(), tas.active.load()]
        put(make_dataset(290), "changing.nc")
        for each in built:
            with pytest.raises(PlanOutdated):
                each.compute()
        ensure_same(tas.mean("time").compute(), dataset.tas.mean("time"))


def test_a_graph_has_no_keys_but_those_that_were_given_to_it(
    live_store: Store, endpoint: str, remote: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = remote.tas.active.to_dask([endpoint]).mean("time")
    assert live_store.secret_key.encode() not in cloudpickle.dumps(without)
    given = remote.tas.active.to_dask([endpoint], key="canary-key", secret="canary-secret", token="canary-token")
    built = given.mean("time")
    shown = [repr(given), given._repr_html_(), repr(given.variable.data.remote), repr(built), built._repr_html_()]
    shown += [built.data.dask._repr_html_(), *(f"{key} {task!r}" for key, task in dict(built.data.dask).items())]
    assert "canary" not in " ".join(shown)


def test_what_cannot_be_given_to_dask_is_refused(remote: xr.Dataset, endpoint: str) -> None:
    with pytest.raises(TypeError, match="are not in the store"):
        (remote.tas.mean("time") * 2).active.to_dask([endpoint])
    with pytest.raises(InvalidArgument, match="services"):
        remote.tas.active.to_dask([])
    with pytest.raises(InsecureService):
        remote.tas.active.to_dask(["http://service.example.org"])
    with pytest.raises(TypeError):
        remote.tas.active.to_dask([endpoint], secrets="a")

"""The client with the real service and a real store: every reducer of plain objects and of whole arrays."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy import ma  # noqa: TID251  # it is what the client returns

from active_storage import Client, between, nearest, open_dataset
from active_storage.client.connection import Connections
from active_storage.client.datasets import ServiceBackend
from active_storage.client.failures import NoCredentials
from active_storage.errors import ActiveStorageError, InvalidArgument, StoreError
from active_storage.model.reducers import ARRAY_REDUCERS, REDUCERS
from deploy.local.store import Store, make_bucket

pytestmark = pytest.mark.live

BUCKET = "client"
_SHAPE = (24, 6, 8)
_CASES = 30


def make_dataset() -> xr.Dataset:
    """Two years of months on a small grid, with missing data: a place without any, and single elements."""
    values = np.random.default_rng(24).normal(280, 10, _SHAPE).astype("f4")
    values[::5, 1, 2] = np.nan
    values[:, 3, 3] = np.nan
    dims = ("time", "lat", "lon")
    coordinates = {
        "time": xr.date_range("2000-01-16", periods=24, freq="MS"),
        "lat": np.linspace(-75, 75, 6),
        "lon": np.arange(0, 360, 45.0),
    }
    return xr.Dataset({"tas": (dims, values, {"units": "K"}), "pr": (dims, values * 2 + 1)}, coordinates)


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    return make_dataset()


@pytest.fixture(scope="module")
def objects(live_store: Store, dataset: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The dataset as Zarr and as NetCDF, and its numbers as a plain object."""
    folder = tmp_path_factory.mktemp("client")
    encoding: Any = {"tas": {"chunks": (6, 3, 8)}, "pr": {"chunks": (6, 3, 8)}}
    dataset.to_zarr(folder / "a.zarr", zarr_format=2, encoding=encoding, consolidated=True)
    dataset.to_netcdf(folder / "a.nc", engine="h5netcdf")
    client = live_store.client()
    make_bucket(client, BUCKET)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            client.put_object(Bucket=BUCKET, Key=path.relative_to(folder).as_posix(), Body=path.read_bytes())
    filled = np.nan_to_num(dataset.tas.values, nan=-999)
    client.put_object(Bucket=BUCKET, Key="plain.dat", Body=filled.astype("<f4").tobytes())


@pytest.fixture
def client(live_store: Store, endpoint: str, objects: None) -> Iterator[Client]:
    with Client(endpoint, key=live_store.access_key, secret=live_store.secret_key) as made:
        yield made


def skew(values: Any, power: int) -> Any:
    """The standardised moment of values along their first axis."""
    deviations = values - values.mean(axis=0)
    return (deviations**power).mean(axis=0) / (deviations**2).mean(axis=0) ** (power / 2)


def ends(values: Any, step: int) -> Any:
    """The first or the last element along the first axis that is not masked."""
    return np.apply_along_axis(lambda each: each[np.isfinite(each)][::step][0], 0, values[:, :3].filled(np.nan))


# What numpy makes of the masked numbers, along time. Rows from the third on have a place without elements.
EXPECTED: dict[str, Callable[[Any], Any]] = {
    "count": lambda v: v.count(axis=0),
    "max": lambda v: v.max(axis=0),
    "min": lambda v: v.min(axis=0),
    "sum": lambda v: v.sum(axis=0).filled(0),
    "mean": lambda v: v.astype("f8").mean(axis=0),
    "var": lambda v: v.astype("f8").var(axis=0),
    "std": lambda v: v.astype("f8").std(axis=0),
    "argmax": lambda v: ma.array(v.argmax(axis=0), mask=v.count(axis=0) == 0),
    "argmin": lambda v: ma.array(v.argmin(axis=0), mask=v.count(axis=0) == 0),
    "any": lambda v: v.any(axis=0).filled(False),
    "all": lambda v: v.all(axis=0).filled(True),
    "range": lambda v: v.max(axis=0) - v.min(axis=0),
    "rms": lambda v: np.sqrt((v.astype("f8") ** 2).mean(axis=0)),
    "median": lambda v: ma.median(v, axis=0),  # type: ignore[no-untyped-call]
    "norm": lambda v: np.sqrt((v.astype("f8") ** 2).sum(axis=0)).filled(0),
    "skew": lambda v: skew(v.astype("f8"), 3),
    "kurtosis": lambda v: skew(v.astype("f8"), 4) - 3,
    "count_nonzero": lambda v: v.count(axis=0),
}
# Those whose results have another form, checked one by one below.
OTHERS = {"select", "stats", "first", "last", "histogram", "cov", "corr", "sum_of_weights", "quantile"}


def test_there_is_a_method_and_a_check_for_each_reducer() -> None:
    assert EXPECTED.keys() | OTHERS == ARRAY_REDUCERS.keys()
    assert [name for name in ARRAY_REDUCERS if not getattr(Client, name).__doc__] == []


def check(result: Any, expected: Any, counts: Any) -> None:
    assert np.array_equal(result.counts, counts)
    assert np.array_equal(ma.getmaskarray(result.values), ma.getmaskarray(expected))
    np.testing.assert_allclose(ma.filled(result.values, 0), ma.filled(expected, 0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("reducer", EXPECTED)
def test_a_reducer_along_time_equals_numpys(client: Client, dataset: xr.Dataset, reducer: str) -> None:
    values = ma.masked_invalid(dataset.tas.values)
    expected = EXPECTED[reducer](values)
    method = getattr(client, reducer)
    if reducer in REDUCERS:
        plain = method(BUCKET, "plain.dat", dtype="<f4", shape=_SHAPE, axis=0, missing_value=-999)
        check(plain, expected, values.count(axis=0))
    for store in ("a.zarr", "a.nc"):
        result = method(f"s3://{BUCKET}/{store}", "tas", axis="time")
        check(result, expected, values.count(axis=0))
        assert (result.dims, result.requests > 0) == (("lat", "lon"), True)


def test_reducers_whose_results_have_another_form(client: Client, dataset: xr.Dataset) -> None:
    tas, values = f"s3://{BUCKET}/a.zarr", dataset.tas.values[:, :3]
    rows = {"lat": slice(0, 3)}
    where: Any = {
        "dtype": "f4",
        "shape": _SHAPE,
        "selection": [slice(None), slice(0, 3), slice(None)],
        "missing_value": -999,
    }
    valid = ma.masked_invalid(values)
    for each in (
        client.stats(tas, "tas", axis="time", selection=rows),
        client.stats(BUCKET, "plain.dat", axis=0, **where),
    ):
        assert each.shape == (5, 3, 8)
        np.testing.assert_allclose(each.values[3], valid.astype("f8").mean(axis=0), rtol=1e-6)
        assert np.array_equal(each.counts, valid.count(axis=0))
    for name, step in (("first", 1), ("last", -1)):
        for each in (
            getattr(client, name)(tas, "tas", axis="time", selection=rows),
            getattr(client, name)(BUCKET, "plain.dat", axis=0, **where),
        ):
            assert np.array_equal(each.values, ends(valid, step))
    edges = [0, 270, 280, 290, 400]
    for each in (
        client.histogram(tas, "tas", axis="time", selection=rows, edges=edges),
        client.histogram(BUCKET, "plain.dat", axis=0, edges=edges, **where),
    ):
        assert each.shape == (3, 8, 4)
        assert np.array_equal(each.values.sum(axis=(0, 1)), np.histogram(values[np.isfinite(values)], edges)[0])
        assert np.array_equal(each.values.sum(axis=-1), each.counts)
    quantiles = client.quantile(tas, "tas", axis="time", q=[0.1, 0.5])
    assert (quantiles.dims, quantiles.counts.shape) == (("quantile", "lat", "lon"), (6, 8))
    assert ma.getmaskarray(quantiles.values)[:, 3, 3].all()
    assert np.allclose(quantiles.values[:, :3], np.nanquantile(values, [0.1, 0.5], axis=0), rtol=1e-6)
    assert client.quantile(tas, "tas", axis="time", q=0.5, method="lower").shape == (6, 8)
    selected = client.select(tas, "tas", selection={"time": 3, "lon": slice(0, 8, 2)})
    assert np.array_equal(selected.values, dataset.tas.values[3:4, :, ::2], equal_nan=True)
    assert selected.counts == np.isfinite(selected.values).sum()
    plain = client.select(BUCKET, "plain.dat", dtype=np.float32, shape=_SHAPE)
    assert np.array_equal(plain.values, np.nan_to_num(dataset.tas.values, nan=-999))
    assert client.corr(tas, "tas", axis="time", selection=rows, other="pr").values == pytest.approx(1)
    variance = valid.astype("f8").var(axis=0)
    np.testing.assert_allclose(
        client.cov(tas, "tas", axis="time", selection=rows, other="pr").values, 2 * variance, 1e-4
    )
    weights = np.arange(1.0, 7)
    summed = client.sum_of_weights(tas, "tas", axis="lat", weights=("lat", weights), selection={"time": slice(1, 2)})
    assert np.array_equal(summed.values[0], [21, 21, 21, 17, 21, 21, 21, 21])


def test_questions_by_coordinates(client: Client, dataset: xr.Dataset) -> None:
    tas, cosine = dataset.tas, np.cos(np.deg2rad(dataset.lat))
    url = f"s3://{BUCKET}/a.nc"
    result = client.mean(
        url,
        "tas",
        axis=["time", "lat", "lon"],
        where={"lat": slice(-50, 50), "time": slice("2000-03", "2001-02")},
        weights="cos:lat",
        decode="xarray",
    )
    chosen = tas.sel(lat=slice(-50, 50), time=slice("2000-03", "2001-02"))
    assert float(result) == pytest.approx(float(chosen.weighted(cosine).mean()))
    monthly = client.max(url, "tas", axis="time", group="time.month", decode="xarray")
    expected = tas.groupby("time.month").max()
    assert np.array_equal(
        monthly.values.filled(np.nan), expected.transpose("month", "lat", "lon").values, equal_nan=True
    )
    assert list(monthly.labels["month"]) == list(range(1, 13))
    numbers = np.array([*[3, 1] * 11, np.nan, 1])
    grouped = client.mean(url, "tas", axis="time", group=("time", numbers), decode="xarray")
    expected = tas.groupby(xr.DataArray(numbers, dims="time", name="group")).mean()
    assert grouped.labels == {"group": [1, 3]}
    np.testing.assert_allclose(grouped.values.filled(np.nan), expected.transpose(*grouped.dims), rtol=1e-6)
    point = client.mean(url, "tas", axis="time", where={"lat": 51.5, "lon": nearest(-40, cyclic=True)}, decode="xarray")
    assert point.labels == {"lat": [45.0], "lon": [315.0]}
    assert point.values.item() == pytest.approx(float(tas.sel(lat=45, lon=315).mean()))
    around = client.count(url, "tas", where={"lon": between(-50, 50, cyclic=True), "time": "2001"}, decode="xarray")
    assert around.values == tas.sel(lon=[315, 0, 45], time="2001").count().item()
    both = client.count(url, "tas", where={"lat": slice(0, None)}, selection=[slice(0, 2), slice(None), 0])
    assert (both.values, both.units) == (6, None)
    warm = client.count(url, "tas", expr="tas - 273.15", gt=0, decode="xarray")
    assert warm.values == (tas.values - 273.15 > 0).sum()


def test_several_files_and_references_by_url(client: Client, live_store: Store, dataset: xr.Dataset) -> None:
    url = f"{live_store.endpoint}/{BUCKET}/a.nc"
    with pytest.raises(InvalidArgument, match=r"store.urls\[1\]"):
        client.mean([url, url], "tas", concat="time")
    assert client.count([url], "pr", concat="time").values == dataset.pr.count().item()


def test_plan_partials_and_join(live_store: Store, client: Client, endpoint: str) -> None:
    large = np.random.default_rng(1).normal(size=(20, 1 << 19)).astype("f4")
    live_store.client().put_object(Bucket=BUCKET, Key="large.dat", Body=large.tobytes())
    table: dict[str, Any] = {
        "type": "table",
        "dtype": "float32",
        "shape": [20, 1 << 19],
        "chunks": [1, 1 << 19],
        "codecs": {},
        "fill_value": None,
        "dims": ["time", "x"],
        "urls": [f"{live_store.endpoint}/{BUCKET}/large.dat"],
        "url": np.zeros(20, "<i4").tobytes(),
        "offset": (np.arange(20) << 21).astype("<i8").tobytes(),
        "size": np.full(20, 2 << 20, "<i8").tobytes(),
    }
    plan = client.plan(table, axis="x", reducer="mean")
    assert (plan.shape, plan.chunks, plan.stored_bytes) == ((20, 1 << 19), 20, 40 << 20)
    assert plan.sections > 1
    assert plan.memory_bytes
    seen: list[tuple[int, int]] = []
    whole = client.mean(table, axis="x", progress=lambda *done: seen.append(done))
    assert seen[-1] == (plan.sections, plan.sections)
    with Client(endpoint, key=live_store.access_key, secret=live_store.secret_key) as other:
        later = list(other.partials("mean", table, axis="x", sections=(1, plan.sections), plan=plan.digest))
    first = list(client.partials("mean", table, axis="x", sections=(0, 1), plan=plan.digest))
    joined = client.join([*later, *first])
    assert joined.values.tobytes() == whole.values.tobytes()
    assert (joined.dims, joined.bytes_read) == (whole.dims, whole.bytes_read)
    for wrong, problem in ((later, "section 0 is absent"), ([*first, *first, *later], "section 0 is there twice")):
        with pytest.raises(InvalidArgument, match=problem):
            client.join(wrong)


@pytest.mark.parametrize("reducer", [name for name in ARRAY_REDUCERS if not ARRAY_REDUCERS[name].is_quantile])
def test_partials_of_every_reducer_join_to_the_same_result(client: Client, reducer: str) -> None:
    url = f"s3://{BUCKET}/a.zarr"
    arguments: dict[str, Any] = {"axis": "time"}
    if ARRAY_REDUCERS[reducer].takes_other:
        arguments["other"] = "pr"
    if ARRAY_REDUCERS[reducer].needs_weights:
        arguments["weights"] = "cos:lat"
    one = getattr(client, reducer)(url, "tas", **arguments)
    joined = client.join(client.partials(reducer, url, "tas", **arguments))
    assert np.array_equal(ma.getmaskarray(joined.values), ma.getmaskarray(one.values))
    assert ma.filled(joined.values, 0).tobytes() == ma.filled(one.values, 0).tobytes()
    assert (joined.dims, joined.units, joined.labels) == (one.dims, one.units, one.labels)
    assert np.array_equal(joined.counts, one.counts)


def test_threads_share_a_client(client: Client, dataset: xr.Dataset) -> None:
    def ask(number: int) -> tuple[Any, Any]:
        row = client.max(
            BUCKET, "plain.dat", dtype="f4", shape=_SHAPE, selection=[number % 24, slice(None), slice(None)]
        )
        array = client.count(f"s3://{BUCKET}/a.zarr", "tas", selection={"time": number % 24})
        return row.values, array.values

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(_CASES)))
    # Each thread's connection is used again for its next request.
    assert isinstance(client._connections, Connections)
    assert client._connections._pool.num_connections <= 8
    for number, (largest, count) in enumerate(found):
        assert largest == np.nanmax(dataset.tas.values[number % 24])
        assert count == 48 - np.isnan(dataset.tas.values[number % 24]).sum()


def test_a_single_maximum_of_nothing_is_masked(client: Client) -> None:
    plain = client.max(BUCKET, "plain.dat", dtype="f4", valid_max=-2000.0)
    array = client.max(f"s3://{BUCKET}/a.zarr", "tas", selection={"time": slice(0, 0)})
    assert [ma.is_masked(each.values) for each in (plain, array)] == [True, True]
    assert [each.counts for each in (plain, array)] == [0, 0]


def test_near_names_are_suggested(client: Client) -> None:
    with pytest.raises(InvalidArgument, match=r"did you mean 'tas'\?"):
        client.mean(f"s3://{BUCKET}/a.nc", "tsa")
    with pytest.raises(InvalidArgument, match=r"did you mean 'time'\?") as caught:
        client.mean(f"s3://{BUCKET}/a.zarr", "tas", axis="tme")
    assert caught.value.field == "axis"
    assert caught.value.__notes__[0].startswith("request id: ")


def test_keys_come_from_where_boto3_finds_them(
    live_store: Store, endpoint: str, objects: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines = f"aws_access_key_id = {live_store.access_key}\naws_secret_access_key = {live_store.secret_key}\n"
    (tmp_path / "credentials").write_text(f"[lab]\n{lines}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def count(**options: Any) -> Any:
        with Client(endpoint, **options) as made:
            both = made.count(f"s3://{BUCKET}/a.zarr", "tas").values, made.count(BUCKET, "plain.dat", dtype="f4").values
        return both[0] > 0 and both[1] == 24 * 48

    assert count(profile="lab")
    with pytest.raises(NoCredentials, match="find no keys"):
        count()
    with pytest.raises(NoCredentials, match="absent"):
        count(profile="absent")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", live_store.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", live_store.secret_key)
    assert count()
    with pytest.raises(StoreError) as caught:
        count(anon=True)
    assert caught.value.code == "AccessDenied"


Ask = Callable[[Any], Any]

_TAS = (f"s3://{BUCKET}/a.zarr", "tas")

WRONG_NAMES: dict[str, tuple[Ask, str]] = {
    "variable of Zarr": (lambda client: client.mean(f"s3://{BUCKET}/a.zarr", "tass"), "did you mean 'tas'"),
    "variable of NetCDF": (lambda client: client.plan(f"s3://{BUCKET}/a.nc", "prr"), "did you mean 'pr'"),
    "path": (lambda client: client.mean(f"s3://{BUCKET}/a.nc", "/g/tas"), "no variable 'g/tas'"),
    "dimension": (lambda client: client.mean(*_TAS, axis="tme"), "axis: .*did you mean 'time'"),
    "dimension of a selection": (lambda client: client.mean(*_TAS, selection={"lt": 1}), "selection: .*mean 'lat'"),
    "coordinate": (lambda client: client.mean(*_TAS, where={"latt": 1}), "where: .*did you mean 'lat'"),
    "coordinate of a group": (lambda client: client.mean(*_TAS, group="tim.month"), "group: .*did you mean 'time'"),
    "part of a date": (lambda client: client.mean(*_TAS, group="time.mnth"), "group: .*did you mean 'month'"),
    "dimension of groups": (lambda client: client.mean(*_TAS, group=("tme", [1])), "group: .*did you mean 'time'"),
    "coordinate of weights": (lambda client: client.mean(*_TAS, weights="cos:latt"), "weights: .*mean 'lat'"),
    "dimension of weights": (lambda client: client.mean(*_TAS, weights=("latt", [1])), "weights: .*mean 'lat'"),
    "function": (lambda client: client.mean(*_TAS, expr="sqr(tas)"), "expr: .*did you mean 'sqrt'"),
    "decoding": (lambda client: client.mean(*_TAS, decode="xaray"), "decode: .*did you mean 'xarray'"),
    "method": (lambda client: client.quantile(*_TAS, q=0.5, method="linea"), "method: .*did you mean 'linear'"),
    "container": (lambda client: client.mean(*_TAS, container="zar"), "container: .*did you mean 'zarr'"),
    "kind of store": (lambda client: client.mean(*_TAS, interface_type="htp"), "interface_type: .*mean 'http'"),
    "reducer": (lambda client: client.reduce("meen", *_TAS), "did you mean 'mean'"),
    "reducer of partial results": (lambda client: list(client.partials("smu", *_TAS)), "did you mean 'sum'"),
    "reducer of an object": (lambda client: client.reduce("meen", BUCKET, "plain.dat", dtype="f4"), "mean 'mean'"),
    "data type": (lambda client: client.sum(BUCKET, "plain.dat", dtype="flot32"), "dtype: .*did you mean 'float32'"),
    "codec": (lambda client: client.sum(BUCKET, "k", dtype="f4", compression="zlb"), "compression: .*mean 'zlib'"),
    "argument": (lambda client: client.mean(*_TAS, axs="time"), "no argument 'axs' .*did you mean 'axis'"),
    "argument of a plan": (lambda client: client.plan(*_TAS, wheer={}), "no argument 'wheer' .*did you mean 'where'"),
    "argument of an object": (lambda client: client.sum(BUCKET, "k", dtype="f4", shap=1), "did you mean 'shape'"),
    "group of a container": (lambda client: client.describe(f"s3://{BUCKET}/a.nc", "tass"), "did you mean 'tas'"),
}


@pytest.mark.parametrize("name", WRONG_NAMES)
def test_a_wrong_name_is_one_error_that_suggests_the_right_one(client: Client, name: str) -> None:
    ask, message = WRONG_NAMES[name]
    with pytest.raises((ActiveStorageError, TypeError), match=message) as caught:
        ask(client)
    assert "\n" not in str(caught.value)
    # The client goes on.
    assert client.count(*_TAS).counts > 0


def test_wrong_names_by_xarray_suggest_the_right_ones(
    client: Client, endpoint: str, live_store: Store, objects: None
) -> None:
    keys: Any = {"key": live_store.access_key, "secret": live_store.secret_key}
    url = f"s3://{BUCKET}/a.zarr"
    opening: Any = open_dataset
    tas = opening(url, endpoint, **keys).tas
    wrong: list[tuple[Callable[[], Any], str]] = [
        (lambda: opening(url, endpoint, container="zar", **keys), "did you mean 'zarr'"),
        (lambda: opening(url, endpoint, decode_time=False, **keys), "did you mean 'decode_times'"),
        (lambda: opening(f"s3://{BUCKET}/a.nc", endpoint, group="tass", **keys), "did you mean 'tas'"),
        (lambda: opening(f"s3://{BUCKET}/none.zarr", endpoint, **keys), "no Zarr group"),
        (lambda: xr.open_dataset(url, engine=ServiceBackend, service=endpoint, sercet="x"), "did you mean 'secret'"),
        (lambda: tas.active.reduce("meen", "time"), "did you mean 'mean'"),
        (lambda: tas.active.mean("tme"), r"'tme' not found in array dimensions \('time', 'lat', 'lon'\)"),
        (lambda: tas.active.mean("time", group="time.mnth"), "did you mean 'month'"),
        (lambda: tas.active.mean("time", group="tim.month"), "'tim' not found in array dimensions"),
        (lambda: tas.active.mean("lat", weights="cos:latt"), "did you mean 'lat'"),
        (lambda: tas.active.mean("lat", wights="cos:lat"), "did you mean 'weights'"),
        (lambda: tas.active.quantile(0.5, "lat", method="liner"), "did you mean 'linear'"),
        (lambda: tas.active.plan("meen", "lat"), "did you mean 'mean'"),
    ]
    for ask, message in wrong:
        with pytest.raises((ActiveStorageError, TypeError, ValueError), match=message):
            ask()

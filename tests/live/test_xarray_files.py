"""Several files as one dataset, with the real service: each beside ``xarray.open_mfdataset`` on the same files."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import active_storage
from active_storage.client.client import Client
from active_storage.client.remote import LoadWarning
from active_storage.errors import InvalidArgument, StoreError
from deploy.local.store import Store, make_bucket
from tests.live.test_xarray import check_alike, evaluate, is_lazy, load

pytestmark = pytest.mark.live

BUCKET = "xarray-files"
_DIMS = ("time", "lat", "lon")

Open = Callable[..., xr.Dataset]


def make_year(year: int, seed: int, calendar: str = "standard") -> xr.Dataset:
    """A year of months, packed and not, with bounds of times, an area, and a number without dimensions."""
    random = np.random.default_rng(seed)
    values = random.normal(280, 10, (12, 4, 6)).astype("f4")
    values[3, 1, 2] = np.nan
    time = xr.date_range(f"{year}-01-16", periods=12, freq="MS", calendar=calendar, use_cftime=calendar != "standard")
    return xr.Dataset(
        {
            "tas": (_DIMS, values, {"units": "K"}),
            "packed": (_DIMS, values.astype("f8"), {"units": "K"}),
            "time_bnds": (("time", "edge"), np.stack([time, time.shift(1, "D")], axis=1)),
            "height": ((), 2.0),
        },
        {
            "time": ("time", time, {"standard_name": "time"}),
            "lat": np.linspace(-60, 60, 4),
            "lon": np.arange(6) * 60.0,
            "area": (("lat", "lon"), np.arange(24.0).reshape(4, 6)),
            "days": ("time", np.full(12, 30.0)),
        },
        {"title": f"the year {year}"},
    )


def write(dataset: xr.Dataset, path: Path, scale: float = 0.01, units: str = "days since 2000-01-01") -> None:
    packing = {"dtype": "i2", "scale_factor": scale, "add_offset": 273.15, "_FillValue": -32768}
    times: Any = {"time": {"units": units, "dtype": "f8"}, "time_bnds": {"units": units, "dtype": "f8"}}
    dataset.to_netcdf(path, engine="h5netcdf", encoding={"packed": packing, **times})


@pytest.fixture(scope="module")
def folder(live_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Series of years, and the members of an ensemble, in a folder and in the store."""
    folder = tmp_path_factory.mktemp("files")
    for number, year in enumerate((2000, 2001, 2002)):
        # Each file has units and a packing of its own.
        write(make_year(year, number), folder / f"{year}.nc", 0.01 * (number + 1), f"days since {year}-01-01")
        write(make_year(2000, 10 + number), folder / f"member{number}.nc")
        write(make_year(year, 20 + number, "noleap"), folder / f"noleap{number}.nc")
    write(make_year(2003, 4).assign_coords(lat=[1.0, 2.0, 3.0, 4.0]), folder / "other_lat.nc")
    write(make_year(2003, 4).drop_vars("height"), folder / "fewer.nc")
    write(make_year(2003, 4).transpose("lat", ...), folder / "turned.nc")
    client = live_store.client()
    make_bucket(client, BUCKET)
    for number, year in enumerate((2000, 2001)):
        packing = {"dtype": "i2", "scale_factor": 0.01, "_FillValue": -32768}
        encoding: Any = {"packed": packing, "time": {"units": f"days since {year}-01-01"}}
        make_year(year, number).to_zarr(folder / f"{year}.zarr", zarr_format=2, encoding=encoding, consolidated=True)
    for path in folder.rglob("*"):
        if path.is_file():
            client.put_object(Bucket=BUCKET, Key=path.relative_to(folder).as_posix(), Body=path.read_bytes())
    return folder


SERIES = ("2000.nc", "2001.nc", "2002.nc")
MEMBERS = ("member0.nc", "member1.nc", "member2.nc")
NOLEAP = ("noleap0.nc", "noleap1.nc", "noleap2.nc")


@pytest.fixture
def open_remote(live_store: Store, endpoint: str, folder: Path) -> Iterator[Open]:
    opened: list[xr.Dataset] = []

    def open_several(names: Any, dim: str, **options: Any) -> xr.Dataset:
        keys: Any = {"key": live_store.access_key, "secret": live_store.secret_key}
        urls = [f"s3://{BUCKET}/{name}" for name in names]
        opened.append(active_storage.open_mfdataset(urls, dim, service=endpoint, **keys, **options))
        return opened[-1]

    yield open_several
    for each in opened:
        each.close()


def open_local(folder: Path, names: Any, dim: str, **options: Any) -> xr.Dataset:
    new: Any = {"data_vars": "all" if dim == "member" else "minimal", "coords": "minimal"}
    given: Any = {**new, "compat": "override", "join": "exact", "combine_attrs": "override", "engine": "h5netcdf"}
    paths = [folder / name for name in names]
    return xr.open_mfdataset(paths, combine="nested", concat_dim=dim, **{**given, **options}).load()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of requests of the client."""
    seen: list[str] = []
    post = Client._post

    def post_and_see(self: Client, name: str, members: Any) -> Any:
        seen.append(name)
        return post(self, name, members)

    monkeypatch.setattr(Client, "_post", post_and_see)
    return seen


@pytest.mark.parametrize(
    ("names", "dim"), [(SERIES, "time"), (MEMBERS, "member"), (NOLEAP, "time"), (SERIES[:1], "time")]
)
def test_files_are_the_dataset_of_xarray(open_remote: Open, folder: Path, names: tuple[str, ...], dim: str) -> None:
    remote, local = open_remote(names, dim), open_local(folder, names, dim)
    assert {name for name in remote.data_vars if is_lazy(remote[name])} == {"tas", "packed", "height"}
    assert {name: each.dtype for name, each in remote.variables.items()} == {
        name: each.dtype for name, each in local.variables.items()
    }
    xr.testing.assert_identical(load(remote), local)


EXPRESSIONS: dict[str, tuple[tuple[str, ...], str, Callable[[xr.Dataset], Any]]] = {
    "mean": (SERIES, "time", lambda ds: ds.tas.mean("time")),
    "mean of packed": (SERIES, "time", lambda ds: ds.packed.mean(("lat", "lon"))),
    "sel over files": (SERIES, "time", lambda ds: ds.tas.sel(time=slice("2000-11", "2001-02"), lat=-20).max("time")),
    "a list": (SERIES, "time", lambda ds: ds.tas.isel(time=[0, 13, 30], lat=0).mean("time")),
    "noleap": (NOLEAP, "time", lambda ds: ds.tas.sel(time=slice("2000-11", "2001-02")).sum("time")),
    "mean of members": (MEMBERS, "member", lambda ds: ds.tas.mean("member")),
    "spread of members": (MEMBERS, "member", lambda ds: ds.packed.isel(time=slice(2, 9)).std("member")),
    "one member": (MEMBERS, "member", lambda ds: ds.tas.isel(member=-1, lat=slice(None, None, -1)).max("time")),
    "months": (SERIES, "time", lambda ds: ds.tas.groupby("time.month").mean()),
    "years": (SERIES, "time", lambda ds: ds.packed.resample(time="YS").max()),
    "weighted": (SERIES, "time", lambda ds: ds.packed.weighted(np.cos(np.deg2rad(ds.lat))).std(("time", "lat"))),
    "transposed": (MEMBERS, "member", lambda ds: ds.tas.transpose("lat", "member", ...).min(("time", "lon"))),
}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_is_one_request_for_all_files(
    open_remote: Open, folder: Path, asked: list[str], expression: str
) -> None:
    names, dim, compute = EXPRESSIONS[expression]
    remote = open_remote(names, dim)
    asked.clear()
    found = evaluate(compute, remote)
    assert len(asked) == 1
    assert asked != ["select"]
    check_alike(found, compute(open_local(folder, names, dim)))


def test_the_accessor_groups_over_all_files(open_remote: Open, folder: Path, asked: list[str]) -> None:
    remote = open_remote(SERIES, "time")
    asked.clear()
    months = remote.packed.active.mean("time", group="time.month")
    assert asked == ["mean"]
    check_alike(months, open_local(folder, SERIES, "time").packed.groupby("time.month").mean())
    assert remote.tas.active.plan("mean", "time").shape == (36, 4, 6)
    assert f"3 files, the first is s3://{BUCKET}/2000.nc" in remote.tas.variable.data._repr_html_()
    assert "3.4 KiB, none of them loaded" in remote._repr_html_()


def test_files_are_described_once_each(open_remote: Open, asked: list[str]) -> None:
    remote = open_remote(SERIES, "time")
    # xarray looks at both ends of the bounds of the first file.
    assert asked == [*["describe"] * 3, *["select"] * 2]
    asked.clear()
    assert remote.time_bnds.shape == (36, 2)
    assert not asked
    assert str(remote.time_bnds[13, 0].values)[:10] == "2001-03-01"


@pytest.mark.filterwarnings("error::active_storage.client.remote.LoadWarning")
def test_options_are_for_each_file(open_remote: Open, folder: Path) -> None:
    options = {"decode_times": False, "mask_and_scale": False, "drop_variables": ["tas"]}
    found, expected = open_remote(MEMBERS, "member", **options), open_local(folder, MEMBERS, "member", **options)
    xr.testing.assert_identical(load(found), expected)


def test_what_does_not_fit_is_named(open_remote: Open) -> None:
    with pytest.raises(ValueError, match="lat"):
        open_remote(["2002.nc", "other_lat.nc"], "time")
    with pytest.raises(InvalidArgument, match="other variables than the first file: height"):
        open_remote(["2002.nc", "fewer.nc"], "time")
    with pytest.raises(InvalidArgument, match=r"^urls\[1\]: .* other dimensions than the first file, of .*tas"):
        open_remote(["2002.nc", "turned.nc"], "time")
    with pytest.raises(StoreError, match=r"urls\[1\]: The specified key"):
        open_remote(["2002.nc", "absent.nc"], "time")
    with pytest.raises(InvalidArgument, match=r"store\.urls\[1\]: .* do not go on"):
        float(open_remote(["2002.nc", "2001.nc"], "time").tas.mean())
    with pytest.raises(InvalidArgument, match="urls: should be a list"):
        active_storage.open_mfdataset("s3://bucket/a.nc", "time", service="http://localhost")
    with pytest.raises(TypeError, match="no argument 'concat'"):
        open_remote(SERIES, "time", concat="time")


def test_stores_of_zarr_are_joined(open_remote: Open, folder: Path, asked: list[str]) -> None:
    names = ("2000.zarr", "2001.zarr")
    remote, local = open_remote(names, "time"), open_local(folder, names, "time", engine="zarr")
    asked.clear()
    found = evaluate(lambda each: each.packed.sel(time=slice("2000-11", "2001-02")).mean("time"), remote)
    assert asked == ["mean"]
    check_alike(found, local.packed.sel(time=slice("2000-11", "2001-02")).mean("time"))
    xr.testing.assert_identical(load(remote), local)
    with pytest.raises(InvalidArgument, match="of one type; these are netcdf, zarr"):
        open_remote(["2000.zarr", "2001.nc"], "time")


def test_what_is_left_out_is_said_once(open_remote: Open, live_store: Store, tmp_path: Path) -> None:
    for number in range(2):
        path = tmp_path / f"texts{number}.nc"
        xr.Dataset({"name": ("x", ["a", "b"]), "n": ("x", [1.0, 2.0])}).to_netcdf(path, engine="h5netcdf")
        live_store.client().put_object(Bucket=BUCKET, Key=path.name, Body=path.read_bytes())
    with pytest.warns(LoadWarning, match="left out: name: ") as said:
        remote = open_remote(["texts0.nc", "texts1.nc"], "x")
    assert len(said) == 1
    assert float(remote.n.sum()) == 6

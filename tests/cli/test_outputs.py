"""What ``reduce`` writes: text, JSON, CSV, .npy, NetCDF, plots, and nothing half."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import xarray as xr

from active_storage import Client, ProgressBar
from active_storage.cli import app
from active_storage.cli.labels import Labelled, label_object
from active_storage.cli.outputs import write_csv, write_json, write_netcdf, write_text
from active_storage.client.results import Result
from active_storage.errors import StoreError
from handler.stores.fake import FakeStore

ZARR, NETCDF = "s3://bucket/two.zarr", "s3://bucket/four.nc"

Run = Callable[..., Any]


def read_rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def make_labelled(values: Any, counts: Any, reducer: str = "max", dims: Any = (), **facts: Any) -> Labelled:
    return label_object(reducer, Result(values, counts, dims, **facts))


def test_text_is_a_table_with_labels_units_and_counts(reduce: Run, dataset: xr.Dataset) -> None:
    ran = reduce("reduce", "mean", ZARR, "--var", "tas", "--axis", "time")
    mean = dataset.tas.mean("time").values
    assert ran.code == 0
    assert ran.out.splitlines()[:3] == [
        "  lat  tas (K)  count",
        f"-60.0  {mean[0]:7.7g}      6",
        f"-20.0  {mean[1]:7.7g}      6",
    ]
    assert "24 elements, " in ran.out


def test_the_path_of_an_array_can_be_in_the_url(reduce: Run) -> None:
    ran = reduce("reduce", "count", f"{ZARR}/tas", "--axis", "time", "--output", "csv")
    assert read_rows(ran.out)[:2] == [["lat", "tas", "count"], ["-60.0", "6", "6"]]


def test_a_bar_shows_the_chunks_of_a_request(client: Client) -> None:
    file = io.StringIO()
    with ProgressBar(minimum=0, file=file):
        client.mean(NETCDF, "tas")
        for _ in client.partials("mean", NETCDF, "tas"):
            pass
    shown = file.getvalue().split("\r")
    assert "0 of 6 chunks" in shown[1]
    assert "12 of 12 chunks" in shown[-1]


def test_a_single_number_is_one_line(reduce: Run, dataset: xr.Dataset) -> None:
    ran = reduce("reduce", "max", NETCDF, "--var", "tas")
    assert ran.out.startswith(f"{float(dataset.tas.max()):.7g} K (24 elements, ")
    assert ran.out.count("\n") == 1


def test_a_long_table_is_cut_and_says_so() -> None:
    text = write_text(make_labelled(np.arange(100.0), np.ones(100, int), dims=(None,)))
    assert text.splitlines()[-2:] == ["... 40 more rows, which -o FILE.csv has", "(100 elements)"]


@pytest.mark.parametrize(
    "selection", [(), ("--selection", "lat=1:3"), ("--where", "lat=-20:20"), ("--selection", ":,1:3")]
)
def test_csv_has_a_row_for_each_cell(reduce: Run, dataset: xr.Dataset, selection: tuple[str, ...]) -> None:
    ran = reduce("reduce", "mean", ZARR, "--var", "tas", "--axis", "time", *selection, "--output", "csv")
    head, *rows = read_rows(ran.out)
    part = dataset.tas.isel(lat=slice(1, 3)) if selection else dataset.tas
    mean, count = part.mean("time"), part.count("time")
    assert head == ["lat", "tas", "count"]
    assert [(float(lat), float(value), int(number)) for lat, value, number in rows] == list(
        zip(part.lat.values, mean.values, count.values, strict=True)
    )


def test_json_has_everything(reduce: Run, dataset: xr.Dataset) -> None:
    ran = reduce("reduce", "sum", ZARR, "--var", "tas", "--axis", "time", "--output", "json")
    document = json.loads(ran.out)
    assert document["values"] == dataset.tas.sum("time").values.tolist()
    assert document["counts"] == [6, 6, 6, 6]
    assert (document["dims"], document["shape"], document["units"]) == (["lat"], [4], "K")
    assert document["labels"] == {"lat": [-60.0, -20.0, 20.0, 60.0]}


@pytest.mark.parametrize(
    ("values", "written"),
    [
        (np.ma.array([1.5, 2], mask=[True, False]), [None, 2.0]),
        (np.array([np.nan, np.inf, -np.inf]), [None, "inf", "-inf"]),
        (np.array([1 + 2j]), [[1.0, 2.0]]),
        (np.ma.array([1, 2], mask=[False, True]), [1, None]),
        (np.array([True, False]), [True, False]),
    ],
)
def test_json_has_no_numbers_that_json_does_not_have(values: Any, written: list[Any]) -> None:
    labelled = make_labelled(values, np.ones(len(values), int), dims=(None,))
    assert json.loads(write_json(labelled))["values"] == written
    assert read_rows(write_csv(labelled))[1][1] == ("" if np.ma.is_masked(values[0]) else str(values[0]))


def test_npy_is_what_numpy_reads(reduce: Run, client: Client) -> None:
    ran = reduce("reduce", "mean", ZARR, "--var", "tas", "--output", "npy", "--axis", "lat")
    expected = client.mean(ZARR, "tas", axis="lat")
    np.testing.assert_array_equal(np.load(io.BytesIO(ran.raw)), expected.values)
    assert reduce("reduce", "mean", ZARR, "--var", "tas", "--axis", "lat", "-o", "mean.npy").code == 0
    np.testing.assert_array_equal(np.load("mean.npy"), expected.values)


@pytest.mark.parametrize("url", [ZARR, NETCDF])
def test_netcdf_is_what_xarray_reads(reduce: Run, client: Client, dataset: xr.Dataset, url: str) -> None:
    ran = reduce("reduce", "mean", url, "--var", "tas", "--axis", "time", "-o", "mean.nc")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    expected = client.mean(url, "tas", axis="time")
    with xr.open_dataset("mean.nc", engine="h5netcdf") as found:
        assert found.tas.dims == expected.dims
        np.testing.assert_array_equal(found.tas.values, expected.values)
        np.testing.assert_array_equal(found["count"].values, expected.counts)
        np.testing.assert_array_equal(found.lat.values, dataset.lat.values)
        assert found.tas.attrs == {"units": "K"}
        assert found.attrs == {"reducer": "mean"}


def test_netcdf_has_missing_values_dates_and_bins() -> None:
    values = np.ma.array([[1, 2], [3, 4]], mask=[[True, False], [False, False]])
    labels = {"time": ["2000-01-31", "2000-02-29"], "x_bins": [[0, 1], [1, 2]]}
    write_netcdf(make_labelled(values, np.ones((2, 2), int), dims=("time", "x_bins"), labels=labels), Path("max.nc"))
    with xr.open_dataset("max.nc", engine="h5netcdf") as found:
        np.testing.assert_array_equal(found["max"].values, [[np.nan, 2], [3, 4]])
        assert found.time.values.tolist() == np.array(["2000-01-31", "2000-02-29"], "M8[ns]").tolist()
        assert found.x_bins.values.tolist() == ["0..1", "1..2"]


def test_dates_of_another_calendar_stay_texts() -> None:
    labelled = make_labelled(np.ones(1), np.ones(1, int), dims=("time",), labels={"time": ["2000-02-30"]})
    write_netcdf(labelled, Path("max.nc"))
    with xr.open_dataset("max.nc", engine="h5netcdf") as found:
        assert found.time.values.tolist() == ["2000-02-30"]


def test_times_are_dates(reduce: Run, store: FakeStore) -> None:
    ran = reduce("reduce", "mean", ZARR, "--var", "tas", "--axis", "lat", "--where", "lat=-20:20", "--output", "csv")
    assert [row[0] for row in read_rows(ran.out)][:3] == ["time", "0", "10"]


def test_statistics_and_bins_have_names(reduce: Run) -> None:
    stats = read_rows(reduce("reduce", "stats", ZARR, "--var", "tas", "--output", "csv").out)
    assert [row[0] for row in stats] == ["statistic", "count", "min", "max", "mean", "m2"]
    bins = read_rows(reduce("reduce", "histogram", ZARR, "--var", "tas", "--edges", "0,5,20", "--output", "csv").out)
    assert [row[0] for row in bins] == ["bin", "0..5", "5..20"]
    assert [row[2] for row in bins] == ["count", "24", "24"]


def test_select_has_no_counts(reduce: Run) -> None:
    ran = reduce("reduce", "select", ZARR, "--var", "tas", "--selection", "0:2,0:1", "--output", "csv")
    assert read_rows(ran.out) == [["time", "lat", "tas"], ["0", "-60.0", "0.0"], ["10", "-60.0", "2.0"]]


def test_an_array_whose_group_is_not_listed_has_places(
    reduce: Run, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise StoreError(403, "AccessDenied", "the caller may not list")

    monkeypatch.setattr(client, "describe", refuse)
    ran = reduce("reduce", "count", ZARR, "--var", "tas", "--axis", "time", "--output", "csv")
    assert [row[0] for row in read_rows(ran.out)] == ["lat", "0", "1", "2", "3"]
    assert ran.err == "active-storage: places instead of coordinates, which are not known: the caller may not list\n"


def test_a_plain_object(reduce: Run) -> None:
    ran = reduce("reduce", "sum", "s3://bucket/key", "--dtype", "float32", "--shape", "2,5", "--axis", "1")
    assert ran.out.splitlines() == ["dim_0  sum  count", "    0   15      5", "    1   40      5", "(10 elements)"]


def test_a_plan_reduces_nothing(reduce: Run) -> None:
    text = reduce("reduce", "mean", NETCDF, "--var", "tas", "--plan").out
    assert "chunks: 6 of (2, 3)\n" in text
    assert "memory: " in text
    document = json.loads(reduce("reduce", "mean", NETCDF, "--var", "tas", "--plan", "--output", "json").out)
    assert (document["chunks"], document["shape"]) == (6, [6, 4])


# Plots


def test_a_line_is_plotted_in_the_terminal(reduce: Run) -> None:
    ran = reduce("reduce", "mean", ZARR, "--var", "tas", "--axis", "time", "--plot")
    lines = ran.out.splitlines()
    assert lines[0].strip() == "mean of tas (K)"
    assert {"-60.0", "20.0", "60.0"} <= set(lines[-2].split()) | set(lines[-3].split())
    assert "\x1b" not in ran.out


def test_a_map_has_its_largest_coordinate_above(reduce: Run) -> None:
    lines = reduce("reduce", "select", ZARR, "--var", "tas", "--selection", "1:6,:", "--plot").out.splitlines()
    assert lines[0] == "select of tas (K)"
    # Five rows of numbers that ascend with time and latitude.
    assert (lines[1][-1], lines[5][0], len(lines)) == ("█", " ", 7)


def test_a_map_has_colours_on_a_terminal() -> None:
    from active_storage.cli.plots import plot  # noqa: PLC0415  # imports nothing heavy

    values = np.ma.array([[0.0, 1], [2, 3]], mask=[[True, False], [False, False]])
    drawn = plot(make_labelled(values, np.ones((2, 2), int), dims=("y", "x")), has_colours=True)
    assert "38;2;253;231;37" in drawn
    assert "38;2;128;128;128" in drawn


def test_a_histogram_is_plotted_as_bars(reduce: Run) -> None:
    drawn = reduce("reduce", "histogram", ZARR, "--var", "tas", "--edges", "0,5,12", "--plot").out
    assert "0..5" in drawn
    assert "█" in drawn


@pytest.mark.parametrize(
    "arguments",
    [("mean", "--axis", "time"), ("select",), ("histogram", "--edges", "0,5,12")],
    ids=["line", "map", "bars"],
)
def test_a_png_can_be_read_back(reduce: Run, arguments: tuple[str, ...]) -> None:
    reducer, *options = arguments
    ran = reduce("reduce", reducer, ZARR, "--var", "tas", *options, "--png", "plot.png")
    assert (ran.code, ran.out) == (0, "")
    image = matplotlib.image.imread("plot.png")
    assert image.shape == (500, 800, 4)
    assert len(np.unique(image.reshape(-1, 4), axis=0)) > 3


@pytest.mark.parametrize("reducer", ["mean", "stats"])
def test_what_has_no_plot_is_refused(reduce: Run, reducer: str) -> None:
    axis = ("--axis", "") if reducer == "stats" else ()
    ran = reduce("reduce", reducer, ZARR, "--var", "tas", "--png", "plot.png", *axis)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert not Path("plot.png").exists()


# Nothing half


def test_a_file_that_cannot_be_finished_is_not_there(reduce: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mean.nc").write_text("what was there before")

    def interrupt(labelled: Labelled, path: Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "write_netcdf", interrupt)
    assert reduce("reduce", "mean", ZARR, "--var", "tas", "-o", "mean.nc").code == 130
    assert Path("mean.nc").read_text() == "what was there before"
    assert [path.name for path in Path().iterdir()] == ["installed", "mean.nc"]


def test_a_folder_that_is_not_there_is_found_before_the_work(reduce: Run, store: FakeStore) -> None:
    ran = reduce("reduce", "mean", ZARR, "--var", "tas", "-o", "nowhere/mean.nc")
    assert (ran.code, ran.err) == (2, "active-storage: -o: names a file in nowhere, which is no folder\n")
    assert store.requests == []

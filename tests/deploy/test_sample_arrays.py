"""The demo's sample arrays: made again with xarray, they are the same."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.deploy.sample_arrays import FOLDER, expect, write


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arrays")
    write(folder)
    return folder


def test_the_netcdf_file_is_the_same(again: Path) -> None:
    with (
        xr.open_dataset(FOLDER / "tas.nc", engine="h5netcdf", decode_cf=False) as committed,
        xr.open_dataset(again / "tas.nc", engine="h5netcdf", decode_cf=False) as made,
    ):
        xr.testing.assert_identical(committed.load(), made.load())


def test_the_zarr_store_is_the_same(again: Path) -> None:
    with (
        xr.open_zarr(FOLDER / "tas.zarr", consolidated=False, decode_cf=False) as committed,
        xr.open_zarr(again / "tas.zarr", consolidated=False, decode_cf=False) as made,
    ):
        xr.testing.assert_identical(committed.load(), made.load())


def test_the_expected_means_are_those_of_xarray() -> None:
    committed, again = json.loads((FOLDER / "expected.json").read_text()), expect(FOLDER / "tas.nc")
    assert committed["count"] == again["count"]
    assert committed["dims"] == ["lat", "lon"]
    assert committed["mean"].count(None) == 3
    np.testing.assert_allclose(
        np.array(committed["mean"], float), np.array(again["mean"], float), rtol=1e-12, equal_nan=True
    )

"""Makes the sample arrays of the demo with xarray: ``python -m tests.deploy.sample_arrays``.

A monthly temperature of two years on a small grid, packed as int16, with missing data: as NetCDF-4 and as Zarr, with
what xarray says of its mean over time.
"""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

FOLDER = Path(__file__).parents[2] / "deploy" / "local" / "arrays"

_PACKED: dict[str, Any] = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 273.15, "_FillValue": -32768}
_CHUNKS = (6, 9, 9)


def make_dataset() -> xr.Dataset:
    """The dataset, before it is packed."""
    time = np.arange(24)
    latitude, longitude = np.linspace(-80.0, 80.0, 9), np.arange(0.0, 360.0, 20.0)
    season = np.cos((time - 6) * np.pi / 6)[:, None, None] * np.sin(np.radians(latitude))[None, :, None] * 12
    waves = np.sin(np.radians(longitude))[None, None, :] * 3
    tas = 288.0 - 40 * np.abs(np.sin(np.radians(latitude)))[None, :, None] + season + waves
    tas[:, 4, 3:6] = np.nan
    tas[::5, 2, 7] = np.nan
    return xr.Dataset(
        {"tas": (("time", "lat", "lon"), tas, {"units": "K", "long_name": "near-surface air temperature"})},
        coords={
            "time": ("time", time, {"units": "months since 2000-01-01", "calendar": "360_day"}),
            "lat": ("lat", latitude, {"units": "degrees_north"}),
            "lon": ("lon", longitude, {"units": "degrees_east"}),
        },
    )


def write(folder: Path) -> None:
    """Write ``tas.nc``, ``tas.zarr`` and ``expected.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    dataset = make_dataset()
    netcdf = {**_PACKED, "chunksizes": _CHUNKS, "zlib": True, "shuffle": True, "fletcher32": True}
    dataset.to_netcdf(folder / "tas.nc", engine="h5netcdf", encoding={"tas": netcdf})
    shutil.rmtree(folder / "tas.zarr", ignore_errors=True)
    packed = {"tas": {**_PACKED, "chunks": _CHUNKS}}
    with warnings.catch_warnings():
        # zarr-python says that consolidated metadata is not in the specification of version 3.
        warnings.simplefilter("ignore")
        dataset.to_zarr(folder / "tas.zarr", zarr_format=3, consolidated=True, encoding=packed)
    (folder / "expected.json").write_text(json.dumps(expect(folder / "tas.nc")) + "\n")


def expect(path: Path) -> dict[str, Any]:
    """What xarray says of the mean over time of a file, as numbers, None for missing cells, and counts."""
    with xr.open_dataset(path, engine="h5netcdf", decode_times=False) as dataset:
        wide = dataset["tas"].astype(np.float64)
        mean, count = wide.mean("time"), wide.count("time")
    cells = [None if np.isnan(value) else float(value) for value in mean.values.ravel()]
    return {"dims": list(mean.dims), "shape": list(mean.shape), "mean": cells, "count": count.values.ravel().tolist()}


if __name__ == "__main__":
    write(FOLDER)

"""The NetCDF files of the examples: made up, the same in every run, and written to the store once.

``make serve`` has the Zarr store. An example that needs these files calls ``write_files``. Each list is in the order of
``concat_dim``.
"""

from functools import cache
from typing import Any

import numpy as np
import s3fs
import xarray as xr

BUCKET = "sample-data"
YEARS = [f"s3://{BUCKET}/climate/cmip/tas_day_{year}.nc" for year in range(2000, 2004)]
MEMBERS = [f"s3://{BUCKET}/climate/ensemble/tas_mon_r{member}i1p1f1.nc" for member in range(1, 7)]

_LAT, _LON = np.arange(-87.5, 90, 5), np.arange(2.5, 360, 5)


@cache
def write_files() -> None:
    """Write the files that the store does not have."""
    store = s3fs.S3FileSystem()
    for year, url in enumerate(YEARS):
        if not store.exists(url):
            # As CMIP has it: days of a calendar without leap years, with their bounds.
            days = (2000 + year - 1850) * 365 + np.arange(365) + 0.5
            _write(store, url, _make(days, 365 * 150, seed=year, length=1.0), chunks=73)
    for member, url in enumerate(MEMBERS):
        if not store.exists(url):
            months = 365 * 150 + (np.arange(120) + 0.5) * 365 / 12
            _write(store, url, _make(months, 365 * 150, seed=100 + member, length=30.0), chunks=60)


def _make(days: np.ndarray[Any, Any], first: int, seed: int, length: float) -> xr.Dataset:
    random = np.random.default_rng(seed)
    sine = np.sin(np.deg2rad(_LAT))[:, None]
    years = (days[:, None, None] - first) / 365
    season = -np.cos(2 * np.pi * (years - 0.06)) * sine * 15
    waves = np.cos(np.deg2rad(_LON)) * 3 * sine
    tas = 300 - 45 * sine**2 + season + waves + 0.1 * years + random.normal(0, 2 / length**0.3, (1, 36, 72))
    tas = tas + random.normal(0, 1.5 / length**0.3, (len(days), 36, 72))
    return xr.Dataset(
        {
            "tas": (("time", "lat", "lon"), tas.astype("f4"), {"units": "K", "cell_methods": "area: time: mean"}),
            "time_bnds": (("time", "bnds"), np.stack([days - length / 2, days + length / 2], axis=1)),
        },
        {
            "time": ("time", days, {"units": "days since 1850-01-01", "calendar": "noleap", "bounds": "time_bnds"}),
            "lat": ("lat", _LAT, {"units": "degrees_north"}),
            "lon": ("lon", _LON, {"units": "degrees_east"}),
        },
        {"Conventions": "CF-1.8", "title": "A made-up climate model"},
    )


def _write(store: s3fs.S3FileSystem, url: str, dataset: xr.Dataset, chunks: int) -> None:
    encoding = {
        "tas": {"chunksizes": (chunks, 36, 72), "zlib": True, "complevel": 1, "shuffle": True, "_FillValue": 1e20}
    }
    data = bytes(dataset.to_netcdf(engine="h5netcdf", encoding=encoding))
    store.pipe_file(url, data)

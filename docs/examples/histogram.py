"""A histogram of all values. xarray has no histograms: a second line changes, that of ``numpy.histogram``."""

import numpy as np
import xarray as xr

import active_storage
from both_ways import SERVICE, compare

URL = "s3://sample-data/climate/era5.zarr"
EDGES = np.arange(210, 321, 10)


def with_xarray() -> xr.DataArray:
    ds = xr.open_dataset(URL, engine="zarr")
    return xr.DataArray(np.histogram(ds["t2m"], EDGES)[0], dims="bin")


def with_service() -> xr.DataArray:
    ds = active_storage.open_dataset(URL, service=SERVICE)  # a line that changes
    counts: xr.DataArray = ds["t2m"].active.histogram(EDGES)  # and the other one
    return counts.drop_vars("bin")


counts = compare(with_xarray, with_service)
for low, high, count in zip(EDGES[:-1], EDGES[1:], counts.values, strict=True):
    print(f"{low} to {high} K: {count:>9,} {'█' * round(60 * count / counts.values.max())}")

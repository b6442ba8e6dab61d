"""A layout as ERA5 has it: packed int16, and latitudes from the north. How warm the warm days of a region are."""

import xarray as xr

import active_storage
from both_ways import SERVICE, compare

URL = "s3://sample-data/climate/era5.zarr"


def compute(ds: xr.Dataset) -> xr.DataArray:
    summers = ds["t2m"].sel(time=slice("2023-06", "2023-08"), latitude=slice(60, 36), longitude=slice(0, 40))
    return summers.quantile([0.5, 0.9, 0.99], "time")


quantiles = compare(
    lambda: compute(xr.open_dataset(URL, engine="zarr")),
    lambda: compute(active_storage.open_dataset(URL, service=SERVICE)),  # the one line that changes
)
print("Half of the days, one in ten and one in a hundred at 42° N, 12° E are warmer than")
print(quantiles.sel(latitude=42, longitude=12).values.round(2), "K")

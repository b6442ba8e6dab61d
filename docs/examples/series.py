"""Time series: at the point that is nearest to a place, and of the mean over a region."""

import xarray as xr

import active_storage
from both_ways import SERVICE, compare

URL = "s3://sample-data/climate/era5.zarr"


def at_point(ds: xr.Dataset) -> xr.DataArray:
    return ds["t2m"].sel(latitude=51.5, longitude=359.9, method="nearest")


def over_region(ds: xr.Dataset) -> xr.DataArray:
    return ds["t2m"].sel(latitude=slice(60, 36), longitude=slice(0, 40)).mean(("latitude", "longitude"))


point = compare(
    lambda: at_point(xr.open_dataset(URL, engine="zarr")),
    lambda: at_point(active_storage.open_dataset(URL, service=SERVICE)),  # the one line that changes
)
print(f"The warmest day at 51.5° N, 0.1° W: {point.idxmax().dt.date.item()}, {point.max():.2f} K")

region = compare(
    lambda: over_region(xr.open_dataset(URL, engine="zarr")),
    lambda: over_region(active_storage.open_dataset(URL, service=SERVICE)),  # the one line that changes
)
print(f"The warmest day in Europe: {region.idxmax().dt.date.item()}, {region.max():.2f} K")

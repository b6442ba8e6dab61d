"""The global mean of each day: each place weighs as much as the area of its cell."""

import xarray as xr

import active_storage
from both_ways import SERVICE, compare

URL = "s3://sample-data/climate/era5.zarr"


def compute(ds: xr.Dataset) -> xr.DataArray:
    weights = xr.ufuncs.cos(xr.ufuncs.deg2rad(ds["latitude"]))
    return ds["t2m"].weighted(weights).mean(("latitude", "longitude"))


series = compare(
    lambda: compute(xr.open_dataset(URL, engine="zarr")),
    lambda: compute(active_storage.open_dataset(URL, service=SERVICE)),  # the one line that changes
)
print(f"The mean of {series.sizes['time']} days, and that of the last year:")
print(f"{series.mean():.3f} K and {series.sel(time='2024').mean():.3f} K")

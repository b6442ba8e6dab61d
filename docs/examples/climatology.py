"""Monthly climatology: the mean of each month of the year, at each place."""

import xarray as xr

import active_storage
from both_ways import SERVICE, compare

URL = "s3://sample-data/climate/era5.zarr"


def compute(ds: xr.Dataset) -> xr.DataArray:
    return ds["t2m"].groupby("time.month").mean()


climatology = compare(
    lambda: compute(xr.open_dataset(URL, engine="zarr")),
    lambda: compute(active_storage.open_dataset(URL, service=SERVICE)),  # the one line that changes
)
place = climatology.sel(latitude=50, longitude=8)
print(f"January and July at 50° N, 8° E: {place.sel(month=1):.2f} K and {place.sel(month=7):.2f} K")

"""An ensemble: NetCDF files of six members as one array, their mean, and how much they differ."""

import s3fs
import xarray as xr

import active_storage
from both_ways import SERVICE, compare
from sample_data import MEMBERS, write_files

write_files()


def open_with_xarray() -> xr.Dataset:
    files = [s3fs.S3FileSystem().open(url) for url in MEMBERS]
    return xr.open_mfdataset(files, concat_dim="member", combine="nested", engine="h5netcdf")


def mean(ds: xr.Dataset) -> xr.DataArray:
    return ds["tas"].sel(time=slice("2005", None)).mean(("member", "time"))


def spread(ds: xr.Dataset) -> xr.DataArray:
    return ds["tas"].isel(time=-1).std("member")


means = compare(
    lambda: mean(open_with_xarray()),
    lambda: mean(active_storage.open_mfdataset(MEMBERS, "member", service=SERVICE)),  # the one line that changes
)
print(f"The mean of all members at 47.5° N, 7.5° E: {means.sel(lat=47.5, lon=7.5):.2f} K")

spreads = compare(
    lambda: spread(open_with_xarray()),
    lambda: spread(active_storage.open_mfdataset(MEMBERS, "member", service=SERVICE)),  # the one line that changes
    # xarray computes a small difference of large float32 numbers.
    tolerance=1e-3,
)
print(f"The largest standard deviation in the last month: {spreads.max():.2f} K")

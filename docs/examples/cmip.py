"""Files as CMIP has them: a NetCDF file for each year, float32, and a calendar without leap years. Means of winters."""

import s3fs
import xarray as xr

import active_storage
from both_ways import SERVICE, compare
from sample_data import YEARS, write_files

write_files()


def open_with_xarray() -> xr.Dataset:
    files = [s3fs.S3FileSystem().open(url) for url in YEARS]
    return xr.open_mfdataset(files, concat_dim="time", combine="nested", engine="h5netcdf", data_vars="minimal")


def compute(ds: xr.Dataset) -> xr.DataArray:
    return ds["tas"].sel(time=slice("2000-12", "2001-02"), lat=slice(30, 70)).mean("time")


winter = compare(
    lambda: compute(open_with_xarray()),
    lambda: compute(active_storage.open_mfdataset(YEARS, "time", service=SERVICE)),  # the one line that changes
)
print("The winter of 2000 to 2001, from the north to the south:", winter.mean("lon").values[::-2].round(2))

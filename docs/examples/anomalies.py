"""Anomalies: how much each year differs from the mean of all, with a map of the one with El Niño, in anomalies.png."""

import matplotlib.pyplot as plt
import xarray as xr

import active_storage
from both_ways import SERVICE, compare

URL = "s3://sample-data/climate/era5.zarr"


def compute(ds: xr.Dataset) -> xr.DataArray:
    years = ds["t2m"].groupby("time.year").mean()
    return years - years.mean("year")


anomalies = compare(
    lambda: compute(xr.open_dataset(URL, engine="zarr")),
    lambda: compute(active_storage.open_dataset(URL, service=SERVICE)),  # the one line that changes
)
pacific = anomalies.sel(latitude=slice(6, -6), longitude=slice(190, 240)).mean(("latitude", "longitude"))
print("The Pacific by year:", dict(zip(pacific.year.values.tolist(), pacific.values.round(2).tolist(), strict=True)))

figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
anomalies.sel(year=2023).plot.pcolormesh(ax=axes, vmin=-2, vmax=2, cmap="RdBu_r", cbar_kwargs={"label": "K"})
axes.set(title="2023 minus the mean of five years (made-up data)", xlabel="longitude", ylabel="latitude")
figure.savefig("anomalies.png", dpi=100)

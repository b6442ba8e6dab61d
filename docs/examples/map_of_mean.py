"""A map of the mean: drawn by matplotlib, and saved as map_of_mean.png."""

import matplotlib.pyplot as plt
import xarray as xr

import active_storage
from both_ways import SERVICE, compare

URL = "s3://sample-data/climate/era5.zarr"


def compute(ds: xr.Dataset) -> xr.DataArray:
    return ds["t2m"].mean("time")


mean = compare(
    lambda: compute(xr.open_dataset(URL, engine="zarr")),
    lambda: compute(active_storage.open_dataset(URL, service=SERVICE)),  # the one line that changes
)
print(f"From {mean.min():.2f} K to {mean.max():.2f} K")

figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
mean.plot.contourf(ax=axes, levels=range(230, 316, 5), cmap="RdYlBu_r", cbar_kwargs={"label": "K"})
axes.set(title="Mean temperature, 2020 to 2024 (made-up data)", xlabel="longitude", ylabel="latitude")
figure.savefig("map_of_mean.png", dpi=100)

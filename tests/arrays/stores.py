"""Datasets of xarray as containers in memory."""

from pathlib import Path
from typing import Any

import xarray as xr

from tests.containers.memory import MemoryContainer


def read_files(root: Path) -> dict[str, bytes]:
    """The files below a folder, by their path."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def write_zarr(dataset: xr.Dataset, folder: Path, version: int, **options: Any) -> MemoryContainer:
    """A Zarr store of a dataset."""
    dataset.to_zarr(folder, zarr_format=version, **options)
    return MemoryContainer(read_files(folder))

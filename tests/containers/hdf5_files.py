"""HDF5 files in memory, and the comparison of what is read here with what the library reads."""

import ctypes
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from handler.containers.netcdf import open_netcdf
from handler.containers.reader import ReadLimits
from handler.containers.stored_array import StoredArray
from tests.containers.exam import Array, read_whole
from tests.containers.memory import MemoryContainer

# The versions of the format: of each, the oldest and the newest structures that the library may write.
VERSIONS: dict[str, Any] = {
    "earliest": ("earliest", "latest"),
    "v108": ("v108", "v108"),
    "v110": ("v110", "v110"),
    "v112": ("v112", "v112"),
    "v114": ("v114", "v114"),
    "latest": ("latest", "latest"),
}


def call_library(function: str, *arguments: Any) -> None:
    """Call a function of HDF5 itself, for which h5py has none. Identifiers are of 64 bits."""
    folder = Path(h5py.__file__).parents[1] / "h5py.libs"
    library = ctypes.CDLL(str(next(folder.glob("libhdf5-*.so*"))))
    typed = [ctypes.c_int64(each) if isinstance(each, int) else each for each in arguments]
    assert getattr(library, function)(*typed) >= 0


def make_file(build: Callable[[Any], object], version: str = "latest", **options: Any) -> bytes:
    """The bytes of a file that ``build`` makes."""
    with h5py.File("file", "w", driver="core", backing_store=False, libver=VERSIONS[version], **options) as file:
        build(file)
        file.flush()
        return bytes(file.id.get_file_image())


def open_bytes(data: bytes, array: str, limits: ReadLimits | None = None) -> StoredArray:
    """An array of a file."""
    return open_netcdf(MemoryContainer({"": data}).reader(limits), array)


def check_array(data: bytes, array: str) -> StoredArray:
    """The array has the shape, the data type and the elements that the library reads."""
    opened = open_bytes(data, array)
    with h5py.File(io.BytesIO(data)) as file:
        expected = file[array][()]
        assert np.dtype(opened.dtype) == expected.dtype.newbyteorder("=")
        np.testing.assert_array_equal(read_whole(opened), expected)
    return opened


def check_file(data: bytes) -> list[str]:
    """Every dataset of the file is as the library reads it; their paths."""
    names: list[str] = []
    with h5py.File(io.BytesIO(data)) as file:
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    for name in names:
        check_array(data, name)
    return names


def numbers(shape: tuple[int, ...], dtype: str = "i4") -> Array:
    """Numbers that compress a little."""
    return np.random.default_rng(len(shape)).integers(0, 100, shape).astype(dtype)

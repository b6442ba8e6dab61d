"""Files with a flipped bit, as their libraries read them: in a process of its own, since the libraries may crash."""

import io
import multiprocessing
import resource
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import h5py
import netCDF4
import numpy as np
import zarr

from tests.arrays.written import NAME

Array = np.ndarray[Any, np.dtype[Any]]

_MOST_BYTES = 4 << 30


def flip(data: bytes, place: int) -> bytes:
    """The same bytes with another bit."""
    flipped = bytearray(data)
    flipped[place // 8] ^= 1 << place % 8
    return bytes(flipped)


def read_hdf5(objects: Mapping[str, bytes]) -> Array:
    with h5py.File(io.BytesIO(objects[""])) as file:
        return np.asarray(file[NAME][...])


def read_netcdf3(objects: Mapping[str, bytes]) -> Array:
    with netCDF4.Dataset("file", memory=objects[""]) as file:
        file.set_auto_maskandscale(False)
        return np.asarray(file[NAME][...])


def read_zarr(objects: Mapping[str, bytes]) -> Array:
    buffer = zarr.core.buffer.default_buffer_prototype().buffer
    store = zarr.storage.MemoryStore({key: buffer.from_bytes(data) for key, data in objects.items()})
    array = zarr.open_array(store, path=NAME, mode="r")
    if array.size > 10_000:
        raise MemoryError
    return np.asarray(array[...])


class Library:
    """A library in a process of its own.

    Args:
        read: Reads the variable of a container.
    """

    def __init__(self, read: Callable[[Mapping[str, bytes]], Array]) -> None:
        self._read = read
        self._start()

    def read(self, objects: Mapping[str, bytes]) -> Array | None:
        """What the library reads; None if it refuses, or crashes."""
        try:
            return self._process.submit(_read_quietly, self._read, dict(objects)).result(timeout=60)
        except BrokenProcessPool:
            self._start()
            return None

    def close(self) -> None:
        self._process.shutdown()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._process = ProcessPoolExecutor(1, context, _limit_memory)


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))


def _read_quietly(read: Callable[[Mapping[str, bytes]], Array], objects: Mapping[str, bytes]) -> Array | None:
    try:
        return read(objects)
    except Exception:  # noqa: BLE001  # a library may raise anything
        return None

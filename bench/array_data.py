"""The arrays of docs/whole-arrays-speed.md: HDF5 files and Zarr stores, in the folder that nginx serves.

All values are temperatures in kelvin, float32, which change smoothly and in steps of a hundredth. In some arrays all
chunks have the same bytes, which makes the array quick to write. A reader still reads and decodes every chunk.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr
from numcodecs import Shuffle, Zlib
from zarr.codecs import GzipCodec, ZstdCodec
from zarr.errors import ZarrUserWarning

from bench.scene import DTYPE

Values = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.float64]

VARIABLE = "tas"
QUANTILE = 0.95
_DIMENSIONS = ("time", "lat", "lon")

# A plane of 64 KiB, and a map of a degree.
PLANE = (128, 128)
MAP = (180, 360)

_SEED = 7
_KELVIN = np.float32(285)
_FIRST_DAY = np.datetime64("2001-01-01", "D")
_ZLIB_LEVEL = 4

# HDF5 writes a checksum after the encoded chunk. Requests of the JSON interface leave it out.
_CHECKSUM_BYTES = 4


@dataclass(frozen=True)
class ChunkPlace:
    """Where the stored bytes of a chunk are: a path on the server, and ``offset`` and ``size`` in a larger object."""

    path: str
    part: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ArrayFile:
    """An array on the server.

    Attributes:
        path: The HDF5 file or the Zarr store.
        container: The service's name for its format.
        shape: The shape of the array.
        chunk: The shape of a chunk.
        mean: numpy's mean of all values, in float64.
        places: The chunks, for contenders that ask for each chunk; empty if there are none.
        codecs: How a chunk is encoded, as members of a JSON request.
        mean_over_time: numpy's mean along the first dimension, in float64; empty if nobody asks for it.
    """

    path: str
    container: str
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    mean: float
    places: Sequence[ChunkPlace] = field(default=(), repr=False)
    codecs: Mapping[str, Any] = field(default_factory=dict)
    mean_over_time: Numbers = field(default_factory=lambda: np.empty(0), repr=False)


@dataclass(frozen=True)
class DailyFile:
    """A Zarr store with a map for each day, its coordinates, and what numpy computes of it in float64.

    Attributes:
        file: The array.
        monthly_means: For each month of the year that occurs, the mean of each cell.
        global_means: For each day, the mean of all cells.
        area_means: For each day, the mean of all cells, weighted by the cosine of the latitude.
        quantiles: The ``QUANTILE`` over time of each cell.
    """

    file: ArrayFile
    monthly_means: Numbers = field(repr=False)
    global_means: Numbers = field(repr=False)
    area_means: Numbers = field(repr=False)
    quantiles: Numbers = field(repr=False)


def make_values(count: int, plane: tuple[int, int] = PLANE) -> Values:
    """``count`` planes of values."""
    steps = np.random.default_rng(_SEED).normal(0, 0.05, (count, *plane)).astype(DTYPE)
    return np.round(np.cumsum(np.cumsum(steps, axis=1), axis=2) + _KELVIN, 2)


def write_hdf5(root: Path, name: str, values: Values, planes: int, *, is_packed: bool = False) -> ArrayFile:
    """An HDF5 file whose chunks have ``planes`` planes each: raw, or in zlib and shuffle."""
    chunk = (planes, *values.shape[1:])
    with h5py.File(root / name, "w") as file:
        variable = _create(file, values.shape, chunk, is_packed=is_packed, is_checked=False)
        variable[...] = values
        places = [ChunkPlace(name, {"offset": offset, "size": size}) for offset, size in _find_chunks(variable)]
    return ArrayFile(name, "netcdf", values.shape, chunk, _mean(values), places, _codecs(chunk) if is_packed else {})


def write_repeated_hdf5(root: Path, name: str, values: Values, times: int) -> ArrayFile:
    """An HDF5 file of ``times`` chunks with the same values each, in zlib and shuffle, with a checksum."""
    shape = (times * len(values), *values.shape[1:])
    with h5py.File(root / name, "w") as file:
        variable = _create(file, shape, values.shape, is_packed=True, is_checked=True)
        variable[: len(values)] = values
        mask, encoded = variable.id.read_direct_chunk((0, 0, 0))
        for number in range(1, times):
            variable.id.write_direct_chunk((number * len(values), 0, 0), encoded, mask)
        places = [
            ChunkPlace(name, {"offset": offset, "size": size - _CHECKSUM_BYTES})
            for offset, size in _find_chunks(variable)
        ]
    return ArrayFile(name, "netcdf", shape, values.shape, _mean(values), places, _codecs(values.shape))


def write_zarr(root: Path, name: str, values: Values, planes: int) -> ArrayFile:
    """A Zarr store whose raw chunks have ``planes`` planes and are an object each."""
    _save(root / name, values, 3, chunks=(planes, *PLANE), compressors=None)
    places = [ChunkPlace(f"{name}/{VARIABLE}/c/{number}/0/0") for number in range(len(values) // planes)]
    over_time = values.mean(axis=0, dtype=np.float64)
    return ArrayFile(name, "zarr", values.shape, (planes, *PLANE), _mean(values), places, mean_over_time=over_time)


def write_shards(root: Path, name: str, values: Values, planes: int) -> ArrayFile:
    """A Zarr store whose shards have ``planes`` planes, each of which is a chunk in zstd."""
    chunk = (1, *PLANE)
    _save(root / name, values, 3, chunks=chunk, shards=(planes, *PLANE), compressors=ZstdCodec())
    return ArrayFile(name, "zarr", values.shape, chunk, _mean(values))


def write_packed_zarr(root: Path, name: str, values: Values, planes: int) -> ArrayFile:
    """A Zarr store whose chunks are an object each, in zlib and shuffle like those of the HDF5 file."""
    chunk = (planes, *PLANE)
    _save(root / name, values, 2, chunks=chunk, compressors=Zlib(_ZLIB_LEVEL), filters=[Shuffle(DTYPE.itemsize)])
    return ArrayFile(name, "zarr", values.shape, chunk, _mean(values))


def write_repeated_zarr(
    root: Path, name: str, values: Values, times: int, compressor: GzipCodec | None = None
) -> ArrayFile:
    """A Zarr store whose ``times`` chunks are links to one file, so that a large array fits a small disk."""
    shape = (times * len(values), *values.shape[1:])
    array = zarr.create_array(
        root / name / VARIABLE, shape=shape, chunks=values.shape, dtype=DTYPE, compressors=compressor
    )
    array[: len(values)] = values
    chunks = root / name / VARIABLE / "c"
    for number in range(1, times):
        (chunks / str(number) / "0").mkdir(parents=True)
        (chunks / str(number) / "0" / "0").symlink_to(chunks / "0" / "0" / "0")
    return ArrayFile(name, "zarr", shape, values.shape, _mean(values))


def write_daily_zarr(root: Path, name: str, values: Values) -> DailyFile:
    """A Zarr store whose raw chunks are the map of a day and an object each, with CF's coordinates."""
    days = _FIRST_DAY + np.arange(len(values))
    latitudes, longitudes = (np.arange(size) + 0.5 - size // 2 for size in MAP)
    coordinates = {"time": days.astype("datetime64[ns]"), "lat": latitudes, "lon": longitudes}
    chunk = (1, *MAP)
    _save(root / name, values, 3, coordinates, chunks=chunk, compressors=None)
    months = days.astype("datetime64[M]").astype(int) % 12
    by_latitude = values.mean(axis=2, dtype=np.float64)
    return DailyFile(
        ArrayFile(name, "zarr", values.shape, chunk, float(by_latitude.mean())),
        np.stack([values[months == month].mean(axis=0, dtype=np.float64) for month in np.unique(months)]),
        by_latitude.mean(axis=1),
        np.average(by_latitude, axis=1, weights=np.cos(np.radians(latitudes))),
        # A row of cells at a time, since numpy copies what it sorts.
        np.stack([np.quantile(values[:, row].astype(np.float64), QUANTILE, axis=0) for row in range(MAP[0])]),
    )


def write_many_variables(root: Path, name: str, count: int) -> str:
    """A Zarr store of ``count`` variables of one chunk each, with coordinates. Returns its path."""
    coordinates = {"lat": np.linspace(-80, 80, 9), "lon": np.arange(0.0, 360, 20)}
    values = np.zeros((9, 18), DTYPE)
    dataset = xr.Dataset({f"v{number}": (("lat", "lon"), values) for number in range(count)}, coordinates)
    _write(dataset, root / name, 3)
    return name


def _create(
    file: h5py.File, shape: tuple[int, ...], chunk: tuple[int, ...], *, is_packed: bool, is_checked: bool
) -> h5py.Dataset:
    level = _ZLIB_LEVEL if is_packed else None
    return file.create_dataset(
        VARIABLE, shape, DTYPE, chunks=chunk, compression=level, shuffle=is_packed, fletcher32=is_checked
    )


def _find_chunks(variable: h5py.Dataset) -> Iterable[tuple[int, int]]:
    """Offset and size of each chunk, as stored."""
    found: list[tuple[int, int]] = []
    variable.id.chunk_iter(lambda info: found.append((info.byte_offset, info.size)))
    return found


def _codecs(chunk: tuple[int, ...]) -> dict[str, Any]:
    shuffle = {"id": "shuffle", "element_size": DTYPE.itemsize}
    return {"shape": chunk, "compression": {"id": "zlib"}, "filters": [shuffle]}


def _mean(values: Values) -> float:
    return float(values.mean(dtype=np.float64))


def _save(
    folder: Path,
    values: Values,
    version: int,
    coordinates: Mapping[str, npt.NDArray[Any]] | None = None,
    **encoding: Any,
) -> None:
    dataset = xr.Dataset({VARIABLE: xr.Variable(_DIMENSIONS, values)}, coordinates)
    _write(dataset, folder, version, encoding={VARIABLE: encoding})


def _write(dataset: xr.Dataset, folder: Path, version: int, **arguments: Any) -> None:
    options: dict[str, Any] = {"mode": "w", "consolidated": True, "zarr_format": version}
    with warnings.catch_warnings():
        # zarr warns that consolidated metadata is not in the specification. xarray needs it: a web server does not list
        # folders.
        warnings.simplefilter("ignore", ZarrUserWarning)
        dataset.to_zarr(folder, **options, **arguments)

"""A made-up reanalysis: daily temperature of five years, for the first lines of the README and for the examples.

Its layout is that of ERA5: a Zarr store, packed int16, times as int32 hours since 1900, latitudes from the north. It is
the same in every run, and written without xarray and zarr, which ``make serve`` does not install.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from deploy.local.samples import BUCKET
from deploy.local.store import Store

PREFIX = "climate/era5.zarr"

Numbers = np.ndarray[Any, np.dtype[Any]]

_FIRST_DAY, _DAYS = np.datetime64("2020-01-01"), 1827
_LATITUDE, _LONGITUDE = np.linspace(90, -90, 46, dtype=np.float32), np.arange(0, 360, 4, dtype=np.float32)
_CHUNK_DAYS = 183
_SCALE, _OFFSET = 0.01, 273.15
_SEED = 1979

# Where there is land: latitude, longitude, and how far it reaches.
_LANDS = (
    (52, 260, 17, 28), (20, 260, 10, 12), (-12, 302, 17, 13), (72, 318, 9, 16), (8, 18, 20, 17), (-18, 25, 14, 10),
    (50, 20, 11, 22), (58, 85, 15, 38), (35, 95, 13, 28), (24, 78, 9, 8), (62, 130, 11, 28), (-25, 134, 10, 16),
)  # fmt: skip
# Where it is high, and how high, in kilometres.
_HEIGHTS = ((34, 88, 8, 14, 4.5), (72, 318, 7, 10, 2.5), (-20, 292, 16, 4, 3.0), (42, 250, 12, 6, 1.8))


def make_days(first: int, stop: int, seed: int = _SEED) -> Numbers:
    """Temperature in kelvin on some days, float32 of (days, latitudes, longitudes).

    Args:
        first: The number of the first day since 2020-01-01.
        stop: The number after that of the last day.
        seed: Seeds the weather, which differs from day to day.
    """
    days = np.arange(first, stop, dtype=np.float32)[:, None, None]
    sine = np.sin(np.deg2rad(_LATITUDE))[:, None]
    land = np.clip(sum(_bump(*each) for each in _LANDS), 0, 1)
    antarctica = 1 / (1 + np.exp((_LATITUDE[:, None] + 72) / 3))
    height = sum(km * _bump(*place) for *place, km in _HEIGHTS) + 2.5 * antarctica
    mean = 301 - 46 * sine**2 - 5.5 * height + 9 * land * (0.8 - 2 * sine**2)
    season = -np.cos(2 * np.pi * (days - 20) / 365.25) * sine * (4 + 17 * np.maximum(land, antarctica))
    # An El Niño in the middle, and a slow warming.
    pacific = 2.5 * np.exp(-(((_LONGITUDE - 240) / 40) ** 2)) * np.exp(-((_LATITUDE[:, None] / 10) ** 2))
    nino = np.exp(-(((days - 1370) / 130) ** 2)) * pacific
    waves = np.sin(np.deg2rad(4 * _LONGITUDE - 12 * days)) * 3 * (1 - sine**2) * sine**2 * 4
    weather = np.random.default_rng((seed, first)).normal(0, 1.2, (stop - first, len(_LATITUDE), len(_LONGITUDE)))
    warming = 0.12 * days / 365.25 * (1 + np.maximum(sine, 0))
    found: Numbers = (mean + season + nino + waves + warming + weather).astype(np.float32)
    return found


def _bump(latitude: float, longitude: float, height: float, width: float) -> Numbers:
    """1 at a place, and less around it, on the grid."""
    apart = (_LONGITUDE - longitude + 180) % 360 - 180
    distance = ((_LATITUDE[:, None] - latitude) / height) ** 2 + (apart / width) ** 2
    bump: Numbers = np.exp(-(distance**2))
    return bump


def write_climate(store: Store) -> None:
    """Put the reanalysis into the bucket of the sample data, which exists. It is kept if it is there."""
    client = store.client()
    if client.list_objects_v2(Bucket=BUCKET, Prefix=f"{PREFIX}/.zmetadata").get("KeyCount"):
        return
    # The metadata comes last: it says that all is there.
    for key, data in _list_objects():
        client.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{key}", Body=data)


def _list_objects() -> Iterator[tuple[str, bytes]]:
    hours = ((_FIRST_DAY - np.datetime64("1900-01-01")).astype(int) + np.arange(_DAYS)) * 24 + 12
    coordinates: dict[str, tuple[Numbers, dict[str, Any]]] = {
        "time": (hours.astype("<i4"), {"units": "hours since 1900-01-01", "calendar": "proleptic_gregorian"}),
        "latitude": (_LATITUDE.astype("<f4"), {"units": "degrees_north", "standard_name": "latitude"}),
        "longitude": (_LONGITUDE.astype("<f4"), {"units": "degrees_east", "standard_name": "longitude"}),
    }
    metadata: dict[str, Any] = {
        ".zgroup": {"zarr_format": 2},
        ".zattrs": {"title": "A made-up reanalysis", "Conventions": "CF-1.8"},
    }
    for name, (values, attributes) in coordinates.items():
        metadata |= _describe(name, values.shape, values.shape, values.dtype, (name,), attributes)
        yield f"{name}/0", zlib.compress(values.tobytes(), 1)
    shape = (_DAYS, len(_LATITUDE), len(_LONGITUDE))
    attributes = {"units": "K", "long_name": "2 metre temperature", "scale_factor": _SCALE, "add_offset": _OFFSET}
    metadata |= _describe(
        "t2m", shape, (_CHUNK_DAYS, *shape[1:]), np.dtype("<i2"), tuple(coordinates), attributes, fill=-32767
    )
    for number, first in enumerate(range(0, _DAYS, _CHUNK_DAYS)):
        values = np.full((_CHUNK_DAYS, *shape[1:]), -32767, "<i2")
        found = make_days(first, min(first + _CHUNK_DAYS, _DAYS))
        values[: len(found)] = np.round((found - _OFFSET) / _SCALE)
        yield f"t2m/{number}.0.0", zlib.compress(values.tobytes(), 1)
    for key, document in metadata.items():
        yield key, json.dumps(document).encode()
    yield ".zmetadata", json.dumps({"zarr_consolidated_format": 1, "metadata": metadata}).encode()


def _describe(  # noqa: PLR0913, PLR0917  # the members of the metadata
    name: str,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: np.dtype[Any],
    dims: tuple[str, ...],
    attributes: Mapping[str, Any],
    fill: int | None = None,
) -> dict[str, Any]:
    """The metadata of an array, in version 2 of Zarr."""
    array = {
        "zarr_format": 2,
        "shape": shape,
        "chunks": chunks,
        "dtype": dtype.str,
        "order": "C",
        "compressor": {"id": "zlib", "level": 1},
        "filters": None,
        "fill_value": fill,
    }
    return {f"{name}/.zarray": array, f"{name}/.zattrs": {"_ARRAY_DIMENSIONS": dims, **attributes}}

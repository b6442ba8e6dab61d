"""The test data: a small array of every real data type, and a large one.

The arrays are the same in every run, little-endian, and stored without a header. The numbers of the small ones are
chosen so that their sums fit the narrowest data type, and are exact in every float type. Nothing here uses the service.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from deploy.local.store import Store, make_bucket

BUCKET = "sample-data"
DTYPES = (
    "int8", "int16", "int32", "int64",
    "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64",
    "bool",
)  # fmt: skip

# 20 numbers: -4 to 15 sum to 110, 0 to 15 and four zeros to 120, both within int8.
_SMALL_ELEMENTS = 20
_SMALLEST = -4

_TEMPERATURES_ELEMENTS = 16 * 2**20  # 64 MiB of float32
_TEMPERATURES_SEED = 285
_TEMPERATURES_KELVIN = (285.0, 15.0)  # mean and standard deviation, about the Earth's surface


@dataclass(frozen=True)
class Sample:
    """An object of the test data.

    Attributes:
        key: Its key in the bucket.
        dtype: The data type of its numbers.
        size: Its size in bytes.
        make: Makes its array.
    """

    key: str
    dtype: str
    size: int
    make: Callable[[], npt.NDArray[Any]]


def sample_array(dtype: str) -> npt.NDArray[Any]:
    """The small array of a data type, as stored in ``data-{dtype}.dat``."""
    numbers: npt.NDArray[Any] = np.arange(_SMALLEST, _SMALLEST + _SMALL_ELEMENTS)
    kind = np.dtype(dtype).kind
    if kind == "b":
        numbers = numbers % 3 == 0
    elif kind == "u":
        numbers = numbers.clip(min=0)
    elif kind == "f":
        numbers = numbers / 4
    return numbers.astype(_little_endian(dtype))


def temperatures_array() -> npt.NDArray[Any]:
    """Temperatures in kelvin, as stored in ``temperatures-float32.dat``."""
    mean, deviation = _TEMPERATURES_KELVIN
    generator = np.random.default_rng(_TEMPERATURES_SEED)
    numbers = generator.standard_normal(_TEMPERATURES_ELEMENTS, dtype=np.float32)
    numbers *= deviation
    numbers += mean
    return numbers.astype(_little_endian("float32"), copy=False)


def _little_endian(dtype: str) -> np.dtype[Any]:
    return np.dtype(dtype).newbyteorder("<")


def _small_sample(dtype: str) -> Sample:
    size = _SMALL_ELEMENTS * np.dtype(dtype).itemsize
    return Sample(f"data-{dtype}.dat", dtype, size, partial(sample_array, dtype))


TEMPERATURES = Sample("temperatures-float32.dat", "float32", _TEMPERATURES_ELEMENTS * 4, temperatures_array)
SAMPLES = (*map(_small_sample, DTYPES), TEMPERATURES)


def write_samples(store: Store) -> None:
    """Create the bucket and upload the test data. Objects that exist already with the right size are kept."""
    client = store.client()
    make_bucket(client, BUCKET)
    there = {entry["Key"]: entry["Size"] for entry in client.list_objects_v2(Bucket=BUCKET).get("Contents", [])}
    for sample in SAMPLES:
        if there.get(sample.key) != sample.size:
            client.put_object(Bucket=BUCKET, Key=sample.key, Body=sample.make().tobytes())

"""The scene of a measurement: a store on loopback, its objects, and the service in front of it.

The objects hold temperatures in kelvin: the first elements of one long array of float32. numpy computes the sums that
are expected in float64, and rounds them to float32.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from bench.rounds import MIB
from deploy.local.service import service
from deploy.local.store import Store, seaweedfs
from handler.affinity import count_cores

BUCKET = "bench"
DTYPE = np.dtype("<f4")

# 32 concurrent requests for 1 GiB take longer than the default deadline. All other settings are the defaults, but for
# the results of earlier turns: if they were kept, later turns would measure nothing else.
KEEPING: Mapping[str, str] = MappingProxyType({"ACTIVE_STORAGE_DEADLINE": "10m"})
SETTINGS: Mapping[str, str] = MappingProxyType({**KEEPING, "ACTIVE_STORAGE_CACHE_BYTES": "0"})

# One for each core, as the service has by default.
WORKERS = count_cores()

_SEED = 42
_KELVIN = (285, 12)  # mean and standard deviation

# numpy's generator makes float64, which takes twice as much memory as the float32 that are kept.
_PIECE_ELEMENTS = 4 * MIB

_LINK_SECONDS = 12 * 3600


@dataclass(frozen=True)
class StoredObject:
    """An object in the store, the sum that the service must answer, and the path and query of a link to it."""

    key: str
    size: int
    total: bytes
    target: str = field(repr=False)


@dataclass(frozen=True)
class Scene:
    """The store with its keys, the endpoint of the service, and the objects by their sizes."""

    store: Store
    service: str
    objects: Mapping[int, StoredObject]

    @property
    def smallest(self) -> StoredObject:
        """The object to warm up with."""
        return self.objects[min(self.objects)]


@contextmanager
def open_scene(sizes: Iterable[int]) -> Iterator[Scene]:
    """Run SeaweedFS with an object of each size, and the service, until the context ends.

    Raises:
        RuntimeError: One of the two does not start.
    """
    with seaweedfs() as store:
        client = store.client()
        client.create_bucket(Bucket=BUCKET)

        def put(key: str, data: bytes) -> str:
            place = {"Bucket": BUCKET, "Key": key}
            client.put_object(**place, Body=data)
            link: str = client.generate_presigned_url("get_object", Params=place, ExpiresIn=_LINK_SECONDS)
            return link.removeprefix(store.endpoint)

        objects = store_objects(sizes, put)
        with service(store, SETTINGS) as endpoint:
            yield Scene(store, endpoint, objects)


def store_objects(sizes: Iterable[int], put: Callable[[str, bytes], str]) -> dict[int, StoredObject]:
    """An object of each size, by size.

    Args:
        sizes: In bytes.
        put: Stores bytes under a key of the bucket, and returns the path and query of a link to them.
    """
    ascending = sorted(set(sizes))
    temperatures = make_temperatures(ascending[-1])
    objects = {}
    for size in ascending:
        values = temperatures[: size // DTYPE.itemsize]
        key = f"temperatures-{size}.dat"
        objects[size] = StoredObject(key, size, format_total(values), put(key, values.tobytes()))
    return objects


def put_file(folder: Path, key: str, data: bytes) -> str:
    """Store bytes under a key of the bucket, for a server of a folder, and return the path of a link to them."""
    (folder / BUCKET).mkdir(exist_ok=True)
    (folder / BUCKET / key).write_bytes(data)
    return f"/{BUCKET}/{key}"


def make_temperatures(size: int) -> npt.NDArray[np.float32]:
    """The numbers of the object of ``size`` bytes."""
    values = np.empty(size // DTYPE.itemsize, DTYPE)
    generator = np.random.default_rng(_SEED)
    for start in range(0, len(values), _PIECE_ELEMENTS):
        piece = values[start : start + _PIECE_ELEMENTS]
        piece[:] = generator.normal(*_KELVIN, len(piece))
    return values


def format_total(values: npt.NDArray[np.float32]) -> bytes:
    """The sum of ``values``, added up in float64, as the four bytes of a float32."""
    return np.asarray(values.sum(dtype=np.float64), DTYPE).tobytes()

"""A flipped bit is an error, or changes nothing, or changes what the library of the format reads as well."""

import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from active_storage.errors import ActiveStorageError
from active_storage.model.array_reduction import ArrayReduction, ContainerType
from handler.arrays.engine import ArrayEngine
from handler.scope import Scope
from tests.arrays.flipped import Array, Library, flip, read_hdf5, read_netcdf3, read_zarr
from tests.arrays.memory_array import make_engine, values_of
from tests.arrays.test_judges import EXAMPLES
from tests.arrays.written import KINDS, NAME, Contents
from tests.containers.memory import MemoryContainer

_FLIPS = 15 * EXAMPLES

_READ: Mapping[str, Callable[[Mapping[str, bytes]], Array]] = {
    "h5py earliest": read_hdf5,
    "h5py latest": read_hdf5,
    "netCDF-3 classic": read_netcdf3,
    "netCDF-3 CDF5": read_netcdf3,
    "zarr v2": read_zarr,
    "zarr v3": read_zarr,
    "zarr v3 in shards": read_zarr,
}


@pytest.fixture(params=_READ)
def library(request: pytest.FixtureRequest) -> Iterator[tuple[str, Library]]:
    each = Library(_READ[request.param])
    yield request.param, each
    each.close()


def _read(engine: ArrayEngine, kind: str, objects: Mapping[str, bytes]) -> Array | None:
    """The elements; None if the engine refuses."""
    container: ContainerType = "zarr" if "zarr" in kind else "netcdf"
    try:
        reduction = ArrayReduction("select", container, NAME, decode="none")
        return values_of(engine.reduce(reduction, MemoryContainer(objects), Scope.after(20)))
    except ActiveStorageError as error:
        assert NAME in error.message or error.code == "NoSuchKey"  # noqa: PT017  # no metadata, no array
        return None


def _same(one: Array | None, other: Array | None) -> bool:
    if one is None or other is None or one.shape != other.shape:
        return False
    return one.tobytes() == other.astype(other.dtype.newbyteorder("=")).tobytes()


@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("codec", [0, 1])
def test_a_flipped_bit_gives_no_number_that_the_library_does_not_read(
    tmp_path: Path, library: tuple[str, Library], codec: int
) -> None:
    kind, judge = library
    values = np.arange(1, 31, dtype="i4").reshape(6, 5) * 7
    contents = Contents(values, (2, 3), {"units": "K"}, np.int32(3), frozenset({2}), codec)
    objects = dict(KINDS[kind].write(contents, tmp_path).container.objects)
    engine = make_engine()
    unflipped = _read(engine, kind, objects)
    assert unflipped is not None
    drawn = random.Random(7)
    for _ in range(_FLIPS):
        key = drawn.choice(sorted(objects))
        place = drawn.randrange(8 * len(objects[key]))
        flipped = {**objects, key: flip(objects[key], place)}
        read = _read(engine, kind, flipped)
        if read is not None and not _same(read, unflipped):
            judged = judge.read(flipped)
            assert _same(read, judged), f"bit {place} of {key!r}: {read}, and the library reads {judged}"


def test_a_wrong_place_of_names_does_not_lead_to_another_variable(tmp_path: Path) -> None:
    """Were the names read from eight bytes before, each object would have its neighbour's."""
    contents = Contents(np.arange(4, dtype="i4"), (2,))
    data = bytearray(KINDS["h5py earliest"].write(contents, tmp_path).container.objects[""])
    place = data.index(b"HEAP") + 24
    address = int.from_bytes(data[place : place + 8], "little")
    data[place : place + 8] = (address - 8).to_bytes(8, "little")
    assert _read(make_engine(), "h5py earliest", {"": bytes(data)}) is None

"""The same array and grid give the same bits: whatever the storage, the threads, and where sections are joined."""

import io
import itertools
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
import pytest
import zarr
from zarr.codecs import ZstdCodec

from active_storage.model.array_reduction import ArrayReduction
from active_storage.model.ranges import Slice
from handler.arrays.engine import finish, join_section
from handler.arrays.sections import SectionPartial
from handler.scope import Scope
from tests.arrays.memory_array import Array, make_engine
from tests.containers.memory import MemoryContainer

SHAPE, CHUNKS = (26, 9, 11), (2, 3, 4)


def _values() -> Array:
    """Numbers of very different sizes, whose sum depends on the order of additions."""
    rng = np.random.default_rng(5)
    return (rng.normal(size=SHAPE) * 10.0 ** rng.integers(-6, 6, SHAPE)).astype(np.float32)


def _zarr(**options: Any) -> tuple[Any, MemoryContainer]:
    objects: dict[str, Any] = {}
    defaults = {"compressors": None, "chunks": CHUNKS}
    array = zarr.create_array(
        zarr.storage.MemoryStore(objects), name="v", shape=SHAPE, dtype="float32", **{**defaults, **options}
    )
    array[...] = _values()
    return "zarr", MemoryContainer({key: value.to_bytes() for key, value in objects.items()})


def _hdf5(**options: Any) -> tuple[Any, MemoryContainer]:
    stored = io.BytesIO()
    with h5py.File(stored, "w", libver="latest") as file:
        file.create_dataset("v", data=_values(), chunks=CHUNKS, **options)
    return "netcdf", MemoryContainer({"": stored.getvalue()})


def _storages() -> Iterator[tuple[Any, MemoryContainer]]:
    yield _zarr(zarr_format=2)
    yield _zarr(zarr_format=2, order="F")
    yield _zarr(zarr_format=3, compressors=[ZstdCodec(level=1)])
    yield _zarr(zarr_format=3, shards=(4, 9, 8))
    yield _zarr(zarr_format=3, shards=(26, 9, 12), compressors=[ZstdCodec(level=1)])
    yield _hdf5()
    yield _hdf5(compression="gzip", shuffle=True, maxshape=(None, None, None))


STORAGES = list(_storages())

QUESTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"axis": (0,)},
    {"axis": (1, 2)},
    {"selection": {0: Slice(None, None, -3), 2: Slice(1, 10, 2)}},
)


@pytest.mark.parametrize("reducer", ["sum", "mean", "var", "std", "stats", "max", "select", "kurtosis", "rms", "last"])
@pytest.mark.parametrize("question", QUESTIONS, ids=str)
def test_same_bits_in_every_storage_and_by_any_number_of_fetchers(reducer: str, question: dict[str, Any]) -> None:
    seen = set()
    for (kind, container), fetchers in itertools.product(STORAGES, (1, 2, 8)):
        engine = make_engine(fetchers=fetchers)
        seen.add(engine.reduce(ArrayReduction(reducer, kind, "v", **question), container, Scope.after(60)).result.data)
    assert len(seen) == 1


@pytest.mark.parametrize("reducer", ["sum", "mean", "std", "stats", "argmax", "select", "first", "skew"])
@pytest.mark.parametrize("question", [{}, {"axis": (0,)}, {"selection": {0: Slice(None, None, -1)}}], ids=str)
def test_same_bits_where_sections_are_joined_elsewhere(
    reducer: str, question: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each section is asked for by itself, and all of them are joined in order."""
    monkeypatch.setattr("handler.arrays.plan._SECTION_BYTES", 512)
    wholes, joined = set(), set()
    for kind, container in STORAGES:
        reduction = ArrayReduction(reducer, kind, "v", **question)
        wholes.add(make_engine().reduce(reduction, container, Scope.after(60)).result.data)
        summary = make_engine().plan(reduction, container, Scope.after(60))
        assert summary.sections > 10
        partials: list[SectionPartial] = []
        for section in range(summary.sections):
            plan, found = make_engine(fetchers=2).reduce_sections(
                reduction, container, Scope.after(60), range(section, section + 1), summary.digest
            )
            partials += found
        whole = plan.algebra.start(plan.selection.cells)
        for partial in partials:
            join_section(plan, whole, partial)
        joined.add(finish(plan, whole).data)
    assert len(wholes) == 1
    assert joined == wholes

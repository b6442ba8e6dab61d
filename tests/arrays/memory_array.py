"""Stored arrays made from numpy arrays, each chunk an object in memory or all of them in one."""

import itertools
from collections.abc import Mapping
from typing import Any
from unittest.mock import patch

import numpy as np

from active_storage.model.array_reduction import ArrayReduction
from handler.arrays.engine import ArrayAnswer, ArrayEngine
from handler.arrays.sections import ChunkFetchers
from handler.containers.open import OPENERS
from handler.containers.stored_array import ABSENT, WHOLE_OBJECT, ChunkObject, Numbers, Places, StoredArray
from handler.engine.engine import Engine
from handler.engine.memory import MemoryGate
from handler.kernels.sizes import Sizes
from handler.scope import Scope
from handler.stores.fake import FakeSource
from handler.stores.source import Source
from tests.containers.memory import MemoryContainer

Array = np.ndarray[Any, np.dtype[Any]]

SMALL = Sizes(block_bytes=256)


class MemoryIndex:
    """An index whose chunks are in memory.

    Args:
        chunks: The stored bytes by the number of the chunk.
        in_one_object: Whether all lie in one object, one behind the other.
    """

    def __init__(self, chunks: Mapping[int, bytes], in_one_object: bool) -> None:
        self.in_one_object = in_one_object
        self.sources: dict[int, Source] = {}
        self._offsets: dict[int, tuple[int, int]] = {}
        data = b""
        for number, stored in chunks.items():
            self._offsets[number] = (len(data), len(stored))
            data += stored
            self.sources[number] = FakeSource(stored, etag=f'"{number}"')
        if in_one_object:
            whole = FakeSource(data, etag='"whole"')
            self.sources = dict.fromkeys(chunks, whole)

    def locate(self, chunks: Numbers) -> Places:
        whole = next(iter(self.sources.values()), FakeSource(b""))
        objects = [ChunkObject("whole", whole)]
        rows = []
        for number in map(int, chunks):
            offset, size = self._offsets.get(number, (0, ABSENT))
            if self.in_one_object or size == ABSENT:
                rows.append((0, offset, size))
            else:
                rows.append((len(objects), 0, WHOLE_OBJECT))
                objects.append(ChunkObject(f"chunk {number}", self.sources[number]))
        table = np.array(rows, np.int64).reshape(-1, 3)
        return Places(objects, table[:, 0], table[:, 1], table[:, 2])


def store_array(
    values: Array,
    chunks: tuple[int, ...],
    *,
    fill: Any = None,
    absent: frozenset[int] = frozenset(),
    byte_order: Any = "little",
    permutation: tuple[int, ...] | None = None,
    in_one_object: bool = False,
    dimensions: tuple[str | None, ...] | None = None,
    attributes: Mapping[str, Any] | None = None,
    fill_marks_missing: bool = False,
) -> tuple[StoredArray, Array]:
    """A stored array, and its values with the fill value where chunks are absent."""
    grid = tuple(-(-size // chunk) for size, chunk in zip(values.shape, chunks, strict=True))
    permutation = permutation or tuple(range(values.ndim))
    stored, seen = {}, values.copy()
    for number, index in enumerate(itertools.product(*(range(size) for size in grid))):
        part = tuple(slice(i * c, (i + 1) * c) for i, c in zip(index, chunks, strict=True))
        if number in absent:
            seen[part] = fill
            continue
        padded = np.full(chunks, values.dtype.type(1), values.dtype)
        padded[tuple(slice(0, size) for size in values[part].shape)] = values[part]
        turned = padded.transpose(permutation)
        stored[number] = turned.astype(values.dtype.newbyteorder(byte_order)).tobytes()
    array = StoredArray(
        name="values",
        shape=values.shape,
        chunks=chunks,
        dtype=values.dtype.name,
        byte_order=byte_order,
        permutation=permutation,
        steps=(),
        fill=None if fill is None else values.dtype.type(fill),
        dimensions=dimensions or tuple(f"d{number}" for number in range(values.ndim)),
        attributes=attributes or {},
        index=MemoryIndex(stored, in_one_object),
        metadata=(),
        fill_marks_missing=fill_marks_missing,
    )
    return array, seen


def make_engine(sizes: Sizes = SMALL, fetchers: int = 4) -> ArrayEngine:
    """An engine with blocks of some bytes, so that small arrays take several."""
    return ArrayEngine(Engine(MemoryGate(1 << 30, 1 << 29), sizes=sizes), fetchers=ChunkFetchers(fetchers))


def ask(engine: ArrayEngine, array: StoredArray, reducer: str, **fields: Any) -> ArrayAnswer:
    """The reduction of a stored array."""
    reduction = ArrayReduction(reducer, "zarr", **fields)
    with patch.dict(OPENERS, {"zarr": lambda *_: array}):
        return engine.reduce(reduction, MemoryContainer({}), Scope.after(60))


def values_of(answer: ArrayAnswer) -> Array:
    """The values of an answer."""
    result = answer.result
    return np.frombuffer(result.data, np.dtype(result.dtype).newbyteorder("<")).reshape(result.shape)

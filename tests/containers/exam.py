"""The exam of readers: a whole array, read by what its ``StoredArray`` says, and nothing else."""

from typing import Any

import numpy as np

from active_storage.errors import StoreError
from active_storage.model.dtypes import DTYPES
from active_storage.model.ranges import ByteRange
from active_storage.model.spec import ReductionSpec
from handler.codecs.base import Budget
from handler.codecs.chain import open_decoded
from handler.codecs.readable import MemoryReader, fill
from handler.containers.reader import is_absent
from handler.containers.stored_array import ABSENT, WHOLE_OBJECT, Places, StoredArray

Array = np.ndarray[Any, Any]


def read_whole(array: StoredArray) -> Array:
    """All elements of an array, in native byte order."""
    dtype = DTYPES[array.dtype]
    count = int(np.prod(array.grid, dtype=np.int64))
    result = np.empty(array.shape, dtype)
    places = array.index.locate(np.arange(count))
    for row, grid_index in enumerate(np.ndindex(array.grid)):
        window = tuple(
            slice(place * chunk, min((place + 1) * chunk, size))
            for place, chunk, size in zip(grid_index, array.chunks, array.shape, strict=True)
        )
        index: Any = (*window, ...)
        part = result[index]
        part[...] = _read_chunk(array, places, row)[tuple(slice(size) for size in part.shape)]
    return result


def _read_chunk(array: StoredArray, places: Places, row: int) -> Array:
    dtype = DTYPES[array.dtype]
    size = int(places.sizes[row])
    stored = None if size == ABSENT else _read_stored(places, row, size)
    if stored is None:
        assert array.fill is not None
        return np.full(array.chunks, array.fill, dtype)
    stored_shape = tuple(array.chunks[axis] for axis in array.permutation)
    stored_dtype = (np.dtype(np.uint8) if dtype.kind == "b" else dtype).newbyteorder(array.byte_order)
    if not array.steps:
        # A piece at the edge may end at the edge.
        stored += bytes(array.chunk_bytes - len(stored))
    mask = 0 if places.masks is None else int(places.masks[row])
    steps = tuple(step for number, step in enumerate(array.steps) if not mask >> number & 1)
    spec = ReductionSpec(
        "select", stored_dtype.newbyteorder("=").name, array.byte_order, shape=stored_shape, steps=steps
    )
    decoded, _ = open_decoded(MemoryReader(memoryview(stored)), len(stored), spec, Budget(1 << 30, lambda _: None))
    elements = np.empty(stored_shape, stored_dtype)
    assert fill(decoded, elements.reshape(-1).view(np.uint8).data) == elements.nbytes
    turned = elements.transpose(np.argsort(array.permutation))
    return turned != 0 if dtype.kind == "b" else turned.astype(dtype)


def _read_stored(places: Places, row: int, size: int) -> bytes | None:
    """The stored bytes of a chunk; None if it is an object that is absent."""
    if row in places.inline:
        return places.inline[row]
    chunk_object = places.objects[int(places.object_numbers[row])]
    start = int(places.offsets[row])
    byte_range = None if size == WHOLE_OBJECT else ByteRange(start, start + size - 1)
    try:
        with chunk_object.source.open(byte_range, chunk_object.facts) as stream:
            assert byte_range is None or stream.facts.length == size
            data = bytearray(stream.facts.length)
            assert fill(stream, memoryview(data)) == len(data)
    except StoreError as error:
        if byte_range is None and is_absent(error) and not chunk_object.must_exist:
            return None
        raise
    return bytes(data)

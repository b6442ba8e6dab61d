"""Zarr stores in memory, written by zarr-python, and how they are read and compared."""

import json
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import zarr

from handler.containers.stored_array import StoredArray
from handler.containers.zarr import open_zarr
from tests.containers.exam import Array, read_whole
from tests.containers.memory import MemoryContainer


class ZarrStore:
    """A store in memory that zarr-python writes."""

    def __init__(self) -> None:
        self._objects: dict[str, Any] = {}
        self.store = zarr.storage.MemoryStore(self._objects)

    @property
    def objects(self) -> dict[str, bytes]:
        return {key: value.to_bytes() for key, value in self._objects.items()}

    def write(self, name: str, values: Array, **options: Any) -> Any:
        """Write an array. The result reads it; zarr-python warns of what is not in the standard yet."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            written = zarr.create_array(self.store, name=name, shape=values.shape, dtype=values.dtype, **options)
            written[...] = values
        return written

    def consolidate(self, version: Any, path: str = "") -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            zarr.consolidate_metadata(self.store, path=path, zarr_format=version)


def open_array(objects: Mapping[str, bytes], name: str) -> StoredArray:
    return open_zarr(MemoryContainer(objects).reader(), name)


def check_same(objects: Mapping[str, bytes], name: str, judged: Array) -> StoredArray:
    """Read an array, and compare it with what a judge says it is, bit by bit."""
    array = open_array(objects, name)
    read = read_whole(array)
    assert array.shape == judged.shape
    assert read.dtype == judged.dtype.newbyteorder("=")
    if read.tobytes() != judged.astype(read.dtype).tobytes():
        np.testing.assert_array_equal(read, judged)
        pytest.fail("the bits of NaN or of 0 differ")
    return array


def document(**members: Any) -> bytes:
    """A document of a small array of version 3, with other members than usual."""
    usual = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [4, 6],
        "data_type": "int16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 3]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "attributes": {},
    }
    return dump({**usual, **members})


def document_v2(**members: Any) -> bytes:
    """A ``.zarray`` of a small array, with other members than usual."""
    usual = {
        "zarr_format": 2,
        "shape": [4, 6],
        "chunks": [2, 3],
        "dtype": "<i2",
        "compressor": None,
        "fill_value": 0,
        "order": "C",
        "filters": None,
    }
    return dump({**usual, **members})


def dump(members: Mapping[str, Any]) -> bytes:
    """The JSON of members; one that is ``...`` is left out."""
    return json.dumps({name: value for name, value in members.items() if value is not ...}).encode()

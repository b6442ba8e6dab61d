"""Chunks as HDF5 stores them, with the steps of their filter pipelines, and a decoder by the code under test."""

from typing import Any

import h5py
import numpy as np

from active_storage.model.spec import ReductionSpec
from active_storage.model.steps import Step
from handler.codecs.base import Budget
from handler.codecs.chain import open_decoded
from tests.codecs.codec_exam import Stored, limit_to

Array = np.ndarray[Any, Any]

# The ids of filters in HDF5, and our names.
HDF5_FILTERS = {
    h5py.h5z.FILTER_DEFLATE: "gzip",
    h5py.h5z.FILTER_SHUFFLE: "shuffle",
    h5py.h5z.FILTER_FLETCHER32: "fletcher32",
    h5py.h5z.FILTER_SZIP: "szip",
    h5py.h5z.FILTER_NBIT: "nbit",
    h5py.h5z.FILTER_SCALEOFFSET: "scaleoffset",
    307: "bz2",
    32000: "lzf",
    32001: "blosc",
    32004: "lz4_hdf5",
    32008: "bitshuffle",
    32013: "zfpy",
    32015: "zstd",
    32026: "blosc2",
}

_BITSHUFFLE_CODECS = {0: "none", 2: "lz4", 3: "zstd"}


def write_chunk(array: Array, **options: Any) -> tuple[bytes, tuple[Step, ...], Array]:
    """The single chunk of an array as HDF5 stores it, its steps in the order of writing, and HDF5's array."""
    with h5py.File("chunk.h5", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset("x", data=array, chunks=array.shape, **options)
        return *read_chunk(dataset), dataset[...].astype(array.dtype)


def read_chunk(dataset: Any) -> tuple[bytes, tuple[Step, ...]]:
    """The first chunk as stored, and its steps.

    Without those that HDF5 left out of this chunk, because it did not become smaller.
    """
    filters = dataset.id.get_create_plist()
    mask, stored = dataset.id.read_direct_chunk((0,) * dataset.ndim)
    taken = [filters.get_filter(place) for place in range(filters.get_nfilters()) if not mask >> place & 1]
    return bytes(stored), tuple(_name_step(number, values) for number, _, values, _ in taken)


def decode_chunk(stored: bytes, spec: ReductionSpec, budget: Budget | None = None) -> bytes:
    """The decoded bytes of the elements."""
    reader, elements = open_decoded(Stored(stored), len(stored), spec, budget or limit_to(1 << 28))
    buffer = memoryview(bytearray(elements * spec.element_bytes + 1))
    filled = 0
    while read := reader.readinto(buffer[filled:]):
        filled += read
    return bytes(buffer[:filled])


def spec_of(dtype: str | np.dtype[Any], shape: tuple[int, ...] | None, *filters: Step) -> ReductionSpec:
    """A spec for numbers of a numpy data type, with its byte order."""
    dtype = np.dtype(dtype)
    order: Any = "big" if dtype.str[0] == ">" else "little"
    return ReductionSpec("count", dtype.newbyteorder("=").name, order, shape=shape, steps=filters)


def _name_step(number: int, values: tuple[int, ...]) -> Step:
    name = HDF5_FILTERS[number]
    if name in {"szip", "nbit", "scaleoffset", "zfpy"}:
        return Step(name, None, (("cd_values", tuple(values)),))
    if name == "bitshuffle":
        codec = _BITSHUFFLE_CODECS[values[4] if len(values) > 4 else 0]
        return Step(name, values[2], (("block_size", values[3]), ("cname", codec)))
    return Step(name)

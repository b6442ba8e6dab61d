"""The metadata of an array of Zarr version 3: ``zarr.json``.

The rules are in https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html, those of the codecs in
https://github.com/zarr-developers/zarr-extensions. numcodecs' codecs are as zarr-python 3 uses them.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from active_storage.errors import shown
from active_storage.model.dtypes import DTYPES
from handler.containers.chunk_keys import ChunkKeys
from handler.containers.fill_values import read_fill_v3
from handler.containers.stored_array import ChunkIndex, ChunkObject, StoredArray
from handler.containers.zarr_codecs import CHECKSUMS, read_chain, read_named
from handler.containers.zarr_document import ZarrDocument, make_grid
from handler.containers.zarr_shards import Shards

_MEMBERS = frozenset(
    {
        *("attributes", "chunk_grid", "chunk_key_encoding", "codecs", "data_type", "dimension_names", "fill_value"),
        *("node_type", "shape", "storage_transformers", "zarr_format"),
    }
)

OpenIndex = Callable[[ChunkKeys, Shards | None], ChunkIndex]


def read_v3(name: str, array: Mapping[str, Any], metadata: Sequence[ChunkObject], open_index: OpenIndex) -> StoredArray:
    """The stored array that the document describes.

    Args:
        name: The path of the array.
        array: The members of ``zarr.json``.
        metadata: The objects that were read.
        open_index: Makes the index from the keys of the objects and what is known of shards, which is None if an object
            is a chunk.

    Raises:
        UndecodableData: The metadata contradicts the specification or itself.
        UnsupportedArray: The array has a feature that is not supported.
    """
    document = ZarrDocument(name, array)
    _ensure_known(document)
    dtype = _read_dtype(document)
    shape = document.sizes("shape")
    chunks = _read_chunks(document, shape)
    object_grid = make_grid(document, shape, chunks, dtype)
    chain = read_chain(document, "codecs", len(shape), dtype)
    shards = None
    if chain.sharding is not None:
        shard, chunks = chunks, _read_chunks_of_shard(chain.sharding, shape, chunks)
        grid = make_grid(document, shape, chunks, dtype)
        shards = _read_shards(chain.sharding, tuple(map(operator.floordiv, shard, chunks)), grid)
        chain = read_chain(chain.sharding, "codecs", len(shape), dtype)
        if chain.sharding is not None:
            raise document.unsupported("sharding within sharding")
    attributes = document.members.get("attributes")
    attributes = {} if attributes is None else attributes
    if not isinstance(attributes, dict):
        raise document.fault("attributes should be an object")
    try:
        fill = read_fill_v3(document.required("fill_value"), dtype)
    except ValueError as fault:
        raise document.fault(f"fill_value {fault}") from None
    return StoredArray(
        name=name,
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        byte_order=chain.byte_order,
        permutation=chain.permutation,
        steps=tuple(chain.steps),
        fill=fill,
        dimensions=document.names("dimension_names", len(shape), has_null=True),
        attributes=attributes,
        index=open_index(_read_keys(document, object_grid), shards),
        metadata=metadata,
    )


# Members


def _ensure_known(document: ZarrDocument) -> None:
    if (version := document.required("zarr_format")) != 3:
        raise document.unsupported(f"a zarr.json of version {shown(str(version))}")
    if document.required("node_type") != "array":
        raise document.fault("node_type should be array")
    for member in document.members.keys() - _MEMBERS:
        value = document.members[member]
        if not isinstance(value, dict) or value.get("must_understand") is not False:
            raise document.unsupported(f"the extension {shown(member)}")
    if document.members.get("storage_transformers") not in (None, []):
        raise document.unsupported("storage transformers")


def _read_dtype(document: ZarrDocument) -> str:
    name, configuration = read_named(document, document.required("data_type"), "data_type")
    if name not in DTYPES or configuration.members:
        raise document.unsupported(f"the data type {shown(name)}")
    return name


def _read_chunks(document: ZarrDocument, shape: tuple[int, ...]) -> tuple[int, ...]:
    name, configuration = read_named(document, document.required("chunk_grid"), "chunk_grid")
    if name != "regular":
        raise document.unsupported(f"the chunk grid {shown(name)}")
    configuration.ensure_known("chunk_grid", "chunk_shape")
    return configuration.chunk_sizes("chunk_shape", shape)


def _read_keys(document: ZarrDocument, grid: tuple[int, ...]) -> ChunkKeys:
    name, configuration = read_named(document, document.required("chunk_key_encoding"), "chunk_key_encoding")
    if name not in ("default", "v2"):
        raise document.unsupported(f"the chunk key encoding {shown(name)}")
    configuration.ensure_known("chunk_key_encoding", "separator")
    separator = configuration.members.get("separator", "/" if name == "default" else ".")
    if separator not in (".", "/"):
        raise document.fault('the separator of chunk_key_encoding should be "." or "/"')
    return ChunkKeys(grid, separator, "c" if name == "default" else "")


# Shards


def _read_chunks_of_shard(sharding: ZarrDocument, shape: tuple[int, ...], shard: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a chunk in a shard."""
    sharding.ensure_known("sharding_indexed", "chunk_shape", "codecs", "index_codecs", "index_location")
    chunks = sharding.chunk_sizes("chunk_shape", shape)
    if any(map(operator.mod, shard, chunks)):
        raise sharding.fault("the chunk_shape of sharding_indexed does not divide the shape of a shard")
    return chunks


def _read_shards(sharding: ZarrDocument, counts: tuple[int, ...], grid: tuple[int, ...]) -> Shards:
    """The form of the shards.

    Args:
        sharding: The configuration of ``sharding_indexed``.
        counts: The number of chunks in a shard along each dimension.
        grid: The number of chunks of the array along each dimension.
    """
    location = sharding.members.get("index_location", "end")
    if location not in ("start", "end"):
        raise sharding.fault("the index_location of sharding_indexed should be start or end")
    # The index is an array with a dimension more, for the pairs.
    index = read_chain(sharding, "index_codecs", len(counts) + 1, "uint64")
    if index.sharding is not None or index.permutation != tuple(range(len(counts) + 1)):
        raise sharding.unsupported("a codec other than bytes and checksums in the index of a shard")
    for step in index.steps:
        if step.id not in CHECKSUMS:
            raise sharding.unsupported(f"the codec {step.id} in the index of a shard")
    return Shards(counts, tuple(index.steps), index.byte_order, location == "end", grid)

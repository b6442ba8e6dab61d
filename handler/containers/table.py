"""Chunk tables: the places of all chunks of an array, which the client sends with its request.

VirtualiZarr, icechunk and kerchunk's Parquet files have such tables. Here it is a mapping, from JSON or CBOR:

=============  =========================================================================================
``dtype``      ``float32`` and the like; with ``filters`` and ``compressor`` also ``<f4`` or ``>f4``
``shape``      the sizes of the dimensions
``chunks``     the sizes of a chunk
``codecs``     a list of codecs of Zarr version 3, or ``{"filters": ..., "compressor": ..., "order": ...}`` of version 2
``fill_value`` as in the metadata of Zarr of that version
``dims``       the names of the dimensions; optional
``attributes`` the attributes of the array; optional
``urls``       the URLs of the objects
``etags``      for each URL the ETag of the object, or null; optional
``url``        for each chunk in C order the number of its URL: bytes of little-endian int32
``offset``     for each chunk its first byte: bytes of little-endian int64
``size``       for each chunk its size, or -1 if it is absent: bytes of little-endian int64
=============  =========================================================================================

The client is at fault for everything that is wrong here.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from active_storage.errors import EntityTooLarge, InvalidArgument, UndecodableData, UnsupportedArray, shown
from active_storage.grammar.query import StoreQuery
from active_storage.model.dtypes import DTYPES
from active_storage.model.etag import ETag
from handler.containers.chunk_keys import ChunkKeys
from handler.containers.reader import ContainerReader
from handler.containers.references import ReferenceColumns, ReferenceIndex, UrlObjects, ensure_url
from handler.containers.stored_array import ABSENT, ChunkIndex, Numbers, StoredArray
from handler.containers.zarr_document import ZarrDocument
from handler.containers.zarr_shards import Shards
from handler.containers.zarr_v2 import read_v2
from handler.containers.zarr_v3 import read_v3
from handler.stores.signatures import is_known

# The name of the array in errors.
_NAME = "table"

_REQUIRED = ("dtype", "shape", "chunks", "codecs", "fill_value", "urls", "url", "offset", "size")
_OPTIONAL = ("type", "dims", "attributes", "etags")
_COLUMNS = ("url", "offset", "size")
_VERSION_2 = ("filters", "compressor", "order")


def open_table(table: Mapping[str, Any], reader: ContainerReader) -> StoredArray:
    """The array that a chunk table describes. Nothing is read.

    Args:
        table: The members of the table.
        reader: Opens the URLs.

    Raises:
        InvalidArgument: A member has a wrong value; the error's ``field`` names it.
        UnsupportedArray: The array has a feature that is not supported.
        EntityTooLarge: It has more chunks or URLs than ``ReadLimits.references``.
    """
    for name in _REQUIRED:
        if name not in table:
            raise InvalidArgument("store", f"has no member {name}")
    for name in table.keys() - {*_REQUIRED, *_OPTIONAL}:
        raise InvalidArgument("store", f"has the unknown member {shown(str(name))}")
    try:
        array = _read_array(table, reader)
        dimensions = ZarrDocument(_NAME, table).names("dims", len(array.shape), has_null=True)
    except UndecodableData as error:
        raise InvalidArgument("store", error.message) from None
    return replace(array, dimensions=dimensions, places_digest=_digest(table))


# The array


def _read_array(table: Mapping[str, Any], reader: ContainerReader) -> StoredArray:
    def open_index(keys: ChunkKeys, shards: Shards | None = None) -> ChunkIndex:
        if shards is not None:
            raise UnsupportedArray(_NAME, "references to shards")
        return _read_index(table, math.prod(keys.grid), reader)

    codecs, attributes = table["codecs"], table.get("attributes")
    if attributes is not None and not isinstance(attributes, dict):
        raise InvalidArgument("store.attributes", "should be an object")
    if isinstance(codecs, list):
        return read_v3(_NAME, _make_v3(table, codecs, attributes or {}), (), open_index)
    if not isinstance(codecs, dict):
        raise InvalidArgument("store.codecs", "should be a list, or an object with filters and compressor")
    for name in codecs.keys() - set(_VERSION_2):
        raise InvalidArgument("store.codecs", f"has the unknown member {shown(str(name))}")
    return read_v2(_NAME, _make_v2(table, codecs), attributes or {}, (), open_index)


def _make_v3(table: Mapping[str, Any], codecs: list[Any], attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": table["shape"],
        "data_type": table["dtype"],
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": table["chunks"]}},
        "chunk_key_encoding": "default",
        "fill_value": table["fill_value"],
        "codecs": codecs,
        "attributes": attributes,
    }


def _make_v2(table: Mapping[str, Any], codecs: Mapping[str, Any]) -> dict[str, Any]:
    dtype = table["dtype"]
    if isinstance(dtype, str) and dtype in DTYPES:
        dtype = DTYPES[dtype].newbyteorder("<").str
    return {
        "zarr_format": 2,
        "shape": table["shape"],
        "chunks": table["chunks"],
        "dtype": dtype,
        "fill_value": table["fill_value"],
        "filters": codecs.get("filters"),
        "compressor": codecs.get("compressor"),
        "order": codecs.get("order", "C"),
    }


def _digest(table: Mapping[str, Any]) -> str:
    """A digest of all members of a table. Two presigned links to the same object count as the same URL."""
    members = {name: value for name, value in table.items() if name not in {"type", *_COLUMNS}}
    members["urls"] = [_without_signature(url) if "?" in url else url for url in table["urls"]]
    # Attributes from CBOR can have bytes.
    digest = hashlib.sha256(json.dumps(members, sort_keys=True, default=repr).encode())
    for name in _COLUMNS:
        digest.update(table[name])
    return digest.hexdigest()


def _without_signature(url: str) -> list[str]:
    path, _, text = url.partition("?")
    query = StoreQuery.of(text)
    return [path, *(f"{name}={value}" for name, value, _ in query.pairs if not is_known(name, query))]


# The columns


def _read_index(table: Mapping[str, Any], count: int, reader: ContainerReader) -> ReferenceIndex:
    limit = reader.limits.references
    urls = _read_urls(table["urls"], limit)
    etags = _read_etags(table.get("etags"), len(urls))
    if count > limit:
        raise EntityTooLarge(f"store: the array has {count} chunks, more than {limit}")
    numbers, offsets, sizes = (
        _read_column(table, name, dtype, count) for name, dtype in (("url", "<i4"), ("offset", "<i8"), ("size", "<i8"))
    )
    chunks = np.flatnonzero(sizes != ABSENT)
    columns = ReferenceColumns(chunks, numbers[chunks], offsets[chunks], sizes[chunks])
    _ensure_all("size", columns.sizes > 0, chunks, "should be -1 or at least 1")
    _ensure_all(
        "url",
        (columns.objects >= 0) & (columns.objects < len(urls)),
        chunks,
        f"should be from 0 to {len(urls) - 1}, the number of a URL",
    )
    is_inside = (columns.offsets >= 0) & (columns.offsets <= 2**63 - 1 - columns.sizes)
    _ensure_all("offset", is_inside, chunks, "should be at least 0, and offset and size together below 2**63")
    objects = UrlObjects(reader)
    return ReferenceIndex(columns, lambda number: objects.open(_NAME, urls[number], etags[number]))


def _read_urls(urls: object, limit: int) -> list[str]:
    if not isinstance(urls, list):
        raise InvalidArgument("store.urls", "should be a list of texts")
    if len(urls) > limit:
        raise EntityTooLarge(f"store.urls: there are {len(urls)}, more than {limit}")
    for number, url in enumerate(urls):
        if not isinstance(url, str):
            raise InvalidArgument("store.urls", "should be a text", number)
        try:
            ensure_url(_NAME, url)
        except UndecodableData as error:
            raise InvalidArgument("store.urls", error.message, number) from None
    return urls


def _read_etags(etags: object, count: int) -> Sequence[ETag | None]:
    if etags is None:
        return [None] * count
    if not isinstance(etags, list) or len(etags) != count:
        raise InvalidArgument("store.etags", f"should be a list of {count}, one for each URL")
    read = []
    for number, text in enumerate(etags):
        etag = ETag.parse(text) if isinstance(text, str) else None
        if text is not None and (etag is None or not etag.is_strong):
            raise InvalidArgument("store.etags", "should be null or a strong ETag in quotes", number)
        read.append(etag)
    return read


def _read_column(table: Mapping[str, Any], name: str, dtype: str, count: int) -> np.ndarray[Any, Any]:
    data, size = table[name], count * np.dtype(dtype).itemsize
    if not isinstance(data, bytes) or len(data) != size:
        raise InvalidArgument(f"store.{name}", f"should be {size} bytes, for {count} chunks")
    return np.frombuffer(data, dtype)


def _ensure_all(column: str, is_right: np.ndarray[Any, Any], chunks: Numbers, fault: str) -> None:
    if not is_right.all():
        raise InvalidArgument(f"store.{column}", fault, int(chunks[np.argmin(is_right)]))

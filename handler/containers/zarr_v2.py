"""The metadata of an array of Zarr version 2: ``.zarray`` and ``.zattrs``.

The rules are in https://zarr-specs.readthedocs.io/en/latest/v2/v2.0.html. kerchunk's references hold the same two
documents.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from active_storage.errors import shown
from active_storage.model.dtypes import DTYPES, ByteOrder
from active_storage.model.steps import Step
from handler.containers.chunk_keys import ChunkKeys
from handler.containers.fill_values import read_fill_v2
from handler.containers.stored_array import ChunkIndex, ChunkObject, StoredArray
from handler.containers.zarr_document import ZarrDocument, make_grid

# numpy's names of data types without their byte order.
_DTYPES: Mapping[str, str] = MappingProxyType({dtype.str[1:]: name for name, dtype in DTYPES.items()})

_BYTE_ORDERS: Mapping[str, ByteOrder] = MappingProxyType({"<": "little", ">": "big", "|": "little"})

# xarray's convention for the names of dimensions.
_DIMENSIONS = "_ARRAY_DIMENSIONS"


def read_v2(
    name: str,
    array: Mapping[str, Any],
    attributes: Mapping[str, Any],
    metadata: Sequence[ChunkObject],
    open_index: Callable[[ChunkKeys], ChunkIndex],
) -> StoredArray:
    """The stored array that the two documents describe.

    Args:
        name: The path of the array.
        array: The members of ``.zarray``.
        attributes: The members of ``.zattrs``.
        metadata: The objects that were read.
        open_index: Makes the index from the keys of the chunks.

    Raises:
        UndecodableData: The metadata contradicts the specification or itself.
        UnsupportedArray: The array has a feature that is not supported.
    """
    document = ZarrDocument(name, array)
    if (version := document.required("zarr_format")) != 2:
        raise document.unsupported(f"a .zarray of version {shown(str(version))}")
    dtype, byte_order = _read_dtype(document)
    shape = document.sizes("shape")
    chunks = document.chunk_sizes("chunks", shape)
    grid = make_grid(document, shape, chunks, dtype)
    fill_value = document.required("fill_value")
    try:
        fill = read_fill_v2(fill_value, dtype, byte_order)
    except ValueError as fault:
        raise document.fault(f"fill_value {fault}") from None
    return StoredArray(
        name=name,
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        byte_order=byte_order,
        permutation=_read_permutation(document, len(shape)),
        steps=_read_steps(document),
        fill=fill,
        dimensions=document.within(attributes).names(_DIMENSIONS, len(shape), has_null=False),
        attributes=attributes,
        index=open_index(ChunkKeys(grid, _read_separator(document))),
        metadata=metadata,
        fill_marks_missing=fill_value is not None,
    )


def _read_dtype(document: ZarrDocument) -> tuple[str, ByteOrder]:
    value = document.required("dtype")
    if isinstance(value, list):
        raise document.unsupported("a structured data type")
    if not isinstance(value, str):
        raise document.fault("dtype should be a text")
    name, order = _DTYPES.get(value[1:]), value[:1]
    if name is None or order not in _BYTE_ORDERS or (order == "|" and DTYPES[name].itemsize > 1):
        raise document.unsupported(f"the data type {shown(value)}")
    return name, _BYTE_ORDERS[order]


def _read_permutation(document: ZarrDocument, count: int) -> tuple[int, ...]:
    order = document.required("order")
    if order not in ("C", "F"):
        raise document.fault("order should be C or F")
    dimensions = tuple(range(count))
    return dimensions if order == "C" else dimensions[::-1]


def _read_separator(document: ZarrDocument) -> str:
    separator = document.members.get("dimension_separator", ".")
    if separator not in (".", "/"):
        raise document.fault('dimension_separator should be "." or "/"')
    return str(separator)


def _read_steps(document: ZarrDocument) -> tuple[Step, ...]:
    filters, compressor = document.members.get("filters"), document.required("compressor")
    codecs = document.codecs("filters", [] if filters is None else filters)
    steps = [*codecs, *([] if compressor is None else [compressor])]
    return tuple(_read_step(document, codec) for codec in steps)


def _read_step(document: ZarrDocument, codec: object) -> Step:
    if not isinstance(codec, dict) or not isinstance(name := codec.get("id"), str):
        raise document.fault("a filter or a compressor should be an object with an id")
    parameters = {key: value for key, value in codec.items() if key != "id"}
    if name == "shuffle":
        # numcodecs' default, whatever the data type is.
        parameters.setdefault("elementsize", 4)
    return document.step(name, parameters, byte_order="<")

"""Zarr stores that zarr-python writes, and their chunks packed into other objects, as references have them."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr
from zarr.storage import MemoryStore

Array = np.ndarray[Any, Any]

# Bytes before, between and after the chunks, so that a wrong place is noticed.
GAP = b"\xff" * 7


def write_store(data: Array, name: str, chunks: tuple[int, ...], **options: Any) -> dict[str, bytes]:
    """The objects of a Zarr store with this array, by key."""
    objects: dict[str, Any] = {}
    root = zarr.create_group(MemoryStore(objects), zarr_format=options.pop("zarr_format", 2))
    array = root.create_array(name, shape=data.shape, dtype=data.dtype, chunks=chunks, **options)
    array[...] = data
    return {key: value.to_bytes() for key, value in objects.items()}


def pack(store: Mapping[str, bytes], *urls: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """References to the chunks of a store, spread over objects at these URLs, and the objects."""
    references: dict[str, Any] = {}
    packed = dict.fromkeys(urls, GAP)
    for key, value in store.items():
        if key.rpartition("/")[2] in (".zarray", ".zattrs", ".zgroup", ".zmetadata", "zarr.json"):
            references[key] = value.decode()
        else:
            url = urls[len(references) % len(urls)]
            references[key] = [url, len(packed[url]), len(value)]
            packed[url] += value + GAP
    return references, packed


def inline(data: bytes) -> str:
    """An inline reference."""
    return "base64:" + base64.b64encode(data).decode()

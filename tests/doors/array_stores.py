"""The store in memory with arrays that the real libraries have written."""

import io
import json
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
import zarr
from zarr.storage import MemoryStore

from handler.stores.fake import FakeStore

# 6 x 4 numbers in chunks of 2 x 3, of which one is absent.
VALUES = np.arange(24, dtype="<f4").reshape(6, 4)


def write_zarr(path: str, values: Any = VALUES, version: int = 2, **options: Any) -> dict[str, bytes]:
    """The objects of an array by path, ``/bucket/key`` as they are asked for."""
    kept: dict[str, Any] = {}
    attributes: Mapping[str, Any] = options.pop("attributes", {})
    dimensions = options.pop("dimensions", ("time", "lat"))
    if version == 2:
        attributes = {"_ARRAY_DIMENSIONS": list(dimensions), **attributes}
    else:
        options["dimension_names"] = dimensions
    defaults: dict[str, Any] = {"chunks": (2, 3), "fill_value": None if version == 2 else 0, "compressors": None}
    array = zarr.create_array(
        MemoryStore(kept),
        shape=values.shape,
        dtype=values.dtype,
        zarr_format=version,  # type: ignore[arg-type]  # 2 or 3
        attributes=dict(attributes),
        **{**defaults, **options},
    )
    array[...] = values
    return {f"{path}/{name}": buffer.to_bytes() for name, buffer in kept.items()}


def write_hdf5(values: Any = VALUES) -> bytes:
    """A file with ``g/tas`` in chunks, with names of dimensions and units."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        tas = file.create_dataset("g/tas", data=values, chunks=(2, 3), compression="gzip")
        tas.attrs["units"] = "K"
        for number, name in enumerate(("time", "lat")):
            scale = file["g"].create_dataset(name, data=np.arange(values.shape[number]))
            scale.make_scale(name)
            tas.dims[number].attach_scale(scale)
    return stream.getvalue()


def write_references(objects: Mapping[str, bytes], path: str) -> bytes:
    """References of kerchunk, version 1, to the chunks of a Zarr array in the store: its documents are inline."""
    refs: dict[str, Any] = {".zgroup": '{"zarr_format": 2}'}
    for name, data in objects.items():
        key = name.removeprefix(f"{path}/")
        is_document = key.startswith(".z")
        refs[f"tas/{key}"] = data.decode() if is_document else [f"s3:/{name}", 0, len(data)]
    return json.dumps({"version": 1, "refs": refs}).encode()


def make_store() -> FakeStore:
    """The same array in every container, and one whose elements are all missing.

    ``/bucket/store.zarr/tas`` is of version 2 and ``tas3`` of version 3. ``/bucket/f.nc`` has ``g/tas``, and
    ``/bucket/references.json`` has ``tas``.
    """
    attributes = {"units": "K", "_FillValue": -1.0}
    tas = write_zarr("/bucket/store.zarr/tas", attributes=attributes)
    return FakeStore(
        {
            **tas,
            **write_zarr("/bucket/store.zarr/tas3", version=3, attributes=attributes),
            **write_zarr("/bucket/store.zarr/nan", np.full((2, 3), -1, "<f4"), attributes=attributes),
            "/bucket/f.nc": write_hdf5(),
            "/bucket/references.json": write_references(tas, "/bucket/store.zarr/tas"),
        }
    )

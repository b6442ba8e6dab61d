"""The arrays of a group as members of a reply: names, dimensions, shapes, data types, attributes and coordinates."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from handler.arrays.engine import GroupAnswer
from handler.containers.stored_array import StoredArray
from handler.doors.cbor_results import list_numbers


def list_variables(answer: GroupAnswer) -> dict[str, Any]:
    """The members of a reply about the arrays of a group."""
    return {
        "attributes": _list_attributes(answer.listing.attributes),
        "variables": [
            _list_variable(name, array, answer.coordinates.get(name)) for name, array in answer.listing.arrays.items()
        ],
        "unsupported": dict(answer.listing.unsupported),
        "requests": answer.requests,
        "bytes_read": answer.bytes_read,
    }


def _list_variable(name: str, array: StoredArray, values: Any) -> dict[str, Any]:
    return {
        "name": name,
        "dims": list(array.dimensions),
        "shape": list(array.shape),
        "dtype": array.dtype,
        "chunks": list(array.chunks),
        "attributes": _list_attributes(array.attributes),
        "fill_value": list_numbers(array.fill) if array.fill_marks_missing else None,
        "values": None if values is None else list_numbers(values),
    }


def _list_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes with values that CBOR has. References of HDF5, which are places in its file, are left out."""
    return {name: _as_plain(value) for name, value in attributes.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return value is None or isinstance(value, str | int | float | np.generic | np.ndarray)


def _as_plain(value: Any) -> Any:
    """Numbers of numpy keep their data type: it decides that of packed values."""
    if isinstance(value, np.generic | np.ndarray):
        return list_numbers(value)
    if isinstance(value, list):
        return [_as_plain(each) for each in value]
    if isinstance(value, dict):
        return {name: _as_plain(each) for name, each in value.items()}
    return value

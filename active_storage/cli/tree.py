"""What is in a group, in the form of ``ncdump -h``, and as JSON."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from active_storage.client.groups import Group, Variable
from active_storage.client.results import format_bytes

# A longer attribute is cut.
_MOST_CHARACTERS = 100


def write_tree(name: str, group: Group) -> str:
    """Dimensions, variables with their attributes, and what cannot be read."""
    lines = [f"{name} {{", "dimensions:"]
    lines += [f"  {dim} = {size}" for dim, size in _find_dimensions(group).items()]
    lines.append("variables:")
    for each in group.variables:
        shape = ", ".join(f"{dim or f'dim_{number}'}={size}" for number, (dim, size) in enumerate(_pair(each)))
        chunks = f"  chunks {list(each.chunks)}" if each.chunks else ""
        lines.append(f"  {each.dtype} {each.name}({shape}){chunks}  {format_bytes(_count_bytes(each))}")
        lines += _write_attributes(each.attributes, f"    {each.name}")
    if group.unsupported:
        lines.append("cannot be read:")
        lines += [f"  {variable}: {why}" for variable, why in sorted(group.unsupported.items())]
    if group.attributes:
        lines.append("attributes:")
        lines += _write_attributes(group.attributes, "  ")
    return "\n".join([*lines, "}", ""])


def list_tree(group: Group) -> dict[str, Any]:
    """The same as types of JSON."""
    return {
        "dimensions": _find_dimensions(group),
        "variables": {
            each.name: {
                "dims": list(each.dims),
                "shape": list(each.shape),
                "dtype": each.dtype,
                "chunks": list(each.chunks),
                "bytes": _count_bytes(each),
                "attributes": _as_plain(each.attributes),
            }
            for each in group.variables
        },
        "unsupported": dict(group.unsupported),
        "attributes": _as_plain(group.attributes),
    }


def _pair(variable: Variable) -> list[tuple[str | None, int]]:
    return list(zip(variable.dims, variable.shape, strict=True))


def _find_dimensions(group: Group) -> dict[str, int]:
    return {dim: size for variable in group.variables for dim, size in _pair(variable) if dim}


def _count_bytes(variable: Variable) -> int:
    return math.prod(variable.shape) * np.dtype(variable.dtype).itemsize


def _write_attributes(attributes: Mapping[str, Any], prefix: str) -> list[str]:
    lines = []
    for name, value in attributes.items():
        text = f'"{value}"' if isinstance(value, str) else str(_as_plain(value))
        # One line each, whatever is in it.
        text = "".join(each if each.isprintable() else " " for each in text)
        cut = text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}..."
        lines.append(f"{prefix}:{name} = {cut}" if prefix.strip() else f"{prefix}{name} = {cut}")
    return lines


def _as_plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return _as_plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(name): _as_plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_plain(each) for each in value]
    # JSON has neither NaN nor infinity, nor complex numbers.
    is_number = isinstance(value, int | str | bool | None) or (isinstance(value, float) and math.isfinite(value))
    return value if is_number else str(value)

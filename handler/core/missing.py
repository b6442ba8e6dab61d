"""Missing data: which elements of a block are missing, and what takes their place in a reduction.

The common case is that nothing is missing: then a comparison and a look for any hit is all it costs, and the plain
kernel runs. Otherwise the missing ones are overwritten, in the block, by a value that does not change the result.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from handler.spec import DTYPES, Missing

Array = np.ndarray[Any, np.dtype[Any]]
Marker = Callable[[Array], Array]

# NaN is below and above nothing: it is missing only where it is named.
_RULES: Mapping[str, Callable[[Array, tuple[Any, ...]], Array]] = MappingProxyType(
    {
        "missing_value": lambda block, values: _equals(block, values[0]),
        "missing_values": lambda block, values: np.logical_or.reduce([_equals(block, value) for value in values]),
        "valid_min": lambda block, values: np.less(block, values[0]),
        "valid_max": lambda block, values: np.greater(block, values[0]),
        "valid_range": lambda block, values: np.less(block, values[0]) | np.greater(block, values[1]),
    }
)


def make_marker(missing: Missing, dtype: str) -> Marker:
    """What tells of a block which elements are missing, as an array of bool of its shape."""
    rule = _RULES[missing.kind]
    # In the data's own type: 0.1 in a file of float32 is not the 0.1 of Python.
    with np.errstate(over="ignore"):
        values = tuple(np.asarray(value).astype(DTYPES[dtype])[()] for value in missing.values)
    return lambda block: rule(block, values)


def overwrite(block: Array, mask: Array, value: Any) -> None:
    """Put ``value`` in the place of the elements that ``mask`` marks, in the block itself."""
    # On the bits, which in every type are zero for zero, and without asking what was there, NaN or not: assigning by a
    # mask takes several times as long.
    bits = block.view(f"u{block.itemsize}")
    np.multiply(bits, np.logical_not(mask), out=bits)
    if value:
        np.bitwise_or(bits, np.multiply(mask, np.asarray(value, block.dtype).view(bits.dtype)), out=bits)


def _equals(block: Array, value: Any) -> Array:
    return np.isnan(block) if value != value else np.equal(block, value)  # noqa: PLR0124

"""Missing data: which elements of a block are missing, and what takes their place in a reduction.

The common case is that nothing is missing: then a look at the block's extreme, or a comparison and a look for any hit,
is all it costs, and the plain kernel runs. Otherwise the missing ones are overwritten, in the block, by a value that
does not change the result.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from handler.spec import DTYPES, Missing

Array = np.ndarray[Any, np.dtype[Any]]

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


class Marker:
    """Tells which elements of blocks are missing, one block after the other.

    Args:
        missing: What is missing.
        dtype: The blocks', a name in ``DTYPES``.
    """

    def __init__(self, missing: Missing, dtype: str) -> None:
        self._rule = _RULES[missing.kind]
        # In the data's own type: 0.1 in a file of float32 is not the 0.1 of Python.
        with np.errstate(over="ignore"):
            self._values = tuple(np.asarray(value).astype(DTYPES[dtype])[()] for value in missing.values)
        self._bits = _bits_of(self._values[0]) if missing.kind == "missing_value" else None

    def mark(self, block: Array) -> Array | None:
        """The elements that are missing, as an array of bool of the block's shape; None where none is."""
        if self._bits is not None:
            if np.maximum.reduce(block.view(self._bits.dtype), axis=None) < self._bits:
                return None
            # Where one block has missing elements, or NaN, the next one mostly has some as well.
            self._bits = None
        mask = self._rule(block, self._values)
        return mask if mask.any() else None


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


def _bits_of(value: Any) -> Any:
    """The bits of ``value`` as a whole number, of a type by which no element equals it whose bits are less.

    What stands for missing elements mostly lies outside the data, and to find the largest of a block's bits takes two
    thirds of a comparison; of float16, which processors do not compare, a seventieth. The bits of floats of one sign
    are in the order of their magnitudes, NaN last, and the sign is the highest bit (IEEE 754, section 3.4). None where
    bits say nothing: of zero, which floats have two of, and of NaN, which they have many of.
    """
    if value != value or not value:  # noqa: PLR0124
        return None
    return value.view(f"{'i' if value > 0 and value.dtype.kind in 'if' else 'u'}{value.itemsize}")

"""Missing data: which elements of a block are missing, and what replaces them in a reduction.

Mostly no element is missing. Then the cost is a comparison and a search for a hit, and the plain kernel runs. Otherwise
missing elements are overwritten in the block by a value that does not change the result.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from active_storage.model.missing import Missing

Array = np.ndarray[Any, np.dtype[Any]]

# Tells which elements of a block are missing by one value of a rule.
Test = Callable[[Array, Any], Array]


class Limits(NamedTuple):
    """The least and the greatest number that counts, in the data type of the elements; NaN does not count."""

    least: Any
    greatest: Any


class Marker:
    """Tells which elements of blocks are missing, one block after the other.

    Args:
        missing: The rules for missing data; None if there are limits only.
        dtype: The data type of the blocks.
        limits: Elements outside them are skipped like missing ones; None for no limits.
    """

    def __init__(self, missing: Missing | None, dtype: np.dtype[Any], limits: Limits | None = None) -> None:
        cast = dtype.type
        tests: list[tuple[Test, Any]] = []
        if missing is not None:
            tests += [(_equals, cast(value)) for value in missing.values]
            # NaN is neither below nor above a limit. It is missing only if it is one of the values.
            valid = ((np.less, missing.valid_min), (np.greater, missing.valid_max))
            tests += [(compare, cast(limit)) for compare, limit in valid if limit is not None]
        if limits is not None:
            tests += [(np.less, limits.least), (np.greater, limits.greatest)]
            tests += [(_equals, cast(np.nan))] if dtype.kind == "f" else []
        self._tests = tuple(tests)

    def mark(self, block: Array) -> Array | None:
        """A mask of the missing elements, an array of bool of the block's shape; None if all are present."""
        (test, value), *others = self._tests
        mask = test(block, value)
        for test, value in others:
            np.logical_or(mask, test(block, value), out=mask)
        return mask if mask.any() else None


def overwrite(block: Array, mask: Array, value: Any) -> None:
    """Overwrite the elements that ``mask`` marks by ``value``, in the block itself."""
    # Arithmetic on the bits, whatever the old value: assigning by a mask takes several times as long. In every type the
    # bits of zero are zero.
    bits = block.view(f"u{block.itemsize}")
    np.multiply(bits, np.logical_not(mask), out=bits)
    if value:
        np.bitwise_or(bits, np.multiply(mask, np.asarray(value, block.dtype).view(bits.dtype)), out=bits)


def _equals(block: Array, value: Any) -> Array:
    return np.isnan(block) if value != value else np.equal(block, value)  # noqa: PLR0124

"""Missing data: which elements of a block are missing, and what takes their place in a reduction.

The common case is that nothing is missing: then a look at the block's extreme, or a comparison and a look for any hit,
is all it costs, and the plain kernel runs. Otherwise the missing ones are overwritten, in the block, by a value that
does not change the result.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from handler.spec import DTYPES, Missing

Array = np.ndarray[Any, np.dtype[Any]]

# Which elements of a block are missing, by one value of a rule.
Test = Callable[[Array, Any], Array]


class Marker:
    """Tells which elements of blocks are missing, one block after the other.

    Args:
        missing: What is missing.
        dtype: The blocks', a name in ``DTYPES``.
    """

    def __init__(self, missing: Missing, dtype: str) -> None:
        cast = DTYPES[dtype].type
        tests: list[tuple[Test, Any]] = [(_equals, cast(value)) for value in missing.values]
        # NaN is neither below nor above a limit: it is missing only where it is one of the values.
        limits = ((np.less, missing.valid_min), (np.greater, missing.valid_max))
        tests += [(compare, cast(limit)) for compare, limit in limits if limit is not None]
        self._tests = tuple(tests)
        self._bits = _bits_of(cast(missing.values[0])) if len(tests) == len(missing.values) == 1 else None

    def mark(self, block: Array) -> Array | None:
        """The elements that are missing, as an array of bool of the block's shape; None where all are present."""
        if self._bits is not None:
            if np.maximum.reduce(block.view(self._bits.dtype), axis=None) < self._bits:
                return None
            # Where one block has missing elements, or NaN, the next one mostly has some as well.
            self._bits = None
        (test, value), *others = self._tests
        mask = test(block, value)
        for test, value in others:
            np.logical_or(mask, test(block, value), out=mask)
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

"""The bits of numbers as unsigned integers in the order of the numbers, and bins of their leading bits.

A *key* is such an unsigned integer, of the size of the number. Signed integers are shifted by half their range. For
floats (IEEE 754), the sign bit of positive numbers is set, and all bits of negative numbers are inverted. -0.0 has the
key of 0.0. The keys of NaN lie outside those of the infinities, on both sides, unless they are made one key.
"""

from typing import Any

import numpy as np

from active_storage.algebra.base import Array, Dtype
from active_storage.model.edges import MOST_BINS

_BIN_BITS = MOST_BINS.bit_length() - 1


def find_key_dtype(dtype: Dtype) -> Dtype:
    """The data type of the keys of a data type, which is not complex."""
    return np.dtype(f"u{dtype.itemsize}")


def make_keys(values: Array) -> Array:
    """The keys of numbers, in new memory or a view."""
    keys = find_key_dtype(values.dtype)
    if values.dtype.kind in "bu":
        plain: Array = values.view(keys)
        return plain
    half = _find_half(keys)
    if values.dtype.kind == "i":
        shifted: Array = values.view(keys) ^ half
        return shifted
    with np.errstate(invalid="ignore"):
        # Without the sign of zero.
        bits = (values + values.dtype.type(0)).view(keys)
    ordered: Array = np.where(bits >= half, ~bits, bits | half)
    return ordered


def make_sortable_keys(values: Array) -> Array:
    """The keys of numbers, with one key for all NaN, above those of numbers; in new memory or a view."""
    keys = make_keys(values)
    if values.dtype.kind == "f":
        is_nan = np.isnan(values)
        if is_nan.any():
            keys[is_nan] = find_nan_key(values.dtype)
    return keys


def find_nan_key(dtype: Dtype) -> int:
    """The key of every NaN among sortable keys; for integers, a number above all keys."""
    keys = find_key_dtype(dtype)
    if dtype.kind != "f":
        return int(np.iinfo(keys).max) + 1
    (quiet,) = make_keys(np.array([np.nan], dtype))
    # Numpy's own NaN can have either sign.
    return int(max(quiet, ~quiet))


def find_numbers(keys: Array, dtype: Dtype) -> Array:
    """The numbers of a data type that have these keys: the inverse of ``make_keys``."""
    if dtype.kind in "bu":
        plain: Array = keys.view(dtype)
        return plain
    half = _find_half(keys.dtype)
    if dtype.kind == "i":
        shifted: Array = (keys ^ half).view(dtype)
        return shifted
    return np.where(keys >= half, keys ^ half, ~keys).view(dtype)


def find_bins(values: Array) -> Array:
    """The bin of each number: its key without the last bits. There are 256 bins or 65,536."""
    bins: Array = make_keys(values) >> np.uint8(_count_dropped(values.dtype))
    return bins


def find_bin_starts(dtype: Dtype) -> Array:
    """The least number of each bin, in the data type, ascending. A bin ends before the next one starts.

    The first and the last bins of floats have the keys of NaN, and are empty: they start at an infinity.
    """
    dropped, key_dtype = _count_dropped(dtype), find_key_dtype(dtype)
    keys = np.arange(1 << (8 * dtype.itemsize - dropped), dtype=np.uint64).astype(key_dtype) << np.uint8(dropped)
    if dtype.kind == "f":
        keys = np.clip(keys, *make_keys(np.array([-np.inf, np.inf], dtype)))
    return find_numbers(keys, dtype)


def _find_half(keys: Dtype) -> Any:
    return keys.type(1 << (8 * keys.itemsize - 1))


def _count_dropped(dtype: Dtype) -> int:
    """The number of last bits of a key that are not in the number of its bin."""
    return max(0, 8 * dtype.itemsize - _BIN_BITS)

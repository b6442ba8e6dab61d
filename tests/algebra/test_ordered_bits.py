"""Keys have the order of their numbers, in every data type, and bins are intervals of numbers."""

from typing import Any

import numpy as np
import pytest

from active_storage.algebra.ordered_bits import find_bin_starts, find_bins, find_key_dtype, find_numbers, make_keys
from active_storage.model.dtypes import DTYPES

REALS = [name for name, dtype in DTYPES.items() if dtype.kind in "biuf"]


def make_numbers(name: str) -> np.ndarray[Any, Any]:
    """Numbers of a data type, in order and without repetitions: its limits, and many between."""
    dtype: np.dtype[Any] = DTYPES[name]
    kind: Any = dtype
    if dtype.kind == "b":
        return np.array([False, True])
    drawn = np.random.default_rng(3).bytes(dtype.itemsize * 5000)
    numbers = np.frombuffer(drawn, dtype)
    if dtype.kind == "f":
        limits = np.finfo(kind)
        ends = [-np.inf, limits.min, -1, -limits.smallest_subnormal, 0, limits.tiny, 1, limits.max, np.inf]
        numbers = np.append(numbers[~np.isnan(numbers)], np.array(ends, dtype))
    else:
        numbers = np.append(numbers, np.array([np.iinfo(kind).min, 0, np.iinfo(kind).max], dtype))
    return np.unique(numbers)


@pytest.mark.parametrize("name", REALS)
def test_keys_have_the_order_of_numbers_and_give_them_back(name: str) -> None:
    numbers = make_numbers(name)
    keys = make_keys(numbers)
    assert keys.dtype == find_key_dtype(numbers.dtype)
    assert (keys[1:] > keys[:-1]).all()
    assert np.array_equal(find_numbers(keys, numbers.dtype), numbers)


@pytest.mark.parametrize("name", [name for name in REALS if DTYPES[name].kind == "f"])
def test_both_zeros_have_one_key(name: str) -> None:
    zero, negative = make_keys(np.array([0.0, -0.0], name))
    assert zero == negative
    assert find_bins(np.array([-0.0], name)) == find_bins(np.array([0.0], name))


@pytest.mark.parametrize("name", REALS)
def test_a_bin_has_the_numbers_from_its_start_to_before_the_next(name: str) -> None:
    numbers = make_numbers(name)
    if DTYPES[name].kind == "b":
        assert find_bins(numbers).tolist() == [0, 1]
        return
    starts = find_bin_starts(numbers.dtype)
    assert len(starts) == (256 if numbers.dtype.itemsize == 1 else 65_536)
    assert (starts[1:] >= starts[:-1]).all()
    # The empty bins beyond the infinities start there too.
    finite = numbers[np.isfinite(numbers)] if numbers.dtype.kind == "f" else numbers
    assert np.array_equal(find_bins(finite), np.searchsorted(starts, finite, side="right") - 1)

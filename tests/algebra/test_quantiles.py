"""Methods of quantiles are numpy's, and keys have the order of numbers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from active_storage.algebra.ordered_bits import find_nan_key, find_numbers, make_sortable_keys
from active_storage.algebra.quantiles import find_neighbours, find_result_dtype, interpolate
from active_storage.model.quantiles import QUANTILE_METHODS

DTYPES = ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
QUANTILES = [0.0, 0.001, 0.05, 0.1, 0.25, 1 / 3, 0.5, 0.7, 0.95, 0.999, 1.0]


@pytest.mark.parametrize("method", QUANTILE_METHODS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "uint8"])
def test_quantiles_of_any_number_of_elements_are_numpys(method: Any, dtype: str) -> None:
    rng = np.random.default_rng(3)
    for count in (*range(1, 30), 100, 1001):
        elements = np.sort(rng.normal(100, 30, count).astype(dtype))
        for q in QUANTILES:
            (wanted,) = np.quantile(elements, np.array([q]), method=method)
            lower, upper, weight = find_neighbours(method, q, np.array([count]))
            got = interpolate(elements[lower], elements[upper], weight).astype(
                find_result_dtype(method, elements.dtype)
            )
            assert got.dtype == wanted.dtype
            assert got[0] == wanted, (count, q)


def test_an_infinity_counts_by_its_weight() -> None:
    low, high = (
        np.array([1.0, 1.0, 1.0, -np.inf, -np.inf, np.inf]),
        np.array([np.inf, np.inf, np.inf, 2.0, 2.0, np.inf]),
    )
    weight = np.array([0.0, 0.25, 0.75, 0.75, 1.0, 0.5])
    np.testing.assert_array_equal(interpolate(low, high, weight), [1.0, np.inf, np.inf, -np.inf, 2.0, np.inf])


def test_numbers_that_are_far_apart_do_not_overflow() -> None:
    for dtype in ("int8", "int64", "float32", "float64"):
        limits: Any = np.finfo(dtype) if dtype.startswith("float") else np.iinfo(dtype)
        low, high = (np.array([limit], dtype) for limit in (limits.min, limits.max))
        (middle,) = interpolate(low, high, np.array([0.5]))
        assert abs(middle) <= 1


def test_a_cell_without_elements_has_no_neighbours() -> None:
    for method in QUANTILE_METHODS:
        for numbers in find_neighbours(method, 0.7, np.array([0])):
            assert numbers.tolist() == [0]


@given(st.data(), st.sampled_from(DTYPES))
def test_keys_have_the_order_of_numbers(data: st.DataObject, dtype: str) -> None:
    values = data.draw(hnp.arrays(dtype, st.integers(1, 30)))
    keys = make_sortable_keys(values.copy())
    assert keys.dtype == f"u{values.itemsize}"
    np.testing.assert_array_equal(find_numbers(keys.copy(), values.dtype), values)
    np.testing.assert_array_equal(values[np.argsort(keys, kind="stable")], np.sort(values))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_all_nan_are_one_key_above_infinity_and_zeros_are_one_key(dtype: str) -> None:
    bits = np.dtype(f"u{np.dtype(dtype).itemsize}")
    quiet = np.array(np.nan, dtype).view(bits)
    nans = np.array([quiet, quiet | 1, ~np.array(0, bits)], bits).view(dtype)
    assert set(make_sortable_keys(nans).tolist()) == {find_nan_key(np.dtype(dtype))}
    assert make_sortable_keys(np.array([np.inf], dtype))[0] < find_nan_key(np.dtype(dtype))
    assert len(set(make_sortable_keys(np.array([0.0, -0.0], dtype)).tolist())) == 1

"""Thresholds: which stored numbers have values that are above or below given numbers.

Values ascend or descend with stored numbers, so that the stored numbers whose values are within the thresholds follow
each other. The first and the last of them are found by trial, with the values that are otherwise reduced: exactly.
"""

import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from active_storage.algebra.base import Dtype
from active_storage.algebra.ordered_bits import find_key_dtype, find_numbers, make_keys
from active_storage.algebra.packing import Packing
from active_storage.errors import InvalidArgument
from active_storage.model.missing import Number
from handler.kernels.missing import Limits

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = MappingProxyType(
    {"gt": operator.gt, "ge": operator.ge, "lt": operator.lt, "le": operator.le}
)

# Those that greater values satisfy if a value does.
_LOWER = frozenset({"gt", "ge"})


def find_limits(thresholds: Mapping[str, Number], stored: Dtype, packing: Packing | None) -> Limits | None:
    """The least and the greatest stored number whose value is within the thresholds; None without thresholds.

    As numpy does, a threshold is rounded to the data type of values if they are floats.

    Args:
        thresholds: The thresholds, by their names in ``THRESHOLDS``.
        stored: The data type of stored numbers.
        packing: How stored numbers become values; None if they are the values.

    Returns:
        The limits; the least is above the greatest if no number is within the thresholds.

    Raises:
        InvalidArgument: The numbers are complex, which have no order; the field is the name of a threshold.
    """
    if not thresholds:
        return None
    if stored.kind == "c":
        raise InvalidArgument(next(iter(thresholds)), f"is not defined for {stored.name} elements")
    dtype = stored if packing is None else packing.dtype

    def find_value(key: int) -> Any:
        numbers = find_numbers(np.array([key], find_key_dtype(stored)), stored)
        return (numbers if packing is None else packing.unpack(numbers))[0].item()

    low, high = (int(key) for key in make_keys(_find_ends(stored, packing)))
    is_descending = find_value(low) > find_value(high)
    for name, threshold in thresholds.items():
        rounded, compare = _round(threshold, dtype), _COMPARE[name]

        def is_within(key: int, compare: Callable[[Any, Any], bool] = compare, rounded: Any = rounded) -> bool:
            return compare(find_value(key), rounded)

        if (name in _LOWER) != is_descending:
            low = _find_first(low, high, is_within)
        else:
            high = _find_first(low, high, lambda key, is_within=is_within: not is_within(key)) - 1  # type: ignore[misc]
    if low > high:
        return Limits(stored.type(1), stored.type(0))
    return Limits(*find_numbers(np.array([low, high], find_key_dtype(stored)), stored))


def _find_ends(stored: Dtype, packing: Packing | None) -> np.ndarray[Any, Any]:
    """The least and the greatest number of a data type that has a value: 0 times infinity is NaN."""
    if stored.kind == "b":
        return np.array([False, True])
    if stored.kind == "f" and packing is not None and packing.scale == 0:
        return np.array([np.finfo(stored).min, np.finfo(stored).max], stored)
    if stored.kind == "f":
        return np.array([-np.inf, np.inf], stored)
    return np.array([np.iinfo(stored).min, np.iinfo(stored).max], stored)


def _round(threshold: Number, dtype: Dtype) -> Number:
    if dtype.kind != "f":
        return threshold
    with np.errstate(over="ignore"):
        return float(dtype.type(threshold))


def _find_first(low: int, high: int, is_true: Callable[[int], bool]) -> int:
    """The least number from ``low`` to ``high`` for which a statement is true, as for all greater ones, by bisection.

    It is ``high + 1`` if it is true for none.
    """
    stop = high + 1
    while low < stop:
        middle = (low + stop) // 2
        if is_true(middle):
            stop = middle
        else:
            low = middle + 1
    return low

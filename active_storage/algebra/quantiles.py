"""Quantiles of sorted elements: between which two elements each lies, and what it is between them.

Sources: R. J. Hyndman and Y. Fan, "Sample quantiles in statistical packages", The American Statistician 50 (1996), and
numpy's ``quantile``, whose names of methods, rounding and data types these are.

A quantile between a number and an infinity is numpy's NaN in some places. Here it is what the formula says: the number
itself if the infinity has no weight, else the infinity.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from active_storage.algebra.base import Array, Dtype
from active_storage.model.quantiles import PICKING_METHODS


class Neighbours(NamedTuple):
    """Between which elements a quantile lies, for each cell: numbers among the sorted elements, from 0.

    Attributes:
        lower: The number of the element below, int64.
        upper: The number of the element above, int64.
        weight: The weight of the one above, float64; 0 if both are one element.
    """

    lower: Array
    upper: Array
    weight: Array


def find_neighbours(method: str, q: float, counts: Array) -> Neighbours:
    """The neighbours of a quantile in cells with these numbers of elements; zeros in cells without elements.

    Args:
        method: A name in ``QUANTILE_METHODS``.
        q: The quantile, from 0 to 1.
        counts: The number of elements of each cell, int64.
    """
    last = np.maximum(np.asarray(counts, np.int64) - 1, 0)
    if method in PICKING_METHODS:
        picked = np.clip(_PICKS[method](counts, q).astype(np.int64), 0, last)
        return Neighbours(picked, picked, np.zeros(np.shape(counts)))
    place = np.asarray(_PLACES[method](counts, q), np.float64)
    lower = np.floor(place)
    weight = place - lower
    if method == "averaged_inverted_cdf":
        weight = np.where(weight == 0, 0.5, 1.0)
    elif method == "midpoint":
        weight = np.where(weight == 0, 0.0, 0.5)
    whole = np.clip(lower.astype(np.int64), 0, last)
    is_inside = (place >= 0) & (place < last)
    return Neighbours(whole, np.where(is_inside, whole + 1, whole), np.where(is_inside, weight, 0.0))


def interpolate(lower: Array, upper: Array, weight: Array) -> Array:
    """The quantiles between these neighbours, in float64, rounded as numpy rounds them.

    Args:
        lower: The elements below.
        upper: Those above, in the same data type.
        weight: The weight of each of those above.
    """
    with np.errstate(all="ignore"):
        if lower.dtype.kind == "f":
            apart = upper - lower
        else:
            # The difference fits the unsigned type.
            unsigned = f"u{lower.dtype.itemsize}"
            apart = upper.view(unsigned) - lower.view(unsigned)
        distance = apart.astype(np.float64)
        low, high = lower.astype(np.float64), upper.astype(np.float64)
        between = np.where(weight >= 0.5, high - distance * (1 - weight), low + distance * weight)
        # Infinite elements, or finite ones that are too far apart for their data type.
        mixed = np.where(weight == 1, high, low * (1 - weight) + high * weight)
        between = np.where(np.isfinite(distance), between, mixed)
        return np.where((weight == 0) | (lower == upper), low, between)


def find_result_dtype(method: str, dtype: Dtype) -> Dtype:
    """The data type of quantiles of values: theirs if the result is one of them, else float64; as in xarray."""
    return dtype if method in PICKING_METHODS else np.dtype(np.float64)


def _discrete(place: Array, keeps: Array) -> Array:
    return np.floor(place) + np.where(keeps, 0, 1)


def _inverted(counts: Array, q: float) -> Array:
    place = counts * np.float64(q) - 1
    return _discrete(place, place == np.floor(place))


def _closest(counts: Array, q: float) -> Array:
    place = counts * np.float64(q) - 1 - 0.5
    return _discrete(place, (place == np.floor(place)) & (np.floor(place) % 2 == 1))


def _between(alpha: float, beta: float) -> Callable[[Array, float], Array]:
    """The place by the constants of Hyndman and Fan."""

    def place(counts: Array, q: float) -> Array:
        return counts * np.float64(q) + (alpha + np.float64(q) * (1 - alpha - beta)) - 1

    return place


def _linear(counts: Array, q: float) -> Array:
    return (counts - 1) * np.float64(q)


# The number of the element.
_PICKS: Mapping[str, Callable[[Array, float], Array]] = MappingProxyType(
    {
        "inverted_cdf": _inverted,
        "closest_observation": _closest,
        "lower": lambda counts, q: np.floor(_linear(counts, q)),
        "higher": lambda counts, q: np.ceil(_linear(counts, q)),
        "nearest": lambda counts, q: np.around(_linear(counts, q)),
    }
)

# The place among the sorted elements.
_PLACES: Mapping[str, Callable[[Array, float], Array]] = MappingProxyType(
    {
        "averaged_inverted_cdf": lambda counts, q: counts * np.float64(q) - 1,
        "interpolated_inverted_cdf": _between(0, 1),
        "hazen": _between(0.5, 0.5),
        "weibull": _between(0, 0),
        "linear": _linear,
        "median_unbiased": _between(1 / 3.0, 1 / 3.0),
        "normal_unbiased": _between(3 / 8.0, 3 / 8.0),
        "midpoint": _linear,
    }
)

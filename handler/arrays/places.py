"""Selection by coordinates: from bounds and values to the indices of a dimension.

Longitudes are angles: -10 and 350 are the same place. They are compared so only where the request says ``cyclic``.
"""

import math
from collections.abc import Callable, Mapping, MutableSequence
from fractions import Fraction
from typing import Any

import numpy as np

from active_storage.errors import InvalidArgument, shown
from active_storage.grammar.parameters import parse_number
from active_storage.model.coordinates import Between, Nearest, Where
from handler.arrays.coordinates import Coordinate, Coordinates
from handler.arrays.iso_dates import read_period
from handler.containers.stored_array import Numbers

Array = np.ndarray[Any, np.dtype[Any]]

_CIRCLE = 360


def select_places(
    where: Mapping[str, Where], chosen: MutableSequence[range | Numbers], coordinates: Coordinates
) -> list[Coordinate]:
    """Select by the values of coordinates what was selected by indices before.

    Args:
        where: What is selected, by the name of the coordinate.
        chosen: For each dimension, the indices that are selected, in the caller's order. They are replaced by those
            that have such values.
        coordinates: Finds the coordinates.

    Returns:
        The coordinates.

    Raises:
        InvalidArgument: There is no such coordinate, a bound is not of its kind, or nothing has such values.
        ActiveStorageError: A coordinate cannot be read.
    """
    used = []
    for name, place in where.items():
        coordinate = coordinates.find("where", name)
        found, is_ordered = _find(coordinate, place)
        before = chosen[coordinate.axis]
        after = _meet(np.asarray(before, np.int64), found, is_ordered)
        if not len(after):
            raise InvalidArgument("where", f"selects nothing of {shown(name)}, {coordinate.describe_range()}")
        chosen[coordinate.axis] = _as_range(after)
        used.append(coordinate)
    return used


def _meet(before: Numbers, found: Numbers, is_ordered: bool) -> Numbers:
    """The indices that are in both, in the order of ``found`` if that is one of its own, else in that of ``before``."""
    return found[np.isin(found, before)] if is_ordered else before[np.isin(before, found)]


def _as_range(indices: Numbers) -> range | Numbers:
    """The same indices as a range, if they are the same distance apart."""
    if len(indices) == 1:
        return range(int(indices[0]), int(indices[0]) + 1)
    step = int(indices[1] - indices[0])
    if step == 0 or not (np.diff(indices) == step).all():
        return indices
    return range(int(indices[0]), int(indices[-1]) + (1 if step > 0 else -1), step)


def _find(coordinate: Coordinate, place: Where) -> tuple[Numbers, bool]:
    """The indices that have such values, and whether their order is that of the place and not of the dimension."""
    if coordinate.times is not None:
        return _find_times(coordinate, place), False
    if isinstance(place, Nearest):
        return _find_nearest(coordinate, place), False
    if place.is_cyclic:
        return _find_cyclic(coordinate, place), True
    values = coordinate.values
    # What is not finite is nowhere.
    mask = np.isfinite(values)
    if place.low is not None:
        mask &= values >= _read_bound(coordinate, place.low, math.ceil)
    if place.high is not None:
        mask &= values <= _read_bound(coordinate, place.high, math.floor)
    return np.flatnonzero(mask), False


def _find_cyclic(coordinate: Coordinate, place: Between) -> Numbers:
    """The indices from the lower bound eastwards to the upper one, in that order."""
    assert place.low is not None and place.high is not None  # noqa: S101, PT018  # a valid place
    dtype = np.result_type(coordinate.values.dtype, np.float32)
    circle = dtype.type(_CIRCLE)
    low, high = (dtype.type(_read_number(coordinate, bound)) for bound in (place.low, place.high))
    with np.errstate(all="ignore"):
        west, east = np.mod(low, circle), np.mod(high, circle)
        values = np.mod(coordinate.values.astype(dtype), circle)
    if high - low >= circle:
        mask = np.isfinite(values)
    elif west <= east:
        mask = (values >= west) & (values <= east)
    else:
        mask = (values >= west) | (values <= east)
    found = np.flatnonzero(mask)
    return found[np.argsort(np.mod(values[found] - west, circle), kind="stable")]


def _find_nearest(coordinate: Coordinate, place: Nearest) -> Numbers:
    """The index of the nearest value; of the larger of two that are as near."""
    values = coordinate.values
    if values.dtype.kind in "iu" and not place.is_cyclic:
        return _find_nearest_integer(values, Fraction(_read_number(coordinate, place.value)))
    wide = values.astype(np.float64)
    with np.errstate(all="ignore"):
        apart = np.abs(wide - float(_round(_read_number(coordinate, place.value), values.dtype)))
        if place.is_cyclic:
            apart = np.mod(apart, _CIRCLE)
            apart = np.minimum(apart, _CIRCLE - apart)
    if not np.isfinite(apart).any():
        return np.zeros(0, np.int64)
    nearest = np.flatnonzero(apart == np.nanmin(apart))
    return nearest[[int(np.argmax(wide[nearest]))]]


def _find_nearest_integer(values: Array, sought: Fraction) -> Numbers:
    """The same of whole numbers, which can be beyond what float64 holds exactly."""
    above, below = values[values >= math.ceil(sought)], values[values <= math.floor(sought)]
    # The larger one first, which is taken of two that are as near.
    around = [int(above.min())] if above.size else []
    around += [int(below.max())] if below.size else []
    if not around:
        return np.zeros(0, np.int64)
    nearest = min(around, key=lambda value: abs(value - sought))
    return np.flatnonzero(values == nearest)[:1]


def _find_times(coordinate: Coordinate, place: Where) -> Numbers:
    times = coordinate.times
    assert times is not None  # noqa: S101  # the caller has looked
    if place.is_cyclic:
        raise InvalidArgument("where", f"{shown(coordinate.name)} is a time, which is not cyclic")
    try:
        if isinstance(place, Nearest):
            if not len(coordinate.values):
                return np.zeros(0, np.int64)
            return np.array([times.nearest(read_period(place.value, times.calendar)[0])], np.int64)
        mask = np.ones(len(coordinate.values), bool)
        if place.low is not None:
            mask &= times.at_or_after(read_period(place.low, times.calendar)[0])
        if place.high is not None:
            mask &= times.before(read_period(place.high, times.calendar)[1])
    except ValueError as fault:
        raise InvalidArgument("where", f"{shown(coordinate.name)}: {fault}") from None
    return np.flatnonzero(mask)


def _read_bound(coordinate: Coordinate, text: str, inwards: Callable[[float], int]) -> Any:
    """A bound as a number that compares exactly: that of the coordinate's type, or a whole number."""
    number, dtype = _read_number(coordinate, text), coordinate.values.dtype
    return inwards(number) if dtype.kind in "iu" else _round(number, dtype)


def _read_number(coordinate: Coordinate, text: str) -> float:
    """A bound as a number.

    Raises:
        InvalidArgument: It is not a finite number.
    """
    try:
        number = parse_number("where", text)
    except InvalidArgument:
        number = math.nan
    if not math.isfinite(number):
        raise InvalidArgument("where", f"{shown(text)} is not a number, as the values of {shown(coordinate.name)} are")
    return number


def _round(number: float, dtype: np.dtype[Any]) -> Any:
    """A number rounded to the type of a coordinate if that is a float, as its values are."""
    with np.errstate(over="ignore"):
        return dtype.type(number) if dtype.kind == "f" else np.float64(number)

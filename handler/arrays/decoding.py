"""From stored numbers to values: the attributes of the CF conventions, as ``decode`` asks for them.

Sources: CF conventions 1.11, sections 2.5.1 (missing data) and 8.1 (packed data); netCDF users' guide, appendix A
(``_Unsigned``, ``valid_range``); for ``decode=xarray``, the conventions and result types of ``xarray.open_dataset``.
"""

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from active_storage.algebra.packing import Packing
from active_storage.errors import InvalidArgument, UndecodableData, shown
from active_storage.model.array_reduction import ArrayReduction
from active_storage.model.dtypes import DTYPES
from active_storage.model.missing import Missing, Number
from active_storage.model.reducers import ARRAY_REDUCERS
from handler.arrays.thresholds import find_limits
from handler.containers.stored_array import StoredArray
from handler.kernels.missing import Limits, Marker

Dtype = np.dtype[Any]
Values = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Decoding:
    """How the stored numbers of an array become values.

    Attributes:
        dtype: The data type of stored numbers, a name in ``DTYPES``: that of the array, or the unsigned or signed type
            of the same size, if ``_Unsigned`` says so.
        missing: Which stored numbers are missing data; None if all are present.
        limits: Which stored numbers have values within the thresholds of the request; None without thresholds.
        packing: How stored numbers become values; None if they are the values.
        units: The units of the values; None if they are unknown.
    """

    dtype: str
    missing: Missing | None
    limits: Limits | None
    packing: Packing | None
    units: str | None

    @classmethod
    def of(cls, reduction: ArrayReduction, array: StoredArray) -> "Decoding":
        """The decoding that a reduction asks for.

        Raises:
            UndecodableData: An attribute contradicts the data type.
            InvalidArgument: A rule of the request does.
        """
        attributes = array.attributes if reduction.decode != "none" else {}
        dtype = _find_dtype(array, attributes)
        names = _Attributes(array.name, attributes, DTYPES[dtype], DTYPES[array.dtype])
        fills = _FillValues([], makes_floats=False)
        low, high = None, None
        if DTYPES[dtype].kind in "iuf":
            marks_missing = array.fill_marks_missing and reduction.decode != "none"
            fills = names.fill_values(array.fill if marks_missing else None, reduction.decode == "xarray")
            if reduction.decode == "cf":
                low, high = names.limits()
        values = fills.values
        packing = _find_packing(names, dtype, reduction.decode == "xarray", fills)
        missing = _join_rules(reduction, dtype, values, low, high)
        units = attributes.get("units")
        limits = find_limits(reduction.thresholds, DTYPES[dtype], packing)
        return cls(dtype, missing, limits, packing, units if isinstance(units, str) else None)

    @property
    def skips(self) -> bool:
        """Whether elements can be skipped: missing ones, and those that are not within thresholds."""
        return self.missing is not None or self.limits is not None

    def make_marker(self) -> Marker | None:
        """What tells which stored numbers are skipped; None if all count."""
        return Marker(self.missing, DTYPES[self.dtype], self.limits) if self.skips else None

    @property
    def value_dtype(self) -> Dtype:
        """The data type of values."""
        return DTYPES[self.dtype] if self.packing is None else self.packing.dtype

    def find_missing(self, stored: Values) -> Values | None:
        """A mask of the stored numbers that are missing; None if all are present."""
        return None if self.missing is None else Marker(self.missing, DTYPES[self.dtype]).mark(stored)


@dataclass(frozen=True, slots=True)
class Unpacking:
    """Makes values of stored numbers, which it may overwrite.

    Attributes:
        packing: How stored numbers become values; None if they are the values.
        dtype: The data type of the result, which can hold the values.
        marks_missing: Whether missing data becomes NaN.
    """

    packing: Packing | None
    dtype: Dtype
    marks_missing: bool

    def __call__(self, stored: Values, mask: Values | None) -> Values:
        """The values of stored numbers, of which the mask marks those that are missing; None for none."""
        values = stored if self.packing is None else self.packing.unpack(stored)
        values = values.astype(self.dtype, copy=False)
        if self.marks_missing and mask is not None:
            values[mask] = np.nan
        return values


@dataclass(frozen=True, slots=True)
class CommonDecoding:
    """What is reduced of all parts of an array alike, so that their partial results can be joined.

    Stored numbers are reduced if that is possible: all parts are packed alike, and the result of stored numbers becomes
    that of values. Otherwise each part unpacks its elements into one data type first. So it does if the result has the
    elements themselves, since those that are missing become NaN.

    Attributes:
        dtype: The data type of the numbers that are reduced, a name in ``DTYPES``.
        packing: How the result of these numbers becomes that of values; None if they are the values.
        unpackings: For each part, what makes these numbers of stored ones; None if they are the stored ones.
        units: The units of the values; None if they are unknown.
    """

    dtype: str
    packing: Packing | None
    unpackings: tuple[Unpacking | None, ...]
    units: str | None

    @classmethod
    def of(cls, decodings: Sequence[Decoding], reducer: str, is_weighted: bool = False) -> "CommonDecoding":
        """What a reducer reduces of parts that are decoded like this, with weights or without.

        Raises:
            InvalidArgument: The parts have different units: their values cannot be reduced together.
        """
        first, *others = decodings
        for number, each in enumerate(others, start=1):
            if each.units != first.units:
                ours, theirs = (shown(units or "") for units in (each.units, first.units))
                reason = f"the file has the units {ours}, unlike the first file: {theirs}"
                raise InvalidArgument("store.urls", reason, number)
        # As numpy and xarray concatenate arrays.
        dtype = np.result_type(*{each.value_dtype for each in decodings})
        has_missing = any(each.skips for each in decodings)
        marks_missing = ARRAY_REDUCERS[reducer].keeps_elements and has_missing and dtype.kind == "f"
        packing = first.packing
        is_alike = all((each.dtype, each.packing) == (first.dtype, packing) for each in others)
        follows = packing is None or packing.is_transformable(reducer, DTYPES[first.dtype])
        follows = follows and not (is_weighted and packing)
        if is_alike and follows and not marks_missing:
            return cls(first.dtype, packing, (None,) * len(decodings), first.units)
        unpackings = tuple(Unpacking(each.packing, dtype, marks_missing) for each in decodings)
        return cls(dtype.name, None, unpackings, first.units)


def _find_dtype(array: StoredArray, attributes: Mapping[str, Any]) -> str:
    unsigned = attributes.get("_Unsigned")
    kind = DTYPES[array.dtype].kind
    if unsigned is None or kind not in "iu":
        return array.dtype
    text = str(_single(unsigned)).lower()
    if text not in ("true", "false"):
        raise _wrong(array.name, "_Unsigned", "should be 'true' or 'false'")
    bits = DTYPES[array.dtype].itemsize * 8
    return f"uint{bits}" if text == "true" else f"int{bits}"


@dataclass(frozen=True, slots=True)
class _FillValues:
    """What the attributes of an array say of missing data.

    Attributes:
        values: The stored numbers that are missing data.
        makes_floats: Whether xarray makes floats of integers, so that missing data can be NaN. It does so too if no
            stored number can be missing, since the attribute does not fit the data type.
    """

    values: list[Number]
    makes_floats: bool


class _Attributes:
    """The attributes of an array that say how it is decoded.

    Args:
        array: The name of the array.
        attributes: Its attributes.
        dtype: The data type of stored numbers.
        declared: The data type that the container declares.
    """

    def __init__(self, array: str, attributes: Mapping[str, Any], dtype: Dtype, declared: Dtype) -> None:
        self.array = array
        self._attributes = attributes
        self._dtype = dtype
        self._declared = declared

    def fill_values(self, fill: Any, as_xarray: bool) -> _FillValues:
        """The stored numbers that are missing data: ``_FillValue``, ``missing_value`` and Zarr's fill value.

        NaN says nothing of integers, and xarray drops it. A number that no integer of the type equals is refused, but
        xarray finds that it marks nothing.

        Args:
            fill: Zarr's fill value; None if there is none, or it marks nothing.
            as_xarray: Whether the answer should be that of xarray.

        Raises:
            UndecodableData: A value does not fit the data type.
        """
        is_integer = self._dtype.kind in "iu"
        values = [] if fill is None else [self._as_stored("fill_value", fill)]
        is_named = fill is not None
        for name in ("_FillValue", "missing_value"):
            given = self._numbers(name) if name in self._attributes else []
            numbers = [number for number in given if not (is_integer and math.isnan(number))]
            is_named = is_named or bool(numbers)
            values += [self._as_stored(name, each) for each in numbers if not (as_xarray and self._is_no_integer(each))]
        return _FillValues(values, is_integer and is_named)

    def _is_no_integer(self, value: float) -> bool:
        """Whether no stored integer equals a value, even if both are rounded to float64, as xarray compares them.

        False if ``_Unsigned`` says that the value has another type, which xarray converts.
        """
        if self._dtype.kind not in "iu" or self._dtype != self._declared:
            return False
        info = np.iinfo(self._dtype)
        return not (float(info.min) <= value <= float(info.max) and float(value).is_integer())

    def limits(self) -> tuple[Number | None, Number | None]:
        """The least and the greatest stored number that is valid."""
        if "valid_range" in self._attributes:
            pair = self._numbers("valid_range")
            if len(pair) != 2:
                raise _wrong(self.array, "valid_range", "should be two numbers")
            low, high = pair
        else:
            low, high = (self._number(name) for name in ("valid_min", "valid_max"))
        return self._as_limit(low, math.ceil), self._as_limit(high, math.floor)

    def _as_limit(self, limit: Any, to_integer: Callable[[float], int]) -> Number | None:
        if limit is None or math.isnan(limit):
            return None
        if self._dtype.kind == "f":
            return float(limit)
        info = np.iinfo(self._dtype)
        if math.isinf(limit):
            return None
        if self._dtype.kind == "u" and self._declared.kind == "i" and limit < 0:
            # The attribute has the signed type of the container, and its bits count.
            limit = int(limit) + 2**info.bits
        return int(min(max(to_integer(limit), info.min), info.max))

    def factor(self, name: str) -> Any:
        """``scale_factor`` or ``add_offset``, or None if the variable lacks the attribute.

        A number of JSON is a float of Python, which takes the type of the data. A typed one is a numpy scalar.
        """
        value = _single(self._attributes.get(name))
        if value is None:
            return None
        try:
            number = np.asarray(value)
        except ValueError:
            # Lists of different lengths.
            raise _wrong(self.array, name, "should be one finite number") from None
        if number.ndim or number.dtype.kind not in "iuf" or not np.isfinite(number):
            raise _wrong(self.array, name, "should be one finite number")
        if not isinstance(value, np.generic):
            return float(value)
        return value if isinstance(value, np.float32) else np.float64(value)

    def _number(self, name: str) -> Any:
        if name not in self._attributes:
            return None
        numbers = self._numbers(name)
        if len(numbers) != 1:
            raise _wrong(self.array, name, "should be one number")
        return numbers[0]

    def _numbers(self, name: str) -> list[Any]:
        given = self._attributes[name]
        items = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else None
        if items is None:
            items = list(given.ravel()) if isinstance(given, np.ndarray) else [given]
        return [self._parse(name, item) for item in items]

    def _parse(self, name: str, item: Any) -> Any:
        if isinstance(item, np.generic):
            item = item.item()
        if isinstance(item, str):
            item = self._parse_text(name, item)
        if isinstance(item, bool) or not isinstance(item, int | float):
            raise _wrong(self.array, name, "should be a number")
        try:
            return item if -(2**63) <= item < 2**64 else float(item)
        except OverflowError:
            raise _wrong(self.array, name, "is too large for a number of 64 bits") from None

    def _parse_text(self, name: str, text: str) -> Any:
        """The number that a text stands for in JSON: NaN and the infinities, or the bytes of a float in base64."""
        try:
            return float(text)
        except ValueError:
            pass
        try:
            # xarray writes the _FillValue of floats in Zarr version 3 as the base64 of a float64, little-endian.
            raw = base64.b64decode(text, validate=True)
            return float(np.frombuffer(raw, {4: "<f4", 8: "<f8"}[len(raw)])[0])
        except (ValueError, KeyError):
            raise _wrong(self.array, name, "should be a number") from None

    def _as_stored(self, name: str, value: Any) -> Number:
        """A missing value in the data type of stored numbers."""
        value = value.item() if isinstance(value, np.generic) else value
        if self._dtype.kind == "f":
            with np.errstate(over="ignore"):
                rounded = float(self._dtype.type(value))
            if math.isinf(rounded) and not math.isinf(value):
                raise _wrong(self.array, name, f"does not fit {self._dtype.name}")
            return rounded
        info = np.iinfo(self._dtype)
        if isinstance(value, float) and not value.is_integer():
            raise _wrong(self.array, name, f"does not fit {self._dtype.name}")
        number = int(value)
        if self._dtype.kind == "u" and self._declared.kind == "i" and number < 0:
            number += 2**info.bits
        if self._dtype.kind == "i" and self._declared.kind == "u" and number > info.max:
            number -= 2**info.bits
        if not info.min <= number <= info.max:
            raise _wrong(self.array, name, f"does not fit {self._dtype.name}")
        return number


def _find_packing(names: _Attributes, dtype: str, as_xarray: bool, fills: _FillValues) -> Packing | None:
    stored = DTYPES[dtype]
    if stored.kind not in "iuf":
        return None
    scale, offset = names.factor("scale_factor"), names.factor("add_offset")
    is_packed = scale is not None or offset is not None
    if as_xarray:
        if not is_packed and not fills.makes_floats:
            return None
        if fills.values and all(map(math.isnan, fills.values)):
            # xarray widens data before it looks for missing values, and does not look for NaN.
            return Packing(scale, offset, stored)
        return Packing(scale, offset, _choose_float(stored, scale, offset))
    if not is_packed:
        return None
    return Packing(scale, offset, np.dtype(np.float64))


def _choose_float(stored: Dtype, scale: Any, offset: Any) -> Dtype:
    """The data type of values that xarray chooses (``xarray.coding.variables``)."""
    single, double = np.dtype(np.float32), np.dtype(np.float64)
    if scale is None and offset is None:
        return single if stored.itemsize <= 2 or (stored.kind == "f" and stored.itemsize <= 4) else double
    if offset is None:
        return np.dtype(type(scale))
    scale_dtype = None if scale is None else np.dtype(type(scale))
    if scale_dtype == np.dtype(type(offset)):
        return double if (stored.kind in "iu" and stored.itemsize == 4) or scale_dtype == double else single
    return double


def _join_rules(
    reduction: ArrayReduction, dtype: str, values: list[Number], low: Number | None, high: Number | None
) -> Missing | None:
    """The rules of the container and those of the request together."""
    if reduction.skips_nan and DTYPES[dtype].kind == "f":
        values = [*values, math.nan]
    if reduction.missing:
        asked = Missing.of(reduction.missing, dtype)
        values = [*values, *asked.values]
        low = max((limit for limit in (low, asked.valid_min) if limit is not None), default=None)
        high = min((limit for limit in (high, asked.valid_max) if limit is not None), default=None)
    if low is not None and high is not None and low > high:
        raise InvalidArgument("valid_max", f"{high!r} is below the minimum, {low!r}")
    if not values and low is None and high is None:
        return None
    return Missing(tuple(values), low, high).fitted(dtype)


def _single(value: Any) -> Any:
    """The one item of a list or an array, or the value itself."""
    if isinstance(value, np.ndarray) and value.size == 1:
        return value.reshape(())[()]
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 1:
        return value[0]
    return value


def _wrong(array: str, name: str, reason: str) -> UndecodableData:
    return UndecodableData("attributes", f"{name} of array {array!r} {reason}")

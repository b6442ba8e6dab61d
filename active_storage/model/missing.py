"""The rules for missing data, and how their values are rounded to a data type."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Self

import numpy as np

from active_storage.errors import InvalidArgument, shown
from active_storage.model.dtypes import DTYPES

# The rules for missing data, by their names in a request: the least and the greatest number of their values.
MISSING_RULES: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "missing_value": (1, 1),
        "missing_values": (1, 1024),
        "valid_min": (1, 1),
        "valid_max": (1, 1),
        "valid_range": (2, 2),
    }
)

Number = int | float


@dataclass(frozen=True, slots=True)
class Missing:
    """Which elements are missing: those equal to a value, those below the minimum, and those above the maximum.

    Equal rules are equal objects: values are sorted and unique, and NaN is one value.

    Attributes:
        values: Elements equal to one of them are missing; a NaN among them stands for every NaN.
        valid_min: Elements below it are missing.
        valid_max: Elements above it are missing.

    Raises:
        InvalidArgument: There is no rule, a limit is NaN, or the minimum is above the maximum.
    """

    values: tuple[Number, ...] = ()
    valid_min: Number | None = None
    valid_max: Number | None = None

    def __post_init__(self) -> None:
        numbers = sorted({value for value in self.values if value == value})  # noqa: PLR0124  # only NaN is not itself
        has_nan = any(value != value for value in self.values)  # noqa: PLR0124
        object.__setattr__(self, "values", (*numbers, *((math.nan,) if has_nan else ())))
        for name, limit in (("valid_min", self.valid_min), ("valid_max", self.valid_max)):
            if limit is not None and math.isnan(limit):
                raise InvalidArgument(name, "cannot be NaN")
        if not self.values and self.valid_min is None and self.valid_max is None:
            raise InvalidArgument("missing", f"should have one of {', '.join(MISSING_RULES)}")
        if self.valid_min is not None and self.valid_max is not None and self.valid_min > self.valid_max:
            raise InvalidArgument("valid_max", f"{self.valid_max!r} is below valid_min, {self.valid_min!r}")

    @classmethod
    def of(cls, rules: Mapping[str, Sequence[Number]], dtype: str) -> Self:
        """The rules of a request, combined.

        Args:
            rules: The values of each rule, by a name in ``MISSING_RULES``.
            dtype: The data type of the elements.

        Raises:
            InvalidArgument: A rule has wrong values, or contradicts another.
        """
        fitted = {name: _fit_rule(name, values, dtype) for name, values in rules.items()}
        low: Number | None
        high: Number | None
        if "valid_range" in fitted:
            if beside := fitted.keys() & {"valid_min", "valid_max"}:
                raise InvalidArgument("valid_range", f"cannot be given together with {' and '.join(sorted(beside))}")
            low, high = fitted["valid_range"]
            # The original values are compared, since different values may be rounded to one.
            if not rules["valid_range"][0] < rules["valid_range"][1]:
                raise InvalidArgument("valid_range", f"its minimum, {low!r}, is not below its maximum, {high!r}")
        else:
            low, high = (fitted.get(name, (None,))[0] for name in ("valid_min", "valid_max"))
        return cls((*fitted.get("missing_value", ()), *fitted.get("missing_values", ())), low, high)

    def fitted(self, dtype: str) -> Self:
        """The same rules, with the values rounded to the data type.

        Raises:
            InvalidArgument: The data type cannot hold a value.
        """
        limits = {
            name: None if value is None else _fit(name, value, dtype)
            for name, value in (("valid_min", self.valid_min), ("valid_max", self.valid_max))
        }
        name = "missing_value" if len(self.values) == 1 else "missing_values"
        return replace(self, values=tuple(_fit(name, value, dtype) for value in self.values), **limits)


def _fit_rule(name: str, values: Sequence[Number], dtype: str) -> tuple[Number, ...]:
    if name not in MISSING_RULES:
        raise InvalidArgument("missing", f"has no rule {shown(name)}; the rules are {', '.join(MISSING_RULES)}")
    least, most = MISSING_RULES[name]
    if not least <= len(values) <= most:
        expected = "1 value" if most == 1 else f"{least} values" if least == most else f"{least} to {most} values"
        raise InvalidArgument(name, f"should have {expected}, and has {len(values)}")
    return tuple(_fit(name, value, dtype, index if most > 1 else None) for index, value in enumerate(values))


def _fit(name: str, value: Number, dtype: str, index: int | None = None) -> Number:
    """A value as the data type holds it: rounded for a float type, and an integer for the others.

    numpy, C and GDAL print the lowest float32 as -3.4028235e+38, which is slightly below it, and is rounded to it. Only
    a value that is rounded to infinity is out of range.

    Raises:
        InvalidArgument: The data type cannot hold it.
    """
    known = DTYPES[dtype]
    if known.kind == "c":
        raise InvalidArgument(name, f"is not supported for {dtype}")
    if known.kind == "f":
        rounded = _round(value, known)
        if math.isinf(rounded) and not (isinstance(value, float) and math.isinf(value)):
            raise InvalidArgument(name, f"{value!r} is out of range for {dtype}", index)
        # Removes the sign of zero.
        return rounded + 0.0
    if isinstance(value, float):
        if not value.is_integer():
            raise InvalidArgument(name, f"{value!r} is not an integer, as {dtype} requires", index)
        value = int(value)
    lowest, highest = (0, 1) if known.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    if not lowest <= value <= highest:
        raise InvalidArgument(name, f"{value} is out of range for {dtype}", index)
    return value


def _round(value: Number, dtype: np.dtype[np.generic]) -> float:
    try:
        with np.errstate(over="ignore"):
            return float(np.asarray(float(value)).astype(dtype))
    except OverflowError:
        # An integer beyond float64.
        return math.inf

"""What is asked for: a reduction and its parts. To build one is to validate it.

A ``ReductionSpec`` that exists is valid, so nothing below the doors checks again. The tables of data types, reducers
and codecs stand here; what computes them stands in ``core/``. Standard library and numpy only: the client shares it.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, Self, get_args

import numpy as np

from handler.codecs import CODECS, Value, find_id
from handler.errors import InvalidArgument, InvalidCodec, InvalidRange, UnknownReducer, shown

ByteOrder = Literal["little", "big"]
Order = Literal["C", "F"]
_BYTE_ORDERS, _ORDERS = get_args(ByteOrder), get_args(Order)

# The data types, in the machine's byte order.
DTYPES: Mapping[str, np.dtype[np.generic]] = MappingProxyType(
    {
        name: np.dtype(name)
        for name in (
            "int8", "int16", "int32", "int64",
            "uint8", "uint16", "uint32", "uint64",
            "float16", "float32", "float64",
            "bool", "complex64", "complex128",
        )
    }
)  # fmt: skip

# Kinds of numpy's data types: b bool, i and u integers, f floats, c complex.
_REAL = "biuf"


@dataclass(frozen=True, slots=True)
class ReducerRule:
    """What a caller can know of a reducer without computing it.

    Attributes:
        result_dtype: The result's data type, None where it is the request's.
        widens: Where True, integers and bools give float64.
        kinds: The kinds of data types that it takes.
        leading: A further first dimension of the result, of that size; 0 for none.
        one_axis: Whether it reduces along one axis or all, nothing between.
        takes_ddof: Whether ``ddof`` means something to it.
        needs_elements: Whether it has no value for no elements at all.
        keeps_elements: Whether it gives the elements that are selected, whatever the axis.
    """

    result_dtype: str | None = None
    widens: bool = False
    kinds: str = _REAL
    leading: int = 0
    one_axis: bool = False
    takes_ddof: bool = False
    needs_elements: bool = False
    keeps_elements: bool = False


REDUCERS: Mapping[str, ReducerRule] = MappingProxyType(
    {
        "count": ReducerRule(result_dtype="int64", kinds=_REAL + "c"),
        "max": ReducerRule(needs_elements=True),
        "min": ReducerRule(needs_elements=True),
        "sum": ReducerRule(kinds=_REAL + "c"),
        "select": ReducerRule(kinds=_REAL + "c", keeps_elements=True),
        "mean": ReducerRule(widens=True, kinds=_REAL + "c"),
        "var": ReducerRule(widens=True, takes_ddof=True),
        "std": ReducerRule(widens=True, takes_ddof=True),
        "argmax": ReducerRule(result_dtype="int64", one_axis=True, needs_elements=True),
        "argmin": ReducerRule(result_dtype="int64", one_axis=True, needs_elements=True),
        "any": ReducerRule(result_dtype="bool"),
        "all": ReducerRule(result_dtype="bool"),
        "stats": ReducerRule(result_dtype="float64", leading=5),
    }
)

# What a sum can be added up in and returned as, where it is not the type of its elements.
SUM_DTYPES = ("int64", "uint64", "float64")

# What can be named as compression, and what stands among the filters only; see ``codecs.py``.
COMPRESSIONS = tuple(name for name, row in CODECS.items() if row.compresses)
FILTERS = tuple(name for name, row in CODECS.items() if not row.compresses)

# The largest array whose bytes S3 and a 64-bit machine can count.
MAX_BYTES = 2**63 - 1

# Blosc and numcodecs know none larger; HDF5's longest numbers are of 16 bytes.
_MAX_ELEMENT_BYTES = 4096

# Its name, and numcodecs' name of it.
_ELEMENT_SIZES = ("element_size", "elementsize")

# numpy's own limit.
MAX_DIMENSIONS = 32

# Far above any number of elements, and far enough below 2**63 that what is left of one can be counted in int64.
_MAX_DDOF = 2**62


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Which bytes of an object, in the three forms of RFC 9110, section 14.1.2.

    Attributes:
        first: The first byte, None for a suffix range.
        last: The last byte, included, None for the rest of the object. In a suffix range, how many bytes from the end.

    Raises:
        InvalidArgument: A bound is negative, or the last byte lies before the first.
    """

    first: int | None
    last: int | None

    def __post_init__(self) -> None:
        if self.first is None and self.last is None:
            raise InvalidArgument("Range", "has neither a first nor a last byte")
        if any(bound is not None and bound < 0 for bound in (self.first, self.last)):
            raise InvalidArgument("Range", "bounds cannot be negative")
        if self.first is not None and self.last is not None and self.last < self.first:
            raise InvalidArgument("Range", f"ends at byte {self.last}, before it starts at byte {self.first}")

    def resolve(self, total: int) -> tuple[int, int]:
        """The span (start, stop), stop excluded, in an object of ``total`` bytes, cut at its end as S3 cuts it.

        Raises:
            InvalidRange: No byte of the object is in the range.
        """
        if self.first is None:
            start, stop = max(0, total - (self.last or 0)), total
        else:
            start, stop = self.first, total if self.last is None else min(self.last + 1, total)
        if start >= stop:
            raise InvalidRange(f"the range selects no byte of an object of {total} bytes", length=total)
        return start, stop


@dataclass(frozen=True, slots=True)
class Slice:
    """numpy's ``start:stop:step`` of one dimension; any part may be None.

    Raises:
        InvalidArgument: The step is 0.
    """

    start: int | None = None
    stop: int | None = None
    step: int | None = None

    def __post_init__(self) -> None:
        if self.step == 0:
            raise InvalidArgument("selection", "a step cannot be 0")

    def resolve(self, size: int) -> range:
        """The indices that it selects of a dimension of ``size``, clamped and counted from the end as in Python."""
        return range(*slice(self.start, self.stop, self.step).indices(size))


# The rules for missing data, by their names in a request: how many values each takes at least and at most.
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
    """Which elements are missing: those equal to one of the values, those below the minimum, those above the maximum.

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
            raise InvalidArgument("missing", f"needs one of {', '.join(MISSING_RULES)}")
        if self.valid_min is not None and self.valid_max is not None and self.valid_min > self.valid_max:
            raise InvalidArgument("valid_max", f"{self.valid_max!r} is below the minimum, {self.valid_min!r}")

    @classmethod
    def of(cls, rules: Mapping[str, Sequence[Number]], dtype: str) -> Self:
        """The rules of a request, all of which hold at once.

        Args:
            rules: The values of each rule, by a name in ``MISSING_RULES``.
            dtype: The data type that they are about.

        Raises:
            InvalidArgument: A rule has values that it cannot have, or contradicts another.
        """
        fitted = {name: _fit_rule(name, values, dtype) for name, values in rules.items()}
        low: Number | None
        high: Number | None
        if "valid_range" in fitted:
            if beside := fitted.keys() & {"valid_min", "valid_max"}:
                raise InvalidArgument("valid_range", f"cannot be given together with {' and '.join(sorted(beside))}")
            low, high = fitted["valid_range"]
            # Of the values as they were given: two that differ may be rounded to one.
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
        raise InvalidArgument("missing", f"there is no rule {shown(name)}; there are {', '.join(MISSING_RULES)}")
    least, most = MISSING_RULES[name]
    if not least <= len(values) <= most:
        expected = str(least) if least == most else f"{least} to {most}"
        raise InvalidArgument(name, f"takes {expected} values, not {len(values)}")
    return tuple(_fit(name, value, dtype, place if most > 1 else None) for place, value in enumerate(values))


def _fit(name: str, value: Number, dtype: str, place: int | None = None) -> Number:
    """A value as the data type holds it: rounded to a float type, and whole for the others.

    The lowest float32 is printed as -3.4028235e+38 by numpy, C and GDAL, which is below it and is rounded to it: only
    what is rounded to infinity is out of range.

    Raises:
        InvalidArgument: The data type cannot hold it.
    """
    known = DTYPES[dtype]
    if known.kind == "c":
        raise InvalidArgument(name, f"is not supported for {dtype}")
    if known.kind == "f":
        rounded = _round(value, known)
        if math.isinf(rounded) and not (isinstance(value, float) and math.isinf(value)):
            raise InvalidArgument(name, f"{value!r} is out of range for {dtype}", place)
        # Zero without a sign.
        return rounded + 0.0
    if isinstance(value, float):
        if not value.is_integer():
            raise InvalidArgument(name, f"{value!r} is not a whole number, as {dtype} needs", place)
        value = int(value)
    lowest, highest = (0, 1) if known.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    if not lowest <= value <= highest:
        raise InvalidArgument(name, f"{value} is out of range for {dtype}", place)
    return value


def _round(value: Number, dtype: np.dtype[np.generic]) -> float:
    try:
        with np.errstate(over="ignore"):
            return float(np.asarray(float(value)).astype(dtype))
    except OverflowError:
        # A whole number beyond float64.
        return math.inf


@dataclass(frozen=True, slots=True)
class Filter:
    """A step that is undone: a row of ``CODECS`` and its parameters. ``compression`` is one, too.

    Attributes:
        id: A name in ``CODECS``; another name of the same is replaced by it.
        element_size: In bytes; None for the data type's.
        parameters: Pairs of name and value. Those that only writers need and those that say the default are left out,
            and the rest stand in the table's order: equal steps are then equal.

    Raises:
        InvalidCodec: The codec is unknown, or a parameter has a wrong name or value.
    """

    id: str
    element_size: int | None = None
    parameters: tuple[tuple[str, Value], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", find_id(self.id))
        if self.id not in CODECS:
            known = ", ".join(FILTERS + COMPRESSIONS)
            raise InvalidCodec(self.id, "id", f"no filter {shown(self.id)}; there are {known}")
        size = self.element_size
        if size is not None and not 1 <= size <= _MAX_ELEMENT_BYTES:
            raise InvalidCodec(self.id, "element_size", f"an element of {size} bytes does not exist")
        object.__setattr__(self, "parameters", _normal_parameters(self))

    @classmethod
    def of(cls, name: str, members: Mapping[str, Any]) -> Self:
        """The step of that name with parameters of any type, ``element_size`` among them, also as numcodecs writes it.

        Raises:
            InvalidCodec: As the class.
        """
        rest = {key: value for key, value in members.items() if key not in _ELEMENT_SIZES}
        sizes = [members[key] for key in _ELEMENT_SIZES if key in members]
        if len(sizes) > 1 or any(type(size) is not int for size in sizes):
            raise InvalidCodec(name, "element_size", "should be one whole number")
        return cls(name, sizes[0] if sizes else None, tuple(rest.items()))

    def value(self, name: str) -> Value | None:
        """The value of a parameter, its default where it was not given."""
        return dict(self.parameters).get(name, CODECS[self.id].parameters[name].default)


def _normal_parameters(step: Filter) -> tuple[tuple[str, Value], ...]:
    row = CODECS[step.id]
    given = dict(step.parameters)
    if len(given) != len(step.parameters):
        raise InvalidCodec(step.id, "parameters", "has one twice")
    for name in given:
        if name not in row.parameters and name not in row.writer:
            known = ", ".join(("element_size", *row.parameters))
            raise InvalidCodec(step.id, name, f"is not one of its parameters, which are: {known}")
    normal = []
    for name, parameter in row.parameters.items():
        if name not in given:
            if parameter.is_required:
                raise InvalidCodec(step.id, name, "is needed")
            continue
        try:
            value = parameter.check(given[name])
        except ValueError as fault:
            raise InvalidCodec(step.id, name, str(fault)) from None
        if value != parameter.default:
            normal.append((name, value))
    return tuple(normal)


@dataclass(frozen=True, slots=True)
class ReductionSpec:
    """A reduction: what to compute, of numbers of which type, in which bytes, arranged how.

    Attributes:
        reducer: A name in ``REDUCERS``.
        dtype: A name in ``DTYPES``.
        byte_order: The source's; a result is always little-endian.
        shape: The array's; None for one dimension, as long as there are elements.
        order: Of the source in memory, and of a result that is not reduced.
        selection: A slice a dimension, applied before the reduction; None for everything.
        axis: The axes that are reduced over, ascending, from the front; None for all, () for none.
        offset: Where the data begins in the object, in bytes.
        size: How many bytes of the object it takes, as stored; None for the rest.
        compression: What it is decompressed with, of ``COMPRESSIONS``; None for nothing. A name alone becomes a step
            without parameters.
        filters: What was done before compressing it, in that order; undone in reverse.
        missing: Which elements are missing; None where all count.
        sum_dtype: The data type in which a ``sum`` is added up and returned, a name in ``SUM_DTYPES``; None for the
            reducer's own.
        ddof: Of ``var`` and ``std``: what is taken from the number of elements to divide by.
        range: The bytes of the object that hold the data, in place of ``offset`` and ``size``.

    Raises:
        UnknownReducer: There is no reducer of that name.
        InvalidArgument: A part has a value that it cannot have; its ``field`` names the part.
    """

    reducer: str
    dtype: str
    byte_order: ByteOrder = sys.byteorder
    _: KW_ONLY
    shape: tuple[int, ...] | None = None
    order: Order = "C"
    selection: tuple[Slice, ...] | None = None
    axis: tuple[int, ...] | None = None
    offset: int = 0
    size: int | None = None
    compression: Filter | str | None = None
    filters: tuple[Filter, ...] = ()
    missing: Missing | None = None
    sum_dtype: str | None = None
    ddof: int = 0
    range: ByteRange | None = None

    def __post_init__(self) -> None:
        _ensure_kind(self)
        _ensure_bytes(self)
        _ensure_arrangement(self)
        object.__setattr__(self, "axis", _normal_axis(self))
        object.__setattr__(self, "compression", _normal_compression(self))
        if self.missing is not None:
            object.__setattr__(self, "missing", self.missing.fitted(self.dtype))
        object.__setattr__(self, "sum_dtype", _normal_sum_dtype(self))
        if self.ddof and not REDUCERS[self.reducer].takes_ddof:
            raise InvalidArgument("ddof", f"means nothing to {self.reducer}")
        if abs(self.ddof) > _MAX_DDOF:
            raise InvalidArgument("ddof", "is more than there are elements in any object")

    @property
    def element_bytes(self) -> int:
        """The size of one element, in bytes."""
        return DTYPES[self.dtype].itemsize

    @property
    def dimensions(self) -> int:
        """How many dimensions the array has."""
        return 1 if self.shape is None else len(self.shape)

    @property
    def reduced_axes(self) -> tuple[int, ...]:
        """The axes that the result lacks, ascending."""
        if REDUCERS[self.reducer].keeps_elements:
            return ()
        return tuple(range(self.dimensions)) if self.axis is None else self.axis

    @property
    def codec(self) -> Filter | None:
        """What it is decompressed with."""
        return Filter(self.compression) if isinstance(self.compression, str) else self.compression

    @property
    def codec_id(self) -> str | None:
        """The id of what it is decompressed with."""
        return None if self.codec is None else self.codec.id

    @property
    def steps(self) -> tuple[Filter, ...]:
        """All that was done to the elements, in the order of writing."""
        return self.filters if self.codec is None else (*self.filters, self.codec)

    @property
    def is_encoded(self) -> bool:
        """Whether the bytes as stored are not the elements."""
        return self.compression is not None or bool(self.filters)

    @property
    def result_dtype(self) -> str:
        """The result's data type, a name in ``DTYPES``."""
        return self.sum_dtype or _own_result_dtype(self)


def _ensure_kind(spec: ReductionSpec) -> None:
    if spec.reducer not in REDUCERS:
        raise UnknownReducer(f"no reducer {shown(spec.reducer)}; there are {', '.join(REDUCERS)}")
    if spec.dtype not in DTYPES:
        raise InvalidArgument("dtype", f"no data type {shown(spec.dtype)}; there are {', '.join(DTYPES)}")
    if DTYPES[spec.dtype].kind not in REDUCERS[spec.reducer].kinds:
        raise InvalidArgument("dtype", f"{spec.reducer} is not known of {spec.dtype}")
    if spec.byte_order not in _BYTE_ORDERS:
        raise InvalidArgument("byte_order", f"is {shown(spec.byte_order)}, not 'little' or 'big'")
    if spec.order not in _ORDERS:
        raise InvalidArgument("order", f"is {shown(spec.order)}, not 'C' or 'F'")


def _ensure_bytes(spec: ReductionSpec) -> None:
    if not 0 <= spec.offset <= MAX_BYTES:
        raise InvalidArgument("offset", "is not a position in an object")
    if spec.size is not None and not 1 <= spec.size <= MAX_BYTES:
        raise InvalidArgument("size", "is not a number of bytes above 0")
    if spec.range is not None and (spec.offset or spec.size is not None):
        raise InvalidArgument("Range", "cannot be given together with offset or size")
    if spec.offset + (spec.size or 0) > MAX_BYTES:
        raise InvalidArgument("size", "reaches further than any object does")


def _ensure_arrangement(spec: ReductionSpec) -> None:
    if spec.shape is not None:
        if len(spec.shape) > MAX_DIMENSIONS:
            raise InvalidArgument("shape", f"has {len(spec.shape)} dimensions; the maximum is {MAX_DIMENSIONS}")
        for place, size in enumerate(spec.shape):
            if size < 1:
                raise InvalidArgument("shape", f"{size} is not a size above 0", place)
        data_bytes = math.prod(spec.shape) * spec.element_bytes
        if data_bytes > MAX_BYTES:
            raise InvalidArgument("shape", "is of more bytes than can be counted")
        if not spec.is_encoded and spec.offset + data_bytes > MAX_BYTES:
            raise InvalidArgument("shape", "reaches further than any object does")
        if spec.size is not None and not spec.is_encoded and spec.size != data_bytes:
            raise InvalidArgument("size", f"is {spec.size} bytes, the shape's elements are {data_bytes}")
    if spec.selection is not None and len(spec.selection) != spec.dimensions:
        raise InvalidArgument("selection", f"is of {len(spec.selection)} dimensions, the shape of {spec.dimensions}")


def _normal_axis(spec: ReductionSpec) -> tuple[int, ...] | None:
    if spec.axis is None:
        return None
    count = spec.dimensions
    if any(not -count <= axis < count for axis in spec.axis):
        raise InvalidArgument("axis", f"names an axis that an array of {count} dimensions does not have")
    normal = tuple(sorted(axis % count for axis in spec.axis))
    if len(set(normal)) != len(normal):
        raise InvalidArgument("axis", "names an axis twice")
    if REDUCERS[spec.reducer].one_axis and len(normal) != 1:
        raise InvalidArgument("axis", f"of {spec.reducer} is one, or left out")
    return normal


def _own_result_dtype(spec: ReductionSpec) -> str:
    rule = REDUCERS[spec.reducer]
    if rule.widens and DTYPES[spec.dtype].kind in "biu":
        return "float64"
    return rule.result_dtype or spec.dtype


def _normal_sum_dtype(spec: ReductionSpec) -> str | None:
    if spec.sum_dtype is None:
        return None
    if spec.reducer != "sum":
        raise InvalidArgument("result_dtype", f"is a parameter of sum, not of {spec.reducer}")
    if spec.sum_dtype not in SUM_DTYPES:
        raise InvalidArgument("result_dtype", f"is {shown(spec.sum_dtype)}, not one of {', '.join(SUM_DTYPES)}")
    # numpy's rule: every value of the first type is one of the second, but for the rounding of int64 to float64.
    if not np.can_cast(DTYPES[spec.dtype], DTYPES[spec.sum_dtype], "safe"):
        raise InvalidArgument("result_dtype", f"{spec.sum_dtype} cannot hold the values of {spec.dtype}")
    return None if spec.sum_dtype == _own_result_dtype(spec) else spec.sum_dtype


def _normal_compression(spec: ReductionSpec) -> Filter | None:
    try:
        codec = spec.codec
    except InvalidCodec as fault:
        raise fault.within("compression") from None
    if codec is not None and codec.id not in COMPRESSIONS:
        known = ", ".join(COMPRESSIONS)
        raise InvalidCodec(codec.id, "id", f"no codec {shown(codec.id)}; there are {known}", "compression")
    return codec

"""The table of parameters: the parser and the printer of each."""

import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from active_storage.errors import InvalidArgument, InvalidCodec, shown
from active_storage.model.codecs import CODECS, COMPRESSIONS, find_id, format_value
from active_storage.model.dtypes import DTYPES, ByteOrder
from active_storage.model.missing import MISSING_RULES, Missing
from active_storage.model.ranges import Slice
from active_storage.model.steps import Step

# The numbers of C's strtod and numpy, without Python's underscores and white space.
_NUMBER_RE = re.compile(r"[+-]?([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?inf|nan", re.ASCII | re.IGNORECASE)

# Enough digits for 64 bits.
INTEGER_RE = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)

# numpy's type strings without their byte order, such as "f4".
_TYPE_STRINGS: Mapping[str, str] = MappingProxyType({dtype.str[1:]: name for name, dtype in DTYPES.items()})

_TYPE_STRING_RE = re.compile(r"(?P<mark>[<>|=]?)(?P<code>[a-z][0-9]+)", re.ASCII)

_ORDER_MARKS: Mapping[str, ByteOrder] = MappingProxyType({"<": "little", ">": "big", "=": sys.byteorder})


def parse_dtype(text: str) -> tuple[str, ByteOrder | None]:
    """A data type and its byte order; None if the text has no byte order.

    Accepts the names of ``DTYPES`` and numpy's type strings, such as ``<f4``, ``>i2``, ``f8`` and ``|u1`` ("The array
    interface protocol", numpy reference, ``typestr``). Single bytes have no order. Any other text is returned
    unchanged, and the spec refuses it.
    """
    if text in DTYPES:
        return text, None
    match = _TYPE_STRING_RE.fullmatch(text)
    name = _TYPE_STRINGS.get(match["code"]) if match else None
    if match is None or name is None:
        return text, None
    mark, is_single = match["mark"], DTYPES[name].itemsize == 1
    if mark == "|" and not is_single:
        return text, None
    return name, None if is_single else _ORDER_MARKS.get(mark)


def split_items(text: str) -> list[str]:
    """The items of a comma-separated list; none if the text is empty."""
    return text.split(",") if text else []


def parse_integer(name: str, text: str) -> int:
    """The integer that a text is.

    Raises:
        InvalidArgument: It is not one; ``name`` is the error's field.
    """
    if not INTEGER_RE.fullmatch(text):
        raise InvalidArgument(name, f"{shown(text)} is not an integer")
    return int(text)


def _parse_integers(name: str, text: str) -> tuple[int, ...]:
    return tuple(parse_integer(name, item) for item in split_items(text))


def parse_number(name: str, text: str) -> int | float:
    """The number that a text is.

    Raises:
        InvalidArgument: It is not one; ``name`` is the error's field.
    """
    if INTEGER_RE.fullmatch(text):
        return int(text)
    match = _NUMBER_RE.fullmatch(text)
    if not match:
        raise InvalidArgument(name, f"{shown(text)} is not a number")
    number = float(text)
    # A number beyond float64 would become infinity, and mark other elements as missing.
    if match[1] and math.isinf(number):
        raise InvalidArgument(name, f"{shown(text)} is out of range for every data type")
    return number


def parse_slice(text: str) -> Slice:
    """The slice that ``start:stop`` or ``start:stop:step`` is.

    Raises:
        InvalidArgument: The text has another form.
    """
    bounds = text.split(":")
    if not 2 <= len(bounds) <= 3:
        raise InvalidArgument("selection", f"{shown(text)} is not of the form start:stop or start:stop:step")
    return Slice(*(parse_integer("selection", bound) if bound else None for bound in bounds))


def format_slice(chosen: Slice) -> str:
    """The text of a slice; ``parse_slice`` reads it back."""
    start, stop, step = ("" if bound is None else str(bound) for bound in (chosen.start, chosen.stop, chosen.step))
    return f"{start}:{stop}:{step}" if step else f"{start}:{stop}"


def _parse_step(name: str, text: str) -> Step:
    codec, *items = text.split(":")
    size = items.pop(0) if items and "=" not in items[0] else None
    parameters: list[tuple[str, Any]] = []
    for item in items:
        member, equals, value = item.partition("=")
        if not equals:
            raise InvalidArgument(name, f"{shown(text)} is not of the form id:element_size:parameter=value")
        parameters.append((member, _parse_value(codec, member, value)))
    try:
        return Step(codec, None if size is None else parse_integer(name, size), tuple(parameters))
    except InvalidCodec as fault:
        raise fault.within(name) from None


def _parse_filters(name: str, text: str) -> tuple[Step, ...]:
    return tuple(_parse_step(name, item) for item in split_items(text))


def _parse_compression(name: str, text: str) -> tuple[Step, ...]:
    step = _parse_step(name, text)
    ensure_compresses(step)
    return (step,)


def ensure_compresses(step: Step) -> None:
    """Pass if a step can be the compression.

    Raises:
        InvalidCodec: It can be a filter only.
    """
    if step.id not in COMPRESSIONS:
        raise InvalidCodec(
            step.id,
            "id",
            f"{shown(step.id)} is a filter, not a compression; the compressions are {', '.join(COMPRESSIONS)}",
            "compression",
        )


def _parse_value(codec: str, member: str, text: str) -> object:
    """The value of a parameter; the text itself if it cannot be parsed, so that the step refuses it."""
    row = CODECS.get(find_id(codec))
    if row is None or member not in row.parameters:
        return text
    try:
        return row.parameters[member].parse(text)
    except ValueError:
        return text


def _format_step(step: Step) -> str:
    size = [] if step.element_size is None else [str(step.element_size)]
    return ":".join([step.id, *size, *(f"{name}={format_value(value)}" for name, value in step.parameters)])


def _split_steps(steps: tuple[Step, ...]) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """The filters, and the compression: the last step, if it compresses."""
    count = len(steps) - 1 if steps and steps[-1].id in COMPRESSIONS else len(steps)
    return steps[:count], steps[count:]


def _format_filters(name: str, steps: tuple[Step, ...]) -> str | None:
    return _format_joined(name, map(_format_step, _split_steps(steps)[0])) or None


def _format_compression(name: str, steps: tuple[Step, ...]) -> str | None:
    return _format_joined(name, map(_format_step, _split_steps(steps)[1])) or None


def parse_numbers(name: str, text: str) -> tuple[int | float, ...]:
    """The numbers of a comma-separated list.

    Raises:
        InvalidArgument: An item is not a number; ``name`` is the error's field.
    """
    return tuple(parse_number(name, item) for item in split_items(text))


def format_number(number: float) -> str:
    """The text of a number. Equal numbers have equal text: 1.0 is 1, and -0.0 is 0."""
    if math.isfinite(number) and number == int(number) and INTEGER_RE.fullmatch(text := str(int(number))):
        return text
    return repr(float(number))


def format_numbers(numbers: Iterable[float] | None) -> str | None:
    """The text of several numbers; None for None."""
    return None if numbers is None else ",".join(map(format_number, numbers))


def _format_missing(name: str, missing: Missing | None) -> str | None:
    """The text of one rule. Equal rules have equal text."""
    if missing is None:
        return None
    is_one = len(missing.values) == 1
    written: Mapping[str, Sequence[int | float | None]] = {
        "missing_value": missing.values if is_one else (),
        "missing_values": () if is_one else missing.values,
        "valid_min": (missing.valid_min,),
        "valid_max": (missing.valid_max,),
    }
    values = [repr(value) for value in written.get(name, ()) if value is not None]
    return ",".join(values) if values else None


def _format_joined(_: str, values: Iterable[Any] | None) -> str | None:
    return None if values is None else ",".join(map(str, values))


def _format_plain(_: str, value: object) -> str | None:
    return None if value is None else str(value)


def _unless_default(default: object) -> Callable[[str, Any], str | None]:
    return lambda _, value: None if value == default else str(value)


class Parameter(NamedTuple):
    """The parser and the printer of a parameter.

    Attributes:
        field: Its field in the spec.
        parse: The value from name and text.
        format: The text from name and value; None if the value is the default.
    """

    field: str
    parse: Callable[[str, str], Any]
    format: Callable[[str, Any], str | None]


_MISSING = Parameter("missing", parse_numbers, _format_missing)

# The parameters of the segment or the query, by name.
PARAMETERS: Mapping[str, Parameter] = MappingProxyType(
    {
        "byte_order": Parameter("byte_order", lambda _, text: text, _format_plain),
        "shape": Parameter("shape", _parse_integers, _format_joined),
        "order": Parameter("order", lambda _, text: text, _unless_default("C")),
        "selection": Parameter(
            "selection",
            lambda _, text: tuple(parse_slice(item) for item in split_items(text)),
            lambda name, chosen: None if chosen is None else _format_joined(name, map(format_slice, chosen)),
        ),
        "axis": Parameter("axis", _parse_integers, _format_joined),
        "offset": Parameter("offset", parse_integer, _unless_default(0)),
        "size": Parameter("size", parse_integer, _format_plain),
        "compression": Parameter("steps", _parse_compression, _format_compression),
        "filters": Parameter("steps", _parse_filters, _format_filters),
        **dict.fromkeys(MISSING_RULES, _MISSING),
        "result_dtype": Parameter("sum_dtype", lambda _, text: text, _format_plain),
        "ddof": Parameter("ddof", parse_integer, _unless_default(0)),
        "edges": Parameter("edges", parse_numbers, lambda _, edges: format_numbers(edges)),
    }
)

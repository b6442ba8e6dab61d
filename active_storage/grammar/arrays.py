"""Whole arrays: from ``zarr;axis=time;selection=0:120,:,::2`` to an ``ArrayReduction``, and back.

A container stands where the data type would. Shape, data type and encoding are the array's own, so that only the
parameters of the table below mean something.

    selection  = position *( "," position ) / slice *( "," slice )
    position   = [start] ":" [stop] [ ":" [step] ]       one for each dimension, as for objects
    slice      = dimension ":" position                  any dimensions; the others are whole
    dimension  = integer / name
    where      = place *( "," place )
    place      = coordinate ":" ( [low] ".." [high] / value / "~" value ) [":cyclic"]
    group      = coordinate [ ":" ( part / period ) ]      month, year-month; 30D
    weights    = "cos:" coordinate / array
    expr       = an expression, as in ``expressions.py``

Bounds are numbers or dates, which can have colons. A name is decoded text without ``, ; : =``. A text of digits is the
number of a dimension. In a selection such a number needs the step's colon, as in ``0:3:20:``, since ``0:3:20`` is a
position.
"""

import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from active_storage.errors import InvalidArgument, shown
from active_storage.grammar.expressions import parse_expression
from active_storage.grammar.parameters import (
    INTEGER_RE,
    format_number,
    format_numbers,
    format_slice,
    parse_integer,
    parse_number,
    parse_numbers,
    parse_slice,
    split_items,
)
from active_storage.model.array_reduction import CONTAINER_TYPES, THRESHOLDS, ArrayReduction
from active_storage.model.coordinates import ArrayWeights, Between, CosineWeights, Group, Nearest, Where
from active_storage.model.expression import format_expression
from active_storage.model.missing import MISSING_RULES, Number
from active_storage.model.quantiles import DEFAULT_METHOD
from active_storage.model.ranges import Slice

# What services name among their parameters if ``group`` can have values of the caller's, which no text has.
GROUP_VALUES = "group.values"

# How a result has its counts: another member of bodies only.
COUNTS = "counts"

# What separates the parts of a segment, so that a name in it cannot have them.
_SEPARATORS = frozenset(",;:=")

_DIGITS_RE = re.compile(r"[+-]?[0-9]+", re.ASCII)

_CYCLIC = ":cyclic"

_COSINE = "cos:"

_BOOLEANS = MappingProxyType({"true": True, "false": False})


class ArrayParameter(NamedTuple):
    """The parser and the printer of a parameter.

    Attributes:
        parse: The fields of the reduction from the text.
        format: The text from the reduction; None if the value is the default.
    """

    parse: Callable[[str], dict[str, Any]]
    format: Callable[[ArrayReduction], str | None]


def names_container(texts: Mapping[str, str]) -> bool:
    """Whether the texts of a request name a container where a data type could stand."""
    return texts.get("dtype") in CONTAINER_TYPES


def build_array_reduction(texts: Mapping[str, str]) -> ArrayReduction:
    """The reduction that texts ask for. ``names_container`` is true of them.

    Args:
        texts: Reducer, container and parameters, as texts by name.

    Raises:
        UnknownReducer: There is no reducer of that name.
        InvalidArgument: A parameter is absent, has a wrong value, or means nothing with a container.
    """
    if "reducer" not in texts:
        raise InvalidArgument("reducer", "is required")
    name = texts["dtype"]
    container = CONTAINER_TYPES[name]
    if container == "table":
        raise InvalidArgument("dtype", "a table of chunks is sent in the body of POST /arrays/v1/reducer")
    parameters = {known: text for known, text in texts.items() if known not in ("reducer", "dtype")}
    for parameter in parameters:
        if parameter not in ARRAY_PARAMETERS:
            raise InvalidArgument(parameter, f"means nothing with {name}: an array has its own shape and encoding")
    if container == "zarr" and "var" in parameters:
        raise InvalidArgument("var", "means nothing with zarr: the key is the path of the array")
    if container != "zarr" and "var" not in parameters:
        raise InvalidArgument("var", f"is required with {name}: the path of the variable in the file")
    fields: dict[str, Any] = {}
    missing: dict[str, tuple[Number, ...]] = {}
    thresholds: dict[str, Number] = {}
    for parameter, text in parameters.items():
        parsed = ARRAY_PARAMETERS[parameter].parse(text)
        missing |= parsed.pop("missing", {})
        thresholds |= parsed.pop("thresholds", {})
        fields |= parsed
    return ArrayReduction(texts["reducer"], container, **fields, missing=missing, thresholds=thresholds)


def format_array_reduction(reduction: ArrayReduction) -> str:
    """The decoded ``reducer/segment`` of ``reduction``."""
    return f"{reduction.reducer}/{format_array_segment(reduction)}"


def format_array_segment(reduction: ArrayReduction) -> str:
    """The decoded segment of ``reduction``. Equal reductions have equal text."""
    texts = ((name, parameter.format(reduction)) for name, parameter in ARRAY_PARAMETERS.items())
    return ";".join([reduction.container, *(f"{name}={text}" for name, text in texts if text is not None)])


def parse_array_path(field: str, text: str) -> str:
    """The path of an array in its container, with or without a slash at its beginning.

    Raises:
        InvalidArgument: It names no array, or has a semicolon, which would end it in a segment.
    """
    path = text.removeprefix("/")
    if not path:
        raise InvalidArgument(field, "names no array; in the path of a URL, write %2F in place of a slash")
    if ";" in path:
        raise InvalidArgument(field, "has a semicolon, which is not supported")
    return path


def parse_dimension(field: str, text: str) -> int | str:
    """A dimension: its number if the text is one, else its name.

    Raises:
        InvalidArgument: The text can be neither.
    """
    if _DIGITS_RE.fullmatch(text):
        return parse_integer(field, text)
    if not text or not _SEPARATORS.isdisjoint(text):
        problem = f"{shown(text)} cannot be the name of a dimension" if text else "has an empty name"
        raise InvalidArgument(field, f"{problem}; a dimension can be named by its number")
    return text


def _parse_axis(text: str) -> dict[str, Any]:
    return {"axis": tuple(parse_dimension("axis", item) for item in split_items(text))}


def _format_axis(reduction: ArrayReduction) -> str | None:
    return None if reduction.axis is None else ",".join(map(str, reduction.axis))


def _parse_selection(text: str) -> dict[str, Any]:
    items = [_parse_selection_item(item) for item in split_items(text)]
    if all(dimension is None for dimension, _ in items):
        return {"selection": {number: chosen for number, (_, chosen) in enumerate(items)}, "is_complete": True}
    selection: dict[int | str, Slice] = {}
    for dimension, chosen in items:
        if dimension is None:
            raise InvalidArgument("selection", "has slices by position and by name; give all of them in one way")
        if dimension in selection:
            raise InvalidArgument("selection", f"names the dimension {shown(str(dimension))} twice")
        selection[dimension] = chosen
    return {"selection": selection}


def _parse_selection_item(item: str) -> tuple[int | str | None, Slice]:
    """A dimension and its slice; None for a slice by position."""
    first, _, rest = item.partition(":")
    if item.count(":") < 3 and (not first or INTEGER_RE.fullmatch(first)):
        return None, parse_slice(item)
    if not 1 <= rest.count(":") <= 2:
        raise InvalidArgument("selection", f"{shown(item)} is not of the form start:stop:step or name:start:stop:step")
    return parse_dimension("selection", first), parse_slice(rest)


def _format_selection(reduction: ArrayReduction) -> str | None:
    selection = reduction.selection
    if reduction.is_complete:
        return ",".join(format_slice(selection[number]) for number in range(len(selection)))
    if not selection:
        return None
    # Numbers first: they cannot be compared with names.
    ordered = sorted(selection, key=lambda dimension: (isinstance(dimension, str), dimension))
    return ",".join(_format_selection_item(dimension, selection[dimension]) for dimension in ordered)


def _format_selection_item(dimension: int | str, chosen: Slice) -> str:
    text = f"{dimension}:{format_slice(chosen)}"
    return f"{text}:" if isinstance(dimension, int) and text.count(":") < 3 else text


def _parse_where(text: str) -> dict[str, Any]:
    where: dict[str, Where] = {}
    for item in split_items(text):
        name, _, rule = item.partition(":")
        if not name or not rule:
            raise InvalidArgument("where", f"{shown(item)} is not of the form name:low..high or name:~value")
        if name in where:
            raise InvalidArgument("where", f"names the coordinate {shown(name)} twice")
        where[name] = _parse_place(rule)
    return {"where": where}


def _parse_place(text: str) -> Where:
    rule, is_cyclic = text.removesuffix(_CYCLIC), text.endswith(_CYCLIC)
    if rule.startswith("~"):
        if not rule[1:]:
            raise InvalidArgument("where", "has no value after ~")
        return Nearest(rule[1:], is_cyclic)
    low, dots, high = rule.partition("..")
    # Without dots it is one value, or one period such as a year.
    return Between(low or None, (high if dots else low) or None, is_cyclic)


def _format_where(reduction: ArrayReduction) -> str | None:
    return ",".join(f"{name}:{_format_place(place)}" for name, place in sorted(reduction.where.items())) or None


def _format_place(place: Where) -> str:
    rule = f"~{place.value}" if isinstance(place, Nearest) else f"{place.low or ''}..{place.high or ''}"
    return f"{rule}{_CYCLIC if place.is_cyclic else ''}"


def parse_group(text: str) -> Group:
    """The group that ``coordinate`` or ``coordinate:part`` names.

    Raises:
        InvalidArgument: The text has neither form.
    """
    name, colon, by = text.partition(":")
    if not name or (colon and not by):
        raise InvalidArgument("group", f"{shown(text)} is not of the form coordinate or coordinate:part")
    return Group(name, by or None)


def _format_group(reduction: ArrayReduction) -> str | None:
    group = reduction.group
    return f"{group.coordinate}{f':{group.by}' if group.by else ''}" if isinstance(group, Group) else None


def _parse_weights(text: str) -> dict[str, Any]:
    if text.startswith(_COSINE):
        if not text[len(_COSINE) :]:
            raise InvalidArgument("weights", "names no coordinate after cos:")
        return {"weights": CosineWeights(text[len(_COSINE) :])}
    return {"weights": ArrayWeights(parse_array_path("weights", text))}


def _format_weights(reduction: ArrayReduction) -> str | None:
    weights = reduction.weights
    if isinstance(weights, CosineWeights):
        return f"{_COSINE}{weights.coordinate}"
    return weights.array if isinstance(weights, ArrayWeights) else None


def _parse_rule(name: str) -> Callable[[str], dict[str, Any]]:
    def parse_rule(text: str) -> dict[str, Any]:
        # One NaN for all, so that equal rules are equal.
        numbers = tuple(math.nan if number != number else number for number in parse_numbers(name, text))  # noqa: PLR0124
        return {"missing": {name: numbers}}

    return parse_rule


def _format_rule(name: str) -> Callable[[ArrayReduction], str | None]:
    def format_rule(reduction: ArrayReduction) -> str | None:
        return format_numbers(reduction.missing.get(name))

    return format_rule


def _parse_threshold(name: str) -> Callable[[str], dict[str, Any]]:
    return lambda text: {"thresholds": {name: parse_number(name, text)}}


def _format_threshold(name: str) -> Callable[[ArrayReduction], str | None]:
    def format_threshold(reduction: ArrayReduction) -> str | None:
        threshold = reduction.thresholds.get(name)
        return None if threshold is None else format_number(threshold)

    return format_threshold


def _parse_quantiles(text: str) -> dict[str, Any]:
    # -0 is 0: equal quantiles have equal text.
    return {"q": tuple(float(number) + 0.0 for number in parse_numbers("q", text))}


def _parse_boolean(name: str) -> Callable[[str], dict[str, Any]]:
    def parse_boolean(text: str) -> dict[str, Any]:
        if text not in _BOOLEANS:
            raise InvalidArgument(name, f"is {shown(text)}, not true or false")
        return {name: _BOOLEANS[text]}

    return parse_boolean


def _parse_absent(text: str) -> dict[str, Any]:
    if text != "403":
        raise InvalidArgument("absent", f"is {shown(text)}, and can only be 403")
    return {"absent_is_forbidden": True}


# The parameters of the segment or the query, by name.
ARRAY_PARAMETERS: Mapping[str, ArrayParameter] = MappingProxyType(
    {
        "var": ArrayParameter(
            lambda text: {"array": parse_array_path("var", text)}, lambda reduction: reduction.array or None
        ),
        "axis": ArrayParameter(_parse_axis, _format_axis),
        "selection": ArrayParameter(_parse_selection, _format_selection),
        "where": ArrayParameter(_parse_where, _format_where),
        "group": ArrayParameter(lambda text: {"group": parse_group(text)}, _format_group),
        "bins": ArrayParameter(
            lambda text: {"bins": tuple(map(float, parse_numbers("bins", text)))},
            lambda reduction: format_numbers(reduction.bins),
        ),
        "weights": ArrayParameter(_parse_weights, _format_weights),
        "other": ArrayParameter(
            lambda text: {"other": parse_array_path("other", text)}, lambda reduction: reduction.other
        ),
        "expr": ArrayParameter(
            lambda text: {"expression": parse_expression(text)},
            lambda reduction: None if reduction.expression is None else format_expression(reduction.expression),
        ),
        "decode": ArrayParameter(
            lambda text: {"decode": text},
            lambda reduction: None if reduction.decode == "cf" else reduction.decode,
        ),
        **{name: ArrayParameter(_parse_rule(name), _format_rule(name)) for name in MISSING_RULES},
        "ddof": ArrayParameter(
            lambda text: {"ddof": parse_integer("ddof", text)},
            lambda reduction: str(reduction.ddof) if reduction.ddof else None,
        ),
        "edges": ArrayParameter(
            lambda text: {"edges": parse_numbers("edges", text)}, lambda reduction: format_numbers(reduction.edges)
        ),
        **{name: ArrayParameter(_parse_threshold(name), _format_threshold(name)) for name in THRESHOLDS},
        "q": ArrayParameter(_parse_quantiles, lambda reduction: format_numbers(reduction.q or None)),
        "method": ArrayParameter(
            lambda text: {"method": text},
            lambda reduction: None if reduction.method == DEFAULT_METHOD else reduction.method,
        ),
        "skipna": ArrayParameter(
            _parse_boolean("skipna"),
            lambda reduction: None if reduction.skipna is None else str(reduction.skipna).lower(),
        ),
        "absent": ArrayParameter(_parse_absent, lambda reduction: "403" if reduction.absent_is_forbidden else None),
    }
)

# The names of all parameters.
ARRAY_NAMES = frozenset(ARRAY_PARAMETERS)

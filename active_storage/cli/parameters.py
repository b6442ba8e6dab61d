"""The options of ``reduce`` that are parameters: one for each that the client knows, in the notation of plain URLs.

The tables of the grammar say which there are, and read their texts. A new parameter there is an option here.
"""

import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import typer

from active_storage.client.arguments import Near, ObjectArguments, QuestionArguments, Span
from active_storage.errors import InvalidArgument, shown
from active_storage.grammar.arrays import ARRAY_PARAMETERS
from active_storage.grammar.parameters import PARAMETERS
from active_storage.model.coordinates import Between, Nearest
from active_storage.model.ranges import Slice

ARRAYS, OBJECTS, BOTH = "Whole arrays", "Plain objects", "Whole arrays and plain objects"


class _Text(NamedTuple):
    """How the help shows a parameter."""

    metavar: str
    help: str


# Where an array lies, or what an object holds: these are not in the tables of the grammar.
_OF_STORE: Mapping[str, _Text] = MappingProxyType(
    {
        "container": _Text("TYPE", "zarr, netcdf, hdf5 or kerchunk; by default by the end of the URL"),
        "concat": _Text("DIM", "the dimension along which several URLs follow each other, or a new one"),
        "interface_type": _Text("TYPE", "s3, http or https: how the store is asked"),
    }
)

_TEXTS: Mapping[str, _Text] = MappingProxyType(
    {
        **_OF_STORE,
        "dtype": _Text("DTYPE", "the data type of a plain object, such as float32 or >i2"),
        "var": _Text("PATH", "the path of the variable in its container"),
        "axis": _Text("DIM", "a dimension that is reduced, by name or number; all by default"),
        "selection": _Text("DIM=START:STOP:STEP", "indices of a dimension; START:STOP:STEP,... by position"),
        "where": _Text("COORD=LOW:HIGH", "values of a coordinate; also COORD=VALUE, LOW..HIGH, ~NEAREST, :cyclic"),
        "group": _Text("COORD.PART", "groups, such as time.month, time.30D, or a coordinate"),
        "bins": _Text("EDGES", "edges of bins of the coordinate of --group"),
        "weights": _Text("WEIGHTS", "cos:lat, or the path of an array"),
        "other": _Text("PATH", "the second array of cov and corr"),
        "expr": _Text("EXPR", "arithmetic before the reduction, such as 'sqrt(u*u + v*v)'"),
        "decode": _Text("RULE", "cf (default), xarray or none"),
        "missing_value": _Text("NUMBER", "a number that marks missing data"),
        "missing_values": _Text("NUMBERS", "several of them"),
        "valid_min": _Text("NUMBER", "smaller elements are missing"),
        "valid_max": _Text("NUMBER", "larger elements are missing"),
        "valid_range": _Text("MIN,MAX", "both"),
        "ddof": _Text("INTEGER", "what var and std subtract from the count"),
        "edges": _Text("EDGES", "edges of the bins of histogram"),
        "gt": _Text("NUMBER", "only elements greater than it count"),
        "ge": _Text("NUMBER", "only elements not less than it count"),
        "lt": _Text("NUMBER", "only elements less than it count"),
        "le": _Text("NUMBER", "only elements not greater than it count"),
        "q": _Text("NUMBERS", "quantiles from 0 to 1"),
        "method": _Text("METHOD", "how quantiles are interpolated, as in numpy"),
        "skipna": _Text("BOOL", "whether NaN is missing: true or false"),
        "absent": _Text("403", "403 of a chunk means that it is absent"),
        "byte_order": _Text("ORDER", "little (default) or big"),
        "shape": _Text("INTEGERS", "the shape, such as 4,5"),
        "order": _Text("ORDER", "C (default) or F"),
        "offset": _Text("BYTES", "where the numbers begin"),
        "size": _Text("BYTES", "how long they are"),
        "compression": _Text("CODEC", "the compression, such as zlib"),
        "filters": _Text("CODEC", "a filter before it, such as shuffle:4"),
        "result_dtype": _Text("DTYPE", "the data type in which sum adds"),
    }
)

# Parameters that are lists can be given several times.
_REPEATED = frozenset({"axis", "filters", "selection", "where"})

_OF_ARRAYS = {**dict.fromkeys(_OF_STORE), **dict.fromkeys(ARRAY_PARAMETERS)}
_OF_OBJECTS = {"dtype": None, **dict.fromkeys(PARAMETERS)}

# All parameters, by name.
NAMES = tuple({**_OF_ARRAYS, **_OF_OBJECTS})

_DIGITS_RE = re.compile(r"[0-9]+", re.ASCII)


def takes_parameters(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for each parameter. It receives ``texts``: those that were given, by name."""
    signature = inspect.signature(command, eval_str=True)
    own = [each for name, each in signature.parameters.items() if name != "texts"]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotate(name))
        for name in NAMES
    ]

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        options = {name: given.pop(name) for name in NAMES}
        texts = {name: _join(name, option) for name, option in options.items() if option}
        command(**given, texts=texts)

    wrapped.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]  # inspect reads it
    wrapped.__annotations__ = {each.name: each.annotation for each in (*own, *added)}
    return wrapped


def read_array_arguments(texts: Mapping[str, str]) -> tuple[str, QuestionArguments]:
    """The path of an array, and the arguments of the client.

    Raises:
        InvalidArgument: A text has a wrong value, or is a parameter of plain objects.
    """
    _ensure_known(texts, _OF_ARRAYS, "a parameter of plain objects, which have a --dtype")
    arguments: Any = {name: text for name, text in texts.items() if name in _OF_STORE}
    arguments |= {name: _read(name, text) for name, text in texts.items() if name in ARRAY_PARAMETERS and name != "var"}
    return texts.get("var", "").removeprefix("/"), arguments


def read_object_arguments(texts: Mapping[str, str]) -> tuple[str, ObjectArguments]:
    """The data type of a plain object, and the arguments of the client.

    Raises:
        InvalidArgument: A text has a wrong value, or is a parameter of whole arrays.
    """
    _ensure_known(texts, _OF_OBJECTS, "a parameter of whole arrays, and --dtype is one of plain objects")
    arguments: Any = {
        name: _as_argument(PARAMETERS[name].parse(name, text), text)
        for name, text in texts.items()
        if name in PARAMETERS
    }
    return texts["dtype"], arguments


def _annotate(name: str) -> Any:
    text = _TEXTS.get(name, _Text("VALUE", f"the parameter {name}"))
    panel = OBJECTS if name not in _OF_ARRAYS else ARRAYS if name not in _OF_OBJECTS else BOTH
    help_text = f"{text.help}; can be repeated" if name in _REPEATED else text.help
    option = typer.Option(f"--{name.replace('_', '-')}", metavar=text.metavar, help=help_text, rich_help_panel=panel)
    return Annotated[list[str] | None if name in _REPEATED else str | None, option]


def _join(name: str, option: str | Sequence[str]) -> str:
    if isinstance(option, str):
        return option
    write = {"selection": _write_slice, "where": _write_place}.get(name, str)
    return ",".join(map(write, option))


def _write_slice(text: str) -> str:
    """``lat=0:3`` in the notation of plain URLs: ``lat:0:3``, and ``0:0:3:`` if the dimension is a number."""
    dimension, equals, bounds = text.partition("=")
    if not equals:
        return text
    if _DIGITS_RE.fullmatch(dimension) and bounds.count(":") < 2:
        bounds += ":"
    return f"{dimension}:{bounds}"


def _write_place(text: str) -> str:
    """``lat=-30:30`` in the notation of plain URLs: ``lat:-30..30``."""
    name, equals, rule = text.partition("=")
    if not equals:
        return text
    bounds, is_cyclic = rule.removesuffix(":cyclic"), rule.endswith(":cyclic")
    if ".." not in bounds and not bounds.startswith("~") and ":" in bounds:
        if bounds.count(":") > 1:
            raise InvalidArgument(
                "where", f"{shown(text)} has several colons; write two dots, as in time=2000-01..2000-06"
            )
        bounds = bounds.replace(":", "..")
    return f"{name}:{bounds}{':cyclic' if is_cyclic else ''}"


def _ensure_known(texts: Mapping[str, str], known: Mapping[str, None], what: str) -> None:
    for name in texts:
        if name not in known:
            raise InvalidArgument(name, f"is {what}")


def _read(name: str, text: str) -> Any:
    """The argument of the client for a parameter of whole arrays."""
    fields = ARRAY_PARAMETERS[name].parse(text)
    if fields.get("is_complete"):
        return [_as_argument(each, text) for each in fields["selection"].values()]
    # Rules for missing data and thresholds have a field together.
    nested: Mapping[str, Any] = fields.get("missing") or fields.get("thresholds") or fields
    return _as_argument(nested[name], text) if name in nested else text


def _as_argument(value: Any, text: str) -> Any:
    """A value of the grammar as an argument of the client; the text itself for what the client reads as a text."""
    match value:
        case bool() | int() | float() | str():
            return value
        case Slice():
            return slice(value.start, value.stop, value.step)
        case Between():
            return Span(value.low, value.high, value.is_cyclic)
        case Nearest():
            return Near(value.value, value.is_cyclic)
        case Mapping():
            return {str(name): _as_argument(each, text) for name, each in value.items()}
        case tuple():
            converted = [_as_argument(each, text) for each in value]
            return text if any(each is text for each in converted) else converted
        case _:
            return text

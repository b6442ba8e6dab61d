"""Text to spec and back: the one grammar of paths, queries and byte ranges.

    target     = "/" reducer "/" segment "/" object      a reduction of an object
    segment    = dtype *( ";" name "=" value )            RFC 3986, section 3.3: path parameters
    object     = bucket "/" key                           never looked into, never decoded
    query      = pair *( "&" pair )                       the same names as in the segment, and S3's own
    step       = codec [ ":" element-size ] *( ":" name "=" value )    one of ``filters``, and ``compression``
    reduction  = reducer "/" segment                      where nothing else names an object, either part may be missing

The reducer and the segment are percent-decoded before they are parsed, since clients encode what they like there
(boto3 writes ``;`` as ``%3B``). Everything that goes on to the store stays as it was sent. ``parse_`` and ``format_``
are pairs: what one writes the other reads. Standard library, ``spec`` and ``errors`` only: the client shares this file.
"""

import dataclasses
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Self
from urllib.parse import quote, unquote

from handler.codecs import CODECS, find_id, format_value
from handler.errors import InvalidArgument, InvalidCodec, NoSuchDoor, shown
from handler.spec import DTYPES, MAX_BYTES, MISSING_RULES, ByteOrder, ByteRange, Filter, Missing, ReductionSpec, Slice

OBJECT_DOOR = "obj"

_FORMS = f"ask for /reducer/dtype/bucket/key or /{OBJECT_DOOR}/bucket/key"

# Where a client learns what it must know to sign and to ask.
DISCOVERY_PATH = "/.well-known/s3-active-storage"

# RFC 9110, sections 13.1 and 14.2: what a caller says of the representation that it wants. The doors answer it against
# the result and translate it for the store, unless a signature covers it.
NEGOTIATED_HEADERS = frozenset(
    {"range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"}
)

# RFC 9110, section 14.1.2: int-range and suffix-range. Optional white space around it, as section 5.6.1 has for lists.
_RANGE_RE = re.compile(r"\s*bytes\s*=\s*(?P<first>[0-9]{0,19})-(?P<last>[0-9]{0,19})\s*", re.ASCII | re.IGNORECASE)

# The absolute form up to its path (RFC 9112, section 3.2.2).
_ABSOLUTE_FORM_RE = re.compile(r"https?://(?P<authority>[^/?#]*)", re.ASCII | re.IGNORECASE)

# What stands in no request target but percent-encoded: white space, controls, "#", all beyond ASCII (RFC 3986, 2).
_UNENCODED_RE = re.compile(r'[^!-"$-~]')

# Two hexadecimal digits must follow every "%" (RFC 3986, section 2.1).
_BROKEN_ESCAPE_RE = re.compile(r"%(?![0-9A-Fa-f]{2})")

# Escapes of bytes that are not ASCII, so that only several together can be a character.
_BEYOND_ASCII_RE = re.compile(r"%[89A-Fa-f]")


# What C's strtod and numpy write and read, without Python's underscores and white space.
_NUMBER_RE = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?inf|nan", re.ASCII | re.IGNORECASE)
_INTEGER_RE = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)


# numpy's type strings without their byte order, such as "f4".
_TYPE_STRINGS: Mapping[str, str] = MappingProxyType({dtype.str[1:]: name for name, dtype in DTYPES.items()})
_TYPE_STRING_RE = re.compile(r"(?P<mark>[<>|=]?)(?P<code>[a-z][0-9]+)", re.ASCII)
_ORDER_MARKS: Mapping[str, ByteOrder] = MappingProxyType({"<": "little", ">": "big", "=": sys.byteorder})


class ReductionPath(NamedTuple):
    """A path in its three parts, each as it was sent. ``object_path`` is "/bucket/key"."""

    reducer: str
    segment: str
    object_path: str


# A pair of a query: its name, decoded, its value, and all of it, both as they were sent.
_Pair = tuple[str, str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class StoreQuery:
    """What a query says to the store; its ``repr`` shows nothing of it, which can be a signature.

    Attributes:
        text: As it was sent.
        pairs: The same, read.
    """

    text: str = dataclasses.field(repr=False)
    pairs: Sequence[_Pair] = dataclasses.field(repr=False)

    @classmethod
    def of(cls, query: str) -> Self:
        """A raw query, all of which is for the store."""
        return cls(query, _read_pairs(query))

    def find(self, name: str) -> list[str]:
        """What it says of a name, in its order, decoded; an empty value says nothing.

        A plus is a plus: AWS's version ids have some, and its events hold the client's URL decoded. Other values are
        left alone: to decode all of a presigned query, which is long, was a twentieth of a small request's time.
        """
        return [unquote(value) for known_as, value, _ in self.pairs if known_as == name and value]

    def find_last(self, name: str) -> str:
        """The last of these; empty where there is none."""
        found = self.find(name)
        return found[-1] if found else ""


@dataclasses.dataclass(frozen=True, slots=True)
class Query:
    """A query string, divided.

    Attributes:
        parameters: Ours, decoded.
        own: Ours, as they were sent.
        rest: The store's.
    """

    parameters: Mapping[str, str]
    own: str
    rest: StoreQuery


def split_target(target: str) -> tuple[str, str]:
    """The path and the query of a request target, each as it was sent.

    Takes the absolute form too (RFC 9112, section 3.2.2), which proxies are sent; any other form names no path.
    """
    if not target.startswith("/"):
        match = _ABSOLUTE_FORM_RE.match(target)
        target = target[match.end() :] if match else ""
    path, _, query = target.partition("?")
    return path or "/", query


def find_authority(target: str) -> str | None:
    """The authority of a request target in absolute form, as it was sent; None for any other."""
    match = None if target.startswith("/") else _ABSOLUTE_FORM_RE.match(target)
    return match["authority"] if match else None


def join_target(path: str, query: str) -> str:
    """The target of a path and a query, both as they are to be sent; an empty query adds nothing."""
    return f"{path}?{query}" if query else path


def split_path(path: str) -> ReductionPath:
    """The parts of a path that names a reduction, or the object itself by ``/obj/bucket/key`` with an empty segment.

    Raises:
        NoSuchDoor: The path has too few parts.
        InvalidArgument: There is no bucket or no key in it.
    """
    first, _, rest = path.removeprefix("/").partition("/")
    if not rest or (first != OBJECT_DOOR and rest.startswith("/")):
        raise NoSuchDoor(f"nothing answers here, and nothing is listed; {_FORMS}")
    segment = ""
    if first != OBJECT_DOOR:
        segment, _, rest = rest.partition("/")
    bucket, _, key = rest.partition("/")
    for name, value in (("bucket", bucket), ("key", key)):
        if not value:
            raise InvalidArgument(name, f"the path names none; {_FORMS}")
    return ReductionPath(first, segment, f"/{rest}")


def split_query(query: str) -> Query:
    """A raw query, divided into our parameters and the rest.

    Raises:
        InvalidArgument: One of ours stands there twice, or is not well encoded.
    """
    pairs = _read_pairs(query)
    own = [pair for pair in pairs if pair[0] in NAMES]
    rest = [pair for pair in pairs if pair[0] not in NAMES]
    parameters = _collect((name, decode(value, field=name)) for name, value, _ in own)
    return Query(parameters, _join_pairs(own), StoreQuery(_join_pairs(rest), rest))


def format_query(names: Mapping[str, str]) -> str:
    """The query that says ``names``, percent-encoded as SigV4 does it: all but unreserved characters."""
    return "&".join(f"{name}={encode(value, safe='')}" for name, value in names.items())


def parse_path(path: ReductionPath) -> dict[str, str]:
    """The reducer, the data type and the parameters that a path names, decoded.

    Raises:
        InvalidArgument: A parameter is unknown, is given twice, has no value, or is not well encoded.
    """
    return {
        "reducer": decode(path.reducer, field="reducer"),
        **parse_segment(decode(path.segment, field="dtype")),
    }


def parse_reduction(text: str) -> dict[str, str]:
    """The same of a decoded ``reducer/segment``; what is left out of it is not in the answer.

    Raises:
        InvalidArgument: It has more than two parts, or a parameter as in ``parse_path``.
    """
    # Parameters alone need no slash before them.
    reducer, _, segment = ("", "", text) if text.startswith(";") else text.partition("/")
    if "/" in segment:
        raise InvalidArgument("reduction", f"{shown(text)} is not of the form reducer/dtype;parameter=value")
    named = {"reducer": reducer, **parse_segment(segment)}
    return {name: value for name, value in named.items() if value or name in PARAMETERS}


def format_reduction(spec: ReductionSpec) -> str:
    """The decoded ``reducer/segment`` that asks for ``spec``."""
    return f"{spec.reducer}/{format_segment(spec)}"


def merge(*given: Mapping[str, str]) -> dict[str, str]:
    """What several places name, taken together.

    Raises:
        InvalidArgument: Two of them say different things.
    """
    merged: dict[str, str] = {}
    for names in given:
        for name, value in names.items():
            if merged.setdefault(name, value) != value:
                raise InvalidArgument(name, f"is {shown(merged[name])} in one place and {shown(value)} in another")
    return merged


def build_spec(given: Mapping[str, str], byte_range: ByteRange | None) -> ReductionSpec:
    """The spec that a reducer, a data type, parameters and a byte range ask for.

    Raises:
        UnknownReducer: There is no reducer of that name.
        InvalidArgument: Reducer or data type is not given, or a value is one that its name cannot have.
    """
    for name in ("reducer", "dtype"):
        if name not in given:
            raise InvalidArgument(name, "is not given")
    parsed = {name: PARAMETERS[name].parse(name, text) for name, text in given.items() if name in PARAMETERS}
    dtype, byte_order = parse_dtype(given["dtype"])
    if byte_order is not None and parsed.setdefault("byte_order", byte_order) != byte_order:
        raise InvalidArgument("byte_order", f"is {parsed['byte_order']}, but {given['dtype']} is {byte_order}-endian")
    rules = {name: parsed.pop(name) for name in MISSING_RULES if name in parsed}
    if rules and dtype in DTYPES:
        parsed["missing"] = Missing.of(rules, dtype)
    fields = {PARAMETERS[name].field if name in PARAMETERS else name: value for name, value in parsed.items()}
    return ReductionSpec(given["reducer"], dtype, **fields, range=byte_range)


def parse_dtype(text: str) -> tuple[str, ByteOrder | None]:
    """A data type and the byte order that it carries, None where it carries none.

    Takes the names of ``DTYPES`` and numpy's type strings, such as ``<f4``, ``>i2``, ``f8`` and ``|u1`` ("The array
    interface protocol", numpy reference, ``typestr``). Single bytes have no order. A text that is neither is given back
    as it is: the spec refuses it.
    """
    match = _TYPE_STRING_RE.fullmatch(text)
    name = _TYPE_STRINGS.get(match["code"]) if match else None
    if match is None or name is None:
        return text, None
    mark, is_single = match["mark"], DTYPES[name].itemsize == 1
    if mark == "|" and not is_single:
        return text, None
    return name, None if is_single else _ORDER_MARKS.get(mark)


def parse_segment(segment: str) -> dict[str, str]:
    """The data type, as ``dtype``, and the parameters of a decoded segment.

    Raises:
        InvalidArgument: A parameter is unknown, is given twice, or has no value.
    """
    dtype, *pairs = segment.split(";")
    given: list[tuple[str, str]] = []
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if name not in PARAMETERS:
            raise InvalidArgument(shown(name), f"is no parameter; there are {', '.join(PARAMETERS)}")
        if not equals:
            raise InvalidArgument(name, "has no value")
        given.append((name, value))
    return {"dtype": dtype, **_collect(given)}


def format_segment(spec: ReductionSpec) -> str:
    """The decoded segment that asks for ``spec``, whole and in one order: equal specs give equal text."""
    parameters = [spec.dtype]
    for name, parameter in PARAMETERS.items():
        text = parameter.format(name, getattr(spec, parameter.field))
        if text is not None:
            parameters.append(f"{name}={text}")
    return ";".join(parameters)


def parse_range(header: str) -> ByteRange:
    """The range that a ``Range`` header asks for.

    Raises:
        InvalidArgument: It is not a single range of bytes; RFC 9110 would have it ignored, and the answer would then
            be of other bytes than were asked for.
    """
    if "," in header:
        raise InvalidArgument("Range", "names several ranges; ask for one at a time")
    match = _RANGE_RE.fullmatch(header)
    if match is None:
        raise InvalidArgument("Range", "is not of the form bytes=first-last, bytes=first- or bytes=-length")
    # Where the last byte of an object can be, at the utmost; stores count in 64 bits, and some wrap.
    first, last = (min(int(bound), MAX_BYTES) if bound else None for bound in match.group("first", "last"))
    return ByteRange(first, last)


def format_range(byte_range: ByteRange) -> str:
    """The value of the ``Range`` header that asks for ``byte_range``."""
    first, last = ("" if bound is None else str(bound) for bound in (byte_range.first, byte_range.last))
    return f"bytes={first}-{last}"


def decode(text: str, field: str) -> str:
    """``text`` with its percent-escapes undone. A plus is a plus, as everywhere in a path.

    Raises:
        InvalidArgument: An escape is broken or missing, or the bytes are not UTF-8.
    """
    ensure_encoded(text, field)
    return unquote(text)


def ensure_encoded(text: str, field: str) -> None:
    """Pass where ``decode`` has something to give.

    Raises:
        InvalidArgument: As there.
    """
    if _BROKEN_ESCAPE_RE.search(text):
        raise InvalidArgument(field, "has a % that no two hexadecimal digits follow")
    if _UNENCODED_RE.search(text):
        raise InvalidArgument(field, "has a character that must be percent-encoded")
    if _BEYOND_ASCII_RE.search(text):
        try:
            unquote(text, errors="strict")
        except UnicodeDecodeError:
            raise InvalidArgument(field, "is not UTF-8 under its percent-encoding") from None


def encode(text: str, safe: str = "/") -> str:
    """``text`` percent-encoded as SigV4 does it: all but unreserved characters and, as in a path, slashes."""
    return quote(text, safe=f"{safe}-_.~")


def _read_pairs(query: str) -> list[_Pair]:
    divided = [(*text.partition("="), text) for text in query.split("&")]
    return [(unquote(name) if "%" in name else name, value, text) for name, _, value, text in divided]


def _join_pairs(pairs: Iterable[_Pair]) -> str:
    return "&".join([text for _, _, text in pairs])


# Parameters


def _split(text: str) -> list[str]:
    return text.split(",") if text else []


def _parse_integer(name: str, text: str) -> int:
    if not _INTEGER_RE.fullmatch(text):
        raise InvalidArgument(name, f"{shown(text)} is not a whole number")
    return int(text)


def _parse_integers(name: str, text: str) -> tuple[int, ...]:
    return tuple(_parse_integer(name, part) for part in _split(text))


def _parse_number(name: str, text: str) -> int | float:
    if _INTEGER_RE.fullmatch(text):
        return int(text)
    match = _NUMBER_RE.fullmatch(text)
    if not match:
        raise InvalidArgument(name, f"{shown(text)} is not a number")
    number = float(text)
    # Digits that no float64 has would become infinity, and mark other elements than were meant.
    if match[1] and math.isinf(number):
        raise InvalidArgument(name, f"{shown(text)} is beyond any data type")
    return number


def _parse_slice(text: str) -> Slice:
    parts = text.split(":")
    if not 2 <= len(parts) <= 3:
        raise InvalidArgument("selection", f"{shown(text)} is not of the form start:stop or start:stop:step")
    return Slice(*(_parse_integer("selection", part) if part else None for part in parts))


def _format_slice(chosen: Slice) -> str:
    start, stop, step = ("" if part is None else str(part) for part in (chosen.start, chosen.stop, chosen.step))
    return f"{start}:{stop}:{step}" if step else f"{start}:{stop}"


def _parse_step(name: str, text: str) -> Filter:
    codec, *parts = text.split(":")
    size = parts.pop(0) if parts and "=" not in parts[0] else None
    given: list[tuple[str, Any]] = []
    for part in parts:
        member, equals, value = part.partition("=")
        if not equals:
            raise InvalidArgument(name, f"{shown(text)} is not of the form id:element_size:parameter=value")
        given.append((member, _parse_value(codec, member, value)))
    try:
        return Filter(codec, None if size is None else _parse_integer(name, size), tuple(given))
    except InvalidCodec as fault:
        raise fault.within(name) from None


def _parse_value(codec: str, member: str, text: str) -> object:
    """The value of a parameter; the text itself where it cannot be read, for the step to refuse."""
    row = CODECS.get(find_id(codec))
    if row is None or member not in row.parameters:
        return text
    try:
        return row.parameters[member].parse(text)
    except ValueError:
        return text


def _format_step(step: Filter) -> str:
    size = [] if step.element_size is None else [str(step.element_size)]
    return ":".join([step.id, *size, *(f"{name}={format_value(value)}" for name, value in step.parameters)])


def _parse_numbers(name: str, text: str) -> tuple[int | float, ...]:
    return tuple(_parse_number(name, part) for part in _split(text))


def _format_missing(name: str, missing: Missing | None) -> str | None:
    """The text of one rule. Each set of rules is written in one way, however it was given."""
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


def _format_joined(_: str, parts: Iterable[Any] | None) -> str | None:
    return None if parts is None else ",".join(str(part) for part in parts)


def _format_plain(_: str, value: object) -> str | None:
    return None if value is None else str(value)


def _unless_default(default: object) -> Callable[[str, Any], str | None]:
    return lambda _, value: None if value == default else str(value)


class Parameter(NamedTuple):
    """How a parameter is written.

    Attributes:
        field: The field of the spec that it becomes.
        parse: The value from name and text.
        format: The text from name and value; None where the default says it.
    """

    field: str
    parse: Callable[[str, str], Any]
    format: Callable[[str, Any], str | None]


_MISSING = Parameter("missing", _parse_numbers, _format_missing)

# Parameters that ride on the segment or in the query, by name.
PARAMETERS: Mapping[str, Parameter] = MappingProxyType(
    {
        "byte_order": Parameter("byte_order", lambda _, text: text, _format_plain),
        "shape": Parameter("shape", _parse_integers, _format_joined),
        "order": Parameter("order", lambda _, text: text, _unless_default("C")),
        "selection": Parameter(
            "selection",
            lambda _, text: tuple(_parse_slice(part) for part in _split(text)),
            lambda name, chosen: None if chosen is None else _format_joined(name, map(_format_slice, chosen)),
        ),
        "axis": Parameter("axis", _parse_integers, _format_joined),
        "offset": Parameter("offset", _parse_integer, _unless_default(0)),
        "size": Parameter("size", _parse_integer, _format_plain),
        "compression": Parameter("compression", _parse_step, lambda _, step: step and _format_step(step)),
        "filters": Parameter(
            "filters",
            lambda name, text: tuple(_parse_step(name, part) for part in _split(text)),
            lambda name, filters: _format_joined(name, map(_format_step, filters)) or None,
        ),
        **dict.fromkeys(MISSING_RULES, _MISSING),
        "result_dtype": Parameter("sum_dtype", lambda _, text: text, _format_plain),
        "ddof": Parameter("ddof", _parse_integer, _unless_default(0)),
    }
)


# What a query, a payload or a header can name: all that makes a spec.
NAMES = frozenset({"reducer", "dtype", *PARAMETERS})


def _collect(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    collected: dict[str, str] = {}
    for name, value in pairs:
        if name in collected:
            raise InvalidArgument(name, "is given twice")
        collected[name] = value
    return collected

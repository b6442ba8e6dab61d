"""JSON text from others, parsed strictly and at a bounded cost.

JSON parsers disagree about duplicate members, NaN, numbers beyond float64, and an unpaired surrogate (RFC 8259,
sections 4, 6 and 8.2). All four are refused. Writers of Zarr metadata write NaN, which ``JsonLimits`` can allow.

The number of elements is counted before the text is parsed: parsing 1 MiB of nested lists took 0.2 s. How many bytes
a text may have is up to the caller, who has already read them.

No reason of a fault holds a part of the text, except names of members.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NoReturn

_SURROGATE_ESCAPE_RE = re.compile(rb"\\u[Dd][89A-Fa-f]")
_SURROGATE_RE = re.compile("[\ud800-\udfff]")

# The way from the outermost value to a member: names, and indices of lists.
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class JsonLimits:
    """What a text may hold.

    Attributes:
        elements: The most commas and opening brackets, those inside texts included, which keeps the count fast.
        members: The most members of one object.
        depth: The most levels of lists and objects.
        has_constants: Whether ``NaN``, ``Infinity`` and ``-Infinity`` are numbers, as Python writes them.
    """

    elements: int
    members: int
    depth: int
    has_constants: bool = False


class JsonFault(Exception):
    """A text cannot be read.

    Attributes:
        path: Where the fault is; empty if it is in the whole text, or if the place is not known.
        reason: What is wrong there.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(reason)
        self.path = path
        self.reason = reason


def parse(text: bytes, limits: JsonLimits) -> Any:
    """The value of a JSON text in UTF-8.

    Raises:
        JsonFault: The text is not JSON, is ambiguous, or exceeds the limits.
    """
    if text.count(b",") + text.count(b"[") + text.count(b"{") > limits.elements:
        raise JsonFault((), f"has more than {limits.elements} elements, the maximum")
    value = _parse(text, limits)
    _ensure_shallow_and_unambiguous(value, limits.depth)
    if _SURROGATE_ESCAPE_RE.search(text):
        path = find_unpaired_surrogate(value)
        if path is not None:
            raise JsonFault(path, "has an unpaired surrogate, which UTF-8 cannot encode")
    return value


def find_unpaired_surrogate(document: Any) -> Path | None:
    """The path of a text or an object with an unpaired surrogate, which is not UTF-8; None if there is none."""
    return _find_path(document, _has_unpaired_surrogate)


# Parsing


class _Ambiguous(dict[str, Any]):
    """An object in which the member ``name`` occurs twice."""

    name: str


# Types of values that contain values.
_CONTAINERS = frozenset({dict, list, _Ambiguous})


@cache
def _make_decoder(limits: JsonLimits) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=lambda pairs: _collect(pairs, limits.members),
        parse_constant=float if limits.has_constants else _refuse_constant,
        parse_float=_read_float,
    )


def _parse(text: bytes, limits: JsonLimits) -> Any:
    try:
        return _make_decoder(limits).decode(text.decode("utf-8"))
    except UnicodeDecodeError:
        raise JsonFault((), "is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise JsonFault((), f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except _TooLargeError:
        raise JsonFault(
            _locate_infinity(text), "should be a finite number; this one is out of range for float64"
        ) from None
    except RecursionError:
        raise _too_deep(limits.depth) from None
    except ValueError:
        # Python limits the digits of an integer, since parsing them takes quadratic time.
        raise JsonFault((), "has an integer with too many digits") from None


class _TooLargeError(Exception):
    """A number has a larger magnitude than a float64 can have."""


def _read_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _TooLargeError
    return number


def _locate_infinity(text: bytes) -> Path:
    """The path of the number that is too large; empty if the text after it is not JSON."""
    try:
        return _find_path(_LENIENT_DECODER.decode(text.decode("utf-8")), _is_infinite) or ()
    except (ValueError, RecursionError):
        return ()


def _is_infinite(value: Any) -> bool:
    return isinstance(value, float) and math.isinf(value)


def _collect(pairs: list[tuple[str, Any]], limit: int) -> dict[str, Any]:
    if len(pairs) > limit:
        raise JsonFault((), f"has an object with more than {limit} members, the maximum")
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    # The path of the object is not known yet.
    ambiguous = _Ambiguous(members)
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            ambiguous.name = name
            break
        seen.add(name)
    return ambiguous


def _refuse_constant(name: str) -> NoReturn:
    raise JsonFault((), f"is not JSON: {name} is not a JSON number")


_LENIENT_DECODER = json.JSONDecoder(parse_constant=lambda _: 0)


# After parsing


def _ensure_shallow_and_unambiguous(document: Any, depth: int) -> None:
    """Pass if a document has at most ``depth`` levels and no duplicate members."""
    level: list[Any] = [document] if type(document) in _CONTAINERS else []
    for _ in range(depth):
        deeper: list[Any] = []
        for container in level:
            if type(container) is _Ambiguous:
                raise _given_twice(document)
            values = container if type(container) is list else container.values()
            deeper += [value for value in values if type(value) in _CONTAINERS]
        if not deeper:
            return
        level = deeper
    raise _too_deep(depth)


def _given_twice(document: Any) -> JsonFault:
    path = _find_path(document, lambda value: isinstance(value, _Ambiguous)) or ()
    container: Any = document
    for step in path:
        container = container[step]
    return JsonFault((*path, container.name), "is given twice")


def _too_deep(depth: int) -> JsonFault:
    return JsonFault((), f"is nested deeper than {depth} levels, the maximum")


def _has_unpaired_surrogate(value: Any) -> bool:
    texts = value if isinstance(value, dict) else (value,)
    return any(isinstance(text, str) and _SURROGATE_RE.search(text) for text in texts)


def _find_path(document: Any, matches: Callable[[Any], bool]) -> Path | None:
    """The path of the first value that ``matches``; None if there is none."""
    waiting: list[tuple[Path, Any]] = [((), document)]
    while waiting:
        path, value = waiting.pop()
        if matches(value):
            return path
        if isinstance(value, dict | list):
            members = value.items() if isinstance(value, dict) else enumerate(value)
            waiting += [((*path, name), member) for name, member in members]
    return None

"""JSON from a caller, parsed strictly and at a bounded cost.

JSON parsers disagree about duplicate members, NaN, numbers beyond float64, and unpaired surrogates (RFC 8259, sections
4, 6 and 8.2). All four are refused.

The size is checked before the body is read, and the number of elements before it is parsed. Parsing 1 MiB of nested
lists took 0.2 s; within the limits it takes at most a tenth of that. A body is parsed once.

No error message contains a part of the body, except names of members.
"""

import json
import math
import re
from collections.abc import Callable
from typing import Any, NoReturn

from active_storage.errors import InvalidArgument, shown
from handler.doors.door import Request

# A thousand missing values of twenty digits take 20 KiB, and so do the headers of a client. Nothing else is large.
MAX_BODY_BYTES = 1 << 20

# The largest request has 1,024 missing values and a selection of 32 dimensions: about 1,200 elements. Commas and
# brackets inside strings are counted too, which keeps the count fast. The headers of a client have some hundreds.
MAX_ELEMENTS = 1 << 14

# An event has five levels, a request of the JSON interface three.
MAX_DEPTH = 32

# The largest object is the headers of a client in an event; Go and gunicorn accept about a hundred headers.
_MAX_MEMBERS = 256

_SURROGATE_ESCAPE_RE = re.compile(rb"\\u[Dd][89A-Fa-f]")
_SURROGATE_RE = re.compile("[\ud800-\udfff]")

# The path from the outermost object to a member: names, and indices of lists.
Path = tuple[str | int, ...]


def read_body(request: Request) -> bytes:
    """The body of a request.

    Raises:
        InvalidArgument: The body is too long, or could not be read.
    """
    length = request.headers.get("content-length", "")
    # Most long bodies are refused by their Content-Length, without reading them.
    is_long = length.isascii() and length.isdecimal() and int(length[:20]) > MAX_BODY_BYTES
    body = b"" if is_long else request.read_body(MAX_BODY_BYTES + 1)
    if is_long or len(body) > MAX_BODY_BYTES:
        raise InvalidArgument("body", f"is longer than {MAX_BODY_BYTES} bytes, the maximum")
    return body


def read_object(body: bytes, field: str = "body") -> dict[str, Any]:
    """The members of the JSON object in a text.

    Args:
        body: The text.
        field: The name of the text in errors.

    Raises:
        InvalidArgument: The text is not a JSON object, or has too many elements or levels.
    """
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_ELEMENTS:
        raise InvalidArgument(field, f"has more than {MAX_ELEMENTS} elements, the maximum")
    value = _parse(body, field)
    if not isinstance(value, dict):
        raise InvalidArgument(field, "should be a JSON object")
    _ensure_shallow_and_unambiguous(value, field)
    if _SURROGATE_ESCAPE_RE.search(body):
        ensure_whole_characters(value, field)
    return value


def ensure_whole_characters(document: Any, field: str = "body") -> None:
    """Pass if all strings and names of a document can be encoded as UTF-8.

    Raises:
        InvalidArgument: One has an unpaired surrogate.
    """
    path = _find_path(document, _has_half_character)
    if path is not None:
        raise InvalidArgument(name_member(path, field), "has an unpaired surrogate, which UTF-8 cannot encode")


def name_member(path: Path, field: str = "body") -> str:
    """The path of a member as text, such as ``missing.valid_range[1]``.

    Args:
        path: The path; empty for the whole document.
        field: The name of the document in errors. Members of the body are named without it.
    """
    steps = [f"[{step}]" if isinstance(step, int) else f".{shown_member(step)}" for step in path]
    start = field if not path or field != "body" else ""
    return f"{start}{''.join(steps)}".removeprefix(".")


def shown_member(name: str) -> str:
    """The name of a member, quoted for a message unless it is an identifier."""
    return name if name.isidentifier() and name.isascii() and len(name) <= 60 else shown(name)


# Parsing


class _Ambiguous(dict[str, Any]):
    """An object in which the member ``name`` occurs twice."""

    name: str


# Types of values that contain values.
_CONTAINERS = frozenset({dict, list, _Ambiguous})


def _parse(body: bytes, field: str) -> Any:
    try:
        return _DECODER.decode(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise InvalidArgument(field, "is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise InvalidArgument(field, f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except _NotReadableError as error:
        raise InvalidArgument(field, str(error)) from None
    except _TooLargeError:
        name = name_member(_locate_infinity(body), field)
        raise InvalidArgument(name, "should be a finite number; this one is out of range for float64") from None
    except RecursionError:
        raise _too_deep(field) from None
    except ValueError:
        # Python limits the digits of an integer, since parsing takes quadratic time.
        raise InvalidArgument(field, "has an integer with too many digits") from None


class _NotReadableError(Exception):
    """The text is not JSON, or has an object of too many members. The message is for ``InvalidArgument``."""


class _TooLargeError(Exception):
    """A number has a larger magnitude than a float64 can have."""


def _read_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _TooLargeError
    return number


def _locate_infinity(body: bytes) -> Path:
    """The path of the number that is too large; empty if the text after it is not JSON."""
    try:
        return _find_path(_LENIENT_DECODER.decode(body.decode("utf-8")), _is_infinite) or ()
    except (ValueError, RecursionError):
        return ()


def _is_infinite(value: Any) -> bool:
    return isinstance(value, float) and math.isinf(value)


def _collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > _MAX_MEMBERS:
        raise _NotReadableError(f"has an object with more than {_MAX_MEMBERS} members, the maximum")
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    # The path of the object is not known yet.
    ambiguous = _Ambiguous(members)
    names = [name for name, _ in pairs]
    ambiguous.name = next(name for name in names if names.count(name) > 1)
    return ambiguous


def _refuse_constant(name: str) -> NoReturn:
    raise _NotReadableError(f"is not JSON: {name} is not a JSON number")


# Made once: json.loads would make a new one for each body.
_DECODER = json.JSONDecoder(object_pairs_hook=_collect, parse_constant=_refuse_constant, parse_float=_read_float)
_LENIENT_DECODER = json.JSONDecoder()


# After parsing


def _ensure_shallow_and_unambiguous(document: dict[str, Any], field: str) -> None:
    """Pass if a document has at most ``MAX_DEPTH`` levels and no duplicate members."""
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        deeper: list[Any] = []
        for container in level:
            if type(container) is _Ambiguous:
                raise _given_twice(document, field)
            values = container if type(container) is list else container.values()
            deeper += [value for value in values if type(value) in _CONTAINERS]
        if not deeper:
            return
        level = deeper
    raise _too_deep(field)


def _given_twice(document: dict[str, Any], field: str) -> InvalidArgument:
    path = _find_path(document, lambda value: isinstance(value, _Ambiguous)) or ()
    container: Any = document
    for step in path:
        container = container[step]
    return InvalidArgument(name_member((*path, container.name), field), "is given twice")


def _too_deep(field: str) -> InvalidArgument:
    return InvalidArgument(field, f"is nested deeper than {MAX_DEPTH} levels, the maximum")


def _has_half_character(value: Any) -> bool:
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

"""JSON that a caller sent, read strictly and at a bounded cost.

Two readers of JSON can differ in what they make of a member that is given twice, of NaN, and of half of a surrogate
pair (RFC 8259, sections 4, 6 and 8.2). All three are refused.

The size is checked before the body is read, the number of elements before it is parsed: to parse 1 MiB of nested lists
took 0.2 s, and what the bounds leave takes a tenth of that at most. A body is parsed once.

No text of an error holds a part of the body, but for the names of members.
"""

import json
import re
from collections.abc import Callable
from typing import Any, NoReturn

from handler.contracts.door import Request
from handler.errors import InvalidArgument, shown

# A thousand missing values of twenty digits are 20 KiB, and so are the headers of a client; nothing else grows.
MAX_BODY_BYTES = 1 << 20

# The largest request has 1,024 missing values and a selection of 32 dimensions: some 1,200 elements. Commas and
# brackets in texts are counted as well, since that takes microseconds; the headers of a client have some hundreds.
MAX_ELEMENTS = 1 << 14

# An event has five levels, a request of the JSON interface three.
MAX_DEPTH = 32

# What an event repeats of a client's headers is the largest object: Go and gunicorn read some hundred of them.
_MAX_MEMBERS = 256

_SURROGATE_ESCAPE_RE = re.compile(rb"\\u[Dd][89A-Fa-f]")
_SURROGATE_RE = re.compile("[\ud800-\udfff]")

# From the outermost member to the one that is meant: names, and places in lists.
Path = tuple[str | int, ...]


def read_body(request: Request) -> bytes:
    """The body of a request, if it is of a size that one can have.

    Raises:
        InvalidArgument: It is longer, or could not be read.
    """
    length = request.headers.get("content-length", "")
    # Most that is too long is told from the header, and never read.
    is_long = length.isascii() and length.isdecimal() and int(length[:20]) > MAX_BODY_BYTES
    body = b"" if is_long else request.read_body(MAX_BODY_BYTES + 1)
    if is_long or len(body) > MAX_BODY_BYTES:
        raise InvalidArgument("body", f"is longer than {MAX_BODY_BYTES} bytes")
    return body


def read_object(body: bytes, field: str = "body") -> dict[str, Any]:
    """The members of the object that a text holds.

    Args:
        body: The text.
        field: What errors call it.

    Raises:
        InvalidArgument: It holds no such object, or one with more elements or levels than any request has.
    """
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_ELEMENTS:
        raise InvalidArgument(field, f"has more than {MAX_ELEMENTS} elements")
    value = _parse(body, field)
    if not isinstance(value, dict):
        raise InvalidArgument(field, "is no JSON object")
    _ensure_shallow_and_unambiguous(value, field)
    if _SURROGATE_ESCAPE_RE.search(body):
        ensure_whole_characters(value, field)
    return value


def ensure_whole_characters(document: Any, field: str = "body") -> None:
    """Pass where all texts and names of a document can be written as UTF-8.

    Raises:
        InvalidArgument: One has half of a surrogate pair.
    """
    path = _find_path(document, _has_half_character)
    if path is not None:
        raise InvalidArgument(name_member(path, field), "has half of a surrogate pair")


def name_member(path: Path, field: str = "body") -> str:
    """The path of a member as people write it, ``missing.valid_range[1]``.

    Args:
        path: The path, empty where the fault is of the whole.
        field: What errors call the whole; members of the body itself stand alone.
    """
    parts = [f"[{part}]" if isinstance(part, int) else f".{shown_member(part)}" for part in path]
    whole = field if not path or field != "body" else ""
    return f"{whole}{''.join(parts)}".removeprefix(".")


def shown_member(name: str) -> str:
    """The name of a member as a message may quote it."""
    return name if name.isidentifier() and name.isascii() and len(name) <= 60 else shown(name)


# Parsing


class _Ambiguous(dict[str, Any]):
    """An object in which the member ``name`` is given twice."""

    name: str


# What has parts.
_WHOLES = frozenset({dict, list, _Ambiguous})


def _parse(body: bytes, field: str) -> Any:
    try:
        return _DECODER.decode(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise InvalidArgument(field, "is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise InvalidArgument(field, f"is not JSON: {error.msg} at line {error.lineno}, {error.colno}") from None
    except _NotReadableError as error:
        raise InvalidArgument(field, str(error)) from None
    except RecursionError:
        raise _too_deep(field) from None
    except ValueError:
        # Python's bound on digits, above which reading them takes time that grows with their square.
        raise InvalidArgument(field, "has a number of more digits than any number here") from None


class _NotReadableError(Exception):
    """A part of the text is not what JSON allows, or more than any request has."""


def _collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > _MAX_MEMBERS:
        raise _NotReadableError(f"has an object of more than {_MAX_MEMBERS} members")
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    # Where the object stands in the document is not known yet.
    ambiguous = _Ambiguous(members)
    names = [name for name, _ in pairs]
    ambiguous.name = next(name for name in names if names.count(name) > 1)
    return ambiguous


def _refuse_constant(name: str) -> NoReturn:
    raise _NotReadableError(f"is not JSON: it has a number {name}")


# Made once: json.loads would make one for each body.
_DECODER = json.JSONDecoder(object_pairs_hook=_collect, parse_constant=_refuse_constant)


# What was parsed


def _ensure_shallow_and_unambiguous(document: dict[str, Any], field: str) -> None:
    """Pass where a document has no more than ``MAX_DEPTH`` levels, and no member of it is given twice."""
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        deeper: list[Any] = []
        for whole in level:
            if type(whole) is _Ambiguous:
                raise _given_twice(document, field)
            parts = whole if type(whole) is list else whole.values()
            deeper += [part for part in parts if type(part) in _WHOLES]
        if not deeper:
            return
        level = deeper
    raise _too_deep(field)


def _given_twice(document: dict[str, Any], field: str) -> InvalidArgument:
    path = _find_path(document, lambda value: isinstance(value, _Ambiguous)) or ()
    whole: Any = document
    for part in path:
        whole = whole[part]
    return InvalidArgument(name_member((*path, whole.name), field), "is given twice")


def _too_deep(field: str) -> InvalidArgument:
    return InvalidArgument(field, "is nested deeper than any request")


def _has_half_character(value: Any) -> bool:
    texts = value if isinstance(value, dict) else (value,)
    return any(isinstance(text, str) and _SURROGATE_RE.search(text) for text in texts)


def _find_path(document: Any, is_meant: Callable[[Any], bool]) -> Path | None:
    """The path of the first value that is meant; None where there is none."""
    waiting: list[tuple[Path, Any]] = [((), document)]
    while waiting:
        path, value = waiting.pop()
        if is_meant(value):
            return path
        if isinstance(value, dict | list):
            parts = value.items() if isinstance(value, dict) else enumerate(value)
            waiting += [((*path, name), part) for name, part in parts]
    return None

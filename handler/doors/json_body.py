"""JSON from a caller, parsed strictly and at a bounded cost.

The size is checked before the body is read, and the number of elements before it is parsed. Parsing 1 MiB of nested
lists took 0.2 s; within the bounds it takes at most a tenth of that. A body is parsed once. ``json_text.py`` parses.

No error message contains a part of the body, except names of members.
"""

from typing import Any

from active_storage.errors import InvalidArgument, shown
from handler.doors.door import Request
from handler.json_text import JsonFault, JsonLimits, Path, find_unpaired_surrogate, parse

# A thousand missing values of twenty digits take 20 KiB, and so do the headers of a client. Nothing else is large.
MAX_BODY_BYTES = 1 << 20

# The largest request has 1,024 missing values and a selection of 32 dimensions: about 1,200 elements. Commas and
# brackets inside strings are counted too, which keeps the count fast. The headers of a client have some hundreds.
MAX_ELEMENTS = 1 << 14

# An event has five levels, a request of the JSON interface three.
MAX_DEPTH = 32

# The largest object is the headers of a client in an event; Go and gunicorn accept about a hundred headers.
_MAX_MEMBERS = 256

_LIMITS = JsonLimits(MAX_ELEMENTS, _MAX_MEMBERS, MAX_DEPTH)


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
    try:
        value = parse(body, _LIMITS)
    except JsonFault as fault:
        raise InvalidArgument(name_member(fault.path, field), fault.reason) from None
    if not isinstance(value, dict):
        raise InvalidArgument(field, "should be a JSON object")
    return value


def ensure_whole_characters(document: Any, field: str = "body") -> None:
    """Pass if all strings and names of a document can be encoded as UTF-8.

    Raises:
        InvalidArgument: One has an unpaired surrogate.
    """
    path = find_unpaired_surrogate(document)
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

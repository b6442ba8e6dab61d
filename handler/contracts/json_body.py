"""JSON that a caller sent, read strictly: one object, no member twice, no number that is none, no depth without end.

No text of an error holds a part of the body, but for the names of members.
"""

import json
from typing import Any, NoReturn

from handler.contracts.door import Request
from handler.errors import InvalidArgument, shown

# A thousand missing values of twenty digits are 20 KiB, and so are the headers of a client; nothing else grows.
MAX_BODY_BYTES = 1 << 20

# What an event repeats of a client's headers is the largest object: Go and gunicorn read some hundred of them.
_MAX_MEMBERS = 256


def read_body(request: Request) -> bytes:
    """The body of a request, if it is of a size that one can have.

    Raises:
        InvalidArgument: It is longer, or could not be read.
    """
    length = request.headers.get("content-length", "")
    # Most that is too long is told from the header, and never read.
    is_long = length.isdecimal() and int(length[:20]) > MAX_BODY_BYTES
    body = b"" if is_long else request.read_body(MAX_BODY_BYTES + 1)
    if is_long or len(body) > MAX_BODY_BYTES:
        raise InvalidArgument("body", f"is longer than {MAX_BODY_BYTES} bytes")
    return body


def read_object(body: bytes) -> dict[str, Any]:
    """The members of the object that a body holds.

    Raises:
        InvalidArgument: It holds no such object.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidArgument("body", "is not UTF-8") from None
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise InvalidArgument("body", f"is not JSON: {error.msg} at line {error.lineno}, {error.colno}") from None
    except RecursionError:
        raise InvalidArgument("body", "is nested deeper than any request") from None
    except ValueError:
        # Python's bound on digits, above which reading them takes time that grows with their square.
        raise InvalidArgument("body", "has a number of more digits than any number here") from None
    if not isinstance(value, dict):
        raise InvalidArgument("body", "is no JSON object")
    return value


def shown_member(name: str) -> str:
    """The name of a member as a message may quote it."""
    return name if name.isidentifier() and name.isascii() and len(name) <= 60 else shown(name)


def _collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > _MAX_MEMBERS:
        raise InvalidArgument("body", f"has an object of more than {_MAX_MEMBERS} members")
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise InvalidArgument(shown_member(name), "is given twice")
        members[name] = value
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidArgument("body", f"is not JSON: it has a number {name}")


# Made once: json.loads would make one for each body.
_DECODER = json.JSONDecoder(object_pairs_hook=_collect, parse_constant=_refuse_constant)

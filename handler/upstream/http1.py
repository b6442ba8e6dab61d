"""HTTP/1.1 in bytes, as far as a client needs it that asks for objects: heads and chunks, and nothing that connects.

What is sent is what is given: no name is added, no escape rewritten, since a signature may cover all of it. What comes
is taken whole or not at all. A head with one line that is no header is no head: parsers that end the headers there
would believe half a length, and miss the encoding after it.

Source: RFC 9112; the names of its grammar are used below. Two liberties that it allows: a line may end in LF alone
(section 2.2), and a status line may lack its reason. One that it leaves to us is not taken: folded lines (section 5.2).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from handler.errors import InvalidArgument

# As http.client and nginx have it, some 64 KiB and 100 headers; S3 sends a few hundred bytes, and at most 2 KiB of
# an object's own metadata.
_MAX_HEAD_BYTES = 64 * 1024
_MAX_HEADERS = 100

_STATUS_LINE = rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n]*)?\r?\n"
# RFC 9110, sections 5.1, 5.5 and 5.6.2: a name is a token, a value holds no control characters.
_FIELD_LINE = rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\xff]*)\r?\n"

_STATUS_LINE_RE = re.compile(_STATUS_LINE)
_FIELD_LINE_RE = re.compile(_FIELD_LINE)
_HEAD_RE = re.compile(_STATUS_LINE + rb"(?:" + _FIELD_LINE + rb")*\r?\n")
_HEAD_END_RE = re.compile(rb"\n\r?\n")

# RFC 9112, section 7.1: a size, maybe extensions, the data, an empty line. More digits than a document needs.
_CHUNK_RE = re.compile(rb"([0-9A-Fa-f]{1,8})[\t ]*(?:;[^\r\n]*)?\r?\n")

_TARGET_RE = re.compile(r"[\x21-\x7e]+")
_VALUE_RE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class MalformedAnswer(Exception):
    """What came is not HTTP/1.1. The text holds nothing of it."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer.

    Attributes:
        status: Three digits.
        headers: Names in lower case; the values of one that came more than once in one list.
        is_kept: Whether the connection is good for another request after this answer.
    """

    status: int
    headers: Mapping[str, str]
    is_kept: bool


def format_head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """The head of a request without a body, to the byte as it is given.

    Raises:
        InvalidArgument: It could be taken for something else than one head.
    """
    if not _TARGET_RE.fullmatch(target):
        raise InvalidArgument("path", "has a character that is written percent-encoded")
    for name, value in headers.items():
        if not _VALUE_RE.fullmatch(value):
            raise InvalidArgument(name, "has a character that no header has")
    fields = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    return f"{method} {target} HTTP/1.1\r\n{fields}\r\n".encode("latin-1")


def find_end(data: bytes) -> int:
    """Where the head that ``data`` begins with ends; 0 where more of it is to come.

    Raises:
        MalformedAnswer: It cannot become a head any more, or not one that is taken.
    """
    match = _HEAD_END_RE.search(data)
    end = match.end() if match else 0
    if (end or len(data)) > _MAX_HEAD_BYTES or (b"\n" in data and not _STATUS_LINE_RE.match(data)):
        raise MalformedAnswer("what came does not begin with the head of an answer")
    return end


def parse_head(data: bytes) -> Head:
    """The head that ``data`` is, neither more nor less.

    Raises:
        MalformedAnswer: It is none.
    """
    match = _HEAD_RE.fullmatch(data)
    if match is None:
        raise MalformedAnswer("a line of the head is none")
    fields = _FIELD_LINE_RE.findall(data, _STATUS_LINE_RE.match(data).end())  # type: ignore[union-attr]  # it matched
    if len(fields) > _MAX_HEADERS:
        raise MalformedAnswer("the head has too many headers")
    headers: dict[str, str] = {}
    for raw_name, raw_value in fields:
        name, value = raw_name.decode("ascii").lower(), raw_value.strip(b"\t ").decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Head(int(match[2]), headers, _is_kept(match[1], headers.get("connection", "")))


def decode_chunks(data: bytes) -> tuple[bytes, bool]:
    """What the chunks that ``data`` begins with hold, and whether the last of them is there."""
    content, position = b"", 0
    while match := _CHUNK_RE.match(data, position):
        size = int(match[1], 16)
        if not size:
            return content, True
        content += data[match.end() : match.end() + size]
        position = match.end() + size
        position += 2 if data.startswith(b"\r\n", position) else 1
    return content, False


def _is_kept(minor_version: bytes, connection: str) -> bool:
    options = {option.strip().lower() for option in connection.split(",")}
    return "keep-alive" in options if minor_version == b"0" else "close" not in options

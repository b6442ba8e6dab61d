"""The event by which a store calls an object lambda: one parser for MinIO, AIStor, RustFS and AWS.

Their events differ in details: header values are lists or strings, names are in any case, and the client's URL is
relative or absolute, raw or decoded. Unknown members are ignored. An event contains secrets (two links, a token, the
client's own signature): errors show names of members, and never a value.

Sources: "Event context format and usage" (Amazon S3 User Guide), and recorded events of MinIO.
"""

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from active_storage.errors import ActiveStorageError, InvalidArgument, Unsupported
from active_storage.grammar.query import StoreQuery, split_query
from active_storage.grammar.reductions import NAMES, merge, parse_reduction
from active_storage.grammar.text import ensure_encoded
from handler.doors.json_body import name_member, read_object, shown_member
from handler.doors.s3_door import ensure_known
from handler.doors.urls import SplitUrl, split_url

# The header with a reduction, for clients that cannot add to the query: ``sum/float32;axis=0``.
REDUCTION_HEADER = "x-activestorage-reduction"

# Names in a client's query that are for the store itself, in addition to GetObject's own.
_LAMBDA_QUERY_NAMES = ("lambdaArn",)

# Names in a query that select the bytes of an object, in S3 and in Azure. The link must have the same values.
_BYTES_QUERY_NAMES = ("versionId", "partNumber", "versionid", "snapshot")

# RFC 9110, sections 5.1 and 5.5, ASCII only. These are sent back in headers, or forwarded to the store.
_HEADER_NAME_RE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE_RE = re.compile(r"[\x20-\x7e\t]*")
_ECHO_RE = re.compile(r"[\x21-\x7e]{1,4096}")

_PAYLOAD = "configuration.payload"

# RFC 8259, section 2.
_JSON_SPACE = " \t\r\n"

# Characters that are not encoded when a decoded URL is encoded again. "%" is one, since most URLs were not decoded.
_PRINTABLE = string.ascii_letters + string.digits + string.punctuation


@dataclass(frozen=True, slots=True)
class Echo:
    """Two strings by which the store recognises the reply. They are sent back unchanged."""

    route: str = field(repr=False)
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LambdaEvent:
    """The event of a store. Its ``repr`` shows no value.

    Attributes:
        link: The URL of the object, presigned by the store.
        query: The query of the link.
        headers: The client's headers, names in lower case.
        texts: Reducer, data type and parameters, as texts by name.
        echo: The strings that the reply must repeat; None for events without them.
    """

    link: SplitUrl = field(repr=False)
    query: StoreQuery
    headers: Mapping[str, str] = field(repr=False)
    texts: Mapping[str, str] = field(repr=False)
    echo: Echo | None = field(repr=False)


def parse_event(document: Mapping[str, Any], context: str = "getObjectContext") -> LambdaEvent:
    """The event in a document.

    Args:
        document: The parsed JSON.
        context: The member that contains the link.

    Raises:
        InvalidArgument: The document is not an event; ``field`` names the wrong member.
        Unsupported: The link selects other bytes than the client's request.
    """
    if _find(document, context) is None:
        raise InvalidArgument(
            context, "is required in a store's event; send requests of the JSON interface to /v1/ or /v2/"
        )
    link = _parse_link(f"{context}.inputS3Url", _text(document, context, "inputS3Url"))
    echo = parse_echo(document) if context == "getObjectContext" else None
    user_query = _find_query(_text(document, "userRequest", "url"), link)
    headers = _parse_headers(_find(document, "userRequest", "headers"))
    query, link_query = split_query(user_query), StoreQuery.of(link.query or "")
    ensure_known(query.rest, _LAMBDA_QUERY_NAMES)
    _ensure_same_bytes(query.rest, link_query)
    payload = _find(document, "configuration", "payload")
    return LambdaEvent(
        link,
        link_query,
        headers,
        merge(query.parameters, parse_reduction(headers.get(REDUCTION_HEADER, "")), _parse_payload(payload)),
        echo,
    )


def parse_echo(document: Mapping[str, Any]) -> Echo:
    """The strings that the reply must repeat.

    Raises:
        InvalidArgument: A string is absent, or cannot be the value of a header.
    """
    texts = {name: _text(document, "getObjectContext", name) for name in ("outputRoute", "outputToken")}
    for name, value in texts.items():
        if not _ECHO_RE.fullmatch(value):
            raise InvalidArgument(f"getObjectContext.{name}", "should be 1 to 4096 visible ASCII characters")
    return Echo(texts["outputRoute"], texts["outputToken"])


def find_echo(document: Mapping[str, Any]) -> Echo | None:
    """The same; None if a string is absent or invalid."""
    try:
        return parse_echo(document)
    except ActiveStorageError:
        return None


def _parse_link(name: str, text: str) -> SplitUrl:
    link = split_url(name, text)
    # An unencoded character was signed in one form, and would be sent in another.
    ensure_encoded(f"{link.path}?{link.query or ''}", field=name)
    return link


def _find_query(url: str, link: SplitUrl) -> str:
    """The query of the client's URL. AWS decodes that URL, so that a key can contain a question mark."""
    _, scheme_end, after = url.partition("://")
    target = f"/{after.partition('/')[2]}" if scheme_end else url
    query = target.removeprefix(unquote(link.path)).partition("?")[2]
    return quote(query, safe=_PRINTABLE)


def _parse_headers(members: Any) -> dict[str, str]:
    if members is None:
        return {}
    if not isinstance(members, Mapping):
        raise InvalidArgument("userRequest.headers", "should be a JSON object")
    headers: dict[str, str] = {}
    for name, value in members.items():
        values = value if isinstance(value, list) else [value]
        known_as = f"userRequest.headers.{shown_member(name)}"
        # The lower case of a non-ASCII letter can be an ASCII letter.
        if not _HEADER_NAME_RE.fullmatch(name):
            raise InvalidArgument(known_as, "is not a valid header name")
        if not all(isinstance(each, str) and _HEADER_VALUE_RE.fullmatch(each) for each in values):
            raise InvalidArgument(
                known_as, "is not a valid header value: a string of printable ASCII, or a list of such strings"
            )
        if name.lower() in headers:
            raise InvalidArgument(known_as, "is given twice")
        headers[name.lower()] = ", ".join(values)
    return headers


def _parse_payload(payload: Any) -> dict[str, str]:
    """The payload of an access point's configuration: ``sum/float32;axis=0``, or the same names in JSON."""
    if payload is None:
        return {}
    if not isinstance(payload, str):
        raise InvalidArgument(_PAYLOAD, "should be a string")
    text = payload.strip(_JSON_SPACE)
    if not text.startswith("{"):
        return parse_reduction(text)
    members = read_object(text.encode(), _PAYLOAD)
    for name in members:
        if name not in NAMES:
            raise InvalidArgument(name_member((name,), _PAYLOAD), "is not a parameter of a reduction")
    return {name: _as_text(name, value) for name, value in members.items() if value is not None}


def _as_text(name: str, value: Any) -> str:
    if isinstance(value, list):
        return ",".join(_as_text(name, each) for each in value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidArgument(name_member((name,), _PAYLOAD), "should be a string, a number, or a list of them")
    return str(value)


def _ensure_same_bytes(query: StoreQuery, link_query: StoreQuery) -> None:
    for name in _BYTES_QUERY_NAMES:
        # All values are compared: of several values, MinIO may use another one than this service.
        if set(query.find(name)) != set(link_query.find(name)):
            raise Unsupported(f"{name}: the store's link has another value than the client's request")


def _text(document: Mapping[str, Any], member: str, name: str) -> str:
    value = _find(document, member, name)
    if not isinstance(value, str):
        raise InvalidArgument(f"{member}.{name}", "is required" if value is None else "should be a string")
    return value


def _find(document: Any, *path: str) -> Any:
    """A member by its path, whose names may be in any case; None if it is absent.

    Raises:
        InvalidArgument: Two members differ only in the case of their names: parsers differ in which one they use.
    """
    value = document
    for depth, name in enumerate(path, 1):
        members = value.items() if isinstance(value, Mapping) else ()
        # ASCII only: the lower case of a Kelvin sign (U+212A) is a k.
        found = [member for key, member in members if key.lower() == name.lower() and key.isascii()]
        if len(found) > 1:
            raise InvalidArgument(name_member(path[:depth]), "is given twice")
        value = found[0] if found else None
    return value

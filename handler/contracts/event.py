"""The event by which a store calls an object lambda: MinIO's, AIStor's and RustFS's, and AWS's, by one parser.

They are alike but for small things: header values are lists or texts, names come in any case, the client's URL is
relative or absolute, as it was sent or decoded. Unknown members are theirs to add. An event is full of secrets (two
links, a token, the client's own signature): nothing of it but what is wrong with it is ever shown.

Sources: "Event context format and usage" (Amazon S3 User Guide), and the events of a real MinIO.
"""

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from handler.contracts.json_body import name_member, read_object, shown_member
from handler.contracts.s3_door import ensure_known
from handler.contracts.urls import SplitUrl, split_url
from handler.errors import ActiveStorageError, InvalidArgument, Unsupported
from handler.params import NAMES, StoreQuery, ensure_encoded, merge, parse_reduction, split_query

# By which a client says what to compute where it cannot add to the query: ``sum/float32;axis=0``.
REDUCTION_HEADER = "x-activestorage-reduction"

# What a store itself takes in the query of a client, beside GetObject's own names.
_LAMBDA_QUERY_NAMES = ("lambdaArn",)

# Which names say which bytes are meant, in S3 and in Azure: the link must say the same.
_BYTES_QUERY_NAMES = ("versionId", "partNumber", "versionid", "snapshot")

# RFC 9110, section 5.1 and 5.5, without what lies beyond ASCII: what goes back in a header, or on to the store.
_HEADER_NAME_RE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE_RE = re.compile(r"[\x20-\x7e\t]*")
_ECHO_RE = re.compile(r"[\x21-\x7e]{1,4096}")

_PAYLOAD = "configuration.payload"

# RFC 8259, section 2.
_JSON_SPACE = " \t\r\n"

# Of a URL that was decoded, this is encoded again; "%" stays, since most were not.
_PRINTABLE = string.ascii_letters + string.digits + string.punctuation


@dataclass(frozen=True, slots=True)
class Echo:
    """What the store knows the answer by. It goes back as it came."""

    route: str = field(repr=False)
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Event:
    """What a store asks for, and with which link; its ``repr`` shows nothing of it.

    Attributes:
        link: To the object, presigned by the store.
        query: The link's.
        headers: The client's, names in lower case.
        given: Reducer, data type and parameters, as texts by their names.
        echo: What goes back with the answer; None where the event asks for none.
    """

    link: SplitUrl = field(repr=False)
    query: StoreQuery
    headers: Mapping[str, str] = field(repr=False)
    given: Mapping[str, str] = field(repr=False)
    echo: Echo | None = field(repr=False)


def parse_event(document: Mapping[str, Any], context: str = "getObjectContext") -> Event:
    """The event that a document is.

    Args:
        document: As it came, read from JSON.
        context: The member that holds the link.

    Raises:
        InvalidArgument: It is none; ``field`` names what is wrong.
        Unsupported: The link is not to the bytes that the client asks for.
    """
    if _find(document, context) is None:
        raise InvalidArgument(context, "is missing: a store's event has it; JSON requests are for /v1/ and /v2/")
    link = _parse_link(f"{context}.inputS3Url", _text(document, context, "inputS3Url"))
    echo = parse_echo(document) if context == "getObjectContext" else None
    user_query = _find_query(_text(document, "userRequest", "url"), link)
    headers = _parse_headers(_find(document, "userRequest", "headers"))
    query, link_query = split_query(user_query), StoreQuery.of(link.query or "")
    ensure_known(query.rest, _LAMBDA_QUERY_NAMES)
    _ensure_same_bytes(query.rest, link_query)
    payload = _find(document, "configuration", "payload")
    return Event(
        link,
        link_query,
        headers,
        merge(query.parameters, parse_reduction(headers.get(REDUCTION_HEADER, "")), _parse_payload(payload)),
        echo,
    )


def parse_echo(document: Mapping[str, Any]) -> Echo:
    """What must go back with the answer.

    Raises:
        InvalidArgument: It is not there, or cannot stand in a header.
    """
    parts = {name: _text(document, "getObjectContext", name) for name in ("outputRoute", "outputToken")}
    for name, value in parts.items():
        if not _ECHO_RE.fullmatch(value):
            raise InvalidArgument(f"getObjectContext.{name}", "cannot stand in a header")
    return Echo(parts["outputRoute"], parts["outputToken"])


def find_echo(document: Mapping[str, Any]) -> Echo | None:
    """The same; None where it cannot be found."""
    try:
        return parse_echo(document)
    except ActiveStorageError:
        return None


def _parse_link(name: str, text: str) -> SplitUrl:
    link = split_url(name, text)
    # Whatever is not encoded would be sent by one rule and was signed by another.
    ensure_encoded(f"{link.path}?{link.query or ''}", field=name)
    return link


def _find_query(url: str, link: SplitUrl) -> str:
    """The query of the client's URL. AWS decodes that URL, and a key can hold a question mark."""
    _, scheme_end, after = url.partition("://")
    target = f"/{after.partition('/')[2]}" if scheme_end else url
    query = target.removeprefix(unquote(link.path)).partition("?")[2]
    return quote(query, safe=_PRINTABLE)


def _parse_headers(members: Any) -> dict[str, str]:
    if members is None:
        return {}
    if not isinstance(members, Mapping):
        raise InvalidArgument("userRequest.headers", "is no object")
    headers: dict[str, str] = {}
    for name, value in members.items():
        values = value if isinstance(value, list) else [value]
        known_as = f"userRequest.headers.{shown_member(name)}"
        # Beyond ASCII, a letter can have one of ASCII as its small letter.
        if not _HEADER_NAME_RE.fullmatch(name):
            raise InvalidArgument(known_as, "is not the name of a header")
        if not all(isinstance(each, str) and _HEADER_VALUE_RE.fullmatch(each) for each in values):
            raise InvalidArgument(known_as, "is not the value of a header")
        if name.lower() in headers:
            raise InvalidArgument(known_as, "is given twice")
        headers[name.lower()] = ", ".join(values)
    return headers


def _parse_payload(payload: Any) -> dict[str, str]:
    """What is set up for an access point: ``sum/float32;axis=0``, or the same names in JSON."""
    if payload is None:
        return {}
    if not isinstance(payload, str):
        raise InvalidArgument(_PAYLOAD, "is no text")
    text = payload.strip(_JSON_SPACE)
    if not text.startswith("{"):
        return parse_reduction(text)
    members = read_object(text.encode(), _PAYLOAD)
    for name in members:
        if name not in NAMES:
            raise InvalidArgument(name_member((name,), _PAYLOAD), "is no parameter of a reduction")
    return {name: _as_text(name, value) for name, value in members.items() if value is not None}


def _as_text(name: str, value: Any) -> str:
    if isinstance(value, list):
        return ",".join(_as_text(name, each) for each in value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidArgument(name_member((name,), _PAYLOAD), "is neither a text nor a number, nor a list of them")
    return str(value)


def _ensure_same_bytes(query: StoreQuery, link_query: StoreQuery) -> None:
    for name in _BYTES_QUERY_NAMES:
        # All that are given, since MinIO might go by another one than we would.
        if set(query.find(name)) != set(link_query.find(name)):
            raise Unsupported(f"{name}: the store's link is not to that, but to the object as it is now")


def _text(document: Mapping[str, Any], member: str, name: str) -> str:
    value = _find(document, member, name)
    if not isinstance(value, str):
        raise InvalidArgument(f"{member}.{name}", "is missing" if value is None else "is no text")
    return value


def _find(document: Any, *path: str) -> Any:
    """A member by its path, whose names may be in any case; None where there is none.

    Raises:
        InvalidArgument: It is given twice, in different cases: readers would differ in which one they take.
    """
    value = document
    for place, name in enumerate(path):
        members = value.items() if isinstance(value, Mapping) else ()
        # Of ASCII only: a Kelvin sign is no K.
        found = [member for key, member in members if key.lower() == name.lower() and key.isascii()]
        if len(found) > 1:
            raise InvalidArgument(name_member(path[: place + 1]), "is given twice")
        value = found[0] if found else None
    return value

"""A request to a store: origin, target, headers, and their bytes as they are sent. Nothing is sent here.

The target and the headers are sent unchanged, because a signature may cover them. They may come from a caller, so that
``write_head`` checks each character before anything is sent.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

from active_storage.errors import InvalidArgument
from active_storage.grammar.query import StoreQuery
from active_storage.model.origins import Origin
from handler.stores.headers import FIELD_NAME, FIELD_VALUE
from handler.stores.signatures import is_signed
from handler.stores.source import ObjectFacts

# RFC 9112, section 3: the target consists of visible characters.
_FIELDS = rb"(?:%b: %b\r\n)*" % (FIELD_NAME, FIELD_VALUE)
_FIELDS_RE = re.compile(_FIELDS)
_TARGET_AND_FIELDS_RE = re.compile(rb"[!-~]+ HTTP/1\.1\r\n" + _FIELDS)

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class StoreRequest:
    """A request to a store. Its ``repr`` shows the origin and the path only.

    Attributes:
        origin: The server to connect to.
        target: The request target: path and query.
        headers: The headers, ``Host`` among them; names in lower case.
        signed: The names of the headers that the caller's signature covers, without ``host``.
        asks_for_part: Whether S3 sends a part of the object, a 206 without ``Range``, because the query has its number.
    """

    origin: Origin
    target: str
    headers: Mapping[str, str]
    signed: frozenset[str] = frozenset()
    asks_for_part: bool = False

    @classmethod
    def unsigned(cls, origin: Origin, target: str) -> "StoreRequest":
        """A request with the headers that every request has, and no others."""
        return cls(origin, target, own_headers(origin.authority))

    def __repr__(self) -> str:
        return f"<StoreRequest {self.origin}{self.target.partition('?')[0]}>"

    @property
    def has_fixed_range(self) -> bool:
        """Whether a signature covers ``Range``: the request can ask for no other range."""
        return "range" in self.signed

    @cached_property
    def query(self) -> StoreQuery:
        """The query of the target."""
        return StoreQuery.of(self.target.partition("?")[2])

    @property
    def is_signed(self) -> bool:
        """Whether the request carries a signature of any kind, or a part of one."""
        return is_signed(self.query, self.headers.get("authorization", ""))

    @property
    def takes_range(self) -> bool:
        """Whether the request can ask for any range, such as the rest of an object after a cut."""
        return not (self.has_fixed_range or self.asks_for_part)

    def with_headers(self, headers: Mapping[str, str]) -> "StoreRequest":
        """The request with further headers, such as conditions. Those that it has already are not replaced.

        Args:
            headers: Names in lower case, and values.
        """
        added = {name: value for name, value in headers.items() if name not in self.headers}
        return replace(self, headers={**self.headers, **added}) if added else self

    def pinned_to(self, facts: ObjectFacts) -> "StoreRequest":
        """The request for more bytes of the same object: with ``If-Match`` if the object has a strong ETag.

        A condition of the caller's stays unchanged, because a signature may cover it.
        """
        etag = facts.strong_etag
        return self if etag is None else self.with_headers({"if-match": str(etag)})

    def write_head(self, method: str, extra: Mapping[str, str] = _NO_HEADERS) -> bytes:
        """The request line and the headers of a request without a body (RFC 9112, section 3).

        All but the method and ``extra`` is checked and encoded once for each ``StoreRequest``.

        Args:
            method: GET or HEAD.
            extra: The headers of this one attempt, such as ``Range``.

        Raises:
            InvalidArgument: The target or a header has a character that must not be sent, such as a line end.
        """
        fields = b""
        if extra:
            fields = _encode(_join_fields(extra), lines=len(extra))
            _ensure(_FIELDS_RE.fullmatch(fields))
        return b"%b %b%b\r\n" % (method.encode("ascii"), self._target_and_fields, fields)

    @cached_property
    def _target_and_fields(self) -> bytes:
        text = f"{self.target} HTTP/1.1\r\n{_join_fields(self.headers)}"
        encoded = _encode(text, lines=1 + len(self.headers))
        _ensure(_TARGET_AND_FIELDS_RE.fullmatch(encoded))
        return encoded


def own_headers(host: str) -> dict[str, str]:
    """The headers of every request to a ``Host``: the name of this service, and that stored bytes are wanted."""
    return {"host": host, "user-agent": "s3-active-storage", "accept-encoding": "identity"}


def _join_fields(headers: Mapping[str, str]) -> str:
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])


def _encode(text: str, lines: int) -> bytes:
    """A part of a head as bytes, if it has exactly this number of lines, and only characters of Latin-1."""
    encoded = text.encode("latin-1", errors="ignore")
    _ensure(len(encoded) == len(text) and encoded.count(b"\n") == lines)
    return encoded


def _ensure(is_sendable: object) -> None:
    if not is_sendable:
        raise InvalidArgument("request", "holds a character that cannot be sent on to a store")

"""ETags (RFC 9110, section 8.8.3): the value, its parser, its printer, and its two comparisons.

A store names a version of an object by an ETag. A result has an ETag as well: the object's, followed by a digest of the
reduction, so that the object's ETag can be read back from the result's.

Some stores leave the quotes out. Such an ETag is kept and printed as the store sent it. It can still be a condition for
the same store, but no result's ETag is made from it.

This module imports the standard library only: an error of ``active_storage.errors`` carries an ETag.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

# The ETags in a condition for a store. Some clients and stores leave the quotes out.
_CONDITION_RE = re.compile(r'(?:W/)?"[^"]*"|[^\s,"]+')

# RFC 9110, section 8.8.3: entity-tag.
_ETAG_RE = re.compile(r'(?P<weak>W/)?"(?P<opaque>[\x21\x23-\x7e\x80-\xff]*)"')

# One word without quotes, which cannot be taken for a weak ETag or for several. As a condition, several ETags would
# match several versions of the object.
_UNQUOTED_RE = re.compile(r"(?![Ww]/)[A-Za-z0-9._:=+/-]+")


@dataclass(frozen=True, slots=True)
class ETag:
    """The name of one version of an object. Its ``repr`` hides the text, which can come from a caller.

    Two ETags are equal if they are printed in the same way. ``matches_strongly`` and ``matches_weakly`` are HTTP's
    comparisons.

    Attributes:
        opaque: The text between the quotes; the whole header if the store sent no well-formed ETag.
        is_weak: Whether versions with different bytes may share it.
        is_quoted: Whether it is well-formed; False if the store left the quotes out.
    """

    opaque: str = field(repr=False)
    is_weak: bool = False
    is_quoted: bool = True

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The ETag in a text; None if the text is not a well-formed ETag."""
        match = _ETAG_RE.fullmatch(text)
        return None if match is None else cls(match["opaque"], match["weak"] is not None)

    @classmethod
    def from_header(cls, header: str | None) -> Self | None:
        """The ETag in a store's ``ETag`` header, well-formed or not; None if the header is absent or empty."""
        if not header:
            return None
        return cls.parse(header) or cls(header, is_quoted=False)

    def __str__(self) -> str:
        """The value of an ``ETag`` header; ``from_header`` reads it back."""
        return f'{"W/" if self.is_weak else ""}"{self.opaque}"' if self.is_quoted else self.opaque

    @property
    def is_strong(self) -> bool:
        """Whether equal ETags mean equal bytes (RFC 9110, section 8.8.1), so that it can be sent as ``If-Match``.

        An empty one does not: some stores send it for every object.
        """
        is_word = self.is_quoted or _UNQUOTED_RE.fullmatch(self.opaque) is not None
        return not self.is_weak and bool(self.opaque) and is_word

    def as_strong(self) -> Self:
        """The same ETag without the mark ``W/``."""
        return type(self)(self.opaque, is_quoted=self.is_quoted)

    def matches_strongly(self, other: Self) -> bool:
        """The comparison of ``If-Match`` (RFC 9110, sections 8.8.3.2 and 13.1.1)."""
        return self.is_strong and other.is_strong and self.opaque == other.opaque

    def matches_weakly(self, other: Self) -> bool:
        """The comparison of ``If-None-Match`` (RFC 9110, sections 8.8.3.2 and 13.1.2)."""
        return self.opaque == other.opaque

    def with_digest(self, digest: str) -> Self | None:
        """The ETag of a result: this one, which is the object's, and a digest of the reduction.

        None if this one is malformed.
        """
        return type(self)(f"{self.opaque}-{digest}", self.is_weak) if self.is_quoted else None

    def without_digest(self, digest: str) -> Self | None:
        """The object's ETag, read back from a result's; None if this one does not end in the digest."""
        source, _, found = self.opaque.rpartition("-")
        return type(self)(source, self.is_weak) if found == digest else None


def parse_etags(header: str) -> list[ETag]:
    """The well-formed ETags that an ``If-Match`` or ``If-None-Match`` header lists."""
    return [ETag(match["opaque"], match["weak"] is not None) for match in _ETAG_RE.finditer(header)]


def allows_match(header: str, etag: ETag | None) -> bool:
    """Whether an ``If-Match`` header is true for an object with this ETag (RFC 9110, section 13.1.1)."""
    return header.strip() == "*" or (
        etag is not None and any(etag.matches_strongly(listed) for listed in _parse_condition(header))
    )


def allows_none_match(header: str, etag: ETag | None) -> bool:
    """Whether an ``If-None-Match`` header is true for an object with this ETag (RFC 9110, section 13.1.2)."""
    return header.strip() != "*" and (
        etag is None or not any(etag.matches_weakly(listed) for listed in _parse_condition(header))
    )


def _parse_condition(header: str) -> list[ETag]:
    return [etag for text in _CONDITION_RE.findall(header) if (etag := ETag.from_header(text))]


def format_etags(etags: Iterable[ETag]) -> str:
    """The value of the header that lists these ETags."""
    return ", ".join(map(str, etags))

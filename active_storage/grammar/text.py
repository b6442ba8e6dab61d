"""Percent-encoding (RFC 3986, section 2.1) of our own names. Paths and queries for the store are never re-encoded."""

import re
from urllib.parse import quote, unquote

from active_storage.errors import InvalidArgument

# Characters that must be percent-encoded in a request target: white space, controls, "#", and all non-ASCII ones
# (RFC 3986, section 2).
_UNENCODED_RE = re.compile(r'[^!-"$-~]')

# Two hexadecimal digits must follow every "%" (RFC 3986, section 2.1).
_BROKEN_ESCAPE_RE = re.compile(r"%(?![0-9A-Fa-f]{2})")

# Escapes of non-ASCII bytes. In UTF-8, several of them encode one character.
_BEYOND_ASCII_RE = re.compile(r"%[89A-Fa-f]")


def decode(text: str, field: str) -> str:
    """``text`` without percent-encoding. A plus is not a space, as in every path.

    Raises:
        InvalidArgument: An escape is malformed, a character is not encoded, or the bytes are not UTF-8.
    """
    ensure_encoded(text, field)
    return unquote(text)


def ensure_encoded(text: str, field: str) -> None:
    """Pass if ``decode`` can decode the text.

    Raises:
        InvalidArgument: As in ``decode``.
    """
    if _BROKEN_ESCAPE_RE.search(text):
        raise InvalidArgument(field, "has a % without two hexadecimal digits after it; write a percent sign as %25")
    if _UNENCODED_RE.search(text):
        raise InvalidArgument(field, "has a character that must be percent-encoded")
    if _BEYOND_ASCII_RE.search(text):
        try:
            unquote(text, errors="strict")
        except UnicodeDecodeError:
            raise InvalidArgument(field, "is not valid UTF-8 after percent-decoding") from None


def encode(text: str, safe: str = "/") -> str:
    """``text`` percent-encoded like SigV4: all but unreserved characters and the ``safe`` ones."""
    return quote(text, safe=f"{safe}-_.~")

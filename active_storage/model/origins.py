"""Origins and the allow-list: which servers may be connected to, decided before a socket is opened.

An origin is scheme, host and port (RFC 6454, section 4). Hosts are compared as text, in lower case: no name is resolved
and no number is rewritten, so that ``2130706433`` and ``[::ffff:7f00:1]`` do not match ``127.0.0.1``.

A host is a name or an address. It is an address if it is in brackets, or if its last label is a number (WHATWG URL,
"ends in a number"): resolvers accept ``127.1``, ``0x7f000001`` and ``0177.0.0.1`` as addresses too. ``*`` matches
labels of names only, and an IPv4 address can be allowed as four decimal numbers only. Which addresses a name may
resolve to is in ``handler/stores/addresses.py``.
"""

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

_DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_PORT = 65535

# RFC 3986, sections 3.1 and 3.2. urllib's urlsplit is not used: it drops tabs and line ends wherever they stand.
_ORIGIN_RE = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[^\[\]/?#@]*\]|[^\[\]:/?#@]*)(?::(?P<port>[1-9][0-9]{0,4}))?/?",
    re.ASCII | re.IGNORECASE,
)

# Letters, digits, dots, hyphens and underscores (container networks use them), or an IPv6 literal without a zone.
_HOST_RE = re.compile(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]")
_PATTERN_LABEL_RE = re.compile(r"\*|[a-z0-9_-]+")

# WHATWG URL, section 3.5: the last label, apart from a closing dot, is digits or a hexadecimal number.
_ENDS_IN_NUMBER_RE = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")


@dataclass(frozen=True, slots=True)
class Origin:
    """The server of a connection.

    Attributes:
        scheme: ``http`` or ``https``.
        host: A name or an address in lower case, IPv6 in brackets.
        port: The port, by default that of the scheme.
    """

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The origin of ``scheme://host[:port]``, with or without a closing slash.

        Raises:
            ValueError: The text is not an origin, or it has a path, a query, a user or a password as well.
        """
        scheme, host, port = _split(text)
        if not _HOST_RE.fullmatch(host):
            raise ValueError("the host of an origin should be a name or an address")
        return cls(scheme, host, port)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def is_address(self) -> bool:
        """Whether the host is an address in any notation, not a name."""
        return is_address(self.host)

    @property
    def authority(self) -> str:
        """``host[:port]`` as clients write it in ``Host``: without the scheme's own port (RFC 9110, section 7.2)."""
        return self.host if self.port == _DEFAULT_PORTS[self.scheme] else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class OriginPattern:
    """An origin in whose host ``*`` stands for one whole label, as in ``https://*.s3.amazonaws.com``."""

    scheme: str
    labels: tuple[str, ...]
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The pattern of a text; an origin is the pattern that matches only itself.

        Raises:
            ValueError: The text is not an origin, a ``*`` is only a part of a label, or an address has a ``*`` or an
                unusual notation.
        """
        scheme, host, port = _split(text)
        labels = tuple(host.split("."))
        if not _HOST_RE.fullmatch(host) and not all(_PATTERN_LABEL_RE.fullmatch(label) for label in labels):
            raise ValueError("the host of an origin should be a name or an address, with * for whole labels only")
        if is_address(host) and not _is_plain_address(host):
            raise ValueError("an address in an origin should be four decimal numbers, or IPv6 in brackets, without *")
        return cls(scheme, labels, port)

    def __str__(self) -> str:
        return str(Origin(self.scheme, ".".join(self.labels), self.port))

    @property
    def is_exact(self) -> bool:
        """Whether it matches one origin only, without a ``*``."""
        return "*" not in self.labels

    def matches(self, origin: Origin) -> bool:
        """Whether ``origin`` has the same scheme and port, and a host that the labels match one by one.

        An address is matched by the same address only, written in the same way.
        """
        labels = origin.host.split(".")
        return (
            (self.scheme, self.port, len(self.labels)) == (origin.scheme, origin.port, len(labels))
            and all(mine in ("*", label) for mine, label in zip(self.labels, labels, strict=True))
            and (self.is_exact or not origin.is_address)
        )  # fmt: skip


def is_address(host: str) -> bool:
    """Whether a host is an address in any notation that a resolver knows, not a name."""
    return host.startswith("[") or _ENDS_IN_NUMBER_RE.fullmatch(host) is not None


def _is_plain_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


# Most requests are for objects at a few origins.
@lru_cache(maxsize=256)
def _split(text: str) -> tuple[str, str, int]:
    match = _ORIGIN_RE.fullmatch(text)
    if match is None or not match["host"].isascii():
        # The text is not repeated: it can be a misplaced secret.
        raise ValueError("an origin should be http://host[:port] or https://host[:port], without a path or a password")
    scheme, host = match["scheme"].lower(), match["host"].lower()
    port = int(match["port"] or _DEFAULT_PORTS[scheme])
    if port > _MAX_PORT:
        raise ValueError(f"the port of an origin should be at most {_MAX_PORT}")
    if host.startswith("["):
        _ensure_ipv6(host[1:-1])
    return scheme, host, port


def _ensure_ipv6(text: str) -> None:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        raise ValueError("the host in the brackets of an origin should be an IPv6 address") from None

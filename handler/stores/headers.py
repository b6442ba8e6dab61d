"""Which headers never go from one side to the other: those of one connection, and those that a store could believe.

A store cannot tell this service's own words from what it passes on. Behind the service, an address in ``X-Real-IP`` is
believed (MinIO compares it with ``aws:SourceIp``), and a method in ``X-HTTP-Method-Override`` obeyed. A signature is no
licence: a store that ignores it, as for an object that anybody may read, would still believe the header.

Sources: RFC 9110, section 7.6.1 (connections); RFC 7239, and what proxies, CDNs and frameworks use instead of it.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

# RFC 9110, section 7.6.1, with what HTTP/1.0 used, and the proxies' own fields (section 11.7).
_HOP_RE = re.compile(r"connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade|http2-settings")

# What says where a request ends, or how it is sent. The requests of this service have no body.
_FRAMING = frozenset({"content-length", "expect"})

# What a store, or what stands before it, could believe; each pattern is for whole names in lower case.
_BELIEVED_RE = re.compile(
    r"""
    # Whose request it is, by address: RFC 7239, X-Forwarded-*, X-Real-IP, True-Client-IP, CF-Connecting-IP and so on.
    via | forwarded.* | x-forwarded.* | (?:x-client|x-cluster|x-remote|remote|x-real|cf|x-envoy)-.* | x-host
    | .*(?:client|real|remote|source|peer|connecting|connection|originating|socket|user|external)
      -?(?:ip|addr|address)(?:-.*)?
    # Whose request it is, by what a proxy has verified: certificates, single sign-on.
    | (?:x-)?(?:ssl|client-cert)-.* | x-(?:authenticated|auth-request|webauth|pomerium)-.* | x-amzn-(?:oidc|mtls)-.*
    | x-goog-(?:iap|authenticated)-.* | x-ms-client-principal.* | x-ms-token-aad-.*
    # Another method, host or path than the request line's.
    | .*-override | x-http-(?:method|host).* | x-method.* | x-original.* | x-rewrite.* | x-accel-.* | x-sendfile.*
    # A session.
    | (?:set-)?cookie2?
    """,
    re.VERBOSE,
)


def drop_nominated(headers: Mapping[str, str]) -> Mapping[str, str]:
    """The headers without those that ``Connection`` says are for this connection only; names in lower case."""
    if "connection" not in headers:
        return headers
    nominated = split_connection(headers["connection"])
    return {name: value for name, value in headers.items() if name not in nominated}


def split_connection(value: str) -> frozenset[str]:
    """The names that the value of a ``Connection`` header lists, in lower case.

    But for ``Content-Length``, without which nobody would know where a message ends.
    """
    return frozenset(name.strip().lower() for name in value.split(",")) - {"content-length", ""}


def is_hop(name: str) -> bool:
    """Whether a header, its name in lower case, is for one connection only."""
    return _HOP_RE.fullmatch(name) is not None


# Callers choose the names, but most choose the same.
@lru_cache(maxsize=1024)
def is_passable(name: str) -> bool:
    """Whether a header of a caller's, its name in lower case, may go on to a store at all."""
    return not (name in _FRAMING or is_hop(name) or _BELIEVED_RE.fullmatch(name))

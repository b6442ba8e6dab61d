"""Which headers never go from one side to the other: those of one connection, and those that a store could believe.

A store cannot tell this service's own words from what it passes on. Behind the service, an address in ``X-Real-IP`` is
believed (MinIO compares it with ``aws:SourceIp``), and a method in ``X-HTTP-Method-Override`` obeyed. A signature is no
licence: a store that ignores it, as for an object that anybody may read, would still believe the header. So what a
signature may carry along is what the stores' own documents name and SDKs sign, and nothing else.

Sources: RFC 9110, section 7.6.1 (connections); RFC 7239, and what proxies, CDNs and frameworks use instead of it.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

# What the SDKs sign beside their store's own headers: boto3 and the AWS CLI, Java 1 and 2, Go 1 and 2, JavaScript 2 and
# 3, Rust, .NET, MinIO's, s3cmd, rclone. ``Content-Length`` is looked at where it stands.
_SIGNABLE = frozenset(
    {
        *("accept", "accept-encoding", "accept-language", "cache-control", "content-md5", "content-type", "date"),
        *("pragma", "range", "user-agent", "amz-sdk-invocation-id", "amz-sdk-request", "amz-sdk-retry"),
        *("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"),
    }
)

# Where the stores' own headers begin.
_STORES_PREFIXES = ("x-amz-", "x-goog-", "x-ms-")

# Of these, what a store, or what stands before it, could believe; each pattern is for whole names in lower case.
_BELIEVED_RE = re.compile(
    r"""
    # Whose request it is, by address.
    .*(?:forward|client|real|remote|source|peer|connecting|connection|originating|socket|user|external|original)
      -?(?:ip|addr|address|for|host|port|proto)(?:-.*)?
    # Whose request it is, by what a proxy has verified: certificates, single sign-on.
    | x-goog-(?:iap|authenticated)-.* | x-ms-client-principal.* | x-ms-token-.* | .*-(?:client-cert|clientcert).*
    # Another method, host or path than the request line's.
    | .*-override | .*-(?:original|rewrite|forwarded)(?:-.*)?
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


# Callers choose the names, but most choose the same.
@lru_cache(maxsize=1024)
def is_passable(name: str) -> bool:
    """Whether a header of a caller's, its name in lower case, may go on to a store at all."""
    return name in _SIGNABLE or (name.startswith(_STORES_PREFIXES) and not _BELIEVED_RE.fullmatch(name))

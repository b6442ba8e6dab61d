"""Which headers of a caller may go on to a store, and the grammar of header fields.

Two kinds never go on: the headers of one connection, and headers that a store could trust. A store cannot tell this
service's own headers from those that it forwards. It would trust an address in ``X-Real-IP`` (MinIO compares it with
``aws:SourceIp``), and obey a method in ``X-HTTP-Method-Override``. A signature does not make such a header safe: a
store that ignores the signature, as for a public object, would still trust the header. So a signed header goes on only
if the documents of the stores name it and SDKs sign it.

Sources: RFC 9110, section 7.6.1 (connections); RFC 7239, and the headers that proxies, CDNs and frameworks use instead.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

# RFC 9110, sections 5.1, 5.5 and 5.6.2: a field name is a token, and a field value holds no control characters.
FIELD_NAME, FIELD_VALUE = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+", rb"[\t\x20-\x7e\x80-\xff]*"

# The headers that SDKs sign besides the stores' own: boto3 and the AWS CLI, Java 1 and 2, Go 1 and 2, JavaScript 2 and
# 3, Rust, .NET, MinIO's, s3cmd, rclone. ``passthrough.py`` decides on ``Content-Length`` by its value.
_SIGNABLE = frozenset(
    {
        *("accept", "accept-encoding", "accept-language", "cache-control", "content-md5", "content-type", "date"),
        *("pragma", "range", "user-agent", "amz-sdk-invocation-id", "amz-sdk-request", "amz-sdk-retry"),
        *("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"),
    }
)

# The prefixes of the stores' own headers.
_STORES_PREFIXES = ("x-amz-", "x-goog-", "x-ms-")

# Those of the stores' own headers that a store, or a gateway before it, could trust. Whole names in lower case.
_TRUSTED_RE = re.compile(
    r"""
    # The caller's address.
    .*(?:forward|client|real|remote|source|peer|connecting|connection|originating|socket|user|external|original)
      -?(?:ip|addr|address|for|host|port|proto)(?:-.*)?
    # The caller's identity, as a proxy has verified it: certificates, single sign-on.
    | x-goog-(?:iap|authenticated)-.* | x-ms-client-principal.* | x-ms-token-.* | .*-(?:client-cert|clientcert).*
    # A method, host or path in place of the request line's.
    | .*-override | .*-(?:original|rewrite|forwarded)(?:-.*)?
    """,
    re.VERBOSE,
)


def drop_nominated(headers: Mapping[str, str]) -> Mapping[str, str]:
    """The headers without those that ``Connection`` names, which are for this connection only; names in lower case."""
    if "connection" not in headers:
        return headers
    nominated = split_connection(headers["connection"])
    return {name: value for name, value in headers.items() if name not in nominated}


def split_connection(value: str) -> frozenset[str]:
    """The names in the value of a ``Connection`` header, in lower case.

    ``Content-Length`` is left out, because the end of the body could not be found without it.
    """
    return frozenset(name.strip().lower() for name in value.split(",")) - {"content-length", ""}


# Callers choose the names, and most choose the same ones.
@lru_cache(maxsize=1024)
def is_passable(name: str) -> bool:
    """Whether a caller's header may go on to a store, signed or not; the name is in lower case."""
    return name in _SIGNABLE or (name.startswith(_STORES_PREFIXES) and not _TRUSTED_RE.fullmatch(name))

"""The target and the ``Host`` of an HTTP request: whether they are well-formed, and which path and query they name.

Every request is checked here before a door is chosen. The doors interpret the path.
"""

import re

from active_storage.errors import ActiveStorageError, InvalidArgument
from active_storage.grammar.targets import find_authority, split_target

# RFC 9110, section 7.2, and RFC 3986, section 3.2.2, except the empty name, which http URLs do not allow (RFC 9110,
# section 4.2.1), and except commas, by which a server joins two Host headers.
_HOST_RE = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})+)(?::[0-9]{0,5})?", re.ASCII
)


def find_fault(method: str, raw_target: str, host: str | None, needs_host: bool) -> ActiveStorageError | None:
    """The error that HTTP requires for a malformed request (RFC 9112, section 3.2); None for a well-formed one.

    Args:
        method: The HTTP method.
        raw_target: The raw request target.
        host: The ``Host`` header; None if it is absent.
        needs_host: Whether ``Host`` is required, as it is since HTTP/1.1.
    """
    if host is None and needs_host:
        return InvalidArgument("Host", "is required")
    if host is not None and not _HOST_RE.fullmatch(host):
        return InvalidArgument("Host", "is not of the form name or name:port")
    if raw_target.startswith("/") or (method, raw_target) == ("OPTIONS", "*") or method == "CONNECT":
        return None
    authority = find_authority(raw_target)
    # RFC 9112, section 3.2.2, and RFC 3986, section 4.3: an absolute URL has no fragment.
    if authority is None or not _HOST_RE.fullmatch(authority) or "#" in raw_target:
        return InvalidArgument("target", "is neither a path nor an absolute http or https URL")
    return None


def locate_target(raw_target: str, host: str, base_domain: str | None) -> tuple[str, str]:
    """The raw path, in path style, and the raw query of a request target.

    Args:
        raw_target: The raw request target.
        host: The ``Host`` header. A target in absolute form overrides it (RFC 9112, section 3.2.2).
        base_domain: The domain of virtual-host style requests, whose host is ``bucket.base_domain``. In this service's
            paths, the reducer takes the place of the bucket.
    """
    path, query = split_target(raw_target)
    name = (find_authority(raw_target) or host).lower().partition(":")[0] if base_domain else ""
    if base_domain and name.endswith(f".{base_domain.lower()}"):
        path = f"/{name.removesuffix(base_domain.lower())[:-1]}{path}"
    return path, query

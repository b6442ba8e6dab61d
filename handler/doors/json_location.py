"""The location of the object of a JSON request: from a URL, or a store and two names, to an origin and targets there.

Nothing here connects to a store, and no error message contains a part of a URL.
"""

from dataclasses import dataclass
from urllib.parse import quote, unquote

from active_storage.errors import InvalidArgument, shown
from active_storage.grammar.text import encode
from active_storage.model.origins import Origin
from handler.doors.urls import split_url

_S3, _WEB = "s3", ("http", "https")

# What needs no encoding in a path or a query (RFC 3986, sections 3.3 and 3.4), and what is encoded already. Clients
# put keys into URLs without encoding them; what needs encoding, such as a space, is encoded here as browsers do it.
URL_SAFE = "/%:@!$&'()*+,;=~?"

# The one name in GetObject's query that selects an object. The others change the response.
_VERSION = "versionId"


@dataclass(frozen=True, slots=True)
class ObjectLocation:
    """The location of an object.

    Attributes:
        field: The member of the request that names it.
        is_s3: Whether the server is an S3 store; otherwise it is any web server.
        origin: The server's origin.
        targets: Path and query there, percent-encoded. If there are two, the second is used if the first names no
            object.
    """

    field: str
    is_s3: bool
    origin: Origin
    targets: tuple[str, ...]


def locate_object(interface_type: str, url: str) -> ObjectLocation:
    """The location of an object by its URL.

    Raises:
        InvalidArgument: The interface type is unknown, or the URL names no object.
    """
    if interface_type != _S3 and interface_type not in _WEB:
        raise InvalidArgument("interface_type", f"is {shown(interface_type)}, not one of {', '.join((_S3, *_WEB))}")
    split = split_url("url", url)
    if interface_type == _S3:
        raw_bucket, _, raw_key = split.path.removeprefix("/").partition("/")
        bucket, key = _decode(raw_bucket), _decode(raw_key)
        return locate_s3_object("url", split.origin, bucket, key, _keep_version(split.query))
    target = (split.path or "/") + ("" if split.query is None else f"?{split.query}")
    return ObjectLocation("url", False, split.origin, (quote(target, safe=URL_SAFE),))


def locate_s3_object(field: str, origin: Origin, bucket: str, key: str, query: str = "") -> ObjectLocation:
    """The location of an object in an S3 store.

    Args:
        field: The member of the request that names it.
        origin: The store.
        bucket: The bucket, decoded.
        key: The key, decoded.
        query: The query of the target, with its question mark; empty for no query.

    Raises:
        InvalidArgument: The bucket or the key is empty.
    """
    for name, value in (("bucket", bucket), ("key", key)):
        if not value:
            raise InvalidArgument(field, f"has no {name}")
    # Clients that treat a key as a file path put a slash in front of it, which the object's key does not have.
    names = (key, key[1:]) if key.startswith("/") and len(key) > 1 else (key,)
    return ObjectLocation(field, True, origin, tuple(f"/{encode(bucket)}/{encode(name)}{query}" for name in names))


def _decode(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise InvalidArgument("url", "is not valid UTF-8 after percent-decoding") from None


def _keep_version(query: str | None) -> str:
    if not query:
        return ""
    name, _, value = query.partition("=")
    if name != _VERSION or "&" in value:
        raise InvalidArgument("url", f"has a query; that of an s3 object can contain {_VERSION} only")
    return f"?{_VERSION}={encode(_decode(value), safe='')}"

"""URLs in a request, parsed strictly, so that no two parsers can disagree about where to connect.

No error message contains a part of a URL, since its query can be a signature.
"""

import dataclasses
import re

from active_storage.errors import InvalidArgument
from active_storage.model.origins import Origin

# RFC 3986, appendix B, restricted to http and https.
_URL_RE = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?", re.ASCII | re.IGNORECASE
)

_CONTROL_RE = re.compile(r"[\x00-\x1f\x7f]")


@dataclasses.dataclass(frozen=True, slots=True)
class SplitUrl:
    """A parsed URL with raw path and query. The query is None if absent, and is not shown by ``repr``."""

    origin: Origin
    path: str
    query: str | None = dataclasses.field(repr=False)


def split_url(field: str, url: str) -> SplitUrl:
    """The origin, the path and the query of a URL.

    Args:
        field: The member of the request that contains the URL.
        url: The URL.

    Raises:
        InvalidArgument: It is not an absolute http or https URL.
    """
    match = _URL_RE.fullmatch(url)
    if "#" in url:
        raise InvalidArgument(field, "has a fragment; write # in a key as %23")
    if match is None or _CONTROL_RE.search(url):
        raise InvalidArgument(field, "is not of the form http://host/path or https://host/path")
    return SplitUrl(parse_origin(field, f"{match['scheme']}://{match['authority']}"), match["path"], match["query"])


def parse_origin(field: str, text: str) -> Origin:
    """The origin that a member of a request names.

    Raises:
        InvalidArgument: The text is not an origin.
    """
    if "@" in text:
        raise InvalidArgument(field, "contains credentials; send them in the Authorization header")
    try:
        return Origin.parse(text)
    except ValueError:
        raise InvalidArgument(field, "is not of the form http://host[:port] or https://host[:port]") from None

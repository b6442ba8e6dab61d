"""URLs that a request hands over, taken apart strictly: where to connect is never left to two readings of one text.

No text of an error holds a part of a URL: its query may be a signature.
"""

import dataclasses
import re

from handler.errors import InvalidArgument
from handler.origins import Origin

# RFC 3986, appendix B, as far as it is of use here.
_URL_RE = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?", re.ASCII | re.IGNORECASE
)

_CONTROL_RE = re.compile(r"[\x00-\x1f\x7f]")


@dataclasses.dataclass(frozen=True, slots=True)
class SplitUrl:
    """A URL in its parts; path and query as they were sent, the query None where there is none, and never shown."""

    origin: Origin
    path: str
    query: str | None = dataclasses.field(repr=False)


def split_url(field: str, url: str) -> SplitUrl:
    """The parts of a URL.

    Args:
        field: The member of the request that holds it.
        url: What it holds.

    Raises:
        InvalidArgument: It is none that something could be fetched from.
    """
    match = _URL_RE.fullmatch(url)
    if "#" in url:
        raise InvalidArgument(field, "has a fragment; in a key, # is written %23")
    if match is None or _CONTROL_RE.search(url):
        raise InvalidArgument(field, "is not of the form http://host/path or https://host/path")
    return SplitUrl(parse_origin(field, f"{match['scheme']}://{match['authority']}"), match["path"], match["query"])


def parse_origin(field: str, text: str) -> Origin:
    """The origin that a member of a request names.

    Raises:
        InvalidArgument: It names none.
    """
    if "@" in text:
        raise InvalidArgument(field, "holds credentials; they belong into the Authorization header")
    try:
        return Origin.parse(text)
    except ValueError:
        raise InvalidArgument(field, "is not of the form http://host[:port] or https://host[:port]") from None

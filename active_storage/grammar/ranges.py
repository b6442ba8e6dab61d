"""The ``Range`` header (RFC 9110, section 14.2), and the other headers of conditional requests."""

import re

from active_storage.errors import InvalidArgument
from active_storage.model.dtypes import MAX_BYTES
from active_storage.model.ranges import ByteRange

# RFC 9110, sections 13.1 and 14.2: conditions and ranges. The doors apply them to the result and translate them for the
# store, unless a signature covers them.
NEGOTIATED_HEADERS = frozenset(
    {"range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"}
)

# RFC 9110, section 14.1.2: int-range and suffix-range. Optional white space around it, as section 5.6.1 has for lists.
_RANGE_RE = re.compile(r"\s*bytes\s*=\s*(?P<first>[0-9]{0,19})-(?P<last>[0-9]{0,19})\s*", re.ASCII | re.IGNORECASE)


def parse_range(header: str) -> ByteRange:
    """The range that a ``Range`` header asks for.

    Raises:
        InvalidArgument: It is not a single range of bytes. RFC 9110 allows a server to ignore such a header, but the
            result would then be of other bytes than requested.
    """
    if "," in header:
        raise InvalidArgument("Range", "contains several ranges; send one range in each request")
    match = _RANGE_RE.fullmatch(header)
    if match is None:
        raise InvalidArgument("Range", "is not of the form bytes=first-last, bytes=first- or bytes=-length")
    # Limited to the largest position of a byte. Stores count in 64-bit integers, and some wrap around.
    first, last = (min(int(bound), MAX_BYTES) if bound else None for bound in match.group("first", "last"))
    return ByteRange(first, last)


def format_range(byte_range: ByteRange) -> str:
    """The value of the ``Range`` header that asks for ``byte_range``."""
    first, last = ("" if bound is None else str(bound) for bound in (byte_range.first, byte_range.last))
    return f"bytes={first}-{last}"

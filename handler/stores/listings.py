"""What lies below a prefix of a bucket, by ListObjectsV2 (Amazon S3 API Reference).

The store groups all keys with the same text up to the next slash into one *common prefix*, which is called a folder
here, so that its answers do not grow with the number of chunks. The document of the answer is believed only if it is
about what was asked for: a wrong one would make a dataset that lacks arrays.

Keys come in the encoding ``url``, because XML has no way to write some characters of keys. A space is a plus in it, and
a plus is %2B. SeaweedFS writes a space as %20.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote_plus, urlencode

from active_storage.errors import EntityTooLarge, StoreProtocolError
from handler.stores.xml_text import XmlFault, XmlLimits, read_texts

# The most folders of one listing. Reading what is in them is limited by MAX_METADATA_REQUESTS as well.
MAX_FOLDERS = 10_000

# The most pages: beside folders, there can be any number of objects below a prefix.
MAX_PAGES = 100

# The most keys and folders of a page, which is S3's limit.
_PAGE_KEYS = 1000

# S3's limit of 1,024 bytes of a key is three times as much when encoded. The rest of an entry has some 400 bytes.
_PAGE_BYTES = 4 << 20

# An entry has some ten elements; the texts that are read lie two levels below the root.
_LIMITS = XmlLimits(depth=3, elements=32 * _PAGE_KEYS)

# Tokens have up to some hundred characters; that of SeaweedFS is a key.
_MAX_TOKEN_CHARACTERS = 4096

_ROOT = "ListBucketResult"
_BROKEN_ESCAPE_RE = re.compile("%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing.

    Attributes:
        folders: The names of folders, without the prefix and the slash.
        token: The continuation token for the next page; None on the last page.
    """

    folders: tuple[str, ...]
    token: str | None


@dataclass(frozen=True, slots=True)
class Folder:
    """A prefix of a bucket.

    Attributes:
        bucket: The raw path of the bucket, such as "/bucket".
        prefix: The prefix, decoded, with the slash at its end.
        read: Reads the document at a target of the store, if it has at most a number of bytes.
    """

    bucket: str
    prefix: str
    read: Callable[[str, int], bytes] = field(repr=False)

    def list_folders(self, count_request: Callable[[], None], count_bytes: Callable[[int], None]) -> list[str]:
        """The names of the folders in it, each once.

        Args:
            count_request: Called before each request; may raise an error.
            count_bytes: Called with the size of each document; may raise an error.

        Raises:
            StoreProtocolError: The store's answer is not a listing of this prefix.
            EntityTooLarge: There are too many folders or pages, or a page is too long.
            ActiveStorageError: The store refuses, or does not answer.
        """
        names: dict[str, None] = {}
        tokens: set[str] = set()
        token: str | None = None
        for _ in range(MAX_PAGES):
            count_request()
            document = self.read(self._write_target(token), _PAGE_BYTES)
            count_bytes(len(document))
            page = parse_page(document, self.prefix)
            names |= dict.fromkeys(page.folders)
            if len(names) > MAX_FOLDERS:
                raise EntityTooLarge(f"the listing has more than {MAX_FOLDERS} folders")
            token = page.token
            if token is None:
                return list(names)
            if token in tokens:
                raise _fault("has the continuation token of an earlier page")
            tokens.add(token)
        raise EntityTooLarge(f"the listing has more than {MAX_PAGES} pages")

    def _write_target(self, token: str | None) -> str:
        """The target of a page, with the slash after the bucket by which its region is found."""
        asked = {"list-type": "2", "delimiter": "/", "encoding-type": "url", "max-keys": str(_PAGE_KEYS)}
        asked["prefix"] = self.prefix
        if token is not None:
            asked["continuation-token"] = token
        return f"{self.bucket}/?{urlencode(asked, quote_via=quote)}"


def parse_page(document: bytes, prefix: str) -> Page:
    """A page of the listing of a prefix, with the delimiter "/".

    Raises:
        StoreProtocolError: The document is not a page of this listing.
    """
    try:
        texts = read_texts(document, _LIMITS)
    except XmlFault as fault:
        raise _fault(str(fault)) from None
    # The root ends last.
    if texts[-1][0] != (_ROOT,):
        raise _fault(f"is not a {_ROOT}")

    def find(*path: str) -> list[str]:
        return [text for names, text in texts if names == (_ROOT, *path)]

    is_encoded = _read_encoding(find("EncodingType"))
    keys, folders = (
        [_decode(text, prefix, is_encoded) for text in find(*path)]
        for path in (("Contents", "Key"), ("CommonPrefixes", "Prefix"))
    )
    if len(keys) + len(folders) > _PAGE_KEYS:
        raise _fault(f"has more than {_PAGE_KEYS} keys on a page")
    is_grouped = all(folder.endswith("/") and folder.count("/") == 1 for folder in folders)
    if not is_grouped or any("/" in key for key in keys):
        raise _fault("does not group keys by the delimiter")
    return Page(
        tuple(folder[:-1] for folder in folders), _read_token(find("IsTruncated"), find("NextContinuationToken"))
    )


def _read_encoding(values: Sequence[str]) -> bool:
    """Whether keys are encoded: a store that knows the parameter repeats it."""
    if values not in ([], ["url"]):
        raise _fault("has an encoding that was not asked for")
    return bool(values)


def _read_token(truncated: Sequence[str], tokens: Sequence[str]) -> str | None:
    if truncated not in (["true"], ["false"]):
        raise _fault("does not say whether it is truncated")
    if truncated == ["false"]:
        return None
    if len(tokens) != 1 or not 0 < len(tokens[0]) <= _MAX_TOKEN_CHARACTERS:
        raise _fault("is truncated, and has no continuation token of a possible length")
    return tokens[0]


def _decode(text: str, prefix: str, is_encoded: bool) -> str:
    """The rest of a key or of a common prefix behind the prefix that was asked for."""
    if is_encoded:
        if _BROKEN_ESCAPE_RE.search(text):
            raise _fault("has a malformed escape in a key")
        try:
            text = unquote_plus(text, errors="strict")
        except UnicodeDecodeError:
            raise _fault("has a key that is not UTF-8") from None
    if not text.startswith(prefix):
        raise _fault("has a key outside the prefix that was asked for")
    return text.removeprefix(prefix)


def _fault(text: str) -> StoreProtocolError:
    return StoreProtocolError(f"the store's listing {text}")

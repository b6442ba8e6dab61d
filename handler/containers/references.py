"""References: chunks that lie at URLs, as kerchunk files and chunk tables name them.

A million references are four columns of numbers, and a URL that several of them share is one object. What the formats
of references have in common lives here. Other files read the formats.
"""

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np

from active_storage.errors import ActiveStorageError, UndecodableData, UnsupportedArray, shown
from active_storage.model.etag import ETag
from handler.containers.reader import ContainerReader
from handler.containers.stored_array import ABSENT, ChunkObject, Numbers, Places
from handler.stores.source import ObjectFacts

# RFC 3986, section 3.1: scheme.
_SCHEME_RE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SCHEMES = frozenset({"s3", "http", "https"})

# S3 takes keys of 1,024 bytes, which grow to 3,072 when they are escaped. Servers take request lines of some 8 KiB.
MAX_URL_LENGTH = 8192

# The memory of the object at a URL, which has its source and its version.
_OBJECT_BYTES = 2048

_BASE64 = b"base64:"

# The number in place of an object's, for a chunk whose bytes are in the references.
INLINE = -1


def damaged_references(array: str, fault: str) -> UndecodableData:
    """The error for references that contradict themselves or their format."""
    return UndecodableData("references", f"{shown(array)}: {fault}")


def decode_inline(text: bytes | str, array: str) -> bytes:
    """The bytes of a chunk or document that is in the references: as text, or in base64 after ``base64:``.

    Raises:
        UndecodableData: They are not valid base64.
    """
    data = text.encode() if isinstance(text, str) else text
    if not data.startswith(_BASE64):
        return data
    try:
        return base64.b64decode(data[len(_BASE64) :], validate=True)
    except binascii.Error:
        raise damaged_references(array, "an inline reference is not valid base64") from None


class UrlObjects:
    """The objects at URLs, for all arrays of a container. Threads may share it.

    A URL is one ``ChunkObject`` for as long as this lives, so that all ranges of the object can be of one version.

    Args:
        reader: Opens the URLs.
    """

    def __init__(self, reader: ContainerReader) -> None:
        self._reader = reader
        self._objects: dict[str, ChunkObject] = {}
        self._lock = Lock()

    def open(self, array: str, url: str, etag: ETag | None = None) -> ChunkObject:
        """The object at a URL.

        Args:
            array: The path of the array, for errors.
            url: ``s3://bucket/key`` or ``http(s)://``.
            etag: The version that the references were made for; None if they do not say. Then the version is that of
                the first answer.

        Raises:
            UnsupportedArray: The URL is relative, or has another scheme.
            UndecodableData: It cannot be a URL.
            ActiveStorageError: Its origin is not allowed, it is malformed, or the objects take too much memory.
        """
        with self._lock:
            found = self._objects.get(url)
            if found is None:
                ensure_url(array, url)
                self._reader.memory.take(_OBJECT_BYTES)
                try:
                    opened = self._reader.open_url(url)
                except ActiveStorageError as error:
                    raise error.located(f"array {shown(array)}") from error.__cause__
                facts = None if etag is None else ObjectFacts.named_by(etag)
                found = self._objects[url] = ChunkObject(opened.name, opened.source, facts, must_exist=True)
            return found


def ensure_url(array: str, url: str) -> None:
    """Pass if references may lead to a URL, as far as its form tells.

    Raises:
        UnsupportedArray: The URL is relative, or has an unknown scheme.
        UndecodableData: It cannot be a URL.
    """
    if len(url) > MAX_URL_LENGTH:
        raise damaged_references(array, f"a URL has more than {MAX_URL_LENGTH} characters")
    scheme = _SCHEME_RE.match(url)
    if scheme is None:
        raise UnsupportedArray(array, f"references to relative URLs such as {shown(url.partition('?')[0])}")
    if scheme[1].lower() not in _SCHEMES:
        raise UnsupportedArray(array, f"references to {scheme[1]}:// URLs")
    try:
        url.encode()
    except UnicodeEncodeError:
        raise damaged_references(array, "a URL has an unpaired surrogate") from None


@dataclass(frozen=True, slots=True)
class ReferenceColumns:
    """References to the chunks of an array, one row for each, in ascending order of the chunks.

    Attributes:
        chunks: The number of the chunk in the flattened grid; int64.
        objects: The number of its object, or ``INLINE``; int32.
        offsets: Its first byte in the object, or the number of its inline text; int64.
        sizes: Its size in bytes, or ``WHOLE_OBJECT``; int64.
    """

    chunks: np.ndarray[Any, np.dtype[np.int64]]
    objects: np.ndarray[Any, np.dtype[np.int32]]
    offsets: np.ndarray[Any, np.dtype[np.int64]]
    sizes: np.ndarray[Any, np.dtype[np.int64]]


class ReferenceIndex:
    """Where the chunks of an array lie, by its references. Those without one are absent.

    Args:
        columns: The references.
        open_object: Gives the object of a number.
        read_inline: Gives the bytes of an inline text by its number.
    """

    def __init__(
        self,
        columns: ReferenceColumns,
        open_object: Callable[[int], ChunkObject],
        read_inline: Callable[[int], bytes] | None = None,
    ) -> None:
        self._columns = columns
        self._open_object = open_object
        self._read_inline = read_inline

    def locate(self, chunks: Numbers) -> Places:
        """See ``ChunkIndex``."""
        columns = self._columns
        rows = np.searchsorted(columns.chunks, chunks)
        is_known = rows < len(columns.chunks)
        is_known[is_known] = columns.chunks[rows[is_known]] == chunks[is_known]
        rows = rows[is_known]
        objects = np.zeros(len(chunks), np.int64)
        offsets = np.zeros(len(chunks), np.int64)
        sizes = np.full(len(chunks), ABSENT, np.int64)
        objects[is_known] = columns.objects[rows]
        offsets[is_known] = columns.offsets[rows]
        sizes[is_known] = columns.sizes[rows]
        inline = {}
        for row in np.flatnonzero(objects == INLINE).tolist():
            assert self._read_inline is not None  # noqa: S101  # columns with inline chunks come with it
            inline[row] = self._read_inline(int(offsets[row]))
            objects[row], offsets[row], sizes[row] = 0, 0, len(inline[row])
        return place_chunks(objects, offsets, sizes, inline, self._open_object)


def place_chunks(
    objects: Numbers,
    offsets: Numbers,
    sizes: Numbers,
    inline: dict[int, bytes],
    open_object: Callable[[int], ChunkObject],
) -> Places:
    """The places of chunks whose objects have numbers, of which only those that are needed are opened.

    Args:
        objects: For each chunk, the number of its object. It does not count for chunks that are absent or inline.
        offsets: For each chunk, its first byte.
        sizes: For each chunk, its size, ``ABSENT`` or ``WHOLE_OBJECT``.
        inline: The bytes of inline chunks, by row.
        open_object: Gives the object of a number.

    Raises:
        ActiveStorageError: An object cannot be opened.
    """
    has_object = sizes != ABSENT
    has_object[list(inline)] = False
    numbers, places = np.unique(objects[has_object], return_inverse=True)
    object_numbers = np.zeros(len(objects), np.int64)
    object_numbers[has_object] = places
    opened = [open_object(number) for number in numbers.tolist()]
    return Places(opened, object_numbers, offsets, sizes, inline=inline)

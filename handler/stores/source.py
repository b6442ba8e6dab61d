"""The interface between stores and the engine: a source is opened for a range, and gives a stream of bytes.

The engine is given a source and never makes one. ``fake.py`` has sources without a network.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from types import TracebackType
from typing import Protocol, Self, TypeVar

from active_storage.errors import (
    ActiveStorageError,
    EncodedObject,
    EncryptedObject,
    InvalidRange,
    ObjectChanged,
    StoreProtocolError,
)
from active_storage.model.etag import ETag
from active_storage.model.ranges import ByteRange
from handler.stores.identity import (
    have_same_date,
    is_client_encrypted,
    is_encrypted_by_key,
    read_client_encryption,
    read_customer_keys,
    read_encodings,
    read_stored_encoding,
    read_versions,
)

# The answers of a store to a later request if the object was replaced: a condition does not hold (RFC 9110, sections
# 15.4.5 and 15.5.13), or the range lies outside the new object (section 15.5.17).
_CHANGED_STATUSES = frozenset({304, 412, 416})

# The size of an object that was not asked for yet.
UNKNOWN_BYTES = -1

# The IANA HTTP Content Coding Registry.
_REGISTERED_ENCODINGS = frozenset(
    {"aes128gcm", "br", "compress", "dcb", "dcz", "deflate", "exi", "gzip", "x-compress", "x-gzip", "zstd"}
)


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """The facts of a response about an object, or about a range of it.

    Attributes:
        status: The status of the response, 200 or 206.
        start: The offset of the first byte in the body.
        stop: The offset after the last byte in the body.
        total: The size of the object, in bytes; ``UNKNOWN_BYTES`` if only its version is known.
        etag: The ETag of the object; None if the store sends none.
        headers: The headers of the response, names in lower case.
    """

    status: int
    start: int
    stop: int
    total: int
    etag: ETag | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def named_by(cls, etag: ETag) -> Self:
        """The facts of an object of which only the version is known, so that it can be asked for.

        ``ensure_same`` compares the ETag alone. The facts of the first answer should take the place of these.
        """
        return cls(200, 0, 0, UNKNOWN_BYTES, etag)

    @property
    def length(self) -> int:
        """The number of bytes in the body."""
        return self.stop - self.start

    @property
    def strong_etag(self) -> ETag | None:
        """The ETag, if equal ones mean equal bytes (RFC 9110, section 8.8.1), so that ranges can be joined.

        None if it is weak, absent or malformed.
        """
        return self.etag if self.etag is not None and self.etag.is_strong else None

    @property
    def header_bytes(self) -> int:
        """The size of the headers."""
        return sum(len(name) + len(value) for name, value in self.headers.items())

    @property
    def can_be_kept(self) -> bool:
        """Whether what is made of the bytes may be kept for others, whom the store answers 304 to this ETag.

        It may not if reading takes a key beside the permission to read: a store could answer 304 without it.
        """
        return self.strong_etag is not None and not is_encrypted_by_key(self.headers)

    def says_same(self, etag: ETag | None, headers: Mapping[str, str]) -> bool:
        """Whether a 304 is about this version, as far as it says. It must be one to an ``If-None-Match`` of its ETag.

        Args:
            etag: The ETag in the answer; None if it has none.
            headers: The headers of the answer, names in lower case.
        """
        if etag is not None and not (self.etag and self.etag.matches_strongly(etag)):
            return False
        mine, others = read_versions(self.headers), read_versions(headers)
        is_other = any(one and other and one != other for one, other in zip(mine, others, strict=True))
        return not is_other and have_same_date(self.headers, headers)

    def ensure_same(self, other: Self) -> None:
        """Pass if two responses hold bytes of the same object in the same form. Their ranges may differ.

        ``identity.py`` reads the facts that are compared.

        Raises:
            ObjectChanged: The object was replaced between the two.
            StoreProtocolError: The version is the same, but the bytes come in another form. A strong ETag names one
                form only (RFC 9110, section 8.8.3.3).
        """
        if self.total == UNKNOWN_BYTES:
            if self.etag is None or other.etag is None or not self.etag.matches_strongly(other.etag):
                raise ObjectChanged
            return
        version, other_version = ((facts.etag, facts.total, read_versions(facts.headers)) for facts in (self, other))
        if version != other_version or not have_same_date(self.headers, other.headers):
            raise ObjectChanged
        for read, form in _FORMS:
            if read(self.headers) != read(other.headers):
                raise StoreProtocolError(f"the store sends the same object in another {form} than before")

    def ensure_plain(self, compression: str | None = None) -> None:
        """Pass if the bytes are the plain object, neither encoded nor encrypted by the client that wrote it.

        Args:
            compression: A codec that the service undoes itself. A Content-Encoding of that name passes.

        Raises:
            EncodedObject: The bytes come in another Content-Encoding.
            EncryptedObject: The client that wrote the object encrypted it.
        """
        encodings = read_encodings(self.headers)
        if encodings and encodings != (compression,):
            # The writer of the object chose the header. It may hold anything, so that only known names are shown.
            named = [
                repr(each) if each in _REGISTERED_ENCODINGS else "that is not a registered one" for each in encodings
            ]
            raise EncodedObject(f"the store sends the object in Content-Encoding {', '.join(named)}")
        if is_client_encrypted(self.headers):
            raise EncryptedObject("the object was encrypted by the client that wrote it: its bytes are ciphertext")


# The facts, besides the version, that decide in which form the bytes of an object come.
_FORMS: tuple[tuple[Callable[[Mapping[str, str]], object], str], ...] = (
    (read_encodings, "Content-Encoding"),
    (read_client_encryption, "client-side encryption"),
    (read_stored_encoding, "stored encoding"),
    (read_customer_keys, "encryption key"),
)


class _Bytes(Protocol):
    """The bytes of a response, and its facts: an exchange or a stream."""

    facts: ObjectFacts

    def close(self) -> None:
        """Release the connection."""


_BytesT = TypeVar("_BytesT", bound=_Bytes)


def ask_again(ask: Callable[[], _BytesT], expected: ObjectFacts) -> _BytesT:
    """More bytes of an object that was asked for before: the rest, another range, or the same range again.

    Every request for an object but the first goes through this function, so that bytes of two objects are never joined.

    Args:
        ask: Asks the store.
        expected: The facts of the first response.

    Raises:
        ObjectChanged: The object was replaced since.
        StoreProtocolError: The response contradicts the first one.
        ActiveStorageError: The store does not send the bytes.
    """
    try:
        found = ask()
    except ActiveStorageError as error:
        # A range outside of an object whose size is not known yet is the fault of who asks for it.
        is_outside = error.status == 416 and expected.total == UNKNOWN_BYTES
        if error.status in _CHANGED_STATUSES and not is_outside:
            raise ObjectChanged from None
        raise
    try:
        expected.ensure_same(found.facts)
    except ActiveStorageError:
        found.close()
        raise
    return found


class Stream(ABC):
    """The bytes of one range, which can be read once and in order. A context manager that closes the stream.

    Attributes:
        facts: The facts of the first response.
        bytes_read: The number of bytes read so far.
    """

    facts: ObjectFacts
    bytes_read: int = 0

    @abstractmethod
    def readinto(self, buffer: memoryview, /) -> int:
        """Fill a part of ``buffer`` with the next bytes.

        Returns:
            The number of bytes; 0 only after the last byte of the range.

        Raises:
            ActiveStorageError: The store does not send the rest. The bytes so far must not become a result.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the connection. Idempotent."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Source(ABC):
    """An object that can be opened. Its ``repr`` shows origin and path, and never a signature.

    Attributes:
        takes_range: Whether any range can be opened; otherwise only the range of the caller's request, if it has one.
        wait_seconds: How long the store took at least to begin an answer; infinite before the first.
    """

    takes_range: bool = True
    wait_seconds: float = math.inf

    def __init__(self) -> None:
        self._opened: list[Stream] = []
        # Of streams that are not kept any more: a whole array takes a million of them.
        self._ended_bytes = 0
        self._lock = Lock()

    @property
    def bytes_read(self) -> int:
        """The number of bytes read so far, by all streams together. Several may be read at a time."""
        with self._lock:
            return self._ended_bytes + sum(stream.bytes_read for stream in self._opened)

    def open(self, byte_range: ByteRange | None, expected: ObjectFacts | None = None) -> Stream:
        """The bytes of ``byte_range``, or of the whole object.

        Args:
            byte_range: The range; None for the whole object.
            expected: The facts of an earlier response, which must be of the same object; None for the first request.

        Raises:
            ObjectChanged: The object was replaced since.
            ActiveStorageError: The store does not send the bytes.
        """
        if expected is None:
            return self._take(lambda: self._open(byte_range))
        return self._take(lambda: ask_again(lambda: self._open_more(byte_range, expected), expected))

    def _take(self, ask: Callable[[], Stream]) -> Stream:
        """The stream that ``ask`` opens, of which time and bytes count."""
        started = time.monotonic()
        try:
            stream = ask()
        finally:
            self.wait_seconds = min(self.wait_seconds, time.monotonic() - started)
        with self._lock:
            self._opened.append(stream)
        return stream

    def finish(self, stream: Stream) -> None:
        """Close a stream of this source, and do not keep it: only its bytes still count. Idempotent."""
        stream.close()
        with self._lock:
            if stream in self._opened:
                self._opened.remove(stream)
                self._ended_bytes += stream.bytes_read

    @property
    def identity(self) -> str | None:
        """A name of the object that is the same for every caller, without a signature; None if it has no such name."""
        return None

    def open_unless(self, facts: ObjectFacts, byte_range: ByteRange | None) -> Stream | None:  # noqa: ARG002  # for others
        """The bytes of ``byte_range``, unless the object still has the strong ETag of ``facts``: then None.

        The store is asked in the caller's name, and once unless its answer is doubtful.

        Args:
            facts: The facts of an earlier request, maybe of another caller.
            byte_range: The range; None for the whole object.

        Raises:
            ActiveStorageError: The store does not send the bytes to this caller.
        """
        return self.open(byte_range)

    def is_unchanged(self, facts: ObjectFacts) -> bool:
        """Whether the store says, asked in the caller's name, that the object still has the strong ETag of ``facts``.

        Raises:
            ActiveStorageError: The store refuses the caller, or does not answer.
        """
        try:
            # One byte: a signature for GET cannot be used for HEAD.
            stream = self.open_unless(facts, ByteRange(0, 0))
        except (InvalidRange, StoreProtocolError):
            # The object is empty now, or the server does not know ranges.
            return False
        if stream is None:
            return True
        self.finish(stream)
        return False

    @abstractmethod
    def _open(self, byte_range: ByteRange | None) -> Stream:
        """A stream for the first request. ``open`` keeps it."""

    def _open_more(self, byte_range: ByteRange | None, expected: ObjectFacts) -> Stream:  # noqa: ARG002  # for others
        """A stream for a later request. ``open`` compares its facts with the expected ones.

        A source in a store sends ``If-Match``, so that a store does not even begin to send another object.
        """
        return self._open(byte_range)

    @abstractmethod
    def head(self, byte_range: ByteRange | None) -> ObjectFacts:
        """The facts that ``open`` would find, without the bytes.

        Args:
            byte_range: The range; None for the whole object.

        Raises:
            ActiveStorageError: The store does not send them.
        """

"""The interface between bytes and numbers: a source is opened for a range and gives a stream.

The pipeline is given a source and never makes one; ``fake.py`` is one without a network.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self, TypeVar

from active_storage.errors import ActiveStorageError, EncodedObject, EncryptedObject, ObjectChanged, StoreProtocolError
from active_storage.model.etag import ETag
from active_storage.model.ranges import ByteRange
from handler.stores.identity import (
    have_same_date,
    is_client_encrypted,
    read_client_encryption,
    read_customer_keys,
    read_encodings,
    read_stored_encoding,
    read_versions,
)

# What a store says to more of an object that is no longer the one that was begun: a condition does not hold (RFC 9110,
# sections 15.4.5 and 15.5.13), a range that was there is gone (15.5.17).
_CHANGED_STATUSES = frozenset({304, 412, 416})

# The IANA HTTP Content Coding Registry.
_REGISTERED_ENCODINGS = frozenset(
    {"aes128gcm", "br", "compress", "dcb", "dcz", "deflate", "exi", "gzip", "x-compress", "x-gzip", "zstd"}
)


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What the store says of an object, or of the range of it that was asked for.

    Attributes:
        status: The store's own, 200 or 206.
        start: The first byte that the body holds.
        stop: The first byte that it no longer holds.
        total: The object's size, in bytes.
        etag: The object's; None where the store sends none.
        headers: The store's, names in lower case.
    """

    status: int
    start: int
    stop: int
    total: int
    etag: ETag | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """How many bytes the body holds."""
        return self.stop - self.start

    @property
    def strong_etag(self) -> ETag | None:
        """The ETag where equal ones mean equal bytes (RFC 9110, section 8.8.1), so that ranges can be put together.

        None where it is weak, missing or malformed.
        """
        return self.etag if self.etag is not None and self.etag.is_strong else None

    def ensure_same(self, other: Self) -> None:
        """Pass where two answers hold bytes of one object: every fact that decides what they are is the same.

        The spans of the two may differ. The rules are read in ``identity.py``.

        Raises:
            ObjectChanged: The object was replaced between them.
            StoreProtocolError: The store says that it was not, and sends its bytes in another form. A strong ETag names
                one form only (RFC 9110, section 8.8.3.3).
        """
        version, other_version = ((facts.etag, facts.total, read_versions(facts.headers)) for facts in (self, other))
        if version != other_version or not have_same_date(self.headers, other.headers):
            raise ObjectChanged
        for read, form in _FORMS:
            if read(self.headers) != read(other.headers):
                raise StoreProtocolError(f"the store sends the same object in another {form} than before")

    def ensure_plain(self, compression: str | None = None) -> None:
        """Pass where the bytes are the object's own, neither encoded nor encrypted on the way in.

        Args:
            compression: A codec that the caller knows of: an encoding of that name is no surprise.

        Raises:
            EncodedObject: They come in a Content-Encoding.
            EncryptedObject: The client that wrote them encrypted them.
        """
        encodings = read_encodings(self.headers)
        if encodings and encodings != (compression,):
            # The header is whatever the object's writer put there.
            named = [
                repr(each) if each in _REGISTERED_ENCODINGS else "that is not a registered one" for each in encodings
            ]
            raise EncodedObject(f"the store delivers the object in Content-Encoding {', '.join(named)}")
        if is_client_encrypted(self.headers):
            raise EncryptedObject("the object was encrypted by the client that wrote it: its bytes are ciphertext")


# What form the bytes of an object come in, beside its version.
_FORMS: tuple[tuple[Callable[[Mapping[str, str]], object], str], ...] = (
    (read_encodings, "Content-Encoding"),
    (read_client_encryption, "client-side encryption"),
    (read_stored_encoding, "stored encoding"),
    (read_customer_keys, "encryption key"),
)


class _HasFacts(Protocol):
    facts: ObjectFacts

    def close(self) -> None:
        """Let go of the answer."""


_Answer = TypeVar("_Answer", bound=_HasFacts)


def ask_again(ask: Callable[[], _Answer], facts: ObjectFacts) -> _Answer:
    """A later answer about an object, of which ``facts`` are known: its rest, another range, or the same once more.

    Every answer but the first comes through here, so that bytes of two objects are never put together.

    Args:
        ask: Asks the store.
        facts: Of the first answer.

    Raises:
        ObjectChanged: The object was replaced since.
        StoreProtocolError: The answer contradicts the first one.
        ActiveStorageError: There is no answer.
    """
    try:
        answer = ask()
    except ActiveStorageError as error:
        if error.status in _CHANGED_STATUSES:
            raise ObjectChanged from None
        raise
    try:
        facts.ensure_same(answer.facts)
    except ActiveStorageError:
        answer.close()
        raise
    return answer


class Stream(ABC):
    """The bytes of one range, in order, once. A context manager: leaving it closes it.

    Attributes:
        facts: What the store says of them.
        bytes_read: How many of them were read so far.
    """

    facts: ObjectFacts
    bytes_read: int = 0

    @abstractmethod
    def readinto(self, buffer: memoryview, /) -> int:
        """Fill some of ``buffer``; how many bytes, 0 only after the last byte of the range.

        Raises:
            ActiveStorageError: The rest of the bytes cannot be had; those so far must not become a result.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back what the stream holds. Twice is once."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Source(ABC):
    """An object that can be opened. Its ``repr`` shows where it lies, and nothing that was signed.

    Attributes:
        takes_range: Whether any range can be asked for; otherwise only the one that the caller named, if any.
    """

    takes_range: bool = True

    def __init__(self) -> None:
        self._opened: list[Stream] = []

    @property
    def bytes_read(self) -> int:
        """What has been read from it so far, over all its streams, of which several may be read at a time."""
        return sum(stream.bytes_read for stream in self._opened)

    def open(self, byte_range: ByteRange | None, same_as: ObjectFacts | None = None) -> Stream:
        """The bytes of ``byte_range``, or of the whole object.

        Args:
            byte_range: The range, None for the whole object.
            same_as: What an earlier answer said: the bytes are of the same object.

        Raises:
            ObjectChanged: They would not be.
            ActiveStorageError: They cannot be had.
        """
        if same_as is None:
            stream = self._open(byte_range)
        else:
            stream = ask_again(lambda: self._open_more(byte_range, same_as), same_as)
        self._opened.append(stream)
        return stream

    @abstractmethod
    def _open(self, byte_range: ByteRange | None) -> Stream:
        """The same, for ``open`` to keep."""

    def _open_more(self, byte_range: ByteRange | None, same_as: ObjectFacts) -> Stream:  # noqa: ARG002  # for others
        """The same of an object that was asked for before, for ``open`` to compare.

        A source that asks a store sends ``If-Match``, so that another object does not even begin to come.
        """
        return self._open(byte_range)

    @abstractmethod
    def head(self, byte_range: ByteRange | None) -> ObjectFacts:
        """What ``open`` would find, without its bytes.

        Raises:
            ActiveStorageError: It cannot be had.
        """

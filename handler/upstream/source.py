"""The interface between bytes and numbers: a source is opened for a range and gives a stream.

The pipeline is given a source and never makes one; ``fake.py`` is one without a network.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from handler.errors import EncodedObject, EncryptedObject, InvalidRange, ObjectChanged, StoreError
from handler.spec import ByteRange

# What the S3 encryption clients (Java, .NET, Go, versions 1 and 2) leave in an object's metadata.
_CLIENT_ENCRYPTION_HEADERS = ("x-amz-meta-x-amz-key-v2", "x-amz-meta-x-amz-key")

# "aws-chunked" describes how an upload was signed; some stores keep it, the bytes are as they should be.
_HARMLESS_ENCODINGS = frozenset({"", "identity", "aws-chunked"})

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
        etag: The source's ETag, quotes and all, None where there is none.
        headers: The store's, names in lower case.
    """

    status: int
    start: int
    stop: int
    total: int
    etag: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """How many bytes the body holds."""
        return self.stop - self.start

    @property
    def strong_etag(self) -> str | None:
        """The ETag where equal ones mean equal bytes (RFC 9110, section 8.8.1), so that ranges can be put together.

        None where it is weak, or there is none.
        """
        return None if self.etag is None or self.etag.startswith("W/") else self.etag

    def ensure_same(self, other: Self) -> None:
        """Pass where these and the other facts are of one object.

        Raises:
            ObjectChanged: It was replaced between them.
        """
        if (self.etag, self.total) != (other.etag, other.total):
            raise ObjectChanged

    def ensure_plain(self, compression: str | None = None) -> None:
        """Pass where the bytes are the object's own, neither encoded nor encrypted on the way in.

        Args:
            compression: A codec that the caller knows of: an encoding of that name is no surprise.

        Raises:
            EncodedObject: They come in a Content-Encoding.
            EncryptedObject: The client that wrote them encrypted them.
        """
        encodings = self.headers.get("content-encoding", "")
        for encoding in (part.strip().lower() for part in encodings.split(",")):
            if encoding not in _HARMLESS_ENCODINGS and encoding != compression:
                # The header is whatever the object's writer put there.
                named = repr(encoding) if encoding in _REGISTERED_ENCODINGS else "that is not a registered one"
                raise EncodedObject(f"the store delivers the object in Content-Encoding {named}")
        if any(name in self.headers for name in _CLIENT_ENCRYPTION_HEADERS):
            raise EncryptedObject("the object was encrypted by the client that wrote it: its bytes are ciphertext")


@contextmanager
def more_of_same() -> Iterator[None]:
    """Where more of an object is asked for than was had: what refuses a range that was there means another object.

    Raises:
        ObjectChanged: It was replaced.
    """
    try:
        yield
    except InvalidRange:
        raise ObjectChanged from None
    except StoreError as error:
        if error.status == 412:
            raise ObjectChanged from None
        raise


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

    def open(self, byte_range: ByteRange | None) -> Stream:
        """The bytes of ``byte_range``, or of the whole object.

        Raises:
            ActiveStorageError: They cannot be had.
        """
        stream = self._open(byte_range)
        self._opened.append(stream)
        return stream

    @abstractmethod
    def _open(self, byte_range: ByteRange | None) -> Stream:
        """The same, for ``open`` to keep."""

    @abstractmethod
    def head(self, byte_range: ByteRange | None) -> ObjectFacts:
        """What ``open`` would find, without its bytes.

        Raises:
            ActiveStorageError: It cannot be had.
        """

"""Reads the objects of a container: counted, bounded, and each object in one version.

Every reader of metadata reads through ``ContainerReader``. A hostile file, such as an index whose nodes point at
themselves, ends at a limit of requests or bytes, or at the deadline.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Protocol, TypeVar, runtime_checkable

from active_storage.errors import (
    EntityTooLarge,
    InvalidRange,
    StoreError,
    UndecodableData,
    UnsupportedArray,
)
from active_storage.model.ranges import ByteRange
from handler.codecs.readable import fill
from handler.containers.metadata_cache import MetadataCache
from handler.containers.side_by_side import map_side_by_side
from handler.containers.stored_array import ChunkObject
from handler.scope import Scope
from handler.stores.listings import Folder
from handler.stores.source import UNKNOWN_BYTES, ObjectFacts, Source

_Kept = TypeVar("_Kept")


class Container(Protocol):
    """Where the objects of a container lie, and with whose credentials they are requested."""

    def open_key(self, key: str) -> Source:
        """The object with this key below the root of the container; "" is the root itself.

        Raises:
            ActiveStorageError: The key cannot be asked for.
        """

    def open_url(self, url: str) -> Source:
        """The object at a URL that references name: ``s3://bucket/key`` or ``http(s)://``.

        Raises:
            ActiveStorageError: The origin is not allowed, or the URL is malformed.
        """


@runtime_checkable
class HasFolders(Protocol):
    """A container whose store may list what lies below a key."""

    def folder(self, key: str) -> Folder | None:
        """What lies below a key, "" for the root; None if the server lists nothing."""


# The memory for each byte of metadata: for the byte itself, and for the objects that it becomes.
_MEMORY_PER_BYTE = 2

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """How much metadata a request may read.

    Attributes:
        bytes: The most bytes of metadata, indexes and references, in all; indexes that each section reads count for
            the section only.
        requests: The most requests for them.
        references: The most chunks that references or an index may name.
    """

    bytes: int = 64 << 20
    requests: int = 4096
    references: int = 1_000_000


class _Meter:
    """Counts requests and bytes. Threads may share it."""

    def __init__(self) -> None:
        self.requests = 0
        self.bytes = 0
        self._lock = Lock()

    def add(self, requests: int, size: int) -> None:
        """Count some requests, and bytes."""
        with self._lock:
            self.requests += requests
            self.bytes += size


class MetadataMemory:
    """Counts the memory of what was read. Threads may share it.

    Args:
        hold: Counts some bytes in the memory of the request; may raise an error.

    Attributes:
        bytes: The memory that was counted.
        hold: The same function, which can be replaced while nothing is read.
    """

    def __init__(self, hold: Callable[[int], None] = lambda _: None) -> None:
        self.bytes = 0
        self.hold = hold
        self._lock = Lock()

    def take(self, size: int) -> None:
        """Count memory before it is taken.

        Raises:
            EntityTooLarge: The request would take too much.
            SlowDown: Other requests hold too much memory at the moment.
        """
        with self._lock:
            self.hold(size)
            self.bytes += size


class ContainerReader:
    """Reads metadata of one container for one request. Threads may share it.

    Args:
        container: Opens the objects.
        limits: How much may be read.
        scope: The deadline of the request.
        helpers: The threads that ``read_many`` may use.
        cache: Metadata of earlier requests; None for none.
        memory: Counts the memory of what is read; None if nothing counts it.

    Attributes:
        memory: What counts it.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # the engine alone gives all of them
        self,
        container: Container,
        limits: ReadLimits,
        scope: Scope,
        helpers: ThreadPoolExecutor | None = None,
        cache: MetadataCache | None = None,
        memory: MetadataMemory | None = None,
    ) -> None:
        self.cache = cache
        self.memory = memory or MetadataMemory()
        self.container = container
        self.limits = limits
        self.scope = scope
        self._helpers = helpers
        self._kept: dict[type, object] = {}
        self._lock = Lock()
        # The counts for the limits, and those of all that was read.
        self._limited = _Meter()
        self._whole = _Meter()

    @property
    def bytes_read(self) -> int:
        """The number of bytes that were read."""
        return self._whole.bytes

    @property
    def requests(self) -> int:
        """The number of requests that were made."""
        return self._whole.requests

    def for_section(self) -> "ContainerReader":
        """A reader for one section, with limits of its own: an array of many shards has many indexes.

        What it reads counts in this reader as well.
        """
        section = ContainerReader(self.container, self.limits, self.scope, self._helpers, self.cache)
        section._whole = self._whole
        return section

    def beside(self, container: Container) -> "ContainerReader":
        """A reader of another container for the same request. What both read counts for the same limits."""
        other = ContainerReader(container, self.limits, self.scope, self._helpers, self.cache, self.memory)
        other._limited, other._whole = self._limited, self._whole
        return other

    def keep(self, kind: type[_Kept], make: Callable[[], _Kept]) -> _Kept:
        """A value that was read for one array of the container and serves the others, such as parsed references.

        Args:
            kind: The type of the value; one is kept of each.
            make: Reads it, when it is first asked for.
        """
        with self._lock:
            if kind not in self._kept:
                self._kept[kind] = make()
            kept = self._kept[kind]
        assert isinstance(kept, kind)  # noqa: S101  # ``make`` gave it
        return kept

    def open_key(self, key: str) -> "ObjectReader":
        """The reader of an object below the root of the container."""
        return ObjectReader(self, key, self.container.open_key(key))

    def open_url(self, url: str) -> "ObjectReader":
        """The reader of an object that references name."""
        return ObjectReader(self, url.partition("?")[0], self.container.open_url(url))

    def list_folders(self, key: str) -> list[str] | None:
        """The names of the folders below a key, which the store lists now; None if the server lists nothing.

        A listing has no version, so that it is never kept.

        Args:
            key: The key; "" for the root.

        Raises:
            EntityTooLarge: There are too many, or a limit is reached.
            StoreProtocolError: The store's listing cannot be believed.
            ActiveStorageError: The store refuses, or does not answer.
        """
        folder = self.container.folder(key) if isinstance(self.container, HasFolders) else None
        if folder is None:
            return None
        return folder.list_folders(lambda: self.count_request(None), self.count_bytes)

    def count_request(self, size: int | None) -> None:
        """Count a request before it is made.

        Args:
            size: The number of bytes that it asks for; None if that is not known.

        Raises:
            EntityTooLarge: A limit is reached.
            ActiveStorageError: The deadline has passed, or the caller has gone.
        """
        self.scope.check()
        self._limited.add(1, 0)
        self._whole.add(1, 0)
        if self._limited.requests > self.limits.requests:
            raise EntityTooLarge(
                f"the metadata takes more than {self.limits.requests} requests to read (MAX_METADATA_REQUESTS)"
            )
        if size is not None:
            self.ensure_room(size)

    def count_bytes(self, size: int, is_read: bool = True) -> None:
        """Count bytes before they are read.

        Args:
            size: How many they are.
            is_read: Whether they are read from the store; False if they were kept.

        Raises:
            EntityTooLarge: They are too many, or take too much memory.
            SlowDown: Other requests hold too much memory at the moment.
        """
        self.ensure_room(size)
        self.memory.take(_MEMORY_PER_BYTE * size)
        self._limited.add(0, size)
        self._whole.add(0, size if is_read else 0)

    def count_chunks(self, requests: int, size: int) -> None:
        """Count chunks that were read, such as those of a coordinate.

        Their bytes count for the limit. Their requests do not: coordinates of time often have a chunk for each element.
        """
        self._limited.add(0, size)
        self._whole.add(requests, size)

    def ensure_room(self, size: int) -> None:
        """Pass if ``size`` more bytes of metadata may be read.

        Raises:
            EntityTooLarge: They are too many.
        """
        if self._limited.bytes + size > self.limits.bytes:
            raise EntityTooLarge(f"the metadata has more than {self.limits.bytes} bytes (MAX_METADATA_BYTES)")

    def map(self, call: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
        """The results of a call for each item, in order. The calls run side by side if there are helpers."""
        return map_side_by_side(self._helpers, call, items)


class ObjectReader:
    """Reads ranges of one object. All are of the version of the first answer.

    Args:
        reader: Counts what is read.
        name: The key or the URL of the object, without a query.
        source: Opens it.

    Attributes:
        facts: The facts in the store's first answer; None before it.
    """

    def __init__(self, reader: ContainerReader, name: str, source: Source) -> None:
        self.name = name
        self.source = source
        self.facts: ObjectFacts | None = None
        self._reader = reader
        self._identity = source.identity if reader.cache is not None else None
        self._blocks: Mapping[ByteRange | None, bytes] | None = None
        self._lock = Lock()

    def for_section(self) -> "ObjectReader":
        """A reader of the same version of the object for one section; see ``ContainerReader.for_section``."""
        section = ObjectReader(self._reader.for_section(), self.name, self.source)
        section.facts, section._blocks = self.facts, self._blocks
        return section

    @property
    def chunk_object(self) -> ChunkObject:
        """The object as one that holds chunks, in the version that was read."""
        return ChunkObject(self.name, self.source, self.facts)

    def read_all(self) -> bytes:
        """All bytes of the object.

        Raises:
            EntityTooLarge: They are more than the limit of metadata.
            ActiveStorageError: They cannot be read.
        """
        return self._read(None)

    def read_if_present(self) -> bytes | None:
        """All bytes of the object; None if there is no such object.

        Raises:
            EntityTooLarge: They are more than the limit of metadata.
            ActiveStorageError: They cannot be read, for another reason than that the object is absent.
        """
        try:
            return self.read_all()
        except StoreError as error:
            if is_absent(error):
                return None
            raise

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from ``start`` to before ``stop``.

        Raises:
            UndecodableData: They lie outside the object.
            ActiveStorageError: They cannot be read.
        """
        if start >= stop:
            return b""
        data = self.read_up_to(start, stop)
        if len(data) < stop - start:
            raise UndecodableData("metadata", f"bytes {start} to {stop} lie outside {self.name}")
        return data

    def read_up_to(self, start: int, stop: int) -> bytes:
        """The bytes from ``start`` to before ``stop``, fewer if the object ends before.

        Raises:
            UndecodableData: ``start`` lies outside the object.
            ActiveStorageError: They cannot be read.
        """
        if not 0 <= start < stop < 2**63:
            raise UndecodableData("metadata", f"bytes {start} to {stop} lie outside {self.name}")
        if self.facts is not None and 0 <= self.facts.total <= start:
            # The store would refuse the range, as it does if the object was replaced by a shorter one.
            raise UndecodableData("metadata", f"byte {start} lies outside {self.name}")
        try:
            return self._read(ByteRange(start, stop - 1))
        except InvalidRange:
            raise UndecodableData("metadata", f"byte {start} lies outside {self.name}") from None

    def read_last(self, count: int) -> bytes:
        """The last ``count`` bytes, fewer if the object is shorter."""
        return self._read(ByteRange(None, count))

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes of several ranges (start, stop), side by side."""
        return self._reader.map(lambda span: self.read(*span), ranges)

    def _read(self, byte_range: ByteRange | None) -> bytes:
        kept = self._find_kept().get(byte_range)
        if kept is not None:
            self._reader.count_bytes(len(kept), is_read=False)
            return kept
        size = None
        if byte_range is not None and byte_range.first is not None and byte_range.last is not None:
            size = byte_range.last - byte_range.first + 1
        self._reader.count_request(size)
        facts = self.facts
        if facts is not None:
            ensure_comparable(self.name, facts)
        stream = self.source.open(byte_range, facts)
        try:
            stream.facts.ensure_plain()
            with self._lock:
                if self.facts is None or self.facts.total == UNKNOWN_BYTES:
                    self.facts = stream.facts
            # Another thread may have had the first answer at the same time.
            self.facts.ensure_same(stream.facts)
            self._reader.count_bytes(stream.facts.length)
            data = bytearray(stream.facts.length)
            fill(stream, memoryview(data))
        finally:
            self.source.finish(stream)
        block = bytes(data)
        if self._reader.cache is not None and self._identity is not None:
            self._reader.cache.keep(self._identity, self.facts, byte_range, block)
        return block

    def _find_kept(self) -> Mapping[ByteRange | None, bytes]:
        """The blocks of an earlier request, if the store says to this caller that the object is the same."""
        with self._lock:
            if self._blocks is None:
                self._blocks = {}
                cached = self._reader.cache.find(self._identity) if self._reader.cache and self._identity else None
                if cached is not None and self.facts is None:
                    self._reader.count_request(1)
                    if self.source.is_unchanged(cached.facts):
                        self.facts, self._blocks = cached.facts, cached.blocks
        return self._blocks


def ensure_comparable(name: str, facts: ObjectFacts) -> None:
    """Pass if the store gives a strong ETag or a date, so that versions of an object can be compared.

    Raises:
        UnsupportedArray: It gives neither. The object cannot be read by more than one request.
    """
    if facts.strong_etag is None and "last-modified" not in facts.headers:
        raise UnsupportedArray(name, "neither a strong ETag nor a date by which its versions can be compared")


def is_absent(error: StoreError) -> bool:
    """Whether an error says that there is no such object, and not that access is denied or something failed."""
    return error.status == 404 and error.code == "NoSuchKey" and not error.is_doubtful

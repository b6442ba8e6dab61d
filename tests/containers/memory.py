"""A container in memory: objects by key, and what was asked for them."""

from collections.abc import Mapping

from active_storage.errors import OriginNotAllowed, StoreError
from active_storage.model.ranges import ByteRange
from handler.containers.reader import ContainerReader, ReadLimits
from handler.scope import Scope
from handler.stores.fake import FakeSource
from handler.stores.source import ObjectFacts, Source, Stream


class MemorySource(FakeSource):
    """An object of a ``MemoryContainer``, which records its requests."""

    def __init__(self, container: "MemoryContainer", key: str) -> None:
        super().__init__(container.objects.get(key, b""), etag=f'"{key or "root"}"')
        self._container = container
        self._key = key

    def head(self, byte_range: ByteRange | None) -> ObjectFacts:
        self._container.asked.append((self._key, byte_range))
        if self._key not in self._container.objects:
            raise StoreError(404, "NoSuchKey", "The specified key does not exist.")
        return super().head(byte_range)

    def _open_more(self, byte_range: ByteRange | None, expected: ObjectFacts) -> Stream:
        return self._open(byte_range)


class MemoryContainer:
    """A container whose objects are in memory.

    Args:
        objects: Bytes by key, and by URL for those that references name.

    Attributes:
        asked: The key and the range of each request, in order.
    """

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        self.objects = objects
        self.asked: list[tuple[str, ByteRange | None]] = []

    def open_key(self, key: str) -> Source:
        return MemorySource(self, key)

    def open_url(self, url: str) -> Source:
        if url not in self.objects:
            raise OriginNotAllowed(f"{url} is not allowed")
        return MemorySource(self, url)

    def reader(self, limits: ReadLimits | None = None) -> ContainerReader:
        """A reader of this container, with a minute to read."""
        return ContainerReader(self, limits or ReadLimits(), Scope.after(60))

"""Metadata that is kept from one request to the next, by object and version.

A caller whom the store would refuse gets nothing: every caller asks the store for the object again, with
``If-None-Match`` and their own credentials. The kept bytes are used only after the store's 304.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from active_storage.model.ranges import ByteRange
from handler.stores.identity import read_customer_keys
from handler.stores.source import ObjectFacts

# The memory of an object or a block that is kept, in addition to its bytes.
_OVERHEAD_BYTES = 512


@dataclass(slots=True)
class CachedObject:
    """The kept facts and bytes of one version of an object.

    Attributes:
        facts: The store's facts of the whole object, or of the range that was read first.
        blocks: The bytes that were read, by their range; None for the whole object.
    """

    facts: ObjectFacts
    blocks: dict[ByteRange | None, bytes] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The memory that it takes, in bytes."""
        headers = sum(len(name) + len(value) for name, value in self.facts.headers.items())
        return _OVERHEAD_BYTES + headers + sum(len(block) + _OVERHEAD_BYTES for block in self.blocks.values())


class MetadataCache:
    """Keeps blocks of objects with a strong ETag. The least recently used object is dropped first.

    Threads may share it.

    Args:
        limit_bytes: The most memory that it takes.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._objects: OrderedDict[str, CachedObject] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<MetadataCache {len(self._objects)} objects, {self._bytes} of {self._limit_bytes} bytes>"

    def find(self, identity: str) -> CachedObject | None:
        """The kept blocks of an object; its version may have been replaced."""
        with self._lock:
            if identity in self._objects:
                self._objects.move_to_end(identity)
            return self._objects.get(identity)

    def keep(self, identity: str, facts: ObjectFacts, byte_range: ByteRange | None, block: bytes) -> None:
        """Keep a block of an object. Blocks of another version are dropped."""
        if facts.strong_etag is None or any(read_customer_keys(facts.headers)):
            return
        added = len(block) + _OVERHEAD_BYTES
        if added > self._limit_bytes:
            return
        with self._lock:
            kept = self._objects.get(identity)
            if kept is None or kept.facts.strong_etag != facts.strong_etag:
                self._drop(identity)
                kept = self._objects[identity] = CachedObject(facts)
                self._bytes += kept.size
            if byte_range in kept.blocks:
                return
            kept.blocks[byte_range] = block
            self._bytes += added
            self._objects.move_to_end(identity)
            while self._bytes > self._limit_bytes:
                self._drop(next(iter(self._objects)))

    def _drop(self, identity: str) -> None:
        kept = self._objects.pop(identity, None)
        if kept is not None:
            self._bytes -= kept.size

"""Metadata that is kept from one request to the next, by object and version. See ``Kept``."""

import threading
from dataclasses import dataclass, field

from active_storage.model.ranges import ByteRange
from handler.stores.kept import Kept
from handler.stores.source import ObjectFacts

# The memory of an object or a block that is kept, in addition to its bytes.
_OVERHEAD_BYTES = 512


@dataclass(slots=True)
class CachedObject:
    """The kept facts and bytes of one version of an object.

    Attributes:
        facts: The store's facts of the whole object, or of the range that was read first.
        size: The memory that it takes, in bytes.
        blocks: The bytes that were read, by their range; None for the whole object.
    """

    facts: ObjectFacts
    size: int
    blocks: dict[ByteRange | None, bytes] = field(default_factory=dict)


class MetadataCache:
    """Keeps blocks of objects with a strong ETag. Threads may share it.

    Args:
        kept: Where they are kept, beside other things.
    """

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._lock = threading.Lock()

    def find(self, identity: str) -> CachedObject | None:
        """The kept blocks of an object; its version may have been replaced."""
        found = self._kept.find((CachedObject, identity))
        assert found is None or isinstance(found, CachedObject)  # noqa: S101  # see ``keep``
        return found

    def keep(self, identity: str, facts: ObjectFacts, byte_range: ByteRange | None, block: bytes) -> None:
        """Keep a block of an object. Blocks of another version are dropped."""
        if not facts.can_be_kept:
            return
        added = len(block) + _OVERHEAD_BYTES
        if added > self._kept.limit_bytes:
            return
        with self._lock:
            kept = self.find(identity)
            if kept is None or kept.facts.strong_etag != facts.strong_etag:
                kept = CachedObject(facts, _OVERHEAD_BYTES + len(identity) + facts.header_bytes)
            if byte_range not in kept.blocks:
                kept.blocks[byte_range] = block
                kept.size += added
                self._kept.keep((CachedObject, identity), kept, kept.size)

"""Reads of metadata by several threads: all are counted, in one version, within the memory."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

from active_storage.errors import ObjectChanged, SlowDown
from active_storage.model.etag import ETag
from active_storage.model.ranges import ByteRange
from handler.containers.reader import ContainerReader, MetadataMemory, ReadLimits
from handler.containers.zarr import open_zarr
from handler.scope import Scope
from handler.stores.source import ObjectFacts, Source, Stream
from tests.containers.memory import MemoryContainer, MemorySource


class TornContainer(MemoryContainer):
    """A container whose object has another version in each of two first answers, which come at the same time."""

    def __init__(self) -> None:
        super().__init__({"key": bytes(100)})
        self._both = threading.Barrier(2, timeout=10)

    def open_key(self, key: str) -> Source:
        container = self

        class TornSource(MemorySource):
            def _open(self, byte_range: ByteRange | None) -> Stream:
                self.etag = f'"{byte_range}"'
                stream = super()._open(byte_range)
                container._both.wait()
                return stream

        return TornSource(self, key)


def test_two_first_answers_of_different_versions_are_a_change() -> None:
    container = TornContainer()
    with ThreadPoolExecutor(2) as pool:
        reader = ContainerReader(container, ReadLimits(), Scope.after(60), pool)
        with pytest.raises(ObjectChanged):
            reader.open_key("key").read_many([(0, 10), (10, 20)])


def test_the_memory_of_metadata_is_counted_before_it_is_read() -> None:
    held = []

    def hold(size: int) -> None:
        held.append(size)
        if len(held) > 1:
            raise SlowDown("no memory", 1)

    container = MemoryContainer({"a": bytes(100), "b": bytes(50)})
    reader = ContainerReader(container, ReadLimits(), Scope.after(60), memory=MetadataMemory(hold))
    reader.open_key("a").read_all()
    assert held == [reader.memory.bytes]
    with pytest.raises(SlowDown):
        reader.open_key("b").read_all()


def test_sections_have_limits_of_their_own_and_count_in_all() -> None:
    reader = ContainerReader(MemoryContainer({"a": bytes(100)}), ReadLimits(bytes=150), Scope.after(60))
    for _ in range(3):
        assert len(reader.for_section().open_key("a").read_all()) == 100
    assert (reader.requests, reader.bytes_read, reader.memory.bytes) == (3, 300, 0)


def test_a_shard_that_changes_between_two_sections_is_a_change() -> None:
    kept: dict[str, Any] = {}
    options: dict[str, Any] = {"chunks": (2,), "shards": (8,), "compressors": None, "zarr_format": 3}
    zarr.create_array(MemoryStore(kept), shape=(8,), dtype="i1", **options)[...] = range(1, 9)
    container = MemoryContainer({name: buffer.to_bytes() for name, buffer in kept.items()})
    index = open_zarr(container.reader(), "").index
    first = index.locate(np.array([0, 1]))
    assert index.locate(np.array([2])).objects[0].facts == first.objects[0].facts
    other = ObjectFacts(206, 8, 76, 76, ETag("other"))
    with patch.object(MemorySource, "head", lambda *_: other), pytest.raises(ObjectChanged):
        index.locate(np.array([3]))

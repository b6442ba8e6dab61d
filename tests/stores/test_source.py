"""Sources: what they count, and what they keep."""

import weakref

from active_storage.model.ranges import ByteRange
from handler.stores.fake import FakeSource


def test_a_source_counts_all_streams_and_keeps_those_that_are_not_finished() -> None:
    source, half = FakeSource(bytes(100)), memoryview(bytearray(5))
    unfinished = source.open(ByteRange(0, 9))
    unfinished.readinto(half)
    finished = []
    for _ in range(20):
        stream = source.open(ByteRange(0, 9))
        stream.readinto(memoryview(bytearray(10)))
        source.finish(stream)
        source.finish(stream)
        finished.append(weakref.ref(stream))
    del stream
    assert source.bytes_read == 205
    assert source.open_streams == 1
    assert not any(each() for each in finished)
    unfinished.readinto(half)
    assert source.bytes_read == 210

"""Fetchers: the parts of a large object, read in parallel. The result is the same, also if fetchers fail."""

import threading
import time
from contextlib import ExitStack

import numpy as np
import pytest

from active_storage.errors import ObjectChanged, StoreCutOff
from active_storage.model.etag import ETag
from active_storage.model.missing import Missing
from active_storage.model.ranges import ByteRange, Slice
from active_storage.model.spec import ReductionSpec
from handler.engine.engine import Reduction
from handler.engine.executor import Fetchers
from handler.stores.fake import FakeSource, FakeStream
from handler.stores.source import Source, Stream
from tests.helpers import Prompt, make_engine, reduce_source, small_sizes
from tests.judge import check_result

BLOCK, PART = 1 << 10, 1 << 13
VALUES = np.random.default_rng(5).normal(0, 1e3, 50_001).astype(np.float32)
SIZES = small_sizes(BLOCK, PART)
SPECS = [ReductionSpec(reducer, "float32") for reducer in ("count", "max", "sum", "mean", "var", "argmin", "stats")]


@pytest.fixture
def fetchers() -> Fetchers:
    """Two fetchers that always help."""
    return Fetchers(2, always=True)


def run(spec: ReductionSpec, source: Source, fetchers: Fetchers) -> Reduction:
    return reduce_source(spec, source, make_engine(fetchers, SIZES))


class _Whole(FakeStream):
    def __init__(self, source: FakeSource, facts: object, came: threading.Event) -> None:
        super().__init__(source, facts)  # type: ignore[arg-type]  # what head() gave
        self._came = came

    def readinto(self, buffer: memoryview, /) -> int:
        if self.bytes_read > 2 * PART:
            assert self._came.wait(10)
        return super().readinto(buffer)


class Patient(FakeSource):
    """A source whose whole stream waits until a fetcher has asked for a range, so that fetchers help on any machine."""

    def __init__(self, data: bytes, whole: type[_Whole] = _Whole) -> None:
        super().__init__(data)
        self._whole = whole
        self.ranges: list[ByteRange] = []
        self.is_asked = False
        self._came = threading.Event()

    def _open(self, byte_range: ByteRange | None) -> FakeStream:
        if byte_range is not None and self.is_asked:
            self.ranges.append(byte_range)
            self._came.set()
            return self.open_range(byte_range)
        self.is_asked = True
        return self._whole(self, self.head(byte_range), self._came)

    def open_range(self, byte_range: ByteRange) -> FakeStream:
        """The stream for a fetcher."""
        return FakeStream(self, self.head(byte_range))


class Broken(Patient):
    """A source whose ranges fail."""

    def open_range(self, byte_range: ByteRange) -> FakeStream:
        raise StoreCutOff(f"no {byte_range}")


class Stalled(Patient):
    """A source whose ranges deliver nothing before the end of the test."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.is_over = threading.Event()

    def open_range(self, byte_range: ByteRange) -> FakeStream:
        assert self.is_over.wait(30)
        raise StoreCutOff(f"no {byte_range}")


class Replaced(FakeSource):
    """A source that is replaced by the next object each time that the whole is opened; the last object stays."""

    def __init__(self, *objects: bytes) -> None:
        super().__init__(objects[0])
        self.objects = [FakeSource(data, etag=f'"{number}"') for number, data in enumerate(objects)]
        self.wholes = 0

    def _open(self, byte_range: ByteRange | None) -> Stream:
        current = self.objects[min(self.wholes, len(self.objects) - 1)]
        self.wholes += byte_range is None
        return current.open(byte_range)


class Buggy(Patient):
    """A source whose ranges raise an unexpected exception."""

    def open_range(self, byte_range: ByteRange) -> FakeStream:
        raise ZeroDivisionError


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.reducer)
def test_fetchers_do_not_change_a_bit_of_the_result(spec: ReductionSpec, fetchers: Fetchers) -> None:
    source = Patient(VALUES.tobytes())
    helped = run(spec, source, fetchers)
    assert source.ranges
    # A slow fetcher ends after the result.
    fetchers._pool.shutdown()
    assert source.open_streams == 0
    assert helped.result.data == run(spec, FakeSource(VALUES.tobytes()), Fetchers(0)).result.data
    check_result(spec, VALUES, helped.result)


def test_fetchers_respect_selection_offset_and_missing_data(fetchers: Fetchers) -> None:
    array = VALUES[:50_000].reshape(500, 100)
    spec = ReductionSpec(
        "argmax",
        "float32",
        shape=array.shape,
        offset=12,
        selection=(Slice(490, 3, -3), Slice(5, 90, 2)),
        missing=Missing(valid_max=2e3),
    )
    source = Patient(bytes(12) + array.tobytes())
    check_result(spec, array, run(spec, source, fetchers).result)
    assert source.ranges


def test_the_stream_reads_tasks_of_failed_fetchers(fetchers: Fetchers) -> None:
    source = Broken(VALUES.tobytes())
    spec = ReductionSpec("sum", "float32")
    check_result(spec, VALUES, run(spec, source, fetchers).result)
    assert source.ranges


@pytest.mark.parametrize("new", [VALUES[::-1] + 1, VALUES[: 3 * PART // 4] + 1], ids=["as-long", "shorter"])
def test_after_a_torn_read_the_new_object_is_reduced(new: np.ndarray) -> None:
    source = Replaced(VALUES.tobytes(), new.tobytes())
    answer = run(ReductionSpec("sum", "float32"), source, Prompt())
    check_result(ReductionSpec("sum", "float32"), new, answer.result)
    assert (answer.facts.etag, source.wholes) == (ETag("1"), 2)
    assert [each.open_streams for each in source.objects] == [0, 0]


def test_an_object_that_is_replaced_twice_is_an_error() -> None:
    source = Replaced(*(VALUES.tobytes() for _ in range(4)))
    with pytest.raises(ObjectChanged):
        run(ReductionSpec("sum", "float32"), source, Prompt())
    assert source.wholes == 2
    assert [each.open_streams for each in source.objects] == [0] * 4


def test_stalled_fetchers_do_not_delay_a_request(fetchers: Fetchers) -> None:
    stalled, other = Stalled(VALUES.tobytes()), Patient(VALUES.tobytes())
    other._came.set()
    for source in (stalled, other):
        check_result(SPECS[0], VALUES, run(SPECS[0], source, fetchers).result)
    assert stalled.ranges
    assert not other.ranges
    stalled.is_over.set()


def test_an_unexpected_exception_in_a_fetcher_is_raised(fetchers: Fetchers) -> None:
    with pytest.raises(ZeroDivisionError):
        run(ReductionSpec("sum", "float32"), Buggy(VALUES.tobytes()), fetchers)


def test_a_request_is_not_helped_while_there_are_others(fetchers: Fetchers) -> None:
    source = Patient(VALUES.tobytes())
    source._came.set()
    with fetchers:
        run(ReductionSpec("sum", "float32"), source, fetchers)
    assert not source.ranges


def test_a_request_is_helped_after_the_others_have_ended(fetchers: Fetchers) -> None:
    other = ExitStack()

    class Left(_Whole):
        def readinto(self, buffer: memoryview, /) -> int:
            if self.bytes_read >= PART:
                other.close()
            return super().readinto(buffer)

    source = Patient(VALUES.tobytes(), Left)
    other.enter_context(fetchers)
    check_result(SPECS[0], VALUES, run(SPECS[0], source, fetchers).result)
    assert source.ranges


@pytest.mark.parametrize("etag", [None, 'W/"1"'])
def test_an_object_without_a_strong_etag_is_read_by_one_stream(etag: str | None, fetchers: Fetchers) -> None:
    source = Patient(VALUES.tobytes())
    source.etag = etag
    source._came.set()
    run(ReductionSpec("sum", "float32"), source, fetchers)
    assert not source.ranges


def test_the_request_fails_if_its_stream_fails(fetchers: Fetchers) -> None:
    class CutOff(_Whole):
        def readinto(self, buffer: memoryview, /) -> int:
            if self.bytes_read > 2 * PART:
                raise StoreCutOff("gone")
            return super().readinto(buffer)

    source = Broken(VALUES.tobytes(), CutOff)
    with pytest.raises(StoreCutOff, match="gone"):
        run(ReductionSpec("sum", "float32"), source, fetchers)


@pytest.mark.parametrize(
    ("worked", "lasted", "pays"), [(0.1, 1.0, True), (0.3, 1.0, False), (0.7, 1.0, False), (0.8, 1.0, True)]
)
def test_a_stream_is_helped_if_it_is_hardly_or_mostly_busy(worked: float, lasted: float, pays: bool) -> None:
    fetchers = Fetchers()
    with fetchers:
        assert fetchers.pay(worked, lasted) == pays
    assert not fetchers.pay(worked, lasted)


def test_a_stream_that_waits_is_helped() -> None:
    """A stream that sleeps uses little processor time, however busy the machine is."""

    class Slow(_Whole):
        def readinto(self, buffer: memoryview, /) -> int:
            time.sleep(0.005)
            return super().readinto(buffer)

    source = Patient(VALUES.tobytes(), Slow)
    run(ReductionSpec("sum", "float32"), source, Fetchers())
    assert source.ranges

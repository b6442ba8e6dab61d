"""The parts of a large object, read side by side: the same result, whoever reads them, whatever becomes of fetchers."""

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
    """Two, who come however busy a stream is."""
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
    """Its whole is read on only when a fetcher has come for a range: so that there is one, on any machine."""

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
        """What a fetcher gets."""
        return FakeStream(self, self.head(byte_range))


class Broken(Patient):
    """Its ranges break off."""

    def open_range(self, byte_range: ByteRange) -> FakeStream:
        raise StoreCutOff(f"no {byte_range}")


class Stalled(Patient):
    """Its ranges begin, and bring nothing until the test is over."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.is_over = threading.Event()

    def open_range(self, byte_range: ByteRange) -> FakeStream:
        assert self.is_over.wait(30)
        raise StoreCutOff(f"no {byte_range}")


class Replaced(FakeSource):
    """Each time that its whole was asked for, the next object takes its place, which ranges are of; the last stays."""

    def __init__(self, *objects: bytes) -> None:
        super().__init__(objects[0])
        self.objects = [FakeSource(data, etag=f'"{number}"') for number, data in enumerate(objects)]
        self.wholes = 0

    def _open(self, byte_range: ByteRange | None) -> Stream:
        current = self.objects[min(self.wholes, len(self.objects) - 1)]
        self.wholes += byte_range is None
        return current.open(byte_range)


class Buggy(Patient):
    """Whoever wrote it made a mistake."""

    def open_range(self, byte_range: ByteRange) -> FakeStream:
        raise ZeroDivisionError


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.reducer)
def test_the_result_is_the_same_to_the_last_bit_with_fetchers_and_without(
    spec: ReductionSpec, fetchers: Fetchers
) -> None:
    source = Patient(VALUES.tobytes())
    helped = run(spec, source, fetchers)
    assert source.ranges
    assert source.open_streams == 0
    assert helped.result.data == run(spec, FakeSource(VALUES.tobytes()), Fetchers(0)).result.data
    check_result(spec, VALUES, helped.result)


def test_selections_offsets_and_missing_data_are_found_in_ranges(fetchers: Fetchers) -> None:
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


def test_what_fetchers_cannot_have_the_stream_itself_brings(fetchers: Fetchers) -> None:
    source = Broken(VALUES.tobytes())
    spec = ReductionSpec("sum", "float32")
    check_result(spec, VALUES, run(spec, source, fetchers).result)
    assert source.ranges


@pytest.mark.parametrize("new", [VALUES[::-1] + 1, VALUES[: 3 * PART // 4] + 1], ids=["as-long", "shorter"])
def test_parts_of_two_objects_are_read_over_as_those_of_the_new_one(new: np.ndarray) -> None:
    source = Replaced(VALUES.tobytes(), new.tobytes())
    answer = run(ReductionSpec("sum", "float32"), source, Prompt())
    check_result(ReductionSpec("sum", "float32"), new, answer.result)
    assert (answer.facts.etag, source.wholes) == (ETag("1"), 2)
    assert [each.open_streams for each in source.objects] == [0, 0]


def test_an_object_that_is_replaced_each_time_is_not_read_a_third_time() -> None:
    source = Replaced(*(VALUES.tobytes() for _ in range(4)))
    with pytest.raises(ObjectChanged):
        run(ReductionSpec("sum", "float32"), source, Prompt())
    assert source.wholes == 2
    assert [each.open_streams for each in source.objects] == [0] * 4


def test_fetchers_that_get_nothing_keep_no_request_waiting(fetchers: Fetchers) -> None:
    stalled, other = Stalled(VALUES.tobytes()), Patient(VALUES.tobytes())
    other._came.set()
    for source in (stalled, other):
        check_result(SPECS[0], VALUES, run(SPECS[0], source, fetchers).result)
    assert stalled.ranges
    assert not other.ranges
    stalled.is_over.set()


def test_a_mistake_in_a_fetcher_is_not_passed_over(fetchers: Fetchers) -> None:
    with pytest.raises(ZeroDivisionError):
        run(ReductionSpec("sum", "float32"), Buggy(VALUES.tobytes()), fetchers)


def test_a_request_among_others_is_not_helped(fetchers: Fetchers) -> None:
    source = Patient(VALUES.tobytes())
    source._came.set()
    with fetchers:
        run(ReductionSpec("sum", "float32"), source, fetchers)
    assert not source.ranges


def test_a_request_is_helped_once_the_others_are_gone(fetchers: Fetchers) -> None:
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


def test_when_the_stream_fails_so_does_the_request(fetchers: Fetchers) -> None:
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
def test_a_stream_that_takes_turns_is_not_helped(worked: float, lasted: float, pays: bool) -> None:
    fetchers = Fetchers()
    with fetchers:
        assert fetchers.pay(worked, lasted) == pays
    assert not fetchers.pay(worked, lasted)


def test_a_stream_that_waits_is_helped() -> None:
    """One that sleeps works little, however busy the machine is."""

    class Slow(_Whole):
        def readinto(self, buffer: memoryview, /) -> int:
            time.sleep(0.005)
            return super().readinto(buffer)

    source = Patient(VALUES.tobytes(), Slow)
    run(ReductionSpec("sum", "float32"), source, Fetchers())
    assert source.ranges

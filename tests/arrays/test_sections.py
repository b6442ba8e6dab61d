"""Sections, runs and versions: what is joined elsewhere, what changes, what is absent, and what cannot be read."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from active_storage.errors import (
    ArrayChanged,
    DeadlineExceeded,
    EntityTooLarge,
    InvalidArgument,
    ObjectChanged,
    PlanOutdated,
    StoreCutOff,
    StoreError,
    StoreProtocolError,
    StoreTimeout,
    UndecodableData,
    UnsupportedArray,
)
from active_storage.model.array_reduction import ArrayReduction
from active_storage.model.etag import ETag
from active_storage.model.ranges import ByteRange, Slice
from handler.arrays.engine import ArrayEngine, ArrayLimits, finish, join_section
from handler.arrays.fetch import Run, RunReader, Versions, count_runs, cut_runs, open_run, split_run
from handler.arrays.grid import count_touched
from handler.arrays.pace import Pace
from handler.arrays.plan import ArrayPlan
from handler.arrays.sections import SectionPartial, unit_chunks
from handler.codecs.readable import fill
from handler.containers.open import OPENERS
from handler.containers.stored_array import ABSENT, WHOLE_OBJECT, ChunkObject, Places, StoredArray
from handler.engine.engine import Engine
from handler.engine.memory import MemoryGate
from handler.kernels.sizes import Sizes
from handler.scope import Clock, Scope
from handler.stores.fake import FakeSource
from handler.stores.source import ObjectFacts, Source, Stream
from tests.arrays.memory_array import SMALL, ask, make_engine, store_array, values_of
from tests.containers.memory import MemoryContainer


@pytest.fixture(autouse=True)
def all_units_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many units as may be are under way, as for a distant store."""
    monkeypatch.setattr("handler.arrays.sections.Pace", lambda most, _: Pace(most, most))


def places_of(*rows: tuple[int, int, int]) -> Places:
    table = np.array(rows, np.int64).reshape(-1, 3)
    objects = [ChunkObject(str(number), FakeSource(b"")) for number in range(3)]
    return Places(objects, table[:, 0], table[:, 1], table[:, 2])


def test_neighbours_in_one_object_are_one_run() -> None:
    places = places_of((0, 0, 10), (0, 10, 10), (0, 20, 10), (1, 30, 10), (0, 40, 10))
    assert [(list(run.rows), run.start, run.stop) for run in cut_runs(places, range(5))] == [
        ([0, 1, 2], 0, 30),
        ([3], 30, 40),
        ([4], 40, 50),
    ]


def cut_one_by_one(places: Places, most_bytes: int, most_rows: int) -> list[Run]:
    """The runs that the rules of ``cut_runs`` lead to, chunk by chunk."""
    runs: list[Run] = []
    for row, (owner, offset, size) in enumerate(
        zip(places.object_numbers.tolist(), places.offsets.tolist(), places.sizes.tolist(), strict=True)
    ):
        if size == ABSENT or row in places.inline:
            continue
        if size == WHOLE_OBJECT:
            runs.append(Run([row], 0, WHOLE_OBJECT))
            continue
        last = runs[-1] if runs else None
        if last is not None and last.stop != WHOLE_OBJECT and int(places.object_numbers[last.rows[0]]) == owner:
            used = sum(int(places.sizes[each]) for each in last.rows) + size
            is_near = 0 <= offset - last.stop <= 128 << 10 and last.rows[0] // most_rows == row // most_rows
            if is_near and offset + size - last.start <= min(most_bytes, 1.25 * used):
                runs[-1] = Run([*last.rows, row], last.start, offset + size)
                continue
        runs.append(Run([row], offset, offset + size))
    return runs


@pytest.mark.parametrize("most_rows", [7, 50, 2**63 - 1])
@pytest.mark.parametrize("most_bytes", [2000, 100_000, 16 << 20])
@pytest.mark.parametrize("largest_gap", [1, 2, 300, 200_000])
def test_runs_are_those_of_the_rules_applied_chunk_by_chunk(most_bytes: int, most_rows: int, largest_gap: int) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        count = int(rng.integers(1, 200))
        sizes = rng.integers(1, 2000 if seed % 2 else 1_000_000, count)
        offsets = np.cumsum(sizes + rng.integers(0, largest_gap, count) * rng.integers(0, 2, count)) - sizes
        offsets[rng.random(count) < 0.03] = 5
        sizes[rng.random(count) < 0.05 * (seed % 3)] = ABSENT
        sizes[rng.random(count) < 0.05 * (seed % 4)] = WHOLE_OBJECT
        owners = np.cumsum(rng.random(count) < 0.02) % 3
        inline = {int(row): b"" for row in rng.integers(0, count, seed % 3)}
        places = Places([ChunkObject(str(number), FakeSource(b"")) for number in range(3)], owners, offsets, sizes)
        places = replace(places, inline=inline)
        wanted = cut_one_by_one(places, most_bytes, most_rows)
        assert cut_runs(places, range(count), most_bytes, most_rows) == wanted
        assert count_runs(places, most_bytes, most_rows) == len(wanted)


def test_no_chunks_need_no_runs() -> None:
    assert cut_runs(places_of(), range(0)) == []
    assert count_runs(places_of((0, 0, ABSENT))) == 0


def test_a_run_reads_over_small_gaps_only() -> None:
    places = places_of((0, 0, 1000), (0, 1100, 1000), (0, 300_000, 1000))
    assert [list(run.rows) for run in cut_runs(places, range(3))] == [[0, 1], [2]]


def test_a_run_does_not_go_back() -> None:
    places = places_of((0, 100, 10), (0, 0, 10))
    assert len(cut_runs(places, range(2))) == 2


def test_a_run_is_split_before_a_row() -> None:
    places = places_of((0, 0, 10), (0, 12, 10), (0, 0, ABSENT), (0, 25, 10))
    (run,) = cut_runs(places, range(4))
    assert run.rows == [0, 1, 3]
    assert split_run(run, 1, places) == (Run([0], 0, 10), Run([1, 3], 12, 35))
    assert split_run(run, 2, places) == (Run([0, 1], 0, 22), Run([3], 25, 35))


@pytest.mark.parametrize("most_bytes", [1, 200, 500, 1 << 20])
def test_how_runs_and_batches_fall_together_does_not_change_the_bits(
    most_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs end inside of batches, and behind several of them. All chunks are read once."""
    values = np.random.default_rng(5).normal(size=(64, 6)).astype(np.float32)
    array, _ = store_array(values, (1, 6), in_one_object=True)
    expected = ask(make_engine(), array, "sum")
    monkeypatch.setattr("handler.arrays.sections.MOST_RUN_BYTES", most_bytes)
    found = ask(make_engine(fetchers=2), array, "sum")
    assert values_of(found).tobytes() == values_of(expected).tobytes()
    assert found.bytes_read == expected.bytes_read == values.nbytes


@pytest.mark.parametrize("fetchers", [0, 1, 3])
def test_a_distant_store_is_read_side_by_side_with_the_same_bits(
    fetchers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(6).normal(size=(64, 6)).astype(np.float32)
    array, _ = store_array(values, (1, 6))
    near = ask(make_engine(fetchers=fetchers), array, "sum")
    monkeypatch.setattr("handler.arrays.pace._DISTANT_SECONDS", -1.0)
    far = ask(make_engine(fetchers=fetchers), array, "sum")
    assert values_of(far).tobytes() == values_of(near).tobytes()
    assert far.bytes_read == values.nbytes


def read_runs(sources: Sequence[FakeSource], pool: ThreadPoolExecutor | None) -> bytes:
    """The bytes of objects of two chunks of 10 bytes each, by one reader; all its streams are closed at the end."""
    rows = np.array([(number, offset, 10) for number in range(len(sources)) for offset in (0, 10)], np.int64)
    objects = [ChunkObject(str(number), source, must_exist=True) for number, source in enumerate(sources)]
    places = Places(objects, rows[:, 0], rows[:, 1], rows[:, 2])
    reader = RunReader(places, cut_runs(places, range(len(rows))), Versions(), False, lambda: None, pool)
    buffer = memoryview(bytearray(10 * len(rows)))
    try:
        for row in range(len(rows)):
            assert reader.has(row)
            fill(reader.window(row), buffer[10 * row : 10 * row + 10])
    finally:
        reader.close()
        assert not any(source.open_streams for source in sources)
    return bytes(buffer)


def test_runs_that_are_asked_for_ahead_have_the_same_bytes() -> None:
    sources = [FakeSource(bytes(range(20 * number, 20 * number + 20))) for number in range(6)]
    with ThreadPoolExecutor(2) as pool:
        assert read_runs(sources, pool) == read_runs(sources, None) == bytes(range(120))


@pytest.mark.parametrize("failing", range(6))
def test_a_run_that_was_asked_for_ahead_and_is_refused_is_an_error(failing: int) -> None:
    sources = [FakeSource(bytes(20)) for _ in range(6)]
    sources[failing] = FailingSource(500, "InternalError")
    with ThreadPoolExecutor(2) as pool, pytest.raises(StoreError):
        read_runs(sources, pool)


def test_only_some_runs_are_asked_for_ahead() -> None:
    sources = [FakeSource(bytes(20)) for _ in range(6)]
    objects = [ChunkObject(str(number), source) for number, source in enumerate(sources)]
    places = Places(objects, np.arange(6), np.zeros(6, np.int64), np.full(6, 20))
    with ThreadPoolExecutor(1) as pool:
        reader = RunReader(places, cut_runs(places, range(6)), Versions(), False, lambda: None, pool)
        assert reader.has(0)
        pool.shutdown()
        assert [source.open_streams for source in sources] == [1, 1, 1, 1, 0, 0]
        reader.close()
    assert not any(source.open_streams for source in sources)


@pytest.mark.parametrize("cut", [0, 159, 160, 1000])
def test_an_object_that_is_cut_off_between_raw_chunks_names_the_chunk(cut: int) -> None:
    array, _ = store_array(np.arange(160.0), (20,), in_one_object=True)
    source = array.index.sources[0]  # type: ignore[attr-defined]
    array.index.sources[0] = CutSource(source, cut)  # type: ignore[attr-defined]
    with pytest.raises(StoreCutOff, match=rf"chunk \({cut // 160}\)"):
        ask(make_engine(Sizes(), fetchers=0), array, "sum")


class CutSource(FakeSource):
    """An object that the store cuts off after some bytes."""

    def __init__(self, source: Source, count: int) -> None:
        with source.open(None) as stream:
            data = bytearray(stream.facts.length)
            fill(stream, memoryview(data))
        super().__init__(bytes(data))
        self._count = count

    def _open(self, byte_range: ByteRange | None) -> Stream:
        stream = super()._open(byte_range)
        read = stream.readinto

        def read_some(buffer: memoryview) -> int:
            left = self._count - stream.bytes_read
            if not left:
                raise StoreCutOff("the store sent fewer bytes than it announced")
            return read(buffer[:left])

        stream.readinto = read_some  # type: ignore[method-assign]
        return stream


def test_absent_and_whole_objects_are_no_part_of_a_run() -> None:
    places = places_of((0, 0, 10), (0, 0, ABSENT), (0, 10, 10), (1, 0, WHOLE_OBJECT))
    assert [list(run.rows) for run in cut_runs(places, range(4))] == [[0, 2], [3]]


@pytest.mark.parametrize(
    "reducer", ["sum", "mean", "std", "stats", "max", "argmin", "select", "count", "last", "kurtosis", "histogram"]
)
@pytest.mark.parametrize("axis", [None, (0,), (1,)])
def test_sections_joined_elsewhere_give_the_same_bits(reducer: str, axis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handler.arrays.plan._SECTION_BYTES", 512)
    values = np.random.default_rng(3).normal(size=(20, 18)).astype(np.float32)
    array, _ = store_array(values, (3, 4))
    axis = axis if reducer != "argmin" or axis else None
    whole = ask(make_engine(), array, reducer, axis=axis)
    reduction = ArrayReduction(reducer, "zarr", axis=axis)
    monkeypatch.setitem(OPENERS, "zarr", lambda *_: array)
    summary = make_engine().plan(reduction, MemoryContainer({}), Scope.after(60))
    assert summary.sections > 3
    plan, partials = None, list[SectionPartial]()
    for section in range(summary.sections):
        plan, found = make_engine(fetchers=2).reduce_sections(
            reduction, MemoryContainer({}), Scope.after(60), range(section, section + 1), summary.digest
        )
        partials += found
    assert plan is not None
    joined = plan.algebra.start(plan.selection.cells)
    for partial in partials:
        join_section(plan, joined, partial)
    assert finish(plan, joined).data == whole.result.data


@pytest.mark.parametrize(("reducer", "axis"), [("sum", None), ("mean", ("d0",)), ("select", None), ("stats", ("d1",))])
def test_a_reduction_goes_on_with_the_memory_that_the_plan_says(
    monkeypatch: pytest.MonkeyPatch, reducer: str, axis: Any
) -> None:
    array, seen = store_array(np.arange(400.0).reshape(20, 20), (3, 4))
    monkeypatch.setitem(OPENERS, "zarr", lambda *_: array)
    reduction = ArrayReduction(reducer, "zarr", axis=axis)
    needed = make_engine().plan(reduction, MemoryContainer({}), Scope.after(60)).memory_bytes

    def reduce(memory_bytes: int) -> Any:
        engine = ArrayEngine(Engine(MemoryGate(memory_bytes, memory_bytes), sizes=SMALL))
        return values_of(engine.reduce(reduction, MemoryContainer({}), Scope.after(60)))

    assert needed > seen.nbytes if reducer == "select" else needed > 0
    np.testing.assert_array_equal(reduce(needed), values_of(ask(make_engine(), array, reducer, axis=axis)))
    with pytest.raises(EntityTooLarge):
        reduce(needed - 1)


def test_another_plan_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    array, _ = store_array(np.zeros((4, 4)), (2, 2))
    monkeypatch.setitem(OPENERS, "zarr", lambda *_: array)
    reduction = ArrayReduction("sum", "zarr")
    with pytest.raises(PlanOutdated):
        make_engine().reduce_sections(reduction, MemoryContainer({}), Scope.after(60), range(1), "other")
    with pytest.raises(InvalidArgument, match="sections"):
        make_engine().reduce_sections(reduction, MemoryContainer({}), Scope.after(60), range(7))


def test_one_plan_serves_several_reducers(monkeypatch: pytest.MonkeyPatch) -> None:
    array, _ = store_array(np.zeros((4, 4)), (2, 2))
    monkeypatch.setitem(OPENERS, "zarr", lambda *_: array)
    digests = {
        make_engine().plan(ArrayReduction(reducer, "zarr", axis=axis), MemoryContainer({}), Scope.after(60)).digest
        for reducer, axis in (("sum", None), ("max", None), ("sum", (0,)))
    }
    assert len(digests) == 2


class ChangingSource(FakeSource):
    """An object that is replaced after a number of reads."""

    def __init__(self, data: bytes, after: int) -> None:
        super().__init__(data, etag='"first"')
        self.left = after

    def head(self, byte_range: ByteRange | None) -> ObjectFacts:
        self.left -= 1
        if self.left < 0:
            self.etag = f'"{self.left}"'
        return super().head(byte_range)

    def _open_more(self, byte_range: ByteRange | None, expected: ObjectFacts) -> Stream:
        return self._open(byte_range)


def test_an_object_that_changes_is_never_a_number() -> None:
    array, _ = store_array(np.arange(4000.0), (40,), in_one_object=True, permutation=(0,))
    source = ChangingSource(b"".join(np.arange(4000.0)[k : k + 40].tobytes() for k in range(0, 4000, 40)), after=2)
    array.index.sources = dict.fromkeys(range(100), source)  # type: ignore[attr-defined]
    # Gaps, so that several ranges are read.
    with pytest.raises(ArrayChanged, match="twice") as caught:
        ask(make_engine(), array, "sum", selection={0: Slice(0, None, 700)})
    assert caught.value.status == 409


def test_metadata_that_changes_starts_over_once() -> None:
    array, _ = store_array(np.arange(8.0), (2,))
    source = ChangingSource(b"{}", after=1)
    facts = source.head(None)
    changed = StoredArray(**{**{name: getattr(array, name) for name in array.__slots__}, "metadata": [
        ChunkObject(".zarray", source, facts)
    ]})  # fmt: skip
    with pytest.raises(ArrayChanged):
        ask(make_engine(), changed, "sum")


def test_a_store_without_versions_cannot_be_read_in_pieces() -> None:
    array, _ = store_array(np.arange(4000.0), (40,), in_one_object=True)
    for source in array.index.sources.values():  # type: ignore[attr-defined]
        source.etag = None
    with pytest.raises(UnsupportedArray, match="strong ETag"):
        ask(make_engine(), array, "sum", selection={0: Slice(0, None, 700)})


class FailingSource(FakeSource):
    """An object that the store refuses."""

    def __init__(self, status: int, code: str, *, is_doubtful: bool = False) -> None:
        super().__init__(b"")
        self._error = (status, code)
        self._is_doubtful = is_doubtful

    def head(self, byte_range: ByteRange | None) -> ObjectFacts:
        raise StoreError(*self._error, "refused", is_doubtful=self._is_doubtful)


@pytest.mark.parametrize(
    ("status", "code"),
    [(403, "AccessDenied"), (404, "NoSuchBucket"), (500, "InternalError"), (301, "PermanentRedirect")],
)
def test_what_fails_is_never_a_fill_value(status: int, code: str) -> None:
    array, _ = store_array(np.ones((4, 4)), (2, 2), fill=0)
    array.index.sources[2] = FailingSource(status, code)  # type: ignore[attr-defined]
    with pytest.raises(StoreError) as caught:
        ask(make_engine(), array, "sum")
    assert caught.value.status == status
    assert "array 'values', chunk (1,0), object 'chunk 2'" in caught.value.message


def test_absent_chunks_are_fill_values_and_counted() -> None:
    array, _ = store_array(np.ones((4, 4)), (2, 2), fill=5)
    array.index.sources[2] = FailingSource(404, "NoSuchKey")  # type: ignore[attr-defined]
    answer = ask(make_engine(), array, "sum")
    assert values_of(answer) == 12 + 20
    assert answer.missing_chunks == 1


def test_forbidden_chunks_are_absent_on_request_only() -> None:
    array, _ = store_array(np.ones((4, 4)), (2, 2), fill=5)
    array.index.sources[2] = FailingSource(403, "AccessDenied")  # type: ignore[attr-defined]
    assert ask(make_engine(), array, "sum", absent_is_forbidden=True).missing_chunks == 1


def test_an_absent_chunk_without_a_fill_value_is_an_error() -> None:
    array, _ = store_array(np.ones((4, 4)), (2, 2))
    array.index.sources[2] = FailingSource(404, "NoSuchKey")  # type: ignore[attr-defined]
    with pytest.raises(UndecodableData, match=r"chunk \(1,0\).*no fill value"):
        ask(make_engine(), array, "sum")


@pytest.mark.parametrize("data", [b"", b"1234", bytes(31), bytes(33)])
def test_a_chunk_of_another_size_is_an_error(data: bytes) -> None:
    array, _ = store_array(np.ones((4, 4)), (2, 2), fill=0)
    array.index.sources[1] = FakeSource(data)  # type: ignore[attr-defined]
    with pytest.raises(UndecodableData, match=r"chunk \(0,1\)"):
        ask(make_engine(), array, "sum")


def test_touched_chunks_are_counted_before_they_are_enumerated() -> None:
    array, _ = store_array(np.ones((4, 4)), (2, 2))
    huge = StoredArray(**{**{name: getattr(array, name) for name in array.__slots__}, "shape": (2**40, 2**20)})
    with pytest.raises(EntityTooLarge, match="limit is 10000000"):
        ask(make_engine(), huge, "sum")
    engine = ArrayEngine(Engine(MemoryGate(1 << 30, 1 << 29), sizes=SMALL), ArrayLimits(chunks=3))
    with pytest.raises(EntityTooLarge, match="touches 4 chunks"):
        ask(engine, array, "sum")


@pytest.mark.parametrize("indices", [range(0), range(5), range(3, 50, 7), range(49, -1, -10), range(10, 11, 99)])
@pytest.mark.parametrize("chunk", [1, 3, 10, 100])
def test_touched_chunks_are_not_undercounted(indices: range, chunk: int) -> None:
    assert count_touched(indices, chunk) >= len({index // chunk for index in indices})


def test_little_memory_means_fewer_units_and_the_same_bits() -> None:
    values = np.random.default_rng(3).normal(size=(64, 64)).astype(np.float32)
    array, _ = store_array(values, (8, 8))
    needed = 4096
    engine = ArrayEngine(Engine(MemoryGate(needed, needed), sizes=SMALL))
    assert ask(engine, array, "sum").result.data == ask(make_engine(), array, "sum").result.data


def test_too_little_memory_is_refused() -> None:
    array, _ = store_array(np.ones((64, 64)), (64, 64))
    engine = ArrayEngine(Engine(MemoryGate(1024, 1024), sizes=SMALL))
    with pytest.raises(EntityTooLarge):
        ask(engine, array, "sum")


class SteppingClock(Clock):
    """A clock that goes on by a second whenever it is asked."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_the_deadline_says_how_far_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    array, _ = store_array(np.ones((64, 64)), (4, 4))
    monkeypatch.setitem(OPENERS, "zarr", lambda *_: array)
    scope = Scope.after(150, clock=SteppingClock())
    with pytest.raises(DeadlineExceeded, match=r"after [1-9][0-9]* of 256 chunks"):
        make_engine(fetchers=1).reduce(ArrayReduction("sum", "zarr"), MemoryContainer({}), scope)


def test_each_section_can_have_a_deadline_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handler.arrays.plan._SECTION_BYTES", 1024)
    array, _ = store_array(np.ones((64, 64)), (4, 4))
    monkeypatch.setitem(OPENERS, "zarr", lambda *_: array)

    def ask_all(seconds: float) -> None:
        scope = Scope.after(1, clock=SteppingClock()).in_sections(seconds, 100_000)
        engine, reduction = make_engine(fetchers=1), ArrayReduction("sum", "zarr")
        engine.reduce(reduction, MemoryContainer({}), scope, lambda *_: scope.renew(seconds))

    # A section has eight chunks, and the whole array takes more than 500 seconds on this clock.
    ask_all(200)
    with pytest.raises(DeadlineExceeded):
        ask_all(5)


def test_a_forbidden_chunk_says_why_it_may_be_absent() -> None:
    array, _ = store_array(np.ones((4, 4)), (2, 2), fill=0)
    array.index.sources[2] = FailingSource(403, "AccessDenied")  # type: ignore[attr-defined]
    with pytest.raises(StoreError, match=r"s3:ListBucket.*absent=403"):
        ask(make_engine(), array, "sum")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"axis": ("nowhere",)}, "no dimension is named 'nowhere'; the array has 'd0', 'd1'"),
        ({"axis": (2,)}, "names dimension 2 of an array of 2 dimensions"),
        ({"axis": ("d0", 0)}, "twice"),
        ({"selection": {"d7": Slice(1)}}, "d7"),
        ({"selection": {0: Slice(1)}, "is_complete": True}, "has 1 dimensions, and the array has 2"),
    ],
)
def test_dimensions_that_are_not_there_are_named(fields: dict[str, Any], words: str) -> None:
    array, _ = store_array(np.ones((4, 4)), (2, 2))
    with pytest.raises(InvalidArgument, match=r"axis|selection") as caught:
        ask(make_engine(), array, "sum", **fields)
    assert words in caught.value.message


def test_chunks_of_one_dimension_are_not_listed_if_another_selects_nothing() -> None:
    array, _ = store_array(np.ones((4, 4)), (2, 2))
    huge = StoredArray(**{**{name: getattr(array, name) for name in array.__slots__}, "shape": (2**50, 4)})
    assert values_of(ask(make_engine(), huge, "sum", selection={1: Slice(2, 2)})) == 0


def replaced(array: StoredArray, **fields: Any) -> StoredArray:
    return StoredArray(**{**{name: getattr(array, name) for name in array.__slots__}, **fields})


def test_a_result_is_counted_before_it_is_made() -> None:
    array, _ = store_array(np.ones(4, np.int8), (2,))
    huge = replaced(array, shape=(2**40,), chunks=(2**20,))
    for reducer in ("sum", "max", "select"):
        with pytest.raises(EntityTooLarge, match="bytes of memory"):
            ask(make_engine(), huge, reducer, axis=())


def test_tiny_chunks_are_few_in_a_batch_and_in_a_section() -> None:
    array, _ = store_array(np.ones(4, np.int8), (2,))
    tiny = replaced(array, shape=(10_000_000,), chunks=(1,))
    plan = ArrayPlan.of(ArrayReduction("sum", "zarr"), tiny, Sizes(), 10_000_000)
    (part,) = plan.parts
    assert part.batch_chunks <= 1024
    assert part.section_chunks <= 1 << 14
    assert plan.sections <= 4096


def test_a_run_ends_where_a_unit_ends() -> None:
    places = places_of(*((0, 10 * number, 10) for number in range(5)))
    assert [list(run.rows) for run in cut_runs(places, range(5), most_rows=2)] == [[0, 1], [2, 3], [4]]


def test_a_unit_has_few_batches_if_each_has_a_large_result() -> None:
    array, _ = store_array(np.ones((4, 4), np.float32), (2, 2))
    maps = replaced(
        array, shape=(1000, 2048, 1024), chunks=(1, 512, 512), permutation=(0, 1, 2), dimensions=(None,) * 3
    )
    for axis, most in (((0,), 1), (None, 16)):
        plan = ArrayPlan.of(ArrayReduction("mean", "zarr", axis=axis), maps, Sizes(), 10_000_000)
        assert unit_chunks(plan, *plan.parts) == most


class SlowSource(FakeSource):
    """An object whose bytes come one by one."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data, read_bytes=1)
        self.has_begun = threading.Event()

    def _open(self, byte_range: ByteRange | None) -> Stream:
        stream = super()._open(byte_range)
        read = stream.readinto

        def read_slowly(buffer: memoryview) -> int:
            self.has_begun.set()
            time.sleep(0.01)
            return read(buffer)

        stream.readinto = read_slowly  # type: ignore[method-assign]
        return stream


class LateFailure(FailingSource):
    """An object that the store refuses when another one is being read."""

    def __init__(self, other: SlowSource) -> None:
        super().__init__(500, "InternalError")
        self._other = other

    def head(self, byte_range: ByteRange | None) -> ObjectFacts:
        assert self._other.has_begun.wait(10)
        return super().head(byte_range)


def test_nothing_is_read_any_more_after_an_error() -> None:
    array, _ = store_array(np.ones((2, 4000), np.int8), (1, 4000))
    slow = SlowSource(bytes(4000))
    array.index.sources.update({0: LateFailure(slow), 1: slow})  # type: ignore[attr-defined]
    gate = MemoryGate(1 << 30, 1 << 29)
    engine = ArrayEngine(Engine(gate, sizes=SMALL))
    with pytest.raises(StoreError):
        ask(engine, array, "sum")
    assert slow.open_streams == 0
    assert gate.held_bytes == 0


@pytest.mark.parametrize(("status", "code"), [(404, "NoSuchKey"), (403, "AccessDenied")])
def test_an_error_whose_document_is_cut_off_is_no_fill_value(status: int, code: str) -> None:
    array, _ = store_array(np.ones((4, 4)), (2, 2), fill=5)
    array.index.sources[2] = FailingSource(status, code, is_doubtful=True)  # type: ignore[attr-defined]
    with pytest.raises(StoreError, match=r"chunk \(1,0\)") as caught:
        ask(make_engine(), array, "sum", absent_is_forbidden=True)
    assert caught.value.status == status


@pytest.mark.parametrize("is_first", [True, False])
def test_a_chunk_outside_its_object_is_no_change_of_the_object(is_first: bool) -> None:
    array, _ = store_array(np.arange(80.0), (20,), in_one_object=True)
    source = array.index.sources[0]  # type: ignore[attr-defined]
    # Before: one range of the object, so that its size is known.
    rows = [(0, 0, 160), (0, 1 << 20, 160)]
    places = places_of(*(rows[1:] if is_first else rows))
    objects = [ChunkObject("whole", source, ObjectFacts.named_by(ETag("whole")) if is_first else None)]
    versions = Versions()
    with pytest.raises(UndecodableData, match="outside the object"):  # noqa: PT012  # the last one fails
        for run in cut_runs(places, range(len(places.sizes))):
            open_run(run, objects[0], versions).close()


class ReplacedSource(FakeSource):
    """An object that is replaced by another one after it was opened once."""

    def _open(self, byte_range: ByteRange | None) -> Stream:
        stream = super()._open(byte_range)
        self.etag = '"replaced"'
        return stream


@pytest.mark.parametrize("first", [(0, 0, WHOLE_OBJECT), (0, 2, 4)])
@pytest.mark.parametrize("second", [(0, 0, WHOLE_OBJECT), (0, 4, 4)])
def test_all_that_references_name_of_an_object_is_of_one_version(first: Any, second: Any) -> None:
    for source, is_same in ((FakeSource(bytes(8)), True), (ReplacedSource(bytes(8)), False)):
        places = replace(places_of(first, second), objects=[ChunkObject("named twice", source, must_exist=True)])
        one, other = (
            Run([row], 0 if size < 0 else at, size if size < 0 else at + size)
            for row, (_, at, size) in enumerate((first, second))
        )
        versions = Versions()
        open_run(one, places.objects[0], versions).close()
        if is_same:
            open_run(other, places.objects[0], versions).close()
            continue
        with pytest.raises(ObjectChanged):
            open_run(other, places.objects[0], versions)
        assert source.open_streams == 0


def test_no_version_is_kept_of_keys_of_chunks() -> None:
    source = FakeSource(bytes(8), etag=None)
    places = replace(places_of((0, 0, WHOLE_OBJECT)), objects=[ChunkObject("c/0", source)])
    versions = Versions()
    # Without an ETag or a date, a version that was kept would make the second answer an error.
    for _ in range(2):
        open_run(Run([0], 0, WHOLE_OBJECT), places.objects[0], versions).close()
    assert versions.find(places.objects[0]) is None


def test_a_whole_object_that_is_named_twice_needs_versions_that_can_be_compared() -> None:
    source = FakeSource(bytes(8), etag=None)
    places = replace(places_of((0, 0, WHOLE_OBJECT)), objects=[ChunkObject("named", source, must_exist=True)])
    versions, run = Versions(), Run([0], 0, WHOLE_OBJECT)
    open_run(run, places.objects[0], versions).close()
    with pytest.raises(UnsupportedArray, match="neither a strong ETag nor a date"):
        open_run(run, places.objects[0], versions)


def test_the_etag_of_an_answer_is_as_strong_as_those_of_the_objects() -> None:
    array, _ = store_array(np.ones((4, 4)), (2, 2))
    source = array.index.sources[2]  # type: ignore[attr-defined]
    source.etag, source.headers = 'W/"1"', {"last-modified": "Mon, 30 Nov 2026 12:00:00 GMT"}
    weak = ask(make_engine(), array, "sum").etag
    source.etag = None
    dated = ask(make_engine(), array, "sum").etag
    source.headers = {}
    assert weak is not None
    assert weak.is_weak
    assert dated is not None
    assert dated.is_weak
    assert ask(make_engine(), array, "sum").etag is None
    source.etag = '"1"'
    strong = ask(make_engine(), array, "sum").etag
    assert strong is not None
    assert not strong.is_weak


class RangelessSource(FakeSource):
    """An object of a server that does not know ranges."""

    def head(self, byte_range: ByteRange | None) -> ObjectFacts:
        if byte_range is not None:
            raise StoreProtocolError("the store answered with the whole object; a part was asked for")
        return super().head(byte_range)


def test_whole_objects_can_be_read_from_a_server_without_ranges() -> None:
    array, _ = store_array(np.ones((4, 4)), (2, 2))
    source = RangelessSource(b"{}")
    metadata = [ChunkObject(".zarray", source, source.head(None))]
    assert values_of(ask(make_engine(), replaced(array, metadata=metadata), "sum")) == 16
    source.etag = '"other"'
    with pytest.raises(ArrayChanged):
        ask(make_engine(), replaced(array, metadata=metadata), "sum")


class LateSource(FakeSource):
    """An object that does not come before the deadline."""

    def head(self, byte_range: ByteRange | None) -> ObjectFacts:  # the interface
        time.sleep(0.2)
        raise StoreTimeout("the store did not send the response in time")


@pytest.mark.parametrize(
    ("seconds", "error", "words"), [(0.1, DeadlineExceeded, "after 0 of 4"), (60, StoreTimeout, "chunk")]
)
def test_a_store_that_is_late_at_the_deadline_is_told_as_the_deadline(
    monkeypatch: pytest.MonkeyPatch, seconds: float, error: type[Exception], words: str
) -> None:
    array, _ = store_array(np.ones((4, 4)), (2, 2))
    array.index.sources[0] = LateSource(b"")  # type: ignore[attr-defined]
    scope = Scope.after(seconds)
    monkeypatch.setitem(OPENERS, "zarr", lambda *_: array)
    with pytest.raises(error, match=words):
        make_engine(fetchers=1).reduce(ArrayReduction("sum", "zarr"), MemoryContainer({}), scope)


@pytest.mark.parametrize("in_one_object", [False, True])
def test_an_answer_has_the_same_etag_and_bits_however_the_work_is_shared(in_one_object: bool) -> None:
    values = np.random.default_rng(3).normal(size=(40, 40)).astype(np.float32)
    array, _ = store_array(values, (4, 4), in_one_object=in_one_object, absent=frozenset({3, 50}), fill=0)
    answers = [ask(make_engine(fetchers=count), array, "mean", axis=(0,)) for count in (1, 2, 8, 8)]
    assert len({str(answer.etag) for answer in answers}) == 1
    assert len({answer.result.data for answer in answers}) == 1

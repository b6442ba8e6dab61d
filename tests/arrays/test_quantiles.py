"""Quantiles: those of numpy and xarray, for any passes over the data, in bounded memory; and what is refused."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from active_storage.errors import ArrayChanged, EntityTooLarge, InvalidArgument, UnsupportedArray
from active_storage.grammar.expressions import parse_expression
from active_storage.model.array_reduction import ArrayReduction
from active_storage.model.coordinates import Between, Group
from active_storage.model.quantiles import QUANTILE_METHODS
from active_storage.model.ranges import ByteRange
from handler.arrays import engine as engines
from handler.arrays import quantiles
from handler.arrays.engine import ArrayAnswer, ArrayEngine, ArrayLimits
from handler.arrays.quantiles import cut_boxes
from handler.arrays.sections import ChunkFetchers
from handler.containers.open import OPENERS
from handler.engine.engine import Engine
from handler.engine.memory import MemoryGate
from handler.kernels.order_statistics import shape_of
from handler.kernels.sizes import Sizes
from handler.scope import Scope
from handler.stores.fake import FakeSource
from handler.stores.source import ObjectFacts
from tests.arrays.judge import Judged, decode
from tests.arrays.memory_array import Array, ask, make_engine, store_array, values_of
from tests.arrays.stores import write_zarr
from tests.arrays.test_judges import EXAMPLES, contents, questions
from tests.arrays.written import KINDS, NAME
from tests.containers.memory import MemoryContainer
from tests.helpers import examples


class Passes:
    """The takers of all passes, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        read = engines._Reading.read

        def note(reading: Any, sections: Any, account: Any, taker: Any = None, passes_left: int = 1) -> Any:
            self.names.append(type(taker).__name__)
            return read(reading, sections, account, taker, passes_left)

        monkeypatch.setattr(engines._Reading, "read", note)

    def take(self) -> list[str]:
        names, self.names = self.names, []
        return names


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Passes:
    return Passes(monkeypatch)


def make_small(limit: int = 1 << 26, passes: int = 4) -> ArrayEngine:
    engine = Engine(MemoryGate(1 << 30, limit), sizes=Sizes(block_bytes=256))
    return ArrayEngine(engine, ArrayLimits(passes=passes), ChunkFetchers(2))


def expect(values: Array, present: Array, axes: tuple[int, ...], q: tuple[float, ...], method: Any) -> tuple[Any, Any]:
    """The quantiles and the counts by numpy, cell by cell; NaN, or 0 of integers, without elements."""
    kept = [axis for axis in range(values.ndim) if axis not in axes]
    shape = tuple(values.shape[axis] for axis in kept)
    size = int(np.prod([values.shape[axis] for axis in axes]))
    rows, there = (array.transpose(*kept, *axes).reshape(*shape, size) for array in (values, present))
    counts = there.sum(axis=-1)
    dtype = np.quantile(np.ones(1, values.dtype), np.array([0.3]), method=method).dtype
    found = np.full((len(q), *shape), np.nan if dtype.kind == "f" else 0, dtype)
    for index in np.ndindex(shape):
        row = rows[index][there[index]]
        if dtype.kind == "f" and row.dtype.kind in "iu" and row.itemsize < 8:
            # numpy's difference of two neighbours can overflow.
            row = row.astype(np.float64)
        if row.size:
            with np.errstate(all="ignore"):
                found[(slice(None), *index)] = np.quantile(row, np.array(q), method=method)
    return (found[0] if len(q) == 1 else found), counts


def check(answer: ArrayAnswer, wanted: Any, counts: Any, is_infinite: bool = False) -> None:
    got = values_of(answer)
    np.testing.assert_array_equal(np.asarray(answer.result.counts).reshape(counts.shape), counts)
    assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
    if got.dtype.kind != "f":
        np.testing.assert_array_equal(got, wanted)
        return
    # Between infinities numpy says NaN where the formula does not.
    known = ~np.isnan(wanted) if is_infinite else np.ones(wanted.shape, bool)
    np.testing.assert_allclose(got[known], wanted[known], rtol=1e-12, atol=0)


@st.composite
def arrays(draw: st.DrawFn) -> Array:
    dtype = np.dtype(
        draw(st.sampled_from(["float16", "float32", "float64", "int8", "uint8", "int32", "int64", "uint64"]))
    )
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**20)))
    if dtype.kind == "f":
        values = rng.normal(*draw(st.sampled_from([(0, 50), (280, 10), (0, 1e4)])), shape).astype(dtype)
    else:
        info: Any = np.iinfo(dtype)
        values = rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    frequent = draw(st.sampled_from([None, 0, 7, 7, *([np.nan, np.inf, -np.inf, -0.0] if dtype.kind == "f" else [])]))
    if frequent is not None:
        values[rng.random(shape) < draw(st.sampled_from([0.05, 0.6, 1.0]))] = frequent
    return values


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("bins", [2, 5, 64, 512])
@pytest.mark.parametrize("gathered_bytes", [8, 1 << 40])
def test_quantiles_are_numpys_whatever_passes_there_are(
    monkeypatch: pytest.MonkeyPatch, passes: Passes, bins: int, gathered_bytes: int
) -> None:
    """Few bins take many passes, and with little memory nothing is gathered, so that each element is found by bins."""
    monkeypatch.setattr(quantiles, "_LEAST_BINS", 2)
    monkeypatch.setattr(quantiles, "_MOST_BINS", bins)
    monkeypatch.setattr(quantiles, "GATHERED_BYTES", gathered_bytes)
    monkeypatch.setattr("handler.arrays.plan._SECTION_BYTES", 512)
    seen = set[tuple[str, ...]]()

    @settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        arrays(),
        st.data(),
        st.sampled_from(QUANTILE_METHODS),
        st.booleans(),
        st.sampled_from([0, 3]),
        st.sampled_from([4, 64]),
    )
    def examine(values: Array, data: st.DataObject, method: str, skipna: bool, collecting: int, piece: int) -> None:
        chunks = tuple(data.draw(st.integers(1, size)) for size in values.shape)
        axes = tuple(sorted(data.draw(st.sets(st.integers(0, values.ndim - 1)))))
        q = tuple(data.draw(st.lists(st.sampled_from([0, 0.05, 1 / 3, 0.5, 0.95, 1]), min_size=1, max_size=3)))
        missing = data.draw(st.sampled_from([None, values.flat[0].item()]))
        fields: dict[str, Any] = {"axis": axes, "q": q, "method": method, "skipna": skipna, "decode": "none"}
        present = ~np.isnan(values) if skipna and values.dtype.kind == "f" else np.ones(values.shape, bool)
        if missing is not None and np.isfinite(missing):
            fields["missing"] = {"missing_value": (missing,)}
            present &= values != missing
        array, _ = store_array(values, chunks)
        with pytest.MonkeyPatch.context() as knobs:
            knobs.setattr(quantiles, "_MOST_COLLECTING", collecting)
            knobs.setattr("handler.arrays.elements._PIECE_ELEMENTS", piece)
            answer = ask(make_small(passes=70), array, "quantile", **fields)
        seen.add(tuple(passes.take()))
        has_infinite = bool(values.dtype.kind == "f" and np.isinf(values).any())
        check(answer, *expect(values, present, axes, q, method), is_infinite=has_infinite)

    examine()
    assert ("Collector",) in seen
    gathers = any(names[-1] == "Gatherer" for names in seen)
    assert gathers == (gathered_bytes == 8)
    if bins < 10 and not gathers:
        assert max(map(len, seen)) > 10


@pytest.mark.parametrize("passes_allowed", [1, 2, 3, 4])
@pytest.mark.parametrize("axis", [(0,), (1, 2), (0, 1, 2), (2,)])
@pytest.mark.parametrize("kind", ["normal", "equal", "zeros"])
def test_with_little_memory_the_numbers_are_the_same_or_the_refusal_names_what_is_needed(
    monkeypatch: pytest.MonkeyPatch, passes: Passes, passes_allowed: int, axis: tuple[int, ...], kind: str
) -> None:
    for name in ("_RANK_BYTES", "GATHERED_BYTES"):
        monkeypatch.setattr(quantiles, name, 16)
    monkeypatch.setattr("handler.arrays.plan._SECTION_BYTES", 1024)
    monkeypatch.setattr("handler.arrays.elements._PIECE_ELEMENTS", 8)
    rng = np.random.default_rng(4)
    values = rng.normal(280, 10, (40, 6, 5)).astype(np.float32)
    if kind == "equal":
        values[:] = 280
    if kind == "zeros":
        values[rng.random(values.shape) < 0.7] = 0
    array, _ = store_array(values, (1, 6, 5))
    wanted = expect(values, np.ones(values.shape, bool), axis, (0.5, 0.95), "linear")
    results = set[str]()
    for limit in (6000, 7000, 8000, 9000, 10_000, 12_000, 16_000, 24_000, 48_000):
        engine = make_small(limit, passes_allowed)
        answer = message = None
        try:
            answer = ask(engine, array, "quantile", axis=axis, q=(0.5, 0.95))
        except EntityTooLarge as error:
            message = error.message
        names = [name for name in passes.take() if name != "Sampler"]
        results.add("answered" if answer else "refused")
        if answer:
            check(answer, *wanted)
            assert "BinCounter" not in names or len(names) <= passes_allowed
        else:
            assert "bytes of memory" in (message or "")
        assert engine._gate.held_bytes == 0
    assert results == {"refused", "answered"}


def test_the_memory_that_a_refusal_names_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(5).normal(size=(400, 12)).astype(np.float32)
    array, _ = store_array(values, (1, 12))
    for allowed in (1, 2):
        with pytest.raises(EntityTooLarge, match="QUANTILE_PASSES") as caught:
            ask(make_small(14_000, allowed), array, "quantile", axis=(0,), q=(0.5,))
        found = re.search(r"array 'values': quantile needs at least (\d+) bytes", caught.value.message)
        assert found is not None
        monkeypatch.setattr(quantiles, "_LEAST_BINS", 1 << 20)
        answer = ask(make_small(max(int(found[1]), 30_000), allowed), array, "quantile", axis=(0,), q=(0.5,))
        np.testing.assert_array_equal(values_of(answer), np.quantile(values, np.array([0.5]), axis=0)[0])


def test_values_in_one_bin_take_one_pass_after_the_sample(monkeypatch: pytest.MonkeyPatch, passes: Passes) -> None:
    monkeypatch.setattr(quantiles, "_MOST_COLLECTING", 0)
    for dtype in ("float32", "float64", "int64"):
        array, _ = store_array(np.full((50, 4), 7, dtype), (1, 4))
        assert (values_of(ask(make_small(), array, "quantile", axis=(0,), q=(0.3,))) == 7).all()
        assert passes.take() == ["Sampler", "BinCounter"]


def test_small_integers_are_counted_by_value_in_one_pass(monkeypatch: pytest.MonkeyPatch, passes: Passes) -> None:
    monkeypatch.setattr(quantiles, "_MOST_COLLECTING", 0)
    values = np.random.default_rng(2).integers(0, 255, (60, 4), np.uint8)
    array, _ = store_array(values, (2, 4))
    got = values_of(ask(make_small(passes=1), array, "quantile", axis=(0,), q=(0.3,)))
    assert passes.take() == ["BinCounter"]
    np.testing.assert_array_equal(got, np.quantile(values, 0.3, axis=0))


def test_passes_over_other_sections_are_one_pass_over_the_data(monkeypatch: pytest.MonkeyPatch, passes: Passes) -> None:
    """Each map has a cell of its own, and the memory is that of some maps."""
    monkeypatch.setattr("handler.arrays.plan._SECTION_BYTES", 512)
    monkeypatch.setattr("handler.arrays.elements._PIECE_ELEMENTS", 8)
    monkeypatch.setattr(quantiles, "SORT_BYTES", 1024)
    values = np.random.default_rng(6).normal(size=(64, 8, 8)).astype(np.float32)
    array, _ = store_array(values, (1, 8, 8))
    answer = ask(make_small(17_000, 2), array, "quantile", axis=(1, 2), q=(0.9,))
    names = passes.take()
    assert set(names) == {"Collector"}
    assert len(names) > 2
    assert answer.bytes_read <= 2 * values.nbytes
    np.testing.assert_array_equal(values_of(answer), np.quantile(values, np.array([0.9]), axis=(1, 2))[0])


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_a_median_is_the_quantile_of_a_half_in_the_type_of_floats(dtype: str) -> None:
    values = np.random.default_rng(8).normal(280, 10, (20, 7)).astype(dtype)
    array, _ = store_array(values, (3, 4))
    answer = ask(make_small(), array, "median", axis=(0,))
    got = values_of(answer)
    assert got.dtype == np.median(values, axis=0).dtype
    np.testing.assert_allclose(got, np.median(values, axis=0), rtol=1e-6)
    assert answer.dimensions == ("d1",)


def test_several_quantiles_have_a_dimension() -> None:
    array, _ = store_array(np.arange(12.0).reshape(4, 3), (2, 2), attributes={"units": "K"})
    answer = ask(make_small(), array, "quantile", axis=(0,), q=(0.5, 0.1))
    assert (answer.dimensions, answer.units) == (("quantile", "d1"), "K")
    assert values_of(answer).shape == (2, 3)
    assert ask(make_small(), array, "quantile", axis=(0,), q=(0.5,)).dimensions == ("d1",)


def test_nan_that_is_not_missing_is_the_result_of_its_cell_only(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.ones((9, 3), np.float32)
    values[4, 1] = np.nan
    values[:, 2] = -999
    array, _ = store_array(values, (2, 3))
    for collecting in (0, 3):
        monkeypatch.setattr(quantiles, "_MOST_COLLECTING", collecting)
        fields: dict[str, Any] = {"axis": (0,), "q": (0.2,), "missing": {"missing_value": (-999,)}}
        answer = ask(make_small(), array, "quantile", **fields)
        np.testing.assert_array_equal(values_of(answer), [1, np.nan, np.nan])
        assert list(answer.result.counts or ()) == [9, 9, 0]
        answer = ask(make_small(), array, "quantile", skipna=True, **fields)
        np.testing.assert_array_equal(values_of(answer), [1, 1, np.nan])
        assert list(answer.result.counts or ()) == [9, 8, 0]


def test_the_etag_tells_quantiles_and_methods_apart() -> None:
    array, _ = store_array(np.ones((4, 4)), (2, 2))
    asked: list[dict[str, Any]] = [{"q": (0.5,)}, {"q": (0.4,)}, {"q": (0.4,), "method": "lower"}, {"q": (0.4, 0.5)}]
    answers = [ask(make_small(), array, "quantile", **fields) for fields in asked]
    answers.append(ask(make_small(), array, "median"))
    assert len({str(answer.etag) for answer in answers}) == 5


class ChangingSource(FakeSource):
    """An object that changes after it was read some times."""

    def __init__(self, data: bytes, reads: int) -> None:
        super().__init__(data, etag='"old"')
        self.reads = reads

    def head(self, byte_range: ByteRange | None) -> ObjectFacts:
        self.reads -= 1
        self.etag = '"old"' if self.reads >= 0 else f'"new {self.reads}"'
        return super().head(byte_range)


def test_a_chunk_that_changes_between_passes_starts_over_once(monkeypatch: pytest.MonkeyPatch, passes: Passes) -> None:
    monkeypatch.setattr(quantiles, "_MOST_COLLECTING", 0)
    values = np.random.default_rng(1).normal(size=(30, 4))
    array, _ = store_array(values, (1, 4))
    sources = array.index.sources  # type: ignore[attr-defined]
    data = values[3].tobytes()
    sources[3] = ChangingSource(data, 1)
    with pytest.raises(ArrayChanged):
        ask(make_small(), array, "quantile", axis=(0,), q=(0.5,))
    assert passes.take().count("BinCounter") == 2


def test_chunks_without_any_version_cannot_be_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).normal(size=(30, 4))
    array, _ = store_array(values, (1, 4))
    for source in array.index.sources.values():  # type: ignore[attr-defined]
        source.etag = None
    assert ask(make_small(), array, "quantile", axis=(0,), q=(0.5,)).etag is None
    monkeypatch.setattr(quantiles, "_MOST_COLLECTING", 0)
    with pytest.raises(UnsupportedArray, match="several passes"):
        ask(make_small(), array, "quantile", axis=(0,), q=(0.5,))


def test_progress_goes_on_over_passes_and_ends_with_the_last_section(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantiles, "_MOST_COLLECTING", 0)
    monkeypatch.setattr("handler.arrays.plan._SECTION_BYTES", 512)
    array, _ = store_array(np.random.default_rng(1).normal(size=(300, 4)), (1, 4))
    monkeypatch.setitem(OPENERS, "zarr", lambda *_: array)
    told: list[tuple[int, int]] = []
    reduction = ArrayReduction("quantile", "zarr", q=(0.5,))
    make_small().reduce(
        reduction,
        MemoryContainer({}),
        Scope.after(60),
        lambda plan, done: told.append((done().sections, plan.sections)),
    )
    done = [each for each, _ in told]
    (sections,) = {each for _, each in told}
    assert sections > 5
    assert (done[0], done[-1], done) == (0, sections, sorted(done))
    assert len(told) > 2 * sections


def test_partial_results_are_refused_by_name_and_a_plan_says_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    array, _ = store_array(np.ones((300, 4)), (1, 4))
    monkeypatch.setitem(OPENERS, "zarr", lambda *_: array)
    reduction = ArrayReduction("quantile", "zarr", q=(0.5,))
    with pytest.raises(InvalidArgument, match=r"answer: partials of quantile .* ask for result"):
        make_engine().reduce_sections(reduction, MemoryContainer({}), Scope.after(60))
    summary = make_engine().plan(reduction, MemoryContainer({}), Scope.after(60))
    assert summary.memory_bytes > 300 * 4 * 8


@pytest.mark.parametrize("dtype", ["bool", "complex64"])
def test_what_has_no_order_is_refused(dtype: str) -> None:
    array, _ = store_array(np.ones((3, 4), dtype), (1, 4))
    with pytest.raises(InvalidArgument, match=f"median is not defined for {dtype}"):
        ask(make_small(), array, "median")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "q: is required for quantile"),
        ({"q": (0.5, 1.5)}, r"q\[1\]: is 1.5, and should be from 0 to 1"),
        ({"q": (-0.1,)}, r"q\[0\]: is -0.1"),
        ({"q": (float("nan"),)}, r"q\[0\]: is nan"),
        ({"q": (0.5,) * 101}, "q: has 101 numbers; the maximum is 100"),
        ({"q": (0.5,), "method": "nearly"}, "method: is 'nearly', not one of inverted_cdf"),
    ],
)
def test_wrong_quantiles_are_refused_by_name(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        ArrayReduction("quantile", "zarr", **fields)


@pytest.mark.parametrize("reducer", ["median", "mean"])
@pytest.mark.parametrize(("name", "value"), [("q", (0.5,)), ("method", "lower")])
def test_other_reducers_have_no_such_parameters(reducer: str, name: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match=f"{name}: is not a parameter of {reducer}"):
        ArrayReduction(reducer, "zarr", **{name: value})


@pytest.mark.parametrize("cells", [(7,), (3, 5), (4, 1, 6), (1, 9), (2, 3, 4)])
@pytest.mark.parametrize("most", [1, 2, 5, 8, 100])
def test_boxes_are_all_cells_once(cells: tuple[int, ...], most: int) -> None:
    seen = np.zeros(cells, int)
    for box in cut_boxes(cells, most):
        assert np.prod(shape_of(box)) <= most
        seen[box] += 1
    assert (seen == 1).all()


# Groups, coordinates and expressions


@pytest.mark.filterwarnings("ignore:All-NaN slice")
@pytest.mark.parametrize("collecting", [0, 3])
@pytest.mark.parametrize("chunks", [(1, 3, 4), (5, 2, 3), (40, 6, 8)])
def test_quantiles_of_groups_places_and_expressions_are_xarrays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, collecting: int, chunks: tuple[int, ...]
) -> None:
    monkeypatch.setattr(quantiles, "_MOST_COLLECTING", collecting)
    monkeypatch.setattr("handler.arrays.plan._SECTION_BYTES", 1024)
    rng = np.random.default_rng(9)
    values = rng.normal(280, 20, (40, 6, 8)).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    dataset = xr.Dataset(
        {"v": (("time", "lat", "lon"), values), "w": (("time", "lat", "lon"), rng.normal(size=values.shape))},
        {"time": np.datetime64("2000-01-01") + np.arange(40) * np.timedelta64(11, "D"), "lat": np.arange(6.0) * 10},
    )
    for name in ("v", "w"):
        dataset[name].encoding = {"chunks": chunks}
    container = write_zarr(dataset, tmp_path / "store", 2)
    q, v = [0.25, 0.9], dataset["v"]

    def get(**more: Any) -> ArrayAnswer:
        return make_small().reduce(
            ArrayReduction("quantile", "zarr", "v", decode="xarray", q=(0.25, 0.9), **more), container, Scope.after(60)
        )

    month = Group("time", "month")
    grouped = v.groupby("time.month")
    answer = get(axis=("time",), group=month)
    wanted = grouped.quantile(q, "time").transpose("quantile", "month", "lat", "lon")
    np.testing.assert_allclose(values_of(answer), wanted.values, rtol=1e-12)
    assert answer.dimensions == ("quantile", "month", "lat", "lon")
    assert list(answer.labels["month"]) == list(range(1, 13))
    wanted = grouped.quantile(q, ["time", "lat", "lon"]).transpose("quantile", "month")
    np.testing.assert_allclose(values_of(get(group=month)), wanted.values, rtol=1e-12)
    chosen = v.sel(lat=slice(10, 30))
    wanted = chosen.quantile(q, ["time", "lon"])
    np.testing.assert_allclose(
        values_of(get(axis=("time", "lon"), where={"lat": Between("10", "30")})), wanted.values, rtol=1e-12
    )
    wanted = (v - dataset["w"]).quantile(q, "time")
    got = values_of(get(axis=("time",), expression=parse_expression("v - w")))
    np.testing.assert_allclose(got, wanted.values, rtol=1e-9)
    wanted = v.where(v > 285).quantile(q, "time")
    np.testing.assert_allclose(values_of(get(axis=("time",), thresholds={"gt": 285})), wanted.values, rtol=1e-12)


# Containers


def _judge(judged: Judged, question: Any, q: tuple[float, ...], method: str) -> tuple[Any, Any]:
    index = tuple(slice(each.start, each.stop, each.step) for each in question.selection)
    values, present = (array[index or ...] for array in (judged.values, judged.present))
    present = present & question.is_within(values)
    axes = tuple(range(values.ndim)) if question.axis is None else question.axis
    return expect(values, present, axes, q, method)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_quantiles_of_containers_are_what_xarray_and_numpy_say(
    monkeypatch: pytest.MonkeyPatch, folders: Iterator[Path], kind: str
) -> None:
    engine = make_engine()

    # Each example writes files, so that making a failing one smaller takes minutes.
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate),
    )
    @given(st.data())
    def examine(data: st.DataObject) -> None:
        written_from = data.draw(contents(KINDS[kind]).filter(lambda each: each.values.dtype.kind in "iuf"))
        written = KINDS[kind].write(written_from, next(folders))
        decoded, raw = written.read(True), written.read(False)
        for _ in range(4):
            question = replace(data.draw(questions(written_from.values.ndim, [0.0, 5.0, 280.0])), edges=None)
            q = tuple(data.draw(st.lists(st.sampled_from([0, 0.05, 1 / 3, 0.5, 0.95, 1]), min_size=1, max_size=2)))
            method: Any = data.draw(st.sampled_from(QUANTILE_METHODS))
            fields = {name: value for name, value in question.fields(written_from.dimensions).items() if name != "ddof"}
            reduction = ArrayReduction("quantile", written.container_type, NAME, **fields, q=q, method=method)
            with pytest.MonkeyPatch.context() as knobs:
                knobs.setattr(quantiles, "_MOST_COLLECTING", data.draw(st.sampled_from([0, 3])))
                knobs.setattr(quantiles, "_MOST_BINS", data.draw(st.sampled_from([16, 256])))
                answer = engine.reduce(reduction, written.container, Scope.after(60))
            judged = decode(decoded, raw, question.decode)
            wanted, counts = _judge(judged, question, q, method)
            got = values_of(answer)
            np.testing.assert_array_equal(np.asarray(answer.result.counts).reshape(counts.shape), counts)
            assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
            if got.dtype.kind != "f":
                np.testing.assert_array_equal(got, wanted)
                continue
            tolerance = 1e-6 if judged.values.dtype == np.float32 else 1e-12
            known = np.isfinite(wanted)
            largest = np.max(np.abs(judged.values[judged.present].astype(np.float64)), initial=0)
            np.testing.assert_allclose(got[known], wanted[known], rtol=tolerance, atol=1e-15 * float(largest))
            # Along no dimension, xarray has no quantiles.
            if (
                question.decode == "xarray"
                and question.axis != ()
                and not question.thresholds
                and wanted.size
                and counts.all()
            ):
                chosen = decoded[tuple(slice(each.start, each.stop, each.step) for each in question.selection) or ...]
                dims = None if question.axis is None else [written_from.dimensions[axis] for axis in question.axis]
                theirs = chosen.quantile(list(q) if len(q) > 1 else q[0], dims, method=method, skipna=True)
                assert got.dtype == theirs.dtype
                known &= np.isfinite(theirs.values)
                np.testing.assert_allclose(
                    got[known], theirs.values[known], rtol=tolerance, atol=1e-15 * float(largest)
                )

    examine()

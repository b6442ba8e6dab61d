"""Arrays in every arrangement, with selections, missing data and all reducers, compared with numpy."""

import math
import sys
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from active_storage.errors import ActiveStorageError, CallerGone, DeadlineExceeded, EntityTooLarge, InvalidArgument
from active_storage.model.dtypes import DTYPES
from active_storage.model.missing import Missing
from active_storage.model.ranges import Slice
from active_storage.model.reducers import REDUCERS
from active_storage.model.spec import ReductionSpec
from active_storage.model.steps import Step
from handler.codecs.base import PIECE_BYTES
from handler.engine.engine import Engine
from handler.scope import Clock, Scope
from handler.stores.fake import FakeSource
from tests.array_cases import ENCODE
from tests.helpers import BLOCK_BYTES, examples, make_engine, reduce_source, small_sizes
from tests.judge import check_result

Array = np.ndarray[Any, Any]

ENGINE = make_engine()

# Small block sizes, so that small arrays are walked like large ones.
BLOCKS = (16, 200, 1 << 18)


@pytest.fixture(params=BLOCKS, ids=lambda size: f"{size}-byte-blocks")
def engine(request: pytest.FixtureRequest) -> Engine:
    """An engine with small blocks."""
    return make_engine(sizes=small_sizes(request.param, 3 * request.param))


def store(spec: ReductionSpec, array: Array, offset: int = 0) -> bytes:
    """The bytes of ``array``, stored as the spec says."""
    stored = array.astype(array.dtype.newbyteorder(spec.byte_order))
    return bytes(offset) + stored.tobytes(order=spec.order)


def slices(size: int) -> st.SearchStrategy[Slice]:
    bound = st.none() | st.integers(-size - 2, size + 2)
    return st.builds(Slice, bound, bound, st.none() | st.integers(-3, 3).filter(bool))


@st.composite
def arrays(draw: st.DrawFn, dtype: str) -> Array:
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=5, max_side=6))
    kind = DTYPES[dtype].kind
    if kind == "b":
        elements: Any = st.booleans()
    elif kind == "f":
        elements = st.one_of(
            st.integers(-8, 8).map(float),
            st.floats(-1000, 1000, width=16),
            st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0]),
        )
    elif kind == "c":
        elements = st.builds(complex, st.integers(-8, 8), st.integers(-8, 8))
    else:
        limits = np.iinfo(dtype)
        elements = st.integers(max(limits.min, -8), 8) | st.integers(int(limits.min), int(limits.max))
    return draw(hnp.arrays(dtype, shape, elements=elements, fill=st.nothing()))


@st.composite
def rules(draw: st.DrawFn, dtype: str) -> Missing | None:
    if DTYPES[dtype].kind == "c" or draw(st.booleans()):
        return None
    if DTYPES[dtype].kind == "b":
        number: Any = st.integers(0, 1)
    elif DTYPES[dtype].kind == "u":
        number = st.integers(0, 8)
    elif DTYPES[dtype].kind == "i":
        number = st.integers(-8, 8)
    else:
        number = st.integers(-8, 8) | st.sampled_from([math.nan, math.inf, 0.5])
    limit = number.filter(lambda value: value == value)  # noqa: PLR0124  # not NaN
    values = draw(st.lists(number, max_size=4))
    low, high = draw(st.none() | limit), draw(st.none() | limit)
    if low is not None and high is not None:
        low, high = sorted((low, high))
    return Missing(tuple(values), low, high) if values or low is not None or high is not None else None


@st.composite
def reductions(draw: st.DrawFn, reducer: str) -> tuple[ReductionSpec, Array]:
    rule = REDUCERS[reducer]
    dtype = draw(st.sampled_from([name for name, dtype in DTYPES.items() if dtype.kind in rule.kinds]))
    array = draw(arrays(dtype))
    axis: tuple[int, ...] | None
    if rule.one_axis:
        axis = draw(st.none() | st.integers(-array.ndim, array.ndim - 1).map(lambda one: (one,)))
    else:
        axis = draw(st.none() | st.sets(st.integers(0, array.ndim - 1)).map(lambda some: tuple(sorted(some))))
    # Bins of ordered bits take half a megabyte for each cell.
    edges = None
    if rule.has_bins and (axis is not None or draw(st.booleans())):
        numbers = st.integers(-9, 9) | st.floats(-9, 9, width=16)
        edges = tuple(sorted(draw(st.sets(numbers, min_size=2, max_size=6))))
    spec = ReductionSpec(
        reducer,
        dtype,
        byte_order=draw(st.sampled_from(["little", "big"])),
        shape=array.shape,
        order=draw(st.sampled_from(["C", "F"])),
        selection=draw(st.none() | st.tuples(*(slices(size) for size in array.shape))),
        axis=axis,
        offset=draw(st.sampled_from([0, 3])),
        missing=draw(rules(dtype)),
        ddof=draw(st.integers(0, 2)) if rule.takes_ddof else 0,
        edges=edges,
    )
    return spec, array


@pytest.mark.parametrize("reducer", REDUCERS)
@given(data=st.data())
@settings(
    deadline=None,
    max_examples=examples(15),
    phases=set(Phase) - {Phase.shrink},
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_every_reduction_agrees_with_numpy(engine: Engine, reducer: str, data: st.DataObject) -> None:
    spec, array = data.draw(reductions(reducer))
    source = FakeSource(store(spec, array, spec.offset), read_bytes=data.draw(st.sampled_from([5, 1 << 30])))
    answer = reduce_source(spec, source, engine)
    check_result(spec, array, answer.result)
    description = engine.describe(spec, source, Scope.after(60)).result
    assert (description.dtype, description.shape, description.length) == (
        answer.result.dtype,
        answer.result.shape,
        len(answer.result.data),
    )
    assert description.count_total in (None, answer.result.count_total)
    assert description.counts is None or list(description.counts) == list(answer.result.counts or ())
    assert engine.gate.held_bytes == 0


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    ("selection", "share"),
    [
        ((Slice(990, None), Slice()), 0.011),
        ((Slice(-10, None), Slice(3, 9, 2)), 0.011),
        ((Slice(0, 1), Slice()), 0.002),
        ((Slice(500, 400, -1), Slice()), 0.102),
        ((Slice(5, 5), Slice()), 0.0),
        ((Slice(), Slice()), 1.0),
    ],
)
def test_only_the_selected_span_is_read(order: Any, selection: tuple[Slice, Slice], share: float) -> None:
    array = np.arange(100_000, dtype=np.float32).reshape(1000, 100)
    if order == "F":
        array, selection = array.T, (selection[1], selection[0])
    spec = ReductionSpec("sum", "float32", shape=array.shape, order=order, selection=selection)
    source = FakeSource(store(spec, array))
    check_result(spec, array, reduce_source(spec, source, ENGINE).result)
    assert source.bytes_read <= share * len(source.data)


# The number of float32 in a block.
_BLOCK = BLOCK_BYTES // 4


@pytest.mark.parametrize("axis", [None, (0,), (1,), (2,), (0, 2), ()])
@pytest.mark.parametrize(
    "shape",
    [(2 * _BLOCK // 64**2 + 6, 64, 64), (3, _BLOCK + _BLOCK // 4, 1), (1, 2, _BLOCK + 9), (3, _BLOCK // 2 + 1, 2)],
    ids=["many rows a block", "rows of more than a block", "one row of two blocks", "rows of a block and an element"],
)
def test_arrays_of_many_blocks(shape: tuple[int, ...], axis: tuple[int, ...] | None) -> None:
    array = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    array[array > 2.5] = -1e20
    for reducer in ("sum", "max", "var", "count"):
        spec = ReductionSpec(reducer, "float32", shape=shape, axis=axis, missing=Missing((-1e20,)))
        check_result(spec, array, reduce_source(spec, FakeSource(store(spec, array)), ENGINE).result)


@pytest.mark.parametrize("codec", ENCODE)
def test_a_chunk_of_fill_values_is_reduced_at_any_compression_ratio(codec: str) -> None:
    """Archives with a coastline have such chunks. zstd compresses them to a ten-thousandth."""
    fill, shape = Missing((-1e20,)), (1 << 20,)
    spec = ReductionSpec("max", "float32", shape=shape, steps=(Step(codec),), missing=fill)
    result = reduce_source(spec, FakeSource(ENCODE[codec](np.full(shape, -1e20, np.float32).tobytes())), ENGINE).result
    assert result.count_total == 0


def test_a_description_of_very_many_cells_has_no_list_of_counts() -> None:
    """Encoded data can have any shape before it is decoded, and no memory was accounted for yet."""
    spec = ReductionSpec("count", "float32", shape=(10**12, 1000), axis=(1,), steps=(Step("zlib"),))
    description = ENGINE.describe(spec, FakeSource(b"x"), Scope.after(60)).result
    assert (description.counts, description.count_total, description.length) == (None, 10**15, 8 * 10**12)


def test_counts_take_eight_bytes_for_each_cell() -> None:
    """As Python integers they would take forty bytes each, more than the gate has counted."""
    spec = ReductionSpec("count", "uint8", shape=(300_000, 2), axis=(1,))
    result = reduce_source(spec, FakeSource(bytes(600_000)), ENGINE).result
    assert isinstance(result.counts, memoryview)
    assert (result.counts.nbytes, result.count_total) == (8 * 300_000, 600_000)


def test_a_result_beyond_its_type_is_infinite() -> None:
    array = np.array([-999, 999, 0], np.float16)
    spec = ReductionSpec("var", "float16", shape=(3,))
    result = reduce_source(spec, FakeSource(store(spec, array)), ENGINE).result
    check_result(spec, array, result)
    assert np.isinf(np.frombuffer(result.data, "<f2"))


def test_a_variance_is_exact_for_a_large_mean() -> None:
    """The mean is ten orders of magnitude above the deviations, so that the naive formula would give noise."""
    values = 1e9 + np.random.default_rng(2).random(300_000)
    spec = ReductionSpec("var", "float64")
    result = reduce_source(spec, FakeSource(values.tobytes()), ENGINE).result
    assert np.frombuffer(result.data)[0] == pytest.approx(np.var(values - 1e9), rel=1e-7)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"shape": (2, 0)}, "shape"),
        ({"shape": (-1,)}, "shape"),
        ({"shape": (2**40, 2**40)}, "shape"),
        ({"shape": (1,) * 33}, "shape"),
        ({"shape": (2, 3), "selection": (Slice(),)}, "selection"),
        ({"selection": (Slice(), Slice())}, "selection"),
        ({"shape": (2, 3), "axis": (2,)}, "axis"),
        ({"shape": (2, 3), "axis": (-3,)}, "axis"),
        ({"shape": (2, 3), "axis": (0, -2)}, "axis"),
        ({"axis": (0, 0)}, "axis"),
        ({"reducer": "argmax", "shape": (2, 3), "axis": (0, 1)}, "axis"),
        ({"reducer": "argmax", "axis": ()}, "axis"),
        ({"offset": -1}, "offset"),
        ({"size": 0}, "size"),
        ({"size": 10, "shape": (3,)}, "size"),
        ({"order": "K"}, "order"),
        ({"ddof": 1}, "ddof"),
        ({"reducer": "var", "ddof": 2**63}, "ddof"),
        ({"reducer": "std", "ddof": -(2**63)}, "ddof"),
        ({"reducer": "max", "dtype": "complex64"}, "dtype"),
        ({"dtype": "complex64", "missing": Missing((1,))}, "missing_value"),
        ({"dtype": "int8", "missing": Missing((128,))}, "missing_value"),
        ({"dtype": "int8", "missing": Missing(valid_min=1.5)}, "valid_min"),
        ({"dtype": "uint8", "missing": Missing((1, -1))}, "missing_values"),
        ({"dtype": "float32", "missing": Missing((1e39,))}, "missing_value"),
        ({"dtype": "bool", "missing": Missing((2,))}, "missing_value"),
    ],
)
def test_an_invalid_spec_is_an_error_that_names_the_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        ReductionSpec(**{"reducer": "sum", "dtype": "float32", **changes})
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        ({}, "missing"),
        ({"nodata": (1,)}, "missing"),
        ({"missing_value": ()}, "missing_value"),
        ({"missing_value": (1, 2)}, "missing_value"),
        ({"missing_values": ()}, "missing_values"),
        ({"missing_values": tuple(range(1025))}, "missing_values"),
        ({"valid_min": (1, 2)}, "valid_min"),
        ({"valid_min": (math.nan,)}, "valid_min"),
        ({"valid_min": (3,), "valid_max": (2,)}, "valid_max"),
        ({"valid_range": (1,)}, "valid_range"),
        ({"valid_range": (2, 1)}, "valid_range"),
        ({"valid_range": (1, 1)}, "valid_range"),
        ({"valid_range": (1, 2), "valid_min": (1,)}, "valid_range"),
        ({"valid_range": (1, 2), "valid_max": (2,)}, "valid_range"),
    ],
)
def test_invalid_missing_rules_are_an_error_that_names_the_rule(
    rules: dict[str, tuple[float, ...]], field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Missing.of(rules, "float32")
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"shape": (9,)}, "shape"),
        ({"shape": (11,)}, "shape"),
        ({"shape": (9,), "offset": 8}, "shape"),
        ({"size": 44}, "size"),
        ({"offset": 4, "size": 40}, "size"),
        ({"offset": 41}, "offset"),
        ({"shape": (11,), "selection": (Slice(10, None),)}, "offset"),
        ({"shape": (11,), "selection": (Slice(9, None),)}, "shape"),
    ],
)
def test_an_object_of_another_length_than_the_spec_is_refused(fields: dict[str, Any], field: str) -> None:
    spec = ReductionSpec("sum", "int32", sys.byteorder, **fields)
    with pytest.raises(InvalidArgument) as caught:
        reduce_source(spec, FakeSource(bytes(40)), ENGINE)
    assert caught.value.field == field
    with pytest.raises(InvalidArgument) as described:
        ENGINE.describe(spec, FakeSource(bytes(40)), Scope.after(60))
    assert str(described.value) == str(caught.value)


@pytest.mark.parametrize("elements", [9, 11])
@pytest.mark.parametrize("filters", [(), (Step("shuffle", 4),)])
@pytest.mark.parametrize("codec", ["zlib", "zstd", "blosc"])
def test_data_that_decodes_to_another_length_than_the_shape_is_refused(
    codec: str, filters: tuple[Step, ...], elements: int
) -> None:
    """For codecs that stream and others, read in pieces or not."""
    spec = ReductionSpec("sum", "int32", shape=(elements,), steps=(*filters, Step(codec)))
    with pytest.raises(InvalidArgument) as caught:
        reduce_source(spec, FakeSource(ENCODE[codec](bytes(40))), ENGINE)
    assert caught.value.field == "shape"


@pytest.mark.parametrize(
    ("codec", "window_bytes"), [("zlib", 2**15), ("gzip", 2**15), ("bz2", 2**20), ("zstd", 2**20), ("lzma", 2**20)]
)
def test_the_window_of_a_stream_decoder_is_counted(codec: str, window_bytes: int) -> None:
    """Only the part that has been decoded is counted, whatever window the header asks for."""
    data = ENCODE[codec](np.random.default_rng(1).normal(size=2**18).astype(np.float32).tobytes())
    spec = ReductionSpec("sum", "float32", shape=(2**18,), steps=(Step(codec),))
    needed = BLOCK_BYTES + 2 * PIECE_BYTES + window_bytes + 1000
    reduce_source(spec, FakeSource(data), make_engine(memory_bytes=needed))
    too_few = needed - 2000
    with pytest.raises(EntityTooLarge):
        reduce_source(spec, FakeSource(data), make_engine(memory_bytes=too_few))


@pytest.mark.parametrize("shape", [(256, 1024), None])
@pytest.mark.parametrize(("filters", "copies"), [((), 0), ((Step("shuffle", 4),), 0), ((Step("bitshuffle", 4),), 1)])
def test_the_memory_of_a_block_decoder_is_counted_once(
    shape: tuple[int, ...] | None, filters: tuple[Step, ...], copies: int
) -> None:
    data = ENCODE["blosc"](np.random.default_rng(1).normal(size=2**18).astype(np.float32).tobytes())
    spec = ReductionSpec("sum", "float32", shape=shape, steps=(*filters, Step("blosc")))
    # The block, the stored data, the decoded data, and a copy if a filter cannot be undone in reading.
    needed = BLOCK_BYTES + len(data) + 2**20 * (1 + copies) + 1000
    reduce_source(spec, FakeSource(data), make_engine(memory_bytes=needed))
    too_few = needed - 2000
    with pytest.raises(EntityTooLarge):
        reduce_source(spec, FakeSource(data), make_engine(memory_bytes=too_few))


# Bombs

BOMB_SHAPE = (25 << 20,)


@pytest.fixture(scope="module")
def bombs() -> dict[str, bytes]:
    """100 MiB of one value: a thousandth of it in zlib, a twenty-thousandth and less in others.

    A frame of zstd that knows its size is looked back on as a whole, up to 128 MiB: here they are of 1 MiB.
    """
    plain = np.full(BOMB_SHAPE, 1.5, "<f4").tobytes()
    return {
        "zlib": zlib.compress(plain, 1),
        "zstd": ENCODE["zstd"](plain[: 1 << 20]) * 100,
        "bz2": ENCODE["bz2"](plain[: 1 << 20]) * 100,
    }


@pytest.mark.parametrize("codec", ["zlib", "zstd", "bz2"])
def test_a_bomb_is_reduced_if_its_shape_is_known(codec: str, bombs: dict[str, bytes]) -> None:
    """If the shape is known, it takes the memory of a block, and the limit for decoded data does not apply."""
    spec = ReductionSpec("max", "float32", "little", shape=BOMB_SHAPE, steps=(Step(codec),))
    engine = make_engine(memory_bytes=16 << 20)
    assert reduce_source(spec, FakeSource(bombs[codec]), engine).result.data == np.float32(1.5).tobytes()


@pytest.mark.parametrize("codec", ["zlib", "zstd", "bz2"])
def test_a_bomb_that_must_be_held_in_memory_is_limited(codec: str, bombs: dict[str, bytes]) -> None:
    small = make_engine(memory_bytes=64 << 20)
    shuffled = ReductionSpec(
        "max", "float32", shape=BOMB_SHAPE, steps=(Step("shuffle", 4), Step("adler32"), Step(codec))
    )
    with pytest.raises(EntityTooLarge, match=r"of memory; the limit is 67108864 "):
        reduce_source(shuffled, FakeSource(bombs[codec]), small)
    unknown = ReductionSpec("max", "float32", "little", steps=(Step(codec),))
    with pytest.raises(EntityTooLarge, match=r"if the request has a shape, the data is reduced while it is decoded$"):
        reduce_source(unknown, FakeSource(bombs[codec]), small)
    assert reduce_source(unknown, FakeSource(bombs[codec]), ENGINE).result.data == np.float32(1.5).tobytes()
    assert small.gate.held_bytes == 0


class _Patience(Clock):
    """A clock that passes the deadline, and a caller that is gone, after a number of calls."""

    def __init__(self, times: int) -> None:
        self.times = times

    def __call__(self) -> float:
        self.times -= 1
        return 0.0 if self.times >= 0 else 100.0

    def has_gone(self) -> bool:
        self.times -= 1
        return self.times < 0


def _make_scope(error: type[ActiveStorageError], times: int) -> Scope:
    """A scope whose check raises an error after a number of calls."""
    patience = _Patience(times)
    if error is CallerGone:
        return Scope.after(60, is_abandoned=patience.has_gone)
    return Scope.after(60, clock=patience)


@pytest.mark.parametrize("error", [DeadlineExceeded, CallerGone])
@pytest.mark.parametrize("shape", [BOMB_SHAPE, None])
@pytest.mark.parametrize("codec", ["zlib", "zstd", "bz2"])
def test_long_decoding_ends_at_the_deadline_or_when_the_caller_has_gone(
    codec: str, shape: tuple[int, ...] | None, error: type[ActiveStorageError], bombs: dict[str, bytes]
) -> None:
    """All stored bytes were read before, so that only the check between two decoded pieces can detect it."""
    spec = ReductionSpec("max", "float32", shape=shape, steps=(Step(codec),))
    with pytest.raises(error):
        reduce_source(spec, FakeSource(bombs[codec]), ENGINE, _make_scope(error, 50))
    reduce_source(spec, FakeSource(bombs[codec]), ENGINE, _make_scope(error, 10_000))


@pytest.mark.parametrize("error", [DeadlineExceeded, CallerGone])
def test_a_reduction_ends_between_two_blocks_at_the_deadline_or_when_the_caller_has_gone(
    error: type[ActiveStorageError],
) -> None:
    spec, engine = ReductionSpec("sum", "float32"), make_engine(sizes=small_sizes(64, 1 << 20))
    with pytest.raises(error):
        reduce_source(spec, FakeSource(bytes(64 * 100)), engine, _make_scope(error, 50))
    reduce_source(spec, FakeSource(bytes(64)), engine, _make_scope(error, 2))


@pytest.mark.parametrize("shape", [(2**40, 2**21), (10**7, 2, 2**21), (2**20, 2**20, 2**20)])
def test_a_huge_shape_takes_no_memory(shape: tuple[int, ...]) -> None:
    """Encoded data can have any shape until it is decoded. The walk is not stored as a list."""
    spec = ReductionSpec("count", "uint8", shape=shape, steps=(Step("zlib"),))
    tracemalloc.start()
    try:
        with pytest.raises(InvalidArgument, match=r"^shape: has more elements than the data$"):
            reduce_source(spec, FakeSource(zlib.compress(bytes(100))), ENGINE)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()

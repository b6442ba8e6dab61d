"""Properties of all reducers: empty input, limits, NaN, accuracy, and joining."""

import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from active_storage.algebra import ALGEBRAS, PAIR_ALGEBRAS, WEIGHTED_ALGEBRAS, make_algebra
from active_storage.errors import IncompleteElement, InvalidArgument, NothingToReduce
from active_storage.model.dtypes import DTYPES
from active_storage.model.missing import Missing
from active_storage.model.ranges import ByteRange, Slice
from active_storage.model.reducers import ARRAY_REDUCERS, REDUCERS
from active_storage.model.spec import ReductionSpec
from handler.kernels import KERNELS
from handler.kernels.reducer import Reducer
from handler.kernels.sizes import Sizes
from handler.kernels.walk import Walk
from tests.helpers import BLOCK_BYTES, check_stream, examples, reduce_bytes, value_of
from tests.judge import expect

FLOATS = [name for name, dtype in DTYPES.items() if dtype.kind == "f"]
INTEGERS = [name for name, dtype in DTYPES.items() if dtype.kind in "iu"]


def test_every_reducer_has_a_kernel_for_every_kind_of_data_type() -> None:
    assert ALGEBRAS.keys() == REDUCERS.keys()
    plain = {algebra for row in ALGEBRAS.values() for algebra in row.values()}
    assert KERNELS.keys() == {*plain, *WEIGHTED_ALGEBRAS.values(), *PAIR_ALGEBRAS.values()}
    assert PAIR_ALGEBRAS.keys() == {name for name, rule in ARRAY_REDUCERS.items() if rule.takes_other}
    assert WEIGHTED_ALGEBRAS.keys() == {name for name, rule in ARRAY_REDUCERS.items() if rule.takes_weights}
    for reducer, rule in REDUCERS.items():
        specs = [ReductionSpec(reducer, name) for name, dtype in DTYPES.items() if dtype.kind in rule.kinds]
        kinds = {DTYPES[spec.result_dtype].kind for spec in specs}
        assert sorted("".join(ALGEBRAS[reducer])) == sorted(kinds)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sum_and_count_of_no_elements_are_zero(dtype: str) -> None:
    for reducer in ("sum", "count"):
        result = reduce_bytes(ReductionSpec(reducer, dtype), b"")
        assert value_of(result) == 0
        assert result.count_total == 0


@pytest.mark.parametrize("dtype", [name for name, dtype in DTYPES.items() if dtype.kind != "c"])
def test_max_and_min_of_no_elements_are_the_limits_of_the_type_with_a_count_of_0(dtype: str) -> None:
    limits: Any = np.finfo(dtype) if dtype in FLOATS else None if dtype == "bool" else np.iinfo(dtype)
    for reducer, value in (("max", limits.min if limits else False), ("min", limits.max if limits else True)):
        result = reduce_bytes(ReductionSpec(reducer, dtype), b"")
        assert value_of(result) == value
        assert result.count_total == 0
        with pytest.raises(NothingToReduce, match=f"{reducer} needs at least one element"):
            result.ensure_not_empty(reducer)


@pytest.mark.parametrize("dtype", [name for name, dtype in DTYPES.items() if dtype.itemsize > 1])
def test_a_size_that_is_not_a_multiple_of_the_element_size_is_an_error(dtype: str) -> None:
    size = DTYPES[dtype].itemsize
    for length in (1, size - 1, size + 1, BLOCK_BYTES - 1, BLOCK_BYTES + 1):
        with pytest.raises(IncompleteElement, match=f"{length} bytes"):
            reduce_bytes(ReductionSpec("sum", dtype), bytes(length))


@pytest.mark.parametrize(("first", "last"), [(1, 4), (0, 4), (2, 5), (4, 8), (None, 6)])
def test_a_range_that_cuts_an_element_is_an_error(first: int | None, last: int) -> None:
    with pytest.raises(InvalidArgument, match="inside an element"):
        reduce_bytes(ReductionSpec("sum", "int32", range=ByteRange(first, last)), bytes(40))


def test_a_range_beyond_the_end_is_cut_there() -> None:
    data = np.arange(10, dtype="<i4").tobytes()
    assert value_of(reduce_bytes(ReductionSpec("sum", "int32", range=ByteRange(32, 1000)), data)) == 17


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("reducer", ["sum", "max", "min"])
@pytest.mark.parametrize("place", [0, 3, -1])
def test_nan_propagates_from_any_place_in_any_block(reducer: str, dtype: str, place: int) -> None:
    values = np.ones(3 * BLOCK_BYTES // DTYPES[dtype].itemsize, dtype)
    values[place] = np.nan
    assert math.isnan(value_of(reduce_bytes(ReductionSpec(reducer, dtype), values.tobytes())))


@pytest.mark.parametrize("dtype", FLOATS)
def test_infinities_add_up_as_in_numpy(dtype: str) -> None:
    spec = ReductionSpec("sum", dtype)
    block = BLOCK_BYTES // DTYPES[dtype].itemsize
    values = np.ones(2 * block, dtype)
    values[0] = np.inf
    assert value_of(reduce_bytes(spec, values.tobytes())) == np.inf
    values[-1] = -np.inf
    assert math.isnan(value_of(reduce_bytes(spec, values.tobytes())))


def test_a_sum_beyond_the_type_is_infinite_without_a_warning() -> None:
    values = np.full(1000, np.finfo(np.float32).max, np.float32)
    assert value_of(reduce_bytes(ReductionSpec("sum", "float32"), values.tobytes())) == np.inf
    values64 = np.full(BLOCK_BYTES, np.finfo(np.float64).max)
    assert value_of(reduce_bytes(ReductionSpec("sum", "float64"), values64.tobytes())) == np.inf


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integer_sums_wrap_in_their_own_type(dtype: str) -> None:
    limits = np.iinfo(dtype)
    values = np.full(5, limits.max, dtype)
    assert value_of(reduce_bytes(ReductionSpec("sum", dtype), values.tobytes())) == values.sum(dtype=dtype)


def test_any_byte_that_is_not_zero_is_true() -> None:
    data = bytes([0, 2, 255])
    assert reduce_bytes(ReductionSpec("max", "bool"), data).data == b"\x01"
    assert reduce_bytes(ReductionSpec("min", "bool"), data[1:]).data == b"\x01"
    assert reduce_bytes(ReductionSpec("min", "bool"), data).data == b"\x00"
    assert reduce_bytes(ReductionSpec("sum", "bool"), data).data == b"\x01"


@pytest.mark.parametrize("mebibytes", [16, 64])
def test_float32_sums_of_temperatures_are_correct_to_the_last_bit(mebibytes: int) -> None:
    """The bound in direct-proxy.md is 1e-7 x sqrt(log2 n) of the exact sum. numpy's pairwise sum is not better."""
    values = np.random.default_rng(42).normal(285, 12, mebibytes * 2**18).astype(np.float32)
    exact = math.fsum(values.astype(np.float64).tolist())
    ours = float(value_of(reduce_bytes(ReductionSpec("sum", "float32"), values.tobytes())))
    assert abs(ours - exact) / exact <= 1e-7
    assert abs(ours - exact) <= abs(float(values.sum()) - exact)


@pytest.mark.parametrize("length", [*range(1, 70), 127, 4097])
def test_float32_sums_of_any_length_are_exact_and_include_every_nan(length: int) -> None:
    """A vectorised kernel treats the last elements, and unaligned ones, separately."""
    values = np.random.default_rng(length).normal(0, 1e6, length).astype(np.float32)
    spec = ReductionSpec("sum", "float32")
    assert value_of(reduce_bytes(spec, values.tobytes())) == np.float32(math.fsum(values.tolist()))
    for place in range(0, length, max(1, length // 70)):
        spoilt = values.copy()
        spoilt[place] = np.nan
        assert math.isnan(value_of(reduce_bytes(spec, spoilt.tobytes())))


@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8", "int16", "uint16"])
@pytest.mark.parametrize("axis", [None, (2,), (1, 2), (0,), (1,)])
@pytest.mark.parametrize("step", [1, 3, -1, -2])
@pytest.mark.parametrize("last", [1, 15, 16, 70])
def test_means_are_exact_for_every_layout_of_the_elements(
    dtype: str, axis: tuple[int, ...] | None, step: int, last: int
) -> None:
    """Data type, axes and length decide whether numpy or numkong adds. The result does not depend on it."""
    shape = (3, 5, last * abs(step))
    kind = DTYPES[dtype]
    rng = np.random.default_rng(last)
    values = (
        rng.normal(0, 1e6, shape).astype(kind)
        if kind.kind == "f"
        else np.frombuffer(rng.bytes(math.prod(shape) * kind.itemsize), kind).reshape(shape)
    )
    steps = (Slice(), Slice(None, None, step), Slice(None, None, step))
    spec = ReductionSpec("mean", dtype, shape=shape, axis=axis, selection=steps)
    chosen = np.moveaxis(values[:, ::step, ::step].astype(float), axis or (0, 1, 2), range(len(axis or (0, 1, 2))))
    rows = chosen.reshape(math.prod(chosen.shape[: len(axis or (0, 1, 2))]), -1).T
    expected = [math.fsum(row) / len(row) for row in rows]
    result = np.frombuffer(reduce_bytes(spec, values.tobytes()).data, spec.result_dtype)
    assert result.tolist() == np.array(expected, spec.result_dtype).tolist()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
@pytest.mark.parametrize("end", ["min", "max"])
def test_means_of_whole_blocks_of_extremes_are_exact(dtype: str, end: str) -> None:
    extreme = getattr(np.iinfo(dtype), end)
    values = np.full(2 * BLOCK_BYTES, extreme, dtype)
    assert value_of(reduce_bytes(ReductionSpec("mean", dtype), values.tobytes())) == extreme


def test_a_sum_of_many_equal_numbers_is_exact() -> None:
    """The rounding errors of equal numbers do not cancel, which is the hardest case for a sum in blocks."""
    values = np.full(4 * 2**20, 0.1, np.float32)
    ours = value_of(reduce_bytes(ReductionSpec("sum", "float32"), values.tobytes()))
    assert ours == np.float32(math.fsum(values.astype(np.float64).tolist()))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("blocks", [1, 2, 8, 9, 21])
@pytest.mark.parametrize("missing", [None, Missing((0.5,))])
def test_sums_along_the_first_axis_are_correct_to_the_last_bit(
    dtype: str, blocks: int, missing: Missing | None
) -> None:
    """For all groupings of the pieces of a cell, and with missing elements."""
    columns = BLOCK_BYTES // DTYPES[dtype].itemsize // 32
    rng = np.random.default_rng(blocks)
    values = rng.normal(0.3, 0.1, (32 * blocks, columns)).astype(dtype)
    values[::5, 1::2] = 0.5
    spec = ReductionSpec("sum", dtype, shape=values.shape, axis=(0,), missing=missing)
    result = np.frombuffer(reduce_bytes(spec, values.tobytes()).data, dtype)
    present = np.where(values == 0.5, 0, values) if missing else values
    for column in range(0, columns, 97):
        assert result[column] == np.asarray(math.fsum(present[:, column].astype(float))).astype(dtype)


def test_float64_sums_over_many_blocks_keep_rounding_errors() -> None:
    block = BLOCK_BYTES // 8
    large, small = np.zeros(block), np.zeros(block)
    large[0], small[0] = 1e16, 1.0
    values = np.concatenate([large, *([small] * 9), -large])
    assert value_of(reduce_bytes(ReductionSpec("sum", "float64"), values.tobytes())) == 9.0


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    dtype = draw(st.sampled_from(list(DTYPES)))
    return draw(hnp.arrays(dtype, st.integers(0, 200)))


@given(values=arrays(), reducer=st.sampled_from(list(REDUCERS)))
@settings(deadline=None, max_examples=examples(100))
def test_the_sizes_of_reads_do_not_change_the_result(values: np.ndarray[Any, Any], reducer: str) -> None:
    if values.dtype.kind in REDUCERS[reducer].kinds:
        check_stream(ReductionSpec(reducer, values.dtype.name, sys.byteorder), values.tobytes())


@given(data=st.data(), reducer=st.sampled_from(list(REDUCERS)), dtype=st.sampled_from(list(DTYPES)))
@settings(deadline=None, max_examples=examples(100))
def test_partials_of_any_pieces_join_to_the_result_of_the_whole(data: st.DataObject, reducer: str, dtype: str) -> None:
    """Partial results of parts of a walk join like those of pieces. The floats are integers, so that sums are exact."""
    if DTYPES[dtype].kind not in REDUCERS[reducer].kinds:
        return
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=5))
    values = data.draw(hnp.arrays(np.int8, shape, elements=st.integers(0, 100))).astype(dtype)
    axis = data.draw(st.sampled_from([None, (0,)]))
    spec = ReductionSpec(reducer, dtype, shape=shape, axis=axis)
    walk = Walk.of(spec, shape, Sizes(block_bytes=4 * values.itemsize))
    slabs = list(walk.stops())

    def read(first: int, block: tuple[int, ...]) -> np.ndarray[Any, Any]:
        return values.ravel()[first : first + math.prod(block)].reshape(block).copy()

    parts = data.draw(st.lists(st.integers(0, 2), min_size=len(slabs), max_size=len(slabs)).map(sorted))
    algebra = make_algebra(spec)
    joined = Reducer(algebra, None, walk)
    for part in range(3):
        mine = Reducer(algebra, None, walk)
        taken = [slab for slab, number in zip(slabs, parts, strict=True) if number == part]
        mine.consume(read, taken, lambda: None)
        joined.join(mine.partial)
    result = joined.result()
    expected, counts = expect(spec, values)
    tolerance = 1e-2 if dtype == "float16" else 1e-6
    np.testing.assert_allclose(result.values, expected.astype(spec.result_dtype), rtol=tolerance)
    assert np.array_equal(result.counts, counts)


def test_a_reduction_restores_numpys_settings() -> None:
    before = np.getbufsize(), np.geterr()
    reduce_bytes(ReductionSpec("sum", "float32", shape=(4, 4), axis=(0,)), bytes(64))
    assert (np.getbufsize(), np.geterr()) == before


def test_kernels_and_codecs_need_no_framework_and_no_network() -> None:
    """The law in docs/architecture.md, checked in a new interpreter."""
    program = (
        "import sys\n"
        "for name in ('flask', 'requests', 'urllib3', 'botocore', 'structlog', 'pydantic', 'gunicorn', 'http'):\n"
        "    sys.modules[name] = None\n"
        "import handler.kernels.reducer, handler.codecs.chain, active_storage.grammar.query\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("dtype", "result_dtype", "numbers", "expected"),
    [
        ("int16", "int64", [30000, 30000], 60000),
        ("int8", "int64", [-128] * 1000, -128000),
        ("uint8", "uint64", [255] * 1000, 255000),
        ("bool", "int64", [True, True, False], 2),
        ("uint32", "float64", [2**32 - 1] * 3, 3 * (2**32 - 1)),
        ("int64", "float64", [2**62, 2**62], 2.0**63),
        ("float32", "float64", [0.1] * 10, 10 * float(np.float32(0.1))),
        ("float16", "float64", [65504] * 4, 262016),
        # The sum wraps in the requested type.
        ("int64", "int64", [2**62, 2**62], -(2**63)),
        ("uint64", "uint64", [2**63, 2**63], 0),
    ],
)
def test_a_sum_is_computed_in_the_requested_type(
    dtype: str, result_dtype: str, numbers: list[float], expected: float
) -> None:
    data = np.array(numbers, dtype)
    for missing in (None, Missing((0,))):
        spec = ReductionSpec("sum", dtype, sum_dtype=result_dtype, missing=missing)
        result = reduce_bytes(spec, data.tobytes())
        assert (result.dtype, value_of(result)) == (result_dtype, expected)
        along = replace(spec, shape=(len(numbers), 1), axis=(0,))
        assert value_of(reduce_bytes(along, data.tobytes())) == expected

"""What holds of every reducer, beyond agreeing with numpy on ordinary data: edges, NaN, accuracy, the algebra."""

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from handler.core.blocks import BLOCK_BYTES
from handler.core.reduce import KERNELS, Partial, Reducer
from handler.errors import IncompleteElement, InvalidArgument, NothingToReduce
from handler.spec import DTYPES, REDUCERS, ByteRange, ReductionSpec
from tests.helpers import check_stream, reduce_bytes, value_of

FLOATS = [name for name, dtype in DTYPES.items() if dtype.kind == "f"]
INTEGERS = [name for name, dtype in DTYPES.items() if dtype.kind in "iu"]


def test_every_reducer_has_a_kernel_for_every_data_type() -> None:
    assert KERNELS.keys() == REDUCERS.keys()
    for reducer in REDUCERS:
        kinds = "".join(KERNELS[reducer])
        assert sorted(kinds) == sorted({dtype.kind for dtype in DTYPES.values()})


@pytest.mark.parametrize("dtype", DTYPES)
def test_sum_and_count_of_nothing_are_zero(dtype: str) -> None:
    for reducer in ("sum", "count"):
        result = reduce_bytes(ReductionSpec(reducer, dtype), b"")
        assert value_of(result) == 0
        assert result.counts == (0,)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reducer", ["max", "min"])
def test_max_and_min_of_nothing_are_errors(reducer: str, dtype: str) -> None:
    with pytest.raises(NothingToReduce, match=f"no {reducer} of no elements"):
        reduce_bytes(ReductionSpec(reducer, dtype), b"")


@pytest.mark.parametrize("dtype", [name for name, dtype in DTYPES.items() if dtype.itemsize > 1])
def test_bytes_that_are_no_whole_number_of_elements_are_an_error(dtype: str) -> None:
    size = DTYPES[dtype].itemsize
    for length in (1, size - 1, size + 1, BLOCK_BYTES - 1, BLOCK_BYTES + 1):
        with pytest.raises(IncompleteElement, match=f"{length} bytes"):
            reduce_bytes(ReductionSpec("sum", dtype), bytes(length))


@pytest.mark.parametrize(("first", "last"), [(1, 4), (0, 4), (2, 5), (4, 8), (None, 6)])
def test_a_range_that_cuts_an_element_is_an_error(first: int | None, last: int) -> None:
    with pytest.raises(InvalidArgument, match="inside an element"):
        reduce_bytes(ReductionSpec("sum", "int32", range=ByteRange(first, last)), bytes(40))


def test_a_range_that_runs_past_the_end_is_cut_there() -> None:
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
def test_float32_sums_of_temperatures_are_right_to_the_last_bit(mebibytes: int) -> None:
    """The bound of direct-proxy.md is 1e-7 x sqrt(log2 n) of the exact sum, and numpy's pairwise sum never better."""
    values = np.random.default_rng(42).normal(285, 12, mebibytes * 2**18).astype(np.float32)
    exact = math.fsum(values.astype(np.float64).tolist())
    ours = float(value_of(reduce_bytes(ReductionSpec("sum", "float32"), values.tobytes())))
    assert abs(ours - exact) / exact <= 1e-7
    assert abs(ours - exact) <= abs(float(values.sum()) - exact)


def test_a_constant_that_float32_cannot_hold_adds_up() -> None:
    """The rounding errors of equal numbers do not cancel, which is the hardest case for a sum in blocks."""
    values = np.full(4 * 2**20, 0.1, np.float32)
    ours = value_of(reduce_bytes(ReductionSpec("sum", "float32"), values.tobytes()))
    assert ours == np.float32(math.fsum(values.astype(np.float64).tolist()))


def test_float64_sums_over_many_blocks_keep_the_errors_of_joining() -> None:
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
@settings(deadline=None, max_examples=150)
def test_the_pieces_that_bytes_come_in_do_not_change_the_result(values: np.ndarray[Any, Any], reducer: str) -> None:
    spec = ReductionSpec(reducer, values.dtype.name, sys.byteorder)
    if values.size or reducer in ("sum", "count"):
        check_stream(spec, values.tobytes())


@given(data=st.data(), reducer=st.sampled_from(list(REDUCERS)), dtype=st.sampled_from(list(DTYPES)))
@settings(deadline=None, max_examples=150)
def test_partials_of_any_pieces_join_to_the_result_of_the_whole(data: st.DataObject, reducer: str, dtype: str) -> None:
    """Ranges of one object, read side by side, join like blocks. The floats are whole numbers: sums are exact."""
    numbers = data.draw(st.lists(st.integers(0, 100), min_size=1, max_size=60))
    values = np.array(numbers).astype(dtype)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=5)))
    spec = ReductionSpec(reducer, dtype)
    whole, joined = Reducer(spec), Reducer(spec)
    whole.update(values)
    for piece in np.split(values, cuts):
        part = Reducer(spec)
        part.update(piece)
        joined.join(part.partial)
    assert joined.result().values == whole.result().values
    assert joined.result().counts == len(values)


def test_joining_nothing_changes_nothing() -> None:
    reducer = Reducer(ReductionSpec("max", "int8"))
    reducer.update(np.array([3], np.int8))
    reducer.join(Partial(0, None))
    assert reducer.result().values == 3


def test_the_core_needs_no_framework_and_no_network() -> None:
    """The law of handler/core/README.md, tried in a fresh interpreter."""
    program = (
        "import sys\n"
        "for name in ('flask', 'requests', 'urllib3', 'botocore', 'structlog', 'pydantic', 'gunicorn', 'http'):\n"
        "    sys.modules[name] = None\n"
        "import handler.core.result\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)

"""Skew and kurtosis against scipy.stats, whose definition and whose rule for equal elements they have."""

from typing import Any

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]

from active_storage.model.missing import Missing
from active_storage.model.spec import ReductionSpec
from tests.helpers import BLOCK_BYTES, reduce_bytes

SCIPY: dict[str, Any] = {"skew": stats.skew, "kurtosis": stats.kurtosis}


@pytest.mark.filterwarnings("ignore:Precision loss")
@pytest.mark.parametrize("reducer", SCIPY)
@pytest.mark.parametrize("dtype", ["int16", "uint64", "float32", "float64"])
@pytest.mark.parametrize("axis", [None, (0,), (1,)])
def test_scipy_says_the_same(reducer: str, dtype: str, axis: tuple[int, ...] | None) -> None:
    rows = 3 * BLOCK_BYTES // 8 // 50
    values = np.random.default_rng(5).gamma(2, 50, (rows, 50)).astype(dtype)
    values[0], values[:, 3] = 7, 9
    spec = ReductionSpec(reducer, dtype, shape=values.shape, axis=axis)
    result = reduce_bytes(spec, values.tobytes())
    found = np.frombuffer(result.data, result.dtype).reshape(result.shape)
    wanted = SCIPY[reducer](values.astype(float), axis=None if axis is None else axis[0])
    np.testing.assert_allclose(found, wanted, rtol=1e-5 if dtype == "float32" else 1e-9)


@pytest.mark.parametrize("reducer", SCIPY)
@pytest.mark.parametrize("numbers", [[0.1] * 1000, [273.15], [], [1.0, np.nan], [1.0, np.inf]], ids=str)
def test_what_has_no_spread_is_nan(reducer: str, numbers: list[float]) -> None:
    result = reduce_bytes(ReductionSpec(reducer, "float64"), np.array(numbers, np.float64).tobytes())
    assert np.isnan(np.frombuffer(result.data, np.float64)[0])


@pytest.mark.parametrize("reducer", SCIPY)
def test_missing_elements_are_left_out(reducer: str) -> None:
    values = np.random.default_rng(6).exponential(3, 10_000)
    spoilt = np.where(np.arange(10_000) % 3 == 0, -999, values)
    spec = ReductionSpec(reducer, "float64", missing=Missing((-999,)))
    found = np.frombuffer(reduce_bytes(spec, spoilt.tobytes()).data, np.float64)[0]
    assert found == pytest.approx(SCIPY[reducer](values[np.arange(10_000) % 3 != 0]), rel=1e-12)


def test_a_range_of_signed_integers_does_not_wrap() -> None:
    values = np.array([-128, 127], np.int8)
    result = reduce_bytes(ReductionSpec("range", "int8"), values.tobytes())
    assert (result.dtype, np.frombuffer(result.data, "u1")[0]) == ("uint8", 255)

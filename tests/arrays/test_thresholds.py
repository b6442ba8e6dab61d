"""Thresholds: values that do not satisfy them are skipped, exactly, however the values are stored."""

import itertools
import operator
from typing import Any

import numpy as np
import pytest
import xarray as xr

from active_storage.errors import InvalidArgument
from active_storage.model.array_reduction import ArrayReduction
from handler.arrays.engine import ArrayEngine
from tests.arrays.memory_array import ask, store_array, values_of

COMPARE: dict[str, Any] = {"gt": operator.gt, "ge": operator.ge, "lt": operator.lt, "le": operator.le}


def decoded(stored: np.ndarray[Any, Any], attributes: dict[str, Any]) -> np.ndarray[Any, Any]:
    dataset = xr.Dataset({"v": (("x",), stored, attributes)})
    with np.errstate(all="ignore"):
        values: np.ndarray[Any, Any] = xr.decode_cf(dataset, decode_times=False)["v"].values
    return values


@pytest.mark.parametrize("name", COMPARE)
@pytest.mark.parametrize("scale", [None, 0.01, -0.01, np.float32(0.1), 1e-30, 0.0])
@pytest.mark.parametrize("offset", [None, 273.15, np.float32(-5)])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int64", "float16", "float32", "float64", "bool"])
def test_each_stored_number_is_judged_by_its_value(
    engine: ArrayEngine, dtype: str, scale: Any, offset: Any, name: str
) -> None:
    stored = np.arange(-128, 128).astype(dtype)
    if stored.dtype.kind == "f":
        stored = np.concatenate([stored, stored / 3, np.array([np.nan, np.inf, -np.inf, -0.0], dtype)])
    packed = {"scale_factor": scale, "add_offset": offset}
    attributes = {key: value for key, value in packed.items() if value is not None and dtype != "bool"}
    array, _ = store_array(stored, (50,), attributes=attributes)
    values = decoded(stored, attributes)
    for threshold in (0, -3.5, 300, -1e30, float(values[7]), float(values[100]), np.inf):
        answer = ask(engine, array, "count", decode="xarray", thresholds={name: threshold})
        with np.errstate(over="ignore"):
            wanted = np.sum(COMPARE[name](values, threshold))
        assert answer.result.count_total == wanted, (threshold, values.dtype)


@pytest.mark.parametrize("pair", list(itertools.product(["gt", "ge"], ["lt", "le"])), ids="-".join)
def test_thresholds_meet_and_can_leave_nothing(engine: ArrayEngine, pair: tuple[str, str]) -> None:
    values = np.arange(20, dtype=np.int16)
    array, _ = store_array(values, (6,))
    low, high = pair
    within = COMPARE[low](values, 3) & COMPARE[high](values, 9.5)
    answer = ask(engine, array, "sum", thresholds={low: 3, high: 9.5})
    assert values_of(answer) == values[within].sum()
    assert answer.result.count_total == within.sum()
    nothing = ask(engine, array, "sum", thresholds={low: 9, high: 3})
    assert values_of(nothing) == 0
    assert nothing.result.count_total == 0


def test_selected_floats_outside_become_nan(engine: ArrayEngine) -> None:
    values = np.array([1.0, np.nan, 3.0, 5.0])
    array, _ = store_array(values, (3,))
    answer = ask(engine, array, "select", thresholds={"ge": 3})
    np.testing.assert_array_equal(values_of(answer), [np.nan, np.nan, 3, 5])
    assert answer.result.count_total == 2


@pytest.mark.parametrize(
    ("thresholds", "field"), [({"gt": np.nan}, "gt"), ({"above": 1}, "thresholds")], ids=["nan", "name"]
)
def test_wrong_thresholds_are_refused_by_name(thresholds: dict[str, float], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        ArrayReduction("sum", "zarr", thresholds=thresholds)
    assert caught.value.field == field


def test_complex_numbers_have_no_order(engine: ArrayEngine) -> None:
    array, _ = store_array(np.ones(3, np.complex64), (2,))
    with pytest.raises(InvalidArgument, match=r"^lt: is not defined for complex64"):
        ask(engine, array, "sum", thresholds={"lt": 1})

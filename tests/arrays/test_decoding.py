"""Packed and missing data against xarray's own decoding, and against numpy for the CF conventions."""

from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from active_storage.errors import ActiveStorageError, UndecodableData
from handler.arrays.engine import ArrayEngine
from tests.arrays.memory_array import Array, ask, store_array, values_of

REDUCERS = ["sum", "mean", "max", "min", "var", "std", "count", "argmax", "argmin", "any", "all", "select"]
FLOATS = [np.float32, np.float64]


@st.composite
def packed(draw: st.DrawFn) -> tuple[Array, dict[str, Any]]:
    dtype = np.dtype(draw(st.sampled_from(["int8", "int16", "uint8", "int32", "float32", "float64", "uint16"])))
    rng = np.random.default_rng(draw(st.integers(0, 100)))
    stored = rng.integers(-100 if dtype.kind != "u" else 0, 100, (5, 6)).astype(dtype)
    attributes: dict[str, Any] = {"units": "K"}
    kind = draw(st.sampled_from(FLOATS))
    if draw(st.booleans()):
        attributes["scale_factor"] = kind(draw(st.sampled_from([0.5, 0.01, -2.0, 1e-3])))
    if draw(st.booleans()):
        attributes["add_offset"] = draw(st.sampled_from([kind, np.float64]))(draw(st.sampled_from([0.0, 273.15, -5.0])))
    if draw(st.booleans()):
        attributes["_FillValue"] = dtype.type(draw(st.sampled_from([7, 50])))
    if draw(st.booleans()):
        attributes["missing_value"] = dtype.type(9)
    if dtype.kind in "iu" and draw(st.booleans()):
        attributes["_Unsigned"] = "true" if dtype.kind == "i" else "false"
    return stored, attributes


def decoded(stored: Array, attributes: dict[str, Any]) -> xr.DataArray:
    dataset = xr.Dataset({"v": (("y", "x"), stored, attributes)})
    return xr.decode_cf(dataset, decode_times=False)["v"]


@pytest.mark.filterwarnings("ignore:variable 'v' has multiple fill values", "ignore:Behaviour of argmin/argmax")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=400, deadline=None, derandomize=True)
@given(packed(), st.sampled_from(REDUCERS), st.sampled_from([None, "x", "y"]))
def test_xarray_says_the_same(
    engine: ArrayEngine, case: tuple[Array, dict[str, Any]], reducer: str, axis: str | None
) -> None:
    stored, attributes = case
    array, _ = store_array(stored, (2, 4), dimensions=("y", "x"), attributes=attributes)
    judge = decoded(stored, attributes)
    try:
        answer = ask(engine, array, reducer, axis=None if axis is None else (axis,), decode="xarray")
    except ActiveStorageError:
        assert judge.count() == 0
        return
    got = values_of(answer)
    if reducer == "select":
        np.testing.assert_array_equal(got, judge.values)
        assert got.dtype == judge.dtype
        return
    wanted = getattr(judge, reducer)(axis)
    if reducer in ("any", "all"):
        wanted = getattr(judge.where(judge.notnull(), reducer == "all"), reducer)(axis)
    counts = np.asarray(answer.result.counts).reshape(got.shape)
    np.testing.assert_array_equal(counts, np.asarray(judge.count(axis)))
    present = counts > 0
    if reducer in ("max", "min", "argmax", "argmin", "count", "any", "all") or got.dtype.kind in "iu":
        np.testing.assert_array_equal(got[present], np.asarray(wanted)[present])
    else:
        wide = judge.astype(np.float64)
        np.testing.assert_allclose(
            got[present], np.asarray(getattr(wide, reducer)(axis))[present], rtol=1e-6, atol=1e-4
        )
    if reducer not in ("any", "all"):
        assert got.dtype == wanted.dtype


@pytest.mark.parametrize("decode", ["xarray", "cf"])
@pytest.mark.parametrize("axis", [None, ("y",)])
@pytest.mark.parametrize("scale", [np.float32(0.5), np.float64(-2), None])
@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_missing_elements_are_nan_if_values_are_floats(
    engine: ArrayEngine, dtype: str, scale: Any, axis: Any, decode: Any
) -> None:
    stored = np.arange(12).reshape(3, 4).astype(dtype)
    attributes = {"_FillValue": stored.dtype.type(7)} | ({} if scale is None else {"scale_factor": scale})
    array, _ = store_array(stored, (2, 3), dimensions=("y", "x"), attributes=attributes)
    answer = ask(engine, array, "select", axis=axis, decode=decode)
    judge = decoded(stored, attributes)
    wanted = judge.values if decode == "xarray" or dtype == "float32" or scale is not None else stored
    np.testing.assert_array_equal(values_of(answer), wanted)
    assert answer.result.count_total == 11
    assert values_of(answer).dtype == (judge.dtype if decode == "xarray" else np.float64 if scale else dtype)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(packed(), st.sampled_from(REDUCERS))
def test_the_cf_conventions_are_applied_in_float64(
    engine: ArrayEngine, case: tuple[Array, dict[str, Any]], reducer: str
) -> None:
    stored, attributes = case
    attributes = {**attributes, "valid_min": stored.dtype.type(3)}
    array, _ = store_array(stored, (2, 4), attributes=attributes)
    numbers = stored
    if "_Unsigned" in attributes:
        numbers = stored.view(("u" if stored.dtype.kind == "i" else "i") + str(stored.itemsize))
    missing = numbers < 3
    for name in ("_FillValue", "missing_value"):
        if name in attributes:
            missing |= numbers == attributes[name]
    is_packed = "scale_factor" in attributes or "add_offset" in attributes
    values = numbers.astype(np.float64) * np.float64(attributes.get("scale_factor", 1))
    values += np.float64(attributes.get("add_offset", 0))
    present = values[~missing]
    answer = ask(engine, array, reducer)
    got = values_of(answer)
    if reducer == "select":
        np.testing.assert_allclose(got[~missing], values[~missing], rtol=1e-12)
        return
    if reducer == "count":
        assert got == present.size
        return
    if reducer.startswith("arg"):
        worst = -np.inf if reducer == "argmax" else np.inf
        assert got == getattr(np.where(missing, worst, values), reducer)()
        return
    tolerance = 1e-6 if got.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(float(got), float(getattr(present, reducer)()), rtol=tolerance, atol=1e-9)
    if is_packed and reducer in ("mean", "max", "sum"):
        assert got.dtype == np.float64


@pytest.mark.parametrize(
    "attributes",
    [
        {"_FillValue": 1e300},
        {"_FillValue": "text"},
        {"_FillValue": 0.5},
        {"_FillValue": 10**400},
        {"_FillValue": "\xe9"},
        {"missing_value": [1, 70000]},
        {"scale_factor": "1"},
        {"scale_factor": np.nan},
        {"add_offset": [1.0, 2.0]},
        {"scale_factor": [1, [2]]},
        {"valid_range": [1]},
        {"valid_max": -(10**400)},
        {"_Unsigned": "maybe"},
    ],
)
def test_attributes_that_lie_are_refused_by_name(engine: ArrayEngine, attributes: dict[str, Any]) -> None:
    array, _ = store_array(np.zeros((2, 2), np.int16), (2, 2), attributes=attributes)
    with pytest.raises(UndecodableData) as caught:
        ask(engine, array, "sum")
    assert next(iter(attributes)) in caught.value.message
    assert "'values'" in caught.value.message


# For integers: NaN, which xarray drops, and numbers that no integer of the type equals.
MISFITS: list[dict[str, Any]] = [
    {"_FillValue": np.nan},
    {"_FillValue": np.float32(np.nan), "missing_value": np.nan},
    {"_FillValue": np.nan, "missing_value": 7},
    {"_FillValue": 7, "missing_value": np.nan},
    {"missing_value": [np.nan, 7]},
    {"missing_value": [np.nan, np.nan], "add_offset": np.float64(273.15)},
    {"_FillValue": np.nan, "scale_factor": np.float32(0.5)},
    {"_FillValue": np.nan, "_Unsigned": "true"},
    {"_FillValue": 1e20},
    {"_FillValue": np.float32(-1e20), "scale_factor": np.float32(0.5), "add_offset": np.float32(2)},
    {"missing_value": 0.5},
    {"missing_value": [7.0, 2.0**70]},
    {"_FillValue": np.inf},
]


@pytest.mark.filterwarnings("ignore::xarray.SerializationWarning", "ignore:Behaviour of argmin")
@pytest.mark.parametrize("reducer", ["select", "sum", "mean", "max", "argmin"])
@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
@pytest.mark.parametrize("attributes", MISFITS)
def test_xarray_says_the_same_of_fill_values_that_fit_no_integer(
    engine: ArrayEngine, attributes: dict[str, Any], dtype: str, reducer: str
) -> None:
    stored = np.array([[1, 7, -3], [0, 7, 5]], dtype)
    array, _ = store_array(stored, (1, 2), dimensions=("y", "x"), attributes=attributes)
    judge = decoded(stored, attributes)
    got = ask(engine, array, reducer, decode="xarray")
    wanted = judge.values if reducer == "select" else getattr(judge, reducer)().values
    assert values_of(got).dtype == wanted.dtype
    np.testing.assert_allclose(values_of(got), wanted, rtol=1e-6)
    assert got.result.count_total == judge.count()


@pytest.mark.parametrize("how", ["cf", "xarray"])
def test_nan_marks_no_integer_as_missing(engine: ArrayEngine, how: Any) -> None:
    attributes = {"_FillValue": np.nan, "missing_value": [np.nan, 7]}
    array, _ = store_array(np.array([1, 7, 5], np.int16), (2,), attributes=attributes)
    answer = ask(engine, array, "sum", decode=how)
    assert values_of(answer) == 6
    assert answer.result.count_total == 2


def test_a_fill_value_that_only_rounding_could_make_an_integer_is_refused(engine: ArrayEngine) -> None:
    array, _ = store_array(np.array([1, 2**63 - 1]), (2,), attributes={"_FillValue": 2.0**63})
    with pytest.raises(UndecodableData, match="_FillValue of array 'values' does not fit int64"):
        ask(engine, array, "sum", decode="xarray")


def test_an_infinite_limit_is_none(engine: ArrayEngine) -> None:
    attributes = {"_Unsigned": "true", "valid_min": -np.inf, "valid_max": np.inf}
    array, _ = store_array(np.full((2, 2), -1, np.int16), (2, 2), attributes=attributes)
    assert values_of(ask(engine, array, "sum")) == 4 * 65535


def test_without_decoding_nothing_is_applied(engine: ArrayEngine) -> None:
    stored = np.array([1, 2, 7], np.int16)
    array, _ = store_array(stored, (2,), attributes={"scale_factor": 2.0, "_FillValue": 7})
    assert values_of(ask(engine, array, "sum", decode="none")) == 10


def test_zarr_version_2_fill_values_are_missing(engine: ArrayEngine) -> None:
    stored = np.array([1, 2, 3, 4], np.int16)
    array, _ = store_array(stored, (2,), fill=-5, absent=frozenset({1}), fill_marks_missing=True)
    answer = ask(engine, array, "sum")
    assert values_of(answer) == 3
    assert answer.result.count_total == 2
    assert answer.missing_chunks == 1


def test_without_decoding_the_fill_value_of_zarr_version_2_is_a_number(engine: ArrayEngine) -> None:
    array, _ = store_array(np.array([1, 2, 3, 4], np.int16), (2,), fill=3, fill_marks_missing=True)
    assert values_of(ask(engine, array, "sum", decode="none")) == 10


@pytest.mark.parametrize("how", ["cf", "xarray"])
def test_selected_elements_that_are_missing_are_nan(engine: ArrayEngine, how: Any) -> None:
    packed = {"_FillValue": np.int16(3), "scale_factor": 0.5}
    array, _ = store_array(np.array([1, 3, 4], np.int16), (2,), attributes=packed)
    np.testing.assert_array_equal(values_of(ask(engine, array, "select", decode=how)), [0.5, np.nan, 2])
    array, _ = store_array(np.array([1, 3, 4], np.float32), (2,), attributes={"_FillValue": 3.0})
    np.testing.assert_array_equal(values_of(ask(engine, array, "select", decode=how)), [1, np.nan, 4])


def test_a_single_element_can_be_selected(engine: ArrayEngine) -> None:
    array, _ = store_array(np.array(2.5), ())
    assert values_of(ask(engine, array, "select")) == 2.5


def test_sums_of_packed_integers_do_not_wrap_around(engine: ArrayEngine) -> None:
    largest = np.iinfo(np.int64).max
    array, _ = store_array(np.full(4, largest), (2,), attributes={"scale_factor": 0.5})
    np.testing.assert_allclose(values_of(ask(engine, array, "sum")), 2.0 * largest, rtol=1e-12)


@pytest.mark.parametrize("factor", [np.float16(2), np.longdouble(2), np.int8(2), np.uint64(2), 2, 2.0, [2.0]])
@pytest.mark.parametrize("how", ["cf", "xarray"])
def test_a_factor_can_have_any_type_of_numbers(engine: ArrayEngine, factor: Any, how: Any) -> None:
    array, _ = store_array(np.array([1, 2, 3], np.int16), (2,), attributes={"scale_factor": factor})
    for reducer in ("sum", "select", "any"):
        answer = ask(engine, array, reducer, decode=how)
        np.testing.assert_array_equal(values_of(answer), {"sum": 12, "select": [2, 4, 6], "any": True}[reducer])


@pytest.mark.parametrize("reducer", ["argmax", "argmin"])
def test_the_first_of_values_that_rounding_makes_equal_is_their_place(engine: ArrayEngine, reducer: str) -> None:
    """Of 1e6 + 0.001 and 1e6 + 0.002 float32 makes one number."""
    attributes = {"scale_factor": np.float32(1e-3), "add_offset": np.float32(1e6)}
    stored = np.array([[1, 2], [1, 2]], np.int16)
    array, _ = store_array(stored, (1, 2), attributes=attributes)
    wanted = getattr(np, reducer)(decoded(stored, attributes).values)
    assert values_of(ask(engine, array, reducer, decode="xarray")) == wanted

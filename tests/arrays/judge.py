"""What the reduction of an array should be: xarray says it, and numpy where xarray has no such rule.

Selections, counts, extrema, places and sums of integers are exact. Sums and moments of floats are those of the same
data as float64, rounded to the type of the result.
"""

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy import ma  # noqa: TID251  # it may be slow here

from active_storage.model.ranges import Slice
from active_storage.model.reducers import REDUCERS
from active_storage.model.spec import ReductionSpec
from handler.arrays.engine import ArrayAnswer
from tests.arrays.memory_array import values_of
from tests.judge import expect_of_elements

Array = np.ndarray[Any, np.dtype[Any]]

_EXACT = frozenset(
    {"select", "count", "max", "min", "argmax", "argmin", "any", "all", "first", "last", "count_nonzero", "histogram"}
)

# Those that xarray has not.
_NOT_OF_XARRAY = frozenset(
    {"select", "stats", "any", "all", "first", "last", "range", "rms", "norm", "skew", "kurtosis", "count_nonzero"}
    | {"histogram"}
)

_COMPARE = {"gt": operator.gt, "ge": operator.ge, "lt": operator.lt, "le": operator.le}


@dataclass(frozen=True)
class Question:
    """A reduction.

    Attributes:
        reducer: The reducer.
        decode: How stored numbers become values.
        selection: A slice for each dimension.
        axis: The numbers of the dimensions that are reduced; None for all.
        by_name: Whether the request names the dimensions.
        ddof: For ``var`` and ``std``.
        edges: For ``histogram``.
        thresholds: What values are compared with.
    """

    reducer: str
    decode: Any
    selection: tuple[Slice, ...]
    axis: tuple[int, ...] | None
    by_name: bool = False
    ddof: int = 0
    edges: tuple[float, ...] | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def fields(self, dimensions: tuple[str, ...]) -> dict[str, Any]:
        """The fields of the request."""
        names: Any = dimensions if self.by_name else range(len(dimensions))
        fields: dict[str, Any] = {"decode": self.decode, "selection": dict(zip(names, self.selection, strict=True))}
        if self.axis is not None:
            fields["axis"] = tuple(names[axis] for axis in self.axis)
        if self.reducer in ("var", "std"):
            fields["ddof"] = self.ddof
        if self.edges is not None:
            fields["edges"] = self.edges
        if self.thresholds:
            fields["thresholds"] = self.thresholds
        return fields

    def is_within(self, values: Array) -> Array:
        """Which values are within the thresholds."""
        within = np.ones(values.shape, bool)
        # Python compares integers with floats exactly.
        values = values.astype(object) if values.dtype.kind in "iu" else values
        for name, threshold in self.thresholds.items():
            within &= np.asarray(_COMPARE[name](values, threshold), bool)
        return within


@dataclass(frozen=True)
class Judged:
    """The values of a variable, before anything is selected.

    Attributes:
        values: The decoded values, with xarray's data type under ``xarray``.
        wide: The same as float64, or as they are if they are whole numbers.
        present: Which of them are not missing.
        skips: Whether missing values are left out; there are none otherwise.
    """

    values: Array
    wide: Array
    present: Array
    skips: bool = field(default=True)


def decode(decoded: xr.DataArray, raw: xr.DataArray, how: str) -> Judged:
    """The values that a variable stands for.

    Args:
        decoded: The variable as xarray decodes it.
        raw: The same without decoding.
        how: ``xarray``, ``cf`` or ``none``.
    """
    stored = np.asarray(raw.values)
    stored = stored.astype(stored.dtype.newbyteorder("="))
    if how == "none":
        return Judged(stored, stored, np.ones(stored.shape, bool))
    attributes = {**raw.encoding, **raw.attrs}
    stored, wide, missing = _apply_conventions(stored, attributes)
    if how == "xarray":
        wide = decoded.values if decoded.dtype.kind != "f" else wide.astype(np.float64)
        return Judged(decoded.values, wide, decoded.notnull().values)
    return Judged(wide, wide, ~missing)


def _apply_conventions(stored: Array, attributes: Mapping[str, Any]) -> tuple[Array, Array, Array]:
    """Stored numbers, values, and which are missing, by the CF conventions."""
    kind = attributes.get("_Unsigned")
    if kind in ("true", "false") and stored.dtype.kind in "iu":
        stored = stored.view(f"{'u' if kind == 'true' else 'i'}{stored.itemsize}")
    missing = np.zeros(stored.shape, bool)
    for name in ("_FillValue", "missing_value"):
        if name in attributes:
            for value in np.atleast_1d(np.asarray(attributes[name])):
                same = np.asarray(value).astype(stored.dtype)
                missing |= (stored == same) | (_is_nan(stored) & _is_nan(same))
    if "valid_min" in attributes:
        missing |= stored < np.asarray(attributes["valid_min"]).astype(stored.dtype)
    wide = stored
    if "scale_factor" in attributes or "add_offset" in attributes:
        wide = stored.astype(np.float64) * np.float64(attributes.get("scale_factor", 1))
        wide = wide + np.float64(attributes.get("add_offset", 0))
    return stored, wide, missing


def _is_nan(values: Any) -> Any:
    return np.isnan(values) if np.asarray(values).dtype.kind == "f" else np.zeros(np.shape(values), bool)


def check(question: Question, answer: ArrayAnswer, judged: Judged, dimensions: tuple[str, ...]) -> None:
    """Compare an answer with what it should be.

    Args:
        question: What was asked.
        answer: The answer.
        judged: The values of the variable.
        dimensions: The names of its dimensions.
    """
    index = tuple(slice(each.start, each.stop, each.step) for each in question.selection)
    values, wide, present = (array[index or ...] for array in (judged.values, judged.wide, judged.present))
    present = present & question.is_within(values)
    axes = tuple(range(values.ndim)) if question.axis is None else question.axis
    got = values_of(answer)
    if question.reducer == "select":
        assert got.dtype == values.dtype
        assert got.shape == values.shape
        np.testing.assert_array_equal(got[present], values[present])
        if values.dtype.kind == "f":
            assert np.isnan(got[~present]).all()
        assert answer.result.count_total == present.sum()
        return
    counts = np.sum(present, axis=axes)
    np.testing.assert_array_equal(np.asarray(answer.result.counts).reshape(counts.shape), counts)
    wanted = _reduce(question, wide if question.reducer not in _EXACT else values, present, axes)
    assert got.shape == wanted.shape
    assert got.dtype == _result_dtype(question.reducer, values.dtype), (got.dtype, values.dtype)
    leading = (None,) if REDUCERS[question.reducer].leading else ()
    trailing = ("bin",) if REDUCERS[question.reducer].has_bins else ()
    assert answer.dimensions == (
        *leading,
        *(name for axis, name in enumerate(dimensions) if axis not in axes),
        *trailing,
    )
    enough = np.reshape(counts, (*np.shape(counts), *(1 for _ in trailing)))
    filled = np.broadcast_to(enough > (question.ddof if question.reducer in ("var", "std") else 0), got.shape)
    if question.reducer in _EXACT or got.dtype.kind in "iu":
        np.testing.assert_array_equal(got[filled], wanted.astype(got.dtype)[filled])
    else:
        _check_close(question, got, wanted, np.where(present, wide, 0).astype(np.float64), present, axes, filled)


def _check_close(
    question: Question, got: Array, wanted: Array, wide: Array, present: Array, axes: Any, filled: Array
) -> None:
    tolerance = 1e-6 if got.dtype == np.float32 else 1e-12
    with np.errstate(all="ignore"):
        wanted = wanted.astype(got.dtype).astype(np.float64)
        if question.reducer in ("skew", "kurtosis"):
            largest = np.max(np.abs(wide), axis=axes, initial=0)
            filled = filled & ~(_moments("std", wide, present, axes, 0) <= 1e-6 * largest)
        slack = _slack(question.reducer, tolerance, wide, wanted, axes)
        off = np.abs(got - wanted) > tolerance * np.abs(wanted) + slack
        off |= (np.isnan(got) != np.isnan(wanted)) | (np.isinf(got) != np.isinf(wanted))
    wrong = off & filled
    assert not wrong.any(), f"{question.reducer}: {got[wrong]} should be {wanted[wrong]}"


def _slack(reducer: str, tolerance: float, wide: Array, wanted: Array, axes: tuple[int, ...]) -> Array:
    """What is lost where large numbers cancel each other.

    In sums it depends on the order of additions, and in moments on the rounding of values.
    """
    largest = np.max(np.abs(wide), axis=axes, initial=0)
    rounding = 1e-15 * largest
    if reducer == "sum":
        return np.asarray(tolerance * np.sum(np.abs(wide), axis=axes))
    if reducer in ("skew", "kurtosis"):
        # The deviations can be a millionth of the values.
        return np.asarray(max(tolerance, 1e-8) * (1 + np.abs(wanted)))
    if reducer in ("mean", "range", "rms"):
        return np.asarray(tolerance * largest)
    if reducer == "norm":
        return np.asarray(tolerance * np.sqrt(np.sum(np.square(wide), axis=axes)))
    if reducer == "std":
        return np.asarray(rounding)
    if reducer == "var":
        return np.asarray(rounding * np.sqrt(np.abs(wanted)) + rounding**2)
    deviation = rounding * np.sqrt(wide.size * np.abs(wanted[4])) + rounding**2 * wide.size
    return np.stack([0 * largest, *[tolerance * largest] * 3, deviation])


def _reduce(question: Question, values: Array, present: Array, axes: tuple[int, ...]) -> Array:
    """The result by numpy, of values of which some are missing."""
    reducer = question.reducer
    with np.errstate(all="ignore"):
        if reducer == "count":
            return np.asarray(np.sum(present, axis=axes))
        if reducer == "sum":
            return np.asarray(np.sum(np.where(present, values, values.dtype.type(0)), axis=axes))
        if reducer in ("any", "all"):
            return np.asarray(getattr(np, reducer)(np.where(present, values != 0, reducer == "all"), axis=axes))
        if reducer in ("max", "min", "argmax", "argmin"):
            worst = _worst(values.dtype, reducer.removeprefix("arg"))
            if reducer.startswith("arg"):
                return _place(np.where(present, values, worst), present, reducer, question.axis)
            return np.asarray(getattr(np, reducer)(np.where(present, values, worst), axis=axes, initial=worst))
        if reducer in ("first", "last", "range", "rms", "norm", "count_nonzero", "histogram"):
            spec = ReductionSpec(reducer, values.dtype.name, edges=question.edges)
            counts = np.asarray(np.sum(present, axis=axes))
            return expect_of_elements(spec, ma.array(values, mask=~present, hard_mask=False), axes, counts)
        return _moments(reducer, np.asarray(values, np.float64), present, axes, question.ddof)


def _place(values: Array, present: Array, reducer: str, axis: tuple[int, ...] | None) -> Array:
    """The place of the first extremum: a missing element is never it, even if it is equal to the worst number."""
    flat, there = (values.ravel(), present.ravel()) if axis is None else (values, present)
    along = 0 if axis is None else axis[0]
    if not flat.shape[along]:
        return np.zeros(np.sum(flat, axis=along).shape, np.int64)
    best = np.max(flat, axis=along, keepdims=True) if reducer == "argmax" else np.min(flat, axis=along, keepdims=True)
    return np.asarray(np.argmax(there & ((flat == best) | (_is_nan(flat))), axis=along))


def _worst(dtype: np.dtype[Any], reducer: str) -> Any:
    if dtype.kind == "b":
        return np.bool_(reducer == "min")
    if dtype.kind == "f":
        return dtype.type(-np.inf if reducer == "max" else np.inf)
    return dtype.type(np.iinfo(dtype).min if reducer == "max" else np.iinfo(dtype).max)


def _moments(reducer: str, values: Array, present: Array, axes: tuple[int, ...], ddof: int) -> Array:
    count = np.sum(present, axis=axes, keepdims=True)
    mean = np.sum(np.where(present, values, 0.0), axis=axes, keepdims=True) / count
    m2 = np.sum(np.where(present, (values - mean) ** 2, 0.0), axis=axes)
    flat_count, flat_mean = count.reshape(m2.shape), mean.reshape(m2.shape)
    if reducer == "mean":
        return np.asarray(flat_mean)
    if reducer == "stats":
        ends = [_reduce(Question(name, "none", (), axes), values, present, axes) for name in ("min", "max")]
        return np.stack([flat_count.astype(np.float64), *ends, flat_mean, m2])
    if reducer in ("skew", "kurtosis"):
        power = 3 if reducer == "skew" else 4
        moment = np.sum(np.where(present, (values - mean) ** power, 0.0), axis=axes) / flat_count
        return np.asarray(moment / (m2 / flat_count) ** (power / 2) - (3 if reducer == "kurtosis" else 0))
    var = m2 / (flat_count - ddof)
    return np.asarray(var if reducer == "var" else np.sqrt(var))


def _result_dtype(reducer: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The data type that numpy and xarray give."""
    if reducer in ("mean", "var", "std", "rms", "norm", "skew", "kurtosis"):
        return dtype if dtype.kind == "f" else np.dtype(np.float64)
    if reducer == "sum":
        return np.dtype({"b": np.int64, "i": np.int64, "u": np.uint64}.get(dtype.kind, dtype))
    if reducer == "range" and dtype.kind == "i":
        return np.dtype(f"u{dtype.itemsize}")
    fixed = {
        "count_nonzero": np.int64,
        "histogram": np.int64,
        "count": np.int64,
        "argmax": np.int64,
        "argmin": np.int64,
        "any": bool,
        "all": bool,
        "stats": np.float64,
    }
    return np.dtype(fixed.get(reducer, dtype))


def check_with_xarray(question: Question, judged: Judged, decoded: xr.DataArray) -> None:
    """Compare the judge with xarray's own reduction, which cannot tell missing data from nothing."""
    if question.decode != "xarray" or question.reducer in _NOT_OF_XARRAY or not decoded.size:
        return
    index = {
        name: slice(each.start, each.stop, each.step)
        for name, each in zip(decoded.dims, question.selection, strict=True)
    }
    picked, present = decoded.isel(index), judged.present[tuple(index.values()) or ...]
    if question.thresholds:
        if decoded.dtype.kind != "f":
            # Where makes floats of integers.
            return
        within = question.is_within(picked.values)
        picked, present = picked.where(within), present & within
    axes = tuple(range(picked.ndim)) if question.axis is None else question.axis
    counts = np.sum(present, axis=axes)
    # xarray leaves an array as it is if no dimension is reduced.
    if not axes or not picked.size or not np.all(counts > question.ddof):
        return
    options = {"ddof": question.ddof} if question.reducer in ("var", "std") else {}
    dim: Any = [decoded.dims[axis] for axis in axes]
    if question.reducer.startswith("arg"):
        # Of several dimensions xarray gives a place in each.
        dim = None if question.axis is None else dim[0]
        picked = picked if question.axis is not None else xr.DataArray(picked.values.ravel(), dims=["all"])
    is_exact = question.reducer in _EXACT or picked.dtype.kind != "f"
    wide = picked if is_exact else picked.astype(np.float64)
    theirs = getattr(wide, question.reducer)(dim, **options)
    dtype = getattr(picked, question.reducer)(dim, **options).dtype
    assert dtype == _result_dtype(question.reducer, decoded.dtype)
    judge_values = judged.values if is_exact else judged.wide
    ours = _reduce(question, judge_values[tuple(index.values()) or ...], present, axes)
    there = present & ~np.isnan(judged.wide[tuple(index.values()) or ...])
    scale = float(np.max(np.abs(judged.wide[tuple(index.values()) or ...][there].astype(np.float64)), initial=0))
    tolerance = 1e-6 if decoded.dtype == np.float32 else 1e-12
    slack = tolerance * max(1, picked.size) * {"var": scale**2, "std": scale * 1e3}.get(question.reducer, scale)
    if is_exact and theirs.dtype.kind != "f":
        np.testing.assert_array_equal(ours, theirs.values)
    else:
        np.testing.assert_allclose(ours, theirs.values, rtol=tolerance, atol=0 if question.reducer in _EXACT else slack)

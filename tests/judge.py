"""The expected results: computed by numpy, for all tests, in the simplest way.

``expect`` reads the elements as numpy would, selects, masks with ``numpy.ma`` and reduces the whole array at once.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy import ma  # noqa: TID251  # it may be slow here

from active_storage.model.dtypes import DTYPES
from active_storage.model.missing import Missing
from active_storage.model.spec import ReductionSpec
from handler.engine.result import Result

Array = np.ndarray[Any, Any]

# The relative tolerance by data type, for the rounding of the result and of numpy's own computation.
_TOLERANCE = {"float16": 2e-3, "float32": 2e-6, "complex64": 2e-6, "float64": 1e-11, "complex128": 1e-11}


# The reducers whose result is not computed, or exactly.
_EXACT = frozenset({"max", "min", "select", "first", "last", "range"})


def check_result(spec: ReductionSpec, array: Array, result: Result) -> None:
    """Pass if ``result`` equals numpy's reduction of ``array``, in bytes, shape and counts.

    Args:
        spec: The reduction.
        array: The stored array, in the caller's arrangement and native byte order.
        result: The result.
    """
    values, counts = expect(spec, array)
    order: Any = "F" if spec.order == "F" and _is_not_reduced(spec) else "C"
    assert result.dtype == spec.result_dtype
    assert result.shape == values.shape
    assert result.counts is not None
    assert list(result.counts) == np.ravel(counts, order=order).tolist()
    assert result.count_total == counts.sum()
    check_data(spec, array, result.data)


def check_data(spec: ReductionSpec, array: Array, data: bytes, has_nan_for_nothing: bool = False) -> None:
    """Pass if ``data`` equals numpy's reduction of ``array``: the bytes only, as a door sends them.

    Args:
        spec: The reduction.
        array: The stored array, in the caller's arrangement and native byte order.
        data: The bytes of the result.
        has_nan_for_nothing: Whether a float cell without elements is NaN, as in the doors of S3 clients.
    """
    values, counts = expect(spec, array)
    if has_nan_for_nothing and spec.reducer in ("max", "min") and values.dtype.kind == "f":
        values = np.where(counts == 0, np.nan, values)
    order: Any = "F" if spec.order == "F" and _is_not_reduced(spec) else "C"
    answer = np.frombuffer(data, np.dtype(spec.result_dtype).newbyteorder("<")).reshape(values.shape, order=order)
    with np.errstate(over="ignore"):
        expected = values.astype(spec.result_dtype)
    _check_values(spec, array, expected, answer)


def expect(spec: ReductionSpec, array: Array) -> tuple[Array, Array]:
    """The values and the counts of ``spec``, before the values are cast to its type."""
    selected = array if spec.selection is None else array[tuple(slice(s.start, s.stop, s.step) for s in spec.selection)]
    masked = ma.array(selected, mask=_mask(spec.missing, selected), hard_mask=False)
    axis: Any = tuple(range(array.ndim)) if spec.axis is None else spec.axis
    if spec.reducer == "select":
        return selected, np.asarray(masked.count())
    counts = np.asarray(np.sum(~ma.getmaskarray(masked), axis=axis, dtype=np.int64))
    if spec.reducer == "count":
        return counts, counts
    with np.errstate(all="ignore"):
        return _reduce(spec, masked, axis, counts), counts


def _reduce(spec: ReductionSpec, masked: Any, axis: Any, counts: Array) -> Any:
    if spec.reducer in _BY_ELEMENTS:
        return expect_of_elements(spec, masked, axis, counts)
    dtype = DTYPES[spec.dtype]
    wide = np.dtype(np.complex128 if dtype.kind == "c" else np.float64)
    nothing = counts == 0
    if spec.reducer == "sum":
        own = wide if dtype.kind in "fc" else dtype
        return np.asarray(masked.filled(0).sum(axis=axis, dtype=spec.sum_dtype or own))
    if spec.reducer in ("max", "min"):
        return np.where(nothing, _worst(spec.reducer, dtype), _extremum(spec.reducer, masked, axis, _beyond))
    if spec.reducer in ("any", "all"):
        neutral = spec.reducer == "all"
        truth = np.where(ma.getmaskarray(masked), neutral, masked.data.astype(bool))
        return np.asarray(getattr(truth, spec.reducer)(axis=axis))
    if spec.reducer in ("argmax", "argmin"):
        return _arg(spec, masked, nothing)
    numbers = ma.array(masked.data.astype(wide), mask=ma.getmaskarray(masked))
    mean = np.where(nothing, np.nan, numbers.filled(0).sum(axis=axis) / np.maximum(counts, 1))
    if spec.reducer == "mean":
        return mean
    apart = numbers - np.expand_dims(mean, axis)
    m2 = np.asarray((apart * apart).filled(0).sum(axis=axis))
    if spec.reducer in ("skew", "kurtosis"):
        return _standardized(spec.reducer, apart, axis, counts, mean)
    if spec.reducer == "stats":
        smallest, largest = (
            np.where(nothing, np.nan, _extremum(which, masked, axis, _beyond).astype(float)) for which in ("min", "max")
        )
        return np.stack([counts.astype(float), smallest, largest, mean, np.where(nothing, 0.0, m2)])
    variance = np.where(nothing, np.nan, m2) / np.maximum(counts - spec.ddof, 0)
    return np.sqrt(variance) if spec.reducer == "std" else variance


def _standardized(reducer: str, apart: Any, axis: Any, counts: Array, mean: Array) -> Array:
    """The formula of scipy.stats, for data of which some is missing."""
    m2, powers = ((apart**power).filled(0).sum(axis=axis) for power in (2, 3 if reducer == "skew" else 4))
    variance, moment = m2 / np.maximum(counts, 1), powers / np.maximum(counts, 1)
    is_constant = ~(variance > (np.finfo(float).eps * mean) ** 2) & ~np.isnan(variance)
    value = moment / variance**1.5 if reducer == "skew" else moment / variance**2 - 3
    return np.where(is_constant | np.isnan(mean), np.nan, value)


def _range(_spec: ReductionSpec, masked: Any, axis: Any, counts: Array) -> Array:
    # Python's integers have no limit, and float64 has none that float32 can reach.
    is_float = masked.dtype.kind == "f"
    highest, lowest = (
        _extremum(which, masked, axis, _beyond).astype(np.float64 if is_float else object) for which in ("max", "min")
    )
    apart = np.asarray(highest - lowest, np.float64 if is_float else object)
    return np.where(counts == 0, np.nan if is_float else 0, apart)


def _root(spec: ReductionSpec, masked: Any, axis: Any, counts: Array) -> Array:
    squares = np.sum(masked.filled(0).astype(np.float64) ** 2, axis=axis)
    if spec.reducer == "norm":
        return np.asarray(np.sqrt(squares))
    return np.sqrt(np.where(counts == 0, np.nan, squares / np.maximum(counts, 1)))


def _ends(spec: ReductionSpec, masked: Any, axis: Any, counts: Array) -> Array:
    """The first or the last element of each cell that is not missing, in C order."""
    kept = [number for number in range(masked.ndim) if number not in {each % masked.ndim for each in axis}]
    rows = masked.transpose(*kept, *(number for number in range(masked.ndim) if number not in kept))
    rows = rows.reshape(counts.size, masked.size // max(counts.size, 1))
    nothing = masked.dtype.type(np.nan if masked.dtype.kind in "fc" else 0)
    present = [row.compressed() for row in rows]
    found = [(row[-1] if spec.reducer == "last" else row[0]) if row.size else nothing for row in present]
    return np.array(found, masked.dtype).reshape(counts.shape)


def _histogram(spec: ReductionSpec, masked: Any, axis: Any, counts: Array) -> Array:
    """The number of elements in each bin, for each cell."""
    data, present = masked.data, ~ma.getmaskarray(masked)
    if spec.edges is not None:
        # Python compares integers with floats exactly.
        numbers = data.astype(np.float64 if data.dtype.kind == "f" else object)
        bins = [np.asarray((numbers >= low) & (numbers < high), bool) for low, high in itertools.pairwise(spec.edges)]
        bins[-1] |= np.asarray(numbers == spec.edges[-1], bool)
        return np.stack([np.sum(each & present, axis=axis, dtype=np.int64) for each in bins], axis=-1)
    bits = 8 * data.itemsize
    half = 1 << (bits - 1)
    if data.dtype.kind in "bu":
        keys = data.astype(object)
    elif data.dtype.kind == "i":
        keys = data.astype(object) + half
    else:
        present &= ~np.isnan(data)
        # The bits of a negative number are half and the bits of its magnitude.
        magnitude = np.abs(data).view(f"u{data.itemsize}").astype(object)
        # Of a single number, numpy makes an integer of Python, which int64 may not hold.
        below, above = (np.asarray(each, object) for each in (half - 1 - magnitude, half + magnitude))
        keys = np.where(data < 0, below, above)
    found = np.zeros((*counts.shape, min(1 << bits, 65_536)), np.int64)
    kept = [number for number in range(data.ndim) if number not in {each % data.ndim for each in axis}]
    for index in map(tuple, np.argwhere(present)):
        found[(*(index[each] for each in kept), int(keys[index]) >> max(0, bits - 16))] += 1
    return found


def expect_of_elements(spec: ReductionSpec, masked: Any, axis: Any, counts: Array) -> Array:
    """The result of a reducer that depends on each element of a cell, of selected data in a masked array."""
    return _BY_ELEMENTS[spec.reducer](spec, masked, axis, counts)


_BY_ELEMENTS: dict[str, Callable[[ReductionSpec, Any, Any, Array], Array]] = {
    "range": _range,
    "rms": _root,
    "norm": _root,
    "first": _ends,
    "last": _ends,
    "count_nonzero": lambda spec, masked, axis, counts: np.asarray(np.count_nonzero(masked.filled(0), axis=axis)),
    "histogram": _histogram,
}


def _arg(spec: ReductionSpec, masked: Any, nothing: Array) -> Array:
    """The first position of the extremum among elements that are not missing; -1 if all are missing."""
    data, present = masked.data, ~ma.getmaskarray(masked)
    if nothing.all():
        return np.full(nothing.shape, -1)
    if spec.axis is None:
        data, present = data.reshape(1, -1), present.reshape(1, -1)
        axis = 1
    else:
        axis = spec.axis[0]
    found = np.apply_along_axis(
        lambda row: _first(spec.reducer, row["value"], row["present"]), axis, _paired(data, present)
    )
    return np.asarray(np.where(nothing, -1, found.reshape(nothing.shape)))


def _paired(data: Array, present: Array) -> Array:
    paired = np.empty(data.shape, [("value", data.dtype), ("present", bool)])
    paired["value"], paired["present"] = data, present
    return paired


def _first(reducer: str, values: Array, present: Array) -> int:
    places = np.flatnonzero(present)
    return -1 if not places.size else int(places[getattr(np, reducer)(values[places])])


def _extremum(which: str, masked: Any, axis: Any, fill: Any) -> Array:
    worst = fill(which, masked.dtype)
    return np.asarray(getattr(np, which)(masked.filled(worst), axis=axis, initial=worst))


def _beyond(which: str, dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "f":
        return -np.inf if which == "max" else np.inf
    return _worst(which, dtype)


def _worst(which: str, dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "b":
        return which == "min"
    limits: Any = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return dtype.type(limits.min if which == "max" else limits.max)


def _mask(missing: Missing | None, data: Array) -> Array:
    if missing is None:
        return np.zeros(data.shape, bool)
    mask = np.zeros(data.shape, bool)
    for value in missing.values:
        mask |= np.isnan(data) if math.isnan(value) else data == data.dtype.type(value)
    if missing.valid_min is not None:
        mask |= data < data.dtype.type(missing.valid_min)
    if missing.valid_max is not None:
        mask |= data > data.dtype.type(missing.valid_max)
    return mask


def _is_not_reduced(spec: ReductionSpec) -> bool:
    return spec.reducer == "select" or (spec.axis == () and spec.reducer not in ("stats", "histogram"))


def _check_values(spec: ReductionSpec, array: Array, expected: Array, answer: Array) -> None:
    if expected.dtype.kind not in "fc" or spec.reducer in _EXACT:
        np.testing.assert_array_equal(answer, expected, err_msg=str(spec))
        return
    if spec.reducer in ("skew", "kurtosis"):
        # Where the deviations are as small as the rounding of numbers, the result is that rounding.
        largest = np.max(np.abs(array[np.isfinite(array)].astype(np.float64)), initial=0.0)
        deviations, _ = expect(replace(spec, reducer="std"), array)
        is_known = ~(deviations <= 1e-6 * largest)
        tolerance = max(_TOLERANCE[spec.result_dtype], 1e-7)
        np.testing.assert_allclose(answer[is_known], expected[is_known], tolerance, tolerance, err_msg=str(spec))
        return
    # Terms of a sum can cancel, so that the tolerance depends on the terms.
    finite = np.abs(array[np.isfinite(array)].astype(np.float64)) if array.dtype.kind != "c" else np.abs(array)
    scale = (
        float(finite.max(initial=0.0)) * array.size
        if spec.reducer in ("sum", "mean", "rms", "norm")
        else float(finite.max(initial=0.0)) ** 2
    )
    tolerance = _TOLERANCE[spec.result_dtype]
    wide = max(tolerance * 1e-3, 1e-12) * min(scale, 1e300) * 10
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(answer, expected, rtol=tolerance, atol=wide, equal_nan=True, err_msg=str(spec))

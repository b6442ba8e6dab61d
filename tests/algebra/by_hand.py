"""Partials made with numpy and the algebra's states only, and numpy's results for the whole.

As a program it is a client that joins partials of several machines, for ``tests/test_distributions.py``. It runs where
only the client and numpy are installed, so that it imports nothing else of these tests.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from active_storage.algebra import Algebra, Partial, join_partials, make_algebra
from active_storage.algebra.arg_extrema import ArgExtremum
from active_storage.algebra.counts import NoState, Tally
from active_storage.algebra.elements import Elements
from active_storage.algebra.ends import Ended
from active_storage.algebra.extrema import Extrema, Extremum
from active_storage.algebra.histograms import Frequencies
from active_storage.algebra.moments import HigherMoments, Moments, Summary
from active_storage.algebra.ordered_bits import find_bin_starts
from active_storage.algebra.sums import IntegerSum, IntegerTotal, Total, wide
from active_storage.algebra.truth import Truth
from active_storage.grammar.reductions import build_spec, parse_reduction
from active_storage.model.dtypes import DTYPES
from active_storage.model.reducers import REDUCERS
from active_storage.model.spec import ReductionSpec

Array = np.ndarray[Any, np.dtype[Any]]


def make_values(dtype: str, shape: tuple[int, ...]) -> Array:
    """Numbers of a data type, the same in every run: with repetitions, and with signs and fractions if possible."""
    numbers = np.random.default_rng(7).integers(-40, 40, shape)
    kind = DTYPES[dtype].kind
    by_kind: dict[str, Array] = {
        "c": numbers + 0.5j * numbers[::-1],
        "f": numbers / 8,
        "u": abs(numbers),
        "b": numbers % 3 == 0,
    }
    values: Array = by_kind.get(kind, numbers).astype(dtype)
    return values


def _moments(values: Array) -> Moments:
    numbers = values.astype(np.float64)
    return Moments(numbers.sum(0), np.zeros(values.shape[1:])[()], ((numbers - numbers.mean(0)) ** 2).sum(0))


def _higher_moments(values: Array) -> HigherMoments:
    numbers = values.astype(np.float64)
    powers = (((numbers - numbers.mean(0)) ** power).sum(0) for power in (2, 3, 4))
    return HigherMoments(numbers.sum(0), np.zeros(values.shape[1:])[()], *powers)


def _squares(values: Array) -> Total:
    return Total(np.square(values, dtype=np.float64).sum(0), np.zeros(values.shape[1:])[()])


def _end(values: Array, row: int, position: int) -> Ended:
    return Ended(values[row], np.full(values.shape[1:], position, np.int64)[()])


def _count_in_bins(values: Array, edges: Array) -> Array:
    columns = values.reshape(len(values), -1).T.astype(np.float64)
    numbers = np.array([np.histogram(column, edges)[0] for column in columns], np.int64)
    return numbers.reshape(*values.shape[1:], len(edges) - 1)


def _find_edges(dtype: np.dtype[Any]) -> Array:
    """The edges of bins of ordered bits, as numpy takes them: finite, and above the last number."""
    starts = find_bin_starts(dtype).astype(np.float64)
    finite = np.clip(starts, -1e300, 1e300)
    return np.append(finite, 2e300)


def _total(values: Array, algebra: Algebra[Any]) -> IntegerTotal | Total:
    if isinstance(algebra, IntegerSum):
        return IntegerTotal(values.sum(0, dtype=algebra.result_dtype))
    total = values.sum(0, dtype=wide(algebra.dtype))
    return Total(total, np.zeros_like(total)[()])


_STATES: Mapping[str, Callable[[Array, Algebra[Any], int], Any]] = {
    "count": lambda values, algebra, first: NoState(),
    "max": lambda values, algebra, first: Extremum(values.max(0)),
    "min": lambda values, algebra, first: Extremum(values.min(0)),
    "sum": lambda values, algebra, first: _total(values, algebra),
    "mean": lambda values, algebra, first: _total(values, algebra),
    "var": lambda values, algebra, first: _moments(values),
    "std": lambda values, algebra, first: _moments(values),
    "argmax": lambda values, algebra, first: ArgExtremum(values.max(0), np.int64(first) + values.argmax(0)),
    "argmin": lambda values, algebra, first: ArgExtremum(values.min(0), np.int64(first) + values.argmin(0)),
    "any": lambda values, algebra, first: Truth(values.any(0)),
    "all": lambda values, algebra, first: Truth(values.all(0)),
    "stats": lambda values, algebra, first: Summary(
        *_moments(values), values.min(0).astype(np.float64), values.max(0).astype(np.float64)
    ),
    "first": lambda values, algebra, first: _end(values, 0, first),
    "last": lambda values, algebra, first: _end(values, -1, first + len(values) - 1),
    "range": lambda values, algebra, first: Extrema(values.min(0), values.max(0)),
    "rms": lambda values, algebra, first: _squares(values),
    "norm": lambda values, algebra, first: _squares(values),
    "skew": lambda values, algebra, first: _higher_moments(values),
    "kurtosis": lambda values, algebra, first: _higher_moments(values),
    "count_nonzero": lambda values, algebra, first: Tally(np.count_nonzero(values, axis=0)),
    "histogram": lambda values, algebra, first: Frequencies(_count_in_bins(values, _find_edges(values.dtype))),
}


def make_partial(spec: ReductionSpec, whole: Array, first: int, end: int) -> Partial[Any]:
    """The partial of the rows from ``first`` to before ``end``. Each row has an element of every cell."""
    values, algebra = whole[first:end], make_algebra(spec)
    if spec.reducer == "select":
        selected = np.zeros_like(whole)
        selected[first:end] = values
        return Partial(np.int64(values.size), Elements(selected))
    state = _STATES[spec.reducer](values, algebra, first)
    return Partial(np.full(whole.shape[1:], len(values), np.int64)[()], state)


def _standardize(whole: Array, power: int) -> Any:
    apart = whole.astype(np.float64) - whole.astype(np.float64).mean(0)
    return (apart**power).mean(0) / (apart**2).mean(0) ** (power / 2)


_NUMPYS: Mapping[str, Callable[[Array, ReductionSpec], Any]] = {
    "count": lambda whole, spec: np.full(whole.shape[1:], len(whole)),
    "max": lambda whole, spec: whole.max(0),
    "min": lambda whole, spec: whole.min(0),
    "sum": lambda whole, spec: whole.sum(0, dtype=spec.result_dtype),
    "select": lambda whole, spec: whole,
    "mean": lambda whole, spec: whole.mean(0, dtype=wide(whole.dtype)),
    "var": lambda whole, spec: whole.var(0, dtype=np.float64, ddof=spec.ddof),
    "std": lambda whole, spec: whole.std(0, dtype=np.float64, ddof=spec.ddof),
    "argmax": lambda whole, spec: whole.argmax(0),
    "argmin": lambda whole, spec: whole.argmin(0),
    "any": lambda whole, spec: whole.any(0),
    "all": lambda whole, spec: whole.all(0),
    "stats": lambda whole, spec: np.stack(
        [
            np.full(whole.shape[1:], float(len(whole))),
            *(values.astype(np.float64) for values in (whole.min(0), whole.max(0), whole.mean(0, dtype=np.float64))),
            whole.var(0, dtype=np.float64) * len(whole),
        ]
    ),
    "first": lambda whole, spec: whole[0],
    "last": lambda whole, spec: whole[-1],
    "range": lambda whole, spec: whole.max(0).astype(np.float64) - whole.min(0).astype(np.float64),
    "rms": lambda whole, spec: np.sqrt(np.square(whole, dtype=np.float64).mean(0)),
    "norm": lambda whole, spec: np.linalg.norm(whole.astype(np.float64), axis=0),
    "skew": lambda whole, spec: _standardize(whole, 3),
    "kurtosis": lambda whole, spec: _standardize(whole, 4) - 3,
    "count_nonzero": lambda whole, spec: np.count_nonzero(whole, axis=0),
    "histogram": lambda whole, spec: _count_in_bins(whole, _find_edges(whole.dtype)),
}


def check_result(spec: ReductionSpec, partial: Partial[Any], whole: Array) -> None:
    """Pass if the finished partial equals numpy's result for all rows, except for the rounding of floats."""
    reduced = make_algebra(spec).finish_partial(partial)
    expected = np.asarray(_NUMPYS[spec.reducer](whole, spec)).astype(spec.result_dtype)
    assert reduced.values.dtype == expected.dtype
    assert reduced.values.shape == expected.shape
    tolerance = 4 * float(np.finfo(expected.dtype).eps) if expected.dtype.kind in "fc" else 0
    # Powers of deviations cancel.
    lost = tolerance if spec.reducer in ("skew", "kurtosis") else 0
    np.testing.assert_allclose(reduced.values, expected, rtol=tolerance + lost, atol=lost)
    assert reduced.counts.sum() == whole.size


def main() -> None:
    """Join the partials of two machines for every reducer, without the service."""
    whole = make_values("float32", (101,))
    for reducer in REDUCERS:
        spec = build_spec(parse_reduction(f"{reducer}/float32;shape=101"), None)
        halves = make_partial(spec, whole, 0, 60), make_partial(spec, whole, 60, 101)
        check_result(spec, join_partials(make_algebra(spec), *halves), whole)
        print(reducer)  # noqa: T201  # what the test reads
    try:
        importlib.import_module("handler")
    except ModuleNotFoundError:
        print("no handler")  # noqa: T201


if __name__ == "__main__":
    main()

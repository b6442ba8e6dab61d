"""Partials join into the partial of all their data, for every reducer."""

from typing import Any

import numpy as np
import pytest

from active_storage.algebra import Partial, join_partials, make_algebra
from active_storage.model.dtypes import DTYPES
from active_storage.model.reducers import REDUCERS
from active_storage.model.spec import ReductionSpec
from tests.algebra.by_hand import Array, check_result, make_partial, make_values

ROWS = 23

CASES = [
    pytest.param(reducer, dtype, id=f"{reducer}-{dtype}")
    for reducer, rule in REDUCERS.items()
    for dtype in DTYPES
    if DTYPES[dtype].kind in rule.kinds
]
# A single cell, whose states are numbers, and cells in one and two dimensions.
CELLS = [(), (3,), (2, 3)]


def make_spec(reducer: str, dtype: str, whole: Array, **parameters: Any) -> ReductionSpec:
    axis = None if REDUCERS[reducer].keeps_elements else (0,)
    return ReductionSpec(reducer, dtype, shape=whole.shape, axis=axis, **parameters)


def join(spec: ReductionSpec, *partials: Partial[Any]) -> Partial[Any]:
    joined, *others = partials
    for other in others:
        joined = join_partials(make_algebra(spec), joined, other)
    return joined


def arrays_of(partial: Partial[Any]) -> list[Array]:
    return [np.asarray(partial.counts), *map(np.asarray, partial.state)]


@pytest.mark.parametrize("cells", CELLS, ids=str)
@pytest.mark.parametrize(("reducer", "dtype"), CASES)
def test_two_halves_join_to_the_whole(reducer: str, dtype: str, cells: tuple[int, ...]) -> None:
    whole = make_values(dtype, (ROWS, *cells))
    spec = make_spec(reducer, dtype, whole)
    check_result(spec, join(spec, make_partial(spec, whole, 0, 10), make_partial(spec, whole, 10, ROWS)), whole)


@pytest.mark.parametrize("cells", CELLS, ids=str)
@pytest.mark.parametrize("reducer", REDUCERS)
def test_joining_is_associative(reducer: str, cells: tuple[int, ...]) -> None:
    whole = make_values("float64", (ROWS, *cells))
    spec = make_spec(reducer, "float64", whole)
    one, two, three = (make_partial(spec, whole, *rows) for rows in ((0, 1), (1, 12), (12, ROWS)))
    check_result(spec, join(spec, join(spec, one, two), three), whole)
    check_result(spec, join(spec, one, join(spec, two, three)), whole)


@pytest.mark.parametrize("cells", CELLS, ids=str)
@pytest.mark.parametrize(("reducer", "dtype"), CASES)
def test_an_empty_partial_is_neutral(reducer: str, dtype: str, cells: tuple[int, ...]) -> None:
    whole = make_values(dtype, (ROWS, *cells))
    spec = make_spec(reducer, dtype, whole)
    known = make_partial(spec, whole, 0, ROWS)
    nothing = make_algebra(spec).start(whole.shape if REDUCERS[reducer].keeps_elements else cells)
    check_result(spec, join(spec, known, nothing), whole)
    check_result(spec, join(spec, nothing, known), whole)


def _choose(mask: Array, known: Any, nothing: Any) -> Any:
    """The state of some cells from the first, and of the others from the second."""
    return np.where(mask.reshape(*mask.shape, *(1,) * (np.ndim(nothing) - mask.ndim)), known, nothing)


@pytest.mark.parametrize("reducer", [name for name, rule in REDUCERS.items() if not rule.keeps_elements])
def test_a_cell_without_elements_in_one_partial_is_that_of_the_other(reducer: str) -> None:
    whole = make_values("float32", (ROWS, 2))
    spec = make_spec(reducer, "float32", whole)
    known, nothing = make_partial(spec, whole, 0, ROWS), make_algebra(spec).start((2,))
    # The first of two cells from one, the second from the other.
    is_first = np.array([True, False])
    one, other = (
        Partial(
            np.where(mask, known.counts, nothing.counts),
            type(known.state)(*(_choose(mask, *pair) for pair in zip(known.state, nothing.state, strict=True))),
        )
        for mask in (is_first, ~is_first)
    )
    check_result(spec, join(spec, one, other), whole)


@pytest.mark.parametrize("cells", CELLS, ids=str)
@pytest.mark.parametrize("reducer", REDUCERS)
def test_joining_does_not_change_the_partials(reducer: str, cells: tuple[int, ...]) -> None:
    whole = make_values("float32", (ROWS, *cells))
    spec = make_spec(reducer, "float32", whole)
    partials = make_partial(spec, whole, 0, 10), make_partial(spec, whole, 10, ROWS)
    before = [array.copy() for partial in partials for array in arrays_of(partial)]
    joined = join(spec, *partials)
    for array in arrays_of(joined):
        array[...] = 1
    for array, then in zip([array for partial in partials for array in arrays_of(partial)], before, strict=True):
        np.testing.assert_array_equal(array, then)


def test_integer_sums_wrap_in_the_type_of_the_result() -> None:
    whole = np.full((ROWS,), 100, np.int8)
    for sum_dtype in (None, "int64"):
        spec = make_spec("sum", "int8", whole, sum_dtype=sum_dtype)
        check_result(spec, join(spec, make_partial(spec, whole, 0, 10), make_partial(spec, whole, 10, ROWS)), whole)


@pytest.mark.parametrize("reducer", ["var", "std"])
def test_ddof_is_taken_from_the_number_of_all_elements(reducer: str) -> None:
    whole = make_values("float64", (ROWS, 2))
    spec = make_spec(reducer, "float64", whole, ddof=1)
    check_result(spec, join(spec, make_partial(spec, whole, 0, 10), make_partial(spec, whole, 10, ROWS)), whole)


@pytest.mark.parametrize("row", [3, 15])
@pytest.mark.parametrize(
    "reducer",
    [
        "max",
        "min",
        "sum",
        "mean",
        "var",
        "std",
        "argmax",
        "argmin",
        "stats",
        "range",
        "rms",
        "norm",
        "skew",
        "kurtosis",
    ],
)
def test_nan_in_either_half_propagates_as_in_numpy(reducer: str, row: int) -> None:
    whole = make_values("float32", (ROWS, 2))
    whole[row, 0] = np.nan
    spec = make_spec(reducer, "float32", whole)
    check_result(spec, join(spec, make_partial(spec, whole, 0, 10), make_partial(spec, whole, 10, ROWS)), whole)


@pytest.mark.parametrize("reducer", ["argmax", "argmin"])
def test_the_first_of_equal_extrema_counts_in_either_order(reducer: str) -> None:
    whole = np.ones((ROWS,), np.float32)
    spec = make_spec(reducer, "float32", whole)
    one, other = make_partial(spec, whole, 0, 10), make_partial(spec, whole, 10, ROWS)
    check_result(spec, join(spec, one, other), whole)
    check_result(spec, join(spec, other, one), whole)


def test_an_overflow_gives_no_warning() -> None:
    whole = np.full((2,), 1.7e308)
    spec = make_spec("sum", "float64", whole)
    joined = join(spec, make_partial(spec, whole, 0, 1), make_partial(spec, whole, 1, 2))
    assert make_algebra(spec).finish_partial(joined).values == np.inf

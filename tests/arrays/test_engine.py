"""Whole arrays against numpy: every reducer, selections, axes, orders, absent chunks."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from active_storage.model.ranges import Slice
from handler.arrays.engine import ArrayEngine
from tests.arrays.memory_array import Array, ask, make_engine, store_array, values_of

NUMPY: dict[str, Any] = {
    "sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min, "var": np.var, "std": np.std,
    "any": np.any, "all": np.all, "argmax": np.argmax, "argmin": np.argmin,
}  # fmt: skip

SLICES = st.builds(
    Slice,
    st.none() | st.integers(-8, 8),
    st.none() | st.integers(-8, 8),
    st.none() | st.sampled_from([1, 2, 3, -1, -2]),
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Array, dict[str, Any], tuple[Slice, ...], Any]:
    shape = tuple(draw(st.lists(st.integers(1, 7), min_size=0, max_size=4)))
    chunks = tuple(draw(st.integers(1, size + 1)) for size in shape)
    dtype = np.dtype(draw(st.sampled_from(["int8", "uint16", "int32", "int64", "float32", "float64", "bool", "uint8"])))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    values = rng.integers(0, 2 if dtype.kind == "b" else 100, shape).astype(dtype)
    count = int(np.prod([-(-size // chunk) for size, chunk in zip(shape, chunks, strict=True)], dtype=int))
    absent = frozenset(draw(st.lists(st.integers(0, max(0, count - 1)), max_size=3)))
    options = {
        "chunks": chunks,
        "fill": 1,
        "absent": absent,
        "byte_order": draw(st.sampled_from(["little", "big"])),
        "permutation": tuple(draw(st.permutations(range(len(shape))))),
        "in_one_object": draw(st.booleans()),
    }
    selection = tuple(draw(SLICES) for _ in shape)
    axis = draw(st.none() | st.lists(st.integers(0, max(0, len(shape) - 1)), unique=True, max_size=len(shape)))
    return values, options, selection, None if axis is None or not shape else tuple(axis)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(cases(), st.sampled_from([*NUMPY, "count", "select"]))
def test_every_reducer_agrees_with_numpy(
    engine: ArrayEngine, case: tuple[Array, dict[str, Any], tuple[Slice, ...], Any], reducer: str
) -> None:
    values, options, selection, axis = case
    array, seen = store_array(values, **options)
    picked = seen[tuple(slice(each.start, each.stop, each.step) for each in selection)]
    if reducer in ("argmax", "argmin"):
        axis = axis or None
        if not picked.size:
            return
    if reducer in ("max", "min", "mean", "var", "std") and not picked.size:
        return
    fields = {"selection": dict(enumerate(selection)), "axis": axis}
    answer = ask(engine, array, reducer, **fields)
    if reducer == "select":
        wanted = picked
    elif reducer == "count":
        reduced = tuple(range(picked.ndim)) if axis is None else axis
        wanted = np.full(np.sum(picked, axis=reduced).shape, np.prod([picked.shape[a] for a in reduced], dtype=int))
    else:
        wide = picked.astype(np.float64) if reducer in ("mean", "var", "std") else picked
        one = axis
        if axis and reducer in ("argmax", "argmin"):
            # numpy takes one axis: several are flattened in their order.
            kept = [number for number in range(picked.ndim) if number not in axis]
            picked = picked.transpose(*kept, *sorted(axis)).reshape([picked.shape[number] for number in kept] + [-1])
            one = -1
        kind = {"b": np.int64, "i": np.int64, "u": np.uint64}.get(picked.dtype.kind)
        extra = {"dtype": kind} if reducer == "sum" and kind else {}
        wanted = np.asarray(NUMPY[reducer](wide, axis=one, **extra))
    np.testing.assert_allclose(values_of(answer).astype(float), wanted.astype(float), rtol=1e-6, atol=1e-6)
    assert answer.result.shape == wanted.shape


@pytest.mark.parametrize("reducer", ["sum", "mean", "var", "stats", "max", "argmax", "select"])
def test_same_bits_whatever_the_storage_and_the_threads(reducer: str) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(13, 9, 11)).astype(np.float32) * 1e6
    seen = set()
    for fetchers, in_one, turned in itertools.product((1, 2, 8), (False, True), (None, (2, 0, 1))):
        array, _ = store_array(values, (2, 3, 4), in_one_object=in_one, permutation=turned)
        for axis in (None,):
            seen.add(ask(make_engine(fetchers=fetchers), array, reducer, axis=axis).result.data)
    assert len(seen) == 1

"""Histograms: edges are exact in every data type, and what is in no bin is left out."""

import math
from typing import Any

import numpy as np
import pytest

from active_storage.algebra.ordered_bits import find_bin_starts
from active_storage.errors import EntityTooLarge, InvalidArgument
from active_storage.grammar.reductions import build_spec, format_reduction, parse_reduction
from active_storage.model.dtypes import DTYPES
from active_storage.model.missing import Missing
from active_storage.model.spec import ReductionSpec
from handler.stores.fake import FakeSource
from tests.helpers import make_engine, reduce_bytes, reduce_source

NUMBERS = [name for name, dtype in DTYPES.items() if dtype.kind in "iuf"]


def histogram(values: np.ndarray[Any, Any], edges: Any, **fields: Any) -> list[int]:
    spec = ReductionSpec("histogram", values.dtype.name, edges=edges, **fields)
    result = reduce_bytes(spec, values.tobytes())
    assert result.count_total is not None
    return np.frombuffer(result.data, "<i8").reshape(result.shape).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("dtype", NUMBERS)
def test_numpy_counts_the_same(dtype: str) -> None:
    values = np.random.default_rng(1).integers(0, 100, 10_000).astype(dtype)
    for edges in ((0, 10, 20), (-3, 0.5, 7, 99), (10, 99.5, 1000), (-1e300, 50, 1e300), (200.5, 300, 1e9)):
        assert histogram(values, edges) == np.histogram(values, edges)[0].tolist()


def test_the_last_bin_has_its_end_and_the_others_have_not() -> None:
    assert histogram(np.array([0, 10, 20, 30]), (0, 10, 20)) == [1, 2]
    assert histogram(np.array([0.0, 10.0, 20.0]), (-10, 0, 10)) == [0, 2]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_nan_and_infinity_are_in_no_bin_of_edges_but_count(dtype: str) -> None:
    values = np.array([np.nan, -np.inf, np.inf, -0.0, 1, 2], dtype)
    spec = ReductionSpec("histogram", dtype, edges=(0, 1, 1e300))
    result = reduce_bytes(spec, values.tobytes())
    assert np.frombuffer(result.data, "<i8").tolist() == [1, 2]
    assert result.count_total == 6


def test_an_edge_that_the_data_type_has_not_is_not_rounded() -> None:
    third = np.array([np.float32(1 / 3)])  # above a third
    assert histogram(third, (0, 1 / 3, 1)) == [0, 1]
    assert histogram(third, (0, 1 / 3)) == [0]
    large = np.array([2**53, 2**53 + 1])
    assert histogram(large, (2**53, 2**53 + 1, 2**60)) == [1, 1]


def test_edges_outside_a_small_type_find_nothing() -> None:
    values = np.array([0, 255], np.uint8)
    assert histogram(values, (-10, -5)) == [0]
    assert histogram(values, (-10, -5, 0)) == [0, 1]
    assert histogram(values, (255.5, 300, 400)) == [0, 0]
    assert histogram(values, (-1e30, 0, 1e30)) == [0, 2]


@pytest.mark.parametrize("dtype", ["bool", *NUMBERS])
def test_without_edges_a_bin_of_ordered_bits_has_each_element(dtype: str) -> None:
    values = np.random.default_rng(2).integers(0, 2 if dtype == "bool" else 100, 3000).astype(dtype)
    found = np.array(histogram(values, None))
    assert found.sum() == values.size
    assert found.shape == (256 if DTYPES[dtype].itemsize == 1 else 65_536,)
    if dtype != "bool":
        places = np.searchsorted(find_bin_starts(values.dtype), values, side="right") - 1
        assert np.array_equal(found, np.bincount(places, minlength=found.size))


def test_nan_is_in_no_bin_of_ordered_bits_whatever_its_bits() -> None:
    bits = np.array([0x7FC00000, 0x7F800001, 0xFFC00000, 0xFF800001, 0x7F800000, 0xFF800000], np.uint32)
    found = np.array(histogram(bits.view(np.float32), None))
    assert np.flatnonzero(found).tolist() == [0x007F, 0xFF80]
    assert found.sum() == 2


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("axis", [(0,), (2,), (0, 2), ()])
def test_the_bins_are_the_last_dimension(order: Any, axis: tuple[int, ...]) -> None:
    values = np.random.default_rng(4).integers(0, 9, (3, 4, 5)).astype(np.int16)
    spec = ReductionSpec("histogram", "int16", shape=values.shape, order=order, axis=axis, edges=(0, 3, 9))
    result = reduce_bytes(spec, values.tobytes(order=order))
    wanted = np.stack([np.sum(values < 3, axis=axis), np.sum(values >= 3, axis=axis)], axis=-1)
    assert result.shape == wanted.shape
    assert np.array_equal(np.frombuffer(result.data, "<i8").reshape(result.shape), wanted)


def test_missing_elements_are_not_counted() -> None:
    values = np.array([1, 2, 3, 1], np.float32)
    assert histogram(values, (0, 5), missing=Missing((1,))) == [2]


@pytest.mark.parametrize(
    "edges",
    [(), (1,), (1, 1), (2, 1), (0, math.nan), (0, math.inf), (-math.inf, 0), tuple(range(65_538))],
    ids=lambda edges: f"{len(edges)} edges",
)
def test_wrong_edges_are_refused_by_name(edges: tuple[float, ...]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        ReductionSpec("histogram", "float32", edges=edges)
    assert caught.value.field == "edges"


def test_edges_belong_to_histograms_and_are_written_in_one_way() -> None:
    with pytest.raises(InvalidArgument, match="edges: is a parameter of histogram, not of sum"):
        ReductionSpec("sum", "float32", edges=(0, 1))
    spec = build_spec(parse_reduction("histogram/float32;edges=0,1.0,2.5"), None)
    assert spec == ReductionSpec("histogram", "float32", edges=(0, 1, 2.5))
    assert "edges=0,1,2.5" in format_reduction(spec)


def test_the_memory_of_bins_is_counted_before_they_are_made() -> None:
    shape = (1000, 2)
    spec = ReductionSpec("histogram", "float32", shape=shape, axis=(1,))
    with pytest.raises(EntityTooLarge):
        reduce_source(spec, FakeSource(bytes(8000)), make_engine(memory_bytes=64 << 20))

"""The whole arrays of the demo: compared with xarray, and each difference is noticed."""

import json
from collections.abc import Callable

import numpy as np
import pytest

from deploy.local.arrays import EXPECTED, compare_arrays, equals_expected, format_arrays
from deploy.local.store import Store


@pytest.mark.live
def test_each_mean_is_that_of_xarray(live_store: Store, start_service: Callable[..., str]) -> None:
    public = live_store.readers_endpoint
    endpoint = start_service(s3_public_endpoint=public, allowed_origins=f"{live_store.endpoint},{public}")
    rows = compare_arrays(live_store, endpoint)
    assert [row.is_equal for row in rows] == [True, True, True]
    assert "NO" not in format_arrays(rows)


@pytest.mark.parametrize(("cell", "mean"), [(0, 0.0), (0, np.nan), (75, 288.0)])
def test_a_cell_that_differs_is_noticed(cell: int, mean: float) -> None:
    """Cell 75 is missing."""
    expected = json.loads(EXPECTED.read_text())
    means = np.array(expected["mean"], np.float64)
    assert np.isnan(means[75])
    assert equals_expected(means, expected["count"])
    means[cell] = mean
    assert not equals_expected(means, expected["count"])


def test_a_count_that_differs_is_noticed() -> None:
    expected = json.loads(EXPECTED.read_text())
    counts = [expected["count"][0] + 1, *expected["count"][1:]]
    assert not equals_expected(np.array(expected["mean"], np.float64), counts)

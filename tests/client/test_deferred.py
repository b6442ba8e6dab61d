"""Results that are asked for when they are needed, with a service in this process."""

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import xarray as xr

import active_storage.client.accessor  # noqa: F401  # adds what numpy's functions do
from active_storage.client.deferred import Deferred
from active_storage.client.remote import Remote
from active_storage.client.results import Result
from active_storage.client.service_array import ServiceArray
from active_storage.errors import SlowDown

VALUES = np.arange(24.0).reshape(4, 6)


@dataclass(frozen=True, slots=True)
class Local(Remote):
    """Reduces ``VALUES`` along the first dimension, whole or in groups.

    Attributes:
        asked: The reducers of the requests.
        failures: What the next requests raise.
    """

    asked: list[str] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    def ask(self, reducer: str, **arguments: Any) -> Result:
        self.asked.append(reducer)
        if self.failures:
            raise self.failures.pop()
        reduce: Any = getattr(np, reducer)
        if "group" not in arguments:
            return Result(reduce(VALUES, axis=0), np.full(6, 4), ("x",))
        _, numbers = arguments["group"]
        groups = [VALUES[numbers == each] for each in np.unique(numbers[~np.isnan(numbers)])]
        counts = np.array([[len(each)] * 6 for each in groups])
        return Result(np.stack([reduce(each, axis=0) for each in groups]), counts, ("group", "x"))


@pytest.fixture
def remote() -> Local:
    return Local([], "s3://bucket/store.zarr", "t", VALUES.shape, {})


@pytest.fixture
def array(remote: Local) -> xr.DataArray:
    data = ServiceArray(remote, VALUES.dtype, (range(4), range(6)))
    return xr.DataArray(data, {"time": [1, 2, 1, 2]}, ["time", "x"], name="t")


def test_a_result_is_asked_for_once_when_it_is_needed(remote: Local, array: xr.DataArray) -> None:
    mean = array.mean("time")
    assert (mean.shape, mean.dtype, mean.dims) == ((6,), np.dtype("f8"), ("x",))
    assert remote.asked == []
    assert "array([ 9., 10., 11., 12., 13., 14.])" in repr(mean)
    assert "array([ 9., 10., 11., 12., 13., 14.])" in mean._repr_html_()  # type: ignore[no-untyped-call]
    assert "float64 48B 9.0 10.0 11.0 12.0 13.0 14.0" in repr(mean.to_dataset())
    np.testing.assert_array_equal(mean, VALUES.mean(axis=0))
    assert (float(mean[0]), mean[1].item(), int(mean[2]), bool(mean[3] == 12)) == (9.0, 10.0, 11, True)
    assert (f"{mean[0]:.2f}", str(mean[1].data)) == ("9.00", "10.0")
    assert [*mean.data] == [9, 10, 11, 12, 13, 14]
    xr.testing.assert_identical(mean, xr.DataArray(VALUES, dims=["time", "x"], name="t").mean("time"))
    assert remote.asked == ["mean"]


def test_functions_of_results_wait_too(remote: Local, array: xr.DataArray) -> None:
    mean, maximum = array.mean("time"), array.max("time")
    wanted = (VALUES.mean(axis=0) - VALUES.max(axis=0)) * 2
    made = {
        "arithmetic": ((mean - maximum) * 2, wanted),
        "where": (mean.where(mean > 10, 0), np.where(VALUES.mean(axis=0) > 10, VALUES.mean(axis=0), 0)),
        "index": (mean[::-2], VALUES.mean(axis=0)[::-2]),
        "list": (mean[[3, 0]], VALUES.mean(axis=0)[[3, 0]]),
        "new dimension": (mean.expand_dims("m"), VALUES.mean(axis=0)[np.newaxis]),
        "other data type": (mean.astype("f4"), VALUES.mean(axis=0).astype("f4")),
        "fill": (mean.fillna(0), VALUES.mean(axis=0)),
    }
    assert remote.asked == []
    for found, expected in made.values():
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        assert isinstance(found.data, Deferred)
        np.testing.assert_array_equal(found, expected)
    # Those of all functions, whose questions are the same.
    assert sorted(remote.asked) == ["max", "mean"]
    assert isinstance((mean + 1).data, np.ndarray)


def test_other_functions_ask_at_once(remote: Local, array: xr.DataArray) -> None:
    assert float(array.mean("time").max()) == 14
    assert np.unique(array.max("time").data).tolist() == VALUES[3].tolist()
    assert np.cumsum(array.min("time").data).tolist() == np.cumsum(VALUES[0]).tolist()
    assert array.min("time").data.reshape(2, 3).shape == (2, 3)
    assert not hasattr(array.min("time").data, "chunks")
    assert remote.asked == ["mean", "max", "min", "min"]


def test_groups_are_one_request(remote: Local, array: xr.DataArray) -> None:
    found = array.groupby("time").mean()
    assert remote.asked == ["mean"]
    xr.testing.assert_identical(found, array.copy(data=VALUES).groupby("time").mean())


def test_copies_are_arrays_of_numpy(array: xr.DataArray) -> None:
    mean = array.mean("time")
    pickled = pickle.loads(pickle.dumps(mean))  # noqa: S301  # just made
    for each in (copy.deepcopy(mean), mean.copy(deep=True), pickled, mean.copy()):
        np.testing.assert_array_equal(each, VALUES.mean(axis=0))
    assert type(copy.copy(mean.data)) is type(copy.deepcopy(mean.data)) is np.ndarray
    other = mean.copy(deep=True)
    mean[0] = -1
    mean -= 1
    np.testing.assert_array_equal(mean, [-2, 9, 10, 11, 12, 13])
    np.testing.assert_array_equal(other, VALUES.mean(axis=0))


def test_threads_ask_once(remote: Local, array: xr.DataArray) -> None:
    mean = array.mean("time")
    made, barrier = (mean + 1, mean, mean * 2), threading.Barrier(12)

    def need(number: int) -> Any:
        barrier.wait()
        return made[number % 3].values[0]

    with ThreadPoolExecutor(12) as pool:
        assert [*pool.map(need, range(12))] == [10, 9, 18] * 4
    assert remote.asked == ["mean"]


def test_each_need_fails_until_there_is_an_answer(remote: Local, array: xr.DataArray) -> None:
    mean = array.mean("time")
    remote.failures.extend([SlowDown("full", 1), SlowDown("full", 1)])
    for _ in range(2):
        with pytest.raises(SlowDown):
            repr(mean)
    assert mean.values[0] == 9
    assert remote.asked == ["mean"] * 3
    with pytest.raises(ValueError, match="'y' not found"):
        array.mean("y")
    with pytest.raises(IndexError):
        array.mean("time")[7]


def test_results_are_asked_for_at_once_if_the_array_says_so() -> None:
    eager = Local([], "s3://bucket/store.zarr", "t", VALUES.shape, {}, is_deferred=False)
    array = ServiceArray(eager, VALUES.dtype, (range(4), range(6)))
    assert isinstance(np.mean(array, axis=0), np.ndarray)
    assert eager.asked == ["mean"]

"""Concatenation: files that netCDF4 wrote follow each other, or one of them is named."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest

from active_storage.errors import ActiveStorageError, InvalidArgument, StoreError, UnsupportedArray
from handler.containers.concat import ConcatenatedArray, open_concat
from handler.containers.netcdf import open_netcdf
from handler.containers.reader import ContainerReader
from handler.containers.stored_array import StoredArray
from tests.containers.exam import read_whole
from tests.containers.memory import MemoryContainer

Array = np.ndarray[Any, Any]


def read_values(_: ContainerReader, array: StoredArray) -> Array:
    return read_whole(array)


DATA = np.arange(6 * 3, dtype="f4").reshape(6, 3)
LAT = np.array([10.5, 20.5, 30.5])


class Files:
    """Writes files of a variable ``tas`` with the coordinates ``time`` and ``lat``.

    Args:
        folder: Where they are written.
        kind: Their format.
    """

    def __init__(self, folder: Path, kind: Any) -> None:
        self._folder = folder
        self._kind = kind
        self.written: list[bytes] = []

    def write(
        self,
        times: Sequence[float] | None = (0, 1, 2),
        lat: Any = LAT,
        group: str = "",
        dimensions: Sequence[str] = ("time", "lat"),
        dtype: str = "f4",
        data: Any = None,
        time_attributes: dict[str, Any] | None = None,
        lat_attributes: dict[str, Any] | None = None,
        attributes: dict[str, Any] | None = None,
        count: int | None = None,
    ) -> "Files":
        """Write a file behind the others."""
        path = self._folder / f"{len(self.written)}.nc"
        count = len(times) if times is not None else count
        with netCDF4.Dataset(path, "w", format=self._kind) as root:
            root.createDimension("time", count)
            root.createDimension("lat", 3 if lat is None else len(lat))
            if times is not None:
                time = root.createVariable("time", "f8", ("time",))
                time.setncatts({"units": "days since 2000-01-01"} if time_attributes is None else time_attributes)
                time.set_auto_maskandscale(False)
                time[:] = times
            if lat is not None:
                variable = root.createVariable("lat", "f8", ("lat",))
                variable.setncatts(lat_attributes or {})
                variable.set_auto_maskandscale(False)
                variable[:] = lat
            variable = root.createVariable(f"{group}tas", dtype, dimensions)
            variable.set_auto_maskandscale(False)
            variable.setncatts(attributes or {})
            variable[:] = np.zeros(variable.shape) if data is None else data
        self.written.append(path.read_bytes())
        return self

    def open(self, array: str = "tas", dim: str = "time") -> ConcatenatedArray:
        readers = [MemoryContainer({"": data}).reader() for data in self.written]
        return open_concat(readers, array, dim, open_netcdf, read_values)


@pytest.fixture(params=["NETCDF4", "NETCDF3_CLASSIC", "NETCDF3_64BIT_DATA"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    return Files(tmp_path, request.param)


def read_parts(array: ConcatenatedArray) -> Array:
    return np.concatenate([read_whole(part) for part in array.parts], array.axis)


# What is right


def test_parts_follow_each_other(files: Files) -> None:
    array = files.write((0, 1), data=DATA[:2]).write((2, 3, 4), data=DATA[2:5]).write((5,), data=DATA[5:]).open()
    np.testing.assert_array_equal(read_parts(array), DATA)
    assert array.shape == (6, 3)
    assert array.starts == (0, 2, 5)
    assert (array.axis, array.dtype, array.dimensions, array.name) == (0, "float32", ("time", "lat"), "tas")
    assert array.coordinate is not None
    assert read_parts(array.coordinate).tolist() == [0, 1, 2, 3, 4, 5]


def test_one_file_is_enough(files: Files) -> None:
    array = files.write(data=DATA[:3]).open()
    np.testing.assert_array_equal(read_parts(array), DATA[:3])
    assert array.starts == (0,)


def test_any_dimension_can_be_the_one(files: Files) -> None:
    files.write((0, 1), lat=LAT[:1], data=DATA[:2, :1]).write((0, 1), lat=LAT[1:], data=DATA[:2, 1:])
    array = files.open(dim="lat")
    np.testing.assert_array_equal(read_parts(array), DATA[:2])
    assert (array.axis, array.starts) == (1, (0, 1))


def test_coordinates_are_sought_in_parents(tmp_path: Path) -> None:
    files = Files(tmp_path, "NETCDF4").write((0,), group="a/b/").write((1,), group="a/b/")
    array = files.open("a/b/tas")
    assert array.coordinate is not None
    assert read_parts(array.coordinate).tolist() == [0, 1]
    with pytest.raises(InvalidArgument, match="do not go on"):
        files.write((1,), group="a/b/").open("a/b/tas")


def test_packing_and_attributes_are_each_files_own(files: Files) -> None:
    files.write((0,), dtype="i2", data=[[1, 2, 3]], attributes={"scale_factor": 0.5})
    files.write((1,), dtype="i2", data=[[4, 5, 6]], attributes={"scale_factor": 2.0})
    array = files.open()
    assert [float(part.attributes["scale_factor"]) for part in array.parts] == [0.5, 2.0]


@pytest.mark.parametrize(
    ("units", "times"),
    [
        ("days since 2000-01-04", (0, 1)),
        ("hours since 2000-01-01", (72, 96)),
        ("seconds since 1970-01-01", (946944000, 946944001)),
        ("days since 1999-12-31 12:00:00 +12:00", (4, 5)),
    ],
)
def test_units_of_time_are_each_files_own(files: Files, units: str, times: tuple[float, ...]) -> None:
    assert files.write().write(times, time_attributes={"units": units}).open().shape == (5, 3)
    assert files.write((100,)).open().shape == (6, 3)


def test_a_calendar_has_several_names(files: Files) -> None:
    first = {"units": "days since 2000-01-01"}
    second = {"units": "days since 2000-01-04", "calendar": "GREGORIAN"}
    assert files.write(time_attributes=first).write(time_attributes=second).open().shape == (6, 3)


def test_a_coordinate_can_decrease(files: Files) -> None:
    array = files.write((9, 8)).write((7,)).write((6, 5)).open()
    assert array.shape == (5, 3)
    with pytest.raises(InvalidArgument, match=r"store\.urls\[3\]: .* do not go on"):
        files.write((10, 11)).open()


def test_packed_times_are_compared_as_values(files: Files) -> None:
    packed = {"units": "days since 2000-01-01", "scale_factor": -1.0, "add_offset": 10.0}
    assert files.write((0, 1)).write((8, 7), time_attributes=packed).open().shape == (4, 3)
    with pytest.raises(InvalidArgument, match="do not go on"):
        files.write((9, 8), time_attributes=packed).open()


def test_dimensions_without_a_coordinate_are_fine(files: Files) -> None:
    array = files.write(None, lat=None, count=2, data=DATA[:2]).write(None, lat=None, count=4, data=DATA[2:]).open()
    np.testing.assert_array_equal(read_parts(array), DATA)
    assert array.coordinate is None


def test_a_file_without_a_record_is_fine(tmp_path: Path) -> None:
    files = Files(tmp_path, "NETCDF4").write((0,)).write(()).write((1,))
    assert files.open().shape == (2, 3)


# What does not fit


@pytest.mark.parametrize(
    ("second", "fault"),
    [
        ({"dtype": "f8"}, "the data type float64, unlike the first file: float32"),
        (
            {"dimensions": ("lat", "time")},
            r"the dimensions \('lat', 'time'\), unlike the first file: \('time', 'lat'\)",
        ),
        ({"dimensions": ("time",)}, r"the dimensions \('time'\)"),
        ({"lat": [10.5, 20.5]}, "the size 2 of the dimension 'lat', unlike the first file: 3"),
        ({"lat": [10.5, 20.5, 30.6]}, "other values of the coordinate 'lat' than the first file"),
        ({"lat_attributes": {"units": "m"}}, "other units of the coordinate 'lat' than the first file"),
        ({"lat": None}, "no coordinate 'lat', unlike the first file"),
        ({"times": None, "count": 3}, "no coordinate 'time', unlike the first file"),
        ({"times": (2, 3)}, "values of the coordinate 'time' that do not go on from the file before it"),
        ({"times": (-2, -1)}, "do not go on"),
        ({"times": (5, 4)}, "do not go on"),
        ({"times": (3, 3)}, "a coordinate 'time' that neither increases nor decreases"),
        ({"times": (3, 5, 4)}, "neither increases nor decreases"),
        ({"times": (3, float("nan"))}, "a missing value in the coordinate 'time'"),
        ({"times": (3, float("inf"))}, "a missing value"),
        (
            {"times": (3, -99), "time_attributes": {"units": "days since 2000-01-01", "missing_value": -99.0}},
            "a missing value",
        ),
        ({"times": (3, 4), "time_attributes": {"units": "days since 1999-12-01"}}, "do not go on"),
        ({"times": (3, 4), "time_attributes": {"units": "m"}}, "the units 'm' of the coordinate 'time'"),
        ({"times": (3, 4), "time_attributes": {}}, "the units '' of the coordinate 'time'"),
        (
            {"times": (3, 4), "time_attributes": {"units": "days since 2000-01-01", "scale_factor": "x"}},
            "a scale_factor of the coordinate 'time' that is not a number",
        ),
        (
            {"times": (3, 4), "time_attributes": {"units": "days since 2000-01-01", "scale_factor": 0.0}},
            "neither increases nor decreases",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_named(files: Files, second: dict[str, Any], fault: str) -> None:
    files.write().write(**{"times": (3, 4, 5), **second})
    with pytest.raises(InvalidArgument, match=rf"^store\.urls\[1\]: the file has .*{fault}") as caught:
        files.open()
    assert (caught.value.field, caught.value.index) == ("store.urls", 1)


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ({"units": "days since 2000-01-01", "calendar": "noleap"}, "times in the calendars standard and noleap"),
        ({"units": "days since 2000-01-01", "calendar": "lunar"}, "the calendar 'lunar'"),
        ({"units": "months since 2000-01-01"}, "the units 'months since 2000-01-01'"),
        ({"units": "days since 2000-02-30"}, "which the calendar standard does not have"),
    ],
)
def test_times_that_are_not_supported_are_named(files: Files, attributes: dict[str, Any], named: str) -> None:
    files.write().write((60,), time_attributes=attributes)
    with pytest.raises(UnsupportedArray, match=r"store\.urls\[1\]: array: 'time' has ") as caught:
        files.open()
    assert named in caught.value.message


def test_a_dimension_that_is_not_there_is_a_new_one(files: Files) -> None:
    found = files.write().write().open(dim="member")
    assert (found.is_stacked, found.axis, found.coordinate) == (True, 0, None)
    assert (found.shape, found.dimensions) == ((2, 3, 3), ("member", "time", "lat"))
    assert all(part.chunks[0] == 1 and part.permutation == (0, 1, 2) for part in found.parts)


def test_files_of_different_times_cannot_be_stacked(files: Files) -> None:
    files.write().write((3, 4, 5))
    with pytest.raises(InvalidArgument, match=r"^store\.urls\[1\]: .*other values of the coordinate 'time'"):
        files.open(dim="member")


def test_a_file_that_cannot_be_read_is_named(files: Files) -> None:
    files.write().write((3,))
    files.written[1] = files.written[1][:200]
    with pytest.raises(ActiveStorageError, match=r"^store\.urls\[1\]: "):
        files.open()
    files.written[1] = b"no file"
    with pytest.raises(ActiveStorageError, match=r"^store\.urls\[1\]: "):
        files.open()


def test_a_variable_or_a_file_that_is_not_there_is_named(files: Files) -> None:
    files.write().written.append(files.written[0])
    with pytest.raises(ActiveStorageError, match=r"^store\.urls\[0\]: "):
        files.open("pr")
    readers = [MemoryContainer({"": files.written[0]}).reader(), MemoryContainer({}).reader()]
    with pytest.raises(StoreError, match=r"^store\.urls\[1\]: "):
        open_concat(readers, "tas", "time", open_netcdf, read_values)


def test_no_file_is_an_error() -> None:
    with pytest.raises(InvalidArgument, match="names no file"):
        open_concat([], "tas", "time", open_netcdf, read_values)


def test_a_failure_of_reading_a_coordinate_is_named(files: Files) -> None:
    def fail(*_: Any) -> Array:
        raise StoreError(503, "SlowDown", "later")

    readers = [MemoryContainer({"": files.write().written[0]}).reader()]
    with pytest.raises(StoreError, match=r"^store\.urls\[0\]: later"):
        open_concat(readers, "tas", "time", open_netcdf, fail)

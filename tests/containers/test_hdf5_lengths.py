"""HDF5: variables that are shorter than a dimension without a limit, against netCDF4 and xarray."""

import io
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr

from active_storage.errors import UndecodableData, UnsupportedArray
from active_storage.model.array_reduction import ArrayReduction
from active_storage.model.ranges import Slice
from handler.scope import Scope
from tests.arrays.memory_array import make_engine, values_of
from tests.containers.exam import read_whole
from tests.containers.hdf5_files import make_file, numbers, open_bytes
from tests.containers.memory import MemoryContainer


def write_records(path: Path) -> bytes:
    """A file whose variables have different numbers of records."""
    with netCDF4.Dataset(path, "w") as root:
        root.createDimension("time", None)
        root.createDimension("member", None)
        root.createDimension("x", 4)
        group = root.createGroup("group")
        group.createDimension("level", None)
        options: dict[str, dict[str, Any]] = {
            "one": {},
            "filled": {"fill_value": -9},
            "chunked": {"chunksizes": (4, 3), "zlib": True, "shuffle": True},
            "plain": {"fill_value": False},
            "none": {},
        }
        for number, (name, option) in enumerate(options.items()):
            variable = root.createVariable(name, "i2", ("time", "x"), **option)
            if name != "none":
                variable[: 3 + number] = numbers((3 + number, 4)).astype("i2")
        time = root.createVariable("time", "f8", ("time",))
        time[:2] = [10, 20]
        root.createVariable("_", "f4", ("x", "time"))[:, :5] = numbers((4, 5))
        root.createVariable("both", "f4", ("member", "time"), chunksizes=(2, 4))[:3, :2] = numbers((3, 2))
        root.createVariable("other", "u1", ("member",))[:7] = np.arange(7)
        group.createVariable("longest", "i4", ("time", "x"))[:15] = numbers((15, 4)).astype("i4")
        group.createVariable("level", "f4", ("level", "x"))[:2] = numbers((2, 4))
        group.createVariable("values", "f4", ("level",))[:3] = numbers((3,))
    return path.read_bytes()


def test_variables_are_as_long_as_their_dimensions(tmp_path: Path) -> None:
    data = write_records(tmp_path / "file.nc")
    seen = 0
    with netCDF4.Dataset(tmp_path / "file.nc") as root, h5py.File(io.BytesIO(data)) as file:
        for group in (root, root["group"]):
            group.set_auto_mask(False)
            for name, variable in group.variables.items():
                path = f"{group.path}/{name}".lstrip("/")
                array = open_bytes(data, path)
                assert array.shape == variable.shape
                assert array.dimensions == variable.dimensions
                assert read_whole(array).dtype == variable.dtype
                stored = file[path][()]
                fill = netCDF4.default_fillvals[variable.dtype.str[1:]] if name != "filled" else -9
                expected = np.full(variable.shape, fill, variable.dtype)
                expected[tuple(map(slice, stored.shape))] = stored
                if name not in {"both", "_"}:
                    # netCDF-C reads wrong elements if a dimension behind the first one is longer than the dataset.
                    np.testing.assert_array_equal(variable[...], expected, path)
                np.testing.assert_array_equal(read_whole(array), expected, path)
                seen += array.shape != file[path].shape
    assert seen == 9


@pytest.mark.parametrize("decode", ["xarray", "none"])
@pytest.mark.parametrize("name", ["filled", "chunked", "time", "none"])
def test_selections_and_counts_reach_beyond_the_dataset(tmp_path: Path, name: str, decode: Any) -> None:
    container = MemoryContainer({"": write_records(tmp_path / "file.nc")})
    with xr.open_dataset(tmp_path / "file.nc", mask_and_scale=decode == "xarray", decode_times=False) as dataset:
        judge = dataset[name].load()
    for chosen in (Slice(), Slice(1, 14, 3), Slice(14, None, -1), Slice(9, 15)):
        selection: dict[int | str, Slice] = {"time": chosen}
        part = judge.isel(time=slice(chosen.start, chosen.stop, chosen.step))
        for reducer in ("select", "sum", "count"):
            reduction = ArrayReduction(
                reducer,
                "netcdf",
                array=name,
                axis=None if reducer == "select" else ("time",),
                selection=selection,
                decode=decode,
            )
            answer = make_engine().reduce(reduction, container, Scope.after(60))
            wanted = part.values if reducer == "select" else getattr(part, reducer)("time").values
            counts = part.count() if reducer == "select" else part.count("time")
            np.testing.assert_array_equal(np.asarray(answer.result.counts).sum(), counts.sum())
            present = np.broadcast_to(counts.values > 0, wanted.shape)
            np.testing.assert_allclose(values_of(answer)[present], wanted[present], rtol=1e-6)


def make_scaled(build: Any, length: int = 10, most: int | None = None, **options: Any) -> bytes:
    """A file with a scale without a limit, and a dataset ``v`` of 3 rows that refers to it."""

    def write(file: Any) -> None:
        scale = file.create_dataset("time", (length,), "f8", chunks=(4,), maxshape=(most,))
        scale.make_scale("time")
        dataset = file.create_dataset("v", data=numbers((3, 2)), **{"chunks": (2, 2), "maxshape": (None, 2)} | options)
        dataset.dims[0].attach_scale(scale)
        build(file)

    return make_file(write)


def test_a_dataset_without_a_fill_value_of_its_own_is_refused_if_it_is_too_short() -> None:
    with pytest.raises(UnsupportedArray, match="no fill value"):
        open_bytes(make_scaled(lambda _: None), "v")
    assert open_bytes(make_scaled(lambda _: None, length=3), "v").shape == (3, 2)


def test_a_last_chunk_that_may_hold_anything_beyond_the_dataset_is_refused(tmp_path: Path) -> None:
    with netCDF4.Dataset(tmp_path / "file.nc", "w") as root:
        root.createDimension("time", None)
        for name, count in (("short", 3), ("fits", 4), ("long", 6)):
            variable = root.createVariable(name, "f4", ("time",), chunksizes=(2,), fill_value=False)
            variable[:count] = numbers((count,))
    data = (tmp_path / "file.nc").read_bytes()
    with pytest.raises(UnsupportedArray, match="no fill value"):
        open_bytes(data, "short")
    default = np.float32(netCDF4.default_fillvals["f4"])
    np.testing.assert_array_equal(read_whole(open_bytes(data, "fits")), [*numbers((4,)), default, default])


@pytest.mark.parametrize("options", [{"maxshape": (3, 2)}, {"maxshape": (30, 2)}, {"chunks": None, "maxshape": None}])
def test_datasets_and_dimensions_with_a_limit_have_their_own_length(options: dict[str, Any]) -> None:
    assert open_bytes(make_scaled(lambda _: None, **options), "v").shape == (3, 2)
    assert open_bytes(make_scaled(lambda _: None, most=10, fillvalue=1), "v").shape == (3, 2)


def test_a_deleted_dataset_does_not_count() -> None:
    def build(file: Any) -> None:
        other = file.create_dataset("other", (20,), "f4", chunks=(1,), maxshape=(None,))
        other.dims[0].attach_scale(file["time"])
        listed = file["time"].attrs["REFERENCE_LIST"]
        del file["other"]
        # HDF5 does not tell the scale, and has used the memory of the header for something else.
        assert len(listed) == 2

    data = make_scaled(build, fillvalue=np.float32(7))
    array = open_bytes(data, "v")
    expected = np.full((10, 2), 7, "f4")
    expected[:3] = numbers((3, 2))
    np.testing.assert_array_equal(read_whole(array), expected)


def test_a_length_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(UndecodableData, match="elements"):
        open_bytes(make_scaled(lambda _: None, length=2**62, fillvalue=1), "v")


def test_a_long_dimension_takes_no_memory() -> None:
    array = open_bytes(make_scaled(lambda _: None, length=2**60, fillvalue=1), "v")
    places = array.index.locate(np.array([0, 1, 2, 2**59 - 1]))
    assert [size >= 0 for size in places.sizes.tolist()] == [True, True, False, False]


def test_the_lengths_of_many_variables_take_few_bytes(tmp_path: Path) -> None:
    with netCDF4.Dataset(tmp_path / "file.nc", "w") as root:
        root.createDimension("time", None)
        for number in range(40):
            # Data lies between the headers, so that no block of the file has several.
            root.createVariable(f"v{number}", "i4", ("time",), chunksizes=(20_000,))[: 10 + number] = 1
    data = (tmp_path / "file.nc").read_bytes()
    reduction = ArrayReduction("sum", "netcdf", array="v7", decode="none")
    answer = make_engine().describe(reduction, MemoryContainer({"": data}), Scope.after(60))
    assert open_bytes(data, "v7").shape == (49,)
    assert answer.bytes_read < len(data) / 5

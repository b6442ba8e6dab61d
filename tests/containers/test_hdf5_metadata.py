"""HDF5: superblocks, groups, links, attributes and names of dimensions, against h5py, netCDF4 and h5netcdf."""

import ctypes
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import netCDF4
import numpy as np
import pytest

from active_storage.errors import EntityTooLarge, InvalidArgument, UndecodableData, UnsupportedArray
from handler.containers.netcdf import open_netcdf
from handler.containers.reader import ContainerReader, ReadLimits
from tests.containers.exam import read_whole
from tests.containers.hdf5_files import VERSIONS, call_library, check_array, make_file, numbers, open_bytes
from tests.containers.memory import MemoryContainer

each_version = pytest.mark.parametrize("version", VERSIONS)

# Attributes that netCDF4 does not show.
_HIDDEN = {"DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME", "_Netcdf4Dimid", "_Netcdf4Coordinates"}


# Files


@each_version
@pytest.mark.parametrize("size", [512, 1024, 32768])
def test_a_user_block_may_lie_before_the_file(version: str, size: int) -> None:
    def build(file: Any) -> None:
        file["a"] = numbers((5,))
        file.create_dataset("b", data=numbers((50, 60)), chunks=(7, 8), maxshape=(None, 60), compression="gzip")

    data = make_file(build, version, userblock_size=size)
    for name in ("a", "b"):
        check_array(data, name)


def test_a_user_block_that_was_put_before_a_file_is_passed_over() -> None:
    """The base address in the superblock is then that of the file without it."""
    data = make_file(lambda file: file.create_dataset("a", data=numbers((5,))))
    np.testing.assert_array_equal(read_whole(open_bytes(bytes(512) + data, "a")), numbers((5,)))


@pytest.mark.parametrize("version", ["earliest", "v110"])
def test_the_sizes_of_nodes_may_be_those_of_the_file(version: str) -> None:
    """Superblock version 1, or the extension of the superblock."""
    creation = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    call_library("H5Pset_istore_k", creation.id, 3)
    call_library("H5Pset_sym_k", creation.id, 5, 2)
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fapl_core(backing_store=False)
    low = h5py.h5f.LIBVER_EARLIEST if version == "earliest" else h5py.h5f.LIBVER_V110
    access.set_libver_bounds(low, h5py.h5f.LIBVER_V110)
    with h5py.File(h5py.h5f.create(b"file", h5py.h5f.ACC_TRUNC, creation, access)) as file:
        for number in range(100):
            file[f"g/{number}"] = number
        file.create_dataset("a", data=numbers((30, 31)), chunks=(2, 2))
        file.flush()
        data = bytes(file.id.get_file_image())
    check_array(data, "a")
    for number in range(100):
        assert read_whole(open_bytes(data, f"g/{number}")) == number


@pytest.mark.parametrize("strategy", [{"fs_strategy": "page", "fs_page_size": 4096}, {"fs_strategy": "none"}])
def test_files_of_other_strategies_are_read(strategy: dict[str, Any]) -> None:
    data = make_file(lambda file: file.create_dataset("a", data=numbers((30, 31)), chunks=(2, 2)), "v110", **strategy)
    check_array(data, "a")


def test_files_with_other_sizes_of_addresses_are_refused() -> None:
    creation = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    creation.set_sizes(4, 4)
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fapl_core(backing_store=False)
    with h5py.File(h5py.h5f.create(b"file", h5py.h5f.ACC_TRUNC, creation, access)) as file:
        file["a"] = 1
        file.flush()
        data = bytes(file.id.get_file_image())
    with pytest.raises(UnsupportedArray, match="offsets of 4 bytes and lengths of 4, not 8"):
        open_bytes(data, "a")


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_a_file_that_is_one_of_several_is_refused(version: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "%d.h5", "w", driver="family", memb_size=4096, libver=VERSIONS[version]) as file:
        file["a"] = numbers((10_000,))
    with pytest.raises(UnsupportedArray, match="driver information"):
        open_bytes((tmp_path / "0.h5").read_bytes(), "a")


class _CacheImage(ctypes.Structure):
    """H5AC_cache_image_config_t of H5ACpublic.h."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("generate_image", ctypes.c_bool),
        ("save_resize_status", ctypes.c_bool),
        ("entry_ageout", ctypes.c_int),
    )


def test_a_metadata_cache_image_is_refused(tmp_path: Path) -> None:
    """The metadata may be in the image only."""
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    image = _CacheImage(1, True, False, -1)
    call_library("H5Pset_mdc_image_config", access.id, ctypes.byref(image))
    path = tmp_path / "file.h5"
    creation = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    with h5py.File(h5py.h5f.create(str(path).encode(), h5py.h5f.ACC_TRUNC, creation, access)) as file:
        file["a"] = 1
    with pytest.raises(UnsupportedArray, match="a metadata cache image"):
        open_bytes(path.read_bytes(), "a")


def test_files_that_other_packages_ship_are_read() -> None:
    """Whatever lies among the installed packages: each variable is read as netCDF4 reads it, or refused by name."""
    folder = Path(h5py.__file__).parents[1]
    paths = sorted(path for path in folder.rglob("*") if path.suffix in {".nc", ".h5"})
    assert len(paths) >= 4
    for path in paths:
        data = path.read_bytes()
        with netCDF4.Dataset(path) as dataset:
            dataset.set_auto_maskandscale(False)
            for name, variable in dataset.variables.items():
                try:
                    array = open_bytes(data, name)
                except UnsupportedArray:
                    assert variable.dtype in {str, np.dtype("S1")}
                    continue
                expected = variable[...]
                # netCDF4 itself knows no complex numbers.
                expected = expected.view(array.dtype) if array.dtype.startswith("complex") else expected
                np.testing.assert_array_equal(read_whole(array), expected)


# Groups and links


@each_version
@pytest.mark.parametrize("count", [3, 2000])
@pytest.mark.parametrize("order", [True, False])
def test_datasets_are_found_in_groups_of_any_size(version: str, count: int, order: bool) -> None:
    """Old groups with several levels, links in the header, and links in a heap with indirect blocks."""

    def build(file: Any) -> None:
        group = file.create_group("g/h", track_order=order)
        for number in range(count):
            group[f"variable with the number {number}"] = h5py.SoftLink(f"/x{number}")
        group["tas"] = 7
        file["x5"] = 5

    data = make_file(build, version)
    for path in ("g/h/tas", "/g/h/tas", "g//h/./tas"):
        assert read_whole(open_bytes(data, path)) == 7
    if count > 5:
        assert read_whole(open_bytes(data, "g/h/variable with the number 5")) == 5


def test_links_in_a_file_are_followed_and_others_refused_by_name() -> None:
    def build(file: Any) -> None:
        file["g/tas"] = 7
        file["hard"] = file["g/tas"]
        file["g/up"] = file["/"]
        file["soft"] = h5py.SoftLink("/g/tas")
        file["g/near"] = h5py.SoftLink("tas")
        file["group"] = h5py.SoftLink("g")
        file["loop"] = h5py.SoftLink("/loop")
        file["dangling"] = h5py.SoftLink("/nowhere")
        file["external"] = h5py.ExternalLink("other.h5", "/tas")

    for version in VERSIONS:
        data = make_file(build, version)
        for path in ("hard", "soft", "g/near", "group/tas", "group/near", "g/up/g/up/soft"):
            assert read_whole(open_bytes(data, path)) == 7
        for path, feature in {
            "external": "the external link 'external' in its path",
            "external/x": "the external link 'external' in its path",
            "loop": "more than 16 soft links in its path",
        }.items():
            with pytest.raises(UnsupportedArray, match=f"^array: '{path}' has {feature}, which is not supported$"):
                open_bytes(data, path)
        with pytest.raises(InvalidArgument, match="there is no variable 'dangling'; there are 'external', 'g'"):
            open_bytes(data, "dangling")


@each_version
def test_a_missing_variable_is_named_with_some_that_there_are(version: str) -> None:
    def build(file: Any) -> None:
        for number in range(20):
            file[f"g/v{number:02}"] = 1

    data = make_file(build, version)
    for path, message in {
        "g/tas": r"there is no variable 'g/tas'; there are 'v00', .*'v09' and 10 more",
        "g/w07": r"there is no variable 'g/w07'; there are 'v07', .* and 10 more",
        "tas": r"there is no variable 'tas'; there are 'g'$",
        "x/tas": r"there is no variable 'x/tas'; there are none",
        "g/v00/x": r"there is no variable 'g/v00/x'; there are none",
        "g": r"'g' is a group, not a variable; in it there are 'v00', .*'v09' and 10 more",
        "": r"'' is a group, not a variable; in it there are 'g'$",
        "g/": r"'g/' is a group, not a variable",
    }.items():
        with pytest.raises(InvalidArgument, match=message):
            open_bytes(data, path)


# Attributes


@each_version
@pytest.mark.parametrize("more", [0, 6, 400])
@pytest.mark.parametrize("order", [True, False])
def test_attributes_are_read(version: str, more: int, order: bool) -> None:
    """In the header, and in a heap: many, and such that are larger than a block of the heap."""
    values: dict[str, Any] = {
        "text": "Kelvin", "grüße": "Wärme", "empty": "", "fixed": np.bytes_(b"fixed"), "list": ["a", "bc"],
        "fixed_list": np.array([b"a", b"bc"]), "i2": np.int16(-3), "f8": 2.5, "big": np.array(5, ">i4"),
        "array": np.arange(3.0, dtype="f4"), "one": np.array([7], "u1"), "matrix": np.arange(6).reshape(2, 3),
        "bool": True, "complex": 1 + 2j, "none": np.zeros(0, "f4"),
    }  # fmt: skip
    if version != "earliest":
        # Each is larger than what the header or a block of the heap can hold.
        values.update({"long": np.bytes_(b"x" * 70_000), "longer": np.arange(20_000), "variable": "x" * 70_000})

    def build(file: Any) -> None:
        dataset = file.create_dataset("a", data=1, track_order=order)
        for name, value in values.items():
            dataset.attrs[name] = value
        for number in range(more):
            dataset.attrs[f"more {number}"] = number
        dataset.attrs["null"] = h5py.Empty("S1")
        dataset.attrs["number_null"] = h5py.Empty("f4")
        dataset.attrs["reference"] = file.ref
        dataset.attrs["compound"] = np.zeros(2, [("a", "i4"), ("b", "f4")])

    read = open_bytes(make_file(build, version), "a").attributes
    expected: dict[str, Any] = {**values, **{f"more {number}": np.int64(number) for number in range(more)}}
    expected.update({"long": "x" * 70_000} if "long" in values else {})
    expected.update({"fixed": "fixed", "fixed_list": ["a", "bc"], "null": "", "one": np.uint8(7)})
    assert set(read) - {"reference"} == set(expected)
    for name, value in expected.items():
        if isinstance(value, str | list):
            assert read[name] == value
        else:
            np.testing.assert_array_equal(read[name], value)
            assert read[name].dtype == np.asarray(value).dtype.newbyteorder("=")


def test_text_that_is_padded_by_spaces_is_read() -> None:
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(8)
    kind.set_strpad(h5py.h5t.STR_SPACEPAD)

    def build(file: Any) -> None:
        file["a"] = 1
        space = h5py.h5s.create(h5py.h5s.SCALAR)
        h5py.h5a.create(file["a"].id, b"text", kind, space).write(np.array(b"a b     "), mtype=kind)

    assert open_bytes(make_file(build), "a").attributes == {"text": "a b"}


def test_types_that_are_committed_or_shared_are_followed() -> None:
    def build(file: Any) -> None:
        file["kind"] = np.dtype(">i4")
        file.create_dataset("a", data=numbers((5,)), dtype=file["kind"]).attrs.create("x", 3, dtype=file["kind"])

    for version in VERSIONS:
        data = make_file(build, version)
        assert check_array(data, "a").byte_order == "big"
        assert open_bytes(data, "a").attributes["x"] == 3
        with pytest.raises(InvalidArgument, match="there is no variable 'kind'"):
            open_bytes(data, "kind")


def test_shared_messages_of_the_file_are_refused_by_name() -> None:
    creation = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    call_library("H5Pset_shared_mesg_nindexes", creation.id, 1)
    # H5O_SHMESG_DTYPE_FLAG of H5Opublic.h, of at least 1 byte.
    call_library("H5Pset_shared_mesg_index", creation.id, 0, 1 << 3, 1)
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fapl_core(backing_store=False)
    with h5py.File(h5py.h5f.create(b"file", h5py.h5f.ACC_TRUNC, creation, access)) as file:
        file["a"] = file["b"] = 1
        file.flush()
        data = bytes(file.id.get_file_image())
    with pytest.raises(UnsupportedArray, match="'b' has shared object header messages"):
        open_bytes(data, "b")


# NetCDF-4


def netcdf_file(path: Path, build: Any, library: Any = netCDF4.Dataset, **options: Any) -> bytes:
    with library(path / "file.nc", "w", **options) as dataset:
        build(dataset)
    return (path / "file.nc").read_bytes()


def check_netcdf(path: Path, data: bytes) -> None:
    """Every variable is read as netCDF4 reads it, with its dimensions and attributes."""

    def check(group: Any) -> None:
        for name, variable in group.variables.items():
            variable.set_auto_maskandscale(False)
            array = open_bytes(data, f"{group.path.rstrip('/')}/{name}")
            assert array.dimensions == variable.dimensions
            np.testing.assert_array_equal(read_whole(array), variable[...])
            assert set(array.attributes) == set(variable.ncattrs()) - _HIDDEN
            for key in variable.ncattrs():
                np.testing.assert_array_equal(array.attributes[key], variable.getncattr(key))
        for each in group.groups.values():
            check(each)

    with netCDF4.Dataset(path / "file.nc") as dataset:
        check(dataset)


@pytest.mark.parametrize("form", ["NETCDF4", "NETCDF4_CLASSIC"])
def test_variables_of_netcdf4_have_its_dimensions(form: str, tmp_path: Path) -> None:
    def build(dataset: Any) -> None:
        for name, size in {"time": None, "lat": 5, "lon": 7, "bnds": 2}.items():
            dataset.createDimension(name, size)
        dataset.createVariable("time", "f8", ("time",))[:] = np.arange(4)
        dataset["time"].units = "days since 2000-01-01"
        dataset.createVariable("lat", "f4", ("lat",))[:] = np.arange(5)
        dataset.createVariable("time_bnds", "f8", ("time", "bnds"))[:] = numbers((4, 2))
        tas = dataset.createVariable("tas", "i2", ("time", "lat", "lon"), zlib=True, fill_value=-99)
        tas.scale_factor, tas.valid_range = 0.5, np.array([0, 100], "i2")
        tas[:] = numbers((4, 5, 7))
        # A coordinate variable of two dimensions.
        dataset.createVariable("lon", "f4", ("lon", "bnds"))[:] = numbers((7, 2))
        dataset.createVariable("scalar", "i4")[:] = 3

    check_netcdf(tmp_path, netcdf_file(tmp_path, build, format=form))


def test_dimensions_come_from_groups_around_a_variable(tmp_path: Path) -> None:
    def build(dataset: Any) -> None:
        dataset.createDimension("time", 3)
        dataset.createDimension("x", 4)
        group = dataset.createGroup("g").createGroup("h")
        group.createDimension("x", 2)
        group.createVariable("a", "f4", ("time", "x"), zlib=True)[:] = numbers((3, 2))
        group.createVariable("x", "i8", ("x",))[:] = [5, 6]
        dataset.createVariable("b", "f4", ("x", "time"))[:] = numbers((4, 3))

    check_netcdf(tmp_path, netcdf_file(tmp_path, build))


def test_a_variable_with_the_name_of_a_dimension_that_is_not_its_coordinate_is_found(tmp_path: Path) -> None:
    def build(dataset: Any) -> None:
        dataset.createDimension("x", 4)
        dataset.createDimension("y", 3)
        dataset.createVariable("x", "i4", ("y",))[:] = [5, 6, 7]
        dataset.createVariable("a", "i4", ("x", "y"))[:] = numbers((4, 3))

    data = netcdf_file(tmp_path, build)
    check_netcdf(tmp_path, data)
    # The dimension itself is none.
    with pytest.raises(InvalidArgument, match="there is no variable 'y'; there are 'a', 'x'"):
        open_bytes(data, "y")


def test_other_types_of_netcdf4_are_read_or_refused(tmp_path: Path) -> None:
    def build(dataset: Any) -> None:
        dataset.createDimension("x", 3)
        kind = dataset.createEnumType("i1", "clouds", {"clear": 0, "stratus": 1})
        dataset.createVariable("cloud", kind, ("x",))[:] = [0, 1, 0]
        dataset.createVariable("name", str, ("x",))[:] = np.array(["a", "b", "c"], object)
        dataset.createVariable("letters", "S1", ("x",))

    data = netcdf_file(tmp_path, build)
    assert open_bytes(data, "cloud").dtype == "int8"
    assert read_whole(open_bytes(data, "cloud")).tolist() == [0, 1, 0]
    for name, kind in {"name": "variable-length", "letters": "string"}.items():
        with pytest.raises(UnsupportedArray, match=f"the data type {kind}"):
            open_bytes(data, name)


@pytest.mark.parametrize("track_order", [True, False])
def test_files_of_h5netcdf_are_read(track_order: bool, tmp_path: Path) -> None:
    def build(dataset: Any) -> None:
        dataset.dimensions = {"time": None, "x": 4}
        dataset.resize_dimension("time", 3)
        dataset.create_variable("time", ("time",), "f8")[:] = np.arange(3)
        dataset.create_variable("g/a", ("time", "x"), "f4", chunks=(2, 2), compression="gzip")[:] = numbers((3, 4))

    data = netcdf_file(tmp_path, build, h5netcdf.File, track_order=track_order)
    check_netcdf(tmp_path, data)
    assert open_bytes(data, "g/a").dimensions == ("time", "x")


def test_scales_of_h5py_name_dimensions() -> None:
    """A scale without a link near the dataset has its own name; what has no scale has none."""

    def build(file: Any) -> None:
        file["a"] = numbers((3, 4, 5))
        file["scales/x"] = np.arange(3)
        file["y"] = np.arange(4)
        file["scales/x"].make_scale("first")
        file["y"].make_scale("second")
        file["a"].dims[0].attach_scale(file["scales/x"])
        file["a"].dims[1].attach_scale(file["y"])

    for version in VERSIONS:
        data = make_file(build, version)
        assert open_bytes(data, "a").dimensions == ("first", "y", None)
        assert open_bytes(data, "y").dimensions == ("y",)
        assert open_bytes(data, "a").attributes == {}


# How much is read


@pytest.mark.parametrize("version", ["earliest", "v108", "latest"])
@pytest.mark.parametrize("most", [(800, 800), (None, 800), (None, None)])
def test_an_index_of_ten_thousand_chunks_takes_few_round_trips(
    version: str, most: tuple[int | None, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cold: from the first byte of the file to the places of all chunks; 12 bytes are kept of each."""

    def build(file: Any) -> None:
        dataset = file.create_dataset("a", (800, 800), "f8", chunks=(8, 8), maxshape=most)
        generator = np.random.default_rng(1)
        for number in generator.permutation(10_000).tolist():
            row, column = divmod(number, 100)
            dataset.id.write_direct_chunk((row * 8, column * 8), bytes(512))

    container = MemoryContainer({"": make_file(build, version)})
    reader = container.reader()
    trips = 0

    def count_trip(_: Any, call: Any, items: Any) -> list[bytes]:
        nonlocal trips
        trips += bool(items)
        asked = len(container.asked)
        results = [call(item) for item in items]
        del container.asked[asked:]
        return results

    monkeypatch.setattr(ContainerReader, "map", count_trip)
    array = open_netcdf(reader, "a")
    places = array.index.locate(np.arange(10_000))
    assert np.all(places.sizes == 512)
    assert len(np.unique(places.offsets)) == 10_000
    assert trips + len(container.asked) <= 20
    requests = reader.requests
    again = array.index.locate(np.arange(10_000))
    assert reader.requests == requests
    np.testing.assert_array_equal(again.offsets, places.offsets)
    table: Any = array.index
    assert table._offsets.nbytes + table._sizes.nbytes == 120_000


def test_only_the_touched_part_of_an_index_is_read() -> None:
    def build(file: Any) -> None:
        dataset = file.create_dataset("a", (20_000,), "f8", chunks=(1,))
        for number in range(20_000):
            dataset.id.write_direct_chunk((number,), bytes(8))

    container = MemoryContainer({"": make_file(build, "earliest")})
    reader = container.reader()
    array = open_netcdf(reader, "a")
    before = reader.bytes_read
    assert array.index.locate(np.array([7, 15_000])).sizes.tolist() == [8, 8]
    # Of a root, two children and two leaves.
    assert reader.bytes_read - before < 20_000
    assert reader.requests <= 10


def test_threads_share_an_index() -> None:
    def build(file: Any) -> None:
        dataset = file.create_dataset("a", (3000,), "i4", chunks=(1,), maxshape=(None,), compression="gzip")
        dataset[:] = np.arange(3000)

    data = make_file(build, "v108")
    alone = open_bytes(data, "a").index.locate(np.arange(3000))
    shared = open_bytes(data, "a").index
    with ThreadPoolExecutor(8) as threads:
        parts = list(threads.map(lambda start: shared.locate(np.arange(start, start + 60)), range(0, 3000, 60)))
    for field in ("offsets", "sizes"):
        np.testing.assert_array_equal(np.concatenate([getattr(part, field) for part in parts]), getattr(alone, field))


def test_the_inner_nodes_of_an_index_are_read_once() -> None:
    """A section after the other: each takes a request for its own leaves only."""

    def build(file: Any) -> None:
        dataset = file.create_dataset("a", (5000, 32), "f8", chunks=(1, 32))
        dataset[:] = 1

    container = MemoryContainer({"": make_file(build, "earliest")})
    index = open_netcdf(container.reader(), "a").index
    index.locate(np.arange(0, 20))
    for start in range(500, 4500, 500):
        asked = len(container.asked)
        index.locate(np.arange(start, start + 20))
        assert len(container.asked) - asked <= 3


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_an_index_is_bounded_for_each_section_and_not_for_the_array(version: str) -> None:
    """The index of a large array takes more requests than the limit, but no section does."""

    def build(file: Any) -> None:
        dataset = file.create_dataset("a", (8000, 512), "f8", chunks=(1, 512), maxshape=(None, None))
        dataset[:] = 1

    data = make_file(build, version)
    array = open_bytes(data, "a", ReadLimits(bytes=200_000, requests=10))
    for start in range(0, 8000, 100):
        assert np.all(array.index.locate(np.arange(start, start + 100)).sizes == 4096)
    with pytest.raises(EntityTooLarge):
        open_bytes(data, "a", ReadLimits(bytes=200_000, requests=10)).index.locate(np.arange(8000))


def test_metadata_is_read_up_to_its_limits() -> None:
    def build(file: Any) -> None:
        dataset = file.create_dataset("a", (10_000,), "f8", chunks=(1,))
        dataset[:] = 1

    data = make_file(build, "earliest")
    for limits in (ReadLimits(bytes=100_000), ReadLimits(requests=1)):
        index = open_bytes(data, "a", limits).index
        with pytest.raises(EntityTooLarge):
            index.locate(np.arange(10_000))
    with pytest.raises(EntityTooLarge):
        open_bytes(data, "a", ReadLimits(references=9999))


def test_a_file_that_is_cut_short_is_refused() -> None:
    data = make_file(lambda file: file.create_dataset("a", data=numbers((5,))))
    with pytest.raises(UndecodableData) as caught:
        open_bytes(data[:-1], "a")
    assert re.match(f"array 'a': HDF5: the file is cut short: it has {len(data) - 1} bytes", caught.value.message)

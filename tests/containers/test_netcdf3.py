"""netCDF-3: every form of the format, against the library that writes it; and files that lie."""

import re
import struct
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest

from active_storage.errors import ActiveStorageError, EntityTooLarge, InvalidArgument, UndecodableData, UnsupportedArray
from handler.containers.netcdf import open_netcdf
from handler.containers.reader import ReadLimits
from handler.containers.stored_array import StoredArray
from tests.containers.exam import read_whole
from tests.containers.memory import MemoryContainer

FORMS = {"NETCDF3_CLASSIC": 1, "NETCDF3_64BIT_OFFSET": 2, "NETCDF3_64BIT_DATA": 5}
CLASSIC_TYPES = ["i1", "i2", "i4", "f4", "f8"]
WIDE_TYPES = [*CLASSIC_TYPES, "u1", "u2", "u4", "i8", "u8"]

each_form = pytest.mark.parametrize("form", FORMS)


def open_bytes(data: bytes, array: str, limits: ReadLimits | None = None) -> StoredArray:
    return open_netcdf(MemoryContainer({"": data}).reader(limits), array)


def write(path: Path, form: Any, build: Any) -> bytes:
    """The file that ``build`` makes."""
    with netCDF4.Dataset(path / "file.nc", "w", format=form) as dataset:
        dataset.set_auto_maskandscale(False)
        build(dataset)
    data = (path / "file.nc").read_bytes()
    assert data[3] == FORMS[form]
    return data


def check_all(path: Path, data: bytes, chars: tuple[str, ...] = ()) -> None:
    """Every variable is read as the library reads it, with its dimensions and attributes."""
    with netCDF4.Dataset(path / "file.nc") as dataset:
        dataset.set_auto_maskandscale(False)
        dataset.set_auto_chartostring(False)
        for name, variable in dataset.variables.items():
            if name in chars:
                with pytest.raises(UnsupportedArray, match=f"'{name}' has the data type char, which is not supported"):
                    open_bytes(data, name)
                continue
            array = open_bytes(data, name)
            assert array.dimensions == variable.dimensions
            np.testing.assert_array_equal(read_whole(array), variable[...], strict=True)
            assert set(array.attributes) == set(variable.ncattrs())
            for key in variable.ncattrs():
                np.testing.assert_array_equal(array.attributes[key], variable.getncattr(key), strict=True)


def numbers(dtype: str, shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(1).integers(0, 100, shape).astype(dtype)


@each_form
def test_variables_of_every_type_and_shape_are_read(form: str, tmp_path: Path) -> None:
    def build(dataset: Any) -> None:
        for name, size in {"time": None, "lat": 5, "lon": 7, "one": 1}.items():
            dataset.createDimension(name, size)
        dataset.title = "a file with every type"
        for dtype in WIDE_TYPES if form == "NETCDF3_64BIT_DATA" else CLASSIC_TYPES:
            for dimensions in [(), ("lat",), ("one", "lat"), ("lat", "lon"), ("time",), ("time", "lat", "lon")]:
                name = "_".join((dtype, *dimensions))
                variable = dataset.createVariable(name, dtype, dimensions, fill_value=False)
                variable.units = "K"
                variable.empty = ""
                variable.scale_factor = np.float64(0.5)
                variable.valid_range = np.array([1, 2], dtype)
                variable[...] = numbers(dtype, (3, 5, 7)[: len(dimensions)] if "time" in dimensions else variable.shape)
        dataset.createVariable("name", "S1", ("lat",))

    check_all(tmp_path, write(tmp_path, form, build), chars=("name",))


@each_form
@pytest.mark.parametrize("dtype", ["i1", "i2", "f8"])
@pytest.mark.parametrize("alone", [True, False])
def test_records_are_padded_unless_one_variable_has_them(form: str, dtype: str, alone: bool, tmp_path: Path) -> None:
    """The special case of the format: the records of a single record variable follow each other without padding."""

    def build(dataset: Any) -> None:
        dataset.createDimension("time", None)
        dataset.createDimension("x", 3)
        variable = dataset.createVariable("a", dtype, ("time", "x"))
        if not alone:
            dataset.createVariable("b", "i1", ("time",))[:4] = numbers("i1", (4,))
            dataset.createVariable("c", "S1", ("time", "x"))[:] = np.full((4, 3), b"x")
        dataset.createVariable("fixed", dtype, ("x",))[:] = numbers(dtype, (3,))
        variable[:] = numbers(dtype, (4, 3))

    check_all(tmp_path, write(tmp_path, form, build), chars=("c",))


@each_form
@pytest.mark.parametrize("alone", [True, False])
def test_the_number_of_records_is_computed_where_the_writer_did_not_know(
    form: str, alone: bool, tmp_path: Path
) -> None:
    """A streaming writer. The padding of the last record may be missing."""

    def build(dataset: Any) -> None:
        dataset.createDimension("time", None)
        dataset.createVariable("a", "i2", ("time",))[:] = numbers("i2", (5,))
        if not alone:
            dataset.createVariable("b", "i1", ("time",))[:] = numbers("i1", (5,))

    data = write(tmp_path, form, build)
    width = 8 if form == "NETCDF3_64BIT_DATA" else 4
    streamed = data[:4] + b"\xff" * width + data[4 + width :]
    cuts = [len(data)] if alone else [len(data), len(data) - 3]
    for stop in cuts:
        np.testing.assert_array_equal(read_whole(open_bytes(streamed[:stop], "a")), numbers("i2", (5,)))
    assert open_bytes(streamed[: len(data) - 4], "a").shape[0] < 5


def test_a_large_variable_is_read_in_pieces_of_rows(tmp_path: Path) -> None:
    """Of at most 1 MiB each, and alike for all data types. A larger row is cut as well, and so is a large record."""

    def build(dataset: Any) -> None:
        for name, size in {"time": None, "y": 700, "x": 500, "wide": 300_000, "pair": 2}.items():
            dataset.createDimension(name, size)
        dataset.createVariable("fixed", "f8", ("y", "x"))[:] = numbers("f8", (700, 500))
        dataset.createVariable("wide", "f8", ("pair", "wide"))[:] = numbers("f8", (2, 300_000))
        dataset.createVariable("records", "f4", ("time", "pair", "wide"))[:] = numbers("f4", (2, 2, 300_000))
        dataset.createVariable("small", "f4", ("time",))[:] = numbers("f4", (2,))

    data = write(tmp_path, "NETCDF3_64BIT_OFFSET", build)
    check_all(tmp_path, data)
    assert open_bytes(data, "fixed").chunks == (234, 500)
    assert open_bytes(data, "wide").chunks == (1, 100_000)
    assert open_bytes(data, "records").chunks == (1, 1, 100_000)
    for name in ("fixed", "wide", "records", "small"):
        assert open_bytes(data, name).chunk_bytes <= 1 << 20


def test_the_only_record_variable_is_read_in_pieces_of_many_records(tmp_path: Path) -> None:
    def build(dataset: Any) -> None:
        dataset.createDimension("time", None)
        dataset.createVariable("time", "f8", ("time",))[:] = np.arange(200_000.0)

    data = write(tmp_path, "NETCDF3_CLASSIC", build)
    assert open_bytes(data, "time").chunks == (100_000,)
    check_all(tmp_path, data)


def test_the_last_piece_may_be_shorter(tmp_path: Path) -> None:
    def build(dataset: Any) -> None:
        dataset.createDimension("x", 262_145)
        dataset.createVariable("a", "f8", ("x",))[:] = np.arange(262_145.0)

    data = write(tmp_path, "NETCDF3_CLASSIC", build)
    array = open_bytes(data, "a")
    places = array.index.locate(np.arange(3))
    assert places.sizes.tolist() == [699056, 699056, 699048]
    assert int(places.offsets[-1] + places.sizes[-1]) == len(data)
    check_all(tmp_path, data)


def test_a_large_header_takes_few_requests(tmp_path: Path) -> None:
    def build(dataset: Any) -> None:
        dataset.createDimension("x", 2)
        for number in range(200):
            dataset.createVariable(f"variable_{number}", "i4", ("x",)).long_name = "x" * 2800
        dataset["variable_199"][:] = [3, 4]

    container = MemoryContainer({"": write(tmp_path, "NETCDF3_CLASSIC", build)})
    assert read_whole(open_netcdf(container.reader(), "/variable_199")).tolist() == [3, 4]
    # The header has some 560 kB; the last request is that of the data.
    assert len(container.asked) <= 6


def test_a_missing_variable_is_named_with_some_that_there_are(tmp_path: Path) -> None:
    def build(dataset: Any) -> None:
        dataset.createDimension("x", 2)
        for number in range(12):
            dataset.createVariable(f"v{number:02}", "i4", ("x",))

    data = write(tmp_path, "NETCDF3_CLASSIC", build)
    with pytest.raises(InvalidArgument, match=r"there is no variable 'tas'; there are 'v00', .*'v09' and 2 more"):
        open_bytes(data, "tas")


# Files that lie


def small_file(tmp_path: Path, form: str) -> bytes:
    def build(dataset: Any) -> None:
        dataset.createDimension("time", None)
        dataset.createDimension("x", 3)
        dataset.createVariable("a", "i2", ("time", "x"))[:] = numbers("i2", (4, 3))
        dataset.createVariable("b", "f8", ("x",)).units = "K"
        dataset["b"][:] = numbers("f8", (3,))

    return write(tmp_path, form, build)


def check_refused(data: bytes, message: str) -> None:
    with pytest.raises(UndecodableData) as caught:
        open_bytes(data, "a")
    assert re.match(f"array 'a': netCDF-3: .*{message}", caught.value.message)


def check_survives(data: bytes, array: str) -> None:
    """The file is read, or refused with an error of ours."""
    try:
        opened = open_bytes(data, array, ReadLimits(bytes=1 << 20, requests=100))
        if max(opened.grid, default=1) < 1000 and opened.chunk_bytes < 1 << 20:
            read_whole(opened)
    except ActiveStorageError:
        pass


@each_form
def test_no_flipped_byte_is_an_unknown_error(form: str, tmp_path: Path) -> None:
    data = small_file(tmp_path, form)
    for place in range(len(data)):
        for flip in (0xFF, 0x01):
            damaged = bytearray(data)
            damaged[place] ^= flip
            for array in ("a", "b"):
                check_survives(bytes(damaged), array)


@each_form
def test_a_file_cut_anywhere_is_refused(form: str, tmp_path: Path) -> None:
    data = small_file(tmp_path, form)
    for length in range(len(data)):
        for array in ("a", "b"):
            check_survives(data[:length], array)
    # The last two bytes are padding, which the library writes behind the last record.
    assert open_bytes(data[:-2], "a").shape == (4, 3)
    check_refused(data[:-3], "the data ends at byte .*, but the file has")
    check_refused(data[:100], "the header is cut short")


def test_random_bytes_are_refused() -> None:
    generator = np.random.default_rng(1)
    for number in range(300):
        noise = generator.bytes(200)
        with pytest.raises(UndecodableData):
            open_bytes(noise, "a")
        check_survives(b"CDF" + bytes([[1, 2, 5][number % 3]]) + noise, "a")


@pytest.mark.parametrize("data", [b"", b"C", b"CDF", b"CDF\x03" + bytes(100), b"CDF\x01"])
def test_what_is_no_file_is_refused(data: bytes) -> None:
    with pytest.raises(UndecodableData):
        open_bytes(data, "a")


def test_lists_without_end_are_refused_at_the_limit_of_metadata() -> None:
    """A list of 2**31 dimensions, as many as there are bytes."""
    data = b"CDF\x01" + bytes(4) + struct.pack(">II", 0x0A, 2**31) + bytes(4 << 20)
    with pytest.raises(EntityTooLarge) as caught:
        open_bytes(data, "a", ReadLimits(bytes=1 << 20))
    assert caught.value.message == "array 'a': the metadata has more than 1048576 bytes (MAX_METADATA_BYTES)"


def classic(dimensions: list[int], dimids: list[int], begin: int, records: int = 0, kind: int = 4) -> bytes:
    """A header with one variable "a"."""
    listed = b"".join(struct.pack(">I4sI", 1, b"d", size) for size in dimensions)
    variable = struct.pack(">I4sI", 1, b"a", len(dimids)) + b"".join(struct.pack(">I", each) for each in dimids)
    variable += struct.pack(">II", 0, 0) + struct.pack(">III", kind, 0, begin)
    return b"".join(
        [
            b"CDF\x01",
            struct.pack(">I", records),
            struct.pack(">II", 0x0A, len(dimensions)),
            listed,
            struct.pack(">II", 0, 0),
            struct.pack(">II", 0x0B, 1),
            variable,
            bytes(64),
        ]
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (classic([2], [0], 2**31), "the data ends at byte"),
        (classic([2**31, 2**31, 2**31], [0, 1, 2], 100), "[*]{2}63 bytes"),
        (classic([2], [3], 100), "a dimension that does not exist"),
        (classic([2, 0], [0, 1], 100), "which has to be its first"),
        (classic([0], [0], 100, records=2**31), "the data ends at byte"),
        (classic([0, *[2**31] * 3], [0, 1, 2, 3], 100), "[*]{2}63 bytes"),
        (classic([2], [0], 100, kind=7), "there is no data type 7"),
    ],
)
def test_metadata_that_lies_is_refused(data: bytes, message: str) -> None:
    check_refused(data, message)


def test_more_dimensions_than_numpy_has_are_refused() -> None:
    with pytest.raises(UnsupportedArray, match="more than 32 dimensions"):
        open_bytes(classic([1], [0] * 40, 100), "a")

"""HDF5: layouts, data types, fill values and filters, against the library."""

import io
import re
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from active_storage.errors import UndecodableData, UnsupportedArray
from handler.containers.stored_array import ABSENT
from tests.containers.exam import read_whole
from tests.containers.hdf5_files import VERSIONS, call_library, check_array, check_file, make_file, numbers, open_bytes

each_version = pytest.mark.parametrize("version", VERSIONS)

# H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS of H5Dpublic.h.
_PLAIN_EDGES = 0x0002


def creation(chunks: tuple[int, ...] | None = None, *filters: tuple[int, tuple[int, ...]]) -> Any:
    """A list of creation properties of a dataset."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    if chunks:
        properties.set_chunk(chunks)
    for number, values in filters:
        properties.set_filter(number, h5py.h5z.FLAG_OPTIONAL, values)
    return properties


def create(file: Any, name: str, array: Any, properties: Any, most: tuple[int, ...] | None = None) -> Any:
    """A dataset with these properties."""
    space = h5py.h5s.create_simple(array.shape, most)
    kind = h5py.h5t.py_create(array.dtype, logical=True)
    dataset = h5py.Dataset(h5py.h5d.create(file.id, name.encode(), kind, space, properties))
    dataset[...] = array
    return dataset


# Layouts


@each_version
def test_every_layout_is_read(version: str) -> None:
    def build(file: Any) -> None:
        array = numbers((20, 30))
        file["contiguous"] = array
        file["scalar"] = 5
        file["empty"] = np.zeros((0, 3), "f4")
        file.create_dataset("unwritten", (20, 30), "f4", fillvalue=7)
        file.create_dataset("chunked", data=array, chunks=(7, 8))
        file.create_dataset("chunked_empty", data=np.zeros((0, 3), "f4"), chunks=(2, 2), maxshape=(None, 3))
        compact = creation()
        compact.set_layout(h5py.h5d.COMPACT)
        create(file, "compact", array, compact)
        create(file, "compact_scalar", np.array(3.5), compact)

    assert len(check_file(make_file(build, version))) == 8


@each_version
def test_every_index_of_chunks_is_read(version: str) -> None:
    def build(file: Any) -> None:
        array = numbers((20, 30))
        for name, more in {"": {}, "z": {"compression": "gzip", "shuffle": True, "fletcher32": True}}.items():
            file.create_dataset(f"single{name}", data=array, chunks=(20, 30), **more)
            file.create_dataset(f"fixed{name}", data=array, chunks=(7, 8), **more)
            file.create_dataset(f"limited{name}", data=array, chunks=(7, 8), maxshape=(40, 50), **more)
            file.create_dataset(f"rows{name}", data=array, chunks=(7, 8), maxshape=(None, 50), **more)
            file.create_dataset(f"columns{name}", data=array, chunks=(7, 8), maxshape=(20, None), **more)
            file.create_dataset(f"both{name}", data=array, chunks=(3, 2), maxshape=(None, None), **more)
            file.create_dataset(f"line{name}", data=numbers((1500,)), chunks=(1,), maxshape=(None,), **more)
            file.create_dataset(f"pages{name}", data=numbers((35, 36)), chunks=(1, 1), **more)
            file.create_dataset(f"tree{name}", data=numbers((20, 21)), chunks=(1, 1), maxshape=(None, None), **more)
        early = creation((7, 8))
        early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        create(file, "implicit", array, early)
        create(file, "implicit_limited", array, early, (40, 50))
        big = file.create_dataset("cube", (9, 10, 11), "f8", chunks=(2, 3, 4), maxshape=(9, None, 11))
        big[...] = numbers((9, 10, 11), "f8")

    assert len(check_file(make_file(build, version))) == 21


@each_version
@pytest.mark.parametrize("most", [(300, 7), (None, 7), (7000, None), (None, None)])
def test_chunks_that_were_never_written_are_absent(version: str, most: tuple[int | None, ...]) -> None:
    """Each kind of index, and its parts that were never written: pages, blocks, secondary blocks."""

    def build(file: Any) -> None:
        for name, more in {"plain": {}, "filtered": {"compression": "gzip"}}.items():
            dataset = file.create_dataset(name, (300, 7), "i2", chunks=(1, 1), maxshape=most, fillvalue=-7, **more)
            for row, column in [(0, 0), (0, 6), (150, 3), (299, 6), (298, 1)]:
                dataset[row, column] = row + column

    data = make_file(build, version)
    for name in check_file(data):
        opened = check_array(data, name)
        assert opened.fill == -7
        assert np.count_nonzero(opened.index.locate(np.arange(2100)).sizes == ABSENT) == 2095


@each_version
def test_an_index_of_many_chunks_is_read_where_it_is_touched(version: str) -> None:
    """An extensible array with pages, and the last of its secondary blocks."""

    def build(file: Any) -> None:
        dataset = file.create_dataset("a", (300_000,), "i1", chunks=(1,), maxshape=(None,))
        for place in (0, 3, 4, 100, 70_000, 70_001, 131_071, 299_999):
            dataset[place] = 1

    opened = open_bytes(make_file(build, version), "a")
    touched = np.array([0, 3, 4, 5, 100, 101, 70_000, 70_001, 70_002, 131_071, 131_072, 299_998, 299_999])
    stored = opened.index.locate(touched).sizes != ABSENT
    assert touched[stored].tolist() == [0, 3, 4, 100, 70_000, 70_001, 131_071, 299_999]


@each_version
def test_a_dataset_that_was_extended_and_shrunk_is_read(version: str) -> None:
    def build(file: Any) -> None:
        for name, most in {"rows": (None, 9), "columns": (8, None), "both": (None, None)}.items():
            dataset = file.create_dataset(name, data=numbers((8, 9)), chunks=(2, 2), maxshape=most)
            dataset.resize((8 if name == "columns" else 30, 9))
            dataset.resize((8, 9 if name == "rows" else 25))
            dataset.resize((5 if name != "columns" else 8, 9))

    assert len(check_file(make_file(build, version))) == 3


@pytest.mark.parametrize("version", ["v110", "v112", "v114", "latest"])
def test_partial_chunks_at_the_edge_may_be_stored_without_filters(version: str) -> None:
    def build(file: Any) -> None:
        for name, most, chunks in [
            ("fixed", (20, 30), (7, 8)),
            ("rows", (h5py.h5s.UNLIMITED, 30), (7, 8)),
            ("both", (h5py.h5s.UNLIMITED,) * 2, (7, 8)),
            ("single", (20, 30), (20, 30)),
            ("partial", (h5py.h5s.UNLIMITED, 30), (21, 30)),
        ]:
            properties = creation(chunks, (h5py.h5z.FILTER_SHUFFLE, ()), (h5py.h5z.FILTER_DEFLATE, (5,)))
            call_library("H5Pset_chunk_opts", properties.id, _PLAIN_EDGES)
            create(file, name, numbers((20, 30)), properties, most)

    data = make_file(build, version)
    assert len(check_file(data)) == 5
    masks = open_bytes(data, "fixed").index.locate(np.arange(12)).masks
    assert masks is not None
    assert masks.reshape(3, 4).tolist() == [[0, 0, 0, 3], [0, 0, 0, 3], [3, 3, 3, 3]]


@each_version
def test_filters_that_were_skipped_for_a_chunk_are_not_undone(version: str) -> None:
    def build(file: Any) -> None:
        dataset = file.create_dataset("a", (4, 8), "i4", chunks=(2, 8), compression="gzip", shuffle=True)
        dataset[:2] = 5
        dataset.id.write_direct_chunk((2, 0), numbers((2, 8)).tobytes(), filter_mask=3)

    opened = check_array(make_file(build, version), "a")
    masks = opened.index.locate(np.arange(2)).masks
    assert masks is not None
    assert masks.tolist() == [0, 3]


def test_large_contiguous_data_is_read_in_pieces() -> None:
    data = make_file(lambda file: file.create_dataset("a", data=numbers((700, 500), "f8")))
    opened = check_array(data, "a")
    assert opened.chunks == (234, 500)
    assert len(opened.index.locate(np.arange(3)).sizes) == 3


def test_storage_elsewhere_is_refused_by_name(tmp_path: Path) -> None:
    def build(file: Any) -> None:
        file.create_dataset("external", (10,), "i4", external=[(str(tmp_path / "data"), 0, 40)])
        layout = h5py.VirtualLayout((10,), "i4")
        layout[:] = h5py.VirtualSource(file["external"])
        file.create_virtual_dataset("virtual", layout)

    data = make_file(build)
    for name, feature in {"external": "external storage", "virtual": "a virtual layout"}.items():
        with pytest.raises(UnsupportedArray, match=f"^array: '{name}' has {feature}.*, which is not supported$"):
            open_bytes(data, name)


# Data types


@each_version
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_type_of_numbers_is_read(version: str, order: str) -> None:
    kinds = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]

    def build(file: Any) -> None:
        for kind in kinds:
            file[kind] = numbers((3, 4), order + kind)
            file.create_dataset(f"{kind}_fill", (3, 4), order + kind, chunks=(2, 2), fillvalue=np.array(3, kind)[()])
        file["bool"] = numbers((3, 4)) > 50
        file.create_dataset("bool_fill", (3, 4), "?", chunks=(2, 2), fillvalue=True)
        colours = h5py.enum_dtype({"red": 0, "green": 1, "blue": 1000}, basetype=order + "i2")
        file.create_dataset("enum", data=np.array([0, 1, 1000]), dtype=colours)

    data = make_file(build, version)
    assert len(check_file(data)) == 2 * len(kinds) + 3
    with h5py.File(io.BytesIO(data)) as file:
        for kind in kinds:
            opened = open_bytes(data, kind)
            if file[kind].dtype.itemsize > 1:
                assert opened.byte_order == {"<": "little", ">": "big"}[order]
            assert open_bytes(data, f"{kind}_fill").fill == file[f"{kind}_fill"].fillvalue
    assert open_bytes(data, "bool").dtype == "bool"


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_types_that_are_no_numbers_are_refused_by_name(version: str) -> None:
    types: dict[str, Any] = {
        "string": "S5",
        "variable-length": h5py.string_dtype(),
        "compound": [("a", "i4"), ("b", "f4"), ("c", "f4")],
        "object reference": h5py.ref_dtype,
        "opaque": "V7",
        "array": np.dtype(("i4", (3,))),
        "float of 16 bytes that is not one of IEEE 754": np.longdouble,
    }

    def build(file: Any) -> None:
        for number, kind in enumerate(types.values()):
            file.create_dataset(str(number), (3,), kind)
        file.create_dataset("7", (3,), h5py.vlen_dtype("i4"))
        file.create_dataset("8", (3,), [("r", "f4"), ("i", "f8")])
        file.create_dataset("9", (3,), [("r", "i4"), ("i", "i4")])
        file["10"] = h5py.Empty("f4")

    data = make_file(build, version)
    named = [*(f"the data type {name}" for name in types), "the data type variable-length"]
    named += ["the data type compound"] * 2 + [r"no data \(a null data space\)"]
    for number, name in enumerate(named):
        with pytest.raises(UnsupportedArray, match=f"^array: '{number}' has {name}, which is not supported$"):
            open_bytes(data, str(number))


@pytest.mark.parametrize("name", ["F32LE", "F32BE", "F64LE", "F64BE"])
def test_complex_numbers_of_hdf5_2_are_read(name: str) -> None:
    """A class of types of its own."""
    size, order = int(name[1:3]) // 8, {"L": "<", "B": ">"}[name[3]]
    array = (numbers((3, 4)) + 1j).astype(f"{order}c{2 * size}")

    def build(file: Any) -> None:
        kind = getattr(h5py.h5t, f"COMPLEX_IEEE_{name}")
        dataset = h5py.h5d.create(file.id, b"a", kind, h5py.h5s.create_simple((3, 4)))
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, array, mtype=kind)

    opened = open_bytes(make_file(build, "latest"), "a")
    assert np.dtype(opened.dtype) == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(read_whole(opened), array)


@pytest.mark.parametrize(("bits", "below"), [(7, 0), (20, 3), (31, 1)])
@pytest.mark.parametrize("standard", [h5py.h5t.STD_I32LE, h5py.h5t.STD_U32BE])
def test_integers_of_fewer_bits_are_read_through_nbit_and_refused_without(standard: Any, bits: int, below: int) -> None:
    kind = standard.copy()
    kind.set_precision(bits)
    kind.set_offset(below)
    is_signed = kind.get_sign() == h5py.h5t.SGN_2
    array = (numbers((10,), "i4") % 60) * (-1 if is_signed else 1)

    def build(file: Any) -> None:
        space = h5py.h5s.create_simple((10,))
        for name, filters in {"a": [(h5py.h5z.FILTER_NBIT, ())], "b": []}.items():
            properties = creation((4,), *filters)
            properties.set_fill_value(np.array(-5 if is_signed else 5, "i4"))
            dataset = h5py.Dataset(h5py.h5d.create(file.id, name.encode(), kind, space, properties))
            dataset[:4] = array[:4]

    data = make_file(build)
    with h5py.File(io.BytesIO(data)) as file:
        np.testing.assert_array_equal(read_whole(open_bytes(data, "a")), file["a"][:])
    with pytest.raises(UnsupportedArray, match=f"'b' has integers of {bits} bits in 4 bytes"):
        open_bytes(data, "b")


def test_a_chunk_of_such_integers_that_skipped_nbit_is_refused() -> None:
    kind = h5py.h5t.STD_I32LE.copy()
    kind.set_precision(20)

    def build(file: Any) -> None:
        properties = creation((4,), (h5py.h5z.FILTER_NBIT, ()))
        dataset = h5py.h5d.create(file.id, b"a", kind, h5py.h5s.create_simple((8,)), properties)
        dataset.write_direct_chunk((0,), bytes(16), filter_mask=1)

    with pytest.raises(UnsupportedArray, match="a chunk of integers with unused bits"):
        open_bytes(make_file(build), "a").index.locate(np.arange(2))


# Fill values


@each_version
@pytest.mark.parametrize("when", [h5py.h5d.FILL_TIME_IFSET, h5py.h5d.FILL_TIME_NEVER, h5py.h5d.FILL_TIME_ALLOC])
def test_fill_values_are_those_that_the_library_reads(version: str, when: int) -> None:
    def build(file: Any) -> None:
        space = h5py.h5s.create_simple((5,))
        for number in range(3):
            properties = creation((2,))
            properties.set_fill_time(when)
            if number:
                properties.set_fill_value(np.array([0, 0, -3][number], "i2"))
            h5py.h5d.create(file.id, str(number).encode(), h5py.h5t.STD_I16BE, space, properties)

    data = make_file(build, version)
    assert [int(open_bytes(data, str(number)).fill) for number in range(3)] == [0, 0, -3]


def test_an_undefined_fill_value_reads_as_zero() -> None:
    def build(file: Any) -> None:
        properties = creation((2,))
        call_library("H5Pset_fill_value", properties.id, h5py.h5t.STD_I16LE.id, None)
        h5py.h5d.create(file.id, b"a", h5py.h5t.STD_I16LE, h5py.h5s.create_simple((5,)), properties)

    for version in VERSIONS:
        assert open_bytes(make_file(build, version), "a").fill == 0


# Filters


FILTERS: dict[str, dict[str, Any]] = {
    "gzip": {"compression": "gzip", "shuffle": True},
    "lzf": {"compression": "lzf"},
    "szip": {"compression": "szip"},
    "fletcher32": {"fletcher32": True},
    "scaleoffset": {"scaleoffset": 0},
    "blosc": dict(hdf5plugin.Blosc("zstd")),
    "blosc2": dict(hdf5plugin.Blosc2("lz4")),
    "bz2": dict(hdf5plugin.BZip2()),
    "lz4": dict(hdf5plugin.LZ4()),
    "zstd": dict(hdf5plugin.Zstd()),
    "bitshuffle": dict(hdf5plugin.Bitshuffle(cname="none")),
    "bitshuffle, lz4": dict(hdf5plugin.Bitshuffle(cname="lz4")),
    "bitshuffle, zstd": dict(hdf5plugin.Bitshuffle(cname="zstd", nelems=1024)),
    "zfp": dict(hdf5plugin.Zfp(reversible=True)),
}


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("dtype", ["<i4", ">i4", "<f4", ">f8", "u1"])
def test_every_filter_is_undone(name: str, dtype: str) -> None:
    options = FILTERS[name]
    if (name == "zfp" and dtype == "u1") or (name == "scaleoffset" and "f" in dtype):
        return

    def build(file: Any) -> None:
        file.create_dataset("a", data=numbers((50, 60), dtype), chunks=(20, 20), **options)

    for version in ("v108", "latest"):
        check_array(make_file(build, version), "a")


def test_floats_rounded_by_scaleoffset_are_read() -> None:
    array = np.random.default_rng(1).normal(size=(50, 60)).astype("f4")
    check_array(make_file(lambda file: file.create_dataset("a", data=array, chunks=(20, 20), scaleoffset=3)), "a")


def with_unknown_filter(mask: int, flags: int) -> bytes:
    """A dataset with a filter that nobody has, which the library lets pass if it is optional."""

    def build(file: Any) -> None:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((4,))
        properties.set_filter(h5py.h5z.FILTER_SHUFFLE, 0, ())
        properties.set_filter(h5py.h5z.FILTER_DEFLATE, flags, (1,))
        properties.set_filter(h5py.h5z.FILTER_FLETCHER32, 0, ())
        dataset = h5py.h5d.create(file.id, b"a", h5py.h5t.STD_I32LE, h5py.h5s.create_simple((4,)), properties)
        dataset.write_direct_chunk((0,), numbers((4,)).tobytes(), filter_mask=mask)

    data = make_file(build, "earliest")
    # The message of the old format: number, size of the name, flags, number of values, name.
    known = b"\1\0\x08\0" + flags.to_bytes(2, "little") + b"\1\0deflate\0"
    assert data.count(known) == 1
    return data.replace(known, b"\x39\x30\x08\0" + known[4:8] + b"mystery\0")


def test_an_unknown_filter_is_refused_by_name_unless_all_chunks_skipped_it() -> None:
    with pytest.raises(UnsupportedArray, match=re.escape("the filter 12345 (mystery)")):
        open_bytes(with_unknown_filter(7, 0), "a")
    opened = open_bytes(with_unknown_filter(5, 1), "a")
    with pytest.raises(UnsupportedArray, match=re.escape("the filter 12345 (mystery)")):
        opened.index.locate(np.arange(1))
    opened = open_bytes(with_unknown_filter(7, 1), "a")
    assert [step.id for step in opened.steps] == ["shuffle", "fletcher32"]
    assert opened.index.locate(np.arange(1)).masks == [3]
    np.testing.assert_array_equal(read_whole(opened), numbers((4,)))


def test_wrong_parameters_of_a_filter_are_an_error_of_the_data() -> None:
    def build(file: Any) -> None:
        file.create_dataset("a", data=numbers((50,)), chunks=(20,), compression="gzip", shuffle=True)

    data = make_file(build, "earliest")
    known = b"shuffle\0\4\0\0\0"
    assert data.count(known) == 1
    with pytest.raises(UndecodableData) as caught:
        open_bytes(data.replace(known, b"shuffle\0\0\0\0\0"), "a")
    assert "the filter 2 (shuffle) has wrong parameters" in caught.value.message

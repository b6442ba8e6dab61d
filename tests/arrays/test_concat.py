"""One variable over many files against numpy and xarray: files of NetCDF that follow each other are one array."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from active_storage.errors import (
    ActiveStorageError,
    ArrayChanged,
    EntityTooLarge,
    InvalidArgument,
    StoreError,
    UndecodableData,
)
from active_storage.grammar.expressions import parse_expression
from active_storage.model.array_reduction import ArrayReduction
from active_storage.model.coordinates import ArrayWeights, Between
from active_storage.model.ranges import ByteRange, Slice
from handler.arrays.engine import ArrayAnswer, ArrayEngine, ArrayLimits, Progress, finish, join_section
from handler.arrays.sections import ChunkFetchers, SectionPartial
from handler.arrays.selection import Selection
from handler.containers.reader import ReadLimits
from handler.engine.engine import Engine
from handler.engine.memory import MemoryGate
from handler.scope import Scope
from handler.stores.fake import FakeSource
from handler.stores.source import ObjectFacts, Source, Stream
from tests.arrays.memory_array import SMALL, Array, make_engine, values_of
from tests.containers.memory import MemoryContainer


class File(MemoryContainer):
    """A file in memory.

    Args:
        data: Its bytes.
        number: Its number, which is its version too.

    Attributes:
        opened: How many times it was opened.
        kind: How it is read.
    """

    def __init__(self, data: bytes, number: int) -> None:
        super().__init__({"": data})
        self.number = number
        self.opened = 0
        self.kind: type[FileSource] = FileSource

    def open_key(self, key: str) -> Source:
        assert not key
        self.opened += 1
        return self.kind(self)


class FileSource(FakeSource):
    """The object of a file."""

    def __init__(self, file: File) -> None:
        super().__init__(file.objects[""])
        self._file = file

    def head(self, byte_range: ByteRange | None) -> ObjectFacts:
        self.etag = f'"{self._file.number}"'
        return super().head(byte_range)

    def _open_more(self, byte_range: ByteRange | None, expected: ObjectFacts) -> Stream:
        stream = self._open(byte_range)
        expected.ensure_same(stream.facts)
        return stream


@dataclass
class Files(MemoryContainer):
    """Files that netCDF4 has written, in the order of time.

    Attributes:
        folder: Where they are written.
        kind: Their format.
        files: The files.
        stored: What each has stored, as it was written.
        attributes: The attributes of each.
    """

    folder: Path
    kind: Any = "NETCDF4"
    files: list[File] = field(default_factory=list)
    stored: list[Array] = field(default_factory=list)
    attributes: list[Mapping[str, Any]] = field(default_factory=list)
    count: int = 0

    def write(
        self,
        stored: Array,
        chunks: Sequence[int] | None = None,
        attributes: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> "Files":
        """Write a file with ``tas`` of time and lat, or of time, lat and lon."""
        path = self.folder / f"{len(self.files)}.nc"
        names = ("time", "lat", "lon")[: stored.ndim]
        values = dict(attributes or {})
        is_new = self.kind == "NETCDF4"
        root: Any
        with netCDF4.Dataset(path, "w", format=self.kind) as root:
            for name, size in zip(names, stored.shape, strict=True):
                root.createDimension(name, None if name == "time" else size)
            time = root.createVariable("time", "f8", ("time",), **({"chunksizes": (512,)} if is_new else {}))
            time.units = "days since 2000-01-01"
            lat = root.createVariable("lat", "f4", ("lat",))
            lat[:] = np.arange(stored.shape[1])
            options = {"chunksizes": chunks or (1, *stored.shape[1:]), **more} if is_new else {}
            tas = root.createVariable("tas", stored.dtype, names, fill_value=values.pop("_FillValue", None), **options)
            tas.setncatts(values)
            root.set_auto_maskandscale(False)
            time[:] = np.arange(self.count, self.count + len(stored))
            tas[:] = stored
        self.files.append(File(path.read_bytes(), len(self.files)))
        self.stored.append(stored)
        self.attributes.append(attributes or {})
        self.count += len(stored)
        return self

    def ask(self, reducer: str, engine: ArrayEngine | None = None, **fields: Any) -> ArrayAnswer:
        return (engine or make_engine()).reduce(make_reduction(reducer, **fields), self, Scope.after(60))

    def open_with_xarray(self, **options: Any) -> xr.DataArray:
        paths = [self.folder / f"{number}.nc" for number in range(len(self.files))]
        dataset = xr.open_mfdataset(
            paths, concat_dim="time", combine="nested", decode_times=False, engine="netcdf4", **options
        )
        return dataset["tas"].load()


def make_reduction(reducer: str, dim: str = "time", array: str = "tas", **fields: Any) -> ArrayReduction:
    return ArrayReduction(reducer, "netcdf", array, concat=dim, **fields)


def numbers(*shape: int, seed: int = 0, dtype: str = "f4") -> Array:
    return np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)


# Against numpy


def _pick(values: Array, axis: Any, place: int) -> Any:
    """The first or the last element along some axes."""
    axes = range(values.ndim) if axis is None else axis
    return values[tuple(place if number in axes else slice(None) for number in range(values.ndim))]


REDUCERS: dict[str, Any] = {
    "sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min, "var": np.var, "std": np.std, "any": np.any,
    "all": np.all, "argmax": np.argmax, "argmin": np.argmin, "select": None, "count": None,
    "first": lambda values, axis: _pick(values, axis, 0), "last": lambda values, axis: _pick(values, axis, -1),
}  # fmt: skip

SIZES = (3, 1, 0, 4, 5)


@pytest.fixture(scope="module", params=["NETCDF4", "NETCDF3_CLASSIC"])
def alike(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Files of one encoding, of several sizes and chunks. One is empty."""
    files = Files(tmp_path_factory.mktemp("alike"), request.param)
    for seed, size in enumerate(SIZES):
        files.write(numbers(size, 4, 6, seed=seed), ((2, 2, 3), (1, 4, 6), (3, 1, 6))[seed % 3])
    return files


SLICES = st.builds(
    Slice,
    st.none() | st.integers(-14, 14),
    st.none() | st.integers(-14, 14),
    st.none() | st.sampled_from([1, 2, 3, 5, -1, -2, -3, -6]),
)


@settings(max_examples=250, deadline=None, derandomize=True)
@given(st.data())
def test_files_that_follow_each_other_are_one_array(alike: Files, data: st.DataObject) -> None:
    reducer = data.draw(st.sampled_from(list(REDUCERS)))
    selection = [data.draw(SLICES), data.draw(st.sampled_from([Slice(), Slice(1, None, 2), Slice(None, None, -1)]))]
    axis = data.draw(st.sampled_from([None, (0,), (1,), (2,), (0, 2), (1, 2), ()]))
    if reducer in ("argmax", "argmin"):
        axis = axis[:1] if axis else None
    whole = np.concatenate(alike.stored)
    picked = whole[tuple(slice(each.start, each.stop, each.step) for each in selection)]
    if not picked.size and reducer not in ("sum", "count", "select"):
        return
    got = values_of(alike.ask(reducer, selection=dict(enumerate(selection)), axis=axis))
    if reducer == "select":
        wanted = picked
    elif reducer == "count":
        wanted = np.sum(np.ones_like(picked, int), axis=axis)
    else:
        one = axis[0] if axis and reducer.startswith("arg") else axis
        wide = picked if reducer.startswith("arg") else picked.astype(np.float64)
        wanted = np.asarray(REDUCERS[reducer](wide, axis=one))
    assert got.shape == np.shape(wanted)
    np.testing.assert_allclose(got.astype(float), np.asarray(wanted, float), rtol=1e-6, atol=1e-6)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(SLICES, st.lists(st.integers(0, 5), min_size=1, max_size=5))
def test_the_parts_of_a_selection_are_the_whole(chosen: Slice, sizes: list[int]) -> None:
    indices = chosen.resolve(sum(sizes))
    whole = Selection((range(3), indices), (), None, (0, 0), (3, len(indices)))
    start, positions = 0, dict[int, int]()
    for size in sizes:
        part = whole.part(1, start, start + size)
        assert part.first[0] == 0
        assert part.whole == whole.whole
        mine = part.indices[1]
        assert isinstance(mine, range)
        assert all(0 <= index < size for index in mine)
        positions |= {part.first[1] + place: start + index for place, index in enumerate(mine)}
        start += size
    assert [positions[place] for place in range(len(indices))] == list(indices)


# Encodings that are each file's own

PACKED = {"scale_factor": np.float32(0.5), "add_offset": np.float32(10)}
OTHER = {"scale_factor": np.float64(0.01), "add_offset": np.float64(-5)}


@pytest.mark.filterwarnings("ignore:Behaviour of argmin/argmax")
@pytest.mark.parametrize("decode", ["cf", "xarray", "none"])
@pytest.mark.parametrize(
    "attributes",
    [
        [PACKED, PACKED, PACKED],
        [PACKED, OTHER, {"scale_factor": np.float64(-2)}],
        [PACKED, {}, OTHER],
        [{}, {}, {}],
        [{"_FillValue": np.int16(3)}, {}, {"_FillValue": np.int16(50)}],
        [PACKED | {"_FillValue": np.int16(3)}, PACKED | {"_FillValue": np.int16(50)}, PACKED],
        [PACKED | {"_FillValue": np.int16(3)}, OTHER | {"missing_value": np.int16(50)}, {}],
        [{"_Unsigned": "true"}, {}, {"_Unsigned": "false"}],
        [{"scale_factor": np.float32(0)}, PACKED, PACKED],
    ],
)
def test_each_file_is_decoded_by_its_own_attributes(
    tmp_path: Path, attributes: list[dict[str, Any]], decode: Any
) -> None:
    files = Files(tmp_path)
    for seed, each in enumerate(attributes):
        files.write(numbers(3, 4, 5, seed=seed, dtype="i2") - 20 * (seed % 2), (2, 3, 5), each)
    judge = files.open_with_xarray(mask_and_scale=decode != "none").transpose("time", "lat", "lon")
    exact = judge.astype(np.float64)
    if decode == "cf":
        exact = xr.concat([decode_cf(*each) for each in zip(files.stored, files.attributes, strict=True)], "time")
    elements = values_of(files.ask("select", decode=decode))
    # Missing integers keep their number.
    np.testing.assert_allclose(elements, exact if elements.dtype.kind == "f" else exact.fillna(elements), rtol=1e-6)
    for axis in (None, "time", "lat"):
        counts = exact.count(axis)
        for reducer in ("sum", "mean", "max", "min", "std", "count", "argmax", "argmin", "any"):
            answer = files.ask(reducer, decode=decode, axis=None if axis is None else (axis,))
            got = values_of(answer)
            assert np.array_equal(np.reshape(np.asarray(answer.result.counts), got.shape), counts)
            wide = exact.astype(np.float32).astype(float) if decode == "xarray" and judge.dtype == "f4" else exact
            if reducer == "any":
                wide = wide.fillna(0)
            wanted = np.asarray(getattr(wide, reducer)(axis))
            np.testing.assert_allclose(got.astype(float), wanted.astype(float), rtol=1e-6, atol=1e-5, err_msg=reducer)
            if decode == "xarray" and reducer in ("max", "mean", "sum"):
                assert got.dtype == getattr(judge, reducer)(axis).dtype, reducer


def decode_cf(stored: Array, attributes: Mapping[str, Any]) -> xr.DataArray:
    """The values of stored numbers in float64, by the conventions."""
    values = stored.view("u2") if attributes.get("_Unsigned") == "true" else stored
    missing = [values == attributes[name] for name in ("_FillValue", "missing_value") if name in attributes]
    exact = values * np.float64(attributes.get("scale_factor", 1)) + np.float64(attributes.get("add_offset", 0))
    exact[np.any([np.zeros(stored.shape, bool), *missing], axis=0)] = np.nan
    return xr.DataArray(exact, dims=("time", "lat", "lon"))


def test_files_that_are_packed_alike_are_reduced_as_they_are_stored(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.write(numbers(2, 3, dtype="i2"), None, PACKED | {"_FillValue": np.int16(1)})
    files.write(numbers(2, 3, dtype="i2"), None, PACKED | {"_FillValue": np.int16(2)})
    plan, _ = make_engine().reduce_sections(make_reduction("mean"), files, Scope.after(60))
    assert (plan.spec.dtype, plan.packing is None) == ("int16", False)
    files.write(numbers(2, 3, dtype="i2"), None, OTHER)
    plan, _ = make_engine().reduce_sections(make_reduction("mean"), files, Scope.after(60))
    assert (plan.spec.dtype, plan.packing) == ("float64", None)


def test_units_that_differ_are_refused(tmp_path: Path) -> None:
    files = Files(tmp_path).write(numbers(2, 3), None, {"units": "K"}).write(numbers(2, 3), None, {"units": "K"})
    assert files.ask("mean").units == "K"
    files = files.write(numbers(2, 3), None, {"units": "degC"})
    with pytest.raises(InvalidArgument, match=r"urls\[2\].*has the units 'degC', unlike the first file: 'K'"):
        files.ask("mean")
    assert files.ask("mean", decode="none").units is None


@pytest.mark.parametrize("options", [{"zlib": True}, {"shuffle": True, "zlib": True}, {"fletcher32": True}, {}])
@pytest.mark.parametrize("dtype", ["<f4", ">f4"])
def test_each_file_has_its_own_codecs_and_byte_order(tmp_path: Path, options: dict[str, Any], dtype: str) -> None:
    files = Files(tmp_path).write(numbers(4, 6), (2, 6))
    endian = "big" if dtype.startswith(">") else "little"
    files.write(numbers(3, 6, seed=1, dtype=dtype), (3, 2), endian=endian, **options)
    whole = np.concatenate(files.stored)
    assert np.array_equal(values_of(files.ask("select")), whole)
    assert np.array_equal(values_of(files.ask("max", axis=("lat",))), whole.max(1))


def test_another_dimension_can_be_the_one(tmp_path: Path) -> None:
    files = Files(tmp_path)
    for seed in range(2):
        files.count = 0
        files.write(numbers(3, 4, 2 + seed, seed=seed), (2, 3, 1))
    whole = np.concatenate(files.stored, 2)
    for axis in (None, (2,), (0,)):
        got = values_of(files.ask("argmax", dim="lon", axis=axis, selection={2: Slice(None, None, -1)}))
        assert np.array_equal(got, np.argmax(whole[:, :, ::-1], None if axis is None else axis[0]))


@pytest.fixture(scope="module", params=["NETCDF4", "NETCDF3_CLASSIC"])
def ensemble(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Files of the same times and different chunks, which have a second variable, and areas that are the same."""
    files = Files(tmp_path_factory.mktemp("ensemble"), request.param)
    for seed in range(3):
        files.count = 0
        files.write(numbers(5, 4, 6, seed=seed), ((2, 2, 3), (1, 4, 6), (5, 1, 6))[seed])
        path = files.folder / f"{seed}.nc"
        with netCDF4.Dataset(path, "a") as root:
            tas = root["tas"]
            chunks = {"chunksizes": tas.chunking()} if request.param == "NETCDF4" else {}
            root.createVariable("pr", "f4", tas.dimensions, **chunks)[:] = numbers(5, 4, 6, seed=10 + seed)
            root.createVariable("area", "f8", ("lat", "lon"))[:] = numbers(4, 6, seed=20)
        files.files[-1] = File(path.read_bytes(), seed)
    return files


@pytest.mark.parametrize("reducer", ["sum", "mean", "max", "std", "argmax", "select", "count"])
@pytest.mark.parametrize("axis", [None, (0,), (1,), (0, 2), (-1,)])
def test_files_can_be_stacked_along_a_new_dimension(ensemble: Files, reducer: str, axis: Any) -> None:
    if reducer == "argmax" and axis and len(axis) > 1:
        return
    selection = {0: Slice(None, None, -1), 2: Slice(1, None, 2)}
    whole = np.stack(ensemble.stored).astype(float)[::-1, :, 1::2]
    answer = ensemble.ask(reducer, dim="member", axis=axis, selection=selection)
    wanted: Any
    if reducer == "select":
        wanted = whole
    elif reducer == "count":
        wanted = np.sum(np.ones_like(whole), axis)
    elif reducer == "argmax":
        wanted = np.argmax(whole, None if axis is None else axis[0])
    else:
        wanted = getattr(np, reducer)(whole, axis=axis)
    np.testing.assert_allclose(values_of(answer), wanted, rtol=1e-6)
    if reducer == "select":
        assert answer.dimensions == ("member", "time", "lat", "lon")


def test_what_is_beside_stacked_arrays(ensemble: Files) -> None:
    tas, pr = np.stack(ensemble.stored), np.stack([numbers(5, 4, 6, seed=10 + seed) for seed in range(3)])
    area = numbers(4, 6, seed=20).astype(float)

    def ask(reducer: str, **fields: Any) -> Array:
        return values_of(ensemble.ask(reducer, dim="member", **fields))

    np.testing.assert_allclose(
        ask("max", axis=(1,), expression=parse_expression("tas * pr - area")), (tas * pr - area).max(1)
    )
    corr = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(tas, pr, strict=True)]
    np.testing.assert_allclose(ask("corr", axis=(1, 2, 3), other="pr"), corr)
    weighted = ask("mean", axis=("lat", "lon"), weights=ArrayWeights("area"))
    np.testing.assert_allclose(weighted, np.average(tas, axis=(2, 3), weights=np.broadcast_to(area, tas.shape)))
    fourth = ask("min", axis=("member",), where={"time": Between("2000-01-04", "2000-01-04")})
    np.testing.assert_allclose(fourth, tas[:, 3:4].min(0))


def test_one_file_has_the_bits_of_the_file_itself(tmp_path: Path) -> None:
    files = Files(tmp_path).write(numbers(7, 5).astype("f4") / 3, (2, 2))
    for reducer in ("sum", "std", "select"):
        alone = make_engine().reduce(ArrayReduction(reducer, "netcdf", "tas"), files.files[0], Scope.after(60))
        assert files.ask(reducer).result.data == alone.result.data


# Sections, threads, versions


@pytest.fixture
def many(tmp_path: Path) -> Files:
    """Files of random numbers, small ones and large ones."""
    files = Files(tmp_path)
    for seed, size in enumerate((1, 1, 9, 2, 1, 12)):
        files.write(np.random.default_rng(seed).normal(size=(size, 8, 9)).astype("f4") * 1e6, (1, 4, 3))
    return files


@pytest.mark.parametrize("reducer", ["sum", "mean", "var", "stats", "max", "argmax", "select"])
@pytest.mark.parametrize("axis", [None, (0,), (1,)])
def test_same_bits_for_any_number_of_fetchers_and_sections_joined_elsewhere(
    many: Files, reducer: str, axis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handler.arrays.plan._SECTION_BYTES", 512)
    results = {many.ask(reducer, make_engine(fetchers=count), axis=axis).result.data for count in (0, 1, 2, 8)}
    reduction = make_reduction(reducer, axis=axis)
    summary = make_engine().plan(reduction, many, Scope.after(60))
    assert summary.sections > len(many.files)
    plan, partials = None, list[SectionPartial]()
    for section in range(summary.sections):
        plan, found = make_engine(fetchers=2).reduce_sections(
            reduction, many, Scope.after(60), range(section, section + 1), summary.digest
        )
        partials += found
    assert plan is not None
    assert [partial.number for partial in partials] == list(range(summary.sections))
    joined = plan.algebra.start(plan.selection.cells)
    for partial in partials:
        join_section(plan, joined, partial)
    assert results == {finish(plan, joined).data}


@pytest.mark.parametrize(
    ("section_bytes", "most_parts", "sections"), [(1 << 25, 64, 1), (1 << 25, 2, 3), (600, 64, 17)]
)
def test_small_files_share_a_section(
    many: Files, section_bytes: int, most_parts: int, sections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handler.arrays.plan._SECTION_BYTES", section_bytes)
    monkeypatch.setattr("handler.arrays.plan._MOST_PARTS", most_parts)
    whole = np.concatenate(many.stored)
    plan, _ = make_engine().reduce_sections(make_reduction("max", axis=(1,)), many, Scope.after(60))
    assert plan.sections == sections
    stretches = [(each.part.file, *each.touched) for number in range(sections) for each in plan.section(number)]
    touched = [(file, chunk) for file, *chunks in stretches for chunk in chunks]
    assert touched == [(file, chunk) for file, part in enumerate(plan.parts) for chunk in range(part.grid.count)]
    assert np.array_equal(values_of(many.ask("max", axis=(1,))), whole.max(1))


def test_a_plan_counts_all_files(many: Files) -> None:
    summary = make_engine().plan(make_reduction("mean"), many, Scope.after(60))
    assert (summary.shape, summary.dimensions, summary.chunk_shape) == ((26, 8, 9), ("time", "lat", "lon"), (1, 4, 3))
    assert (summary.chunks, summary.decoded_bytes) == (26 * 6, 26 * 8 * 9 * 4)
    assert summary.etags == [f'"{number}"' for number in range(6)]
    many.write(numbers(1, 8, 9), (1, 8, 9))
    assert make_engine().plan(make_reduction("mean"), many, Scope.after(60)).chunk_shape is None
    some = make_engine().plan(make_reduction("mean", selection={0: Slice(1, 3)}), many, Scope.after(60))
    assert (some.chunks, some.requests) == (2 * 6, 2)


def test_the_digest_covers_the_version_of_each_file(many: Files) -> None:
    def find_digest() -> str:
        return make_engine().plan(make_reduction("mean"), many, Scope.after(60)).digest

    digests = [find_digest(), find_digest()]
    many.files[3].number = 99
    digests.append(find_digest())
    many.files.pop()
    digests.append(find_digest())
    assert len(set(digests)) == 3
    assert digests[0] == digests[1]


def test_a_file_that_changes_is_never_a_number(many: Files) -> None:
    class Changing(FileSource):
        def head(self, byte_range: ByteRange | None) -> ObjectFacts:
            many.files[2].number += 1
            return super().head(byte_range)

    many.files[2].kind = Changing
    with pytest.raises(ArrayChanged, match=r"store\.urls\[2\]: .*, twice"):
        many.ask("sum")


def test_a_file_that_has_changed_at_the_end_is_never_a_number(many: Files) -> None:
    def tell(_: object, find_progress: Callable[[], Progress]) -> None:
        many.files[5].number += find_progress().sections

    with pytest.raises(ArrayChanged, match=r"store\.urls\[5\]: .*, twice"):
        make_engine().reduce(make_reduction("sum"), many, Scope.after(60), tell)


def test_each_file_is_opened_once(many: Files) -> None:
    many.ask("sum")
    assert [file.opened for file in many.files] == [1] * 6


def test_files_that_are_not_selected_are_not_read(many: Files) -> None:
    read = many.ask("sum", selection={0: Slice(0, 2)}).bytes_read
    assert many.ask("sum").bytes_read - read == 24 * 8 * 9 * 4


# What fails


def test_a_chunk_that_cannot_be_read_names_its_file(many: Files) -> None:
    class Failing(FileSource):
        def _open_more(self, byte_range: ByteRange | None, expected: ObjectFacts) -> Stream:
            raise StoreError(503, "SlowDown", "later")

    many.files[4].kind = Failing
    with pytest.raises(StoreError, match=r"^store\.urls\[4\]: .*later"):
        many.ask("sum")


def test_an_attribute_that_lies_names_its_file(tmp_path: Path) -> None:
    files = Files(tmp_path).write(numbers(1, 2)).write(numbers(1, 2), None, {"scale_factor": "x"})
    with pytest.raises(UndecodableData, match=r"^store\.urls\[1\]: .*scale_factor"):
        files.ask("sum")


@pytest.mark.parametrize(
    ("limits", "word"),
    [
        (ArrayLimits(ReadLimits(requests=5)), "MAX_METADATA_REQUESTS"),
        (ArrayLimits(ReadLimits(bytes=100_000)), "MAX_METADATA_BYTES"),
        (ArrayLimits(chunks=26 * 6 - 1), "touches 156 chunks"),
    ],
)
def test_limits_count_for_all_files_together(many: Files, limits: ArrayLimits, word: str) -> None:
    engine = ArrayEngine(Engine(MemoryGate(1 << 30, 1 << 29), sizes=SMALL), limits, ChunkFetchers(2))
    engine.reduce(ArrayReduction("sum", "netcdf", "tas"), many.files[5], Scope.after(60))
    with pytest.raises(EntityTooLarge, match=word):
        many.ask("sum", engine)


def test_a_coordinate_counts_as_metadata(tmp_path: Path) -> None:
    files = Files(tmp_path).write(numbers(1, 20_000), (1, 1000))
    limits = ArrayLimits(ReadLimits(bytes=70_000))
    engine = ArrayEngine(Engine(MemoryGate(1 << 30, 1 << 29)), limits)
    with pytest.raises(EntityTooLarge, match=r"store\.urls\[0\]: .*MAX_METADATA_BYTES"):
        files.ask("sum", engine)


def test_more_files_than_threads_do_not_wait_for_each_other(tmp_path: Path) -> None:
    files = Files(tmp_path)
    for seed in range(40):
        # Chunks of one element of time have an index of several nodes, which are read side by side too.
        files.write(numbers(3, 200, seed=seed), (1, 1))
    whole = np.concatenate(files.stored)
    for fetchers in (1, 3):
        assert values_of(files.ask("max", make_engine(fetchers=fetchers))) == whole.max()


def test_files_that_do_not_fit_are_named(many: Files) -> None:
    many.count = 3
    many.write(numbers(1, 8, 9))
    with pytest.raises(InvalidArgument, match=r"^store\.urls\[6\]: .* do not go on"):
        many.ask("sum")


def test_one_container_is_not_several_files(many: Files) -> None:
    with pytest.raises(ActiveStorageError, match=r"store\.urls: is required"):
        make_engine().reduce(make_reduction("sum"), many.files[0], Scope.after(60))

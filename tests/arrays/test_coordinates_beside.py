"""Where coordinates lie: in groups of NetCDF-4, in references, in each of several files; and what they may take."""

import base64
import json
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest

from active_storage.errors import EntityTooLarge, InvalidArgument
from active_storage.grammar.expressions import parse_expression
from active_storage.model.array_reduction import ArrayReduction
from active_storage.model.coordinates import ArrayWeights, Between, CosineWeights, Group, Nearest
from handler.arrays.engine import ArrayAnswer, ArrayEngine, ArrayLimits
from handler.arrays.sections import ChunkFetchers
from handler.engine.engine import Engine
from handler.engine.memory import MemoryGate
from handler.scope import Scope
from tests.arrays.memory_array import SMALL, make_engine, values_of
from tests.arrays.test_concat import File, Files
from tests.containers.memory import MemoryContainer
from tests.doors.array_stores import write_zarr

VALUES = np.random.default_rng(2).normal(280, 10, (12, 4)).astype("f4")
LAT = np.array([60.0, 20.0, -20.0, -60.0])


def ask(container: MemoryContainer, reducer: str, array: str, kind: Any = "netcdf", **fields: Any) -> ArrayAnswer:
    return make_engine().reduce(ArrayReduction(reducer, kind, array, **fields), container, Scope.after(60))


# Groups of NetCDF-4


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> MemoryContainer:
    path = tmp_path_factory.mktemp("grouped") / "f.nc"
    root: Any
    with netCDF4.Dataset(path, "w") as root:
        root.createDimension("time", 12)
        root.createDimension("lat", 4)
        time = root.createVariable("time", "i4", ("time",))
        time.units, time.calendar = "months since 2000-01-01", "360_day"
        time[:] = np.arange(12)
        root.createVariable("lat", "f8", ("lat",))[:] = LAT
        root.createVariable("level", "f8", ("lat",))[:] = 1.0
        inner = root.createGroup("g").createGroup("h")
        inner.createVariable("tas", "f4", ("time", "lat"), chunksizes=(5, 3))[:] = VALUES
        inner.createVariable("pr", "f4", ("time", "lat"), chunksizes=(5, 3))[:] = VALUES / 2
        root["g"].createVariable("level", "f8", ("lat",))[:] = [1.0, 1.0, 2.0, 2.0]
    return MemoryContainer({"": path.read_bytes()})


def test_coordinates_are_found_in_the_groups_around_the_array(grouped: MemoryContainer) -> None:
    answer = ask(
        grouped, "max", "g/h/tas", axis=("lat",), group=Group("level"), where={"time": Between("2000-03", None)}
    )
    assert answer.labels["level"] == [1.0, 2.0]
    np.testing.assert_array_equal(values_of(answer), VALUES[2:].reshape(10, 2, 2).max(axis=2))
    weighted = ask(grouped, "mean", "/g/h/tas", axis=("lat",), weights=CosineWeights("lat"))
    wanted = np.average(VALUES.astype(float), axis=1, weights=np.cos(np.deg2rad(LAT)))
    np.testing.assert_allclose(values_of(weighted), wanted)
    computed = ask(grouped, "sum", "g/h/tas", expression=parse_expression("tas - 2 * pr"))
    assert values_of(computed) == 0


# References


def test_references_have_coordinates_too() -> None:
    units = {"units": "days since 2000-01-15", "calendar": "360_day"}
    objects = {
        **write_zarr("g/tas", VALUES, dimensions=("time", "lat"), chunks=(5, 3)),
        **write_zarr("time", np.arange(12) * 30, dimensions=("time",), chunks=(4,), attributes=units),
        **write_zarr("g/lat", LAT, dimensions=("lat",), chunks=(4,)),
        **write_zarr("lat", LAT[::-1], dimensions=("lat",), chunks=(4,)),
    }
    refs: dict[str, Any] = {".zgroup": '{"zarr_format": 2}', "g/.zgroup": '{"zarr_format": 2}'}
    for key, data in objects.items():
        is_document = key.rpartition("/")[2].startswith(".z")
        refs[key] = data.decode() if is_document else "base64:" + base64.b64encode(data).decode()
    container = MemoryContainer({"": json.dumps({"version": 1, "refs": refs}).encode()})
    answer = ask(
        container,
        "mean",
        "g/tas",
        "kerchunk",
        axis=("time",),
        group=Group("time", "season"),
        where={"lat": Nearest("51.5")},
    )
    assert answer.labels == {"season": ["DJF", "JJA", "MAM", "SON"], "lat": [60.0]}
    seasons = [VALUES[months, :1].mean(axis=0) for months in ([0, 1, 11], [5, 6, 7], [2, 3, 4], [8, 9, 10])]
    np.testing.assert_allclose(values_of(answer), seasons, rtol=1e-6)


# Several files


def write_files(folder: Path, variables: list[dict[str, Any]]) -> Files:
    """Files of a year each. ``variables`` has for each more variables: dimensions, values and attributes by name."""
    files = Files(folder)
    for number, more in enumerate(variables):
        path = folder / f"{number}.nc"
        root: Any
        with netCDF4.Dataset(path, "w") as root:
            root.createDimension("time", 12)
            root.createDimension("lat", 4)
            time = root.createVariable("time", "i4", ("time",))
            time.units, time.calendar = f"days since {2000 + number}-01-15", "360_day"
            time[:] = np.arange(12) * 30
            root.createVariable("lat", "f8", ("lat",))[:] = LAT
            root.createVariable("tas", "f4", ("time", "lat"), chunksizes=(5, 3))[:] = VALUES + number
            for name, (dimensions, values, attributes) in more.items():
                variable = root.createVariable(name, np.asarray(values).dtype, dimensions)
                variable.setncatts(attributes)
                variable[:] = values
        files.files.append(File(path.read_bytes(), number))
    return files


def test_weights_and_coordinates_lie_along_the_files(tmp_path: Path) -> None:
    shares = np.random.default_rng(4).random((2, 4, 12))
    months = np.array([[1, 2] * 6, [2, 3] * 6])
    files = write_files(
        tmp_path,
        [
            {"share": (("lat", "time"), shares[number], {}), "kind": (("time",), months[number], {})}
            for number in range(2)
        ],
    )
    whole = np.concatenate([VALUES, VALUES + 1]).astype(float)
    share, kind = np.concatenate([*shares], axis=1).T, months.ravel()
    options: dict[str, Any] = {"concat": "time", "axis": ("time",)}
    weighted = ask(files, "mean", "tas", weights=ArrayWeights("share"), **options)
    np.testing.assert_allclose(values_of(weighted), np.average(whole, axis=0, weights=share), rtol=1e-6)
    grouped = ask(files, "sum", "tas", group=Group("kind"), **options)
    np.testing.assert_allclose(values_of(grouped), [whole[kind == each].sum(axis=0) for each in (1, 2, 3)], rtol=1e-6)
    computed = ask(files, "mean", "tas", expression=parse_expression("tas * kind"), **options)
    np.testing.assert_allclose(values_of(computed), (whole * kind[:, None]).mean(axis=0), rtol=1e-6)
    years = ask(files, "mean", "tas", group=Group("time", "year"), **options)
    np.testing.assert_allclose(values_of(years), whole.reshape(2, 12, 4).mean(axis=1), rtol=1e-6)
    assert years.labels == {"year": [2000, 2001]}


TIMES: dict[str, Any] = {"units": "days since 2000-01-01"}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            [(("time",), np.arange(12), TIMES | {"calendar": each}) for each in ("noleap", "julian")],
            "group: the coordinate 'other' has times in the calendars julian, noleap",
        ),
        (
            [(("time",), np.arange(12), each) for each in (TIMES, {})],
            "group: the coordinate 'other' has units of time in some files only",
        ),
        ([(("time",), np.arange(12), {}), (("lat",), np.arange(4), {})], "other dimensions than in the first file"),
        ([(("time",), np.arange(12), {}), (("time", "lat"), VALUES, {})], "other dimensions than in the first file"),
    ],
)
def test_coordinates_of_files_that_do_not_fit_are_refused(tmp_path: Path, variables: Any, message: str) -> None:
    files = write_files(tmp_path, [{"other": each} for each in variables])
    with pytest.raises(InvalidArgument, match="group") as caught:
        ask(files, "mean", "tas", concat="time", group=Group("other"))
    assert message in caught.value.message


# Memory


def make_small_engine(memory: int) -> ArrayEngine:
    return ArrayEngine(Engine(MemoryGate(memory, memory), sizes=SMALL), ArrayLimits(), ChunkFetchers(1))


@pytest.mark.parametrize(
    "fields",
    [
        {"group": Group("x")},
        {"where": {"x": Between("0", "1")}},
        {"group": Group("x"), "bins": (0.0, 1.0)},
        {"weights": ArrayWeights("x")},
        {"expression": parse_expression("v + x")},
    ],
)
def test_a_coordinate_of_few_stored_bytes_can_take_too_much_memory(fields: dict[str, Any]) -> None:
    """Its only chunks are absent, so that a small document stands for many elements."""
    size = 4_000_000
    objects = {}
    for name, shape, chunks in (("v", [size, 1], [size, 1]), ("x", [size], [size])):
        document = {
            "zarr_format": 2,
            "shape": shape,
            "chunks": chunks,
            "dtype": "|i1",
            "order": "C",
            "compressor": None,
            "filters": None,
            "fill_value": 0,
        }
        objects[f"{name}/.zarray"] = json.dumps(document).encode()
        objects[f"{name}/.zattrs"] = json.dumps({"_ARRAY_DIMENSIONS": ["x", "y"][: len(shape)]}).encode()
    reducer = "sum" if "weights" in fields else "max"
    reduction = ArrayReduction(reducer, "zarr", "v", decode="none", **fields)
    with pytest.raises(EntityTooLarge, match="MAX_OBJECT_MEMORY"):
        make_small_engine(100 << 20).reduce(reduction, MemoryContainer(objects), Scope.after(60))

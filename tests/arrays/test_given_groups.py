"""Groups of numbers that the caller gives: as a coordinate of these numbers gives them, and as xarray does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from active_storage.errors import EntityTooLarge, InvalidArgument
from active_storage.grammar.expressions import parse_expression
from active_storage.model.array_reduction import ArrayReduction
from active_storage.model.coordinates import Between, Group, NumberGroup, NumberWeights
from active_storage.model.ranges import Slice
from active_storage.model.reducers import ARRAY_REDUCERS
from handler.arrays.engine import ArrayAnswer, ArrayEngine, finish, join_section
from handler.engine.engine import Engine
from handler.engine.memory import MemoryGate
from handler.scope import Scope
from tests.arrays.memory_array import Array, ask, make_engine, store_array, values_of
from tests.arrays.stores import write_zarr
from tests.arrays.test_concat import Files
from tests.containers.memory import MemoryContainer

DIMS = ("time", "lat", "lon")
SHAPE = (30, 6, 5)

# Some numbers occur once, some often, in no order, and some are absent.
_RNG = np.random.default_rng(11)
NUMBERS: dict[str, tuple[str, Array]] = {
    "station": ("time", _RNG.integers(-3, 9, SHAPE[0])),
    "decade": ("time", np.where(_RNG.random(SHAPE[0]) < 0.3, np.nan, _RNG.integers(0, 4, SHAPE[0]) / 2)),
    "zone": ("lat", np.array([2, 2, 1, 7, 1, 2], "u8")),
    "sector": ("lon", np.array([np.nan, -1.5, -0.0, 0.0, 1e300])),
}
EDGES = (-1.0, 0.5, 1.0, 2.0)

FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "selection": {"selection": {"time": Slice(None, 3, -2), "lat": Slice(1, None, None)}},
    "where": {"where": {"lat": Between("-30", "60"), "lon": Between("-130", "70", is_cyclic=True)}},
    "weights": {"weights": NumberWeights(("lat",), (6,), (1.0, 2.0, 0.0, 3.0, 0.5, 1.0))},
    "thresholds": {"thresholds": {"gt": 280.0}},
    "expr": {"expression": parse_expression("v - w")},
    "bins": {"bins": EDGES},
}


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    values = _RNG.normal(280, 10, SHAPE)
    values[_RNG.random(SHAPE) < 0.1] = np.nan
    return xr.Dataset(
        {"v": (DIMS, values.astype("f4")), "w": (DIMS, _RNG.normal(0, 1, SHAPE))},
        {"time": np.arange(30), "lat": np.linspace(60, -60, 6), "lon": np.arange(5) * 72.0} | NUMBERS,
    )


@pytest.fixture(scope="module")
def container(dataset: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> MemoryContainer:
    encoding: dict[str, Any] = {name: {"chunks": (8, 4, 2)} for name in ("v", "w")}
    return write_zarr(dataset, tmp_path_factory.mktemp("given"), 2, encoding=encoding)


def give(name: str) -> NumberGroup:
    dimension, numbers = NUMBERS[name]
    return NumberGroup(dimension, tuple(numbers.tolist()))


def _more(reducer: str) -> dict[str, Any]:
    """The parameters that a reducer needs."""
    rule = ARRAY_REDUCERS[reducer]
    return {
        **({"edges": (250.0, 280.0, 290.0)} if reducer == "histogram" else {}),
        **({"other": "w"} if rule.takes_other else {}),
        **({"q": (0.1, 0.5)} if rule.takes_quantiles else {}),
    }


def _has(reducer: str, form: str) -> bool:
    """Whether a reducer takes the parameters of a form."""
    rule = ARRAY_REDUCERS[reducer]
    if form == "weights":
        return rule.takes_weights
    return not (rule.keeps_elements or rule.needs_weights or (rule.takes_other and form == "expr"))


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("form", FORMS)
def test_given_numbers_are_as_good_as_those_of_a_coordinate(
    engine: ArrayEngine, container: MemoryContainer, form: str, name: str
) -> None:
    """The same bits, counts and labels, for every reducer, and from partial results."""
    dimension, _ = NUMBERS[name]
    for reducer in (each for each in ARRAY_REDUCERS if _has(each, form)):
        has_one = form != "plain" or ARRAY_REDUCERS[reducer].one_axis
        for axis in ((dimension,),) if has_one else ((dimension,), DIMS):
            fields: dict[str, Any] = {"axis": axis, "decode": "xarray", **FORMS[form]}
            given, named = (
                ArrayReduction(reducer, "zarr", "v", group=group, **fields, **_more(reducer))
                for group in (give(name), Group(name))
            )
            got, wanted = (engine.reduce(each, container, Scope.after(60)) for each in (given, named))
            assert values_of(got).tobytes() == values_of(wanted).tobytes(), reducer
            assert got.result.counts == wanted.result.counts
            end = "_bins" if form == "bins" else ""
            renamed = {each.replace(f"{name}{end}", f"group{end}") if each else each for each in wanted.dimensions}
            assert {*got.dimensions} == renamed
            labels = dict(wanted.labels)
            labels[f"group{end}"] = labels.pop(f"{name}{end}")
            assert got.labels == labels
            assert list(map(type, got.labels["group"])) == list(map(type, labels["group"])) if not end else True
            if not ARRAY_REDUCERS[reducer].is_quantile:
                plan, sections = engine.reduce_sections(given, container, Scope.after(60))
                whole = plan.algebra.start(plan.selection.cells)
                for section in sections:
                    join_section(plan, whole, section)
                assert finish(plan, whole).data == values_of(got).tobytes()


JUDGED = ("sum", "mean", "min", "max", "var", "std", "median", "count", "any", "all", "quantile")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reducer", JUDGED)
@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("is_binned", [False, True])
def test_groups_are_those_of_xarray(
    engine: ArrayEngine, container: MemoryContainer, dataset: xr.Dataset, reducer: str, name: str, is_binned: bool
) -> None:
    dimension, _ = NUMBERS[name]
    for axis in ((dimension,), DIMS):
        kept = dataset["v"].isel(time=slice(None, 3, -2)).astype("f8").drop_vars(list(NUMBERS))
        by = dataset[name].reset_coords(drop=True).rename("group").isel(time=slice(None, 3, -2), missing_dims="ignore")
        grouped = kept.groupby_bins(by, EDGES) if is_binned else kept.groupby(by)
        dims = list(axis)
        wanted = grouped.quantile(0.3, dims) if reducer == "quantile" else getattr(grouped, reducer)(dims)
        reduction = ArrayReduction(
            reducer,
            "zarr",
            "v",
            axis=axis,
            decode="xarray",
            group=give(name),
            bins=EDGES if is_binned else None,
            selection={"time": Slice(None, 3, -2)},
            q=(0.3,) if reducer == "quantile" else (),
        )
        answer = engine.reduce(reduction, container, Scope.after(60))
        wanted = wanted.transpose(*answer.dimensions)
        filled = np.asarray(answer.result.counts).reshape(wanted.shape) > 0
        np.testing.assert_allclose(values_of(answer)[filled], wanted.values[filled], rtol=1e-5)
        labels = answer.labels["group_bins" if is_binned else "group"]
        assert len(labels) == wanted.sizes["group_bins" if is_binned else "group"]
        if not is_binned:
            assert labels == wanted["group"].values.tolist()


@pytest.mark.parametrize("reducer", ["argmin", "argmax", "histogram"])
def test_places_and_histograms_are_those_of_each_group(reducer: str) -> None:
    values = np.random.default_rng(2).permutation(120).reshape(20, 6).astype("f4")
    numbers = np.random.default_rng(3).integers(0, 4, 20)
    edges = np.array([0.0, 30.0, 60.0, 120.0])
    wanted = []
    for number in range(4):
        chosen = np.flatnonzero(numbers == number)
        if reducer == "histogram":
            wanted.append([np.histogram(values[chosen, column], edges)[0] for column in range(6)])
        else:
            wanted.append(chosen[getattr(values[chosen], reducer)(axis=0)])
    array, _ = store_array(values, (7, 4))
    more: dict[str, Any] = {"edges": tuple(edges.tolist())} if reducer == "histogram" else {}
    answer = ask(make_engine(), array, reducer, axis=(0,), group=NumberGroup(0, tuple(numbers.tolist())), **more)
    assert np.array_equal(values_of(answer), wanted)


def test_groups_go_on_from_file_to_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    files = Files(tmp_path)
    for size in (4, 1, 7):
        files.write(rng.normal(size=(size, 3)).astype("f4"))
    values, numbers = np.concatenate(files.stored), rng.integers(0, 3, 12).tolist()
    answer = files.ask("sum", axis=("time",), group=NumberGroup("time", tuple(numbers)))
    wanted = [values[np.array(numbers) == number].sum(axis=0, dtype="f8") for number in range(3)]
    np.testing.assert_allclose(values_of(answer), wanted, rtol=1e-6)
    assert answer.labels == {"group": [0, 1, 2]}


def _ask(dimensions: tuple[str | None, ...] = ("time", "lat"), **fields: Any) -> ArrayAnswer:
    array, _ = store_array(np.arange(12.0).reshape(4, 3), (2, 2), dimensions=dimensions)
    return ask(make_engine(), array, "sum", **fields)


def test_the_name_of_the_groups_is_no_dimension_of_the_array() -> None:
    numbers = (0.5, 0.5, 1.5, 2.5)
    for dimensions, bins, name in (
        (("time", "lat"), None, "group"),
        (("time", "group"), None, "group_"),
        (("group", "lat"), None, "group_"),
        (("time", "group"), (0.0, 3.0), "group__bins"),
        (("time", "group_bins"), (0.0, 3.0), "group__bins"),
        (("group", "group_"), None, "group__"),
        ((None, None), None, "group"),
    ):
        answer = _ask(dimensions, axis=(0,), group=NumberGroup(0, numbers), bins=bins)
        assert answer.dimensions == (name, dimensions[1])
        assert answer.labels == {name: [[0.0, 3.0]] if bins else [0.5, 1.5, 2.5]}


def test_without_any_number_there_are_no_groups() -> None:
    answer = _ask(axis=("time",), group=NumberGroup("time", (float("nan"),) * 4))
    assert (values_of(answer).shape, answer.labels) == ((0, 3), {"group": []})
    # The result of groups that are not selected has no place either.
    answer = _ask(axis=("time",), group=NumberGroup("time", (0, 1, 2, 3)), selection={"time": Slice(1, 3)})
    assert answer.labels == {"group": [1, 2]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"group": NumberGroup("time", (1, 2, 3))}, "group: has 3 values, and its dimension has 4 indices"),
        (
            {"group": NumberGroup("tme", (1, 2, 3, 4))},
            "group: no dimension is named 'tme'; the array has 'time', 'lat'",
        ),
        ({"group": NumberGroup(2, (1, 2, 3, 4))}, "group: names dimension 2 of an array of 2 dimensions"),
        (
            {"group": NumberGroup(-2, (1, 2, 3, 4)), "axis": ("lat",)},
            "axis: should contain the dimension of the group, 'time'",
        ),
        ({"group": NumberGroup("time", (1, 2, 3, 4)), "bins": (2.0, 1.0)}, "bins: should be finite numbers"),
    ],
)
def test_numbers_that_do_not_fit_the_array_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        _ask(**fields)
    assert message in str(caught.value)


def test_the_numbers_count_as_memory() -> None:
    array, _ = store_array(np.zeros(100_000, "u1"), (100_000,))
    group = NumberGroup(0, (float("nan"),) * 100_000)
    for limit, is_enough in ((1 << 26, True), (1 << 23, False)):
        engine = ArrayEngine(Engine(MemoryGate(1 << 30, limit)))
        if is_enough:
            assert values_of(ask(engine, array, "sum", group=group)).shape == (0,)
            continue
        with pytest.raises(EntityTooLarge, match="MAX_OBJECT_MEMORY"):
            ask(engine, array, "sum", group=group)
        assert engine._gate.held_bytes == 0

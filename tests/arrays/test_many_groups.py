"""Many groups in one chunk, which are reduced together: the same as each group by itself."""

import math
from typing import Any

import numpy as np
import pytest
import xarray as xr

from active_storage.grammar.expressions import parse_expression
from active_storage.model.array_reduction import ArrayReduction
from active_storage.model.coordinates import ArrayWeights, Between, CosineWeights, Group, NumberGroup
from active_storage.model.ranges import Slice
from active_storage.model.reducers import ARRAY_REDUCERS
from handler.arrays.grid import ListedDimension, make_dimension
from handler.arrays.selection import Listed
from handler.kernels.sizes import Sizes
from handler.scope import Scope
from tests.arrays.memory_array import ask, make_engine, store_array, values_of
from tests.arrays.stores import write_zarr
from tests.containers.memory import MemoryContainer

COUNT = 90


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    rng = np.random.default_rng(5)
    values = rng.normal(280, 10, (COUNT, 5, 6))
    values[rng.random(values.shape) < 0.1] = np.nan
    dataset = xr.Dataset(
        {
            "v": (("time", "lat", "lon"), values.astype("float32")),
            "w": (("time", "lat", "lon"), rng.normal(0, 1, values.shape)),
            "clim": (("lat", "lon"), rng.normal(280, 1, values.shape[1:])),
            "share": (("time", "lat"), rng.random(values.shape[:2])),
        },
        # Some values occur once, some often, and in no order.
        {"time": np.arange(COUNT), "lat": np.linspace(60, -60, 5), "lon": np.arange(6) * 60.0}
        | {"region": ("time", np.minimum(rng.integers(0, 60, COUNT), rng.integers(0, 60, COUNT)))},
    )
    for name in ("v", "w"):
        dataset[name].encoding = {"chunks": (40, 3, 4)}
    return dataset


@pytest.fixture(scope="module")
def container(dataset: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> MemoryContainer:
    return write_zarr(dataset, tmp_path_factory.mktemp("many"), 2)


FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "steps": {"selection": {"time": Slice(None, None, -1), "lon": Slice(None, None, -2)}},
    "places": {"where": {"lon": Between("-130", "70", is_cyclic=True), "lat": Between("-30", "60")}},
    "cosines": {"weights": CosineWeights("lat")},
    "weights": {"weights": ArrayWeights("share")},
    "thresholds": {"thresholds": {"gt": 280.0}},
    "expr": {"expression": parse_expression("v - clim + w")},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("axis", [("time",), ("time", "lon"), ("time", "lat", "lon")])
@pytest.mark.parametrize("form", FORMS)
def test_many_groups_are_the_same_as_each_by_itself(
    dataset: xr.Dataset, container: MemoryContainer, form: str, axis: tuple[str, ...]
) -> None:
    engine, fields = make_engine(), FORMS[form]
    region = dataset["region"].values[:: -1 if form == "steps" else 1]
    for reducer, rule in ARRAY_REDUCERS.items():
        if rule.keeps_elements or rule.is_quantile or ("weights" in fields and not rule.takes_weights) or rule.one_axis:
            continue
        if (rule.needs_weights and "weights" not in fields) or (rule.takes_other and form == "expr"):
            continue
        more: dict[str, Any] = {"edges": (250.0, 280.0, 290.0)} if reducer == "histogram" else {}
        more |= {"other": "w"} if rule.takes_other else {}
        reduction = ArrayReduction(
            reducer, "zarr", "v", axis=axis, decode="xarray", group=Group("region"), **fields, **more
        )
        answer = engine.reduce(reduction, container, Scope.after(60))
        assert answer.labels["region"] == np.unique(region).tolist()
        got = values_of(answer)
        leading = 1 if rule.leading else 0
        counts: Any = np.reshape(np.asarray(answer.result.counts), got.shape[leading : got.ndim - rule.has_bins])
        for number in range(0, len(answer.labels["region"]), 13):
            label = str(answer.labels["region"][number])
            chosen = {**fields.get("where", {}), "region": Between(label, label)}
            one = ArrayReduction(
                reducer, "zarr", "v", axis=axis, decode="xarray", **{**fields, "where": chosen}, **more
            )
            wanted = engine.reduce(one, container, Scope.after(60))
            np.testing.assert_array_equal(counts[number].ravel(), wanted.result.counts or wanted.result.count_total)
            mine = got[:, number] if leading else got[number]
            np.testing.assert_allclose(mine, values_of(wanted), rtol=1e-5, atol=1e-4, err_msg=f"{reducer} {number}")


def test_a_group_can_have_some_elements_of_a_chunk_and_one_of_the_next() -> None:
    # 2, 3 and 5 are no slice, and 7 is one.
    values = np.arange(40.0).reshape(10, 4)
    array, _ = store_array(values, chunks=(6, 4))
    numbers = tuple(0 if place in {2, 3, 5, 7} else math.nan for place in range(10))
    answer = ask(make_engine(Sizes()), array, "sum", axis=(0, 1), group=NumberGroup(0, numbers))
    assert values_of(answer).tolist() == [values[[2, 3, 5, 7]].sum()]


def test_groups_of_the_same_size_are_one_part() -> None:
    groups = np.arange(1000) // 2
    groups[-30:] = np.arange(600, 630)
    listed = Listed.of(np.arange(1000), groups)
    dimension = make_dimension(listed, 1000, 0, folds=True)
    assert isinstance(dimension, ListedDimension)
    parts = dimension.parts(0)
    shapes: list[Any] = [getattr(part.selected, "shape", None) for part in parts]
    cells: list[Any] = [part.cells for part in parts]
    assert shapes == [(30, 1), (485, 2)]
    assert [len(each) for each in cells] == [30, 485]
    # Each by itself where positions are sought.
    assert len(make_dimension(listed, 1000, 0, folds=False).parts(0)) == 515

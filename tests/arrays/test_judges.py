"""Random arrays in containers of every kind, which libraries write: every answer is what xarray and numpy say.

``ARRAY_EXAMPLES`` is the number of containers of each kind, 20 by default; ``--hypothesis-profile=default`` draws other
ones than last time.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from active_storage.model.array_reduction import ArrayReduction
from active_storage.model.ranges import Slice
from active_storage.model.reducers import REDUCERS as REDUCER_RULES
from handler.arrays.engine import ArrayEngine
from handler.scope import Scope
from tests.arrays.judge import Question, check, check_with_xarray, decode
from tests.arrays.written import KINDS, NAME, Array, Contents, Kind

EXAMPLES = int(os.environ.get("ARRAY_EXAMPLES", "20"))

REDUCERS = (
    "sum", "mean", "max", "min", "var", "std", "count", "argmax", "argmin", "any", "all", "select", "stats",
    "first", "last", "range", "rms", "norm", "skew", "kurtosis", "count_nonzero", "histogram",
)  # fmt: skip

_STEPS = st.none() | st.sampled_from([1, 2, 3, 7, -1, -2, -5])
_SLICES = st.builds(Slice, st.none() | st.integers(-9, 9), st.none() | st.integers(-9, 9), _STEPS) | st.just(Slice())


def _draw_values(draw: st.DrawFn, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    rng = np.random.default_rng(draw(st.integers(0, 2**20)))
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.kind == "f":
        values = rng.normal(*draw(st.sampled_from([(0, 1), (273.15, 20), (1e5, 1e-2), (0, 1e30)])), shape)
        if draw(st.booleans()):
            values = np.where(rng.random(shape) < 0.1, np.nan, values)
        return np.asarray(values).astype(dtype)
    info = np.iinfo(dtype)
    low, high = draw(st.sampled_from([(0, 100), (info.min, info.max), (max(info.min, -50), 50)]))
    return np.asarray(rng.integers(low, high, shape, dtype, endpoint=True))


def _draw_missing(draw: st.DrawFn, values: Array) -> Any:
    """A number that marks missing data, which float64 can hold."""
    choices = [0, 7, *([np.nan] if values.dtype.kind == "f" else [])]
    if values.size and (values.dtype.kind == "f" or values.itemsize < 8):
        choices.append(draw(st.sampled_from([values.flat[0], values.flat[-1]])))
    return values.dtype.type(draw(st.sampled_from(choices)))


def _draw_attributes(draw: st.DrawFn, dtype: np.dtype[Any], values: Array) -> dict[str, Any]:
    attributes: dict[str, Any] = {"units": "K"}
    if dtype.kind == "b":
        return attributes
    # xarray rounds stored numbers to the type of values before it looks for missing ones, and finds them no more.
    is_small = dtype == np.float32 or dtype.itemsize <= 2
    floats = st.sampled_from([np.float32, np.float64] if is_small else [np.float64])
    if draw(st.booleans()):
        attributes["scale_factor"] = draw(floats)(draw(st.sampled_from([0.5, 0.01, -2.0, 1e-3, 1.0])))
    if draw(st.booleans()):
        attributes["add_offset"] = draw(floats)(draw(st.sampled_from([0.0, 273.15, -5.0])))
    if draw(st.integers(0, 3)) == 0:
        attributes["missing_value"] = _draw_missing(draw, values)
    elif draw(st.integers(0, 2)) == 0 and dtype.kind in "iu":
        # Beside missing_value xarray has a rule of its own: it is not read as unsigned.
        attributes["_Unsigned"] = "true" if dtype.kind == "i" else "false"
    return attributes


@st.composite
def contents(draw: st.DrawFn, kind: Kind) -> Contents:
    dtype = np.dtype(draw(st.sampled_from(kind.dtypes)))
    sizes = st.integers(0 if kind.has_empty else 1, 9)
    shape = tuple(draw(st.lists(sizes, min_size=not kind.has_scalars, max_size=3)))
    chunks = tuple(draw(st.integers(1, max(1, size))) for size in shape)
    values = _draw_values(draw, dtype, shape)
    fill = None
    if dtype.kind != "b" and draw(st.booleans()):
        fill = _draw_missing(draw, values)
    count = int(np.prod([-(-size // chunk) for size, chunk in zip(shape, chunks, strict=True)]))
    absent = draw(st.sets(st.integers(0, max(0, count - 1)), max_size=3)) if kind.has_absent else ()
    attributes = _draw_attributes(draw, dtype, values)
    return Contents(
        values,
        chunks,
        attributes,
        fill,
        frozenset(absent),
        codec=draw(st.integers(0, 60)),
        unlimited=draw(st.integers(0, len(shape))),
        # xarray reads the fill value of big-endian numbers as one of little-endian ones if they are made unsigned.
        is_big="_Unsigned" not in attributes and draw(st.booleans()),
    )


@st.composite
def questions(draw: st.DrawFn, dimensions: int, numbers: list[float]) -> Question:
    """A question of an array with these dimensions, in which these numbers may matter."""
    reducer = draw(st.sampled_from(REDUCERS))
    axes = st.lists(st.integers(0, max(0, dimensions - 1)), unique=True, max_size=dimensions)
    axis = draw(st.none() | axes.map(lambda chosen: tuple(sorted(chosen))))
    if reducer.startswith("arg") and axis is not None:
        axis = axis[:1] or None
    edges = None
    if reducer == "histogram" and (axis is not None or draw(st.booleans())):
        edges = tuple(sorted(draw(st.sets(st.sampled_from(numbers), min_size=2, max_size=5))))
    names = st.sampled_from(["gt", "ge", "lt", "le"])
    thresholds = draw(st.just({}) | st.dictionaries(names, st.sampled_from(numbers), max_size=2))
    return Question(
        reducer,
        draw(st.sampled_from(["xarray", "cf", "none"])),
        tuple(draw(_SLICES) for _ in range(dimensions)),
        axis,
        draw(st.booleans()),
        draw(st.integers(0, 1)) if reducer in ("var", "std") else 0,
        edges,
        thresholds,
    )


def _find_numbers(values: Array) -> list[float]:
    """Numbers around and among some values."""
    some = [float(value) for value in values.ravel()[:20] if np.isfinite(value)]
    return sorted({0, 1.5, -3, 50, 273.15, 1e30, *some})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_every_answer_is_what_xarray_and_numpy_say(engine: ArrayEngine, folders: Iterator[Path], kind: str) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def examine(data: st.DataObject) -> None:
        written_from = data.draw(contents(KINDS[kind]))
        written = KINDS[kind].write(written_from, next(folders))
        decoded, raw = written.read(True), written.read(False)
        asked = data.draw(
            st.lists(questions(written_from.values.ndim, _find_numbers(decoded.values)), min_size=8, max_size=12)
        )
        for question in asked:
            judged = decode(decoded, raw, question.decode)
            if judged.values.dtype.kind not in REDUCER_RULES[question.reducer].kinds:
                continue
            fields = question.fields(written_from.dimensions)
            reduction = ArrayReduction(question.reducer, written.container_type, NAME, **fields)
            answer = engine.reduce(reduction, written.container, Scope.after(60))
            check_with_xarray(question, judged, decoded)
            check(question, answer, judged, written_from.dimensions)

    examine()

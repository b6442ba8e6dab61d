"""The grammar of whole arrays: the printer and the parser are a pair, and every slip is refused by name."""

import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_storage.errors import InvalidArgument, UnknownReducer
from active_storage.grammar.arrays import (
    ARRAY_PARAMETERS,
    build_array_reduction,
    format_array_reduction,
    format_array_segment,
    names_container,
    parse_dimension,
)
from active_storage.grammar.parameters import PARAMETERS
from active_storage.grammar.query import split_query
from active_storage.grammar.reductions import build_reduction, build_spec, merge, parse_path, parse_reduction
from active_storage.grammar.targets import ReductionPath, split_path
from active_storage.grammar.text import encode
from active_storage.model.array_reduction import CONTAINER_TYPES, THRESHOLDS, ArrayReduction, ContainerType
from active_storage.model.missing import MISSING_RULES
from active_storage.model.quantiles import QUANTILE_METHODS
from active_storage.model.ranges import Slice
from active_storage.model.reducers import ARRAY_REDUCERS, REDUCERS
from active_storage.model.spec import ReductionSpec

bounds = st.none() | st.integers(-(2**40), 2**40)
slices = st.builds(Slice, bounds, bounds, st.none() | st.integers(-5, 5).filter(bool))
names = st.text(st.characters(codec="utf-8", exclude_characters=",;:="), min_size=1, max_size=8).filter(
    lambda name: isinstance(parse_dimension("axis", name), str)
)
dimensions: st.SearchStrategy[int | str] = st.integers(-32, 31) | names
numbers = st.integers(-(2**64), 2**64) | st.floats(allow_nan=False) | st.just(math.nan)
paths = st.text(st.characters(codec="utf-8", exclude_characters=";"), min_size=1, max_size=12).filter(
    lambda path: not path.startswith("/")
)


thresholds = numbers.filter(lambda number: number == number)  # noqa: PLR0124  # not NaN
edges = st.sets(thresholds.filter(math.isfinite), min_size=2, max_size=4).map(lambda some: tuple(sorted(some)))


@st.composite
def reductions(draw: st.DrawFn) -> ArrayReduction:
    """Any reduction of a whole array that a URL can name."""
    reducer = draw(st.sampled_from([*REDUCERS, "quantile", "median"]))
    container: ContainerType = draw(st.sampled_from(("zarr", "netcdf", "kerchunk")))
    by_position = draw(st.booleans())
    selection: Mapping[int | str, Slice]
    if by_position:
        selection = dict(enumerate(draw(st.lists(slices, max_size=4))))
    else:
        selection = draw(st.dictionaries(dimensions, slices, max_size=4))
    rules = draw(st.sets(st.sampled_from(list(MISSING_RULES))))
    return ArrayReduction(
        reducer,
        container,
        "" if container == "zarr" else draw(paths),
        axis=draw(st.none() | st.lists(dimensions, unique=True, max_size=3).map(tuple)),
        selection=selection,
        is_complete=by_position,
        decode=draw(st.sampled_from(["cf", "xarray", "none"])),
        missing={rule: tuple(draw(st.lists(numbers, min_size=1, max_size=3))) for rule in rules},
        ddof=draw(st.integers(-2, 5)) if ARRAY_REDUCERS[reducer].takes_ddof else 0,
        edges=draw(st.none() | edges) if ARRAY_REDUCERS[reducer].has_bins else None,
        thresholds=draw(st.dictionaries(st.sampled_from(THRESHOLDS), thresholds, max_size=4)),
        q=draw(st.lists(st.floats(0, 1), min_size=1, max_size=3).map(tuple)) if reducer == "quantile" else (),
        method=draw(st.sampled_from(QUANTILE_METHODS)) if reducer == "quantile" else "linear",
        skipna=draw(st.none() | st.booleans()),
        absent_is_forbidden=draw(st.booleans()),
    )


@given(reductions())
def test_parsing_what_was_printed_gives_the_same_reduction(reduction: ArrayReduction) -> None:
    target = f"/{reduction.reducer}/{encode(format_array_segment(reduction), safe='')}/bucket/store.zarr/tas"
    path = split_path(target)
    texts = parse_path(path)
    assert names_container(texts)
    assert build_reduction(texts) == reduction
    assert path.object_path == "/bucket/store.zarr/tas"


@given(reductions())
def test_equal_reductions_have_equal_text(reduction: ArrayReduction) -> None:
    text = format_array_reduction(reduction)
    again = build_array_reduction(parse_reduction(text))
    assert again == reduction
    assert format_array_reduction(again) == text


@given(reductions())
def test_the_query_says_the_same_as_the_path(reduction: ArrayReduction) -> None:
    container, _, parameters = format_array_segment(reduction).partition(";")
    pairs = [pair.partition("=") for pair in parameters.split(";") if pair]
    query = split_query("&".join(f"{name}={encode(value, safe='')}" for name, _, value in pairs))
    path = ReductionPath(reduction.reducer, container, "/bucket/key")
    assert query.rest.text == ""
    assert build_reduction(merge(parse_path(path), query.parameters)) == reduction


def build(segment: str, reducer: str = "mean") -> ArrayReduction:
    return build_array_reduction(parse_path(ReductionPath(reducer, segment, "/bucket/key")))


@pytest.mark.parametrize(
    ("segment", "fields"),
    [
        ("zarr", {}),
        ("zarr;axis=", {"axis": ()}),
        ("zarr;axis=time", {"axis": ("time",)}),
        ("zarr%3Baxis%3Dlat%2C-1", {"axis": ("lat", -1)}),
        ("zarr;axis=%2B1", {"axis": (1,)}),
        ("zarr;axis=850hPa", {"axis": ("850hPa",)}),
        ("zarr;axis=h%C3%B6he", {"axis": ("höhe",)}),
        ("zarr;selection=", {"is_complete": True}),
        (
            "zarr;selection=0:120,:,::2",
            {"selection": {0: Slice(0, 120), 1: Slice(), 2: Slice(None, None, 2)}, "is_complete": True},
        ),
        ("zarr;selection=3:20:2", {"selection": {0: Slice(3, 20, 2)}, "is_complete": True}),
        (
            "zarr;selection=time:3:20:2,lon:::2",
            {"selection": {"time": Slice(3, 20, 2), "lon": Slice(None, None, 2)}},
        ),
        ("zarr;selection=time:-1:,0:3:20:", {"selection": {"time": Slice(-1, None), 0: Slice(3, 20)}}),
        ("zarr;selection=-1:::-1", {"selection": {-1: Slice(None, None, -1)}}),
        ("zarr;decode=none;skipna=true;absent=403", {"decode": "none", "skipna": True, "absent_is_forbidden": True}),
        ("zarr;skipna=false", {"skipna": False}),
        ("zarr;missing_value=-999;valid_min=0.5", {"missing": {"missing_value": (-999,), "valid_min": (0.5,)}}),
    ],
)
def test_what_a_segment_means(segment: str, fields: dict[str, object]) -> None:
    assert build(segment) == ArrayReduction("mean", "zarr", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("segment", ["netcdf;var=g/tas", "netcdf;var=/g/tas", "hdf5;var=%2Fg%2Ftas"])
def test_the_path_of_a_variable_takes_a_slash_at_its_beginning(segment: str) -> None:
    assert build(segment) == ArrayReduction("mean", "netcdf", "g/tas")


@pytest.mark.parametrize(
    ("segment", "fields"),
    [
        ("zarr;q=0.5", {"q": (0.5,)}),
        ("zarr;q=0,5e-2,1;method=lower", {"q": (0.0, 0.05, 1.0), "method": "lower"}),
    ],
)
def test_what_quantiles_mean(segment: str, fields: dict[str, object]) -> None:
    assert build(segment, "quantile") == ArrayReduction("quantile", "zarr", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("segment", "field", "part"),
    [
        ("zarr", "q", "is required for quantile"),
        ("zarr;q=", "q", "is required"),
        ("zarr;q=x", "q", "'x'"),
        ("zarr;q=0.5,", "q", "''"),
        ("zarr;q=0.5,2", "q", "should be from 0 to 1"),
        ("zarr;q=nan", "q", "should be from 0 to 1"),
        ("zarr;q=0.5;method=Linear", "method", "'Linear'"),
    ],
)
def test_a_wrong_quantile_is_refused_by_name(segment: str, field: str, part: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        build(segment, "quantile")
    assert caught.value.field == field
    assert part in caught.value.reason


def test_a_reduction_without_an_object_takes_the_path_of_a_variable_too() -> None:
    assert build_reduction(parse_reduction("max/netcdf;var=g/tas;ddof=0")) == ArrayReduction("max", "netcdf", "g/tas")


def test_numbers_that_are_equal_are_printed_alike() -> None:
    texts = {
        format_array_segment(ArrayReduction("sum", "zarr", missing={"missing_values": values}))
        for values in ((1, 0, 1e20), (1.0, -0.0, 10**20))
    }
    assert texts == {"zarr;missing_values=1,0,1e+20"}


@pytest.mark.parametrize(
    ("segment", "field", "part"),
    [
        ("netcdf", "var", "is required with netcdf"),
        ("kerchunk", "var", "is required"),
        ("zarr;var=tas", "var", "the key is the path"),
        ("netcdf;var=", "var", "names no array"),
        ("netcdf;var=/", "var", "names no array"),
        ("netcdf;var", "var", "has no value"),
        ("netcdf;var=a;var=b", "var", "twice"),
        ("table", "dtype", "POST /arrays/v1/"),
        ("zarr;axis=time,time", "axis", "twice"),
        ("zarr;axis=0,00", "axis", "twice"),
        ("zarr;axis=a,,b", "axis", "empty name"),
        ("zarr;axis=a:b", "axis", "'a:b'"),
        ("zarr;axis=123456789012345678901", "axis", "not an integer"),
        ("zarr;selection=time", "selection", "'time'"),
        ("zarr;selection=time:3", "selection", "'time:3'"),
        ("zarr;selection=time:3:4:5:6", "selection", "'time:3:4:5:6'"),
        ("zarr;selection=:1:2:3", "selection", "empty name"),
        ("zarr;selection=3", "selection", "'3'"),
        ("zarr;selection=0:x", "selection", "'x'"),
        ("zarr;selection=time:0:x", "selection", "'x'"),
        ("zarr;selection=::0", "selection", "step"),
        ("zarr;selection=time:::0", "selection", "step"),
        ("zarr;selection=0:1,time:0:1", "selection", "in one way"),
        ("zarr;selection=time:0:1,time:2:3", "selection", "twice"),
        ("zarr;decode=CF", "decode", "'CF'"),
        ("zarr;skipna=True", "skipna", "'True'"),
        ("zarr;absent=404", "absent", "'404'"),
        ("zarr;ddof=1", "ddof", "mean"),
        ("zarr;missing_value=x", "missing_value", "'x'"),
        ("zarr;gt=x", "gt", "'x'"),
        ("zarr;le=nan", "le", "NaN"),
        ("zarr;edges=0,1", "edges", "histogram, not of mean"),
        ("zarr;chunks=1", "'chunks'", "the parameters are var, axis"),
        *(
            (f"{container};var=a;{name}=1", name, f"means nothing with {container}")
            for container in ("netcdf", "hdf5", "kerchunk")
            for name in sorted(PARAMETERS.keys() - ARRAY_PARAMETERS.keys())
        ),
    ],
)
def test_a_slip_is_refused_by_name(segment: str, field: str, part: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        build(segment)
    assert caught.value.field == field
    assert part in caught.value.reason


def test_the_reducer_is_needed_and_known() -> None:
    with pytest.raises(UnknownReducer):
        build("zarr", "mode")
    with pytest.raises(InvalidArgument, match="reducer: is required"):
        build_array_reduction({"dtype": "zarr"})


@pytest.mark.parametrize("name", sorted(ARRAY_PARAMETERS.keys() - PARAMETERS.keys()))
def test_a_parameter_of_containers_is_refused_for_a_data_type(name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^{name}: is a parameter of whole arrays, not of 'float32'"):
        build_spec({"reducer": "sum", "dtype": "float32", name: "1"}, None)


def test_a_data_type_is_no_container() -> None:
    assert build_reduction({"reducer": "sum", "dtype": "float32"}) == ReductionSpec("sum", "float32")
    assert not any(names_container({"dtype": name}) for name in ("float32", "ZARR", "zarr ", ""))
    assert all(names_container({"dtype": name}) for name in CONTAINER_TYPES)

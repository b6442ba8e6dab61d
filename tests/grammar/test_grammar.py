"""The grammar: formatting and parsing are inverse, and every error names the field."""

import contextlib
import string
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_storage.errors import InvalidArgument, InvalidRange, NoSuchDoor, UnknownReducer
from active_storage.grammar.query import StoreQuery, format_query, split_query
from active_storage.grammar.ranges import format_range, parse_range
from active_storage.grammar.reductions import (
    build_spec,
    format_reduction,
    format_segment,
    merge,
    parse_path,
    parse_reduction,
)
from active_storage.grammar.targets import ReductionPath, split_path, split_target
from active_storage.grammar.text import encode
from active_storage.model.codecs import CODECS, COMPRESSIONS, FILTERS
from active_storage.model.dtypes import DTYPES, MAX_BYTES, SUM_DTYPES
from active_storage.model.missing import Missing
from active_storage.model.ranges import ByteRange, Slice
from active_storage.model.reducers import REDUCERS
from active_storage.model.spec import ReductionSpec
from active_storage.model.steps import Step

positions = st.integers(0, 2**62)
slices = st.builds(
    Slice,
    st.none() | positions,
    st.none() | positions.map(lambda place: -place),
    st.none() | st.integers(-5, 5).filter(bool),
)

PARAMETER_VALUES: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(
        ("dtype", "astype", "encode_dtype", "decode_dtype"),
        st.sampled_from(["i1", "<i2", ">i4", "float32", "<float64", "|u1", "uint64", "b1", "c16"]),
    ),
    **dict.fromkeys(
        ("offset", "scale"),
        st.floats(allow_nan=False, allow_infinity=False).filter(bool) | st.integers(-(10**18), 10**18).filter(bool),
    ),
    "cd_values": st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20).map(tuple),
    "location": st.sampled_from(["start", "end"]),
    "format": st.just(1),
    "initval": st.integers(0, 2**32 - 1),
    "cname": st.sampled_from(["none", "lz4", "zstd"]),
    "block_size": st.integers(0, 2**24),
}


@st.composite
def steps(draw: st.DrawFn, names: Sequence[str]) -> Step:
    """A random step, with random parameters."""
    name = draw(st.sampled_from(names))
    given = {
        key: draw(PARAMETER_VALUES[key])
        for key, parameter in CODECS[name].parameters.items()
        if parameter.is_required or draw(st.booleans())
    }
    return Step(name, draw(st.none() | st.integers(1, 4096)), tuple(given.items()))


small = st.integers(0, 1)
rules = st.one_of(
    st.builds(
        Missing, st.lists(small, min_size=1, max_size=9).map(tuple), st.just(0) | st.none(), st.just(1) | st.none()
    ),
    st.builds(Missing, st.just(()), st.just(0), st.none() | small),
    st.builds(Missing, st.just(()), st.none(), small),
)
float_rules = st.builds(Missing, st.lists(st.floats(width=16), min_size=1, max_size=5).map(tuple))


edges = st.sets(
    st.integers(-(2**64), 2**64) | st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=5
).map(lambda numbers: tuple(sorted(numbers)))


def _find_sum_dtypes(dtype: str) -> list[str | None]:
    return [None, *(wide for wide in SUM_DTYPES if np.can_cast(dtype, wide))]


@st.composite
def specs(draw: st.DrawFn) -> ReductionSpec:
    """A random reduction."""
    reducer = draw(st.sampled_from(list(REDUCERS)))
    rule = REDUCERS[reducer]
    dtype = draw(st.sampled_from([name for name, dtype in DTYPES.items() if dtype.kind in rule.kinds]))
    least = 1 if rule.one_axis else 0
    shape = draw(st.none() | st.lists(st.integers(1, 1000), min_size=least, max_size=5).map(tuple))
    dimensions = 1 if shape is None else len(shape)
    some_axes = (
        st.sets(st.sampled_from(range(dimensions)), max_size=dimensions).map(tuple) if dimensions else st.just(())
    )
    one_axis = st.integers(0, max(dimensions - 1, 0)).map(lambda axis: (axis,))
    kind = DTYPES[dtype].kind
    encoding = draw(st.none() | steps(COMPRESSIONS))
    return ReductionSpec(
        reducer,
        dtype,
        draw(st.sampled_from(["little", "big"])),
        shape=shape,
        order=draw(st.sampled_from(["C", "F"])),
        selection=draw(st.none() | st.tuples(*[slices] * dimensions)),
        axis=draw(st.none() | (one_axis if rule.one_axis else some_axes)),
        offset=draw(st.integers(0, 2**62)),
        size=draw(st.none() | st.integers(1, 2**62 - 1)) if encoding else None,
        steps=(*draw(st.lists(steps(FILTERS + COMPRESSIONS), max_size=3)), *([encoding] if encoding else [])),
        missing=None if kind == "c" else draw(st.none() | rules | (float_rules if kind == "f" else rules)),
        sum_dtype=draw(st.sampled_from(_find_sum_dtypes(dtype))) if reducer == "sum" else None,
        ddof=draw(st.integers(-2, 5)) if rule.takes_ddof else 0,
        edges=draw(st.none() | edges) if rule.has_bins else None,
    )


ranges = st.one_of(
    st.builds(lambda first, length: ByteRange(first, first + length), positions, st.integers(0, 2**62 - 1)),
    st.builds(ByteRange, positions, st.none()),
    st.builds(ByteRange, st.none(), positions),
)
keys = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=30)


@given(specs(), keys)
def test_a_formatted_spec_is_parsed_to_the_same_spec(spec: ReductionSpec, key: str) -> None:
    target = f"/{spec.reducer}/{encode(format_segment(spec))}/bucket/{encode(key)}"
    path = split_path(split_target(target)[0])
    assert build_spec(parse_path(path), None) == spec
    assert path.object_path == f"/bucket/{encode(key)}"


@given(specs())
def test_parameters_in_the_query_equal_those_in_the_path(spec: ReductionSpec) -> None:
    dtype, _, parameters = format_segment(spec).partition(";")
    query = split_query("&".join(encode(pair).replace("%3D", "=", 1) for pair in parameters.split(";")))
    assert build_spec(merge(parse_path(ReductionPath(spec.reducer, dtype, "/b/k")), query.parameters), None) == spec


@given(specs())
def test_a_formatted_query_is_parsed_to_the_same_names(spec: ReductionSpec) -> None:
    names = parse_reduction(format_reduction(spec))
    query = split_query(format_query(names))
    assert (query.parameters, query.rest.text) == (names, "")


@given(specs())
def test_a_formatted_reduction_is_parsed_to_the_same_texts(spec: ReductionSpec) -> None:
    assert build_spec(parse_reduction(format_reduction(spec)), None) == spec


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", {}),
        ("sum", {"reducer": "sum"}),
        ("/float32", {"dtype": "float32"}),
        ("sum/;axis=", {"reducer": "sum", "axis": ""}),
        ("/;axis=0", {"axis": "0"}),
        (";axis=0;order=F", {"axis": "0", "order": "F"}),
        ("sum/float32;axis=0", {"reducer": "sum", "dtype": "float32", "axis": "0"}),
    ],
)
def test_a_reduction_can_leave_out_parts(text: str, names: dict[str, str]) -> None:
    assert parse_reduction(text) == names


@pytest.mark.parametrize("given", [{"reducer": "sum"}, {"dtype": "int8"}, {}])
def test_reducer_and_data_type_are_required(given: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument, match="is required"):
        build_spec(given, None)


def test_texts_are_merged_and_contradictions_refused() -> None:
    assert merge({"reducer": "sum"}, {"reducer": "sum", "axis": "0"}) == {"reducer": "sum", "axis": "0"}
    with pytest.raises(InvalidArgument, match=r"^axis: is '0' in one part of the request and '1' in another"):
        merge({"axis": "0"}, {"dtype": "int8"}, {"axis": "1"})


@given(ranges)
def test_a_formatted_range_is_parsed_to_the_same_range(byte_range: ByteRange) -> None:
    assert parse_range(format_range(byte_range)) == byte_range


@given(ranges, st.integers(0, 2**63))
def test_a_resolved_range_is_within_the_object(byte_range: ByteRange, total: int) -> None:
    with contextlib.suppress(InvalidRange):
        start, stop = byte_range.resolve(total)
        assert 0 <= start < stop <= total


@pytest.mark.parametrize(
    ("header", "total", "span"),
    [
        ("bytes=0-39", 100, (0, 40)),
        ("bytes=40-", 100, (40, 100)),
        ("bytes=-8", 100, (92, 100)),
        ("bytes=90-200", 100, (90, 100)),
        ("bytes=-200", 100, (0, 100)),
        ("BYTES = 0-3", 100, (0, 4)),
    ],
)
def test_ranges_select_the_bytes_that_s3_selects(header: str, total: int, span: tuple[int, int]) -> None:
    assert parse_range(header).resolve(total) == span


@pytest.mark.parametrize(
    "header", ["bytes=0-9223372036854775808", "bytes=0-9999999999999999999", "bytes=-9999999999999999999"]
)
def test_bounds_beyond_64_bits_are_limited(header: str) -> None:
    """Some stores wrap them around, and report that there is no such byte."""
    asked = parse_range(header)
    assert asked.resolve(80) == (0, 80)
    assert asked.last == MAX_BYTES


@pytest.mark.parametrize(("header", "total"), [("bytes=100-", 100), ("bytes=-0", 100), ("bytes=0-", 0)])
def test_a_range_outside_the_object_is_refused(header: str, total: int) -> None:
    with pytest.raises(InvalidRange):
        parse_range(header).resolve(total)


@pytest.mark.parametrize(
    "header",
    ["", "bytes", "bytes=", "bytes=-", "bytes=5-2", "bytes=a-b", "items=0-3", "bytes=0-1,5-6", "bytes=+1-2",
     "bytes=0x1-2", "bytes=1-2-3", "bytes=٣-٤", "bytes=" + "9" * 30 + "-", "bytes=-1-"],
)  # fmt: skip
def test_a_header_without_a_single_range_is_refused(header: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^[Rr]ange: "):
        parse_range(header)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/sum/int8/b/k", "/sum/int8/b/k", ""),
        ("/sum/int8/b/k?a=b?c", "/sum/int8/b/k", "a=b?c"),
        ("//sum?x", "//sum", "x"),
        ("http://proxy:8000/sum/int8/b//k?x=1", "/sum/int8/b//k", "x=1"),
        ("http://proxy:8000", "/", ""),
        ("HTTP://proxy?x=/1", "/", "x=/1"),
        ("*", "/", ""),
        ("proxy:80", "/", ""),
    ],
)
def test_a_target_is_divided_without_decoding(target: str, path: str, query: str) -> None:
    assert split_target(target) == (path, query)


@pytest.mark.parametrize(
    "object_path", ["/b/k", "/b//k", "/b/k/", "/b/../k", "/b/%2F%2f", "/b/a+b%20c", "/b/sum/int8/x", "/b/%C3%A9;x=1"]
)
def test_bucket_and_key_are_not_decoded(object_path: str) -> None:
    assert split_path(f"/sum/float32{object_path}") == ReductionPath("sum", "float32", object_path)
    assert split_path(f"/obj{object_path}") == ReductionPath("obj", "", object_path)


@pytest.mark.parametrize("path", ["/", "", "/sum", "/sum/", "/sum//b/k", "//", "/obj", "/obj/"])
def test_a_path_without_an_object_is_not_found(path: str) -> None:
    with pytest.raises(NoSuchDoor):
        split_path(path)


@pytest.mark.parametrize(
    ("path", "field"),
    [("/sum/int8", "bucket"), ("/sum/int8/", "bucket"), ("/sum/int8/b", "key"), ("/sum/int8/b/", "key"),
     ("/sum/int8//k", "bucket"), ("/obj//k", "bucket"), ("/obj/b", "key")],
)  # fmt: skip
def test_a_path_without_bucket_or_key_is_an_error_that_names_it(path: str, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        split_path(path)
    assert caught.value.field == field


def test_a_query_is_divided_without_decoding() -> None:
    query = split_query("versionId=a%2Bb&byte%5Forder=b%69g&X-Amz-Signature=0f&flag")
    assert query.parameters == {"byte_order": "big"}
    assert query.own == "byte%5Forder=b%69g"
    assert query.rest.text == "versionId=a%2Bb&X-Amz-Signature=0f&flag"


@pytest.mark.parametrize(
    ("segment", "query", "field"),
    [
        ("float128", "", "dtype"),
        ("", "", "dtype"),
        ("FLOAT32", "", "dtype"),
        ("float32 ", "", "dtype"),
        ("float32;byte_order=middle", "", "byte_order"),
        ("float32;byte_order", "", "byte_order"),
        ("float32;byte_order=", "", "byte_order"),
        ("float32;byte_order=big;byte_order=big", "", "byte_order"),
        ("float32", "byte_order=big&byte_order=big", "byte_order"),
        ("float32;byte_order=big", "byte_order=little", "byte_order"),
        ("float32;", "", "''"),
        ("float32;endian=big", "", "'endian'"),
        ("float32;=big", "", "''"),
        ("float32;shape=2,x", "", "shape"),
        ("float32;shape=2,,3", "", "shape"),
        ("float32;shape=1e3", "", "shape"),
        ("float32;selection=1", "", "selection"),
        ("float32;selection=1:2:3:4", "", "selection"),
        ("float32;selection=::0", "", "selection"),
        ("float32;selection=:,:", "", "selection"),
        ("float32;axis=1", "", "axis"),
        ("float32;axis=x", "", "axis"),
        ("float32;missing_value=x", "", "missing_value"),
        ("float32;missing_value=1_0", "", "missing_value"),
        ("float64;missing_value=1e400", "", "missing_value"),
        ("float64;valid_range=0,1e309", "", "valid_range"),
        ("float32;missing_value=1,2", "", "missing_value"),
        ("int8;missing_value=300", "", "missing_value"),
        ("float32;valid_range=1,2;valid_min=0", "", "valid_range"),
        ("float32;valid_range=2,1", "", "valid_range"),
        ("float32;compression=rar", "", "compression"),
        ("float32;filters=shuffle:0", "", "filters"),
        ("float32;filters=sort", "", "filters"),
        ("float32;filters=shuffle:4:5", "", "filters"),
        ("float32;filters=shuffle:four", "", "filters"),
        ("float32;filters=shuffle:", "", "filters"),
        ("float32;filters=delta:astype=i3", "", "filters"),
        ("float32;filters=delta:astype", "", "filters"),
        ("float32;filters=delta:scale=2", "", "filters"),
        ("float32;filters=delta:astype=i2:astype=i2", "", "filters"),
        ("float32;filters=fixedscaleoffset:offset=1", "", "filters"),
        ("float32;filters=fixedscaleoffset:offset=1:scale=0", "", "filters"),
        ("float32;filters=fixedscaleoffset:offset=1e999:scale=1", "", "filters"),
        ("float32;filters=fixedscaleoffset:offset=1_0:scale=1", "", "filters"),
        ("float32;filters=crc32:location=middle", "", "filters"),
        ("float32;filters=szip:cd_values=1-2-x", "", "filters"),
        ("float32;filters=szip", "", "filters"),
        ("float32;compression=zlib:4:window=15", "", "compression"),
        ("float32;compression=delta", "", "compression"),
        ("float32;ddof=1", "", "ddof"),
        ("float32;offset=-1", "", "offset"),
        (f"float32;offset={2**63 - 8};size=8", "", "size"),
        (f"float32;offset={2**63 - 8};shape=2", "", "shape"),
        ("float32%", "", "dtype"),
        ("float32%zz", "", "dtype"),
        ("float32%FF", "", "dtype"),
        ("float32", "byte_order=%FF", "byte_order"),
    ],
)
def test_each_error_names_the_field(segment: str, query: str, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        build_spec(merge(parse_path(ReductionPath("sum", segment, "/b/k")), split_query(query).parameters), None)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("shuffle:4", Step("shuffle", 4)),
        ("delta:astype=i2", Step("delta", None, (("astype", "i2"),))),
        ("numcodecs.delta:astype=int16", Step("delta", None, (("astype", "i2"),))),
        ("bitshuffle:8:cname=lz4", Step("bitshuffle", 8, (("cname", "lz4"),))),
        ("bitshuffle:8:block_size=0:cname=none", Step("bitshuffle", 8)),
        ("szip:cd_values=169-8-32-100", Step("szip", None, (("cd_values", (169, 8, 32, 100)),))),
        ("zlib:level=9", Step("zlib")),
    ],
)
def test_a_step_is_formatted_as_codec_size_and_parameters(text: str, step: Step) -> None:
    """Defaults, and parameters for writers only, are left out."""
    assert build_spec({"reducer": "sum", "dtype": "float32", "filters": text}, None).steps == (step,)


def test_equal_values_in_path_and_query_are_accepted() -> None:
    path = ReductionPath("sum", "float32;byte_order=big", "/b/k")
    assert build_spec(merge(parse_path(path), {"byte_order": "big"}), None).byte_order == "big"


def test_reducer_and_segment_are_percent_decoded() -> None:
    spec = build_spec(parse_path(ReductionPath("s%75m", "float32%3Bbyte_order%3Dbig", "/b/k")), None)
    assert spec == ReductionSpec("sum", "float32", "big")


def test_an_unknown_reducer_is_an_error_that_lists_all() -> None:
    with pytest.raises(UnknownReducer, match="unknown reducer 'median'; the reducers are count, max, min, sum, "):
        build_spec({"reducer": "median", "dtype": "int8"}, None)


@pytest.mark.parametrize(
    ("dtype", "texts"),
    [
        ("float32", ("1", "1.0", "+1", "1e0")),
        ("float64", ("0", "-0", "-0.0", "0.0")),
        ("float16", ("nan", "NaN")),
        ("float64", ("inf", "+INF")),
        ("int8", ("1", "+1", "01")),
    ],
)
def test_equal_missing_rules_have_one_form(dtype: str, texts: tuple[str, ...]) -> None:
    """They have the same hash and the same text, so that they have the same ETag."""
    specs = [
        build_spec(parse_path(ReductionPath("sum", f"{dtype};missing_value={text}", "/b/k")), None) for text in texts
    ]
    assert len({hash(spec) for spec in specs}) == len({format_reduction(spec) for spec in specs}) == 1
    assert all(spec == specs[0] for spec in specs)


def read_segment(segment: str, reducer: str = "sum") -> ReductionSpec:
    return build_spec(parse_path(ReductionPath(reducer, segment, "/b/k")), None)


@pytest.mark.parametrize("name", ["missing_value", "missing_values", "valid_min", "valid_max"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_limits_of_a_type_can_be_printed_with_few_digits(dtype: str, name: str) -> None:
    """numpy, C and GDAL print few digits, so that the text can be out of range before it is rounded."""
    for end in (np.finfo(dtype).min, np.finfo(dtype).max):
        for text in (str(end), repr(float(end))):
            missing = read_segment(f"{dtype};{name}={text}").missing
            assert missing is not None
            (value,) = missing.values or [limit for limit in (missing.valid_min, missing.valid_max) if limit]
            assert value == float(end)


@pytest.mark.parametrize(
    ("dtype", "text"),
    [
        ("float32", "3.4028236e+38"),
        ("float32", "-3.4028236e+38"),
        ("float16", "65520"),
        ("float16", "-1e5"),
        ("float32", "1e300"),
        ("int8", "-999"),
        ("int8", "-999.0"),
        ("int16", "0.5"),
        ("uint8", "-1"),
        ("int32", "nan"),
        ("int64", "inf"),
        ("int64", "9223372036854775808"),
        ("bool", "2"),
    ],
)
@pytest.mark.parametrize("name", ["missing_value", "missing_values", "valid_min", "valid_max"])
def test_a_missing_value_out_of_range_is_refused(dtype: str, text: str, name: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"^{name}(\[0\])?: ") as caught:
        read_segment(f"{dtype};{name}={text}")
    assert caught.value.field == name


@pytest.mark.parametrize(
    ("segment", "missing"),
    [
        ("int16;missing_value=-999.0", Missing((-999,))),
        ("uint16;valid_range=0.0,18000.0", Missing(valid_min=0, valid_max=18000)),
        ("int8;missing_values=1e1,2,0.0", Missing((0, 2, 10))),
        ("bool;missing_value=1.0", Missing((1,))),
        ("float32;missing_value=0.1", Missing((float(np.float32(0.1)),))),
        ("int16;missing_value=-1;missing_values=3,2,-1;valid_min=0;valid_max=9", Missing((-1, 2, 3), 0, 9)),
        ("float32;missing_values=nan,1,nan;valid_max=5", Missing((1.0, float("nan")), valid_max=5.0)),
        ("int8;missing_value=1;valid_range=0,5", Missing((1,), 0, 5)),
    ],
)
def test_missing_rules_are_combined_and_converted_to_the_data_type(segment: str, missing: Missing) -> None:
    assert read_segment(segment).missing == missing


@pytest.mark.parametrize("other", ["valid_min=0", "valid_max=9", "valid_min=0;valid_max=9"])
def test_a_valid_range_excludes_other_limits(other: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^valid_range: cannot be given together with valid_m"):
        read_segment(f"int8;valid_range=0,9;{other}")


@pytest.mark.parametrize(
    ("text", "dtype", "byte_order"),
    [
        ("<f4", "float32", "little"),
        (">i2", "int16", "big"),
        ("=u4", "uint32", sys.byteorder),
        ("f8", "float64", sys.byteorder),
        ("|u1", "uint8", sys.byteorder),
        ("<i1", "int8", sys.byteorder),
        ("|b1", "bool", sys.byteorder),
        (">c16", "complex128", "big"),
        ("<f2", "float16", "little"),
    ],
)
def test_numpys_type_strings_are_accepted(text: str, dtype: str, byte_order: str) -> None:
    for written in (text, encode(text)):
        spec = read_segment(written)
        assert (spec.dtype, spec.byte_order) == (dtype, byte_order)


@pytest.mark.parametrize(
    "segment", ["<f4;byte_order=little", ">i8;byte_order=big", "|u1;byte_order=big", "<u1;byte_order=big"]
)
def test_equal_byte_orders_in_two_places_are_accepted(segment: str) -> None:
    order = segment.partition(";byte_order=")[2]
    assert read_segment(segment).byte_order == order


@pytest.mark.parametrize("segment", ["<f4;byte_order=big", ">i8;byte_order=little"])
def test_contradicting_byte_orders_are_refused(segment: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^byte_order: "):
        read_segment(segment)


@pytest.mark.parametrize(
    "text", ["|f4", "<f3", "<", "f", "<<f4", "f4 ", "<F4", "<f04", "!f4", "<m8", "<U4", "V8", "<float32"]
)
def test_an_unknown_data_type_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^dtype: "):
        read_segment(text)


@pytest.mark.parametrize(
    ("dtype", "result_dtype"),
    [
        *((dtype, "int64") for dtype in ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32")),
        *((dtype, "uint64") for dtype in ("bool", "uint8", "uint16", "uint32", "uint64")),
        *((dtype, "float64") for dtype in DTYPES if not dtype.startswith("complex")),
    ],
)
def test_a_sum_has_the_requested_data_type(dtype: str, result_dtype: str) -> None:
    assert read_segment(f"{dtype};result_dtype={result_dtype}").result_dtype == result_dtype


@pytest.mark.parametrize(
    ("reducer", "segment"),
    [
        ("sum", "uint64;result_dtype=int64"),
        ("sum", "int8;result_dtype=uint64"),
        ("sum", "float32;result_dtype=int64"),
        ("sum", "complex64;result_dtype=float64"),
        ("sum", "int8;result_dtype=int32"),
        ("sum", "int8;result_dtype=float128"),
        ("sum", "int8;result_dtype="),
        ("mean", "int8;result_dtype=float64"),
        ("max", "int64;result_dtype=int64"),
    ],
)
def test_an_invalid_data_type_of_a_sum_is_refused(reducer: str, segment: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^result_dtype: "):
        read_segment(segment, reducer)


def test_the_default_data_type_of_a_sum_changes_nothing() -> None:
    for dtype in ("int64", "uint64", "float64"):
        assert read_segment(f"{dtype};result_dtype={dtype}") == read_segment(dtype)


def test_an_empty_shape_is_a_scalar() -> None:
    assert read_segment("int8;shape=").shape == ()
    with pytest.raises(InvalidArgument, match=r"^axis: "):
        read_segment("int8;shape=;axis=0")
    with pytest.raises(InvalidArgument, match=r"^selection: "):
        read_segment("int8;shape=;selection=:")


def test_the_byte_order_is_the_machines_by_default() -> None:
    assert ReductionSpec("sum", "int16").byte_order == sys.byteorder


@given(st.text(string.printable, max_size=200))
def test_a_message_quotes_text_in_one_short_line_of_ascii(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        ReductionSpec("sum", text + "?")
    assert caught.value.message.isascii()
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 500


def test_values_of_a_query_are_found_by_the_decoded_name() -> None:
    query = "versionId=a+b&x=1%2F2&version%49d=a%2Bc&versionId=&versionIdX=d"
    assert StoreQuery.of(query).find("versionId") == ["a+b", "a+c"]


@pytest.mark.parametrize("texts", [("273", "273.0", "+273"), ("0", "-0.0", "-0"), ("0.5", ".5", "5e-1")])
def test_steps_with_equal_numbers_have_one_form(texts: tuple[str, ...]) -> None:
    """Equal specs share cached values, such as the digest of an ETag."""
    specs = [read_segment(f"<f4;filters=fixedscaleoffset:offset={text}:scale=2:astype=<i2") for text in texts]
    assert len(set(specs)) == len({format_reduction(spec) for spec in specs}) == 1


def test_lzma_of_another_format_is_refused_by_name() -> None:
    assert read_segment("<f4;compression=lzma:format=1") == read_segment("<f4;compression=lzma")
    with pytest.raises(InvalidArgument, match=r"lzma: format should be 1, for xz"):
        read_segment("<f4;compression=lzma:format=3")

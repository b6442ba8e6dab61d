"""The one parser of the JSON doors: from the bytes of a body to a spec and the place of an object.

What both versions send stands in one model, what each adds in a small one of its own. The models say which members
there are and of which JSON type, and nothing gives way: no float for an integer, no text for a number, no member that
nobody knows, none that is given twice. ``null`` is as good as nothing. Which values make sense together, the spec says.

Nothing is asked of any store here, and no text of an error holds a part of the body, but for the names of members,
data types, codecs and numbers.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, TypeVar
from urllib.parse import quote, unquote

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from handler.codecs import CODECS
from handler.contracts.json_body import name_member, read_object
from handler.contracts.urls import parse_origin, split_url
from handler.errors import InvalidArgument, InvalidCodec, shown
from handler.origins import Origin
from handler.params import encode, parse_dtype
from handler.spec import DTYPES, MAX_DIMENSIONS, MISSING_RULES, Filter, Missing, ReductionSpec, Slice

# A key of 1,024 bytes is 3,072 characters when it is all percent-encoded, and a presigned query as many again.
_MAX_TEXT_CHARACTERS = 8192

# HDF5 allows as many (H5Z_MAX_NFILTERS).
_MAX_FILTERS = 32

_INT64_MIN, _INT64_MAX, _UINT64_MAX = -(2**63), 2**63 - 1, 2**64 - 1

# What pydantic says in words that are not the caller's, by its type of error.
_FAULTS: Mapping[str, str] = MappingProxyType(
    {
        "extra_forbidden": "is no member of this request",
        "missing": "is missing",
        "model_type": "should be an object",
    }
)

_S3, _WEB = "s3", ("http", "https")

# What may stand in a path or a query as it is (RFC 3986, section 3.3 and 3.4), with what is encoded already. Clients
# put keys into URLs as they are; what is missing, such as the %20 of a space, is added as browsers add it.
_URL_SAFE = "/%:@!$&'()*+,;=~?"

# Of GetObject's query, what names an object. Everything else would give other bytes than the object's.
_VERSION = "versionId"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object lies.

    Attributes:
        field: The member of the request that says so.
        is_s3: Whether an S3 store is asked, or any web server.
        origin: Of the server.
        targets: Path and query there, as they are to be sent; where there are two, the second is for want of the first.
    """

    field: str
    is_s3: bool
    origin: Origin
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JsonReduction:
    """What a request asks for.

    Attributes:
        spec: The reduction.
        place: Where the object lies.
        shape_as_bytes: Whether the reply's shape is wanted as bytes.
        count_as_bytes: Whether its counts are.
    """

    spec: ReductionSpec
    place: Place
    shape_as_bytes: bool = False
    count_as_bytes: bool = False


def parse_v1(reducer: str, body: bytes) -> JsonReduction:
    """What a body of version 1 asks for.

    Raises:
        InvalidArgument: A member is not as it should be; ``field`` names it.
    """
    fields = _validate(_FieldsV1, body)
    place = _find_s3_place("source", parse_origin("source", fields.source), fields.bucket, fields.object)
    return JsonReduction(_build_spec(reducer, fields), place)


def parse_v2(reducer: str, body: bytes) -> JsonReduction:
    """What a body of version 2 asks for.

    Raises:
        InvalidArgument: A member is not as it should be; ``field`` names it.
    """
    fields = _validate(_FieldsV2, body)
    return JsonReduction(
        spec=_build_spec(reducer, fields, fields.axis),
        place=_find_place(fields.interface_type, fields.url),
        shape_as_bytes=bool(fields.option_shape_as_bytes),
        count_as_bytes=bool(fields.option_count_as_bytes),
    )


# Members


def _ensure_number(value: Any) -> int | float:
    number = value
    if type(value) is int and not _INT64_MIN <= value <= _UINT64_MAX:
        # Few writers of JSON keep more digits than a float has.
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    if type(number) not in (int, float) or not math.isfinite(number):
        raise PydanticCustomError("number", "should be a number, and a finite one")
    return number  # type: ignore[no-any-return]  # its type was just looked at


def _read_nan(value: Any) -> Any:
    # JSON has no number for it. Zarr and numpy spell it so in texts.
    return math.nan if value in ("nan", "NaN") else _ensure_number(value)


def _as_list(value: Any) -> Any:
    return [value] if type(value) is int else value


def _ensure_ascending(axes: list[int]) -> list[int]:
    if any(later <= earlier for earlier, later in itertools.pairwise(axes)):
        raise PydanticCustomError("axes", "should be ascending and without repeats")
    return axes


_Text = Annotated[str, Field(min_length=1, max_length=_MAX_TEXT_CHARACTERS)]
_Number = Annotated[Any, AfterValidator(_ensure_number)]
_Value = Annotated[Any, AfterValidator(_read_nan)]
_Values = Annotated[list[_Value], Field(max_length=MISSING_RULES["missing_values"][1])]
_Limits = Annotated[list[_Number], Field(max_length=MISSING_RULES["valid_range"][1])]
_Index = Annotated[int, Field(ge=_INT64_MIN, le=_INT64_MAX)]
_Bounds = Annotated[list[_Index | None], Field(min_length=3, max_length=3)]
_Axis = Annotated[int, Field(ge=0)]
_Axes = Annotated[
    list[_Axis], Field(max_length=MAX_DIMENSIONS), BeforeValidator(_as_list), AfterValidator(_ensure_ascending)
]


class _Members(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class _Step(_Members):
    # Its parameters are those of its row in ``handler.codecs``.
    model_config = ConfigDict(extra="allow")

    id: _Text
    element_size: int | None = None


class _Missing(_Members):
    missing_value: _Value | None = None
    missing_values: _Values | None = None
    valid_min: _Number | None = None
    valid_max: _Number | None = None
    valid_range: _Limits | None = None


class _Fields(_Members):
    """What both versions send."""

    dtype: _Text
    byte_order: _Text | None = None
    offset: int | None = None
    size: int | None = None
    shape: Annotated[list[int], Field(max_length=MAX_DIMENSIONS)] | None = None
    order: _Text | None = None
    selection: Annotated[list[_Bounds], Field(max_length=MAX_DIMENSIONS)] | None = None
    compression: _Step | None = None
    filters: Annotated[list[_Step], Field(max_length=_MAX_FILTERS)] | None = None
    missing: _Missing | None = None


class _FieldsV1(_Fields):
    source: _Text
    bucket: _Text
    object: _Text


class _FieldsV2(_Fields):
    interface_type: _Text
    url: _Text
    axis: _Axes | None = None
    # There is no cache of chunks to disable.
    option_disable_chunk_cache: bool | None = None
    option_shape_as_bytes: bool | None = None
    option_count_as_bytes: bool | None = None


_AnyFields = TypeVar("_AnyFields", bound=_Fields)


# From bytes to members


def _validate(model: type[_AnyFields], body: bytes) -> _AnyFields:
    try:
        return model.model_validate(read_object(body))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise InvalidArgument(name_member(fault["loc"]), _FAULTS.get(fault["type"], fault["msg"])) from None


# From members to the spec


def _build_spec(reducer: str, fields: _Fields, axis: list[int] | None = None) -> ReductionSpec:
    if fields.shape is None:
        for name, value in (("selection", fields.selection), ("axis", axis)):
            if value is not None:
                raise InvalidArgument(name, "needs a shape")
    if fields.shape == []:
        raise InvalidArgument("shape", "is empty; leave it out for one dimension")
    dtype, carried = parse_dtype(fields.dtype)
    if carried and fields.byte_order not in (None, carried):
        raise InvalidArgument("byte_order", f"is {shown(fields.byte_order or '')}, but dtype is {carried}-endian")
    optional = {"byte_order": fields.byte_order or carried, "order": fields.order, "offset": fields.offset}
    try:
        return ReductionSpec(
            reducer=reducer,
            dtype=dtype,
            shape=None if fields.shape is None else tuple(fields.shape),
            selection=None if fields.selection is None else _build_slices(fields.selection),
            axis=None if axis is None else tuple(axis),
            size=fields.size,
            compression=None if fields.compression is None else _build_step(fields.compression, "compression"),
            filters=tuple(_build_step(each, f"filters[{place}]") for place, each in enumerate(fields.filters or ())),
            missing=None if fields.missing is None else _build_missing(fields.missing, dtype),
            **{name: value for name, value in optional.items() if value is not None},  # type: ignore[arg-type]
        )
    except InvalidArgument as error:
        raise InvalidArgument(_find_path(error.field), error.reason, error.place) from None


def _find_path(field: str) -> str:
    """The path of the member that the spec calls ``field``."""
    if field in MISSING_RULES:
        return f"missing.{field}"
    return "compression.id" if field == "compression" else field


def _build_slices(selection: Sequence[Sequence[int | None]]) -> tuple[Slice, ...]:
    slices = []
    for place, bounds in enumerate(selection):
        try:
            slices.append(Slice(*bounds))
        except InvalidArgument as error:
            # Any start and any stop will do.
            raise InvalidArgument(f"selection[{place}]", error.reason, place=2) from None
    return tuple(slices)


def _build_step(given: _Step, path: str) -> Filter:
    """The step that stands at ``path``. The size of its elements is never guessed: writers differ in their defaults."""
    members = given.model_dump(exclude={"id"}, exclude_none=True)
    try:
        step = Filter.of(given.id, members)
    except InvalidCodec as fault:
        raise InvalidArgument(name_member((fault.member,), path), fault.fault) from None
    if step.element_size is None and CODECS[step.id].is_sized:
        raise InvalidArgument(f"{path}.element_size", f"is needed by {given.id}")
    return step


def _build_missing(given: _Missing, dtype: str) -> Missing | None:
    rules = {name: value if isinstance(value, list) else [value] for name, value in given if value is not None}
    if len(rules) != 1:
        raise InvalidArgument("missing", f"has {len(rules)} members, not one of {', '.join(MISSING_RULES)}")
    if dtype not in DTYPES:
        # The spec refuses it.
        return None
    ((name, values),) = rules.items()
    for place, value in enumerate(values):
        if isinstance(value, float) and DTYPES[dtype].kind in "iub":
            reason = f"{value!r} is not an integer, as {dtype} needs"
            raise InvalidArgument(name, reason, place if MISSING_RULES[name][1] > 1 else None)
    return Missing.of(rules, dtype)


# From members to the place


def _find_place(interface_type: str, url: str) -> Place:
    if interface_type != _S3 and interface_type not in _WEB:
        raise InvalidArgument("interface_type", f"is {shown(interface_type)}, not one of {', '.join((_S3, *_WEB))}")
    split = split_url("url", url)
    if interface_type == _S3:
        raw_bucket, _, raw_key = split.path.removeprefix("/").partition("/")
        bucket, key = _decode(raw_bucket), _decode(raw_key)
        return _find_s3_place("url", split.origin, bucket, key, _keep_version(split.query))
    target = (split.path or "/") + ("" if split.query is None else f"?{split.query}")
    return Place("url", False, split.origin, (quote(target, safe=_URL_SAFE),))


def _find_s3_place(field: str, origin: Origin, bucket: str, key: str, query: str = "") -> Place:
    for name, value in (("bucket", bucket), ("key", key)):
        if not value:
            raise InvalidArgument(field, f"names no {name}")
    # Clients that take a key for a path of files hand it over with a slash in front, which no object has.
    names = (key, key[1:]) if key.startswith("/") and len(key) > 1 else (key,)
    return Place(field, True, origin, tuple(f"/{encode(bucket)}/{encode(name)}{query}" for name in names))


def _decode(part: str) -> str:
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise InvalidArgument("url", "is not UTF-8 under its percent-encoding") from None


def _keep_version(query: str | None) -> str:
    if not query:
        return ""
    name, _, value = query.partition("=")
    if name != _VERSION or "&" in value:
        raise InvalidArgument("url", f"has a query; that of an s3 object can hold a {_VERSION}, and nothing else")
    return f"?{_VERSION}={encode(_decode(value), safe='')}"

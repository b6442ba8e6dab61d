"""The members of a JSON request: their names, their JSON types, and the parser from a body to them.

``Members`` has the members of both versions, and each version adds its own. The models are strict: a float is refused
for an integer, and a string for a number; unknown and duplicate members are refused. ``null`` means that the member is
absent. The spec checks whether the values fit together.

No error message contains a part of the body, except names of members, data types and codecs, and numbers.
"""

import itertools
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from active_storage.errors import InvalidArgument
from active_storage.model.dtypes import MAX_DIMENSIONS
from active_storage.model.missing import MISSING_RULES
from handler.doors.json_body import name_member, read_object
from handler.json_text import Path

# A key of 1,024 bytes has 3,072 characters if all are percent-encoded, and a presigned query can be as long.
_MAX_TEXT_CHARACTERS = 8192

# The same as in HDF5 (H5Z_MAX_NFILTERS).
_MAX_FILTERS = 32

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1

# Our messages for those of pydantic's errors whose own messages use pydantic's terms.
_FAULTS: Mapping[str, str] = MappingProxyType(
    {
        "extra_forbidden": "is not a member of this request",
        "missing": "is required",
        "model_type": "should be an object",
    }
)


def _ensure_number(value: Any) -> int | float:
    if type(value) not in (int, float) or not is_finite(value):
        raise PydanticCustomError("number", "should be a finite number")
    return value  # type: ignore[no-any-return]  # its type was just checked


def is_finite(number: float) -> bool:
    """Whether a number is finite, and within float64."""
    # isfinite fails for an integer beyond float64. No data type can hold one either.
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def _read_nan(value: Any) -> Any:
    # JSON has no number for NaN. Zarr and numpy write it as one of these texts. CBOR has one.
    is_nan = isinstance(value, float) and math.isnan(value)
    return math.nan if is_nan or value in ("nan", "NaN") else _ensure_number(value)


def _as_list(value: Any) -> Any:
    return [value] if type(value) is int else value


def _ensure_ascending(axes: list[int]) -> list[int]:
    if any(later <= earlier for earlier, later in itertools.pairwise(axes)):
        raise PydanticCustomError("axes", "should be ascending and without repeats")
    return axes


Text = Annotated[str, Field(min_length=1, max_length=_MAX_TEXT_CHARACTERS)]
Number = Annotated[Any, AfterValidator(_ensure_number)]
_Value = Annotated[Any, AfterValidator(_read_nan)]
_Values = Annotated[list[_Value], Field(max_length=MISSING_RULES["missing_values"][1])]
_Limits = Annotated[list[Number], Field(max_length=MISSING_RULES["valid_range"][1])]
_Index = Annotated[int, Field(ge=_INT64_MIN, le=_INT64_MAX)]
Bounds = Annotated[list[_Index | None], Field(min_length=3, max_length=3)]
_Axis = Annotated[int, Field(ge=0)]
_Axes = Annotated[
    list[_Axis], Field(max_length=MAX_DIMENSIONS), BeforeValidator(_as_list), AfterValidator(_ensure_ascending)
]


class Strict(BaseModel):
    """Members of their JSON types, and no others."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class StepMembers(Strict):
    """The members of a step; parameters of its codec may follow."""

    # The step checks the parameters, by its row in ``active_storage.model.codecs``.
    model_config = ConfigDict(extra="allow")

    id: Text
    element_size: int | None = None


class MissingMembers(Strict):
    """The members of the rule for missing data."""

    missing_value: _Value | None = None
    missing_values: _Values | None = None
    valid_min: Number | None = None
    valid_max: Number | None = None
    valid_range: _Limits | None = None


class Members(Strict):
    """The members that both versions have."""

    dtype: Text
    byte_order: Text | None = None
    offset: int | None = None
    size: int | None = None
    shape: Annotated[list[int], Field(max_length=MAX_DIMENSIONS)] | None = None
    order: Text | None = None
    selection: Annotated[list[Bounds], Field(max_length=MAX_DIMENSIONS)] | None = None
    compression: StepMembers | None = None
    filters: Annotated[list[StepMembers], Field(max_length=_MAX_FILTERS)] | None = None
    missing: MissingMembers | None = None


class MembersV1(Members):
    """The members of version 1."""

    source: Text
    bucket: Text
    object: Text


class MembersV2(Members):
    """The members of version 2."""

    interface_type: Text
    url: Text
    axis: _Axes | None = None
    # Accepted without effect: this service has no cache of chunks.
    option_disable_chunk_cache: bool | None = None
    option_shape_as_bytes: bool | None = None
    option_count_as_bytes: bool | None = None


AnyMembers = TypeVar("AnyMembers", bound=Strict)


def parse_members(model: type[AnyMembers], body: bytes) -> AnyMembers:
    """The members that a body holds.

    Raises:
        InvalidArgument: The body is not JSON, or a member has a wrong name or type.
    """
    return read_members(model, read_object(body))


def read_members(model: type[AnyMembers], document: Any, path: Path = ()) -> AnyMembers:
    """The members that a part of a document holds.

    Args:
        model: The members.
        document: The part.
        path: The way to the part from the outermost object.

    Raises:
        InvalidArgument: A member has a wrong name or type.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise InvalidArgument(name_member((*path, *fault["loc"])), _FAULTS.get(fault["type"], fault["msg"])) from None

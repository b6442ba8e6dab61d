"""The members of a JSON request for a whole array: their names and their types.

``array_request.py`` says what they mean. The models are as strict as those of ``json_members.py``. Members of later
versions are known by name there, and refused.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from active_storage.model.array_reduction import CONTAINER_TYPES
from active_storage.model.coordinates import MOST_EDGES
from active_storage.model.dtypes import MAX_DIMENSIONS
from active_storage.model.quantiles import DEFAULT_METHOD
from handler.doors.json_members import Bounds, MissingMembers, Number, Strict, Text, is_finite

# The most files of one array.
_MAX_FILES = 1 << 14


def _ensure_type(value: Any) -> Any:
    if value not in CONTAINER_TYPES:
        raise PydanticCustomError("container", f"should be one of {', '.join(CONTAINER_TYPES)}")
    return value


def _ensure_dimension(value: Any) -> int | str:
    if type(value) not in (int, str):
        raise PydanticCustomError("dimension", "should be the name or the number of a dimension")
    return value  # type: ignore[no-any-return]  # its type was just checked


def _as_list(value: Any) -> Any:
    return [value] if type(value) in (int, str) else value


def _ensure_bound(value: Any) -> str:
    if type(value) in (int, float) and is_finite(value):
        return repr(value)
    if type(value) is not str or not value:
        raise PydanticCustomError("bound", "should be a number or the text of a date")
    return value


def _as_numbers(value: Any) -> Any:
    return [value] if type(value) in (int, float) else value


def _ensure_group_value(value: Any) -> Any:
    if value is None or (type(value) is float and math.isnan(value)):
        return math.nan
    if type(value) not in (int, float) or not is_finite(value):
        raise PydanticCustomError("group_value", "should be a finite number, or null for no group")
    return value


_Dimension = Annotated[Any, AfterValidator(_ensure_dimension)]
_GroupValue = Annotated[Any, AfterValidator(_ensure_group_value)]
_Bound = Annotated[Any, AfterValidator(_ensure_bound)]


class StoreMembers(Strict):
    """The members of a store that a URL names."""

    type: Annotated[Text, AfterValidator(_ensure_type)]
    url: Text | None = None
    urls: Annotated[list[Text], Field(min_length=1, max_length=_MAX_FILES)] | None = None
    array: Text | None = None
    concat: Text | None = None
    interface_type: Text = "s3"


class GroupMembers(Strict):
    """The members of a request for the arrays of a group."""

    store: dict[str, Any]
    coordinates: bool = False


class PositionMembers(Strict):
    """A selection by position: one slice for each dimension."""

    selection: Annotated[list[Bounds], Field(max_length=MAX_DIMENSIONS)]


class PlaceMembers(Strict):
    """What is selected of a dimension in a selection by name: by index, by the values of its coordinate, or by both."""

    index: Bounds | None = None
    low: Annotated[_Bound | None, Field(alias="from")] = None
    high: Annotated[_Bound | None, Field(alias="to")] = None
    nearest: _Bound | None = None
    cyclic: bool = False


class WeightMembers(Strict):
    """The members of weights: one of the three."""

    cos: Text | None = None
    array: Text | None = None
    dims: Annotated[list[_Dimension], Field(min_length=1, max_length=MAX_DIMENSIONS)] | None = None
    values: list[Any] | None = None


class GroupValueMembers(Strict):
    """The members of groups whose numbers are given."""

    dims: Annotated[list[_Dimension], Field(max_length=MAX_DIMENSIONS)]
    values: list[_GroupValue]


class ArrayMembers(Strict):
    """The members of a request for a whole array. Store and selection are read by their own models.

    The members of a store that is a table of chunks are read by ``handler.containers.table``.
    """

    store: dict[str, Any]
    selection: list[Any] | dict[str, Any] | None = None
    group: Text | dict[str, Any] | None = None
    bins: Annotated[list[Number], Field(max_length=MOST_EDGES)] | None = None
    weights: WeightMembers | None = None
    other: Text | None = None
    expr: Text | None = None
    axis: Annotated[list[_Dimension], Field(max_length=MAX_DIMENSIONS), BeforeValidator(_as_list)] | None = None
    decode: Text = "cf"
    missing: MissingMembers | None = None
    ddof: int = 0
    edges: Annotated[list[Number], Field(max_length=MOST_EDGES)] | None = None
    gt: Number | None = None
    ge: Number | None = None
    lt: Number | None = None
    le: Number | None = None
    q: Annotated[list[Number], BeforeValidator(_as_numbers)] | None = None
    method: Text = DEFAULT_METHOD
    skipna: bool | None = None
    absent: Literal[403] | None = None


class ReductionMembers(ArrayMembers):
    """The members of a request for a reduction."""

    answer: Literal["result", "progress", "partials"] = "result"
    sections: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)] | None = None
    plan: Text | None = None
    counts: Literal["list", "packed", "none"] = "list"


class PlanMembers(ArrayMembers):
    """The members of a request for a plan."""

    reducer: Text | None = None

"""What a JSON request for a whole array asks for: from the members of its body to a reduction and its place.

An error names the member by its path in the body. No error text holds a part of a URL.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from active_storage.errors import InvalidArgument
from active_storage.grammar.arrays import COUNTS, parse_array_path, parse_dimension, parse_group
from active_storage.grammar.expressions import parse_expression
from active_storage.model.array_reduction import CONTAINER_TYPES, THRESHOLDS, ArrayReduction, ContainerType
from active_storage.model.coordinates import (
    AnyGroup,
    ArrayWeights,
    Between,
    CosineWeights,
    Group,
    Nearest,
    NumberGroup,
    NumberWeights,
    Weights,
    Where,
)
from active_storage.model.missing import Number
from active_storage.model.ranges import Slice
from handler.doors.array_members import (
    ArrayMembers,
    GroupMembers,
    GroupValueMembers,
    PlaceMembers,
    PlanMembers,
    PositionMembers,
    ReductionMembers,
    StoreMembers,
    WeightMembers,
)
from handler.doors.json_body import name_member
from handler.doors.json_location import ObjectLocation, locate_object
from handler.doors.json_members import MissingMembers, read_members
from handler.doors.urls import split_url
from handler.json_text import Path

# The reducer of a plan that names none. A plan depends on it in its memory only.
_ANY_REDUCER = "mean"


@dataclass(frozen=True, slots=True)
class ArrayRequest:
    """What a request asks for.

    Attributes:
        reduction: The reduction.
        locations: Where the root of the container lies, or each of several files, or the first object of a table; empty
            for a table of objects of the service's own store.
        table: The members of the table of chunks; None for other containers.
        answer: The form of the reply: ``result``, ``progress``, ``partials`` or ``plan``.
        sections: The sections that are asked for; None for all.
        plan: The digest of the plan that the caller knows; None for any.
        names_reducer: Whether the caller has named the reducer.
        counts: How a result has its counts: as a ``list``, ``packed``, or ``none``.
    """

    reduction: ArrayReduction
    locations: tuple[ObjectLocation, ...]
    table: Mapping[str, Any] | None
    answer: str
    sections: range | None = None
    plan: str | None = None
    names_reducer: bool = True
    counts: str = "list"


def parse_reduction_request(reducer: str, document: dict[str, Any]) -> ArrayRequest:
    """What a body asks for, in a request for a reduction.

    Raises:
        UnknownReducer: There is no reducer of that name.
        InvalidArgument: A member has a wrong name, type or value; ``field`` names it.
    """
    members = read_members(ReductionMembers, document)
    sections = None
    if members.sections is not None:
        sections = range(*members.sections)
        if members.answer != "partials":
            raise InvalidArgument("sections", f"is a member of partials, and answer is {members.answer}")
        if not sections:
            raise InvalidArgument("sections", "should be [first, after the last]")
    if members.answer == "partials" and members.counts != "list":
        raise InvalidArgument(COUNTS, "is about results; partial results have their own")
    locations, table, reduction = _build(reducer, members)
    return ArrayRequest(reduction, locations, table, members.answer, sections, members.plan, counts=members.counts)


def parse_plan_request(document: dict[str, Any]) -> ArrayRequest:
    """What a body asks for, in a request for a plan.

    Raises:
        UnknownReducer: There is no reducer of that name.
        InvalidArgument: A member has a wrong name, type or value; ``field`` names it.
    """
    members = read_members(PlanMembers, document)
    locations, table, reduction = _build(members.reducer or _ANY_REDUCER, members)
    return ArrayRequest(reduction, locations, table, "plan", names_reducer=members.reducer is not None)


@dataclass(frozen=True, slots=True)
class GroupRequest:
    """What a request for the arrays of a group asks for.

    Attributes:
        location: Where the root of the container lies.
        container: The type of the container.
        group: The path of the group; "" for the root.
        reads_coordinates: Whether the elements of coordinates are read.
    """

    location: ObjectLocation
    container: ContainerType
    group: str
    reads_coordinates: bool


def parse_group_request(document: dict[str, Any]) -> GroupRequest:
    """What a body asks for, in a request for the arrays of a group.

    Raises:
        InvalidArgument: A member has a wrong name, type or value; ``field`` names it.
    """
    members = read_members(GroupMembers, document)
    if members.store.get("type") == "table":
        raise InvalidArgument("store.type", "is table, which has one array and no list of arrays")
    store = read_members(StoreMembers, members.store, ("store",))
    locations = _locate(store)
    if len(locations) > 1 or store.concat is not None:
        raise InvalidArgument("store.urls", "names several files; the arrays of one are listed at a time")
    group = (store.array or "").strip("/")
    path = parse_array_path("store.array", group) if group else ""
    return GroupRequest(locations[0], CONTAINER_TYPES[store.type], path, members.coordinates)


def _build(
    reducer: str, members: ArrayMembers
) -> tuple[tuple[ObjectLocation, ...], Mapping[str, Any] | None, ArrayReduction]:
    table, concat = None, None
    container: ContainerType
    if members.store.get("type") == "table":
        locations, table, path, container = _locate_table(members.store), members.store, "", "table"
    else:
        store = read_members(StoreMembers, members.store, ("store",))
        container = CONTAINER_TYPES[store.type]
        locations, path, concat = _locate(store), _read_path(store), store.concat
    selection, where, is_complete = _build_selection(members.selection)
    reduction = ArrayReduction(
        reducer,
        container,
        path,
        axis=None if members.axis is None else tuple(_read_dimension("axis", each) for each in members.axis),
        selection=selection,
        is_complete=is_complete,
        decode=members.decode,  # type: ignore[arg-type]  # the reduction refuses any other
        missing=_build_rules(members.missing),
        ddof=members.ddof,
        edges=None if members.edges is None else tuple(members.edges),
        thresholds={name: value for name in THRESHOLDS if (value := getattr(members, name)) is not None},
        q=tuple(float(number) for number in members.q or ()),
        method=members.method,
        skipna=members.skipna,
        absent_is_forbidden=members.absent is not None,
        concat=concat,
        where=where,
        group=_build_group(members.group),
        bins=None if members.bins is None else tuple(map(float, members.bins)),
        weights=None if members.weights is None else _build_weights(members.weights),
        other=None if members.other is None else parse_array_path("other", members.other),
        expression=None if members.expr is None else parse_expression(members.expr),
    )
    return locations, table, reduction


def _locate(store: StoreMembers) -> tuple[ObjectLocation, ...]:
    if store.urls is not None or store.concat is not None:
        return tuple(_locate_files(store))
    if store.url is None:
        raise InvalidArgument("store.url", "is required")
    return (_locate_object("store.url", store, store.url),)


def _locate_files(store: StoreMembers) -> Iterator[ObjectLocation]:
    if store.url is not None:
        raise InvalidArgument("store.url", "cannot be given together with urls")
    if store.concat is None:
        raise InvalidArgument("store.concat", "is required with urls: the dimension along which the files follow")
    if store.urls is None:
        raise InvalidArgument("store.urls", "is required with concat: the files, in the order of the dimension")
    for number, url in enumerate(store.urls):
        yield _locate_object(f"store.urls[{number}]", store, url)


def _locate_object(field: str, store: StoreMembers, url: str) -> ObjectLocation:
    try:
        location = locate_object(store.interface_type, url)
    except InvalidArgument as error:
        raise InvalidArgument(field if error.field == "url" else f"store.{error.field}", error.reason) from None
    if CONTAINER_TYPES[store.type] == "zarr" and "?" in location.targets[0]:
        raise InvalidArgument(field, "has a query, which is about one object, and zarr has many")
    return location


def _locate_table(table: Mapping[str, Any]) -> tuple[ObjectLocation, ...]:
    """Where the first object of a table lies; empty for the service's own store, and for a table without objects."""
    urls = table.get("urls")
    first = urls[0] if isinstance(urls, list) and urls else None
    if not isinstance(first, str) or not first.lower().startswith(("http://", "https://")):
        # The reader of tables refuses what is malformed.
        return ()
    return (ObjectLocation("store.urls", True, split_url("store.urls[0]", first).origin, ()),)


def _read_path(store: StoreMembers) -> str:
    # The root of a Zarr store can be the array.
    if store.array is None and CONTAINER_TYPES[store.type] == "zarr":
        return ""
    if store.array is None:
        raise InvalidArgument("store.array", "is required: the path of the variable in the file")
    return parse_array_path("store.array", store.array)


def _build_selection(
    selection: list[Any] | dict[str, Any] | None,
) -> tuple[dict[int | str, Slice], dict[str, Where], bool]:
    """The slices, the places by coordinate, and whether there is a slice for each dimension."""
    if selection is None:
        return {}, {}, False
    if isinstance(selection, list):
        bounds = read_members(PositionMembers, {"selection": selection}).selection
        return {number: _build_slice(each, ("selection", number)) for number, each in enumerate(bounds)}, {}, True
    slices: dict[int | str, Slice] = {}
    where: dict[str, Where] = {}
    for name, chosen in selection.items():
        path: Path = ("selection", name)
        members = read_members(PlaceMembers, chosen, path)
        if members.index is not None:
            dimension = _read_dimension("selection", name)
            if dimension in slices:
                raise InvalidArgument(name_member(path), "names a dimension twice")
            slices[dimension] = _build_slice(members.index, (*path, "index"))
        if (place := _build_place(members, path)) is not None:
            where[name] = place
    return slices, where, False


def _build_place(members: PlaceMembers, path: Path) -> Where | None:
    """What is selected by the values of a coordinate; None if nothing is."""
    has_bounds = members.low is not None or members.high is not None
    if members.nearest is not None:
        if has_bounds:
            raise InvalidArgument(name_member((*path, "nearest")), "cannot be given together with from and to")
        return Nearest(members.nearest, members.cyclic)
    if has_bounds:
        return Between(members.low, members.high, members.cyclic)
    if members.index is None or members.cyclic:
        raise InvalidArgument(name_member(path), "should have index, nearest, or from and to")
    return None


def _build_group(group: str | Mapping[str, Any] | None) -> AnyGroup | None:
    if group is None or isinstance(group, str):
        return None if group is None else parse_group(group)
    if isinstance(group.get("dims"), list) or isinstance(group.get("values"), list):
        return _build_number_group(read_members(GroupValueMembers, group, ("group",)))
    if len(group) != 1:
        raise InvalidArgument("group", "should name one coordinate, or have dims and values")
    ((coordinate, by),) = group.items()
    if not isinstance(by, str):
        raise InvalidArgument(name_member(("group", coordinate)), "should be a part of a date, or a period such as 30D")
    return Group(coordinate, by)


def _build_number_group(members: GroupValueMembers) -> NumberGroup:
    if len(members.dims) != 1:
        raise InvalidArgument("group.dims", f"has {len(members.dims)} dimensions, and groups are along one")
    values = np.array(members.values, None if members.values else float)
    if values.dtype == object or any(
        type(given) is int and given != value for given, value in zip(members.values, values.tolist(), strict=True)
    ):
        # Two groups would become one.
        raise InvalidArgument("group.values", "has integers that are too large for one data type of all values")
    return NumberGroup(_read_dimension("group.dims", members.dims[0]), tuple(values.tolist()))


def _build_weights(members: WeightMembers) -> Weights:
    given = [name for name in ("cos", "array", "dims") if getattr(members, name) is not None]
    if len(given) != 1 or (members.values is not None) != (given == ["dims"]):
        raise InvalidArgument("weights", "should have cos, or array, or dims and values")
    if members.cos is not None:
        return CosineWeights(members.cos)
    if members.array is not None:
        return ArrayWeights(parse_array_path("weights.array", members.array))
    assert members.dims is not None and members.values is not None  # noqa: S101, PT018  # the third of three
    try:
        values = np.array(members.values)
    except ValueError:
        values = np.array(None)
    if values.dtype.kind not in "iuf":
        raise InvalidArgument("weights.values", "should be numbers, a list in a list for each dimension")
    dimensions = tuple(_read_dimension("weights.dims", each) for each in members.dims)
    return NumberWeights(dimensions, values.shape, tuple(values.astype(float).ravel().tolist()))


def _build_slice(bounds: list[int | None], path: Path) -> Slice:
    try:
        return Slice(*bounds)
    except InvalidArgument as error:
        # Only the step can be wrong: any start and any stop are valid.
        raise InvalidArgument(name_member((*path, 2)), error.reason) from None


def _read_dimension(field: str, value: int | str) -> int | str:
    return value if isinstance(value, int) else parse_dimension(field, value)


def _build_rules(members: MissingMembers | None) -> dict[str, tuple[Number, ...]]:
    if members is None:
        return {}
    return {name: tuple(value) if isinstance(value, list) else (value,) for name, value in members if value is not None}

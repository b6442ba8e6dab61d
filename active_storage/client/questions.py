"""Questions about whole arrays: from the arguments of a method to the members of ``POST /arrays/v1/``.

The service checks them. What only a client can know is checked here: which container a URL names, and the notations of
Python that the service does not have.
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from active_storage.client.arguments import Bound, Group, Near, Place, Position, QuestionArguments, Span, Weights
from active_storage.client.failures import suggest_name
from active_storage.errors import InvalidArgument, shown, shown_end
from active_storage.grammar.arrays import GROUP_VALUES
from active_storage.grammar.text import encode
from active_storage.model.array_reduction import CONTAINER_TYPES
from active_storage.model.missing import MISSING_RULES

# Where an array lies: a URL, several URLs of one array, or a table of chunks.
Store = str | Sequence[str] | Mapping[str, Any]

# The container by the end of a key.
_CONTAINERS = {
    ".zarr": "zarr",
    **dict.fromkeys((".nc", ".nc4", ".cdf", ".netcdf", ".h5", ".hdf5", ".hdf", ".he5"), "netcdf"),
    **dict.fromkeys((".json", ".parquet", ".parq"), "kerchunk"),
}

# Arguments that say where the array lies.
_OF_STORE = frozenset({"container", "concat", "interface_type"})

_S3 = "s3://"


def build_members(store: Store, array: str, arguments: QuestionArguments, own_store: str) -> dict[str, Any]:
    """The members of a request.

    Args:
        store: Where the array lies. ``s3://bucket/key`` is in the service's own store.
        array: The path of the array in its container; "" for the root of a Zarr store.
        arguments: The arguments that were given.
        own_store: The ``scheme://host[:port]`` of the service's own store.

    Raises:
        InvalidArgument: An argument has a wrong value, or the end of the URL is not that of a container.
    """
    given: dict[str, Any] = {name: arguments.get(name) for name in sorted(_list_given(arguments))}
    selection, where = given.pop("selection", None), given.pop("where", None)
    missing = {name: given.pop(name) for name in MISSING_RULES if name in given}
    members = {name: _BUILD.get(name, as_plain)(value) for name, value in given.items()}
    members["store"] = build_store(store, array, arguments, own_store)
    if missing:
        members["missing"] = {name: as_plain(value) for name, value in missing.items()}
    if selection is not None or where is not None:
        members["selection"] = _build_selection(selection, where)
    return members


def find_container(url: str) -> str:
    """The container by the end of a URL: ``zarr``, ``netcdf`` or ``kerchunk``.

    Raises:
        InvalidArgument: The end is not known.
    """
    path = urlsplit(url).path.lower().rstrip("/")
    for end, container in _CONTAINERS.items():
        # The path of a group in a Zarr store can follow.
        if path.endswith(end) or (container == "zarr" and f"{end}/" in path):
            return container
    ends = ", ".join(_CONTAINERS)
    raise InvalidArgument("container", f"is required, since {shown_end(path)} does not end in one of {ends}")


def find_parameters(arguments: QuestionArguments) -> set[str]:
    """What a service must know of to answer, as it names its parameters."""
    group = arguments.get("group")
    has_values = "values" in group if isinstance(group, Mapping) else not isinstance(group, str | None)
    return _list_given(arguments) | ({GROUP_VALUES} if has_values else set())


def _list_given(arguments: QuestionArguments) -> set[str]:
    return {name for name, value in arguments.items() if value is not None} - _OF_STORE


def build_store(store: Store, array: str, arguments: QuestionArguments, own_store: str) -> dict[str, Any]:
    """The members of a store; the arguments are those of ``build_members``.

    Raises:
        InvalidArgument: An argument has a wrong value, or the end of the URL is not that of a container.
    """
    if isinstance(store, Mapping):
        return dict(store)
    urls = [store] if isinstance(store, str) else list(store)
    if not urls:
        raise InvalidArgument("store", "is an empty list")
    container = arguments.get("container") or find_container(urls[0])
    if container not in CONTAINER_TYPES:
        known = ", ".join(CONTAINER_TYPES)
        raise InvalidArgument(
            "container", f"is {shown(container)}, not one of {known}{suggest_name(container, CONTAINER_TYPES)}"
        )
    members: dict[str, Any] = {"type": container}
    located = [_locate(url, own_store) for url in urls]
    members |= {"url": located[0]} if isinstance(store, str) else {"urls": located}
    optional = {"array": array, "concat": arguments.get("concat"), "interface_type": arguments.get("interface_type")}
    return members | {name: value for name, value in optional.items() if value}


def _locate(url: str, own_store: str) -> str:
    """The URL as the service takes it."""
    if url.lower().startswith(_S3):
        bucket, _, key = url[len(_S3) :].partition("/")
        if not bucket or not key:
            raise InvalidArgument("store", "is not of the form s3://bucket/key")
        return f"{own_store}/{encode(bucket)}/{encode(key)}"
    if not url.lower().startswith(("http://", "https://")):
        raise InvalidArgument("store", "should be s3://bucket/key, http://store/bucket/key or https://store/bucket/key")
    return url


def _build_selection(
    selection: Sequence[Position] | Mapping[str, Position] | None, where: Mapping[str, Place] | None
) -> Any:
    if isinstance(selection, Sequence) and not where:
        return [build_position(each) for each in selection]
    # A dimension can be named by its number.
    by_name = dict(selection if isinstance(selection, Mapping) else enumerate(selection or ()))
    members: dict[str, dict[str, Any]] = {str(name): {"index": build_position(each)} for name, each in by_name.items()}
    for name, place in (where or {}).items():
        members[name] = members.get(name, {}) | _build_place(place)
    return members


def build_position(position: Position) -> list[int | None]:
    """``[start, stop, step]``. An index is the slice of one element.

    Raises:
        InvalidArgument: The position is not a slice, a list of three, or an index.
    """
    if isinstance(position, slice):
        bounds = (position.start, position.stop, position.step)
        return [None if each is None else int(each) for each in bounds]
    if isinstance(position, int | np.integer):
        return [int(position), int(position) + 1 or None, None]
    if isinstance(position, list | tuple) and len(position) == 3:
        return [None if each is None else int(each) for each in position]
    raise InvalidArgument("selection", f"{shown(str(position))} should be a slice, [start, stop, step] or an index")


def _build_place(place: Place) -> dict[str, Any]:
    if isinstance(place, slice):
        if place.step is not None:
            raise InvalidArgument("where", "has a slice with a step, which values of a coordinate do not have")
        place = Span(place.start, place.stop)
    if isinstance(place, str):
        # The period of a part of a date, or a value of texts.
        place = Span(place, place)
    if isinstance(place, Span):
        bounds = {"from": place.low, "to": place.high}
        members: dict[str, Any] = {name: _build_bound(each) for name, each in bounds.items() if each is not None}
        if not members:
            return {"index": [None, None, None]}
        return {**members, "cyclic": True} if place.is_cyclic else members
    near = place if isinstance(place, Near) else Near(place)
    return {"nearest": _build_bound(near.value), **({"cyclic": True} if near.is_cyclic else {})}


def _build_bound(bound: Bound) -> int | float | str:
    if isinstance(bound, np.datetime64):
        # Finer parts of a second are not told.
        return str(bound.astype("datetime64[s]") if bound.astype("M8[D]") != bound else bound.astype("M8[D]"))
    if isinstance(bound, dt.date):
        return bound.isoformat()
    plain = as_plain(bound)
    if not isinstance(plain, int | float | str):
        raise InvalidArgument("where", f"{shown(str(bound))} should be a number, a text or a date")
    return plain


def _build_dims(dims: Any) -> list[Any]:
    return [as_plain(dims)] if isinstance(dims, str | int | np.integer) else [as_plain(each) for each in dims]


def _build_group(group: Group) -> Any:
    """``time.month`` is xarray's notation, and ``time:month`` that of a plain URL. NaN is in no group."""
    if isinstance(group, Mapping):
        return {name: as_plain(value) for name, value in group.items()}
    if not isinstance(group, str):
        dims, given = group
        values = np.asarray(given)
        if values.dtype.kind not in "iuf":
            raise InvalidArgument("group", "should have numbers, such as those of np.unique(..., return_inverse=True)")
        plain = values.astype(object)
        plain[np.isnan(values)] = None
        return {"dims": _build_dims(dims), "values": plain.tolist()}
    name, separator, by = group.partition(":" if ":" in group else ".")
    return {name: by} if separator else group


def _build_weights(weights: Weights) -> dict[str, Any]:
    if isinstance(weights, str):
        kind, colon, name = weights.partition(":")
        return {"cos": name} if colon and kind == "cos" else {"array": weights}
    if isinstance(weights, Mapping):
        return {name: as_plain(value) for name, value in weights.items()}
    dims, values = weights
    return {"dims": _build_dims(dims), "values": np.asarray(values).tolist()}


def as_plain(value: Any) -> Any:
    """A value as types of Python."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [as_plain(each) for each in value] if isinstance(value, list | tuple) else value


_BUILD: Mapping[str, Callable[[Any], Any]] = {"axis": _build_dims, "group": _build_group, "weights": _build_weights}

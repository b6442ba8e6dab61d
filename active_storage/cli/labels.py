"""Results with labels: what each dimension is called, and the values of its coordinate.

A service tells the labels of groups, and those of coordinates by which was selected. The others are asked for.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from active_storage.client.arguments import QuestionArguments
from active_storage.client.client import Client
from active_storage.client.groups import Variable
from active_storage.client.results import Result, find_rule
from active_storage.errors import ActiveStorageError

# Dimensions that are not those of an array.
_NO_COORDINATES = ("bin", "quantile")

# What the first dimension of ``stats`` has.
_STATS = ("count", "min", "max", "mean", "m2")


@dataclass(frozen=True, slots=True)
class Coordinate:
    """The coordinate of a dimension.

    Attributes:
        stored: The values as they are stored, or as the service calls them.
        attributes: The attributes, which say how stored values are decoded.
    """

    stored: Sequence[Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def units(self) -> str:
        """The units; empty if they are unknown, or those of times, which are shown as dates."""
        units = str(self.attributes.get("units", ""))
        return "" if self.is_encoded else units

    def list_texts(self) -> list[str]:
        """The values for people: dates in ISO 8601, bins as low..high."""
        return [_write_label(value) for value in self._decode()]

    def list_plain(self) -> list[Any]:
        """The values as types of JSON."""
        return [_write_label(value) if _is_time(value) else _as_plain(value) for value in self._decode()]

    @property
    def is_encoded(self) -> bool:
        """Whether the values are to be decoded by the attributes."""
        is_time = " since " in str(self.attributes.get("units", ""))
        return is_time or not {"scale_factor", "add_offset"}.isdisjoint(self.attributes)

    def _decode(self) -> Sequence[Any]:
        if not self.is_encoded:
            return self.stored
        import xarray as xr  # noqa: PLC0415  # only what is encoded needs it

        variable = xr.Variable(("x",), np.asarray(self.stored), dict(self.attributes))
        try:
            return list(xr.decode_cf(xr.Dataset({"x": variable}))["x"].values)
        except (ValueError, ImportError):
            # A calendar that needs cftime.
            return self.stored


@dataclass(frozen=True, slots=True)
class Labelled:
    """A result with labels.

    Attributes:
        reducer: The reducer.
        name: What the values are of: the name of the variable, or the reducer.
        result: The result.
        dims: The name of each dimension.
        coordinates: The coordinates by the name of the dimension. A dimension without one has places from 0.
    """

    reducer: str
    name: str
    result: Result
    dims: tuple[str, ...]
    coordinates: Mapping[str, Coordinate]

    @property
    def values(self) -> np.ndarray[Any, Any]:
        """The values; masked ones stay so."""
        return (
            np.ma.asarray(self.result.values)
            if np.ma.isMaskedArray(self.result.values)
            else np.asarray(self.result.values)
        )

    @property
    def counts(self) -> np.ndarray[Any, Any] | None:
        """The count of each value; None if there are no counts of single values."""
        counts, rule = np.asarray(self.result.counts), find_rule(self.reducer)
        if rule.keeps_elements:
            return None
        if rule.has_bins:
            counts = counts[..., np.newaxis]
        return np.broadcast_to(counts, self.result.shape)

    def list_columns(self, dim: str) -> list[str]:
        """The label of each index of a dimension, for people."""
        size = self.result.shape[self.dims.index(dim)]
        found = self.coordinates.get(dim)
        return [str(place) for place in range(size)] if found is None else found.list_texts()

    def iterate(self) -> Iterator[tuple[tuple[str, ...], Any, int | None]]:
        """The labels, the value and the count of each cell; None for a value or a count that there is not."""
        columns = [self.list_columns(dim) for dim in self.dims]
        values, counts = self.values, self.counts
        for index in np.ndindex(values.shape):
            labels = tuple(column[place] for column, place in zip(columns, index, strict=True))
            value = values[index]
            yield labels, None if value is np.ma.masked else value, None if counts is None else int(counts[index])


def label_object(reducer: str, result: Result) -> Labelled:
    """The result of a plain object."""
    return _label(reducer, reducer, result, {})


def label_array(  # noqa: PLR0913, PLR0917  # what was asked, and the answer
    client: Client, reducer: str, urls: Sequence[str], array: str, arguments: QuestionArguments, result: Result
) -> Labelled:
    """The result of a whole array, with the coordinates of its dimensions."""
    found: dict[str, Coordinate] = {}
    named = [name for name in result.dims if name and name not in _NO_COORDINATES]
    # What was selected by values has labels, and lacks units.
    wanted = named if "where" in arguments or not set(named) <= result.labels.keys() else []
    # The root of a container of one array has no group that lists it, and several files have coordinates each.
    if wanted and array and len(urls) == 1:
        try:
            found = _ask(client, urls[0], array, arguments, wanted)
        except ActiveStorageError as error:
            sys.stderr.write(f"active-storage: places instead of coordinates, which are not known: {error}\n")
    return _label(reducer, array.rpartition("/")[2] or reducer, result, found)


def _label(reducer: str, name: str, result: Result, coordinates: dict[str, Coordinate]) -> Labelled:
    dims = tuple(
        each or f"dim_{number}" for number, each in enumerate((*result.dims, *(None,) * result.ndim)[: result.ndim])
    )
    if find_rule(reducer).leading:
        dims = ("statistic", *dims[1:])
        coordinates["statistic"] = Coordinate(_STATS)
    known = {dim: _with_units(values, coordinates.get(dim)) for dim, values in result.labels.items() if dim in dims}
    sized = dict(zip(dims, result.shape, strict=True))
    fitting = {dim: each for dim, each in (coordinates | known).items() if len(each.stored) == sized[dim]}
    return Labelled(reducer, name, result, dims, fitting)


def _with_units(labels: Sequence[Any], described: Coordinate | None) -> Coordinate:
    """The labels of a service, which are decoded, with the attributes of their coordinate."""
    if described is None or described.is_encoded:
        return Coordinate(labels)
    return Coordinate(labels, described.attributes)


def _ask(
    client: Client, url: str, array: str, arguments: QuestionArguments, wanted: Sequence[str]
) -> dict[str, Coordinate]:
    group, _, name = array.rpartition("/")
    described = client.describe(
        url,
        group,
        coordinates=True,
        container=arguments.get("container"),
        interface_type=arguments.get("interface_type"),
    )
    of_array = next((each for each in described.variables if each.name == name), None)
    return {
        each.name: Coordinate(each.values[_find_slice(of_array, each.name, arguments)], _keep_attributes(each))
        for each in described.variables
        if each.name in wanted and each.values is not None
    }


def _find_slice(array: Variable | None, dim: str, arguments: QuestionArguments) -> Any:
    """The indices of a dimension that were selected."""
    selection: Any = arguments.get("selection") or {}
    number = array.dims.index(dim) if array is not None and dim in array.dims else None
    if not isinstance(selection, Mapping):
        return slice(None) if number is None or number >= len(selection) else selection[number]
    return selection.get(dim, selection.get(str(number), slice(None)))


def _keep_attributes(variable: Variable) -> dict[str, Any]:
    return {
        name: value
        for name, value in variable.attributes.items()
        if name not in ("_FillValue", "_ARRAY_DIMENSIONS", "bounds")
    }


def _is_time(value: Any) -> bool:
    return isinstance(value, np.datetime64) or hasattr(value, "calendar")


def _write_label(value: Any) -> str:
    if _is_time(value):
        text = str(value.astype("datetime64[s]")) if isinstance(value, np.datetime64) else value.isoformat()
        return text.removesuffix("T00:00:00")
    if isinstance(value, list | tuple):
        return "..".join(map(_write_label, value))
    return str(value)


def _as_plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.generic) else value

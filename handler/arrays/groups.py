"""Groups: which cell of the result each selected index of a dimension belongs to, and what the cells are called."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from active_storage.errors import InvalidArgument, shown
from active_storage.model.coordinates import AnyGroup, Group, NumberGroup
from handler.arrays.coordinates import AnyArray, Coordinate, Coordinates
from handler.arrays.dimensions import find_dimension
from handler.arrays.times import Times
from handler.containers.stored_array import Numbers

# The name of the dimension of groups that the caller gives.
_NAME = "group"

# The most periods, which are listed even where they are empty. Those of other kinds are never more than the
# coordinate has values.
_MOST_PERIODS = 1_000_000


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of the selected indices of one dimension.

    Attributes:
        name: The name of the dimension of groups in the result.
        numbers: For each selected index, in the caller's order, the number of its group; -1 for none. int64.
        labels: What each group is called, in their order: numbers, texts, or pairs of the edges of a bin.
    """

    name: str
    numbers: Numbers
    labels: Sequence[Any]

    @property
    def count(self) -> int:
        """The number of groups."""
        return len(self.labels)

    @classmethod
    def of(
        cls,
        group: AnyGroup,
        bins: tuple[float, ...] | None,
        array: AnyArray,
        coordinates: Coordinates,
        chosen: Sequence[range | Numbers],
    ) -> tuple[int, "Groups"]:
        """The dimension that is grouped, and its groups.

        Args:
            group: How it is grouped.
            bins: The edges of the bins of the coordinate; None for other groups.
            array: The array.
            coordinates: Finds the coordinate.
            chosen: For each dimension, the selected indices in the caller's order.

        Raises:
            InvalidArgument: There is no such coordinate, it cannot be grouped like this, or the caller's numbers do not
                fit the array.
            ActiveStorageError: It cannot be read.
        """
        if isinstance(group, NumberGroup):
            coordinate = _make_coordinate(group, array, coordinates)
        else:
            coordinate = coordinates.find("group", group.coordinate)
        indices = np.asarray(chosen[coordinate.axis], np.int64)
        if bins is not None:
            return coordinate.axis, _group_by_bins(coordinate, indices, bins)
        if group.by is None:
            coordinates.hold_labels(len(indices))
            return coordinate.axis, _group_by_values(coordinate, indices)
        if coordinate.times is None:
            raise InvalidArgument(
                "group", f"{shown(coordinate.name)} is not a time, so that it has no groups by {group.by}"
            )
        return coordinate.axis, _group_by_time(group, coordinate.times.take(indices), coordinates)


def _make_coordinate(group: NumberGroup, array: AnyArray, coordinates: Coordinates) -> Coordinate:
    """The coordinate of the caller's numbers. Neither its name nor that of its bins is a dimension of the array."""
    axis = find_dimension("group", group.dimension, array)
    if len(group.values) != array.shape[axis]:
        raise InvalidArgument(
            "group", f"has {len(group.values)} values, and its dimension has {array.shape[axis]} indices"
        )
    name = _NAME
    while {name, _name_bins(name)} & {*array.dimensions}:
        name += "_"
    coordinates.hold_values(len(group.values))
    return Coordinate(name, axis, np.array(group.values), None)


def _group_by_time(group: Group, times: Times, coordinates: Coordinates) -> Groups:
    if (period := group.period) is None:
        by = str(group.by)
        return Groups(by, *times.group(by))
    if (count := times.count_periods(period)) > _MOST_PERIODS:
        raise InvalidArgument("group", f"gives more than {_MOST_PERIODS} periods of {group.by}")
    coordinates.hold_labels(count)
    return Groups(group.coordinate, *times.resample(period))


def _group_by_values(coordinate: Coordinate, indices: Numbers) -> Groups:
    """A group for each value that occurs, ascending. A missing value belongs to none."""
    values = coordinate.values[indices]
    is_present = np.isfinite(values)
    distinct, places = np.unique(values[is_present], return_inverse=True)
    numbers = np.full(len(values), -1, np.int64)
    numbers[is_present] = places
    labels = distinct.tolist()
    if coordinate.times is not None:
        first = np.full(len(distinct), -1, np.int64)
        first[places] = indices[is_present]
        labels = coordinate.list_labels(first)
    return Groups(coordinate.name, numbers, labels)


def _group_by_bins(coordinate: Coordinate, indices: Numbers, edges: tuple[float, ...]) -> Groups:
    """A group for each bin, which has its upper edge and not its lower one."""
    if coordinate.times is not None:
        raise InvalidArgument("bins", f"are numbers, and {shown(coordinate.name)} is a time; group it by a period")
    values = coordinate.values[indices]
    numbers = np.searchsorted(np.asarray(edges), values, side="left").astype(np.int64) - 1
    # Behind the last edge, and NaN, which is sorted there.
    numbers[numbers == len(edges) - 1] = -1
    labels = [list(pair) for pair in itertools.pairwise(edges)]
    return Groups(_name_bins(coordinate.name), numbers, labels)


def _name_bins(coordinate: str) -> str:
    """The name of the dimension of the bins of a coordinate."""
    return f"{coordinate}_bins"

"""The selection of an array: which indices of each dimension are selected, and which dimensions the result keeps.

This is the one place where names of dimensions become numbers, and slices, coordinate values and groups become indices.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from active_storage.errors import InvalidArgument, shown
from active_storage.model.array_reduction import ArrayReduction
from active_storage.model.reducers import ARRAY_REDUCERS
from handler.arrays.coordinates import AnyArray, Coordinates
from handler.arrays.dimensions import find_dimension, list_dimensions
from handler.arrays.groups import Groups
from handler.arrays.places import select_places
from handler.containers.stored_array import Numbers


@dataclass(frozen=True, slots=True, eq=False)
class Listed:
    """Selected indices of a dimension that are not the same distance apart, or that are grouped.

    Attributes:
        indices: The indices, ascending; int64.
        positions: For each, its position in the caller's selection; int64.
        groups: For each, the number of its group; None if they are not grouped. int64.
    """

    indices: Numbers
    positions: Numbers
    groups: Numbers | None = None

    @classmethod
    def of(cls, indices: Numbers, groups: Numbers | None = None) -> "Listed":
        """Indices in the caller's order. An index whose group is negative belongs to none, and is left out."""
        positions = np.arange(len(indices), dtype=np.int64)
        if groups is not None:
            positions = positions[groups >= 0]
        order = positions[np.argsort(indices[positions], kind="stable")]
        return cls(indices[order], order, None if groups is None else groups[order])

    def __len__(self) -> int:
        return len(self.indices)

    def within(self, start: int, stop: int) -> "Listed":
        """The indices from ``start`` to before ``stop``, counted from ``start``."""
        low, high = np.searchsorted(self.indices, (start, stop))
        groups = None if self.groups is None else self.groups[low:high]
        return Listed(self.indices[low:high] - start, self.positions[low:high], groups)

    @property
    def covered(self) -> str:
        """A digest of the indices, their order and their groups."""
        digest = hashlib.sha256(self.indices.tobytes() + self.positions.tobytes())
        digest.update(b"" if self.groups is None else self.groups.tobytes())
        return digest.hexdigest()


Indices = range | Listed


@dataclass(frozen=True, slots=True)
class Selection:
    """What is selected of an array, or of one part of it.

    Attributes:
        indices: For each dimension, the selected indices: a range in the caller's order, descending if the step is
            negative, or a list.
        reduced: The numbers of the dimensions that are reduced and not grouped, ascending.
        axis: The same as the caller gave it: None if all dimensions are reduced because none was named.
        first: The position of the first selected element in the whole selection; zeros unless this is a part of it.
        whole: The shape of the whole selection.
        grouped: The number of the dimension that is grouped; None if none is.
        groups: Its groups; None if no dimension is grouped.
        labels: The values of the coordinates by which kept dimensions were selected, by the name of the dimension.
    """

    indices: tuple[Indices, ...]
    reduced: tuple[int, ...]
    axis: tuple[int, ...] | None
    first: tuple[int, ...]
    whole: tuple[int, ...]
    grouped: int | None = None
    groups: Groups | None = None
    labels: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, reduction: ArrayReduction, array: AnyArray, coordinates: Coordinates | None = None) -> "Selection":
        """The selection that a reduction asks for.

        Args:
            reduction: The reduction.
            array: The array.
            coordinates: Its coordinates; None if the reduction names none.

        Raises:
            InvalidArgument: The array has no such dimension or coordinate, a dimension is named twice, or nothing has
                the coordinate values that are asked for.
            ActiveStorageError: A coordinate cannot be read.
        """
        chosen = _choose_by_index(reduction, array)
        axis, reduced = _find_axes(reduction, array)
        used = [] if coordinates is None else select_places(reduction.where, chosen, coordinates)
        grouped = groups = None
        if reduction.group is not None and coordinates is not None:
            grouped, groups = Groups.of(reduction.group, reduction.bins, array, coordinates, chosen)
            if grouped not in reduced:
                name = array.dimensions[grouped] or str(grouped)
                raise InvalidArgument("axis", f"should contain the dimension of the group, {shown(name)}")
            reduced = tuple(number for number in reduced if number != grouped)
        labels: dict[str, Sequence[Any]] = {}
        for each in used:
            is_kept = each.axis not in reduced and each.axis != grouped
            if coordinates is not None and is_kept and each.name == array.dimensions[each.axis]:
                coordinates.hold_labels(len(chosen[each.axis]))
                labels[each.name] = each.list_labels(chosen[each.axis])
        indices = tuple(
            _as_indices(each, groups.numbers if groups is not None and number == grouped else None)
            for number, each in enumerate(chosen)
        )
        shape = tuple(len(each) for each in chosen)
        return cls(indices, reduced, axis, (0,) * len(shape), shape, grouped, groups, labels)

    def part(self, axis: int, start: int, stop: int) -> "Selection":
        """What is selected of a part of the array, with indices that count from the beginning of the part.

        Args:
            axis: The dimension along which the array consists of parts.
            start: The first index of the part along that dimension.
            stop: The index after its last.
        """
        chosen = self.indices[axis]
        indices, first = list(self.indices), list(self.first)
        if isinstance(chosen, Listed):
            indices[axis] = chosen.within(start, stop)
            return replace(self, indices=tuple(indices))
        # The indices ascend or descend, so that the positions of those in the part are neighbours.
        if chosen.step > 0:
            bounds = [-((chosen.start - edge) // chosen.step) for edge in (start, stop)]
        else:
            bounds = [(chosen.start - edge) // -chosen.step + 1 for edge in (stop, start)]
        low, high = (min(max(bound, 0), len(chosen)) for bound in bounds)
        mine = chosen[low:high]
        indices[axis], first[axis] = range(mine.start - start, mine.stop - start, mine.step), low
        return replace(self, indices=tuple(indices), first=tuple(first))

    @property
    def kept(self) -> tuple[int, ...]:
        """The numbers of the dimensions that the result keeps, ascending; a grouped one too."""
        return tuple(number for number in range(len(self.indices)) if number not in self.reduced)

    @property
    def cells(self) -> tuple[int, ...]:
        """The shape of the result, without leading dimensions."""
        return tuple(
            self.groups.count if self.groups is not None and number == self.grouped else self.whole[number]
            for number in self.kept
        )

    @property
    def all_labels(self) -> dict[str, Sequence[Any]]:
        """The names of groups and the values of coordinates that were selected, by the name of the dimension."""
        return {**self.labels, **({} if self.groups is None else {self.groups.name: self.groups.labels})}

    @property
    def covered(self) -> list[Any]:
        """What the digest of a plan covers of a selection: indices, axis and groups."""
        indices = [
            each.covered if isinstance(each, Listed) else (each.start, each.stop, each.step) for each in self.indices
        ]
        return [indices, self.axis, self.grouped]


def _choose_by_index(reduction: ArrayReduction, array: AnyArray) -> list[range | Numbers]:
    """The indices of each dimension that the slices of a reduction select."""
    count = len(array.shape)
    if reduction.is_complete and len(reduction.selection) != count:
        raise InvalidArgument(
            "selection",
            f"has {len(reduction.selection)} dimensions, and the array has {count}: {list_dimensions(array)}",
        )
    chosen: list[range | Numbers] = [range(size) for size in array.shape]
    numbers = _find_dimensions("selection", reduction.selection, array)
    for number, bounds in zip(numbers, reduction.selection.values(), strict=True):
        chosen[number] = bounds.resolve(array.shape[number])
    return chosen


def _find_axes(reduction: ArrayReduction, array: AnyArray) -> tuple[tuple[int, ...] | None, tuple[int, ...]]:
    """The axis that the caller named, and the dimensions that are reduced; both ascending."""
    rule = ARRAY_REDUCERS[reduction.reducer]
    axis = None if reduction.axis is None else tuple(sorted(_find_dimensions("axis", reduction.axis, array)))
    if rule.one_axis and axis == ():
        raise InvalidArgument("axis", f"should name at least one dimension for {reduction.reducer}, or be absent")
    if rule.keeps_elements:
        return axis, ()
    return axis, tuple(range(len(array.shape))) if axis is None else axis


def _find_dimensions(field: str, keys: Iterable[int | str], array: AnyArray) -> list[int]:
    """The numbers of dimensions, each of which may be named once."""
    numbers = [find_dimension(field, key, array) for key in keys]
    if len(set(numbers)) != len(numbers):
        raise InvalidArgument(field, "names a dimension twice")
    return numbers


def _as_indices(chosen: range | Numbers, groups: Numbers | None) -> Indices:
    if isinstance(chosen, range) and groups is None:
        return chosen
    return Listed.of(np.asarray(chosen, np.int64), groups)

"""The selection of an array: which indices of each dimension are selected, and which dimensions the result keeps.

This is the one place where names of dimensions become numbers, and slices become indices.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from active_storage.errors import InvalidArgument, shown
from active_storage.model.array_reduction import ArrayReduction
from active_storage.model.reducers import REDUCERS
from handler.containers.concat import ConcatenatedArray
from handler.containers.stored_array import StoredArray

AnyArray = StoredArray | ConcatenatedArray


@dataclass(frozen=True, slots=True)
class Selection:
    """What is selected of an array, or of one part of it.

    Attributes:
        indices: For each dimension, the selected indices in the caller's order: descending if the step is negative.
        reduced: The numbers of the dimensions that are reduced, ascending.
        axis: The same as the caller gave it: None if all dimensions are reduced because none was named.
        first: The position of the first selected element in the whole selection; zeros unless this is a part of it.
        whole: The shape of the whole selection.
    """

    indices: tuple[range, ...]
    reduced: tuple[int, ...]
    axis: tuple[int, ...] | None
    first: tuple[int, ...]
    whole: tuple[int, ...]

    @classmethod
    def of(cls, reduction: ArrayReduction, array: AnyArray) -> "Selection":
        """The selection that a reduction asks for.

        Raises:
            InvalidArgument: The array has no such dimension, or a dimension is named twice.
        """
        count = len(array.shape)
        if reduction.is_complete and len(reduction.selection) != count:
            raise InvalidArgument(
                "selection", f"has {len(reduction.selection)} dimensions, and the array has {count}: {_list(array)}"
            )
        indices = [range(size) for size in array.shape]
        numbers = [find_dimension("selection", key, array) for key in reduction.selection]
        _ensure_unique("selection", numbers)
        for number, chosen in zip(numbers, reduction.selection.values(), strict=True):
            indices[number] = chosen.resolve(array.shape[number])
        axis = None
        if reduction.axis is not None:
            numbers = [find_dimension("axis", key, array) for key in reduction.axis]
            _ensure_unique("axis", numbers)
            axis = tuple(sorted(numbers))
        if REDUCERS[reduction.reducer].keeps_elements:
            reduced: tuple[int, ...] = ()
        else:
            reduced = tuple(range(count)) if axis is None else axis
        if REDUCERS[reduction.reducer].one_axis and axis is not None and len(axis) != 1:
            raise InvalidArgument("axis", f"should be a single axis for {reduction.reducer}, or absent")
        shape = tuple(len(chosen) for chosen in indices)
        return cls(tuple(indices), reduced, axis, (0,) * count, shape)

    def part(self, axis: int, start: int, stop: int) -> "Selection":
        """What is selected of a part of the array, with indices that count from the beginning of the part.

        Args:
            axis: The dimension along which the array consists of parts.
            start: The first index of the part along that dimension.
            stop: The index after its last.
        """
        chosen = self.indices[axis]
        # The indices ascend or descend, so that the positions of those in the part are neighbours.
        if chosen.step > 0:
            bounds = [-((chosen.start - edge) // chosen.step) for edge in (start, stop)]
        else:
            bounds = [(chosen.start - edge) // -chosen.step + 1 for edge in (stop, start)]
        low, high = (min(max(bound, 0), len(chosen)) for bound in bounds)
        mine = chosen[low:high]
        indices, first = list(self.indices), list(self.first)
        indices[axis], first[axis] = range(mine.start - start, mine.stop - start, mine.step), low
        return replace(self, indices=tuple(indices), first=tuple(first))

    @property
    def kept(self) -> tuple[int, ...]:
        """The numbers of the dimensions that the result keeps, ascending."""
        return tuple(number for number in range(len(self.indices)) if number not in self.reduced)

    @property
    def cells(self) -> tuple[int, ...]:
        """The shape of the result, without leading dimensions."""
        return tuple(len(self.indices[number]) for number in self.kept)


def find_dimension(field: str, key: int | str, array: AnyArray) -> int:
    """The number of a dimension of an array, from its name or from a number that can be negative.

    Raises:
        InvalidArgument: There is no such dimension, or several have that name.
    """
    count = len(array.shape)
    if isinstance(key, int):
        if not -count <= key < count:
            raise InvalidArgument(field, f"names dimension {key} of an array of {count} dimensions: {_list(array)}")
        return key % count
    found = [number for number, name in enumerate(array.dimensions) if name == key]
    if len(found) != 1:
        problem = "several dimensions are" if found else "no dimension is"
        raise InvalidArgument(field, f"{problem} named {shown(key)}; the array has {_list(array)}")
    return found[0]


def _list(array: AnyArray) -> str:
    names = (ascii(name) if name else f"{number} (unnamed)" for number, name in enumerate(array.dimensions))
    return ", ".join(names) or "no dimensions"


def _ensure_unique(field: str, numbers: Sequence[int]) -> None:
    if len(set(numbers)) != len(numbers):
        raise InvalidArgument(field, "names a dimension twice")

"""The dimensions of an array by name or by number."""

from active_storage.errors import InvalidArgument, shown
from handler.arrays.coordinates import AnyArray


def find_dimension(field: str, key: int | str, array: AnyArray) -> int:
    """The number of a dimension of an array, from its name or from a number that can be negative.

    Raises:
        InvalidArgument: There is no such dimension, or several have that name. ``field`` is the error's.
    """
    count = len(array.shape)
    if isinstance(key, int):
        if not -count <= key < count:
            raise InvalidArgument(
                field, f"names dimension {key} of an array of {count} dimensions: {list_dimensions(array)}"
            )
        return key % count
    found = [number for number, name in enumerate(array.dimensions) if name == key]
    if len(found) != 1:
        problem = "several dimensions are" if found else "no dimension is"
        raise InvalidArgument(field, f"{problem} named {shown(key)}; the array has {list_dimensions(array)}")
    return found[0]


def list_dimensions(array: AnyArray) -> str:
    """The names of the dimensions, for an error."""
    names = (ascii(name) if name else f"{number} (unnamed)" for number, name in enumerate(array.dimensions))
    return ", ".join(names) or "no dimensions"

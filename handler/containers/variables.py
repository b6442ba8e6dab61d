"""The errors of netCDF-3 and HDF5 files for a variable that they do not have."""

from collections.abc import Iterable

from active_storage.errors import InvalidArgument, shown

# The number of variables that an error lists.
_MOST_LISTED = 10


def missing_variable(array: str, names: Iterable[str]) -> InvalidArgument:
    """The error for a variable that is not in the file, which lists some of those that are."""
    return InvalidArgument("array", f"there is no variable {shown(array)}; there are {_list(names)}")


def not_a_variable(array: str, names: Iterable[str]) -> InvalidArgument:
    """The error for the path of a group, which lists some of what is in it."""
    return InvalidArgument("array", f"{shown(array)} is a group, not a variable; in it there are {_list(names)}")


def _list(names: Iterable[str]) -> str:
    known = sorted(set(names))
    listed = ", ".join(shown(name) for name in known[:_MOST_LISTED]) or "none"
    return listed if len(known) <= _MOST_LISTED else f"{listed} and {len(known) - _MOST_LISTED} more"

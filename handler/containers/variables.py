"""The errors of a container for an array that it does not have: they list some of those that it has."""

import difflib
from collections.abc import Iterable

from active_storage.errors import InvalidArgument, shown

# The number of variables that an error lists.
_MOST_LISTED = 10

# How many are compared with the wrong name. A name takes some 10 us.
_MOST_COMPARED = 1000


def missing_variable(array: str, names: Iterable[str]) -> InvalidArgument:
    """The error for a variable that is not in the file, which lists some of those that are."""
    known = list_names(names, array.rpartition("/")[2])
    return InvalidArgument("array", f"there is no variable {shown(array)}; there are {known}")


def not_a_variable(array: str, names: Iterable[str]) -> InvalidArgument:
    """The error for the path of a group, which lists some of what is in it."""
    return InvalidArgument("array", f"{shown(array)} is a group, not a variable; in it there are {list_names(names)}")


def list_names(names: Iterable[str], wrong: str = "") -> str:
    """Some names for an error. If there are many, those that are most like the wrong one come first."""
    known = sorted(set(names))
    if wrong and _MOST_LISTED < len(known) <= _MOST_COMPARED:
        near = difflib.get_close_matches(wrong, known)
        known = [*near, *(name for name in known if name not in near)]
    listed = ", ".join(shown(name) for name in known[:_MOST_LISTED]) or "none"
    return listed if len(known) <= _MOST_LISTED else f"{listed} and {len(known) - _MOST_LISTED} more"

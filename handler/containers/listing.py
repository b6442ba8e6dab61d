"""The arrays of a group of a container, as its metadata lists them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from active_storage.errors import UnsupportedArray
from handler.containers.stored_array import StoredArray


@dataclass(frozen=True, slots=True)
class Listing:
    """What is in a group, without the groups in it.

    Attributes:
        attributes: The attributes of the group.
        arrays: The arrays, by name.
        unsupported: Why an array cannot be read, by name.
    """

    attributes: Mapping[str, Any] = field(repr=False)
    arrays: Mapping[str, StoredArray]
    unsupported: Mapping[str, str]

    @classmethod
    def of(
        cls, attributes: Mapping[str, Any], names: Iterable[str], open_array: Callable[[str], StoredArray]
    ) -> "Listing":
        """The listing of arrays, of which those that are not supported are told apart.

        Args:
            attributes: The attributes of the group.
            names: The names of the arrays.
            open_array: Opens the array of a name.

        Raises:
            ActiveStorageError: The metadata of an array is damaged, or cannot be read.
        """
        arrays: dict[str, StoredArray] = {}
        unsupported: dict[str, str] = {}
        for name in names:
            try:
                arrays[name] = open_array(name)
            except UnsupportedArray as error:
                unsupported[name] = error.reason
        return cls(attributes, arrays, unsupported)

"""The variables beside an array: in its own group, or in one of the groups around it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

from active_storage.errors import InvalidArgument, StoreError, UnsupportedArray
from handler.containers.reader import Container, ContainerReader, is_absent
from handler.containers.stored_array import StoredArray
from handler.containers.zarr import is_zarr_group

# Opens a variable of a container. If there is none, it raises InvalidArgument, or StoreError for an absent object.
OpenVariable = Callable[[ContainerReader, str], StoredArray]

# How many groups around the root of a container are searched.
_MOST_ENCLOSING = 4


@runtime_checkable
class HasEnclosing(Protocol):
    """A container whose root can be an array, so that its group is around the root."""

    @property
    def name(self) -> str:
        """The name of the root."""

    def enclosing(self) -> Container | None:
        """The container whose root is one segment shorter; None if there is none."""


@dataclass(frozen=True, slots=True)
class Siblings:
    """Finds variables beside an array.

    Attributes:
        reader: Reads the container of the array.
        array: The path of the array in it; "" if its root is the array.
        open_variable: Opens a variable.
    """

    reader: ContainerReader
    array: str
    open_variable: OpenVariable

    def find(self, name: str) -> tuple[ContainerReader, StoredArray] | None:
        """The nearest variable of this name, and the reader of its container; None if there is none.

        Raises:
            UnsupportedArray: It has a feature that is not supported.
            ActiveStorageError: It cannot be read.
        """
        for reader, path in self._list_places(name.strip("/")):
            try:
                return reader, self.open_variable(reader, path)
            except UnsupportedArray:
                raise
            except InvalidArgument:
                continue
            except StoreError as error:
                if not is_absent(error):
                    raise
        return None

    @property
    def own_name(self) -> str:
        """The name of the array: the end of its path."""
        container = self.reader.container
        path = self.array.strip("/") or (container.name if isinstance(container, HasEnclosing) else "")
        return path.rpartition("/")[2]

    def beside(self, reader: ContainerReader) -> Self:
        """The same for another container."""
        return type(self)(reader, self.array, self.open_variable)

    def _list_places(self, name: str) -> Iterator[tuple[ContainerReader, str]]:
        groups = self.array.strip("/").split("/")[:-1]
        if self.array.strip("/"):
            for depth in range(len(groups), -1, -1):
                yield self.reader, "/".join([*groups[:depth], name])
            return
        reader = self.reader
        for number in range(_MOST_ENCLOSING):
            around = reader.container.enclosing() if isinstance(reader.container, HasEnclosing) else None
            if around is None:
                return
            reader = reader.beside(around)
            # Next to the array is beside it. Further away, a variable can be of another store, unless this is a group.
            if not number or is_zarr_group(reader):
                yield reader, name

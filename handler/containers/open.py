"""The table of containers: the reader of each type."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from active_storage.errors import InvalidArgument
from active_storage.model.array_reduction import ContainerType
from handler.containers.concat import ConcatenatedArray, ReadValues, open_concat
from handler.containers.kerchunk import list_kerchunk, open_kerchunk
from handler.containers.listing import Listing
from handler.containers.netcdf import list_netcdf, open_netcdf
from handler.containers.reader import Container, ContainerReader
from handler.containers.stored_array import StoredArray
from handler.containers.table import open_table
from handler.containers.zarr import list_zarr, open_zarr

Opener = Callable[[ContainerReader, str], StoredArray]


@runtime_checkable
class HasTable(Protocol):
    """A container whose chunks a table names, which the client has sent."""

    @property
    def table(self) -> Mapping[str, Any]:
        """The members of the table."""


@runtime_checkable
class HasFiles(Protocol):
    """Several containers, whose arrays follow each other."""

    @property
    def files(self) -> Sequence[Container]:
        """The containers, in their order."""


def _open_own_table(reader: ContainerReader, array: str) -> StoredArray:  # noqa: ARG001  # a table is of one array
    if not isinstance(reader.container, HasTable):
        raise InvalidArgument("store", "has no table")
    return open_table(reader.container.table, reader)


# By the container's type.
OPENERS: dict[ContainerType, Opener] = {
    "kerchunk": open_kerchunk,
    "netcdf": open_netcdf,
    "table": _open_own_table,
    "zarr": open_zarr,
}


# What lists the arrays of a group, by the container's type. A table has one array, which the caller knows.
_LISTERS: dict[ContainerType, Callable[[ContainerReader, str], Listing]] = {
    "kerchunk": list_kerchunk,
    "netcdf": list_netcdf,
    "zarr": list_zarr,
}


def list_group(container: ContainerType, reader: ContainerReader, group: str) -> Listing:
    """The arrays of a group of a container.

    Args:
        container: The type of the container.
        reader: Reads its objects.
        group: The path of the group; "" for the root.

    Raises:
        InvalidArgument: There is no such group, or nothing that lists its arrays.
        UndecodableData: The metadata is malformed, or contradicts itself.
        ActiveStorageError: The metadata cannot be read.
    """
    if container not in _LISTERS:
        raise InvalidArgument("store.type", f"is {container}, which has one array and no list of arrays")
    return _LISTERS[container](reader, group)


def open_array(container: ContainerType, reader: ContainerReader, array: str) -> StoredArray:
    """The array of a container.

    Args:
        container: The type of the container.
        reader: Reads its objects.
        array: The path of the array in it.

    Raises:
        UnsupportedArray: The array has a feature that is not supported.
        UndecodableData: The metadata is malformed, or contradicts itself.
        ActiveStorageError: The metadata cannot be read.
    """
    return OPENERS[container](reader, array)


def open_concatenated(
    container: ContainerType, reader: ContainerReader, array: str, dim: str, read_values: ReadValues
) -> ConcatenatedArray:
    """The array of several containers, one behind the other.

    Args:
        container: The type of the containers.
        reader: The reader of the request. What is read of all containers counts for its limits.
        array: The path of the array in each of them.
        dim: The name of the dimension along which they follow each other.
        read_values: Gives the elements of a coordinate.

    Raises:
        InvalidArgument: The containers do not fit each other.
        ActiveStorageError: The same as for ``open_array``.
    """
    if not isinstance(reader.container, HasFiles):
        raise InvalidArgument("store.urls", "is required")
    readers = [reader.beside(file) for file in reader.container.files]
    return open_concat(readers, array, dim, OPENERS[container], read_values)

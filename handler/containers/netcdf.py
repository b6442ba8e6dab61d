"""NetCDF and HDF5 files: the first bytes of an object show which of the formats it has."""

from active_storage.errors import EntityTooLarge, InvalidArgument, UndecodableData, shown
from handler.containers import netcdf3
from handler.containers.hdf5 import list_hdf5, open_hdf5
from handler.containers.hdf5_source import Hdf5Source, find_signature
from handler.containers.listing import Listing
from handler.containers.netcdf3 import list_netcdf3, open_netcdf3
from handler.containers.reader import ContainerReader
from handler.containers.stored_array import StoredArray

_HEAD_BYTES = 64 << 10


def open_netcdf(reader: ContainerReader, array: str) -> StoredArray:
    """A variable of a netCDF-3, NetCDF-4 or HDF5 file, which is the container's one object.

    Args:
        reader: Reads the file.
        array: The path of the variable: ``tas``, ``/tas`` or ``group/tas``.

    Raises:
        InvalidArgument: There is no such variable.
        UnsupportedArray: The file or the variable has a feature that is not supported.
        UndecodableData: The file is damaged, cut short, or has another format.
        EntityTooLarge: The metadata is larger than the limits allow.
        ActiveStorageError: The file cannot be read.
    """
    try:
        return reader.keep(_File, lambda: _File(reader)).open(array)
    except (UndecodableData, EntityTooLarge) as error:
        raise error.located(f"array {shown(array)}") from error.__cause__


def list_netcdf(reader: ContainerReader, group: str) -> Listing:
    """The variables of a group of a netCDF-3, NetCDF-4 or HDF5 file, which is the container's one object.

    Args:
        reader: Reads the file.
        group: The path of the group; "" for the root, the only one of netCDF-3.

    Raises:
        InvalidArgument: There is no such group.
        UnsupportedArray: The file has a feature that is not supported.
        UndecodableData: The file is damaged, cut short, or has another format.
        EntityTooLarge: The metadata is larger than the limits allow.
        ActiveStorageError: The file cannot be read.
    """
    return reader.keep(_File, lambda: _File(reader)).list_group(group.strip("/"))


class _File:
    """A file, whose first bytes and blocks are read once for all its variables.

    Args:
        reader: Reads the file.

    Raises:
        UndecodableData: It has another format.
    """

    def __init__(self, reader: ContainerReader) -> None:
        self._object = reader.open_key("")
        self._head = self._object.read_up_to(0, _HEAD_BYTES)
        self._hdf5: Hdf5Source | None = None
        if not self._head.startswith(netcdf3.MAGIC):
            base = find_signature(self._head)
            if base is None:
                raise UndecodableData("metadata", "the file is neither HDF5 nor netCDF-3")
            self._hdf5 = Hdf5Source(reader, self._object, self._head, base)

    def open(self, array: str) -> StoredArray:
        """A variable of the file."""
        if self._hdf5 is None:
            return open_netcdf3(self._object, self._head, array)
        return open_hdf5(self._hdf5, array)

    def list_group(self, group: str) -> Listing:
        """The variables of a group of the file."""
        if self._hdf5 is not None:
            return list_hdf5(self._hdf5, group)
        if group:
            raise InvalidArgument("store.array", f"there is no group {shown(group)}: netCDF-3 has none")
        return list_netcdf3(self._object, self._head)

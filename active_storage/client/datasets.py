"""``open_dataset`` and the engine ``active_storage`` of xarray: datasets whose elements stay in the store.

The service describes the group and gives its coordinates, in one request. xarray itself decodes what it says: names,
data types, attributes and coordinates are those that xarray makes of the same data. Then the numbers that the service
can decode become ``ServiceArray``; times and texts are selected as they are stored, and decoded here.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.backends.zarr import FillValueCoder
from xarray.core import indexing

import active_storage.client.accessor  # noqa: F401  # registers ``DataArray.active``
from active_storage.client.client import Client
from active_storage.client.groups import Group, Variable
from active_storage.client.questions import find_container
from active_storage.client.results import Array
from active_storage.client.service_array import LoadWarning, Remote, ServiceArray, ask_in_turn
from active_storage.errors import ActiveStorageError, InvalidArgument

ContainerName = Literal["zarr", "netcdf", "hdf5", "kerchunk"]

# In the order in which they are tried if the URL does not tell.
_CONTAINERS: tuple[ContainerName, ...] = ("zarr", "netcdf", "kerchunk")


def open_dataset(url: str, service: str | Sequence[str], **options: Any) -> xr.Dataset:
    """A dataset of xarray whose elements stay in the store, and whose reductions the service makes.

    Args:
        url: ``s3://bucket/key`` in the store of the service, or ``http(s)://store/bucket/key``: a Zarr store, a NetCDF
            or HDF5 file, or kerchunk references.
        service: The URL of the service, or several: the next one is asked if one is full or cannot be reached.
        **options: As for ``ServiceBackend.open_dataset``.

    Raises:
        ActiveStorageError: The dataset cannot be described.
        TypeError: There is no such option.
    """
    return ServiceBackend().open_dataset(url, service=service, **options)


class ServiceBackend(BackendEntrypoint):
    """The engine ``active_storage`` of ``xarray.open_dataset``."""

    description = "Open Zarr, NetCDF and references in an object store, and reduce them next to it"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "service")

    def open_dataset(  # noqa: PLR0913  # xarray's own parameters
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        service: str | Sequence[str] | None = None,
        group: str = "",
        container: ContainerName | None = None,
        interface_type: Literal["s3", "http", "https"] | None = None,
        mask_and_scale: bool | None = None,
        decode_times: Any = None,
        concat_characters: bool | None = None,
        decode_coords: Any = None,
        use_cftime: bool | None = None,
        decode_timedelta: Any = None,
        **client_options: Any,
    ) -> xr.Dataset:
        """The dataset of a group.

        Args:
            filename_or_obj: The URL of the container.
            drop_variables: Names of variables that are left out.
            service: The URL of the service, or several.
            group: The path of the group.
            container: The type of the container; None to find out.
            interface_type: As for ``Client.reduce``.
            mask_and_scale: As in xarray, and so are the others up to ``decode_timedelta``.
            decode_times: As in xarray.
            concat_characters: As in xarray.
            decode_coords: As in xarray.
            use_cftime: As in xarray.
            decode_timedelta: As in xarray.
            **client_options: Those of ``Client``, such as ``key`` and ``secret``.

        Raises:
            InvalidArgument: No service is given.
            ActiveStorageError: The dataset cannot be described.
        """
        services = [service] if isinstance(service, str) else list(service or ())
        if not services:
            raise InvalidArgument("service", "is required: the URL of the service, or a list of them")
        url = str(filename_or_obj)
        clients = [Client(each, **client_options) for each in services]
        kind, described = _describe(clients, url, group, container, interface_type)
        named = {"mask_and_scale": mask_and_scale, "decode_times": decode_times, "decode_coords": decode_coords}
        named |= {"concat_characters": concat_characters, "use_cftime": use_cftime}
        named |= {"decode_timedelta": decode_timedelta}
        decoding = {name: value for name, value in named.items() if value is not None}
        remotes = _Remotes(clients, url, group.strip("/"), {"container": kind, "interface_type": interface_type})
        dropped = {drop_variables} if isinstance(drop_variables, str) else set(drop_variables or ())
        kept = [each for each in described.variables if each.name not in dropped]
        remotes.warn_unsupported(set(described.unsupported) - dropped, described)
        raw = xr.Dataset({each.name: remotes.make_raw(each) for each in kept}, attrs=dict(described.attributes))
        decoded = xr.decode_cf(raw, **decoding)
        decode: Any = "none" if mask_and_scale is False else "xarray"
        for variable in kept:
            remotes.replace(variable, decoded, decode)

        def close() -> None:
            for client in clients:
                client.close()

        decoded.set_close(close)
        return decoded


class _Remotes:
    """Makes the arrays of a dataset.

    Args:
        clients: The clients of the services.
        url: The URL of the container.
        group: The path of the group.
        arguments: The arguments of each request.
    """

    def __init__(self, clients: Sequence[Client], url: str, group: str, arguments: Mapping[str, Any]) -> None:
        self._clients = clients
        self._url = url
        self._group = group
        self._arguments = arguments
        self._warned: set[str] = set()
        self._stored: dict[str, _StoredArray] = {}

    def make_raw(self, variable: Variable) -> xr.Variable:
        """A variable as it is stored."""
        dims = [name or f"{variable.name}_{number}" for number, name in enumerate(variable.dims)]
        attributes = {name: value for name, value in variable.attributes.items() if name != "_ARRAY_DIMENSIONS"}
        dtype = np.dtype(variable.dtype)
        if variable.fill_value is not None:
            attributes["_FillValue"] = variable.fill_value
        elif isinstance(fill := attributes.get("_FillValue"), str) and dtype.kind in "iufb":
            # As xarray writes it in Zarr version 3.
            attributes["_FillValue"] = FillValueCoder.decode(fill, dtype)
        data: Any = variable.values
        if data is None:
            stored = self._stored[variable.name] = _StoredArray(self._make(variable, dtype, "none"))
            data = indexing.LazilyIndexedArray(stored)
        return xr.Variable(dims, data, attributes)

    def replace(self, variable: Variable, dataset: xr.Dataset, decode: Literal["none", "xarray"]) -> None:
        """Put a ``ServiceArray`` in the place of the elements of a variable, if the service decodes them alike.

        Coordinates are selected when they are needed, and kept.
        """
        decoded = dataset.variables.get(variable.name)
        if decoded is None or variable.values is not None:
            return
        if variable.name in dataset.coords:
            self._stored[variable.name].keeps_elements = True
            return
        is_number = decoded.dtype.kind in "iuf" or (decoded.dtype == bool and variable.dtype == "bool")
        if is_number and decoded.shape == variable.shape:
            data = self._make(variable, decoded.dtype, decode)
            dataset[variable.name] = _ServiceVariable(decoded.dims, data, decoded.attrs, decoded.encoding)

    def warn_unsupported(self, names: set[str], described: Group) -> None:
        """Say which variables are left out, and why."""
        if names:
            reasons = "; ".join(f"{name}: {described.unsupported[name]}" for name in sorted(names))
            warnings.warn(f"variables that cannot be read are left out: {reasons}", LoadWarning, stacklevel=4)

    def _make(self, variable: Variable, dtype: np.dtype[Any], decode: Literal["none", "xarray"]) -> ServiceArray:
        path = f"{self._group}/{variable.name}" if self._group else variable.name
        arguments = {**self._arguments, "decode": decode, "skipna": True}
        remote = Remote(self._clients, self._url, path, variable.shape, arguments, self._warned)
        return ServiceArray(remote, dtype, tuple(range(size) for size in variable.shape))


class _ServiceVariable(xr.Variable):
    """A variable whose elements stay in the store.

    ``xarray.open_dataset`` wraps the data of variables, to keep what it loads. Wrapped data is taken for data that can
    be loaded, and handed to flox.
    """

    __slots__ = ()

    @property
    def data(self) -> Any:
        """The elements."""
        return super().data

    @data.setter
    def data(self, data: Any) -> None:
        if not (isinstance(self._data, ServiceArray) and isinstance(data, indexing.ExplicitlyIndexed)):
            xr.Variable.data.fset(self, data)  # type: ignore[attr-defined]  # it is a property


class _StoredArray(BackendArray):
    """The elements of an array as they are stored, which are selected when they are needed.

    Args:
        array: The array.

    Attributes:
        keeps_elements: Whether all elements are selected at once, and kept. xarray keeps none for copies of a variable.
    """

    def __init__(self, array: ServiceArray) -> None:
        self.keeps_elements = False
        self._array: ServiceArray | Array = array
        self.shape = array.shape
        self.dtype = array.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._select)

    def _select(self, key: tuple[Any, ...]) -> Array:
        if self.keeps_elements:
            self._array = np.asarray(self._array)
        return np.asarray(self._array[key])


def _describe(
    clients: Sequence[Client],
    url: str,
    group: str,
    container: ContainerName | None,
    interface_type: Literal["s3", "http", "https"] | None,
) -> tuple[str, Group]:
    """The type of the container, and what is in the group.

    Raises:
        ActiveStorageError: The group cannot be read.
    """
    kinds = _list_kinds(url) if container is None else (container,)
    first_error: ActiveStorageError | None = None
    for kind in kinds:
        try:
            return kind, ask_in_turn(clients, partial(_describe_as, url, group, kind, interface_type))
        except ActiveStorageError as error:
            first_error = first_error or error
            if not 400 <= error.status < 500:
                raise
    assert first_error is not None  # noqa: S101  # there is a container to try
    raise first_error


def _describe_as(
    url: str, group: str, kind: ContainerName, interface_type: Literal["s3", "http", "https"] | None, client: Client
) -> Group:
    return client.describe(url, group, coordinates=True, container=kind, interface_type=interface_type)


def _list_kinds(url: str) -> tuple[ContainerName, ...]:
    try:
        found = find_container(url)
    except InvalidArgument:
        return _CONTAINERS
    return tuple(each for each in get_args(ContainerName) if each == found)

"""``open_dataset``, ``open_mfdataset`` and the engine ``active_storage`` of xarray: datasets that stay in the store.

The service describes the group and gives its coordinates, in one request. xarray itself decodes what it says: names,
data types, attributes and coordinates are those that xarray makes of the same data. Then the numbers that the service
can decode become ``ServiceArray``; times and texts are selected as they are stored, and decoded here.

Several files are described and decoded one by one. Then each ``ServiceArray`` is made one that asks for all files.
"""

import warnings
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, Literal, Self, Unpack, get_args

import numpy as np
import xarray as xr
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.backends.zarr import FillValueCoder
from xarray.core import indexing

import active_storage.client.accessor  # noqa: F401  # registers ``DataArray.active``
from active_storage.client.arguments import AccessArguments, ensure_known
from active_storage.client.client import Client
from active_storage.client.duck_array import DuckArray
from active_storage.client.groups import Group, Variable
from active_storage.client.questions import find_container
from active_storage.client.remote import LoadWarning, Remote
from active_storage.client.results import Array
from active_storage.client.service_array import ServiceArray
from active_storage.client.turns import ask_in_turn
from active_storage.errors import ActiveStorageError, InvalidArgument

ContainerName = Literal["zarr", "netcdf", "hdf5", "kerchunk"]

# In the order in which they are tried if the URL does not tell.
_CONTAINERS: tuple[ContainerName, ...] = ("zarr", "netcdf", "kerchunk")

# How many files are described at the same time.
_DESCRIBED_AT_ONCE = 8


class OpenArguments(AccessArguments, total=False):
    """What ``open_dataset`` and the engine take, beside the URL and the service, and how the service is asked.

    Attributes:
        drop_variables: Names of variables that are left out.
        group: The path of the group; None for the root.
        container: The type of the container; None to find out.
        interface_type: As for ``Client.reduce``.
        mask_and_scale: As in xarray, and so are the others up to ``decode_timedelta``.
        decode_times: As in xarray.
        concat_characters: As in xarray.
        decode_coords: As in xarray.
        use_cftime: As in xarray.
        decode_timedelta: As in xarray.
        retries: How often a request is repeated.
    """

    drop_variables: str | Iterable[str] | None
    group: str | None
    container: ContainerName | None
    interface_type: Literal["s3", "http", "https"] | None
    mask_and_scale: bool | None
    decode_times: Any
    concat_characters: bool | None
    decode_coords: Any
    use_cftime: bool | None
    decode_timedelta: Any
    retries: int


_DECODING = ("mask_and_scale", "decode_times", "concat_characters", "decode_coords", "use_cftime", "decode_timedelta")
_OF_CLIENT = (*AccessArguments.__optional_keys__, "retries")


def open_dataset(url: str, service: str | Sequence[str], **options: Unpack[OpenArguments]) -> xr.Dataset:
    """A dataset of xarray whose elements stay in the store, and whose reductions the service makes.

    Args:
        url: ``s3://bucket/key`` in the store of the service, or ``http(s)://store/bucket/key``: a Zarr store, a NetCDF
            or HDF5 file, or kerchunk references.
        service: The URL of the service, or several: the next one is asked if one is full or cannot be reached.
        **options: Those of ``OpenArguments``.

    Raises:
        ActiveStorageError: The dataset cannot be described.
        TypeError: There is no such option.
    """
    return _Opener(service, options).open(url)


def open_mfdataset(
    urls: Sequence[str], concat_dim: str, service: str | Sequence[str], **options: Unpack[OpenArguments]
) -> xr.Dataset:
    """Several files or stores as one dataset, as ``xarray.open_mfdataset(..., combine="nested")`` makes it.

    A reduction is one request for all files. Variables and coordinates without the dimension, and all attributes, are
    those of the first file.

    Args:
        urls: The files in the order of the dimension, each as for ``open_dataset``.
        concat_dim: The dimension along which they follow each other; or the name of a new one, of which each file is
            one index, such as the members of an ensemble.
        service: As for ``open_dataset``.
        **options: Those of ``OpenArguments``.

    Raises:
        InvalidArgument: There is no file, or the variables of one are not those of the first.
        ValueError: The coordinates of another dimension differ.
        ActiveStorageError: A file cannot be described; the message begins with its place in the list.
        TypeError: There is no such option.
    """
    return _Opener(service, options).open_several(urls, concat_dim)


class ServiceBackend(BackendEntrypoint):
    """The engine ``active_storage`` of ``xarray.open_dataset``."""

    description = "Open Zarr, NetCDF and references in an object store, and reduce them next to it"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "service")

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        service: str | Sequence[str] | None = None,
        **options: Unpack[OpenArguments],
    ) -> xr.Dataset:
        """The dataset of a group.

        Args:
            filename_or_obj: The URL of the container.
            service: The URL of the service, or several.
            **options: Those of ``OpenArguments``.

        Raises:
            InvalidArgument: No service is given.
            ActiveStorageError: The dataset cannot be described.
            TypeError: There is no such option.
        """
        return _Opener(service, options).open(str(filename_or_obj))


class _Opener:
    """Opens datasets with the same options.

    Args:
        service: The URL of the service, or several.
        options: The options.

    Raises:
        InvalidArgument: No service is given.
        TypeError: There is no such option.
    """

    def __init__(self, service: str | Sequence[str] | None, options: OpenArguments) -> None:
        ensure_known(options, OpenArguments)
        services = [service] if isinstance(service, str) else list(service or ())
        if not services:
            raise InvalidArgument("service", "is required: the URL of the service, or a list of them")
        given: Mapping[str, Any] = dict(options)
        self._clients = [
            Client(each, **{name: given[name] for name in _OF_CLIENT if name in given}) for each in services
        ]
        self._decoding = {name: given[name] for name in _DECODING if given.get(name) is not None}
        self._container, self._interface_type = options.get("container"), options.get("interface_type")
        self._group = (options.get("group") or "").strip("/")
        dropped = options.get("drop_variables") or ()
        self._dropped = {dropped} if isinstance(dropped, str) else set(dropped)

    def open(self, url: str) -> xr.Dataset:
        """The dataset at a URL."""
        described = self._describe(url)
        self._warn_unsupported(described[1])
        return self._finish(self._decode(url, *described))

    def open_several(self, urls: Sequence[str], dim: str) -> xr.Dataset:
        """The datasets at several URLs as one."""
        if isinstance(urls, str) or not urls:
            raise InvalidArgument("urls", "should be a list of the URLs of files")
        with ThreadPoolExecutor(min(len(urls), _DESCRIBED_AT_ONCE)) as threads:
            described = list(threads.map(self._describe_file, range(len(urls)), urls))
        kinds = {kind for kind, _ in described}
        if len(kinds) > 1:
            raise InvalidArgument("urls", f"should be containers of one type; these are {', '.join(sorted(kinds))}")
        groups = [group for _, group in described]
        _ensure_alike(groups, self._dropped)
        self._warn_unsupported(groups[0])
        first = self._decode(urls[0], *described[0])
        # xarray looks at both ends of times. Those that are no coordinates wait until they are needed.
        stored = {name for name, each in first.variables.items() if not each._in_memory} - _find_remote(first)  # noqa: SLF001  # xarray has no other way to say it
        others = [self._decode(url, *each, stored) for url, each in zip(urls[1:], described[1:], strict=True)]

        def load(name: Hashable) -> list[Array]:
            files = zip(urls, described, strict=True)
            return [self._decode(url, *each).variables[name].values for url, each in files]

        joined = _join([first, *others], urls, dim)
        for name in stored:
            variable = _join_stored(first, name, groups, dim, partial(load, name))
            joined = joined.assign_coords({name: variable}) if name in first.coords else joined.assign({name: variable})
        return self._finish(joined)

    def _warn_unsupported(self, described: Group) -> None:
        """Say which variables are left out, and why."""
        names = set(described.unsupported) - self._dropped
        if names:
            reasons = "; ".join(f"{name}: {described.unsupported[name]}" for name in sorted(names))
            warnings.warn(f"variables that cannot be read are left out: {reasons}", LoadWarning, stacklevel=4)

    def _describe_file(self, number: int, url: str) -> tuple[ContainerName, Group]:
        try:
            return self._describe(url)
        except ActiveStorageError as error:
            raise error.located(f"urls[{number}]") from error.__cause__

    def _describe(self, url: str) -> tuple[ContainerName, Group]:
        """The type of the container, and what is in the group.

        Raises:
            ActiveStorageError: The group cannot be read.
        """
        kinds = _list_kinds(url) if self._container is None else (self._container,)
        first_error: ActiveStorageError | None = None
        for kind in kinds:
            ask = partial(_describe_as, url, self._group, kind, self._interface_type)
            try:
                return kind, ask_in_turn(self._clients, ask)
            except ActiveStorageError as error:
                first_error = first_error or error
                if not 400 <= error.status < 500:
                    raise
        assert first_error is not None  # noqa: S101  # there is a container to try
        raise first_error

    def _decode(
        self, url: str, kind: ContainerName, described: Group, without: Collection[Hashable] = ()
    ) -> xr.Dataset:
        """The dataset of a group as xarray decodes it, without some variables."""
        arguments = {"container": kind, "interface_type": self._interface_type}
        remotes = _Remotes(self._clients, url, self._group, arguments)
        dropped = self._dropped.union(map(str, without))
        kept = [each for each in described.variables if each.name not in dropped]
        raw = xr.Dataset({each.name: remotes.make_raw(each) for each in kept}, attrs=dict(described.attributes))
        decoded = xr.decode_cf(raw, **self._decoding)
        decode: Any = "none" if self._decoding.get("mask_and_scale") is False else "xarray"
        for variable in kept:
            remotes.replace(variable, decoded, decode)
        return decoded

    def _finish(self, dataset: xr.Dataset) -> xr.Dataset:
        """The dataset, which closes the clients at its end."""

        def close() -> None:
            for client in self._clients:
                client.close()

        dataset.set_close(close)
        return dataset


def _ensure_alike(groups: Sequence[Group], dropped: Collection[str]) -> None:
    """Pass if files have the same variables, with the same dimensions.

    Raises:
        InvalidArgument: One has others than the first.
    """
    first = {each.name: each.dims for each in groups[0].variables if each.name not in dropped}
    for number, group in enumerate(groups):
        dims = {each.name: each.dims for each in group.variables if each.name not in dropped}
        if differing := first.keys() ^ dims.keys():
            names = ", ".join(sorted(differing))
            raise InvalidArgument("urls", f"the file has other variables than the first file: {names}", number)
        if names := ", ".join(name for name in first if first[name] != dims[name]):
            raise InvalidArgument("urls", f"the file has other dimensions than the first file, of {names}", number)


def _find_remote(dataset: xr.Dataset) -> set[Hashable]:
    """The names of the variables that the service reduces."""
    return {name for name, each in dataset.variables.items() if isinstance(each._data, ServiceArray)}  # noqa: SLF001  # ``data`` could load


def _join(files: Sequence[xr.Dataset], urls: Sequence[str], dim: str) -> xr.Dataset:
    """Datasets as one: what is in memory is joined by xarray, and what the service reduces stays in the store.

    What is neither of them is left out.

    Args:
        files: The datasets.
        urls: Where they lie.
        dim: The dimension along which they follow each other, or a new one.

    Raises:
        InvalidArgument: A variable of one is decoded to other values than in the first.
        ValueError: The coordinates of another dimension differ.
    """
    first, is_new = files[0], dim not in files[0].dims
    remote = _find_remote(first)
    loaded = [
        file.drop_vars([name for name, each in file.variables.items() if name in remote or not each._in_memory])  # noqa: SLF001  # xarray has no other way to say it
        for file in files
    ]
    return _join_loaded(loaded, dim, is_new).assign(
        {
            name: _join_remote(files, name, urls, dim) if is_new or dim in first[name].dims else first.variables[name]
            for name in first.variables
            if name in remote
        }
    )


def _join_loaded(files: Sequence[xr.Dataset], dim: str, is_new: bool) -> xr.Dataset:
    """What is in memory of each file, as one."""
    if not is_new and dim not in files[0].dims:
        # Only what is in the store has the dimension.
        return xr.align(*files, join="exact")[0]
    joined: xr.Dataset = xr.concat(
        files,
        dim,
        data_vars="all" if is_new else "minimal",
        coords="minimal",
        compat="override",
        join="exact",
        combine_attrs="override",
    )
    return joined


def _join_remote(files: Sequence[xr.Dataset], name: Hashable, urls: Sequence[str], dim: str) -> xr.Variable:
    """A variable that the service reduces, over all files."""
    variables = [file.variables[name] for file in files]
    arrays: list[ServiceArray] = []
    for number, each in enumerate(variables):
        array = each._data  # noqa: SLF001  # ``data`` could load
        if not isinstance(array, ServiceArray):
            raise InvalidArgument("urls", f"{name!r} is decoded to other values than in the first file", number)
        arrays.append(array)
    remote = arrays[0].remote
    dims, shape = _join_shapes(variables[0].dims, [each.shape for each in variables], dim)
    joined = replace(remote, store=tuple(urls), shape=shape, arguments={**remote.arguments, "concat": dim})
    dtype = np.result_type(*(each.dtype for each in arrays))
    data = ServiceArray(joined, dtype, tuple(range(size) for size in shape))
    return _ServiceVariable(dims, data, variables[0].attrs, variables[0].encoding)


def _join_stored(
    first: xr.Dataset, name: Hashable, groups: Sequence[Group], dim: str, load: Callable[[], list[Array]]
) -> xr.Variable:
    """A variable that is selected from each file when it is needed, such as bounds of times.

    Args:
        first: The first file.
        name: The name of the variable.
        groups: The files as they are described.
        dim: The dimension along which they are joined.
        load: Gives the elements in each file.
    """
    variable = first.variables[name]
    is_new = dim not in first.dims
    if dim not in variable.dims and not (is_new and name in first.data_vars):
        return variable
    shapes = [each.shape for group in groups for each in group.variables if each.name == name]
    dims, shape = _join_shapes(variable.dims, shapes, dim)
    data = indexing.LazilyIndexedArray(_JoinedArray(load, dims.index(dim), shape, variable.dtype, is_new))
    return xr.Variable(dims, data, variable.attrs, variable.encoding)


def _join_shapes(
    dims: tuple[Hashable, ...], shapes: Sequence[tuple[int, ...]], dim: str
) -> tuple[tuple[Hashable, ...], tuple[int, ...]]:
    """The dimensions and the shape of arrays that are joined."""
    if dim not in dims:
        return (dim, *dims), (len(shapes), *shapes[0])
    axis = dims.index(dim)
    return dims, (*shapes[0][:axis], sum(each[axis] for each in shapes), *shapes[0][axis + 1 :])


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

    def _make(self, variable: Variable, dtype: np.dtype[Any], decode: Literal["none", "xarray"]) -> ServiceArray:
        path = f"{self._group}/{variable.name}" if self._group else variable.name
        arguments = {**self._arguments, "decode": decode, "skipna": True}
        remote = Remote(self._clients, self._url, path, variable.shape, arguments, self._warned)
        return ServiceArray(remote, dtype, tuple(range(size) for size in variable.shape))


class _ServiceVariable(xr.Variable):
    """A variable whose elements stay in the store, or a result of its reductions.

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

    def load(self, **options: Any) -> Self:
        """Load the elements, or ask for the result. xarray takes both for loaded, since numpy's functions take them."""
        if isinstance(self._data, DuckArray):
            self._data = np.asarray(self._data)
        return super().load(**options)

    # Both have xarray's own arguments.

    def reduce(self, *args: Any, **options: Any) -> "_ServiceVariable":
        """The result of a reduction, for which ``load`` asks."""
        found = super().reduce(*args, **options)
        return _ServiceVariable(found.dims, found.data, found.attrs)

    def quantile(self, *args: Any, **options: Any) -> "_ServiceVariable":
        """The quantiles, for which ``load`` asks."""
        found = super().quantile(*args, **options)
        return _ServiceVariable(found.dims, found.data, found.attrs)


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


class _JoinedArray(BackendArray):
    """The elements of a variable of several files, which are selected when they are needed, and kept.

    Args:
        load: Gives the elements in each file.
        axis: The dimension along which they are joined.
        shape: The shape of all.
        dtype: The data type in the first file.
        is_new: Whether the dimension is a new one.
    """

    def __init__(
        self, load: Callable[[], list[Array]], axis: int, shape: tuple[int, ...], dtype: np.dtype[Any], is_new: bool
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self._load, self._axis, self._is_new = load, axis, is_new
        self._values: Array | None = None

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._select)

    def _select(self, key: tuple[Any, ...]) -> Array:
        if self._values is None:
            join = np.stack if self._is_new else np.concatenate
            self._values = join(self._load(), self._axis)
        return np.asarray(self._values[key])


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

"""``DataArray.active``: reductions by the service, each in one request, with groups and weights.

    ds = active_storage.open_dataset("s3://bucket/store.zarr", service="https://reduce.example.org")
    ds.tas.sel(lat=slice(-30, 30)).active.mean("time", group="time.month")
    ds.tas.active.mean(("lat", "lon"), weights="cos:lat")

Missing elements are skipped. What has happened to the array before may be indexing and transposing.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Unpack

import numpy as np
import pandas as pd
import xarray as xr

import active_storage.client.weighted  # noqa: F401  # adds what numpy's functions do with weights
from active_storage.client.arguments import AccessArguments, Numbers, Weights
from active_storage.client.numpy_reductions import find_result_dtype
from active_storage.client.places import cover
from active_storage.client.reductions import Answer, Reduction, ask_together, send
from active_storage.client.remote import NotPushedDownError
from active_storage.client.results import Plan
from active_storage.client.service_array import ServiceArray
from active_storage.client.services import Access, Services, Urls

Dims = str | Iterable[Hashable] | None


def _make_method(reducer: str, documentation: str) -> Callable[..., xr.DataArray]:
    def method(self: "ServiceAccessor", dim: Dims = None, **arguments: Any) -> xr.DataArray:
        return self.reduce(reducer, dim, **arguments)

    method.__name__ = reducer
    method.__doc__ = f"{documentation} Arguments as for ``reduce``."
    return method


@xr.register_dataarray_accessor("active")  # type: ignore[no-untyped-call]  # xarray has no types for it
class ServiceAccessor:
    """Reductions of an array by the service.

    Args:
        array: The array.
    """

    count = _make_method("count", "The number of elements that are not missing.")
    sum = _make_method("sum", "The sum.")
    mean = _make_method("mean", "The mean.")
    min = _make_method("min", "The smallest element.")
    max = _make_method("max", "The largest element.")
    var = _make_method("var", "The variance.")
    std = _make_method("std", "The standard deviation.")
    median = _make_method("median", "The median.")

    def __init__(self, array: xr.DataArray) -> None:
        self._array = array

    def quantile(self, q: float | Sequence[float], dim: Dims = None, **arguments: Any) -> xr.DataArray:
        """The quantiles ``q``; several are a first dimension. Arguments as for ``reduce``, and ``method``."""
        return self.reduce("quantile", dim, q=q, **arguments)

    def histogram(self, edges: Numbers, dim: Dims = None, **arguments: Any) -> xr.DataArray:
        """The number of elements in each bin, in a last dimension ``bin``. Arguments as for ``reduce``."""
        return self.reduce("histogram", dim, edges=np.asarray(edges), **arguments)

    def reduce(  # noqa: PLR0913  # what can be asked
        self,
        reducer: str,
        dim: Dims = None,
        *,
        group: str | Mapping[str, str] | None = None,
        bins: Numbers | None = None,
        weights: Weights | None = None,
        keep_attrs: bool | None = None,
        **arguments: Any,
    ) -> xr.DataArray:
        """The result of a reducer, from one request.

        Args:
            reducer: The reducer.
            dim: The dimensions that are reduced; None for all.
            group: As for ``Client.reduce``: ``"time.month"``. The dimension of the coordinate is among ``dim``.
            bins: With ``group``, the edges of bins of the coordinate.
            weights: As for ``Client.reduce``: ``"cos:lat"``.
            keep_attrs: As in xarray.
            **arguments: Further arguments of ``Client.reduce``, such as ``ddof``, ``q`` and ``gt``.

        Raises:
            TypeError: The elements of the array are not in the store.
            ValueError: There is no such dimension, or that of the group is not reduced.
            ActiveStorageError: There is no result.
        """
        axes = self._find_axes(dim)
        grouped = None if group is None else self._find_grouped(group, axes)
        given = {"group": group, "bins": bins, "weights": weights, **arguments}
        given = {name: value for name, value in given.items() if value is not None}
        data = self._data
        reduction = data.make_reduction(reducer, axes, arguments=given)
        answer = self._ask(reduction, None if grouped is None else data.order[grouped][0])
        values = self._turn(answer, axes, grouped)
        # xarray makes an array of float64 of a single quantile, too.
        sample: dict[str, Any] = {"q": np.atleast_1d(np.asarray(given["q"], float))} if "q" in given else {}
        if "method" in given:
            sample["method"] = given["method"]
        dtype = find_result_dtype(reducer, data.dtype, **sample)
        if dtype is not None and weights is None:
            values = values.astype(dtype, copy=False)
        return self._build(values, answer, axes, grouped, given, keep_attrs)

    def load(self) -> xr.DataArray:
        """The array with its elements, from one request. After ``stack``, ``DataArray.load`` does not load them.

        Raises:
            ActiveStorageError: They cannot be selected.
        """
        data = self._array.variable.data
        return self._array.copy(data=data.load() if isinstance(data, ServiceArray) else np.asarray(data))

    def to_dask(self, services: Urls, *, retries: int = 8, **access: Unpack[AccessArguments]) -> xr.DataArray:
        """The array with other services for its reductions and its elements, which are then dask arrays.

        Args:
            services: As for ``DaskClient``.
            retries: As for ``DaskClient``.
            **access: The keys of the tasks, and the other arguments of ``AccessArguments``.

        Raises:
            ImportError: dask is not installed.
            TypeError: The elements of the array are not in the store.
            InsecureService: The secret would be sent over http to another machine.
            InvalidArgument: There is no service, or arguments contradict each other.
        """
        from active_storage import DaskClient  # noqa: F401, PLC0415  # says what to install
        from active_storage.client.dask_remote import DaskRemote  # noqa: PLC0415  # dask need not be installed

        asked = Services(services, Access(**access), retries)
        asked.ensure_valid()
        return self._array.copy(data=self._data.with_remote(DaskRemote.of(self._data.remote, asked)))

    def plan(self, reducer: str | None = None, dim: Dims = None, **arguments: Any) -> Plan:
        """What a reduction will take. No chunk is read. Arguments as for ``reduce``.

        Raises:
            TypeError: The elements of the array are not in the store.
            ActiveStorageError: There is no plan.
        """
        reduction = self._data.make_reduction(reducer or "", self._find_axes(dim))
        return reduction.remote.plan(reducer, **reduction.make_arguments(map(cover, reduction.places)), **arguments)

    @staticmethod
    def _ask(reduction: Reduction, grouped: int | None) -> Answer:
        """The answer to one request.

        Raises:
            ValueError: The service does not do this with lists of indices.
            ActiveStorageError: There is no answer.
        """
        selected = [cover(each) for each in reduction.places]
        if not reduction.lists:
            return send(reduction, selected, grouped, counts=reduction.needs_counts)
        if not {"group", "weights"}.intersection(reduction.arguments):
            answer = _try_to_ask(reduction)
            if isinstance(answer, Answer):
                return answer
            reason = str(answer)
        else:
            reason = "groups or weights of a list of indices"
        raise ValueError(f"{reason} cannot be done by the service: select slices, or use the methods of xarray")

    def _turn(self, answer: Answer, axes: tuple[int, ...], grouped: int | None) -> Any:
        """The values with their dimensions in the order of the array."""
        order = self._data.order
        kept = [order[axis] for axis in range(len(order)) if axis not in axes or axis == grouped]
        flat = [dimension for axis in kept for dimension in axis]
        leading = np.ndim(answer.values) - len(flat)
        places = [sorted(flat).index(dimension) + leading for dimension in flat]
        turned = np.transpose(answer.values, [*range(leading), *places])
        shape = [self._data.shape[axis] for axis in range(len(order)) if axis not in axes]
        return turned if len(flat) == len(kept) else turned.reshape([*turned.shape[:leading], *shape])

    @property
    def _data(self) -> ServiceArray:
        data = self._array.variable.data
        if not isinstance(data, ServiceArray) or data.form != "values":
            raise TypeError(f"the elements of {self._array.name!r} are not in the store; they were loaded or computed")
        return data

    def _find_axes(self, dim: Dims) -> tuple[int, ...]:
        dims = self._array.dims if dim is None else (dim,) if isinstance(dim, str) else tuple(dim)
        return tuple(self._array.get_axis_num(each) for each in dims)

    def _find_grouped(self, group: str | Mapping[str, str], axes: tuple[int, ...]) -> int:
        name = group.partition(":" if ":" in group else ".")[0] if isinstance(group, str) else next(iter(group))
        dims = self._array.coords[name].dims if name in self._array.coords else (name,)
        axis = self._array.get_axis_num(dims[0])
        if len(dims) != 1 or axis not in axes:
            raise ValueError(f"the dimension of {name!r}, by which is grouped, should be reduced")
        return axis

    def _build(  # noqa: PLR0913, PLR0917  # the parts of an answer
        self,
        values: Any,
        answer: Answer,
        axes: tuple[int, ...],
        grouped: int | None,
        given: Mapping[str, Any],
        keep_attrs: bool | None,
    ) -> xr.DataArray:
        source = self._array
        kept = [name for axis, name in enumerate(source.dims) if axis not in axes]
        coords: dict[Hashable, Any] = {
            # xarray keeps no coordinates without dimensions for quantiles.
            name: each
            for name, each in source.coords.items()
            if set(each.dims) <= set(kept) and (each.dims or "q" not in given)
        }
        labels = dict(answer.labels)
        dims = [name for axis, name in enumerate(source.dims) if axis not in axes or axis == grouped]
        if grouped is not None:
            (name,) = (each for each in labels if each not in {"quantile", "bin"})
            dims[dims.index(source.dims[grouped])] = name
            coords[name] = name, _make_index(labels[name], source.coords.get(name))
        if "q" in given:
            several = np.ndim(given["q"]) > 0
            values = values if several == (values.ndim > len(dims)) else values[np.newaxis]
            dims = ["quantile", *dims] if several else dims
            coords["quantile"] = ("quantile", np.asarray(given["q"], float)) if several else float(given["q"])
        if values.ndim > len(dims):
            values, dims = np.moveaxis(values, 0, -1), [*dims, "bin"]
            coords["bin"] = "bin", pd.IntervalIndex.from_tuples([tuple(each) for each in labels["bin"]], closed="left")
        attrs = xr.DataArray(0.0, attrs=source.attrs).mean(keep_attrs=keep_attrs).attrs
        return xr.DataArray(values, coords, dims, name=source.name, attrs=attrs)


@xr.register_dataset_accessor("active")  # type: ignore[no-untyped-call]  # xarray has no types for it
class DatasetAccessor:
    """What is done with all arrays of a dataset whose elements are in the store.

    Args:
        dataset: The dataset.
    """

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    def to_dask(self, services: Urls, *, retries: int = 8, **access: Unpack[AccessArguments]) -> xr.Dataset:
        """The dataset with other services for its arrays. Arguments as for ``DataArray.active.to_dask``."""
        arrays = {
            name: array.active.to_dask(services, retries=retries, **access)
            for name, array in self._dataset.data_vars.items()
            if isinstance(array.variable.data, ServiceArray)
        }
        return self._dataset.assign(arrays)


def _make_index(labels: Sequence[Any], like: xr.DataArray | None) -> Any:
    """The values of the coordinate of groups: intervals, times as those of the array's coordinate, numbers or texts."""
    if labels and isinstance(labels[0], list):
        return pd.IntervalIndex.from_tuples([tuple(each) for each in labels], closed="right")
    return np.asarray(labels, like.dtype if like is not None and like.dtype.kind == "M" else None)


def _try_to_ask(reduction: Reduction) -> Answer | NotPushedDownError:
    try:
        return ask_together([reduction.check()])[0]
    except NotPushedDownError as error:
        return error

"""``ServiceArray``: an array whose elements stay in the store, and whose reductions the service makes.

It is a duck array of numpy: indexing, transposing and merging dimensions only change what will be asked for, and
numpy's reductions become results that are asked for when they are needed. ``numpy.asarray`` selects the elements.
Everything else selects them too, and says so once in a ``LoadWarning``.

xarray writes a sum, a count and a weighted variance as numpy functions of the elements, of which ``Form`` and
``Deviation`` keep track. The functions are in ``numpy_reductions`` and ``weighted``.
"""

# The methods without a docstring implement duck_array.py, which says it.
# ruff: noqa: D102

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from active_storage.client.deferred import Order, Reduced
from active_storage.client.duck_array import FUNCTIONS, OUTLINED, UFUNCS, Dtype, DuckArray, outlined, replace_arrays
from active_storage.client.places import (
    Places,
    count_places,
    cover,
    expand,
    make_key,
    make_orthogonal,
    make_slice,
    merge_axes,
    select,
)
from active_storage.client.reductions import Reduction, Weighting, arrange
from active_storage.client.remote import NotPushedDownError, Remote
from active_storage.client.results import Array, format_bytes, write_table

# The values, whether they are missing or not, or the values with 0 in the place of missing ones.
Form = Literal["values", "isnull", "notnull", "filled"]


@dataclass(frozen=True, slots=True)
class Deviation:
    """The elements are deviations from their weighted mean.

    Attributes:
        mean: The mean.
        is_squared: Whether they are squared.
    """

    mean: Reduced
    is_squared: bool = False


class ServiceArray(DuckArray):
    """An array, or a part of it, that is not loaded.

    Args:
        remote: The array.
        dtype: The data type of its values.
        places: What is selected of each dimension that is stored.
        order: The stored dimensions that each axis is made of, without those of one index.
        form: What is meant.
        deviation: What the values are deviations from; None if they are the elements themselves.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # only the methods give the last ones
        self,
        remote: Remote,
        dtype: Dtype,
        places: tuple[Places, ...],
        order: Order | None = None,
        form: Form = "values",
        deviation: Deviation | None = None,
    ) -> None:
        self.remote = remote
        self.places = places
        self.order = tuple((number,) for number in range(len(places))) if order is None else order
        self.form = form
        self.deviation = deviation
        self.stored_dtype = dtype

    # What numpy and xarray ask of an array

    @property
    def value_dtype(self) -> Dtype:
        """The data type of the values, whatever the form."""
        if self.deviation is None:
            return self.stored_dtype
        return np.result_type(self.stored_dtype, self.deviation.mean.dtype)

    @property
    def dtype(self) -> Dtype:
        return np.dtype(bool) if self.form in {"isnull", "notnull"} else self.value_dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(math.prod(count_places(self.places[each]) for each in axis) for axis in self.order)

    def __repr__(self) -> str:
        return f"<ServiceArray {self.remote.path} {self.shape} {self.dtype}>"

    def _repr_html_(self) -> str:
        store = self.remote.store
        place = str(store) if isinstance(store, str) else f"{len(store)} files, the first is {next(iter(store))}"
        facts = {
            "array": f"{self.shape} {self.dtype}",
            "path": self.remote.path,
            "in": place,
            "size": f"{format_bytes(self.nbytes)}, none of them loaded",
        }
        return write_table("In the store", facts)

    def _repr_inline_(self, _max_width: int) -> str:
        return f"in the store, {self.dtype}"

    def __copy__(self) -> "ServiceArray":
        return self

    def __deepcopy__(self, _memo: Any) -> "ServiceArray":
        # It does not change.
        return self

    def copy(self) -> "ServiceArray":
        """The array itself, which does not change."""
        return self

    def astype(self, dtype: Any, copy: bool = True, **_: Any) -> Any:
        """The elements in another data type, which are loaded unless it is the same."""
        if np.dtype(dtype) == self.dtype:
            return self
        self.remote.warn(f"a conversion to {np.dtype(dtype)}")
        return self.load().astype(dtype, copy=copy)

    def reshape(self, *shape: Any, **options: Any) -> Any:
        """The elements in another shape, which are loaded unless only dimensions are merged."""
        return np.reshape(self, shape[0] if len(shape) == 1 else shape, **options)

    def transpose(self, *axes: Any) -> "ServiceArray":
        return self.replace(order=tuple(self.order[axis] for axis in self.find_order(axes)))

    def __getitem__(self, key: Any) -> Any:
        try:
            return self._index(key)
        except NotPushedDownError as reason:
            self.remote.warn(str(reason))
        return self.remote.index(self.load(), key)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        values = np.asarray(self.load(), dtype)
        return values.copy() if copy else values

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        if function in OUTLINED:
            return function(*outlined(args), **outlined(kwargs))
        try:
            return FUNCTIONS.get(function, _refuse)(*args, **kwargs)
        except NotPushedDownError as reason:
            self.remote.warn(str(reason) or function.__name__)
        return function(*_load_all(args), **_load_all(kwargs))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        try:
            return (UFUNCS.get(ufunc, _refuse) if method == "__call__" and not kwargs else _refuse)(*inputs)
        except NotPushedDownError:
            self.remote.warn(ufunc.__name__)
        if any(each is self for each in kwargs.get("out", ())):
            # An operator such as ``-=``, which takes what is returned in place of the array.
            kwargs = {name: value for name, value in kwargs.items() if name != "out"}
        return getattr(ufunc, method)(*_load_all(inputs), **_load_all(kwargs))

    # Other arrays of the same elements

    def replace(
        self,
        places: tuple[Places, ...] | None = None,
        order: Order | None = None,
        form: Form | None = None,
        deviation: Deviation | None = None,
    ) -> "ServiceArray":
        """An array of which some properties are others."""
        return ServiceArray(
            self.remote,
            self.stored_dtype,
            self.places if places is None else places,
            self.order if order is None else order,
            form or self.form,
            deviation or self.deviation,
        )

    def with_remote(self, remote: Remote) -> "ServiceArray":
        """The same elements, which are asked for in another way."""
        return ServiceArray(remote, self.stored_dtype, self.places, self.order, self.form, self.deviation)

    def merge(self, shape: tuple[int, ...]) -> "ServiceArray":
        """The array in another shape, whose axes are those here, several of them as one.

        Raises:
            NotPushedDownError: They are not.
        """
        merged = merge_axes(self.shape, shape) if self.size else None
        if merged is None:
            raise NotPushedDownError("reshape")
        return self.replace(order=tuple(sum((self.order[axis] for axis in axes), ()) for axes in merged))

    def is_of_same(self, other: Any) -> bool:
        """Whether another array is a form of the same elements."""
        return (
            isinstance(other, ServiceArray)
            and other.remote is self.remote
            and other.order == self.order
            and make_key(other.places) == make_key(self.places)
            and other.deviation is self.deviation
        )

    # What is asked of the service

    def make_reduction(
        self,
        reducer: str,
        axes: tuple[int, ...],
        *,
        skipna: bool = True,
        arguments: Mapping[str, Any] | None = None,
        weights: Weighting | None = None,
    ) -> Reduction:
        """The reduction along some axes.

        Raises:
            NotPushedDownError: The service does not do this.
        """
        reduced = frozenset(dimension for axis in axes for dimension in self.order[axis])
        return Reduction(
            self.remote, self.stored_dtype, reducer, self.places, reduced, skipna, arguments or {}, weights
        )

    def _index(self, key: Any) -> "ServiceArray":
        """What is selected.

        Raises:
            IndexError: An index is outside the array.
            NotPushedDownError: The elements have to be loaded.
        """
        if key is None or (isinstance(key, tuple) and any(each is None for each in key)):
            raise NotPushedDownError("a new dimension")
        orthogonal = make_orthogonal(expand(key, self.ndim))
        if orthogonal is None:
            raise NotPushedDownError("indexing with several arrays")
        if self.deviation is not None:
            raise NotPushedDownError("indexing of deviations")
        places, order = list(self.places), []
        for axis, each in zip(self.order, orthogonal, strict=True):
            if isinstance(each, slice) and each == slice(None):
                order.append(axis)
                continue
            if len(axis) != 1:
                raise NotPushedDownError("indexing of a stacked dimension")
            (dimension,) = axis
            found = places[dimension]
            assert not isinstance(found, int)  # noqa: S101  # no axis is made of such a dimension
            places[dimension] = select(found, each)
            if not isinstance(places[dimension], int):
                order.append(axis)
        return self.replace(places=tuple(places), order=tuple(order))

    def load(self) -> Any:
        """The elements, from one request; a dask array if reductions are dask arrays."""
        if not self.size:
            return np.empty(self.shape, self.dtype)
        kept = [number for number, each in enumerate(self.places) if not isinstance(each, int)]
        found = self.remote.ask("select", selection=[make_slice(cover(each)) for each in self.places]).values
        found = np.reshape(found, [len(cover(self.places[number])) for number in kept])
        found = arrange(found, [self.places[number] for number in kept])
        turned = np.transpose(found, [kept.index(dimension) for axis in self.order for dimension in axis])
        return self._form(np.reshape(turned, self.shape).astype(self.stored_dtype, copy=False))

    def _form(self, values: Any) -> Any:
        if self.deviation is not None:
            self.remote.warn(np.subtract.__name__)
            values = self._deviate(values, self.deviation)
        if self.form == "values":
            return values
        is_null = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
        if self.form == "filled":
            return np.where(is_null, values.dtype.type(0), values)
        return is_null if self.form == "isnull" else ~is_null

    def _deviate(self, values: Any, deviation: Deviation) -> Any:
        known = {dimension for axis in deviation.mean.order for dimension in axis}
        mean = deviation.mean.with_order(tuple(axis if known.issuperset(axis) else () for axis in self.order))
        with np.errstate(all="ignore"):
            values = values - np.asarray(mean)
            return values**2 if deviation.is_squared else values


def _load_all(values: Any) -> Any:
    """The arguments of a function with loaded elements."""
    return replace_arrays(values, lambda array: array.load() if isinstance(array, ServiceArray) else np.asarray(array))


def _refuse(*_: Any, **__: Any) -> Any:
    raise NotPushedDownError

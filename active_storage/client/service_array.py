"""``ServiceArray``: an array whose elements stay in the store, and whose reductions the service makes.

It is a duck array of numpy: indexing and transposing only change what will be asked for, numpy's reductions become one
request each, and ``numpy.asarray`` selects the elements. Everything else selects them too, and says so once in a
``LoadWarning``.

xarray writes a sum and a count as numpy functions of the elements, of which ``Form`` keeps track: ``isnan``, its
negation, and the elements with 0 in the place of missing ones.
"""

import inspect
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy import ma

from active_storage.client.client import Client
from active_storage.client.questions import Store
from active_storage.client.results import Array, Plan, Result, format_bytes, write_table
from active_storage.client.turns import ask_in_turn

Dtype = np.dtype[Any]

# What is selected of a dimension that is stored: indices in order, any indices, or one, without the dimension.
Places = range | Array | int

# The reducers by which elements with weights are reduced like elements that are listed as often.
_WEIGHTED = {"count": "sum_of_weights", "mean": "mean", "std": "std", "sum": "sum", "var": "var"}

# A request with more weights than these takes longer than what it saves.
_MOST_WEIGHTS = 100_000

Form = Literal["values", "isnull", "notnull", "filled"]


class LoadWarning(UserWarning):
    """The elements are loaded, since the service cannot do what is asked for."""


class NotPushedDownError(Exception):
    """The service cannot do what is asked for. The elements have to be loaded."""


@dataclass(frozen=True, slots=True)
class Remote:
    """An array of a container, and the services that reduce it.

    Attributes:
        clients: The clients of the services; the next one is asked if one is full or cannot be reached.
        store: Where the container lies.
        path: The path of the array in it.
        shape: Its shape.
        arguments: Arguments of each request, such as the container and how values are decoded.
        warned: What warnings have said.
    """

    clients: Sequence[Client] = field(repr=False)
    store: Store
    path: str
    shape: tuple[int, ...]
    arguments: Mapping[str, Any]
    warned: set[str] = field(default_factory=set, repr=False)

    def ask(self, reducer: str, **arguments: Any) -> Result:
        """The result of one request.

        Raises:
            ActiveStorageError: The request failed at each service.
        """
        given = {**self.arguments, **arguments}
        return ask_in_turn(self.clients, lambda client: client.reduce(reducer, self.store, self.path, **given))

    def plan(self, reducer: str | None, **arguments: Any) -> Plan:
        """The plan of a request.

        Raises:
            ActiveStorageError: The request failed at each service.
        """
        given = {**self.arguments, **arguments}
        return ask_in_turn(self.clients, lambda client: client.plan(self.store, self.path, reducer=reducer, **given))

    def warn(self, what: str) -> None:
        """Say once that the elements are loaded, and why."""
        if what not in self.warned:
            self.warned.add(what)
            text = f"{what} cannot be done by the service: the elements of {self.path} are loaded through it"
            warnings.warn(text, LoadWarning, stacklevel=4)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service answers to one request.

    Attributes:
        values: The values; quantiles or bins are a first dimension. NaN for a cell that means nothing.
        counts: The numbers of elements.
        labels: What groups are called, by the name of their dimension.
    """

    values: Array
    counts: Array
    labels: Mapping[str, Sequence[Any]]


class ServiceArray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array, or a part of it, that is not loaded.

    Args:
        remote: The array.
        dtype: The data type of its values.
        places: What is selected of each dimension that is stored.
        order: The stored dimensions in their order here, without those of one index.
        form: What is meant: the values, whether they are missing or not, or the values with 0 for missing ones.
        counts: The numbers of elements of sums that were made, by axis, which this form shares with that of its mask.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # only the methods give the last ones
        self,
        remote: Remote,
        dtype: Dtype,
        places: tuple[Places, ...],
        order: tuple[int, ...] | None = None,
        form: Form = "values",
        counts: dict[tuple[int, ...], Array] | None = None,
    ) -> None:
        self.remote = remote
        self.places = places
        self.order = tuple(range(len(places))) if order is None else order
        self.form = form
        self._value_dtype = dtype
        self._counts = {} if counts is None else counts

    # What numpy and xarray ask of an array

    @property
    def dtype(self) -> Dtype:
        """The data type of the elements."""
        return np.dtype(bool) if self.form in {"isnull", "notnull"} else self._value_dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape."""
        return tuple(len(self._places(dimension)) for dimension in self.order)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.order)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """The size of an element, in bytes."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """The size of the elements, in bytes."""
        return self.size * self.itemsize

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

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
        return np.asarray(self).astype(dtype, copy=copy)

    def reshape(self, *shape: Any, **options: Any) -> Array:
        """The elements in another shape, which are loaded."""
        self.remote.warn("reshape")
        return np.asarray(self).reshape(*shape, **options)

    def transpose(self, *axes: Any) -> "ServiceArray":
        """The array with its dimensions in another order; reversed by default."""
        chosen = axes[0] if len(axes) == 1 and not isinstance(axes[0], int | np.integer) else axes
        order = range(self.ndim)[::-1] if not axes or chosen is None else find_axes(chosen, self.ndim)
        return self._replace(order=tuple(self.order[axis] for axis in order))

    @property
    def T(self) -> "ServiceArray":  # noqa: N802  # numpy's name
        """The array with its dimensions reversed."""
        return self.transpose()

    def __getitem__(self, key: Any) -> Any:
        if key is None or (isinstance(key, tuple) and any(each is None for each in key)):
            self.remote.warn("a new dimension")
            return np.asarray(self)[key]
        keys = _expand(key, self.ndim)
        arrays = [number for number, each in enumerate(keys) if isinstance(each, np.ndarray)]
        orthogonal = _make_orthogonal(keys) if arrays else keys
        if orthogonal is None:
            self.remote.warn("indexing with several arrays")
            return np.asarray(self)[key]
        places, order = list(self.places), []
        for dimension, each in zip(self.order, orthogonal, strict=True):
            places[dimension] = _select(self._places(dimension), each)
            if not isinstance(places[dimension], int):
                order.append(dimension)
        return self._replace(places=tuple(places), order=tuple(order))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        values = np.asarray(self._load(), dtype)
        return values.copy() if copy else values

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        try:
            return _call(function, args, kwargs)
        except NotPushedDownError as reason:
            self.remote.warn(str(reason) or function.__name__)
        return function(*_load_all(args), **_load_all(kwargs))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        form = _NEGATED.get((ufunc, self.form)) if method == "__call__" and not kwargs else None
        if form is not None and not (ufunc is np.isnan and self._value_dtype.kind != "f"):
            return self.with_form(form)
        self.remote.warn(ufunc.__name__)
        if any(each is self for each in kwargs.get("out", ())):
            # An operator such as ``-=``, which takes what is returned in place of the array.
            kwargs = {name: value for name, value in kwargs.items() if name != "out"}
        return getattr(ufunc, method)(*_load_all(inputs), **_load_all(kwargs))

    # What is asked of the service

    def with_form(self, form: Form) -> "ServiceArray":
        """Another form of the same elements. The counts of sums are those of one mask: they are not kept for longer."""
        counts = None if self.form == "values" else self._counts
        return ServiceArray(self.remote, self._value_dtype, self.places, self.order, form, counts)

    def is_of_same(self, other: Any) -> bool:
        """Whether another array is a form of the same elements."""
        return isinstance(other, ServiceArray) and other.places is self.places and other.order == self.order

    def reduce(
        self, reducer: str, axis: Any, *, skipna: bool, keepdims: bool = False, **arguments: Any
    ) -> tuple[Array, Array]:
        """The values of a reducer and the numbers of elements, from one request.

        Args:
            reducer: The reducer.
            axis: The axes; None for all.
            skipna: Whether missing elements are skipped; otherwise they make their cell NaN.
            keepdims: Whether reduced dimensions stay, with the length 1.
            **arguments: Further arguments of the request.

        Raises:
            NotPushedDownError: The service does not do this.
            ActiveStorageError: There is no result.
        """
        axes = find_axes(axis, self.ndim)
        if not axes or not self.size:
            raise NotPushedDownError(f"{reducer} of nothing")
        listed = [axis for axis in axes if isinstance(self._places(self.order[axis]), np.ndarray)]
        if listed:
            answer = self._ask_for_list(reducer, axes, listed, skipna, arguments)
        else:
            answer = self.ask(reducer, axes, **arguments)
        values, counts = answer.values, answer.counts
        if not skipna and self._value_dtype.kind == "f" and values.dtype.kind == "f":
            expected = math.prod(self.shape[number] for number in axes)
            values = np.where(counts < expected, values.dtype.type(np.nan), values)
        if keepdims:
            values, counts = (np.expand_dims(each, tuple(a - self.ndim for a in axes)) for each in (values, counts))
        return values, counts

    def ask(self, reducer: str, axes: tuple[int, ...], grouped: int | None = None, **arguments: Any) -> "Answer":
        """What the service answers to one request.

        Args:
            reducer: The reducer.
            axes: The axes that are reduced.
            grouped: The one among them that is grouped.
            **arguments: Further arguments of the request.

        Raises:
            NotPushedDownError: A reduced dimension has indices that are no slice.
            ActiveStorageError: There is no result.
        """
        found = self.remote.ask(reducer, **self.make_arguments(axes, arguments.get("weights")), **arguments)
        values, counts = _fill(found.values), np.asarray(found.counts)
        if found.dims[-1:] == ("bin",):
            values = np.moveaxis(values, -1, 0)
        reduced = {self.order[number] for number in axes}
        array = self
        if grouped is not None:
            dimension = self.order[grouped]
            reduced.remove(dimension)
            place = sum(self._is_kept(each, reduced) for each in range(dimension)) - counts.ndim
            groups = range(counts.shape[place])
            array = self._replace(tuple(groups if n == dimension else each for n, each in enumerate(self.places)))
        dims = [dimension for dimension in range(len(self.places)) if self._is_kept(dimension, reduced)]
        return Answer(array._arrange(values, dims), array._arrange(counts, dims), found.labels)  # noqa: SLF001

    def _ask_for_list(
        self, reducer: str, axes: tuple[int, ...], listed: Sequence[int], skipna: bool, arguments: Mapping[str, Any]
    ) -> Answer:
        """What the service answers about lists of indices of reduced axes: an index weighs as often as it is listed.

        Raises:
            NotPushedDownError: The service does not do this with weights.
            ActiveStorageError: There is no result.
        """
        is_float = self._value_dtype.kind == "f"
        is_exact = reducer in _WEIGHTED and (skipna if is_float else reducer != "sum")
        dimensions = [self.order[axis] for axis in listed]
        shape = [self.remote.shape[dimension] for dimension in dimensions]
        if not is_exact or arguments.get("ddof") or "weights" in arguments or math.prod(shape) > _MOST_WEIGHTS:
            raise NotPushedDownError(f"{reducer} over a list of indices")
        weights = np.ones(())
        for dimension, size in zip(dimensions, shape, strict=True):
            weights = np.multiply.outer(weights, np.bincount(np.asarray(self.places[dimension]), minlength=size))
        answer = self.ask(_WEIGHTED[reducer], axes, weights=(dimensions, weights))
        values = answer.values
        if reducer == "count":
            counts = np.nan_to_num(values).astype(np.int64)
            return Answer(counts, counts, {})
        # An infinite element has an effect even if its weight is 0.
        if not np.isfinite(values[answer.counts > 0]).all():
            raise NotPushedDownError(f"{reducer} over a list of indices, with a result that is not finite,")
        return answer

    def make_arguments(self, axes: tuple[int, ...], weights: Any = None) -> dict[str, Any]:
        """The axis and the selection of a request that reduces some axes.

        Args:
            axes: The axes.
            weights: The weights of the request, which count for lists of indices; None if there are none.

        Raises:
            NotPushedDownError: A reduced dimension has indices that are no slice.
        """
        reduced = {self.order[number] for number in axes}
        weighted = weights[0] if isinstance(weights, tuple) else ()
        if any(isinstance(self.places[dimension], np.ndarray) for dimension in reduced.difference(weighted)):
            raise NotPushedDownError("a reduction over a list of indices")
        single = {number for number, places in enumerate(self.places) if isinstance(places, int)}
        return {"axis": sorted(reduced | single), "selection": [_make_slice(each) for each in self.places]}

    def _load(self) -> Array:
        """The elements, from one request."""
        if not self.size:
            return np.empty(self.shape, self.dtype)
        selection = [_make_slice(each) for each in self.places]
        found = np.asarray(self.remote.ask("select", selection=selection).values)
        found = found.reshape([len(_cover(each)) for each in self.places if not isinstance(each, int)])
        dims = [number for number, each in enumerate(self.places) if not isinstance(each, int)]
        values = self._arrange(found, dims).astype(self._value_dtype, copy=False)
        if self.form == "values":
            return values
        is_null = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
        if self.form == "filled":
            return np.where(is_null, values.dtype.type(0), values)
        return is_null if self.form == "isnull" else ~is_null

    def _arrange(self, found: Array, dims: Sequence[int]) -> Array:
        """What the service gives for some stored dimensions, the last ones of an array, in the order that is wanted.

        Args:
            found: The array of the service, whose last dimensions are ``dims``.
            dims: The stored dimensions, in their order.
        """
        leading = found.ndim - len(dims)
        for number, dimension in enumerate(dims, start=leading):
            places = self._places(dimension)
            if isinstance(places, np.ndarray):
                cover = _cover(places)
                found = np.take(found, (places - cover.start) // cover.step, axis=number)
            elif places.step < 0:
                found = np.flip(found, number)
        wanted = [dims.index(dimension) + leading for dimension in self.order if dimension in dims]
        return np.transpose(found, (*range(leading), *wanted))

    def _places(self, dimension: int) -> range | Array:
        places = self.places[dimension]
        assert not isinstance(places, int)  # noqa: S101  # ``order`` has no such dimension
        return places

    def _is_kept(self, dimension: int, reduced: set[int]) -> bool:
        return dimension not in reduced and not isinstance(self.places[dimension], int)

    def _replace(
        self, places: tuple[Places, ...] | None = None, order: tuple[int, ...] | None = None
    ) -> "ServiceArray":
        return ServiceArray(
            self.remote,
            self._value_dtype,
            self.places if places is None else places,
            self.order if order is None else order,
            self.form,
        )

    def weighted_sum(self, weights: Array, axes: tuple[int, ...], reduced: tuple[int, ...]) -> Array:
        """The sum of products with weights, or of the weights of elements that are not missing.

        Args:
            weights: The weights.
            axes: The axes here of the axes of the weights.
            reduced: The axes that are reduced.

        Raises:
            NotPushedDownError: The service does not do this.
        """
        places = [self._places(self.order[axis]) for axis in axes]
        is_valid = np.isfinite(weights).all() and (weights >= 0).all()
        if self.form == "isnull" or not is_valid or any(isinstance(each, np.ndarray) for each in places):
            raise NotPushedDownError("weights")
        # The service takes weights of the whole dimensions.
        dimensions = [self.order[axis] for axis in axes]
        spread = np.zeros([self.remote.shape[dimension] for dimension in dimensions])
        spread[np.ix_(*places)] = weights
        reducer = "sum_of_weights" if self.form == "notnull" else "sum"
        skipna = self.form in {"filled", "notnull"}
        return self.reduce(reducer, reduced, skipna=skipna, weights=(dimensions, spread))[0]

    def sum_form(self, axis: Any, keepdims: bool) -> Any:
        """The sum of this form: of values, of those that are not missing, or of how many are missing or not.

        Raises:
            NotPushedDownError: The service does not do this.
        """
        axes = find_axes(axis, self.ndim)
        expected = math.prod(self.shape[number] for number in axes)
        if self.form in {"isnull", "notnull"}:
            counts = self._counts.get(axes)
            if counts is None or keepdims:
                counts = self.reduce("count", axes, skipna=True, keepdims=keepdims)[1]
            return expected - counts if self.form == "isnull" else counts
        values, counts = self.reduce("sum", axes, skipna=self.form == "filled", keepdims=keepdims)
        # Those of a list of indices are those of all elements around it.
        if not keepdims and not any(isinstance(self._places(self.order[axis]), np.ndarray) for axis in axes):
            self._counts[axes] = counts
        return values


# The form that a function of numpy makes of another one.
_NEGATED: Mapping[tuple[Any, Form], Form] = {
    (np.isnan, "values"): "isnull",
    (np.logical_not, "isnull"): "notnull",
    (np.logical_not, "notnull"): "isnull",
    (np.invert, "isnull"): "notnull",
    (np.invert, "notnull"): "isnull",
}


@dataclass(frozen=True, slots=True)
class _Reduction:
    """What a function of numpy asks for.

    Attributes:
        reducer: The reducer.
        skipna: Whether it skips NaN.
        kinds: The kinds of data types for which the service does the same.
    """

    reducer: str
    skipna: bool
    kinds: str = "iuf"


_REDUCTIONS: Mapping[Callable[..., Any], _Reduction] = {
    getattr(np, prefix + name): _Reduction(name, bool(prefix))
    for name in ("mean", "min", "max", "var", "std", "median", "argmin", "argmax", "quantile")
    for prefix in ("", "nan")
} | {
    np.nansum: _Reduction("sum", skipna=True),
    np.any: _Reduction("any", skipna=True, kinds="biuf"),
    np.all: _Reduction("all", skipna=True, kinds="biuf"),
}

# Arguments of numpy's functions that the service has, too.
_KNOWN_ARGUMENTS = frozenset({"a", "arr", "axis", "keepdims", "ddof", "q", "method"})

# Arguments that have no effect unless they are given.
_NO_EFFECT: tuple[Any, ...] = (None, False)


def _call(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The result of a function of numpy, of which at least one argument is a ``ServiceArray``.

    Raises:
        NotPushedDownError: The service does not do this.
    """
    if function in _SHAPED:
        return _SHAPED[function](*args, **kwargs)
    if function not in _REDUCTIONS and function is not np.sum:
        raise NotPushedDownError
    given = dict(inspect.signature(function).bind(*args, **kwargs).arguments)
    array = given.get("a", given.get("arr"))
    if not isinstance(array, ServiceArray):
        raise NotPushedDownError
    _ensure_known(function, given)
    keepdims = given.get("keepdims") is True
    if function is np.sum:
        if array.form in {"values", "filled"} and array.dtype.kind not in "iuf":
            raise NotPushedDownError
        return _as_numpy(array.sum_form(given.get("axis"), keepdims), _find_dtype(np.sum, array.dtype, {}))
    reduction = _REDUCTIONS[function]
    if array.form != "values" or array.dtype.kind not in reduction.kinds:
        raise NotPushedDownError
    return _reduce(function, reduction, array, given, keepdims)


def _ensure_known(function: Callable[..., Any], given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        has_effect = value is not np._NoValue and not any(value is each for each in _NO_EFFECT)  # noqa: SLF001
        if name not in _KNOWN_ARGUMENTS and has_effect:
            raise NotPushedDownError(f"{function.__name__} with {name}")


def _reduce(
    function: Callable[..., Any], reduction: _Reduction, array: ServiceArray, given: Mapping[str, Any], keepdims: bool
) -> Any:
    arguments = {name: given[name] for name in ("ddof", "method") if name in given}
    reducer = reduction.reducer
    if reducer == "quantile":
        arguments["q"] = np.asarray(given["q"], float).ravel().tolist()
    if reducer in {"argmin", "argmax"}:
        array = _ensure_in_order(array, given.get("axis"))
    values, counts = array.reduce(reducer, given.get("axis"), skipna=reduction.skipna, keepdims=keepdims, **arguments)
    expected = array.size // max(1, counts.size)
    if reducer in {"argmin", "argmax"}:
        if reduction.skipna and not counts.all():
            raise ValueError("All-NaN slice encountered")
        if not reduction.skipna and (counts < expected).any():
            # numpy gives the place of the first NaN.
            raise NotPushedDownError(f"{reducer} of NaN")
    if reducer == "any":
        # NaN is true.
        values = values.astype(bool) | (counts < expected)
    if reducer == "quantile" and np.ndim(given["q"]) != values.ndim - counts.ndim:
        values = values[0] if np.ndim(given["q"]) == 0 else values[np.newaxis]
    sample = {name: given[name] for name in ("q", "method") if name in given}
    return _as_numpy(values, _find_dtype(function, array.dtype, sample))


def _ensure_in_order(array: ServiceArray, axis: Any) -> ServiceArray:
    """Pass if a place among the stored elements is that among these.

    Raises:
        NotPushedDownError: The dimensions have another order, or one is reversed.
    """
    reduced = [array.order[number] for number in find_axes(axis, array.ndim)]
    places = [array.places[dimension] for dimension in reduced]
    if reduced != sorted(reduced) or any(isinstance(each, range) and each.step < 0 for each in places):
        raise NotPushedDownError("the place of an element in another order than that of the store")
    return array


def _find_dtype(function: Callable[..., Any], dtype: Dtype, arguments: Mapping[str, Any]) -> Dtype:
    """The data type that numpy gives to the result."""
    found: Dtype = np.asarray(function(np.ones(1, dtype), **arguments)).dtype
    return found


def find_result_dtype(reducer: str, dtype: Dtype, **arguments: Any) -> Dtype | None:
    """The data type that numpy gives to the result of a reducer; None if it has no such function."""
    names: Mapping[str, Callable[..., Any]] = {each.reducer: function for function, each in _REDUCTIONS.items()}
    function = np.sum if reducer == "sum" else names.get(reducer)
    return None if function is None else _find_dtype(function, dtype, arguments)


def _as_numpy(values: Any, dtype: Dtype) -> Any:
    """An array, or a scalar of numpy as numpy's functions give it."""
    return np.asarray(values).astype(dtype, copy=False)[()]


def _einsum(subscripts: Any, *operands: Any, **kwargs: Any) -> Any:
    """The sum of products of an array and weights, as xarray writes weighted sums: ``...abc,...b->...ac``."""
    if not isinstance(subscripts, str) or len(operands) != 2 or kwargs:
        raise NotPushedDownError("einsum")
    inputs, _, output = subscripts.replace("...", "").partition("->")
    letters = inputs.split(",")
    array, weights = operands
    if not isinstance(array, ServiceArray):
        array, weights, letters = weights, array, letters[::-1]
    fits = isinstance(weights, np.ndarray) and (array.ndim, weights.ndim) == tuple(map(len, letters))
    kept = [letter for letter in letters[0] if letter in output]
    if not fits or not set(letters[1]) <= set(letters[0]) or kept != list(output) or array.dtype.kind not in "iufb":
        raise NotPushedDownError("einsum")
    reduced = tuple(number for number, letter in enumerate(letters[0]) if letter not in output)
    values = array.weighted_sum(weights, tuple(map(letters[0].index, letters[1])), reduced)
    return _as_numpy(values, np.result_type(array.dtype, weights.dtype))


def _where(condition: Any, x: Any, y: Any) -> Any:
    """``where`` of a mask of missing elements, which puts 0 in their place."""
    if isinstance(condition, ServiceArray):
        pairs = {"isnull": (x, y), "notnull": (y, x)}
        if condition.form in pairs:
            zeros, array = pairs[condition.form]
            if condition.is_of_same(array) and array.form == "values" and _is_zero(zeros):
                return condition.with_form("filled")
    raise NotPushedDownError("where")


def _is_zero(values: Any) -> bool:
    """Whether an array is 0 everywhere, and takes no time to see it."""
    if isinstance(values, ServiceArray):
        return False
    array = np.asarray(values)
    return bool(not any(array.strides) and array.size and array.flat[0] == 0)


def _full_like(array: ServiceArray, fill_value: Any, dtype: Any = None, **_: Any) -> Array:
    return np.broadcast_to(np.asarray(fill_value, array.dtype if dtype is None else dtype), array.shape)


def _move_axis(array: ServiceArray, source: Any, destination: Any) -> ServiceArray:
    axes, places = find_axes(source, array.ndim), find_axes(destination, array.ndim)
    order = [number for number in range(array.ndim) if number not in axes]
    for place, number in sorted(zip(places, axes, strict=True)):
        order.insert(place, number)
    return array.transpose(order)


def _result_type(*arrays: Any) -> Dtype:
    return np.result_type(*(each.dtype if isinstance(each, ServiceArray) else each for each in arrays))


# Functions that only change what is asked for, or ask for nothing.
_SHAPED: Mapping[Callable[..., Any], Callable[..., Any]] = {
    np.einsum: _einsum,
    np.full_like: _full_like,
    np.moveaxis: _move_axis,
    np.ndim: lambda array: array.ndim,
    np.result_type: _result_type,
    np.shape: lambda array: array.shape,
    np.size: lambda array: array.size,
    np.transpose: lambda array, axes=None: array.transpose(axes),
    np.where: _where,
    np.zeros_like: lambda array, dtype=None, **_: _full_like(array, 0, dtype),
}


def _load_all(values: Any) -> Any:
    """The arguments of a function with loaded elements."""
    if isinstance(values, ServiceArray):
        return np.asarray(values)
    if isinstance(values, Mapping):
        return {name: _load_all(each) for name, each in values.items()}
    if isinstance(values, list | tuple):
        return type(values)(_load_all(each) for each in values)
    return values


def find_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """The numbers of axes, in the order in which they were given; all for None.

    Raises:
        numpy.exceptions.AxisError: There is no such axis.
    """
    if axis is None:
        return tuple(range(ndim))
    axes = [int(each) for each in np.atleast_1d(np.asarray(axis, int))]
    for each in axes:
        if not -ndim <= each < ndim:
            raise np.exceptions.AxisError(each, ndim)
    return tuple(each % ndim for each in axes)


def _fill(values: Any) -> Array:
    """The values of a result, in which cells without elements are NaN."""
    if not ma.isMaskedArray(values):
        return np.asarray(values)
    return np.asarray(values.filled(np.nan) if values.dtype.kind == "f" else values.data)


# Indices


def _expand(key: Any, ndim: int) -> list[Any]:
    """A key for each dimension: an int, a slice or an array."""
    keys = list(key) if isinstance(key, tuple) else [key]
    if not any(each is Ellipsis for each in keys):
        keys.append(Ellipsis)
    place = next(number for number, each in enumerate(keys) if each is Ellipsis)
    missing = ndim - len(keys) + 1
    if missing < 0:
        raise IndexError(f"there are {len(keys) - 1} indices for {ndim} dimensions")
    keys[place : place + 1] = [slice(None)] * missing
    return [np.asarray(each) if isinstance(each, list | np.ndarray) else each for each in keys]


def _make_orthogonal(keys: list[Any]) -> list[Any] | None:
    """Keys of which each selects along its own dimension; None if numpy would combine them.

    One array is such a key. Several are, if they are those of ``numpy.ix_``.
    """
    arrays = [each for each in keys if isinstance(each, np.ndarray)]
    if len(arrays) == 1 and arrays[0].ndim == 1:
        has_integer = any(isinstance(each, int | np.integer) for each in keys)
        return None if has_integer else keys
    ndim = arrays[0].ndim
    if len(arrays) != len(keys) or any(each.dtype == bool or each.ndim != ndim for each in arrays):
        return None
    # xarray writes an index as an array of one element, which has no dimension of its own.
    has_indices = sum(each.size == 1 for each in arrays) == len(keys) - ndim
    made: list[Any] = []
    number = 0
    for each in arrays:
        if has_indices and each.size == 1:
            made.append(int(each.reshape(())))
            continue
        if number >= ndim or each.size != each.shape[number]:
            return None
        made.append(each.ravel())
        number += 1
    return made if number == ndim else None


def _select(places: range | Array, key: Any) -> Places:
    """What a key selects of the places of a dimension.

    Raises:
        IndexError: An index is outside the dimension.
    """
    if isinstance(key, slice):
        return places[key]
    if isinstance(key, np.ndarray):
        whole = np.arange(len(places))[key]
        picked = np.asarray(places)[whole]
        steps = set(np.diff(picked).tolist())
        if len(picked) and len(steps) <= 1 and steps != {0}:
            step = steps.pop() if steps else 1
            start = int(picked[0])
            return range(start, start + step * len(picked), step)
        return picked if len(picked) else range(0)
    return int(places[int(key)])


def _cover(places: Places) -> range:
    """The ascending places of a slice that has all places of a dimension, or that of one index."""
    if isinstance(places, int):
        return range(places, places + 1)
    if isinstance(places, range):
        return places if places.step > 0 else places[::-1]
    low, high = int(places.min()), int(places.max())
    step = int(np.gcd.reduce(places - low)) or 1
    return range(low, high + 1, step)


def _make_slice(places: Places) -> slice:
    cover = _cover(places)
    return slice(cover.start, cover.stop, cover.step)

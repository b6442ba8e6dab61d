"""What functions of numpy do with a ``ServiceArray``: they reduce it, or change what will be asked for.

Each rule of numpy that is not that of the service is applied to the small result: NaN where elements are missing and
are not skipped, ``any`` of NaN, and data types.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from active_storage.client.deferred import QUANTILES, Order, Question, Reduced
from active_storage.client.duck_array import FUNCTIONS, UFUNCS, Dtype, move_axis
from active_storage.client.places import find_axes
from active_storage.client.reductions import PLACED, Answer, Reduction
from active_storage.client.remote import NotPushedDownError
from active_storage.client.service_array import Form, ServiceArray


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a function of numpy asks for.

    Attributes:
        reducer: The reducer.
        skipna: Whether it skips NaN.
        kinds: The kinds of data types for which the service does the same.
    """

    reducer: str
    skipna: bool
    kinds: str = "iuf"


_RULES: Mapping[Callable[..., Any], _Rule] = {
    getattr(np, prefix + name): _Rule(name, bool(prefix))
    for name in ("mean", "min", "max", "sum", "var", "std", "median", "argmin", "argmax", "quantile")
    for prefix in ("", "nan")
} | {
    np.any: _Rule("any", skipna=True, kinds="biuf"),
    np.all: _Rule("all", skipna=True, kinds="biuf"),
}

# Arguments of numpy's functions that the service has, too.
_KNOWN_ARGUMENTS = frozenset({"a", "arr", "axis", "keepdims", "ddof", "q", "method"})

# Arguments that have no effect unless they are given.
_NO_EFFECT: tuple[Any, ...] = (None, False)


def find_result_dtype(reducer: str, dtype: Dtype, **arguments: Any) -> Dtype | None:
    """The data type that numpy gives to the result of a reducer; None if it has no such function."""
    function = next((function for function, rule in _RULES.items() if rule.reducer == reducer), None)
    return None if function is None else _find_dtype(function, dtype, arguments)


def defer(array: ServiceArray, question: Question, order: Order, dtype: Dtype, part: str = "") -> Any:
    """The result of a reduction, which is asked for when it is needed, or at once if that is how the array is asked.

    Args:
        array: The array.
        question: The reduction, and what is made of its answer.
        order: The stored dimensions that each axis of the result is made of.
        dtype: The data type of the result.
        part: Which part it is of a weighted result.
    """
    made = Reduced(question, order, dtype, part)
    return made if array.remote.is_deferred else array.remote.evaluate(made)


def list_kept(array: ServiceArray, axes: Sequence[int], keepdims: bool = False) -> Order:
    """The stored dimensions that each axis is made of, after a reduction along some axes."""
    kept = [() if number in axes else axis for number, axis in enumerate(array.order)]
    return tuple(axis for number, axis in enumerate(kept) if keepdims or number not in axes)


def _call(function: Callable[..., Any], rule: _Rule, *args: Any, **kwargs: Any) -> Any:
    """The result of a function that reduces.

    Raises:
        NotPushedDownError: The service does not do this.
    """
    given: dict[str, Any] = dict(inspect.signature(function).bind(*args, **kwargs).arguments)
    array = given.get("a", given.get("arr"))
    if not isinstance(array, ServiceArray) or array.deviation is not None:
        raise NotPushedDownError
    for name, value in given.items():
        has_effect = value is not np._NoValue and not any(value is each for each in _NO_EFFECT)  # noqa: SLF001
        if name not in _KNOWN_ARGUMENTS and has_effect:
            raise NotPushedDownError(f"{function.__name__} with {name}")
    axes, keepdims = find_axes(given.get("axis"), array.ndim), given.get("keepdims") is True
    if array.form in {"isnull", "notnull"}:
        return _count(function, array, axes, keepdims)
    is_sum = rule.reducer == "sum"
    if array.value_dtype.kind not in rule.kinds or (array.form == "filled" and not is_sum):
        raise NotPushedDownError
    skipna = rule.skipna or array.form == "filled"
    arguments: dict[str, Any] = {name: given[name] for name in ("ddof", "method") if name in given}
    if "q" in given:
        arguments["q"] = np.asarray(given["q"], float).ravel().tolist()
    _ensure_in_order(array, rule.reducer, axes)
    reduction = array.make_reduction(rule.reducer, axes, skipna=skipna, arguments=arguments).check()
    options: dict[str, Any] = {name: given[name] for name in ("q", "method", "ddof") if name in given}
    question = Question(
        reduction,
        partial(_finish, reduction, np.ndim(given.get("q", 0))),
        partial(_load, function, array, reduction, options),
    )
    sample: dict[str, Any] = {name: value for name, value in options.items() if name != "ddof"}
    dtype = _find_dtype(function, array.value_dtype, sample)
    order = list_kept(array, axes, keepdims)
    has_quantiles = np.ndim(given.get("q", 0)) > 0
    return defer(array, question, ((QUANTILES,), *order) if has_quantiles else order, dtype)


def _count(function: Callable[..., Any], array: ServiceArray, axes: tuple[int, ...], keepdims: bool) -> Any:
    """How many elements are missing or not, and whether any or all are.

    Raises:
        NotPushedDownError: The service does not do this.
    """
    reduction = array.make_reduction("count", axes).check()
    find = _OF_COUNTS.get(function)
    if find is None:
        raise NotPushedDownError
    total = array.size // max(1, int(np.prod([array.shape[a] for a in range(array.ndim) if a not in axes], dtype=int)))

    def finish(answer: Answer) -> Any:
        return find(answer.counts if array.form == "notnull" else total - answer.counts, total)

    order = list_kept(array, axes, keepdims)
    return defer(array, Question(reduction, finish), order, _find_dtype(function, array.dtype, {}))


# What a function makes of the number of true elements, and of the number of all.
_OF_COUNTS: Mapping[Callable[..., Any], Callable[[Any, int], Any]] = {
    np.sum: lambda found, _: found,
    np.mean: lambda found, total: found / total,
    np.any: lambda found, _: found > 0,
    np.all: lambda found, total: found == total,
}


def _finish(reduction: Reduction, q_ndim: int, answer: Answer) -> Any:
    """The values of an answer, by the rules of numpy.

    Raises:
        NotPushedDownError: The elements have to be loaded.
        ValueError: All elements of a cell are missing, which has no place.
    """
    values, counts, reducer = answer.values, answer.counts, reduction.reducer
    # Without counts, nobody asks whether cells are complete.
    is_complete = np.bool_(True) if counts is None else counts == reduction.expected
    if reducer in PLACED:
        if reduction.skipna and not np.all(counts):
            raise ValueError("All-NaN slice encountered")
        if not reduction.skipna and not np.all(is_complete):
            # numpy gives the place of the first NaN.
            raise NotPushedDownError(f"{reducer} of NaN")
    if reducer == "any":
        # NaN is true.
        values = values | ~is_complete
    if reducer == "quantile" and q_ndim != np.ndim(values) - len(reduction.kept):
        values = values[0] if q_ndim == 0 else values[np.newaxis]
    if not reduction.skipna and reduction.dtype.kind == "f" and values.dtype.kind == "f":
        values = np.where(is_complete, values, values.dtype.type(np.nan))
    return values


def _load(function: Callable[..., Any], array: ServiceArray, reduction: Reduction, options: Mapping[str, Any]) -> Any:
    """What a function of numpy makes of the elements, with the dimensions that are kept in the order of the store."""
    order = tuple((dimension,) for dimension in (*reduction.kept, *sorted(reduction.reduced)))
    values = np.asarray(array.replace(order=order))
    values = values.reshape(*values.shape[: len(reduction.kept)], -1)
    return np.asarray(function(values, axis=-1, **options))


def _ensure_in_order(array: ServiceArray, reducer: str, axes: Sequence[int]) -> None:
    """Pass if a place among the stored elements is that among these.

    Raises:
        NotPushedDownError: The dimensions have another order.
    """
    reduced = [dimension for axis in axes for dimension in array.order[axis]]
    if reducer in PLACED and reduced != sorted(reduced):
        raise NotPushedDownError("the place of an element in another order than that of the store")


def _find_dtype(function: Callable[..., Any], dtype: Dtype, arguments: Mapping[str, Any]) -> Dtype:
    """The data type that numpy gives to the result."""
    found: Dtype = np.asarray(function(np.ones(1, dtype), **arguments)).dtype
    return found


def _where(condition: Any, x: Any, y: Any) -> Any:
    """``where`` of a mask of missing elements, which puts 0 in their place.

    Raises:
        NotPushedDownError: It is another one.
    """
    if isinstance(condition, ServiceArray):
        pairs = {"isnull": (x, y), "notnull": (y, x)}
        if condition.form in pairs:
            zeros, array = pairs[condition.form]
            if condition.is_of_same(array) and array.form == "values" and _is_zero(zeros):
                return condition.replace(form="filled")
    raise NotPushedDownError("where")


def _is_zero(values: Any) -> bool:
    """Whether an array is 0 everywhere, and takes no time to see it."""
    if not isinstance(values, int | float | np.ndarray | np.generic):
        return False
    array = np.asarray(values)
    return bool(not any(array.strides) and array.size and array.flat[0] == 0)


def _full_like(array: ServiceArray, fill_value: Any, dtype: Any = None, **_: Any) -> Any:
    wanted = array.dtype if dtype is None else np.dtype(dtype)
    if wanted.kind == "b" and not fill_value and array.form == "values" and array.value_dtype.kind in "iub":
        # xarray's mask of missing elements, of which these data types have none.
        return array.replace(form="isnull")
    return np.broadcast_to(np.asarray(fill_value, wanted), array.shape)


def _negate(array: Any) -> ServiceArray:
    other: Mapping[Form, Form] = {"isnull": "notnull", "notnull": "isnull"}
    if not isinstance(array, ServiceArray) or array.form not in other:
        raise NotPushedDownError
    return array.replace(form=other[array.form])


def _is_nan(array: Any) -> ServiceArray:
    if not isinstance(array, ServiceArray) or array.form != "values" or array.dtype.kind != "f":
        raise NotPushedDownError
    return array.replace(form="isnull")


def _reshape(array: ServiceArray, shape: Any, **options: Any) -> ServiceArray:
    sizes = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    if options:
        raise NotPushedDownError("reshape")
    # numpy resolves -1, and refuses another size.
    return array.merge(np.reshape(array.outline, sizes).shape)


FUNCTIONS.update({function: partial(_call, function, rule) for function, rule in _RULES.items()})
FUNCTIONS.update(
    {
        np.full_like: _full_like,
        np.moveaxis: move_axis,
        np.reshape: _reshape,
        np.transpose: lambda array, axes=None: array.transpose(axes),
        np.where: _where,
        np.zeros_like: lambda array, dtype=None, **_: _full_like(array, 0, dtype),
    }
)
UFUNCS.update({np.isnan: _is_nan, np.logical_not: _negate, np.invert: _negate})

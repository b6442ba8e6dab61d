"""Results that are asked for when they are needed: ``Deferred``, a duck array of numpy.

xarray makes a result of several reductions: one for each group, or a sum, the sum of weights and what is made of both.
While nothing needs the numbers, functions of numpy make an expression of them; then all reductions in it are asked for
together. Printing, ``numpy.asarray``, and each function that is not known here need the numbers.
"""

# The methods without a docstring implement duck_array.py, which says it.
# ruff: noqa: D102

import math
import operator
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
from xarray.core.formatting import format_array_flat

from active_storage.client.duck_array import OUTLINED, Dtype, DuckArray, move_axis, outlined, replace_arrays
from active_storage.client.places import count_places
from active_storage.client.reductions import Answer, Reduction, ask_together
from active_storage.client.remote import NotPushedDownError
from active_storage.client.results import Array

# The dimension of quantiles, beside those that are stored.
QUANTILES = -1

# The stored dimensions that each axis is made of; none for a new one of the length 1.
Order = tuple[tuple[int, ...], ...]

# Functions that make another reduction of an expression; None if they cannot.
REWRITES: dict[Callable[..., Any], Callable[..., "Deferred | None"]] = {}

# Functions that need no numbers yet.
_LAZY = frozenset({np.broadcast_to, np.expand_dims, np.where})

# Functions whose result has the shape of an array, and numbers of its own.
_LIKE = frozenset({np.empty_like, np.full_like, np.ones_like, np.zeros_like})


class Deferred(DuckArray):
    """A result that is asked for once, when it is needed. If that fails, the next need asks again."""

    def __init__(self, shape: tuple[int, ...], dtype: Dtype) -> None:
        self._shape = shape
        self._dtype = dtype
        self._values: Any = None

    @abstractmethod
    def find_questions(self) -> Iterable["Question"]:
        """The questions whose answers are needed."""

    @abstractmethod
    def compute(self) -> Any:
        """The values, when all questions are answered."""

    def values_of_answers(self) -> Any:
        """The values, when all questions are answered. They are kept."""
        if self._values is None:
            self._values = self.compute()
        return self._values

    def evaluate(self) -> Any:
        """The values.

        Raises:
            ActiveStorageError: There is no answer.
            ValueError: It has no value, like ``argmin`` where all elements are missing.
        """
        return evaluate_together([self])[0]

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def dtype(self) -> Dtype:
        return self._dtype

    @property
    def real(self) -> "Deferred":
        """The result itself: no number is complex. xarray takes only arrays with this property as they are."""
        return self

    @property
    def imag(self) -> Array:
        """0 for each value."""
        return np.zeros_like(self.outline)

    @property
    def is_known(self) -> bool:
        """Whether it has been asked for."""
        return self._values is not None

    # Lazy

    def transpose(self, *axes: Any) -> Any:
        return make_expression(np.transpose, self, self.find_order(axes))

    def astype(self, dtype: Any, copy: bool = True, **options: Any) -> Any:  # noqa: ARG002  # numpy's name
        """The values in another data type."""
        if np.dtype(dtype) == self.dtype:
            return self
        if self.is_known or options:
            return self.evaluate().astype(dtype, **options)
        return Expression(_convert, (self, np.dtype(dtype)), self.shape, np.dtype(dtype))

    def __getitem__(self, key: Any) -> Any:
        return self.evaluate()[key] if self.is_known else make_expression(operator.getitem, self, key)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if any(hasattr(each, "__array_ufunc__") and not isinstance(each, _PLAIN) for each in inputs):
            return NotImplemented
        if any(each is self for each in kwargs.get("out", ())):
            # An operator such as ``-=``, which takes what is returned in place of the array.
            kwargs = {name: value for name, value in kwargs.items() if name != "out"}
        if method != "__call__" or kwargs or ufunc.nout != 1 or ufunc.signature is not None or _are_known(inputs):
            return getattr(ufunc, method)(*evaluated(inputs), **evaluated(kwargs))
        made = REWRITES[ufunc](*inputs) if ufunc in REWRITES else None
        return make_expression(ufunc, *inputs) if made is None else made

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        if function in OUTLINED or function in _LIKE:
            return function(*outlined(args), **outlined(kwargs))
        if all(issubclass(each, _PLAIN) for each in types) and not _are_known(args):
            if function is np.moveaxis:
                return move_axis(*args, **kwargs)
            if function is np.transpose:
                return args[0].transpose(*args[1:], *kwargs.values())
            if function in _LAZY and not kwargs:
                made = REWRITES[function](*args) if function in REWRITES else None
                return make_expression(function, *args) if made is None else made
        return function(*evaluated(args), **evaluated(kwargs))

    # What needs the numbers

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        values = np.asarray(self.evaluate(), dtype)
        return values.copy() if copy else values

    def __setitem__(self, key: Any, value: Any) -> None:
        self.evaluate()[key] = value

    def __getattr__(self, name: str) -> Any:
        # Other methods of numpy's arrays, such as ``item`` and ``max``.
        if name.startswith("_") or not callable(getattr(np.ndarray, name, None)):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return partial(_call_method, self, name)

    def __repr__(self) -> str:
        return repr(self.evaluate())

    def __str__(self) -> str:
        return str(self.evaluate())

    def __format__(self, form: str) -> str:
        return format(self.evaluate(), form)

    def _repr_inline_(self, max_width: int) -> str:
        return str(format_array_flat(self.evaluate(), max_width))

    def __iter__(self) -> Any:
        return iter(self.evaluate())

    def __bool__(self) -> bool:
        return bool(self.evaluate())

    def __float__(self) -> float:
        return float(self.evaluate())

    def __int__(self) -> int:
        return int(self.evaluate())

    def __complex__(self) -> complex:
        return complex(self.evaluate())

    def __index__(self) -> int:
        return operator.index(self.evaluate())

    def __copy__(self) -> Array:
        return np.array(self)

    def __deepcopy__(self, _memo: Any) -> Array:
        return np.array(self)

    def copy(self) -> Array:
        """The values, as an array of numpy of their own."""
        return np.array(self)

    def __reduce__(self) -> Any:
        return np.asarray, (np.asarray(self),)


# What an expression can be made of.
_PLAIN = (Deferred, np.ndarray, np.generic, int, float, complex)


class Question:
    """A reduction, and the answer once it is there.

    Args:
        reduction: The reduction.
        finish: Makes the values of the answer.
        load: Makes the values of the elements, which it loads, if ``finish`` cannot.
    """

    def __init__(
        self, reduction: Reduction, finish: Callable[[Answer], Any], load: Callable[[], Any] | None = None
    ) -> None:
        self.reduction = reduction
        self.lock = threading.Lock()
        self.values: Any = None
        self.finish = finish
        self.load = load

    def answer(self, answer: Answer | NotPushedDownError) -> None:
        """Make the values of the answer.

        Raises:
            ActiveStorageError: The elements have to be loaded, and cannot be.
            ValueError: There is no value.
        """
        try:
            if isinstance(answer, NotPushedDownError):
                raise answer
            self.values = self.finish(answer)
        except NotPushedDownError as reason:
            if self.load is None:
                raise
            self.reduction.remote.warn(str(reason))
            self.values = self.load()


class Reduced(Deferred):
    """The values of a reduction, whose axes can have another order.

    Args:
        question: The reduction. Its values have the dimensions that are kept, in the order of the store, behind that of
            quantiles.
        order: The stored dimensions that each axis is made of.
        dtype: The data type.
        part: Which part it is of a weighted result; "" for another result.
    """

    def __init__(self, question: Question, order: Order, dtype: Dtype, part: str = "") -> None:
        reduction = question.reduction
        self.question = question
        self.order = order
        self.part = part
        sizes = {dimension: count_places(reduction.places[dimension]) for dimension in reduction.kept}
        sizes[QUANTILES] = len(reduction.arguments.get("q", ()))
        super().__init__(tuple(math.prod(sizes[each] for each in axis) for axis in order), dtype)

    def transpose(self, *axes: Any) -> "Reduced":
        return self.with_order(tuple(self.order[axis] for axis in self.find_order(axes)))

    def __getitem__(self, key: Any) -> Any:
        keys = key if isinstance(key, tuple) else (key,)
        if self.is_known or not all(each is None or each is Ellipsis or _is_all(each) for each in keys):
            return super().__getitem__(key)
        # There are only new axes. numpy refuses too many keys.
        assert self.outline[key].size == self.size  # noqa: S101
        return self.with_order(_insert_axes(self.order, keys))

    def astype(self, dtype: Any, copy: bool = True, **options: Any) -> Any:
        is_exact = self.dtype.kind in "biu" and np.can_cast(self.dtype, dtype)
        if is_exact and not self.is_known and not options:
            return Reduced(self.question, self.order, np.dtype(dtype), self.part)
        return super().astype(dtype, copy, **options)

    def with_order(self, order: Order) -> "Reduced":
        """The same values with other axes."""
        return Reduced(self.question, order, self.dtype, self.part)

    def find_questions(self) -> Iterable[Question]:
        return () if self.is_known else (self.question,)

    def compute(self) -> Any:
        kept = self.question.reduction.kept
        values = self.question.values
        stored = [*([QUANTILES] if np.ndim(values) > len(kept) else []), *kept]
        flat = [dimension for axis in self.order for dimension in axis]
        turned = np.transpose(values, [stored.index(dimension) for dimension in flat])
        return np.reshape(turned, self.shape).astype(self.dtype)


class Expression(Deferred):
    """What a function of numpy makes of results.

    Args:
        function: The function.
        arguments: Its arguments.
        shape: The shape of its result.
        dtype: The data type of its result.
    """

    def __init__(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], shape: tuple[int, ...], dtype: Dtype
    ) -> None:
        super().__init__(shape, dtype)
        self.function = function
        self.arguments = arguments

    def find_questions(self) -> Iterable[Question]:
        if not self.is_known:
            for each in self.arguments:
                if isinstance(each, Deferred):
                    yield from each.find_questions()

    def compute(self) -> Any:
        arguments = [each.values_of_answers() if isinstance(each, Deferred) else each for each in self.arguments]
        with np.errstate(all="ignore"):
            return np.asarray(self.function(*arguments))


def make_expression(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function makes of results, without their numbers.

    Args:
        function: ``operator.getitem``, a ufunc of one result, ``numpy.where``, or a function that makes a view.
        *arguments: Its arguments.
    """
    if isinstance(function, np.ufunc) or function is np.where:
        empty = [np.empty(0, each.dtype) if hasattr(each, "dtype") else each for each in arguments]
        dtype = np.asarray(function(*empty)).dtype
        shape = np.broadcast_shapes(*(np.shape(each) for each in arguments))
    else:
        outline = function(*outlined(arguments))
        dtype, shape = outline.dtype, outline.shape
    return Expression(function, arguments, shape, dtype)


def evaluate_together(arrays: Sequence[Deferred]) -> list[Any]:
    """The values of several results, whose reductions are asked for together.

    Raises:
        ActiveStorageError: There is no answer.
        ValueError: One has no value.
    """
    questions = {id(each): each for array in arrays for each in array.find_questions()}
    with ExitStack() as stack:
        # All threads take the locks in the same order.
        for number in sorted(questions):
            stack.enter_context(questions[number].lock)
        asked = [each for each in questions.values() if each.values is None]
        for each, answer in zip(asked, ask_together([each.reduction for each in asked]), strict=True):
            each.answer(answer)
    return [array.values_of_answers() for array in arrays]


def evaluated(arguments: Any) -> Any:
    """The arguments of a function with the values of results, which are asked for together."""
    found: list[Deferred] = []

    def collect(array: DuckArray) -> DuckArray:
        if isinstance(array, Deferred):
            found.append(array)
        return array

    replace_arrays(arguments, collect)
    values = dict(zip(map(id, found), evaluate_together(found), strict=True))
    return replace_arrays(arguments, lambda array: values.get(id(array), array))


def _insert_axes(order: Order, keys: Sequence[Any]) -> Order:
    """The order with a new axis for each None of a key."""
    given = list(keys) if any(each is Ellipsis for each in keys) else [*keys, Ellipsis]
    named = sum(map(_is_all, given))
    axes = iter(order)
    made: list[tuple[int, ...]] = []
    for each in given:
        if each is None:
            made.append(())
        elif each is Ellipsis:
            made += [next(axes) for _ in range(len(order) - named)]
        else:
            made.append(next(axes))
    return tuple(made)


def _is_all(key: Any) -> bool:
    return isinstance(key, slice) and key == slice(None)


def _are_known(arguments: Sequence[Any]) -> bool:
    """Whether all results among the arguments are there, so that nothing is gained by waiting."""
    return all(each.is_known for each in arguments if isinstance(each, Deferred))


def _convert(values: Any, dtype: Dtype) -> Any:
    return np.asarray(values).astype(dtype)


def _call_method(array: Deferred, name: str, *args: Any, **kwargs: Any) -> Any:
    return getattr(array.evaluate(), name)(*args, **kwargs)

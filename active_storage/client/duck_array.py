"""What arrays that are not loaded share: they are duck arrays of numpy, whose functions are found in a table here.

The modules that know what a service can do add functions to the tables.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from active_storage.client.places import find_axes
from active_storage.client.results import Array

Dtype = np.dtype[Any]

# What functions and ufuncs of numpy do with a ``ServiceArray``. They raise ``NotPushedDownError`` if its elements have
# to be loaded.
FUNCTIONS: dict[Callable[..., Any], Callable[..., Any]] = {}
UFUNCS: dict[np.ufunc, Callable[..., Any]] = {}


class DuckArray(np.lib.mixins.NDArrayOperatorsMixin, ABC):
    """An array whose shape and data type are known, and whose elements may not be."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape."""

    @property
    @abstractmethod
    def dtype(self) -> Dtype:
        """The data type of the elements."""

    @abstractmethod
    def transpose(self, *axes: Any) -> Any:
        """The array with its dimensions in another order; reversed by default."""

    @abstractmethod
    def astype(self, dtype: Any, copy: bool = True, **options: Any) -> Any:
        """The elements in another data type."""

    @abstractmethod
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array: ...

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

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

    @property
    def T(self) -> Any:  # noqa: N802  # numpy's name
        """The array with its dimensions reversed."""
        return self.transpose()

    @property
    def outline(self) -> Array:
        """An array of numpy of the same shape and data type, which takes no memory."""
        return np.broadcast_to(np.zeros((), self.dtype), self.shape)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def find_order(self, axes: tuple[Any, ...]) -> tuple[int, ...]:
        """The axes that the arguments of ``transpose`` mean."""
        chosen = axes[0] if len(axes) == 1 and not isinstance(axes[0], int | np.integer) else axes
        return tuple(range(self.ndim))[::-1] if not axes or chosen is None else find_axes(chosen, self.ndim)


def replace_arrays(values: Any, replace: Callable[[DuckArray], Any]) -> Any:
    """The arguments of a function, in which each ``DuckArray`` is replaced."""
    if isinstance(values, DuckArray):
        return replace(values)
    if isinstance(values, Mapping):
        return {name: replace_arrays(each, replace) for name, each in values.items()}
    if isinstance(values, list | tuple):
        return type(values)(replace_arrays(each, replace) for each in values)
    return values


def outlined(values: Any) -> Any:
    """The arguments of a function, in which each ``DuckArray`` is its outline."""
    return replace_arrays(values, lambda array: array.outline)


def move_axis(array: Any, source: Any, destination: Any) -> Any:
    """``numpy.moveaxis``, by the array's own ``transpose``."""
    axes, places = find_axes(source, array.ndim), find_axes(destination, array.ndim)
    order = [number for number in range(array.ndim) if number not in axes]
    for place, number in sorted(zip(places, axes, strict=True)):
        order.insert(place, number)
    return array.transpose(order)


# Functions that need the shape and the data type only.
OUTLINED = frozenset({np.ndim, np.result_type, np.shape, np.size})

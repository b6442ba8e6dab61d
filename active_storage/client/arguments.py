"""The arguments of the client's methods, by name and type: of plain objects, and of whole arrays.

They have the names of the parameters of the service.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import numpy as np

from active_storage.client.failures import suggest_name

Number = int | float | np.number[Any]
Numbers = Sequence[float] | np.ndarray[Any, Any]

# A slice of one dimension: numpy's, ``[start, stop, step]``, or an index, which keeps the dimension.
Position = slice | list[int | None] | tuple[int | None, ...] | int

Bound = float | np.number[Any] | str | dt.date | np.datetime64


@dataclass(frozen=True, slots=True)
class Near:
    """The value of a coordinate that is nearest to another."""

    value: Bound
    is_cyclic: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """The values of a coordinate from one bound to another, both included."""

    low: Bound | None
    high: Bound | None
    is_cyclic: bool = False


# What is selected by the values of a coordinate: a range, the nearest value, or the period of a text such as 2000-01.
Place = slice | Near | Span | Bound

# A coordinate, ``time.month``, ``{"time": "month"}``; or a dimension, and a number for each of its indices.
Group = str | Mapping[str, Any] | tuple[str | int, Any]

Weights = str | tuple[str | Sequence[str], Any] | Mapping[str, Any]


def nearest(value: Bound, *, cyclic: bool = False) -> Near:
    """The value of a coordinate that is nearest to another one, the larger of two that are as near.

    Args:
        value: The other one: a number, or a date.
        cyclic: Whether the coordinate is an angle of 360 degrees: -10 is 350.
    """
    return Near(value, cyclic)


def between(low: Bound | None, high: Bound | None, *, cyclic: bool = False) -> Span:
    """The values of a coordinate between two bounds, which are included.

    Args:
        low: The lower bound; None for no bound.
        high: The upper bound; None for no bound.
        cyclic: Whether the coordinate is an angle of 360 degrees: from -10 to 10 goes past 0.
    """
    return Span(low, high, cyclic)


class AccessArguments(TypedDict, total=False):
    """How a service is asked: options of ``Client``.

    Attributes:
        key: As for ``Client``, and so are the others.
        secret: The secret key.
        token: The token of a session.
        anon: Whether to ask without keys.
        profile: A profile in the shared files of AWS.
        insecure: Whether the secret may be sent over http to another machine.
        timeout: The longest silence of the service, in seconds.
    """

    key: str | None
    secret: str | None
    token: str | None
    anon: bool
    profile: str | None
    insecure: bool
    timeout: float


class MissingArguments(TypedDict, total=False):
    """The rules for missing data."""

    missing_value: Number | None
    missing_values: Sequence[Number] | None
    valid_min: Number | None
    valid_max: Number | None
    valid_range: Sequence[Number] | None


class ObjectArguments(MissingArguments, total=False):
    """The arguments for a plain object, which say how its numbers lie in it."""

    shape: int | Sequence[int] | None
    order: Literal["C", "F"]
    byte_order: Literal["little", "big"] | None
    offset: int
    size: int | None
    selection: Sequence[Position] | None
    axis: int | np.integer[Any] | Sequence[int] | None
    compression: str | Mapping[str, Any] | None
    filters: Sequence[str | Mapping[str, Any]] | None
    result_dtype: str | None
    ddof: int
    edges: Numbers | None


class QuestionArguments(MissingArguments, total=False):
    """The arguments for a whole array, without those that say what becomes of its sections."""

    container: Literal["zarr", "netcdf", "hdf5", "kerchunk"] | None
    concat: str | None
    interface_type: Literal["s3", "http", "https"] | None
    axis: int | np.integer[Any] | str | Sequence[int | str] | None
    selection: Sequence[Position] | Mapping[str, Position] | None
    where: Mapping[str, Place] | None
    group: Group | None
    bins: Numbers | None
    weights: Weights | None
    other: str | None
    expr: str | None
    decode: Literal["cf", "xarray", "none"] | None
    skipna: bool | None
    ddof: int
    edges: Numbers | None
    q: float | Sequence[float] | None
    method: str | None
    gt: Number | None
    ge: Number | None
    lt: Number | None
    le: Number | None
    absent: Literal[403] | None


def ensure_known(arguments: Mapping[str, Any], known: type) -> None:
    """Pass if a call has no other arguments than these.

    Raises:
        TypeError: It has another one. The message names those that are most like it.
    """
    # Those of the base classes too.
    names: frozenset[str] = known.__optional_keys__  # type: ignore[attr-defined]  # a TypedDict without required ones
    for name in arguments:
        if name not in names:
            raise TypeError(f"there is no argument {name!r}{suggest_name(name, sorted(names))}")

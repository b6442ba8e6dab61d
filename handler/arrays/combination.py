"""Combinations: arrays beside the one that is reduced, whose elements are taken together with its own.

An expression computes one value of the elements of all arrays at a place, and a reducer of two arrays takes them in
pairs. Arrays with all dimensions are read chunk by chunk, and need the same chunks. Arrays with some of the dimensions
are read as a whole, like weights.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from active_storage.errors import InvalidArgument, UnsupportedArray, shown
from active_storage.model.array_reduction import ArrayReduction
from active_storage.model.expression import Node, evaluate, list_names
from active_storage.model.missing import Missing
from handler.arrays.coordinates import AnyArray, Coordinates
from handler.arrays.decoding import Decoding, Unpacking
from handler.arrays.spread import cut_part, spread
from handler.arrays.thresholds import find_limits
from handler.containers.concat import ConcatenatedArray
from handler.containers.stored_array import StoredArray
from handler.kernels.missing import Marker
from handler.kernels.pieces import Array


@dataclass(frozen=True, slots=True)
class Operand:
    """An array that is read chunk by chunk together with the array itself.

    Attributes:
        name: Its name.
        array: The array, or its part in one of several files.
        decoding: How its stored numbers become values.
        unpacking: Makes the values.
    """

    name: str
    array: StoredArray
    decoding: Decoding
    unpacking: Unpacking


@dataclass(frozen=True, slots=True, eq=False)
class Combination:
    """What is reduced in place of the elements of a stored array.

    Attributes:
        own: The name of the array itself.
        unpacking: Makes its values.
        expression: What is computed; None for the pairs of its elements and those of the one operand.
        dtype: The data type of what is reduced.
        operands: The arrays that are read chunk by chunk.
        whole: Spread arrays that are in memory, by name. NaN is missing in them.
        marker: Tells which results of the expression are skipped; None if all count.
    """

    own: str
    unpacking: Unpacking
    expression: Node | None
    dtype: np.dtype[Any]
    operands: tuple[Operand, ...]
    whole: Mapping[str, Array]
    marker: Marker | None

    def compute(self, values: Mapping[str, Array], shape: tuple[int, ...]) -> Array:
        """The values of the expression, in memory of their own or in that of an operand."""
        assert self.expression is not None  # noqa: S101  # the caller has looked
        with np.errstate(all="ignore"):
            result = np.asarray(evaluate(self.expression, values)).astype(self.dtype, copy=False)
        return result if result.shape == shape else np.broadcast_to(result, shape).copy()

    @property
    def covered(self) -> list[Any]:
        """What the digest of a plan covers: the arrays, and the values of those that are in memory."""
        whole = [
            [name, array.shape, hashlib.sha256(array.tobytes()).hexdigest()]
            for name, array in sorted(self.whole.items())
        ]
        return [[[each.name, each.array.name, each.array.dtype] for each in self.operands], whole]


def read_combinations(
    reduction: ArrayReduction, array: AnyArray, decodings: Sequence[Decoding], coordinates: Coordinates
) -> list[Combination]:
    """What is reduced of each part of an array that is combined with others.

    Args:
        reduction: The reduction, with an expression or with another array.
        array: The array.
        decodings: How the stored numbers of each part become values.
        coordinates: Finds arrays beside it.

    Raises:
        InvalidArgument: There is no such array, or it does not fit.
        UnsupportedArray: It has other chunks, or values that are not numbers.
        ActiveStorageError: It cannot be read.
    """
    parts = array.parts if isinstance(array, ConcatenatedArray) else (array,)
    own = coordinates.own_name
    for each in decodings:
        _ensure_real(array.name, each)
    field, names = _list_others(reduction, own)
    plain = replace(reduction, thresholds={})
    operands: dict[str, list[tuple[StoredArray, Decoding]]] = {}
    whole: dict[str, Array] = {}
    for name in names:
        if coordinates.has_fewer_dimensions(field, name) and reduction.expression is not None:
            values, axes = coordinates.read_array(field, name)
            whole[name] = spread(values, axes, array.shape)
        else:
            found = coordinates.open_alike(field, name)
            pairs = zip(found, parts, strict=True)
            operands[name] = [(each, _decode(plain, each, part, field)) for each, part in pairs]
    dtypes = {name: _find_dtype([decoding for _, decoding in each]) for name, each in operands.items()}
    dtypes[own] = _find_dtype(decodings)
    if reduction.expression is None:
        dtype = np.result_type(*dtypes.values())
        dtypes = dict.fromkeys(dtypes, dtype)
        marker = None
    else:
        dtype = _find_result_dtype(reduction.expression, dtypes | {name: each.dtype for name, each in whole.items()})
        marker = _make_marker(reduction, dtype)
    return [
        Combination(
            own,
            Unpacking(decodings[number].packing, dtypes[own], marks_missing=False),
            reduction.expression,
            dtype,
            tuple(
                Operand(name, *pairs[number], Unpacking(pairs[number][1].packing, dtypes[name], marks_missing=False))
                for name, pairs in operands.items()
            ),
            {name: cut_part(values, array, number) for name, values in whole.items()},
            marker,
        )
        for number in range(len(parts))
    ]


def _list_others(reduction: ArrayReduction, own: str) -> tuple[str, list[str]]:
    """The parameter that names other arrays, and their names."""
    if reduction.expression is None:
        return "other", [str(reduction.other)]
    names = list_names(reduction.expression)
    if own not in names:
        raise InvalidArgument("expr", f"should name the array itself, {shown(own)}")
    return "expr", [name for name in names if name != own]


def _decode(reduction: ArrayReduction, operand: StoredArray, part: StoredArray, field: str) -> Decoding:
    if operand.dimensions != part.dimensions or operand.shape != part.shape:
        raise InvalidArgument(field, f"{shown(operand.name)} has other dimensions or another shape than the array")
    if operand.chunks != part.chunks:
        raise UnsupportedArray(operand.name, "other chunks than the array that it is combined with")
    decoding = Decoding.of(reduction, operand)
    _ensure_real(operand.name, decoding)
    return decoding


def _ensure_real(name: str, decoding: Decoding) -> None:
    if decoding.value_dtype.kind == "c":
        raise UnsupportedArray(name, "complex numbers that are combined with others")


def _find_dtype(decodings: Sequence[Decoding]) -> np.dtype[Any]:
    """The data type of values in a combination: whole numbers count as float64, so that nothing wraps around."""
    dtypes = [each.value_dtype if each.value_dtype.kind == "f" else np.dtype(np.float64) for each in decodings]
    return np.result_type(*dtypes)


def _find_result_dtype(expression: Node, dtypes: Mapping[str, np.dtype[Any]]) -> np.dtype[Any]:
    return np.asarray(evaluate(expression, {name: np.zeros(0, dtype) for name, dtype in dtypes.items()})).dtype


def _make_marker(reduction: ArrayReduction, dtype: np.dtype[Any]) -> Marker | None:
    """What tells which values of an expression are skipped: NaN if the request says so, and those beyond thresholds."""
    missing = Missing((math.nan,), None, None) if reduction.skips_nan else None
    limits = find_limits(reduction.thresholds, dtype, None)
    return Marker(missing, dtype, limits) if missing is not None or limits is not None else None

"""The kernels of ``sum``, ``mean``, ``rms`` and ``norm``, and how a block is added up fastest."""

from typing import Any

import numkong
import numpy as np

from active_storage.algebra.sums import FloatSum, IntegerSum, IntegerTotal, Norm, RootMeanSquare, Total, wide
from handler.kernels.pieces import Array, Piece

# numkong adds these up several times as fast as numpy, which converts each number to float64 in memory first. It adds
# float32 in float64 too, and small integers exactly. The numbers must be contiguous, and more than a few.
_NUMKONG_DTYPES = frozenset(np.dtype(name) for name in ("float32", "int8", "uint8", "int16", "uint16"))
_NUMKONG_LEAST = 16


def add_integers(algebra: IntegerSum, piece: Piece) -> IntegerTotal:
    """The sum of each cell of a piece, wrapping in the type of the result."""
    # Without dtype numpy widens small integers to 64 bits.
    return IntegerTotal(np.add.reduce(piece.filled(0), axis=piece.axes, dtype=algebra.result_dtype))


def add_floats(_algebra: FloatSum, piece: Piece) -> Total:
    """The sum of each cell of a piece, in float64 or complex128."""
    return Total(total_of(piece.filled(0), piece.axes), 0.0)


def add_squares(_algebra: RootMeanSquare | Norm, piece: Piece) -> Total:
    """The sum of the squares of each cell of a piece, in float64."""
    return Total(total_of(np.square(piece.filled(0), dtype=np.float64), piece.axes), 0.0)


def total_of(values: Array, axes: tuple[int, ...]) -> Any:
    """The sum along the axes, in float64; of complex numbers, in complex128."""
    kept = values.ndim - len(axes)
    if values.dtype in _NUMKONG_DTYPES and axes == tuple(range(kept, values.ndim)):
        if not kept:
            return np.float64(numkong.sum(values))
        rows = values.reshape(*values.shape[:kept], -1)
        if rows.shape[kept] >= _NUMKONG_LEAST:
            return np.asarray(numkong.sum(rows, axis=kept), np.float64)
    return np.add.reduce(values, axis=axes, dtype=wide(values.dtype))

"""Packed data: reduced as it is stored, and transformed to values at the end.

A stored number ``x`` means the value ``x * scale + offset`` (CF conventions, section 8.1). Sums, means, variances and
extrema of values follow from those of stored numbers. Packed integers are therefore added exactly, and no element is
transformed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from active_storage.algebra.base import Algebra, Array, Dtype, Partial, Reduced

# What to ask of stored numbers if the scale is negative: the largest value is the smallest stored number.
_OPPOSITES: Mapping[str, str] = MappingProxyType({"max": "min", "min": "max", "argmax": "argmin", "argmin": "argmax"})

# Reducers whose result of stored numbers says nothing about that of values. Elements that are missing have no value.
_OF_VALUES = frozenset({"any", "all", "select", "count_nonzero", "histogram"})

# Reducers whose result is the place of the first of equal elements.
_PLACES = frozenset({"argmax", "argmin"})

# Reducers whose result does not depend on the values, or only on their order.
_UNCHANGED = frozenset({"count", "argmax", "argmin"})

# Reducers whose result is one of the elements.
_ELEMENTS = frozenset({"max", "min", "first", "last"})

# Reducers of squares, whose result follows from that of stored numbers only if nothing is added to these.
_OF_SQUARES = frozenset({"rms", "norm"})

# The reducers whose result is computed in float64.
_COMPUTED = frozenset({"sum", "mean", "var", "std", "range", "rms", "norm", "skew", "kurtosis"})


@dataclass(frozen=True, slots=True)
class Packing:
    """How stored numbers become values.

    Attributes:
        scale: The factor, a numpy scalar or a float of Python; None for 1.
        offset: What is added, likewise; None for 0.
        dtype: The data type of values, float32 or float64.
    """

    scale: Any
    offset: Any
    dtype: Dtype

    def unpack(self, stored: Array) -> Array:
        """The values of stored numbers, in new memory, rounded as xarray rounds them: after each of the two steps."""
        with np.errstate(all="ignore"):
            values = stored.astype(self.dtype)
            if self.scale is not None:
                values *= self.scale
            if self.offset is not None:
                values += self.offset
        return values

    def is_transformable(self, reducer: str, stored: Dtype) -> bool:
        """Whether the result of values follows from that of stored numbers, whose data type is ``stored``."""
        if reducer in _OF_VALUES or (reducer in _PLACES and not self._keeps_apart(stored)):
            return False
        if reducer in _OF_SQUARES and self.offset:
            return False
        if reducer == "sum" and stored.kind in "iu" and stored.itemsize == 8:
            # Sums of stored numbers would wrap around, and those of values do not.
            return False
        return self.scale is None or (bool(np.isfinite(self.scale)) and self.scale != 0)

    def _keeps_apart(self, stored: Dtype) -> bool:
        """Whether any two stored numbers have different values: rounding can make neighbours equal."""
        if stored.kind not in "iu" or stored.itemsize >= self.dtype.itemsize:
            return False
        scale, offset = abs(np.float64(1 if self.scale is None else self.scale)), np.float64(self.offset or 0)
        largest = scale * 2.0 ** (8 * stored.itemsize) + abs(offset)
        # Each of the two steps rounds by half a unit in the last place.
        return bool(scale > 2 * np.spacing(self.dtype.type(largest)))

    def stored_reducer(self, reducer: str) -> str:
        """The reducer of stored numbers from whose result that of values follows."""
        is_reversed = self.scale is not None and self.scale < 0
        return _OPPOSITES.get(reducer, reducer) if is_reversed else reducer

    def transform(self, reducer: str, result: Array, counts: Array) -> Array:
        """The result of values, in their data type.

        Args:
            reducer: The reducer of values.
            result: The result of stored numbers, of the shape of the counts.
            counts: The number of elements of each cell.
        """
        if reducer in _UNCHANGED:
            return result
        scale, offset = (np.float64(1 if self.scale is None else self.scale), np.float64(self.offset or 0))
        with np.errstate(all="ignore"):
            if reducer in _ELEMENTS:
                return self.unpack(result)
            wide = result.astype(np.float64)
            if reducer == "sum":
                wide = wide * scale + offset * counts
            elif reducer == "mean":
                wide = wide * scale + offset
            elif reducer == "var":
                wide = wide * (scale * scale)
            elif reducer in ("std", "range", "rms", "norm"):
                wide = wide * abs(scale)
            elif reducer == "skew":
                wide = wide * np.sign(scale)
            elif reducer == "stats":
                wide = self._transform_stats(wide, scale, offset)
            return wide.astype(np.float64 if reducer == "stats" else self.dtype)

    @staticmethod
    def _transform_stats(stats: Array, scale: Any, offset: Any) -> Array:
        """Count, minimum, maximum, mean and ``m2`` of values."""
        count, smallest, largest, mean, m2 = stats
        extrema = [smallest * scale + offset, largest * scale + offset]
        if scale < 0:
            extrema.reverse()
        return np.stack([count, *extrema, mean * scale + offset, m2 * (scale * scale)])


def finish_packed(algebra: Algebra[Any], whole: Partial[Any], reducer: str, packing: Packing | None) -> Reduced:
    """The result of values, from the partial result of all the data, as numbers.

    Args:
        algebra: The algebra of the partial result. With a packing, it is that of stored numbers.
        whole: The partial result of all the data.
        reducer: The reducer of values.
        packing: How stored numbers become values; None if the numbers are the values.
    """
    # Packed floats are rounded after they are transformed.
    is_wide = packing is not None and reducer in _COMPUTED and algebra.result_dtype.kind == "f"
    reduced = algebra.finish_partial(whole, np.dtype(np.float64) if is_wide else None)
    if packing is None:
        return reduced
    return Reduced(packing.transform(reducer, reduced.values, reduced.counts), reduced.counts)

"""From numbers to bytes: the result as every door sends it."""

import math
from dataclasses import dataclass
from typing import Self

from handler.core.reduce import Reduced, ensure_reducible
from handler.spec import DTYPES, ReductionSpec


@dataclass(frozen=True, slots=True)
class Result:
    """A result, or what can be told of one before there is any.

    Attributes:
        dtype: Of its values, a name in ``DTYPES``.
        shape: Of its values; () for a single one.
        counts: How many elements each value stands for, in C order.
        data: The values, little-endian, in C order; empty in a description.
    """

    dtype: str
    shape: tuple[int, ...]
    counts: tuple[int, ...]
    data: bytes = b""

    @classmethod
    def of(cls, spec: ReductionSpec, reduced: Reduced) -> Self:
        """The result that ``reduced`` is."""
        values = reduced.values.astype(reduced.values.dtype.newbyteorder("<"), copy=False)
        return cls(spec.result_dtype, reduced.values.shape, tuple(reduced.counts.ravel().tolist()), values.tobytes())

    @classmethod
    def describe(cls, spec: ReductionSpec, count: int) -> Self:
        """The result that ``count`` elements will have, without its data.

        Raises:
            NothingToReduce: There is none, since there are no elements.
        """
        ensure_reducible(spec, count)
        return cls(spec.result_dtype, (), (count,))

    @property
    def length(self) -> int:
        """The size of its data, in bytes."""
        return DTYPES[self.dtype].itemsize * math.prod(self.shape)

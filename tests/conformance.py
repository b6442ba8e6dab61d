"""The table of cases that every interface must pass, with numpy's results.

A case is a data type, a byte order, a size around the limits of blocks, and a byte range. Each case is tested with
every reducer. Live services have blocks of 1 MiB; tests that make their own engine use ``SMALL`` blocks. ``check``
compares the bytes of a result with numpy's result for the same bytes.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from active_storage.grammar.ranges import format_range
from active_storage.model.dtypes import DTYPES, ByteOrder
from active_storage.model.ranges import ByteRange
from active_storage.model.reducers import REDUCERS
from active_storage.model.spec import ReductionSpec
from handler.kernels.sizes import Sizes
from tests.helpers import BLOCK_BYTES
from tests.judge import check_data


@dataclass(frozen=True, slots=True)
class Case:
    """An object, and the range of its bytes that is reduced."""

    dtype: str
    byte_order: ByteOrder
    elements: int
    byte_range: ByteRange | None

    @property
    def key(self) -> str:
        """The object's key: cases of the same data share it."""
        return f"{self.dtype}-{self.byte_order}-{self.elements}.dat"

    # A case is asked of every reducer, one after the other: what it is made of is made once.
    @lru_cache(maxsize=2)  # noqa: B019  # so few of them
    def data(self) -> bytes:
        """The whole object."""
        return sample(self.dtype, self.elements).astype(stored_dtype(self)).tobytes()

    @lru_cache(maxsize=2)  # noqa: B019
    def selected(self) -> np.ndarray[Any, Any]:
        """The elements in the range, read by numpy."""
        data = self.data()
        start, stop = (0, len(data)) if self.byte_range is None else self.byte_range.resolve(len(data))
        return np.frombuffer(data[start:stop], stored_dtype(self)).astype(self.dtype)

    def spec(self, reducer: str) -> ReductionSpec:
        """The reduction of this case."""
        return ReductionSpec(reducer, self.dtype, self.byte_order, range=self.byte_range)

    def range_header(self) -> dict[str, str]:
        """The ``Range`` header; empty for the whole object."""
        return {"Range": format_range(self.byte_range)} if self.byte_range else {}

    def segment(self) -> str:
        """The segment of the path with the data type."""
        return f"{self.dtype};byte_order={self.byte_order}"


# Where a test may choose: numpy has less to do, and the edges are the same.
SMALL = Sizes(block_bytes=4096)


def stored_dtype(case: Case) -> np.dtype[Any]:
    """The data type with the byte order of the object."""
    return np.dtype(case.dtype).newbyteorder(case.byte_order)


def sample(dtype: str, elements: int) -> np.ndarray[Any, Any]:
    """Random numbers of both signs; integers over their whole range, so that sums wrap."""
    random = np.random.default_rng(elements)
    if dtype == "bool":
        return random.random(elements) < 0.5
    if np.dtype(dtype).kind == "f":
        return (random.standard_normal(elements) * 100).astype(dtype)
    if np.dtype(dtype).kind == "c":
        return (random.standard_normal((elements, 2)) * 100).astype(np.float32).view(np.complex64)[:, 0].astype(dtype)
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, elements, dtype, endpoint=True)


def cases(block_bytes: int = BLOCK_BYTES) -> Iterator[Case]:
    """Every case: whole objects of many sizes, and ranges of one size.

    Args:
        block_bytes: The size of the engine's blocks, around whose limits the sizes lie.
    """
    for dtype, numpy_dtype in DTYPES.items():
        block = block_bytes // numpy_dtype.itemsize
        item = numpy_dtype.itemsize
        for byte_order in ("little", "big"):
            for elements in (1, 2, 7, 1000, block - 1, block, block + 1, 2 * block + 3):
                yield Case(dtype, byte_order, elements, None)
            for byte_range in (
                ByteRange(0, item - 1),
                ByteRange(3 * item, 90 * item - 1),
                ByteRange(block * item, None),
                ByteRange(None, 5 * item),
                ByteRange(7 * item, (block * 9) * item - 1),
                ByteRange(None, block * 9 * item),
            ):
                yield Case(dtype, byte_order, block + 1, byte_range)


def questions(block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[Case, str]]:
    """Every case with every reducer that takes its data type."""
    for case in cases(block_bytes):
        for reducer, rule in REDUCERS.items():
            if DTYPES[case.dtype].kind in rule.kinds:
                yield case, reducer


def check(case: Case, reducer: str, answer: bytes) -> None:
    """Pass if numpy gives the same result for the same bytes.

    A sum of float64 must be as near to the exact sum as numpy's, or differ by one rounding at the size of the sum of
    all magnitudes, since blocks are added in another order. Sums of narrower floats are correctly rounded.
    """
    values = case.selected()
    spec = ReductionSpec(reducer, case.dtype)
    if reducer == "sum" and values.dtype.kind == "f":
        _check_float_sum(values, np.frombuffer(answer, np.dtype(case.dtype).newbyteorder("<"))[0])
    else:
        check_data(spec, values, answer)


def _check_float_sum(values: np.ndarray[Any, Any], answer: Any) -> None:
    exact = math.fsum(values.astype(np.float64).tolist())
    if values.dtype == np.float64:
        numpys_error = abs(float(values.sum()) - exact)
        assert abs(float(answer) - exact) <= max(numpys_error, float(np.spacing(np.abs(values).sum())))
    else:
        # The sum of a million float16 can overflow.
        with np.errstate(over="ignore"):
            assert answer == values.dtype.type(exact)

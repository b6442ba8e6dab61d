"""Missing elements of a block, compared with numpy."""

import numpy as np
import pytest

from active_storage.model.dtypes import DTYPES
from active_storage.model.missing import Missing
from handler.kernels.missing import Marker

# A value above all data, one below, one among them, and the special values of floats.
VALUES = {
    "f": (1e4, -1e4, 3.0, -3.0, 0.0, float("inf"), float("-inf"), float("nan")),
    "i": (100, -100, 3, -3, 0),
    "u": (100, 200, 3, 0),
    "b": (0, 1),
}
CASES = [(dtype, value) for dtype, known in DTYPES.items() if known.kind != "c" for value in VALUES[known.kind]]


def _make_blocks(dtype: str, value: float) -> list[np.ndarray]:
    """Blocks without the value, with it, and with similar values, in turn."""
    known = DTYPES[dtype]
    plain = np.array([5, 0, 1, 7] if known.kind in "ub" else [-5, 0, 1, 7]).astype(known)
    others = [np.copysign(plain, -1), np.array([np.nan, -np.nan, np.inf, -0.0], known)] if known.kind == "f" else []
    hit = plain.copy()
    hit[2] = value
    blocks = [plain, *others, plain[::-1], hit, plain, *others, hit[::2], hit[::-1], plain]
    return [block.reshape(-1, 2) for block in blocks]


@pytest.mark.parametrize(("dtype", "value"), CASES)
def test_a_missing_value_is_found_in_each_block_that_has_it(dtype: str, value: float) -> None:
    marker = Marker(Missing((value,)), DTYPES[dtype])
    for block in _make_blocks(dtype, value):
        expected = np.isnan(block) if np.isnan(value) else block == DTYPES[dtype].type(value)
        mask = marker.mark(block)
        assert (mask is not None) == expected.any()
        if mask is not None:
            np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("place", range(3))
def test_every_block_is_searched(place: int) -> None:
    marker = Marker(Missing((-999,)), DTYPES["float32"])
    for number in range(3):
        block = np.arange(6, dtype=np.float32)
        block[number] = -999 if number >= place else 0
        mask = marker.mark(block)
        assert (mask is not None) == (number >= place)

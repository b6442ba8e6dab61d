"""Fill values of Zarr: what a value of JSON is in each data type, and which values are refused."""

from typing import Any

import numpy as np
import pytest

from active_storage.model.dtypes import DTYPES
from handler.containers.fill_values import read_fill_v2, read_fill_v3

NAN, INF = float("nan"), float("inf")

COMMON: list[tuple[str, Any, Any]] = [
    ("bool", True, True),
    ("bool", 0, False),
    ("int8", -128, -128),
    ("int16", 7.0, 7),
    ("uint64", 2**64 - 1, 2**64 - 1),
    ("int64", -(2**63), -(2**63)),
    ("float16", 65504, 65504),
    ("float32", 0.1, np.float32(0.1)),
    ("float32", 1e20, np.float32(1e20)),
    ("float32", "NaN", NAN),
    ("float64", NAN, NAN),
    ("float64", "Infinity", INF),
    ("float64", "-Infinity", -INF),
    ("float64", 2**200, 2.0**200),
    ("complex64", [1, "-Infinity"], complex(1, -INF)),
    ("complex128", ["NaN", 0.5], complex(NAN, 0.5)),
    ("complex128", 3, 3),
]


def check(value: Any, dtype: str, expected: Any) -> None:
    assert type(value) is DTYPES[dtype].type
    np.testing.assert_array_equal(value, DTYPES[dtype].type(expected))


@pytest.mark.parametrize(("dtype", "value", "expected"), COMMON)
def test_values_of_both_versions(dtype: str, value: Any, expected: Any) -> None:
    check(read_fill_v2(value, dtype, "big"), dtype, expected)
    check(read_fill_v3(value, dtype), dtype, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_null_is_0_in_version_2_and_none_in_version_3(dtype: str) -> None:
    check(read_fill_v2(None, dtype, "little"), dtype, 0)
    assert read_fill_v3(None, dtype) is None


@pytest.mark.parametrize(
    ("dtype", "value", "bits"),
    [
        ("float16", "0x7e01", "7e01"),
        ("float32", "0x7fc00000", "7fc00000"),
        ("float32", "0xFFC00001", "ffc00001"),
        ("float64", "0x7ff8000000000123", "7ff8000000000123"),
        ("complex64", ["0x7fc00002", "0x3f800000"], "7fc000023f800000"),
    ],
)
def test_bits_in_version_3(dtype: str, value: Any, bits: str) -> None:
    """The only way to give another NaN than the usual one."""
    scalar = read_fill_v3(value, dtype)
    assert np.array(scalar).astype(DTYPES[dtype].newbyteorder(">")).tobytes().hex() == bits


@pytest.mark.parametrize(("byte_order", "text"), [("little", "AACAPwAAAEA="), ("big", "P4AAAEAAAAA=")])
def test_base64_of_complex_numbers_in_version_2(byte_order: Any, text: str) -> None:
    check(read_fill_v2(text, "complex64", byte_order), "complex64", 1 + 2j)


REFUSED: dict[str, list[Any]] = {
    "bool": [2, "true", -1, 0.5, NAN, [], {}],
    "int8": [128, -129, 0.5, "1", "NaN", True, NAN, INF, [1], {}, 10**4000],
    "uint8": [-1, 256],
    "int64": [1e19],
    "float16": [65520, -1e5, 10**4000],
    "float32": [1e39, -(10**300), "nan", "0", "", True, [1], {}, "+Infinity"],
    "complex64": [[], [1], [1, 2, 3], "AAAA", "?", "é", [1, "x"], [1e39, 0], {}, True],
}


@pytest.mark.parametrize(("dtype", "value"), [(dtype, value) for dtype in REFUSED for value in REFUSED[dtype]])
def test_values_that_do_not_fit(dtype: str, value: Any) -> None:
    """The reason says what would be right, or what is wrong."""
    with pytest.raises(ValueError, match=r"^(should (be|have)|is too large) "):
        read_fill_v2(value, dtype, "little")
    with pytest.raises(ValueError, match=r"^(should (be|have)|is too large) "):
        read_fill_v3(value, dtype)


@pytest.mark.parametrize(
    ("dtype", "value"), [("float32", "0x7fc0"), ("float32", "0x"), ("float32", "0x7fc0000g"), ("int8", "0x01")]
)
def test_bits_that_do_not_fit(dtype: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"^should (be|have) "):
        read_fill_v3(value, dtype)


def test_bits_are_not_a_value_of_version_2() -> None:
    with pytest.raises(ValueError, match="should be a number"):
        read_fill_v2("0x7fc00000", "float32", "little")

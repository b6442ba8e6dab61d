"""Fill values in the metadata of Zarr, from JSON to a scalar of the array's data type.

A ``ValueError`` says what a value should be. Whole numbers must fit their data type. Floats are rounded to the nearest
number of their type, since not every writer gives the digits of a float32 as a float64; they must not overflow.
"""

import base64
import binascii
import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from active_storage.model.dtypes import DTYPES, ByteOrder

_WORDS: Mapping[str, float] = MappingProxyType({"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf})

_HEX_RE = re.compile(r"0x([0-9a-fA-F]+)", re.ASCII)

_Dtype = np.dtype[np.generic]


def read_fill_v2(value: object, dtype: str, byte_order: ByteOrder) -> Any:
    """The fill value of Zarr version 2; null reads as 0, as zarr-python reads it.

    Args:
        value: A value of JSON. A complex number is a list of two numbers, or base64 of its bytes.
        dtype: A name in ``DTYPES``.
        byte_order: The byte order of bytes in base64.

    Raises:
        ValueError: The value does not fit the data type.
    """
    native = DTYPES[dtype]
    if value is None:
        return native.type(0)
    if native.kind == "c" and isinstance(value, str) and value not in _WORDS:
        return _from_bytes(_decode_base64(value), native.newbyteorder(byte_order))
    return _read(value, native, _read_word)


def read_fill_v3(value: object, dtype: str) -> Any:
    """The fill value of Zarr version 3; None if it is null.

    Args:
        value: A value of JSON. A float can be "0x" and the digits of its bits, the highest first.
        dtype: A name in ``DTYPES``.

    Raises:
        ValueError: The value does not fit the data type.
    """
    return None if value is None else _read(value, DTYPES[dtype], _read_word_or_bits)


def _read(value: object, dtype: _Dtype, read_text: Callable[[str, _Dtype], Any]) -> Any:
    if dtype.kind == "b":
        return _read_bool(value)
    if dtype.kind in "iu":
        return _read_integer(value, dtype)
    if dtype.kind == "f":
        return _read_float(value, dtype, read_text)
    parts = value if isinstance(value, list) else [value, 0]
    if len(parts) != 2:
        raise ValueError("should be a list of two numbers")
    half = np.dtype(f"f{dtype.itemsize // 2}")
    return np.array([_read_float(part, half, read_text) for part in parts], half).view(dtype)[0]


def _read_bool(value: object) -> Any:
    # Version 2 has no rule for bool: false, 0 and 0.0 occur.
    if not isinstance(value, bool | int | float) or value not in (0, 1):
        raise ValueError("should be true or false")
    return np.bool_(value)


def _read_integer(value: object, dtype: _Dtype) -> Any:
    # Integers with a fill value such as 0.0 occur.
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    limits = np.iinfo(dtype.name)
    if type(number) is not int or not limits.min <= number <= limits.max:
        raise ValueError(f"should be a whole number from {limits.min} to {limits.max}")
    return dtype.type(number)


def _read_float(value: object, dtype: _Dtype, read_text: Callable[[str, _Dtype], Any]) -> Any:
    if isinstance(value, str):
        return read_text(value, dtype)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("should be a number")  # noqa: TRY004  # the caller expects one kind
    try:
        with np.errstate(over="ignore"):
            number = dtype.type(value)
    except OverflowError:
        number = dtype.type(math.inf)
    if np.isinf(number) and value not in (math.inf, -math.inf):
        raise ValueError(f"is too large for {dtype.name}")
    return number


def _read_word(text: str, dtype: _Dtype) -> Any:
    if text not in _WORDS:
        raise ValueError(f"should be a number, {', '.join(_WORDS)}")
    return dtype.type(_WORDS[text])


def _read_word_or_bits(text: str, dtype: _Dtype) -> Any:
    match = _HEX_RE.fullmatch(text)
    if match is None:
        return _read_word(text, dtype)
    if len(match[1]) != 2 * dtype.itemsize:
        raise ValueError(f"should have {2 * dtype.itemsize} hexadecimal digits after 0x")
    return _from_bytes(bytes.fromhex(match[1]), dtype.newbyteorder(">"))


def _decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("should be a list of two numbers, or base64") from None


def _from_bytes(data: bytes, dtype: _Dtype) -> Any:
    if len(data) != dtype.itemsize:
        raise ValueError(f"should have {dtype.itemsize} bytes, it has {len(data)}")
    return np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))[0]

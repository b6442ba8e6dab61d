"""Data types and byte orders."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np

ByteOrder = Literal["little", "big"]

Order = Literal["C", "F"]


# The data types, in the machine's byte order.
DTYPES: Mapping[str, np.dtype[np.generic]] = MappingProxyType(
    {
        name: np.dtype(name)
        for name in (
            "int8", "int16", "int32", "int64",
            "uint8", "uint16", "uint32", "uint64",
            "float16", "float32", "float64",
            "bool", "complex64", "complex128",
        )
    }
)  # fmt: skip

# The data types in which a sum can be computed and returned, in addition to that of its elements.
SUM_DTYPES = ("int64", "uint64", "float64")

# The size of the largest array and object, in bytes: S3 and 64-bit machines count in int64.
MAX_BYTES = 2**63 - 1

# numpy's own limit.
MAX_DIMENSIONS = 32

"""``delta``, numcodecs': the first element, then of each one its difference from the one before, in the same type."""

import numpy as np

from handler.errors import UndecodableData
from handler.spec import DTYPES, ReductionSpec


def undo(data: memoryview, _element_size: int, spec: ReductionSpec, /) -> memoryview:
    """The elements again, in new memory and the source's byte order; integers wrap.

    The element's size is the data type's. Of bools the difference is whether they differ; numcodecs writes them so, but
    adds them up when it reads.

    Raises:
        UndecodableData: The data is no whole number of elements.
    """
    if len(data) % spec.element_bytes:
        raise UndecodableData("delta", f"{len(data)} bytes are no whole number of {spec.dtype} elements")
    dtype = DTYPES[spec.dtype].newbyteorder(spec.byte_order)
    differences = np.frombuffer(data, dtype)
    elements = np.empty_like(differences)
    accumulate = np.bitwise_xor.accumulate if spec.dtype == "bool" else np.add.accumulate
    with np.errstate(all="ignore"):
        accumulate(differences, out=elements)
    return elements.view(np.uint8).data

"""``shuffle``, HDF5's and numcodecs': first every element's first byte, then every second byte, and so on."""

import numpy as np

from handler.spec import ReductionSpec


def undo(data: memoryview, element_size: int, _spec: ReductionSpec, /) -> memoryview:
    """The elements again; ``data`` itself where they are single bytes or fewer than two.

    Bytes beyond the last whole element are as they were, as HDF5 leaves them (numcodecs refuses them). A column at a
    time is what numpy copies fastest: 3.6 GB/s, the transposed array 0.4 to 2.
    """
    count = len(data) // element_size
    if element_size == 1 or count < 2:
        return data
    whole = count * element_size
    stored = np.frombuffer(data, np.uint8)
    elements = np.empty_like(stored)
    columns = elements[:whole].reshape(count, element_size)
    for place, row in enumerate(stored[:whole].reshape(element_size, count)):
        columns[:, place] = row
    elements[whole:] = stored[whole:]
    return elements.data

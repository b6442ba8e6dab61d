"""How exact a float32 sum is: the service's, and those that a client might make of the same numbers.

The exact sum is ``math.fsum``'s, rounded once; errors are relative to it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.contenders import PROXY
from bench.scene import DTYPE, Scene, make_temperatures

Numbers = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Inaccuracy:
    """How far sums are from the exact one.

    Attributes:
        size: Bytes of the object.
        errors: Relative, by what made the sum.
    """

    size: int
    errors: Mapping[str, float]


SERVICE = "the service"

# What a client might do, by what the page calls it.
OTHERS: Mapping[str, Callable[[Numbers], np.float32]] = {
    "numpy's `sum` of float32": lambda values: values.sum(),
    # The last element of numpy's running total is what a loop over the numbers ends with.
    "a running total in float32": lambda values: np.cumsum(values, dtype=np.float32)[-1],
}


def measure(scene: Scene, sizes: Sequence[int]) -> list[Inaccuracy]:
    """The relative errors of the sums of objects of these sizes."""
    measured = []
    for size in sizes:
        values = make_temperatures(size)
        exact = math.fsum(values.tolist())
        with PROXY.open(scene) as fetch:
            body = fetch(scene.objects[size]).total or b""
        sums = {SERVICE: np.frombuffer(body, DTYPE)[0]} | {name: add(values) for name, add in OTHERS.items()}
        measured.append(Inaccuracy(size, {name: abs(float(total) - exact) / exact for name, total in sums.items()}))
    return measured

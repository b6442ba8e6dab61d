"""The algebra of reductions: partial results join, the last one is finished. numpy only, for services and clients.

A *cell* is one value of a result. A *state* is what a reducer knows of some of the data: a named tuple of arrays, each
with an element for every cell. A ``Partial`` is a state with the number of elements behind each cell. Two partials join
into the partial of both their data. Joining is associative, and a partial of no elements changes none: blocks of one
stream, parallel ranges of one object, chunks of an array and the answers of several machines join by the same methods.

What belongs here: states, how they join, how the last one becomes the result. What does not: how data becomes a state
(``handler.kernels``), and where data comes from. A new reducer is a class in a file of its family and a row below.

What holds for every reducer:

- NaN propagates, as in numpy: a NaN that is not missing makes sum, mean, max and min NaN, and argmax finds the first.
- Integer sums wrap in the type of the result: the sum of int8 is an int8, modulo 256, unless another type was asked
  for. The sum of bool is bool, whether any is true.
- A cell of no elements has the reducer's identity: 0 for sums, the lowest value of the type for max, the highest for
  min, NaN for a mean. Its count is 0, and whether that is an error is for the doors to say.
- Floats are summed in float64, and the sums of pieces in twice that: see ``sums.py``. A float32 or float16 sum of one
  sign is correct to the last bit but for ties; where large numbers cancel, what is left is as exact as float64 held
  them. A float64 sum is at least as good as numpy's pairwise sum of the whole array, however many pieces there were.
  A sum of float32 in float32 would be faster and 5 % wrong for 64 MiB.
- Variances join by the pairwise update of Chan, Golub and LeVeque (1979), in which nothing large is cancelled.

Warnings of numpy's (an overflow to infinity on the way) are ignored: the result shows what happened.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from active_storage.algebra.base import Algebra, Index, Partial, Reduced, join_partials
from active_storage.algebra.counts import Count
from active_storage.algebra.elements import Select
from active_storage.algebra.extrema import Max, Min
from active_storage.algebra.moments import Stats, Std, Var
from active_storage.algebra.places import ArgMax, ArgMin
from active_storage.algebra.sums import FloatSum, IntegerSum, Mean
from active_storage.algebra.truth import All, Any_
from handler.spec import DTYPES, ReductionSpec

__all__ = ["ALGEBRAS", "ARITHMETIC_VERSION", "Algebra", "Index", "Partial", "Reduced", "join_partials", "make_algebra"]

# Raised whenever the same data could give other bytes than before; part of a result's ETag.
ARITHMETIC_VERSION = 6

# By reducer, then by the kind of the result's data type: b bool, i and u integers, f floats, c complex.
ALGEBRAS: Mapping[str, Mapping[str, type[Algebra[Any]]]] = MappingProxyType(
    {
        "count": {"i": Count},
        "max": {"biuf": Max},
        "min": {"biuf": Min},
        "sum": {"biu": IntegerSum, "fc": FloatSum},
        "select": {"biufc": Select},
        "mean": {"fc": Mean},
        "var": {"f": Var},
        "std": {"f": Std},
        "argmax": {"i": ArgMax},
        "argmin": {"i": ArgMin},
        "any": {"b": Any_},
        "all": {"b": All},
        "stats": {"f": Stats},
    }
)


def make_algebra(spec: ReductionSpec) -> Algebra[Any]:
    """The algebra of a reduction."""
    kind = DTYPES[spec.result_dtype].kind
    return next(algebra for kinds, algebra in ALGEBRAS[spec.reducer].items() if kind in kinds)(spec)

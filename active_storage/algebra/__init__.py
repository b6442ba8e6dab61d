"""The algebra of reductions: partial results join, the last one is finished. numpy only, for services and clients.

A *cell* is one value of a result. A *state* is what a reducer knows about some of the data: a named tuple of arrays,
each with one element for each cell. A ``Partial`` is a state and the number of elements in each cell. Two partials join
into the partial of all their data. Joining is associative, and a partial without elements is neutral. Blocks of one
stream, parallel ranges of one object, chunks of an array and results of several machines join by the same methods.

This folder defines states, how they join, and how the last one becomes the result. How data becomes a state is in
``handler.kernels``. Nothing here knows where data comes from. A new reducer is a class in the file of its family, and a
row in the table below.

The rules of every reducer:

- NaN propagates, as in numpy: if a NaN is not missing, sum, mean, max and min are NaN, and argmax finds the first NaN.
- Integer sums wrap in the data type of the result: the sum of int8 is an int8, modulo 256, unless another data type was
  requested. The sum of bool is a bool: whether any element is true.
- A cell without elements has the reducer's identity: 0 for a sum, the lowest value of the data type for max, the
  highest for min, NaN for a mean. Its count is 0. The doors decide whether that is an error.
- Floats are summed in float64, and the sums of pieces in twice that precision: see ``sums.py``. A float32 or float16
  sum of numbers of one sign is correct to the last bit, except for ties. If large numbers cancel, the difference is as
  exact as float64. A float64 sum is at least as exact as numpy's pairwise sum of the whole array, for any number of
  pieces. Summing float32 in float32 would be faster, and 5 % wrong for 64 MiB.
- Variances join by the pairwise update of Chan, Golub and LeVeque (1979), which avoids cancellation, and third and
  fourth moments by that of Pébay (2008).
- The state of a histogram has one more dimension than the cells, the bins: ``Algebra.trailing``.

numpy's warnings, such as an overflow to infinity, are ignored: the result shows the infinity.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from active_storage.algebra.arg_extrema import ArgMax, ArgMin
from active_storage.algebra.base import Algebra, Index, Partial, Reduced, join_partials
from active_storage.algebra.counts import Count, CountNonzero
from active_storage.algebra.covariance import Corr, Cov
from active_storage.algebra.elements import Select
from active_storage.algebra.ends import First, Last
from active_storage.algebra.extrema import Max, Min, Range
from active_storage.algebra.histograms import Histogram
from active_storage.algebra.moments import Kurtosis, Skew, Stats, Std, Var
from active_storage.algebra.sums import FloatSum, IntegerSum, Mean, Norm, RootMeanSquare
from active_storage.algebra.truth import All, Any_
from active_storage.algebra.weighted import SumOfWeights, WeightedMean, WeightedStd, WeightedSum, WeightedVar
from active_storage.model.dtypes import DTYPES
from active_storage.model.spec import ReductionSpec

__all__ = ["ALGEBRAS", "ARITHMETIC_VERSION", "Algebra", "Index", "Partial", "Reduced", "join_partials", "make_algebra"]

# Increased whenever the same data could give other bytes than before. It is in the digest of a result's ETag.
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
        "first": {"biufc": First},
        "last": {"biufc": Last},
        "range": {"uf": Range},
        "rms": {"f": RootMeanSquare},
        "skew": {"f": Skew},
        "kurtosis": {"f": Kurtosis},
        "count_nonzero": {"i": CountNonzero},
        "norm": {"f": Norm},
        "histogram": {"i": Histogram},
    }
)

# By reducer, if elements have weights.
WEIGHTED_ALGEBRAS: Mapping[str, type[Algebra[Any]]] = MappingProxyType(
    {
        "sum": WeightedSum,
        "mean": WeightedMean,
        "var": WeightedVar,
        "std": WeightedStd,
        "sum_of_weights": SumOfWeights,
    }
)

# By reducer, if it is of two arrays.
PAIR_ALGEBRAS: Mapping[str, type[Algebra[Any]]] = MappingProxyType({"cov": Cov, "corr": Corr})


def make_algebra(spec: ReductionSpec) -> Algebra[Any]:
    """The algebra of a reduction."""
    if spec.is_weighted:
        return WEIGHTED_ALGEBRAS[spec.reducer](spec)
    if spec.reducer in PAIR_ALGEBRAS:
        return PAIR_ALGEBRAS[spec.reducer](spec)
    kind = DTYPES[spec.result_dtype].kind
    return next(algebra for kinds, algebra in ALGEBRAS[spec.reducer].items() if kind in kinds)(spec)

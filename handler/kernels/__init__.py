"""Kernels: from pieces of data to states of the algebra. numpy and numkong; no network, no clock, no settings.

A *piece* is the selected part of a block. It fits the cache. A kernel is a function from one piece to a state. A new
kernel is a function in the file of its family, and a row in the table below. How states join and finish is in
``active_storage.algebra``. Which pieces there are is in ``walk.py``. ``reducer.py`` drives all three.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from active_storage.algebra import Algebra
from active_storage.algebra.arg_extrema import ArgMax, ArgMin
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
from handler.kernels.arg_extrema import find_arg_extremum
from handler.kernels.covariance import find_comoments
from handler.kernels.elements import count_nonzero, keep_elements, keep_nothing
from handler.kernels.ends import find_end
from handler.kernels.extrema import find_extrema, find_extremum
from handler.kernels.histograms import count_in_bins
from handler.kernels.moments import find_higher_moments, find_moments, summarize
from handler.kernels.pieces import Piece
from handler.kernels.sums import add_floats, add_integers, add_squares
from handler.kernels.truth import find_truth
from handler.kernels.weighted import weigh_moments, weigh_total

Kernel = Callable[[Any, Piece], tuple[Any, ...]]

# By the algebra of their states.
KERNELS: Mapping[type[Algebra[Any]], Kernel] = MappingProxyType(
    {
        Count: keep_nothing,
        Select: keep_elements,
        Max: find_extremum,
        Min: find_extremum,
        IntegerSum: add_integers,
        FloatSum: add_floats,
        Mean: add_floats,
        Var: find_moments,
        Std: find_moments,
        Stats: summarize,
        ArgMax: find_arg_extremum,
        ArgMin: find_arg_extremum,
        Any_: find_truth,
        All: find_truth,
        Cov: find_comoments,
        Corr: find_comoments,
        WeightedSum: weigh_total,
        WeightedMean: weigh_total,
        SumOfWeights: weigh_total,
        WeightedVar: weigh_moments,
        WeightedStd: weigh_moments,
        First: find_end,
        Last: find_end,
        Range: find_extrema,
        RootMeanSquare: add_squares,
        Skew: find_higher_moments,
        Kurtosis: find_higher_moments,
        CountNonzero: count_nonzero,
        Norm: add_squares,
        Histogram: count_in_bins,
    }
)

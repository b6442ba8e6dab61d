"""The table of reducers: the properties of each, apart from its arithmetic."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

# Kinds of numpy's data types: b bool, i and u integers, f floats, c complex.
_REAL = "biuf"


@dataclass(frozen=True, slots=True)
class ReducerRule:
    """The properties of a reducer.

    Attributes:
        result_dtype: The result's data type; None for that of the elements.
        widens: Whether integers and bools give float64.
        kinds: The kinds of data types that it accepts.
        leading: The size of an additional first dimension of the result; 0 for none.
        one_axis: Whether it reduces along all axes, or along at least one; of a plain object, along exactly one.
        takes_ddof: Whether it has the parameter ``ddof``.
        needs_elements: Whether it is undefined without elements.
        has_empty_value: Whether its value of no elements says something: 0, False or True. The others give NaN, or are
            undefined.
        keeps_elements: Whether its result is the selected elements, whatever the axis.
        takes_weights: Whether elements can have weights.
        takes_negative_weights: Whether these can be negative. Squared deviations cannot be joined if weights cancel.
        takes_other: Whether it is of two arrays.
        needs_weights: Whether it is about the weights, so that only arrays with weights have it.
        is_unsigned: Whether signed integers give unsigned ones of the same size.
        has_bins: Whether its result has a last dimension of bins, and it has the parameter ``edges``.
        takes_quantiles: Whether it has the parameters ``q`` and ``method``.
        is_quantile: Whether its result is made of sorted elements, so that the data is read in several passes.
    """

    result_dtype: str | None = None
    widens: bool = False
    kinds: str = _REAL
    leading: int = 0
    one_axis: bool = False
    takes_ddof: bool = False
    needs_elements: bool = False
    has_empty_value: bool = False
    keeps_elements: bool = False
    takes_weights: bool = False
    takes_negative_weights: bool = False
    needs_weights: bool = False
    is_unsigned: bool = False
    has_bins: bool = False
    takes_other: bool = False
    takes_quantiles: bool = False
    is_quantile: bool = False


REDUCERS: Mapping[str, ReducerRule] = MappingProxyType(
    {
        "count": ReducerRule(result_dtype="int64", kinds=_REAL + "c", has_empty_value=True),
        "max": ReducerRule(needs_elements=True),
        "min": ReducerRule(needs_elements=True),
        "sum": ReducerRule(kinds=_REAL + "c", takes_weights=True, takes_negative_weights=True, has_empty_value=True),
        "select": ReducerRule(kinds=_REAL + "c", keeps_elements=True, has_empty_value=True),
        "mean": ReducerRule(widens=True, kinds=_REAL + "c", takes_weights=True, takes_negative_weights=True),
        "var": ReducerRule(widens=True, takes_ddof=True, takes_weights=True),
        "std": ReducerRule(widens=True, takes_ddof=True, takes_weights=True),
        "argmax": ReducerRule(result_dtype="int64", one_axis=True, needs_elements=True),
        "argmin": ReducerRule(result_dtype="int64", one_axis=True, needs_elements=True),
        "any": ReducerRule(result_dtype="bool", has_empty_value=True),
        "all": ReducerRule(result_dtype="bool", has_empty_value=True),
        "stats": ReducerRule(result_dtype="float64", leading=5, has_empty_value=True),
        "first": ReducerRule(kinds=_REAL + "c", needs_elements=True),
        "last": ReducerRule(kinds=_REAL + "c", needs_elements=True),
        "range": ReducerRule(kinds="iuf", needs_elements=True, is_unsigned=True),
        "rms": ReducerRule(widens=True),
        "skew": ReducerRule(widens=True),
        "kurtosis": ReducerRule(widens=True),
        "count_nonzero": ReducerRule(result_dtype="int64", kinds=_REAL + "c", has_empty_value=True),
        "norm": ReducerRule(widens=True, has_empty_value=True),
        "histogram": ReducerRule(result_dtype="int64", has_bins=True, has_empty_value=True),
    }
)

# Those of whole arrays: all of the above, and those that mean nothing for a plain object.
ARRAY_REDUCERS: Mapping[str, ReducerRule] = MappingProxyType(
    {
        **REDUCERS,
        "cov": ReducerRule(widens=True, takes_ddof=True, takes_other=True),
        "corr": ReducerRule(widens=True, takes_other=True),
        "sum_of_weights": ReducerRule(
            result_dtype="float64",
            takes_weights=True,
            takes_negative_weights=True,
            needs_weights=True,
            has_empty_value=True,
        ),
        "quantile": ReducerRule(kinds="iuf", takes_quantiles=True, is_quantile=True),
        "median": ReducerRule(kinds="iuf", is_quantile=True),
    }
)

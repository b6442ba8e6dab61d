"""Weighted sums, means and variances as xarray writes them: ``einsum``, and what is made of it.

xarray divides the weighted sum by the sum of the weights of elements that are not missing. The two are never asked for:
their quotient is the weighted mean of the service. The variance is the same of the squared deviations from that mean.
"""

import string
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from active_storage.client.deferred import REWRITES, Deferred, Expression, Question, Reduced, make_expression
from active_storage.client.duck_array import FUNCTIONS, UFUNCS
from active_storage.client.numpy_reductions import defer, list_kept
from active_storage.client.places import make_key
from active_storage.client.reductions import Answer, Reduction, Weighting
from active_storage.client.remote import NotPushedDownError
from active_storage.client.results import Array
from active_storage.client.service_array import Deviation, ServiceArray

# The parts of a weighted result.
_SUM, _WEIGHTS, _VALID_WEIGHTS, _MEAN, _VAR = "sum", "weights", "valid weights", "mean", "var"


class _Squares(Expression):
    """The weighted sum of squared deviations: the variance, multiplied by the sum of weights.

    Args:
        variance: The variance.
        weights: The sum of weights.
    """

    def __init__(self, variance: Reduced, weights: Reduced) -> None:
        super().__init__(_multiply, (variance, weights), variance.shape, variance.dtype)
        self.variance = variance

    def transpose(self, *axes: Any) -> "_Squares":
        variance, weights = (each.transpose(*axes) for each in self.arguments)
        return _Squares(variance, weights)


def _multiply(variance: Array, weights: Array) -> Array:
    # There is no variance without weights, and the sum of no squares is 0.
    return np.where(weights == 0, variance.dtype.type(0), variance * weights).astype(variance.dtype)


def _einsum(subscripts: Any, *operands: Any, **kwargs: Any) -> Any:
    """The sum of products of an array and weights, as xarray writes weighted sums: ``...abc,...b->...ac``.

    Raises:
        NotPushedDownError: It is another sum, or the service does not do it.
    """
    if not isinstance(subscripts, str) or len(operands) != 2 or kwargs:
        raise NotPushedDownError("einsum")
    letters, output = _name_axes(subscripts, [each.ndim for each in operands])
    array, weights = operands
    if not isinstance(array, ServiceArray):
        array, weights, letters = weights, array, letters[::-1]
    kept = [letter for letter in letters[0] if letter in output]
    fits = isinstance(weights, np.ndarray) and set(letters[1]) <= set(letters[0]) and kept == list(output)
    if not fits or array.dtype.kind not in "iufb":
        raise NotPushedDownError("einsum")
    axes = tuple(number for number, letter in enumerate(letters[0]) if letter not in output)
    weighting = _spread(array, weights, [letters[0].index(letter) for letter in letters[1]])
    order, dtype = list_kept(array, axes), np.result_type(array.dtype, weights.dtype)
    if array.form == "notnull":
        reduction = array.make_reduction("sum_of_weights", axes, weights=weighting).check()
        return defer(array, Question(reduction, _sum_weights), order, dtype, _WEIGHTS)
    if array.form == "isnull":
        raise NotPushedDownError("weights")
    skipna = array.form == "filled"
    if array.deviation is None:
        reduction = array.make_reduction("sum", axes, skipna=skipna, weights=weighting).check()
        return defer(array, _ask(reduction), order, dtype, _SUM)
    if (weights < 0).any():
        raise NotPushedDownError("a variance with negative weights")
    reduction = array.make_reduction("var", axes, skipna=skipna, weights=weighting).check()
    mean = array.deviation.mean.question.reduction
    if not array.deviation.is_squared or not mean.is_like(reduction) or not array.remote.is_deferred:
        raise NotPushedDownError("deviations")
    variance = defer(array, _ask(reduction), order, dtype, _VAR)
    of_weights = replace(reduction, reducer="sum_of_weights", skipna=True)
    return _Squares(variance, defer(array, Question(of_weights, _sum_weights), order, dtype, _WEIGHTS))


def _name_axes(subscripts: str, ndims: Sequence[int]) -> tuple[list[str], str]:
    """A letter for each axis of each operand, and those of the result. Capital ones are in the place of ``...``."""
    inputs, _, output = subscripts.partition("->")
    named = [each.replace("...", "") for each in inputs.split(",")]
    leading = [ndim - len(each) for ndim, each in zip(ndims, named, strict=True)]
    capitals = string.ascii_uppercase[: max(leading)]
    letters = [capitals[max(leading) - count :] + each for count, each in zip(leading, named, strict=True)]
    return letters, output.replace("...", capitals)


def _spread(array: ServiceArray, weights: Array, axes: list[int]) -> Weighting:
    """Weights of whole dimensions, which the service takes.

    Args:
        array: The array.
        weights: The weights.
        axes: The axes of the array that the axes of the weights are.

    Raises:
        NotPushedDownError: The service does not take such weights.
    """
    dimensions = [array.order[axis] for axis in axes]
    if not (np.isfinite(weights).all() and all(len(each) == 1 for each in dimensions)):
        raise NotPushedDownError("weights")
    ordered = sorted(range(len(axes)), key=dimensions.__getitem__)
    stored = tuple(dimensions[number][0] for number in ordered)
    weights = np.transpose(weights, ordered)
    spread = np.zeros([array.remote.shape[dimension] for dimension in stored])
    at = np.ix_(*(np.asarray(array.places[dimension]) for dimension in stored))
    spread[at] = weights
    if not np.array_equal(spread[at], weights):
        raise NotPushedDownError("different weights of one element")
    return Weighting(stored, spread)


def _ask(reduction: Reduction) -> Question:
    return Question(reduction, partial(_finish, reduction))


def _finish(reduction: Reduction, answer: Answer) -> Any:
    if reduction.skipna or reduction.dtype.kind != "f":
        return answer.values
    return np.where(answer.counts == reduction.expected, answer.values, np.nan)


def _sum_weights(answer: Answer) -> Any:
    return np.nan_to_num(answer.values)


def _subtract(array: Any, mean: Any) -> ServiceArray:
    """The deviations of the elements from their weighted mean.

    Raises:
        NotPushedDownError: It is something else.
    """
    if isinstance(array, ServiceArray) and isinstance(mean, Reduced) and mean.part == _MEAN and not mean.is_known:
        reduction = mean.question.reduction
        is_own = reduction.remote is array.remote and make_key(reduction.places) == make_key(array.places)
        if is_own and array.form == "values" and array.deviation is None:
            # Along the dimensions that are reduced, the mean is as long as 1.
            aligned = [() if reduction.reduced.issuperset(axis) else axis for axis in array.order]
            if [*[()] * (array.ndim - mean.ndim), *mean.order] == aligned:
                return array.replace(deviation=Deviation(mean))
    raise NotPushedDownError


def _power(array: Any, exponent: Any) -> ServiceArray:
    is_square = isinstance(exponent, int | float | np.number) and exponent == 2
    if isinstance(array, ServiceArray) and is_square and array.form == "values":
        deviation = array.deviation
        if deviation is not None and not deviation.is_squared:
            return array.replace(deviation=Deviation(deviation.mean, is_squared=True))
    raise NotPushedDownError


def _drop_zero_weights(condition: Any, x: Any, y: Any) -> Deferred | None:
    """``where(weights != 0, weights, nan)``: the sum of weights as the service gives it."""
    if not (isinstance(condition, Expression) and condition.function is np.not_equal):
        return None
    weights, zero = condition.arguments
    is_same = isinstance(x, Reduced) and isinstance(weights, Reduced) and x.question is weights.question
    if not is_same or x.part != _WEIGHTS or x.order != weights.order or np.ndim(zero) or zero != 0:
        return None
    if not (isinstance(y, float | np.ndarray | np.generic) and np.isnan(y).all()):
        return None
    dtype = make_expression(np.where, condition, x, y).dtype
    return Reduced(_ask(x.question.reduction), x.order, dtype, _VALID_WEIGHTS)


def _divide(total: Any, weights: Any) -> Deferred | None:
    """The weighted mean, or the weighted variance: a sum divided by the sum of weights."""
    found = total.variance if isinstance(total, _Squares) else total
    if not (isinstance(found, Reduced) and isinstance(weights, Reduced)):
        return None
    if found.part not in {_SUM, _VAR} or weights.part != _VALID_WEIGHTS or found.order != weights.order:
        return None
    reduction = found.question.reduction
    if not reduction.is_like(weights.question.reduction):
        return None
    part = _MEAN if found.part == _SUM else _VAR
    dtype = make_expression(np.true_divide, total, weights).dtype
    return Reduced(_ask(replace(reduction, reducer=part)), found.order, dtype, part)


FUNCTIONS[np.einsum] = _einsum
UFUNCS.update({np.subtract: _subtract, np.power: _power, np.square: lambda array: _power(array, 2)})
REWRITES.update({np.where: _drop_zero_weights, np.true_divide: _divide})

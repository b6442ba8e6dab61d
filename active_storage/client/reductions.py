"""Reductions of an array by the service: what one request asks for, and several that one request answers.

A list of indices of a reduced dimension is one group, whose numbers are sent with the request. Reductions that differ
in the indices of one dimension, such as the groups of ``groupby`` and ``resample``, are several groups.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy import ma

from active_storage.client.duck_array import Dtype
from active_storage.client.places import Places, as_array, count_places, cover, make_key, make_slice
from active_storage.client.remote import NotPushedDownError, Remote
from active_storage.client.results import Array

# The reducers by which elements with weights are reduced like elements that are listed as often.
_WEIGHTED = {"count": "sum_of_weights", "mean": "mean", "std": "std", "sum": "sum", "var": "var"}

# Reducers to which it does not matter how often an element is listed.
_IDEMPOTENT = frozenset({"all", "any", "argmax", "argmin", "max", "min"})

# Reducers whose result is a place.
PLACED = frozenset({"argmax", "argmin"})

# A request with more numbers than these takes longer than what it saves.
_MOST_WEIGHTS = 100_000
_MOST_GROUP_VALUES = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Weighting:
    """Weights of the elements.

    Attributes:
        dimensions: The stored dimensions that have weights.
        values: The weights of these dimensions as a whole.
    """

    dimensions: tuple[int, ...]
    values: Array

    def is_like(self, other: "Weighting | None") -> bool:
        """Whether the other ones are the same weights."""
        return other is not None and self.dimensions == other.dimensions and np.array_equal(self.values, other.values)


@dataclass(frozen=True, slots=True, eq=False)
class Reduction:
    """What is asked of a service.

    Attributes:
        remote: The array.
        dtype: The data type of its elements.
        reducer: The reducer.
        places: What is selected of each stored dimension.
        reduced: The stored dimensions that are reduced, without those of one index.
        skipna: Whether missing elements are skipped; otherwise cells with missing ones are found by their counts.
        arguments: Further arguments of the request.
        weights: The weights of the elements.
    """

    remote: Remote
    dtype: Dtype
    reducer: str
    places: tuple[Places, ...]
    reduced: frozenset[int]
    skipna: bool = True
    arguments: Mapping[str, Any] = field(default_factory=dict)
    weights: Weighting | None = None

    @property
    def kept(self) -> list[int]:
        """The stored dimensions of the result."""
        return [d for d, places in enumerate(self.places) if d not in self.reduced and not isinstance(places, int)]

    @property
    def lists(self) -> list[int]:
        """The reduced dimensions of which a list of indices is selected."""
        return [dimension for dimension in sorted(self.reduced) if isinstance(self.places[dimension], np.ndarray)]

    @property
    def expected(self) -> int:
        """The number of elements of each cell, if none is missing; one that is listed twice counts once."""
        return math.prod(len(np.unique(as_array(self.places[dimension]))) for dimension in self.reduced)

    @property
    def needs_counts(self) -> bool:
        """Whether the values are not enough, so that the numbers of elements are asked for too."""
        is_float = self.dtype.kind == "f"
        return (
            # A single count is small, and says whether the value means anything.
            not self.kept
            or self.reducer in PLACED
            or self.reducer == "count"
            or (is_float and (self.reducer == "any" or not self.skipna))
            or bool(self.multiplied)
        )

    @property
    def grouped(self) -> int | None:
        """The reduced dimension whose list of indices is sent as a group."""
        return next((each for each in self.lists if self.has_groups(each)), None)

    @property
    def multiplied(self) -> list[int]:
        """The reduced dimensions of lists whose indices are sent with weights: how often each one is listed."""
        return [dimension for dimension in self.lists if dimension != self.grouped]

    def has_groups(self, dimension: int) -> bool:
        """Whether the selected indices of a reduced dimension can be a group."""
        places = as_array(self.places[dimension])
        if self.remote.shape[dimension] > _MOST_GROUP_VALUES:
            return False
        if self.reducer in PLACED:
            return bool((np.diff(places) >= 0).all())
        return self.reducer in _IDEMPOTENT or len(np.unique(places)) == len(places)

    def is_like(self, other: "Reduction") -> bool:
        """Whether another one reduces the same elements with the same weights."""
        return _find_elements(self) == _find_elements(other) and _have_same_weights([self, other])

    def make_arguments(self, selected: Iterable[range]) -> dict[str, Any]:
        """The axis and the selection of a request for these places of each stored dimension."""
        axis = [dimension for dimension in range(len(self.places)) if dimension not in self.kept]
        return {"axis": axis, "selection": [make_slice(each) for each in selected]}

    def check(self) -> "Reduction":
        """The reduction, if one request can ask for it.

        Raises:
            NotPushedDownError: The service does not do this.
        """
        if not self.reduced or not self.expected or not all(count_places(self.places[each]) for each in self.kept):
            raise NotPushedDownError(f"{self.reducer} of nothing")
        multiplied = self.multiplied
        if not multiplied:
            return self
        # The counts are those of all elements around the lists.
        is_exact = self.skipna if self.dtype.kind == "f" else self.reducer != "sum"
        size = math.prod(self.remote.shape[dimension] for dimension in multiplied)
        has_rule = self.reducer in _WEIGHTED and not self.arguments.get("ddof") and self.weights is None
        if not (has_rule and is_exact and size <= _MOST_WEIGHTS):
            raise NotPushedDownError(f"{self.reducer} over a list of indices")
        return self


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What the service answers.

    Attributes:
        values: The values, along the dimensions that are kept, in the order of the store; quantiles or bins are a first
            dimension. NaN for a cell that means nothing.
        counts: The numbers of elements; None if nobody needs them.
        labels: What groups are called, by the name of their dimension.
    """

    values: Array
    counts: Any
    labels: Mapping[str, Sequence[Any]] = field(default_factory=dict)


def ask_together(reductions: Sequence[Reduction]) -> list[Answer | NotPushedDownError]:
    """The answers to several reductions, by as few requests as possible; why elements have to be loaded for others.

    Raises:
        ActiveStorageError: There is no answer.
    """
    answers: dict[int, Answer | NotPushedDownError] = {}
    asked: dict[Any, list[Reduction]] = {}
    # For each reduction, the one whose request answers it; and those of which somebody needs the counts.
    answering: dict[int, Reduction] = {}
    counted: set[int] = set()
    # Counts come with the answer to another reduction of the same elements, if there is one.
    for each in sorted(reductions, key=lambda one: one.reducer == "count"):
        same = asked.setdefault(_find_elements(each), [])
        chosen = answering[id(each)] = next((other for other in same if _answers_too(other, each)), each)
        if chosen is each:
            same.append(each)
        if each.needs_counts:
            counted.add(id(chosen))
    for bundle, dimension in _make_bundles([each for same in asked.values() for each in same]):
        counts = not counted.isdisjoint(map(id, bundle))
        try:
            answers.update(zip(map(id, bundle), _ask_bundle(bundle, dimension, counts), strict=True))
        except NotPushedDownError as error:
            answers.update(dict.fromkeys(map(id, bundle), error))
    found = []
    for each in reductions:
        answer = answers[id(answering[id(each)])]
        has_counts = each.reducer == "count" and isinstance(answer, Answer)
        found.append(Answer(answer.counts, answer.counts) if has_counts else answer)  # type: ignore[union-attr]  # just checked
    return found


def send(
    reduction: Reduction,
    selected: Sequence[range],
    grouped: int | None = None,
    reducer: str | None = None,
    *,
    counts: bool = True,
    **arguments: Any,
) -> Answer:
    """The answer to one request.

    Args:
        reduction: What is asked for.
        selected: The places of each stored dimension that are sent.
        grouped: The reduced dimension in whose place the answer has groups.
        reducer: The reducer, if it is another one than that of the reduction.
        counts: Whether the numbers of elements are needed.
        **arguments: Further arguments of the request.

    Raises:
        ActiveStorageError: There is no answer.
    """
    given = {**reduction.make_arguments(selected), **reduction.arguments, **arguments}
    found = reduction.remote.ask(reducer or reduction.reducer, counts=counts, **given)
    values = fill(found.values)
    if found.dims[-1:] == ("bin",):
        values = np.moveaxis(values, -1, 0)
    dimensions = sorted([*reduction.kept, *([] if grouped is None else [grouped])])
    places = [None if dimension == grouped else reduction.places[dimension] for dimension in dimensions]
    return Answer(
        arrange(values, places), None if found.counts is None else arrange(found.counts, places), found.labels
    )


def fill(values: Any) -> Any:
    """The values of a result, in which cells without elements are NaN."""
    if not ma.isMaskedArray(values):
        return values
    return np.asarray(values.filled(np.nan) if values.dtype.kind == "f" else values.data)


def arrange(found: Any, places: Sequence[Places | None]) -> Any:
    """What the service gives for the slices around places, at these places, along its last dimensions.

    Args:
        found: The array of the service.
        places: The places along each dimension; None for one that stays as it is.
    """
    for axis, each in enumerate(places, start=np.ndim(found) - len(places)):
        if isinstance(each, np.ndarray):
            around = cover(each)
            found = np.take(found, (each - around.start) // around.step, axis=axis)
        elif isinstance(each, range) and each.step < 0:
            found = np.flip(found, axis)
    return found


def _answers_too(other: Reduction, reduction: Reduction) -> bool:
    """Whether the answer to another reduction of the same elements, or its counts, are the answer to this one."""
    if reduction.reducer == "count":
        # With weights of lists, the counts are those of all elements around the lists.
        return other.reducer == "count" or not (other.multiplied or reduction.multiplied)
    return _find_family(other) == _find_family(reduction) and _have_same_weights([other, reduction])


def _have_same_weights(reductions: Sequence[Reduction]) -> bool:
    first, *others = (each.weights for each in reductions)
    return all(first is each or (first is not None and first.is_like(each)) for each in others)


def _make_bundles(reductions: Iterable[Reduction]) -> list[tuple[list[Reduction], int | None]]:
    """The reductions that one request answers, and the dimension along which they are groups; None for no groups."""
    families: dict[Any, list[Reduction]] = {}
    for each in reductions:
        families.setdefault(_find_family(each), []).append(each)
    bundles: list[tuple[list[Reduction], int | None]] = []
    for family in families.values():
        dimension = _find_groups(family)
        bundles += [([each], each.grouped) for each in family] if dimension is None else [(family, dimension)]
    return bundles


def _find_family(reduction: Reduction) -> Any:
    """What reductions share that may differ in their places only."""
    arguments = repr(sorted(reduction.arguments.items()))
    weighted = None if reduction.weights is None else reduction.weights.dimensions
    return id(reduction.remote), reduction.reducer, arguments, reduction.reduced, weighted


def _find_groups(reductions: Sequence[Reduction]) -> int | None:
    """The dimension along which reductions are groups: each has places of its own, and all else is the same."""
    keys = [make_key(each.places) for each in reductions]
    differing = [number for number, several in enumerate(zip(*keys, strict=True)) if len(set(several)) > 1]
    if len(differing) != 1 or differing[0] not in reductions[0].reduced:
        return None
    (dimension,) = differing
    union = np.concatenate([as_array(each.places[dimension]) for each in reductions])
    are_groups = all(each.has_groups(dimension) for each in reductions) and len(np.unique(union)) == len(union)
    weights = reductions[0].weights
    # Each group has weights of its own, or all have the same.
    fits = (weights is not None and dimension in weights.dimensions) or _have_same_weights(reductions)
    return dimension if are_groups and fits else None


def _ask_bundle(bundle: Sequence[Reduction], dimension: int | None, counts: bool) -> list[Answer]:
    first = bundle[0]
    selected = [
        places if isinstance(places, range) and number in first.reduced and first.reducer in PLACED else cover(places)
        for number, places in enumerate(first.places)
    ]
    arguments: dict[str, Any] = {}
    reducer = first.reducer
    if dimension is not None:
        groups = [as_array(each.places[dimension]) for each in bundle]
        selected[dimension] = cover(np.unique(np.concatenate(groups)))
        arguments["group"] = ([dimension], _number(groups, first.remote.shape[dimension]))
    if weights := _join_weights(bundle):
        arguments["weights"] = (list(weights.dimensions), weights.values)
    if multiplied := [number for number in first.multiplied if number != dimension]:
        arguments["weights"] = (multiplied, _count_listed(first, multiplied))
        reducer = _WEIGHTED[reducer]
    answer = send(first, selected, dimension, reducer, counts=counts, **arguments)
    if first.reducer == "count" and multiplied:
        listed = np.nan_to_num(answer.values).astype(np.int64)
        answer = Answer(listed, listed)
    elif multiplied and not np.isfinite(answer.values[answer.counts > 0]).all():
        # An infinite element has an effect even if its weight is 0.
        raise NotPushedDownError(f"{first.reducer} over a list of indices, with a result that is not finite,")
    answers = [answer] if dimension is None else _split_groups(answer, bundle, dimension)
    if first.reducer in PLACED:
        return [_place(each, one, selected) for each, one in zip(answers, bundle, strict=True)]
    return answers


def _number(groups: Sequence[Array], size: int) -> Array:
    """The number of the group of each index of a dimension; NaN for one in no group."""
    numbers = np.full(size, np.nan)
    for number, places in enumerate(groups):
        numbers[places] = number
    return numbers


def _join_weights(bundle: Sequence[Reduction]) -> Weighting | None:
    """The weights of a bundle: those of groups that have their own are 0 elsewhere."""
    first = bundle[0].weights
    if first is None or _have_same_weights(bundle):
        return first
    return Weighting(first.dimensions, np.sum([each.weights.values for each in bundle if each.weights], axis=0))


def _count_listed(reduction: Reduction, dimensions: Sequence[int]) -> Array:
    """How often each index of some dimensions is listed."""
    counts = np.ones(())
    for dimension in dimensions:
        listed = as_array(reduction.places[dimension])
        counts = np.multiply.outer(counts, np.bincount(listed, minlength=reduction.remote.shape[dimension]))
    return counts


def _split_groups(answer: Answer, bundle: Sequence[Reduction], dimension: int) -> list[Answer]:
    """The answer of each group."""
    kept = bundle[0].kept
    axis = sum(each < dimension for each in kept)
    leading = np.ndim(answer.values) - len(kept) - 1

    def take(number: int) -> Answer:
        counts = None if answer.counts is None else np.take(answer.counts, number, axis=axis)
        return Answer(np.take(answer.values, number, axis=leading + axis), counts)

    return list(map(take, range(len(bundle))))


def _place(answer: Answer, reduction: Reduction, selected: Sequence[range]) -> Answer:
    """The answer with places among the elements of the reduction, in place of those among what was sent."""
    dimensions = sorted(reduction.reduced)
    positions = np.asarray(answer.values)
    found = np.unravel_index(np.maximum(positions, 0), [len(selected[dimension]) for dimension in dimensions])
    index = []
    for dimension, each in zip(dimensions, found, strict=True):
        places, sent = as_array(reduction.places[dimension]), selected[dimension]
        is_reversed = len(places) > 1 and places[0] > places[-1]
        index.append(each if is_reversed else np.searchsorted(places, sent.start + sent.step * each))
    sizes = [count_places(reduction.places[dimension]) for dimension in dimensions]
    values = np.ravel_multi_index(index, sizes, mode="clip")
    return Answer(np.where(positions < 0, positions, values), answer.counts)


def _find_elements(reduction: Reduction) -> Any:
    return id(reduction.remote), reduction.reduced, make_key(reduction.places)

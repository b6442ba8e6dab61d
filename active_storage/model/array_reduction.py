"""The reduction of a whole array: what to compute, from which elements of which array, before the array is known.

Building an ``ArrayReduction`` validates what can be validated without the array's metadata. The rest, such as the names
of dimensions, is checked when the metadata was read.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, get_args

from active_storage.errors import InvalidArgument, UnknownReducer, shown
from active_storage.model.coordinates import AnyGroup, NumberGroup, NumberWeights, Weights, Where, ensure_ascending
from active_storage.model.edges import ensure_edges
from active_storage.model.expression import Node
from active_storage.model.missing import MISSING_RULES, Number
from active_storage.model.quantiles import DEFAULT_METHOD, MAX_QUANTILES, QUANTILE_METHODS
from active_storage.model.ranges import Slice
from active_storage.model.reducers import ARRAY_REDUCERS

ContainerType = Literal["zarr", "netcdf", "kerchunk", "table"]

Decode = Literal["cf", "xarray", "none"]

# The names of containers, and their aliases.
CONTAINER_TYPES: Mapping[str, ContainerType] = MappingProxyType(
    {"zarr": "zarr", "netcdf": "netcdf", "hdf5": "netcdf", "kerchunk": "kerchunk", "table": "table"}
)

# The names of thresholds: values greater than a number, or equal, and less than it, or equal.
THRESHOLDS = ("gt", "ge", "lt", "le")

_DECODES = get_args(Decode)


@dataclass(frozen=True, slots=True)
class ArrayReduction:
    """A reduction of an array.

    Attributes:
        reducer: A name in ``ARRAY_REDUCERS``.
        container: The type of the container, a value of ``CONTAINER_TYPES``.
        array: The path of the array in its container, without a leading slash; "" for the root.
        axis: The dimensions that are reduced, by number or name; None for all, () for none.
        selection: The slices of dimensions, by number or name; dimensions that are absent are whole.
        is_complete: Whether ``selection`` has a slice for each dimension, by number: their number must be the array's.
        decode: How stored numbers become values: by the CF conventions, as xarray does, or not at all.
        missing: Additional rules for missing data, by their names in ``MISSING_RULES``.
        ddof: For ``var`` and ``std``: what is subtracted from the number of elements in the divisor.
        edges: For ``histogram``: the beginning of each bin, and the end of the last; None for bins of ordered bits.
        thresholds: What values are compared with, by names in ``THRESHOLDS``; the others are skipped like missing data.
        q: For ``quantile``: the quantiles, each from 0 to 1.
        method: For ``quantile``: a name in ``QUANTILE_METHODS``.
        skipna: Whether NaN is missing data; None for the default of ``decode``: only xarray's.
        absent_is_forbidden: Whether 403 AccessDenied for a chunk means that the chunk is absent.
        concat: The name of the dimension along which the array goes on from container to container; None for an array
            of one container.
        where: What is selected by the values of coordinates, by the name of the coordinate.
        group: How the elements along a reduced dimension are grouped; None if they are not.
        bins: The edges of the bins of the group's coordinate, ascending: a bin has its upper edge and not its lower
            one. None for groups of another kind.
        weights: The weights of the elements; None if all weigh the same.
        other: The path of a second array, for reducers of two; None for others.
        expression: What is reduced in place of the array: arithmetic with it and with arrays beside it. None for the
            array itself.

    Raises:
        UnknownReducer: There is no reducer of that name.
        InvalidArgument: A field has a wrong value; the error's ``field`` names it.
    """

    reducer: str
    container: ContainerType
    array: str = ""
    axis: tuple[int | str, ...] | None = None
    selection: Mapping[int | str, Slice] = field(default_factory=dict)
    is_complete: bool = False
    decode: Decode = "cf"
    missing: Mapping[str, tuple[Number, ...]] = field(default_factory=dict)
    ddof: int = 0
    edges: tuple[Number, ...] | None = None
    thresholds: Mapping[str, Number] = field(default_factory=dict)
    q: tuple[float, ...] = ()
    method: str = DEFAULT_METHOD
    skipna: bool | None = None
    absent_is_forbidden: bool = False
    concat: str | None = None
    where: Mapping[str, Where] = field(default_factory=dict)
    group: AnyGroup | None = None
    bins: tuple[float, ...] | None = None
    weights: Weights | None = None
    other: str | None = None
    expression: Node | None = None

    def __post_init__(self) -> None:
        if self.reducer not in ARRAY_REDUCERS:
            raise UnknownReducer(f"there is no reducer {shown(self.reducer)}; there are {', '.join(ARRAY_REDUCERS)}")
        if self.decode not in _DECODES:
            raise InvalidArgument("decode", f"is {shown(self.decode)}, not one of {', '.join(_DECODES)}")
        if self.axis is not None and len(set(self.axis)) != len(self.axis):
            raise InvalidArgument("axis", "names a dimension twice")
        for name in self.missing:
            if name not in MISSING_RULES:
                raise InvalidArgument("missing", f"has no rule {shown(name)}; the rules are {', '.join(MISSING_RULES)}")
        if self.ddof and not ARRAY_REDUCERS[self.reducer].takes_ddof:
            raise InvalidArgument("ddof", f"is not a parameter of {self.reducer}")
        self._ensure_group()
        self._ensure_weights()
        if self.edges is not None:
            object.__setattr__(self, "edges", ensure_edges(self.edges, self.reducer))
        _ensure_thresholds(self.thresholds)
        self._ensure_other()
        self._ensure_quantiles()

    def _ensure_group(self) -> None:
        if self.bins is not None:
            ensure_ascending("bins", self.bins)
            if self.group is None or self.group.by is not None:
                raise InvalidArgument("bins", "are of a coordinate that group names, and of nothing else")
        if self.group is not None and ARRAY_REDUCERS[self.reducer].keeps_elements:
            raise InvalidArgument("group", f"means nothing for {self.reducer}, which keeps every element")

    def _ensure_weights(self) -> None:
        rule = ARRAY_REDUCERS[self.reducer]
        if self.weights is not None and not rule.takes_weights:
            takers = ", ".join(name for name, each in ARRAY_REDUCERS.items() if each.takes_weights)
            raise InvalidArgument("weights", f"is a parameter of {takers}, not of {self.reducer}")
        if self.weights is None and rule.needs_weights:
            raise InvalidArgument("weights", f"is required for {self.reducer}")
        if self.weights is not None and self.ddof:
            raise InvalidArgument("ddof", "means nothing with weights")

    def _ensure_other(self) -> None:
        takes_other = ARRAY_REDUCERS[self.reducer].takes_other
        if (self.other is not None) != takes_other:
            problem = "is required for" if takes_other else "is not a parameter of"
            raise InvalidArgument("other", f"{problem} {self.reducer}")
        if self.other is not None and self.expression is not None:
            raise InvalidArgument("expr", f"is not supported for {self.reducer}, which is of two arrays")

    def _ensure_quantiles(self) -> None:
        if not ARRAY_REDUCERS[self.reducer].takes_quantiles:
            for name, is_given in (("q", bool(self.q)), ("method", self.method != DEFAULT_METHOD)):
                if is_given:
                    raise InvalidArgument(name, f"is not a parameter of {self.reducer}")
            return
        if not self.q:
            raise InvalidArgument("q", f"is required for {self.reducer}: one number from 0 to 1, or several")
        if len(self.q) > MAX_QUANTILES:
            raise InvalidArgument("q", f"has {len(self.q)} numbers; the maximum is {MAX_QUANTILES}")
        for index, number in enumerate(self.q):
            # NaN is not between them either.
            if not 0 <= number <= 1:
                raise InvalidArgument("q", f"is {number!r}, and should be from 0 to 1", index)
        if self.method not in QUANTILE_METHODS:
            raise InvalidArgument("method", f"is {shown(self.method)}, not one of {', '.join(QUANTILE_METHODS)}")

    @property
    def given(self) -> tuple[NumberGroup | NumberWeights, ...]:
        """The numbers for places of the array that the caller gives: of groups, and of weights."""
        return tuple(each for each in (self.group, self.weights) if isinstance(each, NumberGroup | NumberWeights))

    @property
    def quantiles(self) -> tuple[float, ...]:
        """The quantiles that the result is made of; none for other reducers."""
        return (0.5,) if self.reducer == "median" else self.q

    @property
    def skips_nan(self) -> bool:
        """Whether NaN is missing data."""
        return self.decode == "xarray" if self.skipna is None else self.skipna


def _ensure_thresholds(thresholds: Mapping[str, Number]) -> None:
    for name, threshold in thresholds.items():
        if name not in THRESHOLDS:
            raise InvalidArgument("thresholds", f"has no {shown(name)}; there are {', '.join(THRESHOLDS)}")
        if math.isnan(threshold):
            raise InvalidArgument(name, "cannot be NaN")

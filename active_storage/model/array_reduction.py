"""The reduction of a whole array: what to compute, from which elements of which array, before the array is known.

Building an ``ArrayReduction`` validates what can be validated without the array's metadata. The rest, such as the names
of dimensions, is checked when the metadata was read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, get_args

from active_storage.errors import InvalidArgument, UnknownReducer, shown
from active_storage.model.missing import MISSING_RULES, Number
from active_storage.model.ranges import Slice
from active_storage.model.reducers import REDUCERS

ContainerType = Literal["zarr", "netcdf", "kerchunk", "table"]

Decode = Literal["cf", "xarray", "none"]

# The names of containers, and their aliases.
CONTAINER_TYPES: Mapping[str, ContainerType] = MappingProxyType(
    {"zarr": "zarr", "netcdf": "netcdf", "hdf5": "netcdf", "kerchunk": "kerchunk", "table": "table"}
)

_DECODES = get_args(Decode)


@dataclass(frozen=True, slots=True)
class ArrayReduction:
    """A reduction of an array.

    Attributes:
        reducer: A name in ``REDUCERS``.
        container: The type of the container, a value of ``CONTAINER_TYPES``.
        array: The path of the array in its container, without a leading slash; "" for the root.
        axis: The dimensions that are reduced, by number or name; None for all, () for none.
        selection: The slices of dimensions, by number or name; dimensions that are absent are whole.
        is_complete: Whether ``selection`` has a slice for each dimension, by number: their number must be the array's.
        decode: How stored numbers become values: by the CF conventions, as xarray does, or not at all.
        missing: Additional rules for missing data, by their names in ``MISSING_RULES``.
        ddof: For ``var`` and ``std``: what is subtracted from the number of elements in the divisor.
        skipna: Whether NaN is missing data; None for the default of ``decode``: only xarray's.
        absent_is_forbidden: Whether 403 AccessDenied for a chunk means that the chunk is absent.
        concat: The name of the dimension along which the array goes on from container to container; None for an array
            of one container.

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
    skipna: bool | None = None
    absent_is_forbidden: bool = False
    concat: str | None = None

    def __post_init__(self) -> None:
        if self.reducer not in REDUCERS:
            raise UnknownReducer(f"there is no reducer {shown(self.reducer)}; there are {', '.join(REDUCERS)}")
        if self.decode not in _DECODES:
            raise InvalidArgument("decode", f"is {shown(self.decode)}, not one of {', '.join(_DECODES)}")
        if self.axis is not None and len(set(self.axis)) != len(self.axis):
            raise InvalidArgument("axis", "names a dimension twice")
        for name in self.missing:
            if name not in MISSING_RULES:
                raise InvalidArgument("missing", f"has no rule {shown(name)}; the rules are {', '.join(MISSING_RULES)}")
        if self.ddof and not REDUCERS[self.reducer].takes_ddof:
            raise InvalidArgument("ddof", f"is not a parameter of {self.reducer}")

    @property
    def skips_nan(self) -> bool:
        """Whether NaN is missing data."""
        return self.decode == "xarray" if self.skipna is None else self.skipna

"""What a reduction says about coordinates: which of their values are selected, how they are grouped, and weights.

Nothing here knows an array. Bounds are texts, since only the coordinate says whether they are numbers or dates.
"""

import itertools
import math
import re
from dataclasses import dataclass
from typing import ClassVar

from active_storage.errors import InvalidArgument, shown
from active_storage.model.missing import Number

# The parts of a date by which times can be grouped.
TIME_PARTS = ("year", "year-month", "month", "season", "day", "dayofyear", "hour")

_PERIOD_RE = re.compile(r"([1-9][0-9]{0,8})([hDMY])", re.ASCII)

# The same number as numpy's histograms of 16 bits have.
MOST_EDGES = (1 << 16) + 1


@dataclass(frozen=True, slots=True)
class Between:
    """The coordinate values between two bounds, which are selected too.

    Attributes:
        low: The lower bound, or the beginning of a period; None for no bound.
        high: The upper bound, or the end of a period; None for no bound.
        is_cyclic: Whether the coordinate is an angle of 360 degrees: -10 is 350, and the values from the lower bound to
            the upper one are selected eastwards, if need be past 360.
    """

    low: str | None
    high: str | None
    is_cyclic: bool = False

    def __post_init__(self) -> None:
        if self.low is None and self.high is None:
            raise InvalidArgument("where", "needs a lower bound, an upper bound, or both")
        if self.is_cyclic and (self.low is None or self.high is None):
            raise InvalidArgument("where", "needs two bounds for a cyclic coordinate")


@dataclass(frozen=True, slots=True)
class Nearest:
    """The coordinate value that is nearest to another; the larger of two that are as near.

    Attributes:
        value: The other value.
        is_cyclic: Whether the coordinate is an angle of 360 degrees: -10 is 350.
    """

    value: str
    is_cyclic: bool = False


Where = Between | Nearest


@dataclass(frozen=True, slots=True)
class Period:
    """The length of periods of time.

    Attributes:
        count: The number of units, at least 1.
        unit: Hours (h), days (D), months (M) or years (Y).
    """

    count: int
    unit: str

    @classmethod
    def parse(cls, text: str) -> "Period | None":
        """The length that a text such as ``30D`` says; None if it says none."""
        found = _PERIOD_RE.fullmatch(text)
        return found and cls(int(found[1]), found[2])


@dataclass(frozen=True, slots=True)
class Group:
    """How the elements along a dimension are grouped.

    Attributes:
        coordinate: The name of a coordinate, which has one dimension.
        by: A part of a date in ``TIME_PARTS``, or the length of periods, such as ``30D``; None for the values.

    Raises:
        InvalidArgument: ``by`` is neither.
    """

    coordinate: str
    by: str | None = None

    def __post_init__(self) -> None:
        if self.by is not None and self.by not in TIME_PARTS and self.period is None:
            raise InvalidArgument(
                "group",
                f"is by {shown(self.by)}, not by one of {', '.join(TIME_PARTS)}, or by a period such as 30D or 1Y",
            )

    @property
    def period(self) -> Period | None:
        """The length of the groups, if they are periods of the same length; else None."""
        return None if self.by is None else Period.parse(self.by)


@dataclass(frozen=True, slots=True)
class NumberGroup:
    """Groups of the caller's: a number for each index of a dimension. Those with the same number are a group.

    Attributes:
        dimension: The name or the number of the dimension.
        values: The numbers, in the order of the dimension; NaN for an index that belongs to no group.
    """

    dimension: int | str
    values: tuple[Number, ...]

    by: ClassVar[None] = None


AnyGroup = Group | NumberGroup


@dataclass(frozen=True, slots=True)
class CosineWeights:
    """The cosine of a coordinate in degrees.

    Attributes:
        coordinate: The name of the coordinate.
    """

    coordinate: str


@dataclass(frozen=True, slots=True)
class ArrayWeights:
    """The elements of another array of the same container.

    Attributes:
        array: Its path.
    """

    array: str


@dataclass(frozen=True, slots=True)
class NumberWeights:
    """Numbers of the caller's.

    Attributes:
        dimensions: The names or the numbers of their dimensions.
        shape: Their shape.
        values: The numbers in C order.

    Raises:
        InvalidArgument: Their number does not fit the shape.
    """

    dimensions: tuple[int | str, ...]
    shape: tuple[int, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.shape) != len(self.dimensions) or math.prod(self.shape) != len(self.values):
            raise InvalidArgument("weights", "has values that do not fit its dims: a list in a list for each dimension")


Weights = CosineWeights | ArrayWeights | NumberWeights


def ensure_ascending(field: str, edges: tuple[float, ...]) -> None:
    """Pass if these are the edges of bins.

    Raises:
        InvalidArgument: They do not ascend, are not finite, or are too few or too many. ``field`` names them.
    """
    if not 2 <= len(edges) <= MOST_EDGES:
        raise InvalidArgument(field, f"has {len(edges)} numbers, and should have from 2 to {MOST_EDGES}")
    if not all(map(math.isfinite, edges)) or any(low >= high for low, high in itertools.pairwise(edges)):
        raise InvalidArgument(field, "should be finite numbers, each larger than the one before it")

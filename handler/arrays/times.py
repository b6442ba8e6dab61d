"""Times of a coordinate, decoded exactly: comparison with instants, groups by parts of the date, and periods.

A time is the number of a day in its calendar and the nanoseconds since its midnight, so that no unit overflows.
Integers are exact. Floats are rounded as xarray decodes them, because its users compare groups and bounds with ours:

- As nanoseconds, towards zero, where xarray decodes to ``datetime64[ns]``: in the calendars standard and
  proleptic_gregorian, if the origin and all times are between 1677-09-21 and 2262-04-11.
- As cftime does elsewhere: to the nearest microsecond, and to the second from less than a microsecond away.

xarray does not know the short names of units, such as ``h``, and leaves them to cftime. Here they are other names only.

Source: ``xarray.coding.times`` of xarray 2026.9, and ``cftime.num2date`` of cftime 1.6.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Self

import numpy as np

from active_storage.model.coordinates import Period
from handler.arrays.iso_dates import show_days, show_months, show_time
from handler.containers.calendars import Dates, Integers, first_day, split_days, written_year
from handler.containers.time_units import DAY, HOUR, SECOND, TimeUnits

Booleans = np.ndarray[Any, np.dtype[np.bool_]]

# A million years: what is further away is not a date, but a value that should have been missing.
_MAX_DAYS = 366 * 10**6

_MICROSECOND = 1000

_SEASONS = ("DJF", "JJA", "MAM", "SON")

# For each month, the place of its season in the alphabet.
_SEASON_OF = np.array([0, 0, 2, 2, 2, 1, 1, 1, 3, 3, 3, 0])

# The number of each group, from dates. Groups by hour need no date.
_KEYS: Mapping[str, Callable[[Dates], Integers]] = MappingProxyType(
    {
        "year": lambda dates: dates.years,
        "year-month": lambda dates: dates.years * 12 + dates.months - 1,
        "month": lambda dates: dates.months,
        "season": lambda dates: _SEASON_OF[dates.months - 1],
        "day": lambda dates: dates.days,
        "dayofyear": lambda dates: dates.days_of_year,
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class Times:
    """Times in a calendar.

    Attributes:
        calendar: The calendar, as ``TimeUnits`` names it.
        days: The numbers of the days, int64 of shape (n,).
        nanoseconds: The nanoseconds since midnight, int64 of shape (n,).
    """

    calendar: str
    days: Integers
    nanoseconds: Integers

    @classmethod
    def of(cls, values: np.ndarray[Any, Any], units: TimeUnits) -> Self:
        """The times of all values of a coordinate.

        Args:
            values: Integers or floats of shape (n,), unpacked, without missing values. The rounding of floats depends
                on the first and the last time: give the whole coordinate, and ``take`` what is selected.
            units: Their units.

        Raises:
            ValueError: A value is not finite, or more than a million years away.
        """
        if units.nanoseconds > DAY:
            values, units = values * (units.nanoseconds // DAY), replace(units, nanoseconds=DAY)
        origin_day, origin_time = divmod(units.origin, DAY)
        split = _split_floats if values.dtype.kind == "f" else _split_integers
        _ensure_near(values, origin_day, DAY // units.nanoseconds)
        days, nanoseconds = split(values, units)
        carried, nanoseconds = np.divmod(nanoseconds + origin_time, DAY)
        return cls(units.calendar, days + origin_day + carried, nanoseconds)

    @classmethod
    def concatenate(cls, times: Sequence["Times"]) -> "Times":
        """The times of several arrays, one behind the other.

        Raises:
            ValueError: They are in different calendars.
        """
        calendars = {each.calendar for each in times}
        if len(calendars) > 1:
            raise ValueError(f"times in the calendars {', '.join(sorted(calendars))}")
        days, nanoseconds = ([getattr(each, name) for each in times] for name in ("days", "nanoseconds"))
        return cls(calendars.pop(), np.concatenate(days), np.concatenate(nanoseconds))

    def __len__(self) -> int:
        return len(self.days)

    def take(self, chosen: slice | Integers | Booleans) -> "Times":
        """The times at some indices, or where a mask is true."""
        return Times(self.calendar, self.days[chosen], self.nanoseconds[chosen])

    def isoformat(self) -> list[str]:
        """The text of each time in ISO 8601, without the time of day if that is midnight."""
        pairs = zip(show_days(self.calendar, self.days), self.nanoseconds.tolist(), strict=True)
        return [f"{date}T{show_time(time)}" if time else date for date, time in pairs]

    # Comparison with instants in nanoseconds, as ``read_period`` gives them

    def at_or_after(self, instant: int) -> Booleans:
        """Whether each time is at an instant or after it."""
        day, time = divmod(instant, DAY)
        answer: Booleans = (self.days > day) | ((self.days == day) & (self.nanoseconds >= time))
        return answer

    def before(self, instant: int) -> Booleans:
        """Whether each time is before an instant."""
        return ~self.at_or_after(instant)

    def nearest(self, instant: int) -> int:
        """The index of the time that is nearest to an instant: the later one of two, and the first of equal ones.

        Raises:
            ValueError: There are no times.
        """
        if not len(self):
            raise ValueError("no times")
        is_after = self.at_or_after(instant)
        # The first time at the instant or after it, and the last one before it.
        around = [
            self._find_extreme(np.flatnonzero(mask), sign)
            for mask, sign in ((is_after, 1), (~is_after, -1))
            if mask.any()
        ]
        return min(around, key=lambda index: abs(self._instant(index) - instant))

    def _find_extreme(self, indices: Integers, sign: int) -> int:
        """The first index of the earliest of some times, or of the latest one if the sign is -1."""
        days = sign * self.days[indices]
        indices = indices[days == days.min()]
        return int(indices[np.argmin(sign * self.nanoseconds[indices])])

    def _instant(self, index: int) -> int:
        return int(self.days[index]) * DAY + int(self.nanoseconds[index])

    # Groups

    def group(self, by: str) -> tuple[Integers, list[int] | list[str]]:
        """Groups of times by a part of the date: for each time the number of its group, and the labels of the groups.

        Args:
            by: One of ``TIME_PARTS``. ``day`` is the day of the month, and seasons are DJF, JJA, MAM and SON.

        Returns:
            The numbers, int64 of shape (n,), and the labels, ascending, of the groups that occur.
        """
        keys = self.nanoseconds // HOUR if by == "hour" else _KEYS[by](split_days(self.calendar, self.days))
        found, numbers = np.unique(keys, return_inverse=True)
        return numbers.astype(np.int64, copy=False), self._label(by, found)

    def _label(self, by: str, keys: Integers) -> list[int] | list[str]:
        if by == "season":
            return [_SEASONS[key] for key in keys.tolist()]
        if by == "year-month":
            return show_months(self.calendar, keys)
        labels: list[int] = (written_year(self.calendar, keys) if by == "year" else keys).tolist()
        return labels

    # Periods

    def count_periods(self, period: Period) -> int:
        """How many periods of this length there are from the first time to the last one, with empty ones."""
        if not len(self):
            return 0
        periods = self._count_ticks(period) // period.count
        return int(periods.max() - periods.min()) + 1

    def resample(self, period: Period) -> tuple[Integers, list[str]]:
        """For each time the number of its period, and the labels of all periods, empty ones too.

        Periods of hours or days are counted from midnight before the first time, of months from its month, and of years
        from its year, as xarray's ``resample`` does. The first period is the one of the first time. The memory for the
        labels is that of ``count_periods``: ask that first.

        Returns:
            The numbers, int64 of shape (n,), and the beginning of each period: a date, with the time of day for hours.
        """
        if not len(self):
            return np.zeros(0, np.int64), []
        periods = self._count_ticks(period) // period.count
        first, last = int(periods.min()), int(periods.max())
        starts = np.arange(first, last + 1) * period.count
        return periods - first, self._label_periods(period, starts)

    def _count_ticks(self, period: Period) -> Integers:
        """For each time, the whole units since the origin: the midnight, the month or the year of the first time."""
        if period.unit in ("h", "D"):
            units = self.days
        else:
            units = _KEYS["year" if period.unit == "Y" else "year-month"](split_days(self.calendar, self.days))
        ticks: Integers = units - units.min()
        return 24 * ticks + self.nanoseconds // HOUR if period.unit == "h" else ticks

    def _label_periods(self, period: Period, starts: Integers) -> list[str]:
        """The texts of the beginnings of periods, from their whole units since the origin."""
        first = self.days.min()
        if period.unit == "D":
            return show_days(self.calendar, first + starts)
        if period.unit == "h":
            days = show_days(self.calendar, first + starts // 24)
            hours = (starts % 24).tolist()
            return [f"{day}T{hour:02d}:00" for day, hour in zip(days, hours, strict=True)]
        date = split_days(self.calendar, first.reshape(1))
        months = 12 * (date.years + starts) if period.unit == "Y" else _KEYS["year-month"](date) + starts
        return [f"{month}-01" for month in show_months(self.calendar, months)]


# Values


def _ensure_near(values: np.ndarray[Any, Any], origin_day: int, units_per_day: int) -> None:
    """Pass if all values are finite and within a million years; then int64 holds their days."""
    for value in (values.min(), values.max()) if values.size else ():
        if not abs(value.item() / units_per_day + origin_day) < _MAX_DAYS:
            raise ValueError(f"the value {value.item()}, which is not a time within a million years")


def _split_integers(values: np.ndarray[Any, Any], units: TimeUnits) -> tuple[Integers, Integers]:
    """The days and the nanoseconds of integers of any size, since the origin."""
    days, rest = np.divmod(values if values.dtype == np.uint64 else values.astype(np.int64), DAY // units.nanoseconds)
    return days.astype(np.int64), rest.astype(np.int64) * units.nanoseconds


def _split_floats(values: np.ndarray[Any, Any], units: TimeUnits) -> tuple[Integers, Integers]:
    """The days and the nanoseconds of floats since the origin, rounded as xarray decodes them."""
    values = values.astype(np.float64)
    if _is_datetime64(values, units):
        days, nanoseconds = np.divmod((values * units.nanoseconds).astype(np.int64), DAY)
        return days, nanoseconds
    units_per_day = DAY // units.nanoseconds
    # ``rest``, ``whole`` and the fraction are exact.
    rest = np.fmod(values, units_per_day)
    days = np.rint((values - rest) / units_per_day).astype(np.int64)
    whole = np.trunc(rest)
    return days, whole.astype(np.int64) * units.nanoseconds + _round_fractions(rest - whole, units.nanoseconds)


def _is_datetime64(values: np.ndarray[Any, Any], units: TimeUnits) -> bool:
    """Whether xarray decodes the values to datetime64[ns]: the origin, and the first and the last time fit in it."""
    if units.calendar not in ("standard", "proleptic_gregorian") or not values.size:
        return False
    lengths = [0, *(int(end * units.nanoseconds) for end in (values.min().item(), values.max().item()))]
    origin = units.origin - first_day(units.calendar, 1970, 1) * DAY
    return all(abs(length) < 2**63 and abs(origin + length) < 2**63 for length in lengths)


def _round_fractions(fractions: np.ndarray[Any, Any], length: int) -> Integers:
    """Fractions of a unit of some nanoseconds, in nanoseconds as ``cftime.num2date`` rounds them.

    That is to microseconds. A time less than a microsecond from a whole second is that second, unless the unit is
    shorter than a second. cftime has no nanoseconds: fractions of them are dropped.
    """
    if length < _MICROSECOND:
        return np.zeros(fractions.shape, np.int64)
    microseconds = fractions * (length // _MICROSECOND)
    rounded = np.rint(microseconds)
    if length >= SECOND:
        beyond = rounded % (SECOND // _MICROSECOND)
        rounded = np.where(beyond == 1, np.floor(microseconds), rounded)
        rounded = np.where(beyond == SECOND // _MICROSECOND - 1, np.ceil(microseconds), rounded)
    nanoseconds: Integers = rounded.astype(np.int64) * _MICROSECOND
    return nanoseconds

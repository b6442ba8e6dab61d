"""The six calendars of the CF conventions: the number of the day of a date, and the date of the number of a day.

Days are numbered from 0001-01-01, which is day 1 in each calendar. Numbers of years are astronomical: year 0 precedes
year 1. The calendars ``standard`` and ``julian`` have no year 0: it is written as -1 there (``written_year``). In
``standard`` 1582-10-15 of the Gregorian calendar follows 1582-10-04 of the Julian calendar.

Sources: CF conventions 1.11, section 4.4.1, and cftime for years before 1.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

Integers = np.ndarray[Any, np.dtype[np.int64]]
AnyYears = TypeVar("AnyYears", int, Integers)

# The names of each calendar.
CALENDARS: Mapping[str, str] = MappingProxyType(
    {"gregorian": "standard", "365_day": "noleap", "366_day": "all_leap"}
    | {name: name for name in ("standard", "proleptic_gregorian", "julian", "noleap", "all_leap", "360_day")}
)

_WITHOUT_YEAR_ZERO = ("standard", "julian")

# The number of 1582-10-15 in the calendar standard: 1582-10-04 is day 577,737 of the Julian calendar. 0001-01-01 of the
# Gregorian calendar, extended backwards, is day 3 of the Julian calendar.
_SWITCH = 577_738
_SWITCH_DAYS = 2

# Days of years that have a fixed length.
_YEAR_DAYS: Mapping[str, int] = MappingProxyType({"noleap": 365, "all_leap": 366, "360_day": 360})

# The days of the months of a common year.
_MONTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def _is_leap_in_gregorian(year: Any) -> Any:
    return (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))


# Whether astronomical years are leap years: a bool for an int, an array of them for an array.
_LEAP_YEARS: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        "standard": lambda year: (year % 4 == 0) & ((year <= 1582) | _is_leap_in_gregorian(year)),
        "proleptic_gregorian": _is_leap_in_gregorian,
        "julian": lambda year: year % 4 == 0,
        "noleap": lambda _: False,
        "all_leap": lambda _: True,
        "360_day": lambda _: False,
    }
)


class _Months:
    """The months of common years and of leap years, as tables.

    Attributes:
        lengths: The days of each month: ``lengths[is leap, month - 1]``.
        starts: The days of the year before each month: ``starts[is leap, month - 1]``.
        numbers: The month of each day: ``numbers[is leap, day of the year - 1]``.
    """

    def __init__(self, common: tuple[int, ...], leap: tuple[int, ...]) -> None:
        self.lengths = np.array([common, leap])
        self.starts = np.cumsum(self.lengths, axis=1) - self.lengths
        self.numbers = np.zeros((2, 366), np.int64)
        for row, lengths in enumerate(self.lengths):
            self.numbers[row, : lengths.sum()] = np.repeat(np.arange(1, 13), lengths)


_REAL_MONTHS = _Months(_MONTHS, (31, 29, *_MONTHS[2:]))
_EQUAL_MONTHS = _Months((30,) * 12, (30,) * 12)


@dataclass(frozen=True, slots=True)
class Dates:
    """Dates, each member an array of int64 of the same shape.

    Attributes:
        years: The astronomical years.
        months: The months, from 1.
        days: The days of the month, from 1.
        days_of_year: The days of the year by month and day, from 1: 288 for 1582-10-15 in the calendar standard.
    """

    years: Integers
    months: Integers
    days: Integers
    days_of_year: Integers


def count_days(calendar: str, year: int, month: int, day: int) -> int | None:
    """The number of the day of a date, whose year is as written; None if the calendar does not have the date."""
    if year == 0 and calendar in _WITHOUT_YEAR_ZERO:
        return None
    year = astronomical_year(calendar, year)
    if (
        not 1 <= month <= 12
        or not 1 <= day <= _months_of(calendar).lengths[int(_LEAP_YEARS[calendar](year)), month - 1]
    ):
        return None
    if calendar == "standard" and (year, month) == (1582, 10) and day > 4:
        return _SWITCH + day - 15 if day >= 15 else None
    return first_day(calendar, year, month) + day - 1


def first_day(calendar: str, year: int, month: int) -> int:
    """The number of the first day of a month of an astronomical year."""
    before = year - 1
    days = before * _YEAR_DAYS.get(calendar, 365)
    is_switched = calendar == "standard" and (year, month) > (1582, 10)
    if calendar not in _YEAR_DAYS:
        days += before // 4
    if calendar == "proleptic_gregorian" or is_switched:
        days += before // 400 - before // 100
    if is_switched:
        days += _SWITCH_DAYS
    return days + int(_months_of(calendar).starts[int(_LEAP_YEARS[calendar](year)), month - 1]) + 1


def split_days(calendar: str, numbers: Integers) -> Dates:
    """The dates of the days with these numbers."""
    since = numbers - 1
    if calendar in _YEAR_DAYS:
        years, day = np.divmod(since, _YEAR_DAYS[calendar])
        years += 1
    elif calendar == "julian":
        years, day = _split_in_julian(since)
    elif calendar == "proleptic_gregorian":
        years, day = _split_in_gregorian(since)
    else:
        years, day = np.empty_like(since), np.empty_like(since)
        is_switched = numbers >= _SWITCH
        years[is_switched], day[is_switched] = _split_in_gregorian(since[is_switched] - _SWITCH_DAYS)
        years[~is_switched], day[~is_switched] = _split_in_julian(since[~is_switched])
    is_leap = np.asarray(_LEAP_YEARS[calendar](years), np.intp)
    tables = _months_of(calendar)
    months = tables.numbers[is_leap, day]
    return Dates(years, months, day - tables.starts[is_leap, months - 1] + 1, day + 1)


def astronomical_year(calendar: str, year: int) -> int:
    """The astronomical number of a year as it is written."""
    return year + (year < 0 and calendar in _WITHOUT_YEAR_ZERO)


def written_year(calendar: str, year: AnyYears) -> AnyYears:
    """Astronomical years as they are written: -1 is the year before 1 in calendars without a year 0."""
    return year - (year < 1) if calendar in _WITHOUT_YEAR_ZERO else year


def _months_of(calendar: str) -> _Months:
    return _EQUAL_MONTHS if calendar == "360_day" else _REAL_MONTHS


def _split_in_julian(since: Integers) -> tuple[Integers, Integers]:
    """The astronomical year of each day since 0001-01-01, and the days since the year began."""
    cycles, day = np.divmod(since, 1461)
    # The last day of four years is the 366th of its year.
    years = np.minimum(day // 365, 3)
    return 4 * cycles + years + 1, day - 365 * years


def _split_in_gregorian(since: Integers) -> tuple[Integers, Integers]:
    cycles, day = np.divmod(since, 146_097)
    # The last day of four centuries is the 366th of its year. Within a century the Julian calendar is the same.
    centuries = np.minimum(day // 36_524, 3)
    years, day = _split_in_julian(day - 36_524 * centuries)
    return 400 * cycles + 100 * centuries + years, day

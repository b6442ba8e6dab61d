"""Units of time in the CF conventions: ``<unit> since <date>`` in a calendar, as exact numbers.

Sources: CF conventions 1.11, section 4.4, and UDUNITS' form of dates; the words for units are those that cftime reads.
``months`` and ``years`` have no fixed length and are not units here.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from types import MappingProxyType
from typing import Self

from active_storage.errors import shown

_SECOND = 10**9
_MINUTE, _HOUR, _DAY = 60 * _SECOND, 3600 * _SECOND, 86_400 * _SECOND

# The length of a unit in nanoseconds.
_UNITS: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys(("nanoseconds", "nanosecond"), 1),
        **dict.fromkeys(("microseconds", "microsecond", "microsecs", "microsec"), 10**3),
        **dict.fromkeys(("milliseconds", "millisecond", "millisecs", "millisec", "msecs", "msec", "ms"), 10**6),
        **dict.fromkeys(("seconds", "second", "secs", "sec", "s"), _SECOND),
        **dict.fromkeys(("minutes", "minute", "mins", "min"), _MINUTE),
        **dict.fromkeys(("hours", "hour", "hrs", "hr", "h"), _HOUR),
        **dict.fromkeys(("days", "day", "d"), _DAY),
    }
)

_CALENDARS: Mapping[str, str] = MappingProxyType(
    {"gregorian": "standard", "365_day": "noleap", "366_day": "all_leap"}
    | {name: name for name in ("standard", "proleptic_gregorian", "julian", "noleap", "all_leap", "360_day")}
)

# Real units have some 30 characters. Longer texts are not units of time.
_MAX_LENGTH = 200

_SINCE_RE = re.compile(r"(\w+)\s+since\s+(.*)", re.ASCII | re.IGNORECASE | re.DOTALL)

_DATE_RE = re.compile(
    r"(?P<year>\d{1,6})-(?P<month>\d{1,2})-(?P<day>\d{1,2})"
    r"(?:[T ]\s*(?P<hour>\d{1,2})(?::(?P<minute>\d{1,2})(?::(?P<second>\d{1,2})(?:\.(?P<fraction>\d{0,9}))?)?)?)?"
    r"\s*(?:Z|UTC|GMT|(?P<sign>[+-])(?P<zone_hour>\d{1,2}):?(?P<zone_minute>\d{2})?)?",
    re.ASCII,
)

# The days of the months of a common year.
_MONTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class TimeUnits:
    """Units of time with an origin. Two of the same calendar can be compared.

    Attributes:
        calendar: The calendar; ``standard``, ``noleap`` and ``all_leap`` also stand for their other names.
        nanoseconds: The length of a unit in nanoseconds.
        origin: The date of the value 0, in nanoseconds since a day that is the same for all units of the calendar.
    """

    calendar: str
    nanoseconds: int
    origin: int

    @classmethod
    def parse(cls, units: str, calendar: str = "standard") -> Self | None:
        """The units that the attributes ``units`` and ``calendar`` say; None if they are not units of time.

        Raises:
            ValueError: They are units of time that are not supported, or the date does not exist.
        """
        since = _SINCE_RE.fullmatch(units.strip()) if len(units) <= _MAX_LENGTH else None
        if since is None:
            return None
        name = _CALENDARS.get(calendar.strip().lower())
        if name is None:
            raise ValueError(f"the calendar {shown(calendar)}")
        length = _UNITS.get(since[1].lower())
        date = _DATE_RE.fullmatch(since[2])
        if length is None or date is None:
            raise ValueError(f"the units {shown(units)}")
        fields = {key: int(value or 0) for key, value in date.groupdict().items() if key not in ("sign", "fraction")}
        if fields["hour"] > 23 or fields["minute"] > 59 or fields["second"] > 59:
            raise ValueError(f"the time in the units {shown(units)}, which does not exist")
        days = _count_days(name, fields["year"], fields["month"], fields["day"])
        if days is None:
            raise ValueError(f"the date in the units {shown(units)}, which the calendar {name} does not have")
        zone = fields["zone_hour"] * _HOUR + fields["zone_minute"] * _MINUTE
        fraction = int((date["fraction"] or "").ljust(9, "0"))
        time = fields["hour"] * _HOUR + fields["minute"] * _MINUTE + fields["second"] * _SECOND + fraction
        # A zone is ahead of UTC if its sign is "+".
        return cls(name, length, days * _DAY + time + (zone if date["sign"] == "-" else -zone))

    def instant(self, value: float | Fraction) -> Fraction:
        """The exact time of a finite value, in nanoseconds since the day that all units of the calendar share."""
        return Fraction(value) * self.nanoseconds + self.origin


def _count_days(calendar: str, year: int, month: int, day: int) -> int | None:
    """The days from a fixed one to a date; None if the calendar does not have the date."""
    # CF: year 0 does not exist in the calendars that were in use.
    has_year_zero = calendar not in ("standard", "julian")
    is_leap = _LEAP_YEARS[calendar](year)
    months = (30,) * 12 if calendar == "360_day" else (31, 28 + is_leap, *_MONTHS[2:])
    if (year == 0 and not has_year_zero) or not 1 <= month <= 12 or not 1 <= day <= months[month - 1]:
        return None
    is_switched = calendar == "standard" and (year, month, day) >= (1582, 10, 15)
    if calendar == "standard" and not is_switched and (year, month, day) >= (1582, 10, 5):
        return None
    before = year - 1
    days = before * sum(months) - before * is_leap if calendar != "all_leap" else before * 366
    if calendar in ("julian", "standard", "proleptic_gregorian"):
        days += before // 4
    if calendar == "proleptic_gregorian" or is_switched:
        days += before // 400 - before // 100
    if is_switched:
        # 1582-10-15 follows 1582-10-04, which is the day 577,736 of the Julian calendar.
        days += 2
    return days + [0, *accumulate(months)][month - 1] + day


def _is_leap_in_gregorian(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


_LEAP_YEARS: Mapping[str, Callable[[int], bool]] = MappingProxyType(
    {
        "standard": lambda year: _is_leap_in_gregorian(year) if year > 1582 else year % 4 == 0,
        "proleptic_gregorian": _is_leap_in_gregorian,
        "julian": lambda year: year % 4 == 0,
        "noleap": lambda _: False,
        "all_leap": lambda _: True,
        "360_day": lambda _: False,
    }
)

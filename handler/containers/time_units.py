"""Units of time in the CF conventions: ``<unit> since <date>`` in a calendar, as exact numbers.

Sources: CF conventions 1.11, section 4.4, and UDUNITS' form of dates; the words for units are those that cftime reads.
``months`` and ``years`` have no fixed length and are not units here, but for months of the calendar ``360_day``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Self

from active_storage.errors import UnsupportedArray, shown
from handler.containers.calendars import CALENDARS, count_days
from handler.containers.stored_array import StoredArray

# Nanoseconds.
SECOND = 10**9
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND

# The length of a unit in nanoseconds.
_UNITS: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys(("nanoseconds", "nanosecond"), 1),
        **dict.fromkeys(("microseconds", "microsecond", "microsecs", "microsec"), 10**3),
        **dict.fromkeys(("milliseconds", "millisecond", "millisecs", "millisec", "msecs", "msec", "ms"), 10**6),
        **dict.fromkeys(("seconds", "second", "secs", "sec", "s"), SECOND),
        **dict.fromkeys(("minutes", "minute", "mins", "min"), MINUTE),
        **dict.fromkeys(("hours", "hour", "hrs", "hr", "h"), HOUR),
        **dict.fromkeys(("days", "day", "d"), DAY),
    }
)

# In this calendar all months are alike, and cftime reads them as units too.
_MONTHS_CALENDAR, _MONTHS, _MONTH = "360_day", ("months", "month"), 30 * DAY

# CF: the calendar of units that name none.
_DEFAULT_CALENDAR = "standard"

# Real units have some 30 characters. Longer texts are not units of time.
_MAX_LENGTH = 200

_SINCE_RE = re.compile(r"(\w+)\s+since\s+(.*)", re.ASCII | re.IGNORECASE | re.DOTALL)

_DATE_RE = re.compile(
    r"(?P<year>\d{1,6})-(?P<month>\d{1,2})-(?P<day>\d{1,2})"
    r"(?:[T ]\s*(?P<hour>\d{1,2})(?::(?P<minute>\d{1,2})(?::(?P<second>\d{1,2})(?:\.(?P<fraction>\d{0,9}))?)?)?)?"
    r"\s*(?:Z|UTC|GMT|(?P<sign>[+-])(?P<zone_hour>\d{1,2}):?(?P<zone_minute>\d{2})?)?",
    re.ASCII,
)


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
    def parse(cls, units: str, calendar: str = _DEFAULT_CALENDAR) -> Self | None:
        """The units that the attributes ``units`` and ``calendar`` say; None if they are not units of time.

        Raises:
            ValueError: They are units of time that are not supported, or the date does not exist.
        """
        since = _SINCE_RE.fullmatch(units.strip()) if len(units) <= _MAX_LENGTH else None
        if since is None:
            return None
        name = CALENDARS.get(calendar.strip().lower())
        if name is None:
            raise ValueError(f"the calendar {shown(calendar)}")
        is_month = name == _MONTHS_CALENDAR and since[1].lower() in _MONTHS
        length = _MONTH if is_month else _UNITS.get(since[1].lower())
        date = _DATE_RE.fullmatch(since[2])
        if length is None or date is None:
            raise ValueError(f"the units {shown(units)}")
        fields = {key: int(value or 0) for key, value in date.groupdict().items() if key not in ("sign", "fraction")}
        if fields["hour"] > 23 or fields["minute"] > 59 or fields["second"] > 59:
            raise ValueError(f"the time in the units {shown(units)}, which does not exist")
        days = count_days(name, fields["year"], fields["month"], fields["day"])
        if days is None:
            raise ValueError(f"the date in the units {shown(units)}, which the calendar {name} does not have")
        zone = fields["zone_hour"] * HOUR + fields["zone_minute"] * MINUTE
        fraction = int((date["fraction"] or "").ljust(9, "0"))
        time = fields["hour"] * HOUR + fields["minute"] * MINUTE + fields["second"] * SECOND + fraction
        # A zone is ahead of UTC if its sign is "+".
        return cls(name, length, days * DAY + time + (zone if date["sign"] == "-" else -zone))

    def instant(self, value: float | Fraction) -> Fraction:
        """The exact time of a finite value, in nanoseconds since the day that all units of the calendar share."""
        return Fraction(value) * self.nanoseconds + self.origin


def read_time_units(coordinate: StoredArray) -> TimeUnits | None:
    """The units of time of a coordinate, by its attributes ``units`` and ``calendar``; None if it has no such units.

    Raises:
        UnsupportedArray: They are not supported, or the date does not exist.
    """
    units, calendar = (coordinate.text_attribute(name) for name in ("units", "calendar"))
    try:
        return TimeUnits.parse(units, calendar or _DEFAULT_CALENDAR)
    except ValueError as fault:
        raise UnsupportedArray(coordinate.name, str(fault)) from None

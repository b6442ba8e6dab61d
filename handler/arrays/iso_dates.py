"""Dates in ISO 8601, in each calendar of CF: the periods that a caller names, and texts for labels and messages.

An instant is an exact number of nanoseconds since the day that all units of a calendar share (``TimeUnits``). Years
have four to six digits and may have a sign, as in cftime's texts. Times are in UTC.
"""

import re

from active_storage.errors import shown
from handler.containers.calendars import (
    Integers,
    astronomical_year,
    count_days,
    first_day,
    split_days,
    written_year,
)
from handler.containers.time_units import DAY, HOUR, MINUTE, SECOND

_PERIOD_RE = re.compile(
    r"(?:(?P<basic>\d{8})|(?P<year>[+-]?\d{4,6})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)"
    r"(?:[T ](?P<hour>\d\d)(?::(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,9}))?)?)?"
    r"(?:Z|(?P<offset>[+-]\d\d(?::?\d\d)?))?)?)?)?)",
    re.ASCII,
)


def read_period(text: str, calendar: str) -> tuple[int, int]:
    """The period that a date of any precision names: its first instant, and the instant after its last.

    ``2000`` is a year, ``2000-01`` a month, ``2000-01-31`` or ``20000131`` a day, ``2000-01-31T06`` an hour; minutes,
    seconds and fractions of a second likewise. The period is as long as the smallest unit that is given.

    Args:
        text: The date. A time of day may end with Z.
        calendar: The calendar, as ``TimeUnits`` names it.

    Raises:
        ValueError: It is not such a date, or the calendar does not have it.
    """
    found = _PERIOD_RE.fullmatch(text)
    # A year of more than four digits that stands alone could be a year and a month without a hyphen.
    if found is None or (text.isdecimal() and len(text) not in (4, 8)):
        raise ValueError(f"the date {shown(text)}, which is not in a form such as 2000-01-31 or 2000-01-31T06:00")
    if found["offset"]:
        raise ValueError(f"the date {shown(text)} with the offset {found['offset']}; only UTC is supported")
    if found["basic"]:
        return read_period(f"{text[:4]}-{text[4:6]}-{text[6:]}", calendar)
    year, month, day = found["year"], found["month"], found["day"]
    if int(found["hour"] or 0) > 23 or int(found["minute"] or 0) > 59 or int(found["second"] or 0) > 59:
        raise ValueError(f"the date {shown(text)} with a time that does not exist")
    first = count_days(calendar, int(year), int(month or 1), int(day or 1))
    if first is None:
        raise ValueError(f"the date {shown(text)}, which the calendar {calendar} does not have")
    if day is not None:
        start, length = _read_time(found)
        return first * DAY + start, first * DAY + start + length
    after = astronomical_year(calendar, int(year)) * 12 + (int(month) if month else 12)
    return first * DAY, first_day(calendar, after // 12, after % 12 + 1) * DAY


def _read_time(found: re.Match[str]) -> tuple[int, int]:
    """The nanoseconds from midnight to a time, and the length of the smallest unit that is given."""
    start, length = 0, DAY
    for name, unit in (("hour", HOUR), ("minute", MINUTE), ("second", SECOND)):
        if found[name] is not None:
            start, length = start + int(found[name]) * unit, unit
    fraction = found["fraction"]
    if fraction is not None:
        length = SECOND // 10 ** len(fraction)
        start += int(fraction) * length
    return start, length


def show_months(calendar: str, numbers: Integers) -> list[str]:
    """The texts of months, such as ``2000-01``; month 0 is January of the astronomical year 0."""
    years = written_year(calendar, numbers // 12)
    pairs = zip(years.tolist(), (numbers % 12 + 1).tolist(), strict=True)
    return [f"{_show_year(year)}-{month:02d}" for year, month in pairs]


def show_days(calendar: str, numbers: Integers) -> list[str]:
    """The texts of days, such as ``2000-01-31``, from their numbers in the calendar."""
    dates = split_days(calendar, numbers)
    months = show_months(calendar, dates.years * 12 + dates.months - 1)
    return [f"{month}-{day:02d}" for month, day in zip(months, dates.days.tolist(), strict=True)]


def show_time(nanoseconds: int) -> str:
    """The text of a time of day, such as ``06:00`` or ``06:00:00.5``: as long as it must be."""
    seconds, fraction = divmod(nanoseconds, SECOND)
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}"
    if seconds % 60 or fraction:
        text += f":{seconds % 60:02d}"
    return text + (f".{fraction:09d}".rstrip("0") if fraction else "")


def _show_year(year: int) -> str:
    return f"{'-' if year < 0 else ''}{abs(year):04d}"

"""Units of time: the distances between them are cftime's."""

from fractions import Fraction

import cftime
import pytest

from handler.containers.time_units import TimeUnits

CALENDARS = ["standard", "gregorian", "proleptic_gregorian", "julian", "noleap", "365_day", "all_leap", "360_day"]
CALENDARS += ["366_day"]

DATES = [
    "0001-01-01", "0004-02-28", "0004-03-01", "0100-03-01", "0400-02-28", "1582-10-04", "1582-10-15", "1582-12-30",
    "1600-02-28", "1600-03-01", "1700-03-01", "1850-1-1", "1858-11-17", "1900-02-28", "1900-03-01", "1970-01-01",
    "2000-02-29", "2000-12-30", "2001-02-28", "2100-03-01", "9999-12-30",
    "1850-01-01 00:00:00", "1850-01-01T12:30:45Z", "1850-01-01 6:5:4.25", "1850-01-01 12:30 UTC",
    "1992-10-8 15:15:42.5 -06:00", "1992-10-8 15:15:42.5 +05:30", "1992-10-8 15:15:42 +0200",
]  # fmt: skip

UNITS = ["days", "Hours", "h", "minutes", "sec", "seconds", "milliseconds", "microseconds"]


@pytest.mark.parametrize("calendar", CALENDARS)
@pytest.mark.parametrize("date", DATES)
def test_dates_are_cftimes(calendar: str, date: str) -> None:
    units = f"seconds since {date}"
    try:
        start = cftime.num2date(0, units, calendar)
    except ValueError:
        with pytest.raises(ValueError, match="does not"):
            TimeUnits.parse(units, calendar)
        return
    expected = cftime.date2num(start, "microseconds since 1950-03-01", calendar)
    ours, other = TimeUnits.parse(units, calendar), TimeUnits.parse("microseconds since 1950-03-01", calendar)
    assert ours is not None
    assert other is not None
    assert ours.instant(0) - other.instant(0) == int(expected) * 1000


@pytest.mark.parametrize(
    ("date", "same"),
    [("1992-10-8 15:15:42.5 -6:00", "1992-10-08 21:15:42.5"), ("1850-01-01 12", "1850-01-01 12:00")],
)
def test_dates_that_cftime_reads_in_part_are_read_as_cf_means_them(date: str, same: str) -> None:
    """cftime ignores a zone of one digit, which is CF's own example, and an hour without minutes."""
    assert TimeUnits.parse(f"seconds since {date}") == TimeUnits.parse(f"seconds since {same}")


@pytest.mark.parametrize("unit", UNITS)
def test_units_are_cftimes(unit: str) -> None:
    ours, other = TimeUnits.parse(f"{unit} since 2000-01-01"), TimeUnits.parse("microseconds since 2000-01-01")
    assert ours is not None
    assert other is not None
    expected = cftime.date2num(cftime.num2date(7, f"{unit} since 2000-01-01"), "microseconds since 2000-01-01")
    assert ours.instant(7) == other.instant(int(expected))
    assert ours.instant(0.5) == other.instant(0) + Fraction(ours.nanoseconds, 2)


@pytest.mark.parametrize(
    "units", ["K", "", "since", "days", "m s-1", "days since", "days before 2000-01-01", "days since " + "1" * 50_000]
)
def test_other_units_are_none_of_time(units: str) -> None:
    assert TimeUnits.parse(units) is None


@pytest.mark.parametrize(
    ("units", "calendar", "named"),
    [
        ("months since 2000-01-01", "noleap", "'months since 2000-01-01'"),
        ("years since 2000-01-01", "noleap", "years"),
        ("days since yesterday", "standard", "yesterday"), ("days since 2000", "standard", "2000"),
        ("days since -1-01-01", "noleap", "-1"), ("days since 2000-01-01 x", "standard", "x"),
        ("days since 2000-13-01", "standard", "does not have"), ("days since 2000-00-01", "standard", "does not have"),
        ("days since 2001-02-29", "standard", "does not have"), ("days since 2000-02-30", "all_leap", "does not have"),
        ("days since 2000-01-31", "360_day", "does not have"), ("days since 1582-10-10", "standard", "does not have"),
        ("days since 0000-01-01", "standard", "does not have"), ("days since 2000-01-01 24:00", "standard", "exist"),
        ("days since 2000-01-01 23:60", "standard", "exist"), ("days since 2000-01-01", "none", "the calendar 'none'"),
        ("days since 2000-01-01", "lunar", "the calendar 'lunar'"), ("days since " + "9" * 100, "standard", "..."),
        ("days since 1-1-1" + " " * 150 + "x", "standard", "units"),
    ],
)  # fmt: skip
def test_units_that_are_not_supported_are_named(units: str, calendar: str, named: str) -> None:
    with pytest.raises(ValueError, match="the ") as caught:
        TimeUnits.parse(units, calendar)
    assert named in str(caught.value)
    assert len(str(caught.value)) < 200

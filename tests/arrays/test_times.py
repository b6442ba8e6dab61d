"""Times of coordinates against xarray and cftime: decoding, groups, periods, and periods that a date names."""

from typing import Any

import cftime
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from active_storage.model.coordinates import TIME_PARTS, Period
from handler.arrays.iso_dates import read_period
from handler.arrays.times import Times
from handler.containers.time_units import DAY, TimeUnits

pytestmark = pytest.mark.filterwarnings("ignore:Unable to decode time axis")

CALENDARS = ["standard", "proleptic_gregorian", "julian", "noleap", "all_leap", "360_day"]

# xarray uses datetime64[ns] for some of these origins, and cftime for the others.
ORIGINS = ["1850-01-01", "2000-02-28 06:30:00", "1900-12-30", "0001-01-01", "1582-10-04", "1582-10-15 12:00"]

# The seconds of each unit. xarray does not know the short names that cftime and we know.
UNITS = {"days": 86_400, "hours": 3600, "minutes": 60, "seconds": 1, "milliseconds": 1e-3, "microseconds": 1e-6}

DTYPES = ["int16", "int32", "int64", "uint8", "uint32", "uint64", "float32", "float64"]


def make_times(values: Any, units: str, calendar: str = "standard") -> Times:
    parsed = TimeUnits.parse(units, calendar)
    assert parsed is not None
    return Times.of(np.asarray(values), parsed)


def decode(values: Any, units: str, calendar: str) -> xr.DataArray:
    """What xarray makes of a coordinate."""
    coordinate = ("time", np.asarray(values), {"units": units, "calendar": calendar})
    return xr.decode_cf(xr.Dataset(coords={"time": coordinate}))["time"]


@st.composite
def coordinates(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], str, str]:
    """Values, units and a calendar. Spans are from hours to eight centuries around the origin.

    The values are sorted, as xarray decides by the first and the last one whether datetime64 holds them all.
    """
    calendar, origin = draw(st.sampled_from(CALENDARS)), draw(st.sampled_from(ORIGINS))
    unit, dtype = draw(st.sampled_from(list(UNITS))), np.dtype(draw(st.sampled_from(DTYPES)))
    span = draw(st.sampled_from([1, 40, 400, 40_000, 300_000])) * 86_400 / UNITS[unit]
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    values = np.sort(rng.uniform(-span if origin > "0002" and dtype.kind != "u" else 0, span, draw(st.integers(1, 30))))
    values = values[:: draw(st.sampled_from([1, -1]))]
    if dtype.kind == "f":
        # Parts of a unit that are exact, parts that are not, and whole units.
        parts = draw(st.sampled_from([1, 2, 24, 1440, 7]))
        values = np.round(values * parts) / parts if draw(st.booleans()) else values
        return values.astype(dtype), f"{unit} since {origin}", calendar
    bounds = np.iinfo(dtype.name)
    return np.clip(values, bounds.min, min(bounds.max, 2**62)).astype(dtype), f"{unit} since {origin}", calendar


def part_of(times: xr.DataArray, name: str) -> list[Any]:
    if name == "year-month":
        pairs = zip(times.dt.year.values, times.dt.month.values, strict=True)
        return [f"{year:04d}-{month:02d}" for year, month in pairs]
    values: list[Any] = getattr(times.dt, name).values.tolist()
    return values


@settings(max_examples=200, deadline=None)
@given(coordinates())
def test_groups_are_those_of_xarray(case: tuple[np.ndarray[Any, Any], str, str]) -> None:
    times, judge = make_times(*case), decode(*case)
    for name in TIME_PARTS:
        numbers, labels = times.group(name)
        expected = part_of(judge, name)
        assert [labels[number] for number in numbers] == expected, name
        assert labels == sorted(set(expected))
        assert numbers.dtype == np.int64


@settings(max_examples=300, deadline=None)
@given(coordinates())
def test_times_are_those_of_xarray(case: tuple[np.ndarray[Any, Any], str, str]) -> None:
    times, judge = make_times(*case), decode(*case).values
    # cftime multiplies long doubles, so that far from the origin its last microsecond can be another.
    allowed = 0 if judge.dtype.kind == "M" else 1000
    for index, time in enumerate(judge):
        assert abs(instant_of(times, index) - instant_of_date(time, times.calendar)) <= allowed


def instant_of(times: Times, index: int) -> int:
    return int(times.days[index]) * DAY + int(times.nanoseconds[index])


def instant_of_date(date: Any, calendar: str) -> int:
    units = TimeUnits.parse("microseconds since 1970-01-01", calendar)
    assert units is not None
    if isinstance(date, np.datetime64):
        return units.origin + int(date.astype("M8[ns]").astype(np.int64))
    return units.origin + int(cftime.date2num(date, "microseconds since 1970-01-01", calendar)) * 1000


@pytest.mark.filterwarnings("ignore:this date/calendar/year zero convention")
@pytest.mark.parametrize("calendar", CALENDARS)
def test_every_day_is_cftimes(calendar: str) -> None:
    """Nine centuries, with the switch of 1582 and the years before 1."""
    for first, last in ((-146_000, 1000), (500_000, 660_000)):
        times = make_times(np.arange(first, last), "days since 0001-01-01", calendar)
        dates = cftime.num2date(np.arange(first, last, 7), "days since 0001-01-01", calendar)
        for name, attribute in (("year", "year"), ("month", "month"), ("day", "day"), ("dayofyear", "dayofyr")):
            numbers, labels = times.group(name)
            assert np.array(labels)[numbers][::7].tolist() == [getattr(date, attribute) for date in dates], name


@pytest.mark.parametrize(
    ("values", "units", "calendar", "expected"),
    [
        ([0, -1, 2.5], "months since 2000-01-01", "360_day", ["2000-01-01", "1999-12-01", "2000-03-16"]),
        # Truncated to nanoseconds, and rounded to microseconds.
        ([1 / 3, -1 / 3], "hours since 2000-01-01", "standard", ["2000-01-01T00:20", "1999-12-31T23:40"]),
        ([1 / 24 - 1e-13], "days since 2000-01-01", "standard", ["2000-01-01T00:59:59.999999991"]),
        ([1 / 24 - 1e-13], "days since 2000-01-01", "noleap", ["2000-01-01T01:00"]),
        ([1 / 24 - 1e-13, 3e5], "days since 2000-01-01", "standard", ["2000-01-01T01:00", "2821-05-16"]),
        ([1 / 24 - 1e-13], "days since 1500-01-01", "standard", ["1500-01-01T01:00"]),
        # Within a microsecond of a second.
        ([0.9999993, 0.0000006], "seconds since 2000-01-01", "julian", ["2000-01-01T00:00:01", "2000-01-01"]),
        ([999.9993], "milliseconds since 2000-01-01", "julian", ["2000-01-01T00:00:00.999999"]),
        ([1.7, -1.7], "nanoseconds since 2000-01-01", "noleap",
         ["2000-01-01T00:00:00.000000001", "1999-12-31T23:59:59.999999999"]),
        # No unit overflows.
        (np.array([2**63 - 1, -(2**63)]), "microseconds since 2000-01-01", "noleap",
         ["294471-03-18T04:00:54.775807", "-290472-10-16T19:59:05.224192"]),
        (np.array([2**64 - 1], np.uint64), "nanoseconds since 2000-01-01", "all_leap",
         ["2583-05-05T23:34:33.709551615"]),
        ([7e19], "nanoseconds since 0001-01-01", "noleap", ["2220-09-08T04:26:40"]),
        ([0, -1, -366], "days since 0001-01-01", "standard", ["0001-01-01", "-0001-12-31", "-0001-01-01"]),
        ([0, -1], "days since 0001-01-01", "proleptic_gregorian", ["0001-01-01", "0000-12-31"]),
        ([0, 1], "days since 1582-10-04", "standard", ["1582-10-04", "1582-10-15"]),
        ([0, 1], "days since 9999-12-30", "360_day", ["9999-12-30", "10000-01-01"]),
        ([], "days since 2000-01-01", "standard", []),
    ],
)  # fmt: skip
def test_times_are_exact(values: Any, units: str, calendar: str, expected: list[str]) -> None:
    times = make_times(np.asarray(values, None if len(values) else np.float64), units, calendar)
    assert times.isoformat() == expected


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 9.96921e36, np.int64(2**63 - 1), np.int64(-(2**63))])
def test_values_that_are_not_times_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="which is not a time within a million years"):
        make_times(np.array([0, value]), "days since 2000-01-01")


# Periods

PERIODS = ["1h", "5h", "6h", "36h", "1D", "5D", "30D", "1M", "3M", "5M", "1Y", "3Y"]
ALIASES = {"h": "h", "D": "D", "M": "MS", "Y": "YS"}


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(coordinates(), st.sampled_from(PERIODS))
def test_periods_are_those_of_xarray(case: tuple[np.ndarray[Any, Any], str, str], text: str) -> None:
    values, units, calendar = case
    judge = decode(np.sort(values), units, calendar)
    times = make_times(np.sort(values), units, calendar)
    period = Period.parse(text)
    assert period is not None
    count = times.count_periods(period)
    assume(count <= 300)
    numbers, labels = times.resample(period)
    ones = xr.DataArray(np.ones(len(judge)), dims="time", coords={"time": judge})
    expected = ones.resample(time=text[:-1] + ALIASES[text[-1]]).count()
    assert [label + ("" if "T" in label else "T00:00") for label in labels] == [
        str(time)[:16] if judge.dtype.kind == "M" else time.isoformat()[:16] for time in expected.time.values
    ]
    assert np.bincount(numbers, minlength=count).tolist() == expected.fillna(0).values.tolist()
    assert numbers.dtype == np.int64
    assert len(labels) == count


def test_the_order_of_times_does_not_matter_to_periods() -> None:
    times = make_times([70, 0, 40, 400], "days since 1999-12-31", "noleap")
    assert times.resample(Period(2, "M"))[0].tolist() == [1, 0, 1, 7]
    assert times.resample(Period(2, "M"))[1][:3] == ["1999-12-01", "2000-02-01", "2000-04-01"]
    assert times.resample(Period(1, "Y"))[1] == ["1999-01-01", "2000-01-01", "2001-01-01"]


def test_periods_of_nothing_are_none() -> None:
    times = make_times(np.zeros(0), "days since 2000-01-01")
    assert times.count_periods(Period(1, "M")) == 0
    numbers, labels = times.resample(Period(1, "M"))
    assert (numbers.tolist(), labels) == ([], [])
    numbers, parts = times.group("month")
    assert (numbers.tolist(), parts) == ([], [])


def test_periods_are_counted_without_their_labels() -> None:
    times = make_times([0, 365_000_000], "days since 0001-01-01", "noleap")
    assert times.count_periods(Period(1, "h")) == 365_000_000 * 24 + 1
    assert times.count_periods(Period(999_999_999, "Y")) == 1


@pytest.mark.parametrize("text", ["", "D", "0D", "-1D", "1.5D", "1d", "1m", "1H", "1W", "30 D", "30D ", "1" * 10 + "D"])
def test_other_texts_are_no_periods(text: str) -> None:
    assert Period.parse(text) is None


# Periods that a date names


@pytest.mark.parametrize(
    ("text", "calendar", "first", "after"),
    [
        ("2000", "standard", "2000-01-01", "2001-01-01"),
        ("2000-02", "standard", "2000-02-01", "2000-03-01"),
        ("2000-12", "360_day", "2000-12-01", "2001-01-01"),
        ("2000-02-29", "standard", "2000-02-29", "2000-03-01"),
        ("20000229", "standard", "2000-02-29", "2000-03-01"),
        ("2001-02-29", "all_leap", "2001-02-29", "2001-03-01"),
        ("2000-02-30", "360_day", "2000-02-30", "2000-03-01"),
        ("1582-10-04", "standard", "1582-10-04", "1582-10-15"),
        ("1582-10", "standard", "1582-10-01", "1582-11-01"),
        ("1582", "standard", "1582-01-01", "1583-01-01"),
        ("1900-02-29", "julian", "1900-02-29", "1900-03-01"),
        ("0000", "noleap", "0000-01-01", "0001-01-01"),
        ("+12000", "noleap", "12000-01-01", "12001-01-01"),
        ("12000-06", "noleap", "12000-06-01", "12000-07-01"),
        ("2000-01-31T06", "standard", "2000-01-31 06:00", "2000-01-31 07:00"),
        ("2000-01-31T23:30", "standard", "2000-01-31 23:30", "2000-01-31 23:31"),
        ("2000-01-31 23:30Z", "standard", "2000-01-31 23:30", "2000-01-31 23:31"),
        ("2000-01-31T23:59:59Z", "standard", "2000-01-31 23:59:59", "2000-02-01"),
        ("2000-01-31T23:59:59.25", "standard", "2000-01-31 23:59:59.25", "2000-01-31 23:59:59.26"),
        ("2000-01-31T00:00:00.000000001", "standard", "2000-01-31 00:00:00.000000001", "2000-01-31 00:00:00.000000002"),
    ],
)  # fmt: skip
def test_a_date_names_a_period(text: str, calendar: str, first: str, after: str) -> None:
    units = [TimeUnits.parse(f"days since {date}", calendar) for date in (first, after)]
    assert read_period(text, calendar) == tuple(each.origin for each in units if each is not None)


@pytest.mark.parametrize("calendar", ["standard", "julian"])
def test_year_1_follows_year_minus_1(calendar: str) -> None:
    assert read_period("-0001", calendar)[1] == read_period("0001", calendar)[0]
    assert read_period("-0001-12", calendar)[1] == read_period("0001-01-01", calendar)[0]
    assert read_period("-0001", calendar)[1] - read_period("-0001", calendar)[0] == 366 * DAY


@pytest.mark.parametrize(
    ("text", "calendar", "problem"),
    [
        ("2001-02-29", "standard", "the date '2001-02-29', which the calendar standard does not have"),
        ("2000-02-30", "standard", "standard does not have"), ("2000-02-29", "noleap", "noleap does not have"),
        ("2000-01-31", "360_day", "the date '2000-01-31', which the calendar 360_day does not have"),
        ("1582-10-10", "standard", "the date '1582-10-10', which the calendar standard does not have"),
        ("15821010", "standard", "standard does not have"), ("0000", "julian", "julian does not have"),
        ("2000-13", "noleap", "noleap does not have"), ("2000-00", "noleap", "does not have"),
        ("2000-01-00", "noleap", "does not have"),
        ("2000-01-31T24", "standard", "with a time that does not exist"), ("2000-01-31T06:60", "standard", "not exist"),
        ("2000-01-31T06:30:60", "standard", "not exist"),
        ("2000-01-31T06:00+01:00", "standard", "with the offset [+]01:00; only UTC is supported"),
        ("2000-01-31T06-0500", "standard", "with the offset -0500"),
        ("200001", "standard", "not in a form such as 2000-01-31"), ("12000", "standard", "not in a form"),
        ("2000-1", "standard", "not in a form"), ("2000-01-31Z", "standard", "not in a form"),
        ("2000-W05", "standard", "not in a form"), ("2000-031", "standard", "not in a form"),
        ("20000131T06", "standard", "not in a form"), ("1234567-01", "standard", "not in a form"),
        ("", "standard", "not in a form"), ("tomorrow", "standard", "'tomorrow'"),
        ("1" * 9999, "standard", "not in a form"),
        ("2000-01-31T06:00:00.0123456789", "standard", "not in a form"), ("٢٠٠٠", "standard", "not in a form"),
    ],
)  # fmt: skip
def test_dates_that_do_not_exist_are_named(text: str, calendar: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        read_period(text, calendar)
    assert len(str(caught.value)) < 200


DATES = ["1999", "2000-02", "2000-02-28", "2000-03-01", "2000-02-28T12", "2000-02-28T06:30", "2000-02-28T06:30:00"]


@settings(max_examples=100, deadline=None)
@given(coordinates(), st.sampled_from(DATES), st.sampled_from(DATES))
def test_dates_select_what_xarray_selects(case: tuple[np.ndarray[Any, Any], str, str], start: str, stop: str) -> None:
    values, units, calendar = case
    values = np.unique(values)
    times, judge = make_times(values, units, calendar), decode(values, units, calendar)
    numbered = xr.DataArray(np.arange(len(judge)), dims="time", coords={"time": judge})
    selected = times.at_or_after(read_period(start, calendar)[0]) & times.before(read_period(stop, calendar)[1])
    assert np.flatnonzero(selected).tolist() == numbered.sel(time=slice(start, stop)).values.tolist()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(-50, 50), min_size=1, max_size=20, unique=True),
    st.sampled_from(DATES), st.booleans(), st.sampled_from([6, 24, 48]),
)  # fmt: skip
def test_the_nearest_time_is_that_of_pandas(hours: list[int], date: str, descending: bool, factor: int) -> None:
    values = np.sort(np.array(hours) * factor)[:: -1 if descending else 1]
    times, judge = make_times(values, "hours since 2000-02-29"), decode(values, "hours since 2000-02-29", "standard")
    expected = judge.to_index().get_indexer([np.datetime64(date, "ns")], method="nearest")
    assert times.nearest(read_period(date, "standard")[0]) == expected[0]


def test_the_nearest_is_the_first_of_equal_times_and_exact_far_away() -> None:
    times = make_times([3, 1, 1, -(10**8), 3], "days since 2000-01-01", "noleap")
    instant = read_period("2000-01-02", "noleap")[0]
    assert times.nearest(instant) == 1
    assert times.nearest(instant + DAY) == 0
    assert times.nearest(instant + DAY - 1) == 1
    assert times.nearest(-(10**8) * DAY) == 3
    with pytest.raises(ValueError, match="no times"):
        times.take(slice(0, 0)).nearest(0)


def test_taken_times_are_some_of_them() -> None:
    times = make_times(np.arange(10) * 6, "hours since 2000-01-01")
    assert times.take(np.array([3, 1])).group("hour")[0].tolist() == [1, 0]
    assert times.take(slice(4, None, 4)).isoformat()[1] == "2000-01-03"
    taken = times.take(times.before(read_period("2000-01-01", "standard")[1]))
    assert (len(taken), taken.isoformat()[-1]) == (4, "2000-01-01T18:00")

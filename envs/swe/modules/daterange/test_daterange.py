# mypy: disable-error-code="import-not-found"
"""Tests of days and ranges."""

import pytest
from daterange import DateRange, Day, is_leap, month_days


def between(first: str, last: str) -> DateRange:
    """The range between two written days."""
    return DateRange(Day.parse(first), Day.parse(last))


def test_leap_years() -> None:
    """Every fourth, except centuries, except every fourth of those."""
    assert [y for y in (1896, 1900, 1999, 2000, 2001, 2024, 2100) if is_leap(y)] == [1896, 2000, 2024]


def test_lengths_of_months() -> None:
    """February knows the year."""
    assert [month_days(2023, m) for m in range(1, 13)] == [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    assert month_days(2024, 2) == 29 and month_days(2024, 3) == 31
    for month in (0, 13):
        with pytest.raises(ValueError):
            month_days(2023, month)


def test_impossible_days() -> None:
    """Are refused."""
    for year, month, day in ((2023, 2, 29), (2023, 4, 31), (2023, 1, 0), (2023, 13, 1), (0, 1, 1)):
        with pytest.raises(ValueError):
            Day(year, month, day)
    assert Day(1) == Day(1, 1, 1)
    assert str(Day(2023, 1, 31)) == "2023-01-31"


def test_days_are_ordered() -> None:
    """By year, month, day."""
    days = [Day(2023, 2, 1), Day(2022, 12, 31), Day(2023, 1, 31), Day(2023, 1, 30)]
    assert [str(d) for d in sorted(days)] == ["2022-12-31", "2023-01-30", "2023-01-31", "2023-02-01"]


def test_parsing_and_writing() -> None:
    """Give the same back."""
    assert str(Day.parse(" 2024-02-29 ")) == "2024-02-29"
    assert Day.parse("0987-6-5") == Day(987, 6, 5)
    assert str(Day(987, 6, 5)) == "0987-06-05"
    for text in ("2024-02", "2024-02-29-1", "2024-02-30", "today"):
        with pytest.raises(ValueError):
            Day.parse(text)


def test_numbers_of_days() -> None:
    """Known ones."""
    assert Day(1).number() == 1
    assert Day(1, 12, 31).number() == 365
    assert Day(5).number() == 1462
    assert Day(1970).number() == 719163
    assert Day(2000, 3).number() == 730180
    assert Day(2100, 3, 1).number() == 766704
    assert Day(102, 12, 31).number() == 102 * 365 + 24
    assert Day(402).number() == 401 * 365 + 98


def test_weekdays() -> None:
    """Known ones."""
    assert Day(2024, 2, 29).weekday() == "Thursday"
    assert Day(2000, 1, 1).weekday() == "Saturday"
    assert Day(1969, 7, 20).weekday() == "Sunday"
    assert Day(2024, 7, 1).weekday() == "Monday"


def test_the_next_day() -> None:
    """Within a month, and over the ends of months and years."""
    for text, after in {
        "2023-02-27": "2023-02-28",
        "2023-02-28": "2023-03-01",
        "2024-02-28": "2024-02-29",
        "2023-12-30": "2023-12-31",
        "2023-12-31": "2024-01-01",
        "2023-11-30": "2023-12-01",
    }.items():
        assert str(Day.parse(text).next()) == after


def test_adding_months() -> None:
    """Over years, backwards, and into short months."""
    day = Day(2024, 1, 31)
    assert [str(day.add_months(n)) for n in (0, 1, 3, 11, 12, 13)] == [
        "2024-01-31", "2024-02-29", "2024-04-30", "2024-12-31", "2025-01-31", "2025-02-28",
    ]  # fmt: skip
    assert str(day.add_months(-1)) == "2023-12-31"
    assert str(Day(2024, 12, 5).add_months(-24)) == "2022-12-05"


def test_lengths_of_ranges() -> None:
    """Both ends count."""
    assert len(between("2024-02-28", "2024-03-01")) == 3
    assert len(between("2024-02-28", "2024-02-28")) == 1
    assert len(between("2023-01-01", "2024-12-31")) == 365 + 366
    with pytest.raises(ValueError):
        between("2024-03-01", "2024-02-29")


def test_listing_a_range() -> None:
    """Its days, from the first to the last."""
    assert [str(d) for d in between("2023-12-30", "2024-01-02")] == [
        "2023-12-30", "2023-12-31", "2024-01-01", "2024-01-02",
    ]  # fmt: skip
    assert list(between("2024-01-01", "2024-01-01")) == [Day(2024)]


def test_membership() -> None:
    """Both ends are in it."""
    r = between("2024-02-10", "2024-03-10")
    assert Day(2024, 2, 10) in r and Day(2024, 3, 10) in r and Day(2024, 2, 29) in r
    assert Day(2024, 2, 9) not in r and Day(2024, 3, 11) not in r


def test_overlaps() -> None:
    """Of ranges that meet, also in one day."""
    a, b = between("2024-01-10", "2024-02-10"), between("2024-02-01", "2024-03-01")
    assert a.overlap(b) == between("2024-02-01", "2024-02-10") == b.overlap(a)
    assert a.overlap(between("2024-02-10", "2024-02-12")) == between("2024-02-10", "2024-02-10")
    assert a.overlap(between("2024-02-11", "2024-02-12")) is None


def test_workdays() -> None:
    """Week ends and holidays are left out."""
    month = between("2024-07-01", "2024-07-31")
    assert month.workdays() == 23
    assert month.workdays((Day(2024, 7, 4), Day(2024, 7, 6))) == 22
    assert between("2024-07-05", "2024-07-08").workdays() == 2


def test_cutting_into_months() -> None:
    """The first and the last part may be short."""
    parts = between("2023-12-30", "2024-02-03").months()
    assert [(str(p.first), str(p.last)) for p in parts] == [
        ("2023-12-30", "2023-12-31"), ("2024-01-01", "2024-01-31"), ("2024-02-01", "2024-02-03"),
    ]  # fmt: skip
    assert len(between("2024-02-01", "2024-02-29").months()) == 1
    assert [len(p) for p in between("2024-01-31", "2024-02-01").months()] == [1, 1]

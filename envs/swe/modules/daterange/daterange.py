"""Days of the Gregorian calendar and ranges of them, by arithmetic of our own."""

from collections.abc import Iterator
from dataclasses import dataclass

_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def is_leap(year: int) -> bool:
    """Whether a year has a 29th of February."""
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def month_days(year: int, month: int) -> int:
    """How many days a month has."""
    if not 1 <= month <= 12:
        raise ValueError(f"there is no month {month}")
    if month == 2 and is_leap(year):
        return 29
    return _DAYS[month - 1]


@dataclass(frozen=True, order=True)
class Day:
    """One day; earlier ones are smaller."""

    year: int
    month: int = 1
    day: int = 1

    def __post_init__(self) -> None:
        if self.year < 1 or not 1 <= self.day <= month_days(self.year, self.month):
            raise ValueError(f"there is no day {self}")

    def __str__(self) -> str:
        """As ``2024-02-29``."""
        return f"{self.year:04d}-{self.month:02d}-{self.day:02d}"

    @classmethod
    def parse(cls, text: str) -> "Day":
        """The day that a text such as ``2024-02-29`` names."""
        parts = text.strip().split("-")
        if len(parts) != 3:
            raise ValueError(f"{text!r} is no day")
        year, month, day = (int(p) for p in parts)
        return cls(year, month, day)

    def number(self) -> int:
        """Days since the first of January of year 1, which is 1."""
        past = self.year - 1
        days = past * 365 + past // 4 - past // 100 + past // 400
        for month in range(1, self.month):
            days += month_days(self.year, month)
        return days + self.day

    def weekday(self) -> str:
        """Its name."""
        return WEEKDAYS[(self.number() - 1) % 7]

    def next(self) -> "Day":
        """The day after."""
        if self.day < month_days(self.year, self.month):
            return Day(self.year, self.month, self.day + 1)
        if self.month < 12:
            return Day(self.year, self.month + 1)
        return Day(self.year + 1)

    def add_months(self, count: int) -> "Day":
        """The same day some months later or earlier, or the last one of a month that is too short."""
        year, month = divmod(self.year * 12 + self.month - 1 + count, 12)
        return Day(year, month + 1, min(self.day, month_days(year, month + 1)))


@dataclass(frozen=True)
class DateRange:
    """From a first to a last day, both included."""

    first: Day
    last: Day

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError("a range ends before it starts")

    def __len__(self) -> int:
        """How many days it has."""
        return self.last.number() - self.first.number() + 1

    def __iter__(self) -> Iterator[Day]:
        """Its days in order."""
        day = self.first
        while day < self.last:
            yield day
            day = day.next()
        yield day

    def __contains__(self, day: Day) -> bool:
        """Whether a day is in it."""
        return self.first <= day <= self.last

    def overlap(self, other: "DateRange") -> "DateRange | None":
        """The days that both have, or None."""
        first, last = max(self.first, other.first), min(self.last, other.last)
        if last < first:
            return None
        return DateRange(first, last)

    def workdays(self, holidays: tuple[Day, ...] = ()) -> int:
        """Days from Monday to Friday that are no holidays."""
        return sum(1 for d in self if d.weekday() not in WEEKDAYS[5:] and d not in holidays)

    def months(self) -> "list[DateRange]":
        """The range cut at the ends of months."""
        parts: list[DateRange] = []
        start = self.first
        while start <= self.last:
            end = Day(start.year, start.month, month_days(start.year, start.month))
            parts.append(DateRange(start, min(end, self.last)))
            start = end.next()
        return parts

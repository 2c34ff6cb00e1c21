"""The three best customers."""

import csv

ROWS = [("Gus, Ltd.", "5", "1362.59"), ("Bo", "5", "652.08"), ("Dora", "5", "649.33")]


def rows() -> list[tuple[str, ...]]:
    """What was written."""
    with open("/app/top.csv", newline="", encoding="utf-8") as f:
        return [tuple(r) for r in csv.reader(f)]


def test_header() -> None:
    """Its three names."""
    assert rows()[0] == ("name", "orders", "total")


def test_names() -> None:
    """Who, the highest first."""
    assert [r[0] for r in rows()[1:]] == [r[0] for r in ROWS]


def test_rows() -> None:
    """Orders, also those without a line, and totals."""
    assert rows()[1:] == ROWS

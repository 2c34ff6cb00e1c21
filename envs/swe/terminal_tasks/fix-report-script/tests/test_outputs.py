"""The report, and that the orders were left alone."""

import hashlib
import os

LINES = ["Zed.v2 100", "anna lee 42", "bo 12", "empty 0", "ALL 154"]
ORDERS = "f8890b0fe74fca36945979e40749cbc66ad1ea1dfc09271ed88824af05faee12"


def lines() -> list[str]:
    """Of the report."""
    with open("/app/report.txt", encoding="utf-8") as f:
        return f.read().splitlines()


def test_every_customer_is_there() -> None:
    """Names with blanks and dots too."""
    assert [line.rpartition(" ")[0] for line in lines()] == ["Zed.v2", "anna lee", "bo", "empty", "ALL"]


def test_sums() -> None:
    """Sums of each and of all."""
    assert lines() == LINES


def test_orders_are_as_they_were() -> None:
    """No order was changed, added or removed."""
    found = hashlib.sha256()
    for name in sorted(os.listdir("/app/orders")):
        with open(f"/app/orders/{name}", "rb") as f:
            found.update(name.encode() + b"\0" + f.read() + b"\0")
    assert found.hexdigest() == ORDERS

"""The key, how often and since when."""

import json
from typing import Any

FOUND = {"key": "AK676NM8MG6VKFC36L", "times": 4, "first": "2024-02-27T05:00:25Z"}


def answer() -> Any:
    """What was written."""
    with open("/app/answer.json", encoding="utf-8") as f:
        return json.load(f)


def test_key() -> None:
    """The one real key."""
    assert answer()["key"] == FOUND["key"]


def test_times() -> None:
    """In packed logs too."""
    assert answer()["times"] == FOUND["times"]


def test_first() -> None:
    """The earliest line."""
    assert answer()["first"] == FOUND["first"]

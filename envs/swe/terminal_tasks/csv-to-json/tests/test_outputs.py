"""The list of people."""

import json
from typing import Any

EXPECTED = [
    {"id": 1, "name": "Jonas Berg", "city": "Malmo", "score": None},
    {"id": 3, "name": "Lin Wei", "city": "Taipei", "score": 7},
    {"id": 7, "name": 'Rossi "Gigi" Marta', "city": None, "score": 6.25},
    {"id": 12, "name": "Okafor, Ada M.", "city": "Abuja", "score": 9},
    {"id": 20, "name": "Ito, Ken", "city": "Kobe", "score": 4.75},
]


def people() -> Any:
    """What was written."""
    with open("/app/people.json", encoding="utf-8") as f:
        return json.load(f)


def test_ids_are_in_order_and_once() -> None:
    """Each person once, by number."""
    assert [p["id"] for p in people()] == [1, 3, 7, 12, 20]


def test_numbers_are_numbers() -> None:
    """Scores are numbers or null."""
    assert [p["score"] for p in people()] == [e["score"] for e in EXPECTED]
    assert all(type(p["id"]) is int for p in people())


def test_every_person_is_right() -> None:
    """All fields."""
    assert people() == EXPECTED

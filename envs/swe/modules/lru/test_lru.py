# mypy: disable-error-code="import-not-found"
"""Tests of the cache."""

import pytest
from lru import LRUCache


def filled(capacity: int = 3) -> LRUCache:
    """A cache with a, b and c."""
    cache = LRUCache(capacity)
    for i, key in enumerate("abc"):
        cache.put(key, i)
    return cache


def test_values_come_back() -> None:
    """What was put can be read."""
    cache = filled()
    assert [cache.get(k) for k in "abc"] == [0, 1, 2]
    assert len(cache) == 3


def test_the_oldest_value_goes() -> None:
    """A value beyond the capacity pushes the oldest one out."""
    cache = filled()
    assert cache.put("d", 3) == "a"
    assert "a" not in cache and "d" in cache
    assert list(cache) == ["b", "c", "d"]


def test_nothing_goes_while_there_is_room() -> None:
    """No key is reported as gone before the cache is full."""
    cache = LRUCache(2)
    assert cache.put("a", 1) is None
    assert cache.put("b", 2) is None
    assert len(cache) == 2


def test_the_default_capacity_is_four() -> None:
    """Four values fit when nothing else is said."""
    cache = LRUCache()
    assert [cache.put(i, i) for i in range(5)] == [None, None, None, None, 0]


def test_reading_makes_a_key_younger() -> None:
    """A key that was read is not the next one to go."""
    cache = filled()
    cache.get("a")
    assert list(cache) == ["b", "c", "a"]
    assert cache.put("d", 3) == "b"


def test_writing_again_makes_a_key_younger() -> None:
    """Writing a known key replaces its value, moves it and pushes nothing out."""
    cache = filled()
    assert cache.put("a", 9) is None
    assert list(cache) == ["b", "c", "a"]
    assert cache.get("a") == 9


def test_asking_whether_a_key_is_there_moves_nothing() -> None:
    """``in`` is no use."""
    cache = filled()
    assert "a" in cache
    assert list(cache) == ["a", "b", "c"]


def test_a_missing_key_gives_the_default() -> None:
    """None, or what the caller says."""
    cache = filled()
    assert cache.get("z") is None
    assert cache.get("z", 7) == 7
    assert cache.misses == 2 and cache.hits == 0


def test_hits_and_misses_are_counted() -> None:
    """The rate is the share of hits."""
    cache = filled()
    assert cache.rate() == 0.0
    cache.get("a")
    assert cache.rate() == 1.0
    cache.get("b")
    cache.get("c")
    cache.get("z")
    assert (cache.hits, cache.misses) == (3, 1)
    assert cache.rate() == 0.75


def test_fetch_makes_a_value_once() -> None:
    """The function is called for a missing key only."""
    made: list[object] = []
    cache = LRUCache(2)

    def make(key: object) -> str:
        made.append(key)
        return f"<{key}>"

    assert cache.fetch("x", make) == "<x>"
    assert cache.fetch("y", make) == "<y>"
    assert cache.fetch("x", make) == "<x>"
    assert cache.fetch("x", make) == "<x>"
    assert made == ["x", "y"]
    assert list(cache) == ["y", "x"]
    assert (cache.hits, cache.misses) == (2, 2)


def test_shrinking_gives_the_oldest_up() -> None:
    """The new capacity holds from then on."""
    cache = LRUCache(3)
    for i, key in enumerate(("a", "b", ("c", 1))):
        cache.put(key, i)
    assert LRUCache(2).resize(2) == []
    assert cache.resize(1) == ["a", "b"]
    assert list(cache) == [("c", 1)]
    assert cache.put("d", 3) == ("c", 1)
    assert cache.capacity == 1


def test_growing_gives_nothing_up() -> None:
    """More room keeps all."""
    cache = filled()
    assert cache.resize(4) == []
    assert cache.put("d", 3) is None
    assert cache.put("e", 4) == "a"


def test_a_capacity_must_be_positive() -> None:
    """Zero is refused, one is not, and a refused size changes nothing."""
    with pytest.raises(ValueError):
        LRUCache(0)
    cache = filled()
    with pytest.raises(ValueError):
        cache.resize(0)
    assert cache.capacity == 3 and len(cache) == 3
    assert LRUCache(1).capacity == 1


def test_a_snapshot_is_a_copy() -> None:
    """Changing it leaves the cache alone."""
    cache = filled()
    copy = cache.snapshot()
    assert copy == {"a": 0, "b": 1, "c": 2}
    copy["d"] = 3
    assert "d" not in cache


def test_keys_can_be_removed_while_listing() -> None:
    """Iterating and writing at the same time is safe."""
    cache = filled()
    for key in cache:
        cache.put(str(key) * 2, 0)
    assert list(cache) == ["aa", "bb", "cc"]


def test_clear_forgets_all() -> None:
    """Values and counts."""
    cache = filled()
    cache.get("a")
    cache.get("z")
    cache.clear()
    assert len(cache) == 0 and (cache.hits, cache.misses) == (0, 0)

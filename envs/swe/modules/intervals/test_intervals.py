# mypy: disable-error-code="import-not-found"
"""Tests of the sets of intervals."""

import pytest
from intervals import IntervalSet


def spans(*pairs: tuple[int, int]) -> list[tuple[int, int]]:
    """What a set of these intervals lists."""
    return list(IntervalSet(pairs))


def test_intervals_are_sorted() -> None:
    """In whatever order they come."""
    assert spans((8, 9), (0, 2), (4, 6)) == [(0, 2), (4, 6), (8, 9)]
    assert len(IntervalSet([(8, 9), (0, 2)])) == 2


def test_overlapping_intervals_become_one() -> None:
    """From the left, from the right and from within."""
    assert spans((0, 5), (3, 8)) == [(0, 8)]
    assert spans((3, 8), (0, 5)) == [(0, 8)]
    assert spans((0, 9), (3, 4)) == [(0, 9)]
    assert spans((3, 4), (0, 9)) == [(0, 9)]


def test_touching_intervals_become_one() -> None:
    """On both sides."""
    assert spans((0, 2), (2, 4)) == [(0, 4)]
    assert spans((2, 4), (0, 2)) == [(0, 4)]
    assert spans((0, 2), (3, 4)) == [(0, 2), (3, 4)]
    assert spans((3, 4), (0, 2)) == [(0, 2), (3, 4)]


def test_one_interval_can_join_many() -> None:
    """All that it meets, and no others."""
    assert spans((0, 1), (2, 3), (4, 5), (8, 9), (2, 6)) == [(0, 1), (2, 6), (8, 9)]
    assert spans((0, 2), (3, 5), (6, 8), (1, 7)) == [(0, 8)]


def test_empty_and_reversed_intervals() -> None:
    """An empty one adds nothing, a reversed one is an error."""
    assert spans((3, 3)) == []
    assert spans((0, 9), (3, 3)) == [(0, 9)]
    with pytest.raises(ValueError):
        IntervalSet([(3, 2)])


def test_membership() -> None:
    """The start belongs to an interval, the stop does not."""
    s = IntervalSet([(0, 2), (4, 6), (8, 10), (12, 13)])
    inside = [n for n in range(-1, 15) if n in s]
    assert inside == [0, 1, 4, 5, 8, 9, 12]
    assert 0 not in IntervalSet()


def test_removing_cuts() -> None:
    """The left end, the right end, the middle, or all of it."""
    for cut, left in {
        (0, 3): [(3, 10)],
        (7, 12): [(0, 7)],
        (4, 6): [(0, 4), (6, 10)],
        (-1, 11): [],
        (0, 10): [],
        (10, 12): [(0, 10)],
        (-5, 0): [(0, 10)],
    }.items():
        s = IntervalSet([(0, 10)])
        s.remove(*cut)
        assert list(s) == left


def test_removing_reaches_over_several() -> None:
    """Those in between go, those outside stay."""
    s = IntervalSet([(0, 4), (5, 6), (8, 12), (20, 21)])
    s.remove(2, 10)
    assert list(s) == [(0, 2), (10, 12), (20, 21)]


def test_total() -> None:
    """Numbers are counted, not intervals."""
    assert IntervalSet([(0, 4), (6, 9)]).total() == 7
    assert IntervalSet().total() == 0


def test_gaps() -> None:
    """What lies between neighbours."""
    assert IntervalSet([(0, 2), (5, 6), (9, 12)]).gaps() == [(2, 5), (6, 9)]
    assert IntervalSet([(0, 2)]).gaps() == []
    assert IntervalSet().gaps() == []


def test_union_leaves_its_parts_alone() -> None:
    """A new set is made."""
    a, b = IntervalSet([(0, 2), (6, 8)]), IntervalSet([(1, 4), (10, 11)])
    assert list(a.union(b)) == [(0, 4), (6, 8), (10, 11)]
    assert list(a) == [(0, 2), (6, 8)] and list(b) == [(1, 4), (10, 11)]


def test_intersection() -> None:
    """What both have, in several pieces."""
    a = IntervalSet([(0, 5), (7, 9), (12, 20)])
    b = IntervalSet([(3, 8), (9, 10), (13, 14), (15, 25), (30, 31)])
    assert list(a.intersection(b)) == [(3, 5), (7, 8), (13, 14), (15, 20)]
    assert list(b.intersection(a)) == list(a.intersection(b))
    assert list(a.intersection(IntervalSet())) == []


def test_intersection_of_touching_sets_is_empty() -> None:
    """No number is in both."""
    assert len(IntervalSet([(0, 2)]).intersection(IntervalSet([(2, 4)]))) == 0

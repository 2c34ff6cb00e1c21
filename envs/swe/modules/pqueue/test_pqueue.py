# mypy: disable-error-code="import-not-found"
"""Tests of the priority queue."""

import pytest
from pqueue import Empty, PriorityQueue

NUMBERS = [5, 3, 9, 1, 7, 2, 8, 6, 4, 0, 11, 10]


def filled(numbers: list[int]) -> PriorityQueue:
    """A queue in which each number's priority is itself."""
    queue = PriorityQueue()
    for n in numbers:
        queue.push(f"n{n}", n)
    return queue


def order(queue: PriorityQueue) -> list[int]:
    """The numbers as they come out."""
    return [int(str(item)[1:]) for item in queue.drain()]


def test_the_most_urgent_comes_first() -> None:
    """In whatever order they came."""
    assert order(filled(NUMBERS)) == sorted(NUMBERS)
    assert order(filled(NUMBERS[::-1])) == sorted(NUMBERS)
    assert order(filled(sorted(NUMBERS))) == sorted(NUMBERS)


def test_equals_come_in_their_turn() -> None:
    """First in, first out."""
    queue = PriorityQueue()
    for name in "abcdefg":
        queue.push(name, 1)
    assert "".join(map(str, queue.drain())) == "abcdefg"


def test_the_usual_priority_is_zero() -> None:
    """Between negative and positive ones."""
    queue = PriorityQueue()
    queue.push("late", 0.5)
    queue.push("usual")
    queue.push("early", -0.5)
    assert list(queue.drain()) == ["early", "usual", "late"]


def test_length_and_membership() -> None:
    """They follow what goes in and out."""
    queue = filled([2, 1])
    assert len(queue) == 2 and "n1" in queue and "n3" not in queue
    queue.pop()
    assert len(queue) == 1 and "n1" not in queue


def test_peek_takes_nothing_out() -> None:
    """The item is still there."""
    queue = filled([2, 1, 3])
    assert queue.peek() == "n1"
    assert len(queue) == 3 and queue.pop() == "n1"


def test_an_empty_queue() -> None:
    """Has nothing to give."""
    queue = PriorityQueue()
    with pytest.raises(Empty, match="nothing waits"):
        queue.pop()
    with pytest.raises(Empty):
        queue.peek()
    assert list(queue.drain()) == []


def test_a_more_urgent_priority() -> None:
    """Moves an item to the front."""
    queue = filled(NUMBERS)
    queue.change("n11", -1)
    assert order(queue)[0] == 11


def test_a_less_urgent_priority() -> None:
    """Moves an item to the back."""
    queue = filled(NUMBERS)
    queue.change("n0", 99)
    assert order(queue) == [*range(1, 12), 0]


def test_every_change_keeps_the_order() -> None:
    """Whichever item it is, and wherever it goes."""
    for n in NUMBERS:
        for priority in (-0.5, 4.5, 20.5):
            queue = filled(NUMBERS)
            queue.change(f"n{n}", priority)
            assert order(queue) == sorted(NUMBERS, key=lambda m: priority if m == n else m)


def test_pushing_again_changes_the_priority() -> None:
    """There is still one of it, and its turn is the old one."""
    queue = filled([1, 2, 3])
    queue.push("n3", 1)
    queue.push("n4", 1)
    assert len(queue) == 4
    assert order(queue) == [1, 3, 4, 2]


def test_remove_gives_the_priority() -> None:
    """And the item is gone."""
    queue = filled(NUMBERS)
    assert queue.remove("n7") == 7
    assert "n7" not in queue
    assert order(queue) == sorted(set(NUMBERS) - {7})


def test_any_item_can_be_removed() -> None:
    """The others stay in order."""
    for n in NUMBERS:
        queue = filled(NUMBERS)
        queue.remove(f"n{n}")
        assert order(queue) == sorted(set(NUMBERS) - {n})


def test_a_hole_can_be_filled_from_below() -> None:
    """What takes the place of a removed item may have to rise."""
    queue = filled([0, 10, 1, 11, 12, 2, 3])
    queue.remove("n11")
    assert order(queue) == [0, 1, 2, 3, 10, 12]


def test_unknown_items() -> None:
    """Can be neither removed nor changed."""
    queue = filled([1])
    with pytest.raises(Empty, match="'n9' does not wait"):
        queue.remove("n9")
    with pytest.raises(Empty):
        queue.change("n9", 1)

"""A queue that gives the most urgent item first, as a binary heap whose priorities can change."""

from collections.abc import Hashable, Iterator


class Empty(LookupError):
    """The queue has no item."""


class PriorityQueue:
    """Lower numbers are more urgent; among equals the one that came first is."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Hashable]] = []
        self._where: dict[Hashable, int] = {}
        self._count = 0

    def __len__(self) -> int:
        """How many items wait."""
        return len(self._heap)

    def __contains__(self, item: Hashable) -> bool:
        """Whether an item waits."""
        return item in self._where

    def push(self, item: Hashable, priority: float = 0.0) -> None:
        """Put an item in, or change the priority of one that waits."""
        if item in self._where:
            self.change(item, priority)
            return
        self._heap.append((priority, self._count, item))
        self._count += 1
        self._where[item] = len(self._heap) - 1
        self._up(len(self._heap) - 1)

    def peek(self) -> Hashable:
        """The most urgent item, which goes on waiting."""
        if not self._heap:
            raise Empty("nothing waits")
        return self._heap[0][2]

    def pop(self) -> Hashable:
        """Take the most urgent item out."""
        item = self.peek()
        self.remove(item)
        return item

    def remove(self, item: Hashable) -> float:
        """Take any item out; returns its priority."""
        at = self._index(item)
        priority = self._heap[at][0]
        self._swap(at, len(self._heap) - 1)
        self._heap.pop()
        del self._where[item]
        if at < len(self._heap):
            self._up(at)
            self._down(at)
        return priority

    def change(self, item: Hashable, priority: float) -> None:
        """Give a waiting item another priority; its turn among equals stays."""
        at = self._index(item)
        old, turn, _ = self._heap[at]
        self._heap[at] = (priority, turn, item)
        if priority < old:
            self._up(at)
        else:
            self._down(at)

    def drain(self) -> Iterator[Hashable]:
        """Take out all, the most urgent first."""
        while self._heap:
            yield self.pop()

    def _index(self, item: Hashable) -> int:
        try:
            return self._where[item]
        except KeyError:
            raise Empty(f"{item!r} does not wait") from None

    def _swap(self, i: int, j: int) -> None:
        heap = self._heap
        heap[i], heap[j] = heap[j], heap[i]
        self._where[heap[i][2]] = i
        self._where[heap[j][2]] = j

    def _up(self, at: int) -> None:
        while at > 0:
            parent = (at - 1) // 2
            if self._heap[parent][:2] <= self._heap[at][:2]:
                break
            self._swap(at, parent)
            at = parent

    def _down(self, at: int) -> None:
        size = len(self._heap)
        while 2 * at + 1 < size:
            child = 2 * at + 1
            if child + 1 < size and self._heap[child + 1][:2] < self._heap[child][:2]:
                child += 1
            if self._heap[at][:2] <= self._heap[child][:2]:
                break
            self._swap(at, child)
            at = child

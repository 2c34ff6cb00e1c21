"""Sets of whole numbers, kept as intervals that do not touch."""

from collections.abc import Iterable, Iterator


class IntervalSet:
    """Half-open intervals ``[start, stop)``, sorted; those that overlap or touch are one."""

    def __init__(self, intervals: Iterable[tuple[int, int]] = ()) -> None:
        self._spans: list[tuple[int, int]] = []
        for start, stop in intervals:
            self.add(start, stop)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The intervals from left to right."""
        return iter(self._spans)

    def __len__(self) -> int:
        """How many intervals there are."""
        return len(self._spans)

    def __contains__(self, number: int) -> bool:
        """Whether a number is in one of them."""
        low, high = 0, len(self._spans)
        while low < high:
            middle = (low + high) // 2
            start, stop = self._spans[middle]
            if number < start:
                high = middle
            elif number >= stop:
                low = middle + 1
            else:
                return True
        return False

    def add(self, start: int, stop: int) -> None:
        """Put an interval in and join it with those that it meets."""
        if start > stop:
            raise ValueError("an interval ends before it starts")
        if start == stop:
            return
        before = [s for s in self._spans if s[1] < start]
        after = [s for s in self._spans if s[0] > stop]
        met = self._spans[len(before) : len(self._spans) - len(after)]
        if met:
            start = min(start, met[0][0])
            stop = max(stop, met[-1][1])
        self._spans = [*before, (start, stop), *after]

    def remove(self, start: int, stop: int) -> None:
        """Take an interval out; what it cuts is split."""
        left: list[tuple[int, int]] = []
        for a, b in self._spans:
            if b <= start or a >= stop:
                left.append((a, b))
                continue
            if a < start:
                left.append((a, start))
            if b > stop:
                left.append((stop, b))
        self._spans = left

    def total(self) -> int:
        """How many numbers are in the set."""
        return sum(stop - start for start, stop in self._spans)

    def gaps(self) -> list[tuple[int, int]]:
        """The intervals between the first and the last one."""
        pairs = zip(self._spans, self._spans[1:])
        return [(left[1], right[0]) for left, right in pairs]

    def union(self, other: "IntervalSet") -> "IntervalSet":
        """A new set of what is in either."""
        both = IntervalSet(self)
        for start, stop in other:
            both.add(start, stop)
        return both

    def intersection(self, other: "IntervalSet") -> "IntervalSet":
        """A new set of what is in both."""
        common = IntervalSet()
        mine, theirs = list(self), list(other)
        i = j = 0
        while i < len(mine) and j < len(theirs):
            start = max(mine[i][0], theirs[j][0])
            stop = min(mine[i][1], theirs[j][1])
            if start < stop:
                common.add(start, stop)
            if mine[i][1] < theirs[j][1]:
                i += 1
            else:
                j += 1
        return common

"""A cache of limited size that forgets what was used longest ago."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any


class LRUCache:
    """Keeps up to ``capacity`` values; reading or writing a key makes it the youngest."""

    def __init__(self, capacity: int = 4) -> None:
        if capacity < 1:
            raise ValueError("capacity must be positive")
        self.capacity = capacity
        self.hits = 0
        self.misses = 0
        self._items: OrderedDict[Hashable, Any] = OrderedDict()

    def __len__(self) -> int:
        """How many values are kept."""
        return len(self._items)

    def __contains__(self, key: Hashable) -> bool:
        """Whether a key is kept; asking does not make it younger."""
        return key in self._items

    def __iter__(self) -> Iterator[Hashable]:
        """Keys, the oldest first."""
        return iter(list(self._items))

    def get(self, key: Hashable, default: Any = None) -> Any:
        """The value of a key, or the default; counts a hit or a miss."""
        if key not in self._items:
            self.misses += 1
            return default
        self.hits += 1
        self._items.move_to_end(key)
        return self._items[key]

    def put(self, key: Hashable, value: Any) -> Any:
        """Keep a value; returns the key that had to go, or None."""
        if key in self._items:
            self._items.move_to_end(key)
        self._items[key] = value
        if len(self._items) > self.capacity:
            return self._items.popitem(last=False)[0]
        return None

    def fetch(self, key: Hashable, make: Callable[[Hashable], Any]) -> Any:
        """The value of a key, made and kept if it is not there."""
        try:
            value = self._items[key]
        except KeyError:
            self.misses += 1
            value = make(key)
            self.put(key, value)
            return value
        self.hits += 1
        self._items.move_to_end(key)
        return value

    def resize(self, capacity: int) -> list[Hashable]:
        """Change the capacity; returns the keys that had to go, the oldest first."""
        if capacity < 1:
            raise ValueError("capacity must be positive")
        gone: list[Hashable] = []
        while len(self._items) > capacity:
            key, _ = self._items.popitem(last=False)
            gone.append(key)
        self.capacity = capacity
        return gone

    def rate(self) -> float:
        """Share of reads that were hits; 0.0 before the first one."""
        total = self.hits + self.misses
        return self.hits / total if total else 0.0

    def snapshot(self) -> dict[Hashable, Any]:
        """A copy of what is kept."""
        return dict(self._items)

    def clear(self) -> None:
        """Forget all values and counts."""
        self._items.clear()
        self.hits = 0
        self.misses = 0

"""Words by their letters: counting, completing and correcting."""

from collections.abc import Iterable, Iterator


class Node:
    """One letter further."""

    __slots__ = ("children", "count", "passing")

    def __init__(self) -> None:
        self.children: dict[str, Node] = {}
        self.count = 0
        self.passing = 0


class Trie:
    """A bag of words; case is ignored unless told otherwise."""

    def __init__(self, words: Iterable[str] = (), fold: bool = True) -> None:
        self._root = Node()
        self._fold = fold
        for word in words:
            self.add(word)

    def _key(self, word: str) -> str:
        key = word.strip()
        return key.lower() if self._fold else key

    def _find(self, prefix: str) -> Node | None:
        node = self._root
        for letter in self._key(prefix):
            if letter not in node.children:
                return None
            node = node.children[letter]
        return node

    def __len__(self) -> int:
        """Words, each as often as it was added."""
        return self._root.passing

    def add(self, word: str, times: int = 1) -> None:
        """Put a word in."""
        key = self._key(word)
        if not key or times < 1:
            raise ValueError("a word needs letters and is added at least once")
        node = self._root
        node.passing += times
        for letter in key:
            node = node.children.setdefault(letter, Node())
            node.passing += times
        node.count += times

    def count(self, word: str) -> int:
        """How often a word was added."""
        node = self._find(word)
        return node.count if node is not None else 0

    def __contains__(self, word: str) -> bool:
        """Whether a word was added."""
        return self.count(word) > 0

    def starting(self, prefix: str) -> int:
        """How many words begin so."""
        node = self._find(prefix)
        if node is None:
            return 0
        return node.passing

    def remove(self, word: str) -> bool:
        """Take a word out once; whether it was there. Letters that no word needs are forgotten."""
        if word not in self:
            return False
        node = self._root
        node.passing -= 1
        for letter in self._key(word):
            child = node.children[letter]
            child.passing -= 1
            if child.passing == 0:
                del node.children[letter]
                return True
            node = child
        node.count -= 1
        return True

    def words(self, prefix: str = "") -> Iterator[str]:
        """The different words that begin so, in alphabetical order."""
        node = self._find(prefix)
        stack = [(self._key(prefix), node)] if node is not None else []
        while stack:
            text, here = stack.pop()
            if here.count:
                yield text
            for letter in sorted(here.children, reverse=True):
                stack.append((text + letter, here.children[letter]))

    def complete(self, prefix: str, limit: int = 3) -> list[str]:
        """The most frequent words that begin so, equals in alphabetical order."""
        found = sorted(self.words(prefix), key=lambda w: (-self.count(w), w))
        return found[:limit]

    def longest_prefix(self, text: str) -> str:
        """The longest word that the text begins with, or nothing."""
        node, best = self._root, ""
        key = self._key(text)
        for i, letter in enumerate(key):
            if letter not in node.children:
                break
            node = node.children[letter]
            if node.count:
                best = key[: i + 1]
        return best

    def match(self, pattern: str) -> list[str]:
        """Words of a pattern in which each ``?`` is any letter."""
        level = [("", self._root)]
        for letter in self._key(pattern):
            following = []
            for text, node in level:
                for other, child in node.children.items():
                    if letter in ("?", other):
                        following.append((text + other, child))
            level = following
        return sorted(text for text, node in level if node.count)

    def correct(self, word: str) -> str | None:
        """The word itself, else the most frequent one that differs in one letter, or None."""
        key = self._key(word)
        if key in self:
            return key
        near: set[str] = set()
        for i in range(len(key)):
            near.update(self.match(key[:i] + "?" + key[i + 1 :]))
        return min(near, key=lambda w: (-self.count(w), w), default=None)

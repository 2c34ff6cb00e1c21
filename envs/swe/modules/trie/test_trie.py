# mypy: disable-error-code="import-not-found"
"""Tests of the bag of words."""

import pytest
from trie import Trie

WORDS = ["car", "card", "cart", "cat", "dog", "do", "card"]


def test_counting() -> None:
    """Each word as often as it was added."""
    trie = Trie(WORDS)
    assert [trie.count(w) for w in ("car", "card", "ca", "cards", "x")] == [1, 2, 0, 0, 0]
    assert len(trie) == 7 and len(Trie()) == 0


def test_membership() -> None:
    """Beginnings of words are no words."""
    trie = Trie(WORDS)
    assert "do" in trie and "dog" in trie
    assert "d" not in trie and "" not in trie and "dogs" not in trie


def test_adding_several_times() -> None:
    """At once."""
    trie = Trie(["dog"])
    trie.add("dog", 3)
    trie.add("do", times=2)
    assert (trie.count("dog"), trie.count("do"), len(trie)) == (4, 2, 6)
    assert trie.starting("d") == 6 and trie.starting("dog") == 4


def test_what_is_no_word() -> None:
    """Is refused and changes nothing."""
    trie = Trie(WORDS)
    for word, times in (("", 1), ("  ", 1), ("dog", 0)):
        with pytest.raises(ValueError):
            trie.add(word, times)
    assert len(trie) == 7


def test_case_and_spaces() -> None:
    """Are ignored, or not."""
    trie = Trie(["Dog ", " DOG"])
    assert trie.count("dog") == 2 and list(trie.words()) == ["dog"]
    strict = Trie(["Dog ", " dog"], fold=False)
    assert strict.count("dog") == 1 and list(strict.words()) == ["Dog", "dog"]


def test_words_that_begin_alike() -> None:
    """Are counted with their repeats."""
    trie = Trie(WORDS)
    assert [trie.starting(p) for p in ("", "c", "car", "card", "do", "dot")] == [7, 5, 4, 2, 2, 0]


def test_listing() -> None:
    """In alphabetical order, each once."""
    trie = Trie(WORDS)
    assert list(trie.words()) == ["car", "card", "cart", "cat", "do", "dog"]
    assert list(trie.words("CAR")) == ["car", "card", "cart"]
    assert list(trie.words("x")) == []


def test_removing() -> None:
    """Once at a time."""
    trie = Trie(WORDS)
    assert trie.remove("card") is True
    assert trie.count("card") == 1 and len(trie) == 6 and trie.starting("car") == 3
    assert trie.remove("card") is True
    assert "card" not in trie and list(trie.words("car")) == ["car", "cart"]
    assert trie.remove("card") is False
    assert len(trie) == 5


def test_removing_a_word_that_others_go_through() -> None:
    """Leaves the others, and the other way round."""
    trie = Trie(["do", "dog"])
    assert trie.remove("do") and list(trie.words()) == ["dog"] and trie.starting("do") == 1
    trie = Trie(["do", "dog"])
    assert trie.remove("dog") and list(trie.words()) == ["do"] and trie.starting("dog") == 0
    assert trie.remove("d") is False and len(trie) == 1


def test_completing() -> None:
    """The most frequent first, then by the alphabet."""
    trie = Trie([*WORDS, "cat", "cat"])
    assert trie.complete("c") == ["cat", "card", "car"]
    assert trie.complete("c", 9) == ["cat", "card", "car", "cart"]
    assert trie.complete("do", limit=1) == ["do"]
    assert trie.complete("x") == []


def test_the_longest_beginning() -> None:
    """Of words, not of letters."""
    trie = Trie(WORDS)
    assert trie.longest_prefix("cardinal") == "card"
    assert trie.longest_prefix("Carpet") == "car"
    assert trie.longest_prefix("dot") == "do"
    assert trie.longest_prefix("cow") == "" and trie.longest_prefix("") == ""


def test_patterns() -> None:
    """A question mark is one letter."""
    trie = Trie(WORDS)
    assert trie.match("ca?") == ["car", "cat"]
    assert trie.match("?o") == ["do"]
    assert trie.match("C?R?") == ["card", "cart"]
    assert trie.match("????") == ["card", "cart"]
    assert trie.match("cat") == ["cat"] and trie.match("x?") == []


def test_correcting() -> None:
    """One letter, at any place; the most frequent word wins."""
    trie = Trie([*WORDS, "cat", "cap"])
    assert trie.correct("Dog") == "dog"
    assert trie.correct("cax") == "cat"
    assert trie.correct("xar") == "car"
    assert trie.correct("carx") == "card"
    assert trie.correct("cxx") is None and trie.correct("") is None

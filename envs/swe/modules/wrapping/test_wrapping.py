# mypy: disable-error-code="import-not-found"
"""Tests of the text functions."""

import pytest
from wrapping import columns, dedent, fill, justify, shorten, words, wrap

TEXT = "the quick brown fox jumps over the lazy dog"


def test_lines_are_filled() -> None:
    """A word goes to the next line only where it does not fit."""
    assert wrap(TEXT, 15) == ["the quick brown", "fox jumps over", "the lazy dog"]
    assert wrap(TEXT, 14) == ["the quick", "brown fox", "jumps over the", "lazy dog"]


def test_the_usual_width_is_forty() -> None:
    """Characters, spaces included."""
    assert wrap("a" * 20 + " " + "b" * 19) == ["a" * 20 + " " + "b" * 19]
    assert wrap("a" * 20 + " " + "b" * 20) == ["a" * 20, "b" * 20]
    assert fill("a" * 20 + " " + "b" * 19) == "a" * 20 + " " + "b" * 19
    assert fill("a" * 20 + " " + "b" * 20) == "a" * 20 + "\n" + "b" * 20


def test_spaces_do_not_matter() -> None:
    """Any white space parts words."""
    assert wrap("  a \n b\t c ", 10) == ["a b c"]
    assert wrap("   ", 10) == []


def test_indentation() -> None:
    """It counts to the width; the later lines may hang differently."""
    assert wrap("aa bb cc", 6, "> ") == ["> aa", "> bb", "> cc"]
    assert wrap("aa bb cc", 7, "> ") == ["> aa bb", "> cc"]
    assert wrap("aa bb cc", 7, "- ", "  ") == ["- aa bb", "  cc"]
    assert wrap("aa bb", 4, "* ", "") == ["* aa", "bb"]
    assert wrap("aa bb", 4, "", "  ") == ["aa", "  bb"]


def test_indentation_must_leave_room() -> None:
    """At least one character."""
    with pytest.raises(ValueError):
        wrap("a b", 2, "> ")
    assert wrap("a b", 3, "> ") == ["> a", "> b"]


def test_long_words_are_cut() -> None:
    """Into pieces of a whole line and a rest."""
    assert words("abcdefgh ij", 3) == ["abc", "def", "gh", "ij"]
    assert words("abcdef", 3) == ["abc", "def"]
    assert wrap("abcdefgh ij", 5) == ["abcde", "fgh", "ij"]


def test_paragraphs_stay() -> None:
    """Empty ones go."""
    assert fill("a b c\n\n\n\nd e\nf", 3) == "a b\nc\n\nd e\nf"
    assert fill("\n\n") == ""


def test_justify() -> None:
    """The left gaps are the wider ones."""
    assert justify("a b c d", 9) == "a  b  c d"
    assert justify("a b c d", 10) == "a  b  c  d"
    assert justify("aa bb", 7) == "aa   bb"


def test_justify_leaves_what_cannot_be_widened() -> None:
    """A lone word, an empty line, a line that is too long."""
    assert justify("  word ", 10) == "word"
    assert justify("", 10) == ""
    assert justify("a b c", 3) == "a b c"


def test_shorten() -> None:
    """Whole words and the mark fit into the width together."""
    assert shorten(TEXT, 15) == "the quick..."
    assert shorten(TEXT, 12) == "the quick..."
    assert shorten(TEXT, 11) == "the..."
    assert shorten(TEXT, 10, "~") == "the quick~"
    assert shorten(TEXT, 2) == "..."


def test_shorten_leaves_what_fits() -> None:
    """Only its spaces are tidied."""
    assert shorten(" a   b ", 3) == "a b"
    assert shorten("a b", 5) == "a b"
    assert shorten("ab cd", 4) == "..."


def test_dedent() -> None:
    """The smallest indentation counts; blank lines have none."""
    assert dedent(["    a", "      b ", "", "    c"]) == ["a", "  b", "", "c"]
    assert dedent(["  a", " ", "   b"]) == ["a", "", " b"]
    assert dedent(["", " "]) == ["", ""]


def test_columns() -> None:
    """Short rows are filled up, nothing is left at the end of a line."""
    assert columns([("name", "size"), ("a", "1", "x"), ("longer",)]) == ["name    size", "a       1     x", "longer"]
    assert columns([("a", "b")], gap=1) == ["a b"]
    assert columns([]) == []


def test_columns_leave_their_rows_alone() -> None:
    """No cell is added to what was given."""
    rows = [["a"], ["b", "c"]]
    columns(rows)
    assert rows == [["a"], ["b", "c"]]

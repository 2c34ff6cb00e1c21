# mypy: disable-error-code="import-not-found"
"""Tests of the numerals."""

import pytest
from roman import LARGEST, RomanError, add, from_roman, is_roman, outline, sort_chapters, to_roman

KNOWN = {
    1: "I", 3: "III", 4: "IV", 5: "V", 8: "VIII", 9: "IX", 10: "X", 14: "XIV", 40: "XL", 49: "XLIX", 60: "LX",
    90: "XC", 99: "XCIX", 400: "CD", 444: "CDXLIV", 500: "D", 700: "DCC", 900: "CM", 1666: "MDCLXVI",
    1987: "MCMLXXXVII", 2024: "MMXXIV", 3999: "MMMCMXCIX",
}  # fmt: skip


def test_known_numbers() -> None:
    """Digits of every kind at every place."""
    for number, text in KNOWN.items():
        assert to_roman(number) == text


def test_known_numerals() -> None:
    """Read back."""
    for number, text in KNOWN.items():
        assert from_roman(text) == number


def test_all_numbers_come_back() -> None:
    """Each has its own numeral."""
    texts = [to_roman(n) for n in range(1, LARGEST + 1)]
    assert [from_roman(t) for t in texts[::7]] == list(range(1, LARGEST + 1))[::7]
    assert len(set(texts)) == 3999


def test_numbers_without_a_numeral() -> None:
    """Zero, negative ones and what is too large."""
    for number in (0, -1, 4000, 5000):
        with pytest.raises(RomanError):
            to_roman(number)


def test_case_and_spaces_do_not_matter() -> None:
    """On reading."""
    assert from_roman(" xiv ") == 14
    assert from_roman("Mcmxc") == 1990


def test_unknown_letters_are_named() -> None:
    """As digits that are none."""
    with pytest.raises(RomanError, match="'Z' is no Roman digit"):
        from_roman("XZ")


def test_unusual_spellings_are_refused() -> None:
    """Unless reading is lenient."""
    for text, number in {"IIII": 4, "VIIII": 9, "IC": 99, "XXXXX": 50, "MMMM": 4000}.items():
        with pytest.raises(RomanError):
            from_roman(text)
        assert from_roman(text, strict=False) == number


def test_nothing_is_no_numeral() -> None:
    """However lenient the reading."""
    for strict in (True, False):
        with pytest.raises(RomanError):
            from_roman("  ", strict)


def test_is_roman() -> None:
    """Answers, and never raises."""
    assert is_roman("XIV") and is_roman("mm")
    assert not is_roman("IIII") and not is_roman("hello") and not is_roman("")


def test_add() -> None:
    """The sum in the usual spelling."""
    assert add("XIV", "VI") == "XX"
    assert add("I", "MCMXCIX") == "MM"
    with pytest.raises(RomanError):
        add("MMM", "M")


def test_outline() -> None:
    """Numerals are set flush right and titles are tidied."""
    assert outline(["One", " Two ", "Three"]) == ["  I. One", " II. Two", "III. Three"]
    assert outline(["Nine", "Ten"], start=9, end=")") == ["IX) Nine", " X) Ten"]
    assert outline(["a", "b"], lower=True) == [" i. a", "ii. b"]
    assert outline([]) == []


def test_chapters_are_sorted() -> None:
    """By number, not by letters."""
    assert sort_chapters(["Part IX", "Part V", "Part I"]) == ["Part I", "Part V", "Part IX"]
    assert sort_chapters(["Preface", "Part X", "Index", "Part II"]) == ["Part II", "Part X", "Preface", "Index"]
    assert sort_chapters(["", "II"]) == ["II", ""]

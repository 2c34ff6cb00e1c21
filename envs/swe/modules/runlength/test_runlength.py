# mypy: disable-error-code="import-not-found"
"""Tests of packing."""

import pytest
from runlength import DecodeError, decode, deltas, encode, flags, mask, pack, ratio, runs, undelta, unpack

TEXTS = ["", "a", "aaab", "abc", "aaabbbccc", "a1b22c333", "\\", "\\\\\\", "1", "aa\\1\\", "x" * 123, "é" * 3 + "😀😀"]


def test_runs() -> None:
    """An item may come back later."""
    assert list(runs("aabccca")) == [("a", 2), ("b", 1), ("c", 3), ("a", 1)]
    assert list(runs([1, 1, 1])) == [(1, 3)]
    assert list(runs("")) == []


def test_long_runs_are_cut() -> None:
    """At the limit."""
    assert list(runs("aaaaabb", 2)) == [("a", 2), ("a", 2), ("a", 1), ("b", 2)]
    assert list(runs("aaaa", longest=4)) == [("a", 4)]
    assert list(runs([0, 0, 0], 1)) == [(0, 1), (0, 1), (0, 1)]


def test_encoding() -> None:
    """A single item has no number."""
    assert encode("aaab") == "3ab"
    assert encode("abc") == "abc"
    assert encode("x" * 12 + "y") == "12xy"
    assert encode("") == ""


def test_encoding_of_digits_and_backslashes() -> None:
    """They stand behind a backslash."""
    assert encode("a11") == "a2\\1"
    assert encode("\\") == "\\\\"
    assert encode("7") == "\\7"


def test_decoding() -> None:
    """Written by hand."""
    assert decode("3ab") == "aaab"
    assert decode("12xy") == "x" * 12 + "y"
    assert decode("2\\13\\\\") == "11\\\\\\"
    assert decode("1a") == "a"


def test_texts_come_back() -> None:
    """Whatever is in them."""
    for text in TEXTS:
        assert decode(encode(text)) == text


def test_what_cannot_be_decoded() -> None:
    """Says why."""
    for packed, why in {"3": "number", "a12": "number", "a\\": "behind the backslash", "0a": "no length"}.items():
        with pytest.raises(DecodeError, match=why):
            decode(packed)


def test_packing_bytes() -> None:
    """Long runs take several pairs."""
    assert pack(b"aaab") == b"\x03a\x01b"
    assert pack(b"\x00" * 256) == b"\xff\x00\x01\x00"
    assert pack(b"z" * 255) == b"\xffz"
    assert pack(b"") == b""


def test_bytes_come_back() -> None:
    """All of them."""
    for data in (b"", b"aaab", bytes(range(256)), b"\x00" * 1000 + b"\x01", b"ab" * 9):
        assert unpack(pack(data)) == data


def test_what_cannot_be_unpacked() -> None:
    """Half a pair and empty runs."""
    with pytest.raises(DecodeError, match="cut"):
        unpack(b"\x01a\x02")
    with pytest.raises(DecodeError, match="no length"):
        unpack(b"\x01a\x00b")


def test_masks() -> None:
    """The first flag is the lowest bit."""
    assert mask([True, False, False, True]) == 9
    assert mask([False, True, True]) == 6
    assert mask([]) == 0


def test_flags() -> None:
    """The number must fit."""
    assert flags(9, 4) == [True, False, False, True]
    assert flags(6, 5) == [False, True, True, False, False]
    assert flags(0, 0) == [] and flags(7, 3) == [True] * 3
    for number, size in ((8, 3), (-1, 3), (1, 0)):
        with pytest.raises(DecodeError):
            flags(number, size)


def test_differences() -> None:
    """The first number is compared with a start."""
    assert deltas([5, 7, 4, 4]) == [5, 2, -3, 0]
    assert deltas([5, 7], first=3) == [2, 2]
    assert deltas([]) == []


def test_numbers_come_back() -> None:
    """From their differences."""
    assert undelta([5, 2, -3, 0]) == [5, 7, 4, 4]
    assert undelta([2, 2], 3) == [5, 7]
    assert undelta(deltas([3, 1, 4, 1, 5], 9), 9) == [3, 1, 4, 1, 5]


def test_the_ratio() -> None:
    """Below 1 where packing helps."""
    assert ratio("aaaa") == 0.5
    assert ratio("11") == 1.5
    assert ratio("") == 1.0

# mypy: disable-error-code="import-not-found"
"""Tests of the calculator."""

import pytest
from calculator import ParseError, Parser, evaluate, tokens


def test_tokens() -> None:
    """Numbers, names and signs, without spaces."""
    assert tokens(" 3.25*(x_1 + 10)") == ["3.25", "*", "(", "x_1", "+", "10", ")"]
    assert tokens("  ") == []
    assert tokens("2 ") == ["2"]


def test_unknown_signs_are_refused() -> None:
    """And the message names them."""
    with pytest.raises(ParseError, match=r"'\$'"):
        tokens("1 $ 2")


def test_sums_run_from_left_to_right() -> None:
    """``a - b - c`` is ``(a - b) - c``."""
    assert evaluate("1 + 2 + 3.5") == 6.5
    assert evaluate("10 - 4 - 3") == 3
    assert evaluate("10 - 4 + 3") == 9


def test_products_run_from_left_to_right() -> None:
    """``a / b / c`` is ``(a / b) / c``."""
    assert evaluate("2 * 3 * 4") == 24
    assert evaluate("24 / 4 / 3") == 2
    assert evaluate("17 % 10 % 4") == 3
    assert evaluate("24 / 4 * 3") == 18


def test_products_bind_stronger_than_sums() -> None:
    """On both sides."""
    assert evaluate("2 + 3 * 4") == 14
    assert evaluate("2 * 3 + 4") == 10
    assert evaluate("10 - 6 / 2") == 7
    assert evaluate("1 + 7 % 4") == 4


def test_parentheses() -> None:
    """Also nested."""
    assert evaluate("(2 + 3) * 4") == 20
    assert evaluate("2 * (3 * (4 - 1))") == 18
    assert evaluate("((7))") == 7


def test_powers_run_from_right_to_left() -> None:
    """``a ^ b ^ c`` is ``a ^ (b ^ c)``, and a power binds stronger than a product."""
    assert evaluate("2 ^ 3 ^ 2") == 512
    assert evaluate("2 * 3 ^ 2") == 18
    assert evaluate("4 ^ 0.5") == 2


def test_signs() -> None:
    """In front of atoms, powers, parentheses and each other."""
    assert evaluate("-3 + 5") == 2
    assert evaluate("-2 ^ 2") == -4
    assert evaluate("2 ^ -1") == 0.5
    assert evaluate("4 * -(2 + 1)") == -12
    assert evaluate("--3") == 3


def test_names() -> None:
    """They are looked up; missing ones are an error that names them."""
    assert evaluate("2 * rate + base", {"rate": 3, "base": 1}) == 7
    with pytest.raises(ParseError, match="'base'"):
        evaluate("2 * rate + base", {"rate": 3})
    with pytest.raises(ParseError):
        evaluate("x")


def test_the_names_are_copied() -> None:
    """A later change of the mapping is not seen."""
    names = {"x": 1.0}
    parser = Parser("x + 1", names)
    names["x"] = 5.0
    assert parser.parse() == 2.0


def test_functions() -> None:
    """With one argument and with more."""
    assert evaluate("abs(-4) + 1") == 5
    assert evaluate("min(3, 1 + 1, 9)") == 2
    assert evaluate("max(3, min(8, 5))") == 5
    assert evaluate("round(2.6)") == 3


def test_a_function_name_alone_is_a_name() -> None:
    """``min`` without parentheses can be a variable."""
    assert evaluate("min * 2", {"min": 4}) == 8


def test_what_is_no_expression_is_refused() -> None:
    """By the error of this module."""
    for text in ("", "1 +", "(1", "1)", "1 2", "* 3", "min(1", "min(1 2)", "min()", "2 ^"):
        with pytest.raises(ParseError):
            evaluate(text)


def test_the_message_counts_tokens_from_one() -> None:
    """And says what would be allowed there."""
    with pytest.raises(ParseError, match=r"expected \) at token 5"):
        evaluate("(1 + 2")
    with pytest.raises(ParseError, match=r"expected , or \) at token 4"):
        evaluate("min(1 2)")


def test_rounding() -> None:
    """To ten digits unless told otherwise."""
    assert evaluate("0.1 + 0.2") == 0.3
    assert evaluate("2 / 3", digits=2) == 0.67
    assert evaluate("1 / 3") == 0.3333333333

"""Arithmetic from text: numbers, names, + - * / % ^, parentheses and a few functions."""

import re
from collections.abc import Mapping
from typing import Any

_TOKEN = re.compile(r"\s*(?:(\d+(?:\.\d+)?)|([A-Za-z_]\w*)|(.))")
_FUNCTIONS: dict[str, Any] = {"abs": abs, "min": min, "max": max, "round": round}


class ParseError(ValueError):
    """The text is no expression."""


def tokens(text: str) -> list[str]:
    """The numbers, names and signs of a text."""
    found: list[str] = []
    for number, name, sign in _TOKEN.findall(text.strip()):
        if sign and sign not in "+-*/%^(),":
            raise ParseError(f"unknown sign {sign!r}")
        found.append(number or name or sign)
    return found


class Parser:
    """Reads one expression by recursive descent and computes it on the way."""

    def __init__(self, text: str, names: Mapping[str, float] | None = None) -> None:
        self._tokens = tokens(text)
        self._names = dict(names or {})
        self._at = 0

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self, *allowed: str) -> str:
        token = self._peek()
        if not token or (allowed and token not in allowed):
            raise ParseError(f"expected {' or '.join(allowed) or 'more'} at token {self._at + 1}")
        self._at += 1
        return token

    def parse(self) -> float:
        """The value of the whole text."""
        value = self._sum()
        if self._at < len(self._tokens):
            raise ParseError(f"unexpected {self._peek()!r}")
        return value

    def _sum(self) -> float:
        value = self._product()
        while self._peek() in ("+", "-"):
            if self._take() == "+":
                value += self._product()
            else:
                value -= self._product()
        return value

    def _product(self) -> float:
        value = self._signed()
        while self._peek() in ("*", "/", "%"):
            sign = self._take()
            other = self._signed()
            if sign == "*":
                value *= other
            elif sign == "/":
                value /= other
            else:
                value %= other
        return value

    def _signed(self) -> float:
        if self._peek() == "-":
            self._take()
            return -self._signed()
        return self._power()

    def _power(self) -> float:
        base = self._atom()
        if self._peek() == "^":
            self._take()
            return float(base ** self._signed())
        return base

    def _atom(self) -> float:
        token = self._take()
        if token == "(":
            value = self._sum()
            self._take(")")
            return value
        if token[0].isdigit():
            return float(token)
        if token in _FUNCTIONS and self._peek() == "(":
            return float(_FUNCTIONS[token](*self._arguments()))
        try:
            return self._names[token]
        except KeyError:
            raise ParseError(f"unknown name {token!r}") from None

    def _arguments(self) -> list[float]:
        self._take("(")
        values = [self._sum()]
        while self._take(",", ")") == ",":
            values.append(self._sum())
        return values


def evaluate(text: str, names: Mapping[str, float] | None = None, digits: int = 10) -> float:
    """The value of an expression, rounded to some digits."""
    return round(Parser(text, names).parse(), digits)

"""What an agent's last words answer, and how FTRL's tasks grade it."""

from __future__ import annotations

import re
from collections import Counter

SPARE = 12  # words around an answer in which ``contains`` looks: else one could say everything
TAG = re.compile(r"<(/?)answer>", re.I)
_MARKED = re.compile(r"^(?:final )?answer:(.*)$", re.I | re.M)


def said(words: str) -> str:
    """The answer in what an agent says: inside of the last ``<answer>...</answer>``, else behind the last ``Answer:`` in its
    line, else all of it. Takes time linear in the text's length.
    """
    inside, start = None, None
    for tag in TAG.finditer(words):
        if not tag[1]:
            start = tag.end()
        elif start is not None:
            inside, start = words[start : tag.start()], None
    if inside is None:
        lines = [line for line in _MARKED.findall(words) if line.strip()]
        inside = lines[-1] if lines else words
    return inside.strip()


def words_of(text: str) -> list[str]:
    """A text's words without case, commas and punctuation, but for what stands right before a digit (-12, 3.5, 3/4, 12:30)."""
    kept = re.sub(r"[^\w\s.:/-]", "", text.replace(",", "").replace("\N{MINUS SIGN}", "-").lower())
    return re.sub(r"[.:/](?!\d)|-(?!\.?\d)", "", kept).split()


def holds(said: str, answer: str) -> bool:
    """All parts of an answer, parted by ", ", stand in a text as whole words, and at most ``SPARE`` words more."""
    found = words_of(said)
    if len(found) > len(words_of(answer)) + SPARE:
        return False
    parts = [part for part in map(words_of, answer.split(", ")) if part]
    return all(any(found[i : i + len(p)] == p for i in range(len(found))) for p in parts)


def f1(said: str, answer: str) -> float:
    """F1 of two texts' words, without case, commas and punctuation, but those of numbers; each word counts as often as it
    stands there.
    """
    a, b = Counter(words_of(said)), Counter(words_of(answer))
    both = sum((a & b).values())
    return 2 * both / (sum(a.values()) + sum(b.values())) if both else 0.0


def solves(result: str, answer: str) -> bool:
    """All parts of an answer, parted by ", ", stand in a result; without case and commas."""
    found = result.lower().replace(",", "")
    return all(part.lower().replace(",", "").strip() in found for part in answer.split(", "))

"""Names of discovered sub-goals: which say the same. One that is proposed twice in other words would be paid twice."""

from __future__ import annotations

import re
from collections.abc import Iterable

FILLERS = frozenset(
    "a an and at by for from in into it its of on onto or some that the then this to up with your".split()
)


def essence(name: str) -> frozenset[str]:
    """The words of a name that matter, without case, fillers and the endings s, es, ed and ing; all where none does."""
    words = re.findall(r"\w+", name.lower())
    kept = [w for w in words if w not in FILLERS] or words
    return frozenset(re.sub(r"(?<=\w{3})(?:ing|ed|es|s)$", "", w) for w in kept)


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """The names in order, without those that say the same as an earlier one: "pick up the key", "pick up key"."""
    first: dict[frozenset[str], str] = {}
    for name in names:
        if name.strip():
            first.setdefault(essence(name), name)
    return tuple(first.values())

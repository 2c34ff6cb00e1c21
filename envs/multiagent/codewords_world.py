"""Boards of ``codewords``: which words, whose they are, and what became of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .codewords_words import TRUE_OF, WORDS

Key = tuple[int, ...]
_CLUES = {w: frozenset(c for c, of in TRUE_OF.items() if w in of) for w in WORDS}  # word -> what is true of it
NEUTRAL, ASSASSIN = -1, -2  # nobody's; teams count from 0


@dataclass
class Clue:
    """A clue that was given."""

    word: str
    number: int
    made: int = 0  # guesses on it


@dataclass
class Board:
    """The state of a game."""

    words: tuple[str, ...]
    key: Key
    """Of each word: the team whose it is, ``NEUTRAL`` or ``ASSASSIN``."""
    open: dict[str, int] = field(default_factory=dict)  # touched word -> the team that touched it, in time order
    clue: dict[int, Clue] = field(default_factory=dict)  # team -> the clue that stands
    clues: dict[int, list[str]] = field(default_factory=dict)  # team -> all its clues as texts
    winner: int | None = None  # team
    lost: int | None = None  # the team that touched the assassin
    counted: dict[int, int] = field(default_factory=dict)  # team -> words found when the last cycle ended
    gained: dict[int, int] = field(default_factory=dict)  # team -> words found in the last cycle
    told: dict[str, str] = field(default_factory=dict)  # agent -> what became of its last action

    def kind(self, word: str) -> int:
        """Whose a word is."""
        return self.key[self.words.index(word)]

    def hidden(self, *kinds: int) -> list[str]:
        """Words that nobody touched yet, in the order of the board; of all kinds if none is named."""
        return [w for w, k in zip(self.words, self.key) if w not in self.open and (not kinds or k in kinds)]

    def found(self, team: int) -> int:
        """How many words of a team were touched, by whomever."""
        return sum(k == team and w in self.open for w, k in zip(self.words, self.key))

    def size(self, team: int) -> int:
        """How many words a team has."""
        return self.key.count(team)


@functools.lru_cache(200_000)
def legal(clue: str, words: tuple[str, ...]) -> bool:
    """Whether a clue is on no board of these words, no part of a word there, and holds none."""
    return not any(clue in w or w in clue for w in words)


def deal(rng: np.random.Generator, size: int, teams: Sequence[int], assassins: int) -> tuple[tuple[str, ...], Key]:
    """Words of a board in random order, and the key.

    Each team's words come in groups of one to three that share a clue which is true of no other kind of word; the other words
    are drawn from those of which none of these clues is true, rather those like a team's words in other ways; the assassin is
    the one that has most in common with a team's word.

    Args:
        rng: source of randomness.
        size: of the board.
        teams: words of each team.
        assassins: their number.
    """
    while True:  # a try rarely fails
        board = _try(rng, size, teams, assassins)
        if board is not None:
            order = rng.permutation(size)
            words, kinds = zip(*(board[i] for i in order))
            return words, kinds


def _try(rng: np.random.Generator, size: int, teams: Sequence[int], assassins: int) -> list[tuple[str, int]] | None:
    clues = sorted(TRUE_OF)
    board: dict[str, int] = {}
    clean: list[tuple[str, int]] = []  # clue, and the team whose words alone it may be true of
    for team, wanted in enumerate(teams):
        mine: list[str] = []
        for k in rng.permutation(len(clues)):
            of = TRUE_OF[clues[k]]
            if any(kind != team and w in of for w, kind in board.items()):
                continue
            barred = frozenset().union(*(TRUE_OF[c] for c, t in clean if t != team))
            free = sorted(of.difference(board, barred))
            chosen = rng.permutation(len(free))[: min(int(rng.integers(1, 4)), wanted - len(mine))]
            if len(chosen):
                clean.append((clues[k], team))
                mine += [free[i] for i in chosen]
                board |= dict.fromkeys((free[i] for i in chosen), team)
            if len(mine) == wanted:
                break
    barred = frozenset().union(*(TRUE_OF[c] for c, _ in clean))
    free = [w for w in WORDS if w not in barred and w not in board]
    rest = size - len(board)
    if len(free) < rest or len(board) != sum(teams):
        return None
    lures = np.array([1 + sum(_CLUES[w] & _CLUES[m] != frozenset() for m in board) for w in free], float) ** 2
    others = [free[i] for i in rng.choice(len(free), rest, replace=False, p=lures / lures.sum())]
    others.sort(key=lambda w: -max(len(_CLUES[w] & _CLUES[m]) for m in board))
    board |= {w: ASSASSIN if k < assassins else NEUTRAL for k, w in enumerate(others)}
    return list(board.items()) if all(legal(c, tuple(board)) for c, _ in clean) else None

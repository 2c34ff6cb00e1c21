"""Preferences from a ranking of factors: the most important one that differs enough decides.

    i before j  if  s_l z_l(i) > s_l z_l(j) + delta_l  at the first level l at which either is so;    delta_l = sigma_l std(z_l)

HERON, "Learning reward for reinforcement learning from hierarchical weak preferences" (arXiv 2309.02632), formula from the
authors' code: factors in order of importance, each with a direction s = +1 or -1; a pair that no level decides is left out.
The deviation is taken over the batch, as the population's [I]; ``ddof=1`` is the sample's.

Laws: ``compare(a, b) = -compare(b, a)``; what a higher level has decided no lower one turns round; a factor times a positive
number, or plus a constant, changes no preference. Indifference is not transitive: with margins a may tie with b and b with
c while a beats c, so a batch is ranked by wins minus losses [I]. Without margins that is the lexicographic order itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..maths import known
from ..scorers.settings import check
from ..types import Floats, Trajectory


class Factor(NamedTuple):
    """One level of the ranking."""

    key: str
    """What ``read`` is asked for."""
    direction: int = 1
    """1: more is better; -1: less is."""
    sigma: float = 0.0
    """Margin in deviations of the batch."""
    margin: float = 0.0
    """Margin in the factor's own unit, added."""


def fact(thing: Any, key: str) -> float:
    """A factor of a mapping, or of an episode: its ``return``, its ``length``, or a key of its last info. NaN: unknown."""
    if isinstance(thing, Trajectory):
        if key == "return":
            return float(thing.rewards.sum())
        if key == "length":
            return float(len(thing))
        thing = thing.infos[-1]
    return float(known(thing[key]))


@dataclass
class Lexicographic:
    """Compares by factors in order.

    Raises:
        ValueError: no factor, a direction that is neither 1 nor -1, or a margin below 0.
    """

    factors: Sequence[Any]
    """``Factor``s, or tuples of their fields, the most important first."""
    read: Callable[[Any, str], float] = fact
    """``(thing, key) -> number``; NaN at a level decides nothing there."""
    ddof: int = 0
    """Of the deviation."""

    def __post_init__(self) -> None:
        try:
            self.factors = tuple(Factor(*f) if not isinstance(f, str) else Factor(f) for f in self.factors)
        except TypeError as e:
            raise ValueError(f"lexicographic: a factor is (key, direction, sigma, margin): {e}") from None
        if not self.factors:
            raise ValueError("lexicographic: factors is empty; allowed: at least one")
        for f in self.factors:
            if not isinstance(f.key, str) or f.direction not in (1, -1):
                raise ValueError(f"lexicographic: {tuple(f)!r}; allowed: a key and the direction 1 or -1")
            check("lexicographic", f"sigma of {f.key!r}", f.sigma, 0.0)
            check("lexicographic", f"margin of {f.key!r}", f.margin, 0.0)
        check("lexicographic", "ddof", self.ddof, 0, 1, whole=True)

    def values(self, batch: Sequence[Any]) -> Floats:
        """``(n, levels)`` factors, each times its direction."""
        rows = [[f.direction * float(self.read(x, f.key)) for f in self.factors] for x in batch]
        return np.array(rows, np.float64).reshape(len(batch), len(self.factors))

    def margins(self, values: Floats) -> Floats:
        """``(levels,)`` delta over a batch of ``values``."""
        z = zip(self.factors, values.T)
        return np.array([f.margin + (f.sigma * _std(column, self.ddof) if f.sigma else 0.0) for f, column in z])

    def signs(self, values: Floats, margins: Floats | None = None) -> NDArray[np.int64]:
        """``(n, n)``: 1 where the row's is better than the column's, -1 where it is worse, 0 where nothing decides."""
        delta = self.margins(values) if margins is None else margins
        out = np.zeros((len(values), len(values)), np.int64)
        for column, d in zip(values.T, delta):
            gap = column[:, None] - column[None]
            out = np.where(out, out, (gap > d).astype(np.int64) - (gap < -d))
        return out

    def compare(self, a: Any, b: Any, margins: Floats | None = None) -> int:
        """1: the first is better; -1: the second; 0: neither. ``margins``: those of a batch; None: fixed ones alone."""
        fixed = np.array([f.margin for f in self.factors])
        return int(self.signs(self.values([a, b]), fixed if margins is None else margins)[0, 1])

    def pairs(self, batch: Sequence[Any]) -> NDArray[np.int64]:
        """``(p, 2)`` numbers of the better and the worse in the batch, for each pair that is decided."""
        return self.pairs_of(self.values(batch))

    def pairs_of(self, values: Floats) -> NDArray[np.int64]:
        """``pairs`` of ``values``."""
        return np.argwhere(self.signs(values) > 0).astype(np.int64)

    def rank(self, batch: Sequence[Any]) -> NDArray[np.int64]:
        """``(n,)`` places, 0 for the best, by wins minus losses; equal ones in their order."""
        won = self.signs(self.values(batch)).sum(1)
        out = np.empty(len(won), np.int64)
        out[np.argsort(-won, kind="stable")] = np.arange(len(won))
        return out

    def judge(self, a: Any, b: Any) -> tuple[float, float]:
        """Two scores for a tournament (``TournamentAdvantage(compare=...)``): 1 and 0, or a half each."""
        sign = self.compare(a, b)
        return (1.0 + sign) / 2, (1.0 - sign) / 2


def _std(x: Floats, ddof: int) -> float:
    known = x[~np.isnan(x)]
    return float(known.std(ddof=ddof)) if len(known) > ddof else 0.0

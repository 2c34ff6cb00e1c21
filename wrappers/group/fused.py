"""Outcome and process rewards normalised apart, then added.

    A_i,t = norm(R_i) + alpha norm(p_i,t)                                              (iStar)
    A_i,t = sum_{k >= t} gamma^(k - t) x_i,k,    x = alpha norm(p), at the last step norm(R)     (IGPO)

iStar, "Agentic RL with implicit step rewards" (arXiv 2509.19199), and IGPO (arXiv 2510.14967). R_i is what the episode earned
without the process terms, normalised over the group; p are the process terms, normalised over all steps of all its episodes.
iStar's normaliser is leave-one-out for WebShop and Sokoban, the z-score for SOTOPIA; IGPO's is the z-score of the population.
With ``gamma=None`` the first line, with a number the second.

Invariance: none; a group whose outcomes and process rewards are equal gets 0, and so does a group of one (its process rewards
are still compared with each other).

Departures: iStar's code takes one step of each episode only into the mean of the steps; here, as in the paper, all.
IGPO's code loses a turn whose normalised reward is exactly 0; here it stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..maths import pooled, rloo, togo, zscore
from ..shaper import Shaper, nearest
from ..types import Floats, Group


@dataclass
class FusedAdvantage(Shaper):
    """Advantage of the outcome plus advantage of the step.

    Raises:
        ValueError: a setting outside its range; or, at a group, a process term that its account lacks.
    """

    process: tuple[str, ...] = ("implicit_process",)
    """Names of the process terms in the account; all others are the outcome."""
    alpha: float = 1.0
    """Weight of the process."""
    norm: Literal["rloo", "zscore"] = "rloo"
    """Leave-one-out, or the z-score."""
    ddof: int = 0
    """Of the z-score: 0 population, 1 sample."""
    eps: float = 1e-6
    """Guards the division of the z-score."""
    gamma: float | None = None
    """None: the outcome counts at every step; a number: at the last, and A is the discounted rest."""
    last: bool = True
    """The last step has a process reward; IGPO's has none and is left out of the normaliser."""
    output = "advantage"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.process:
            raise ValueError("fused_advantage: process is empty; allowed are names of terms, at least one")
        if self.eps < 0 or self.ddof not in (0, 1) or (self.gamma is not None and not 0 <= self.gamma <= 1):
            raise ValueError(
                f"fused_advantage: eps is {self.eps}, ddof {self.ddof} and gamma {self.gamma}; "
                "allowed are eps from 0, ddof 0 or 1, gamma 0 to 1 or None"
            )

    def _norm(self, x: Floats) -> Floats:
        return rloo(x) if self.norm == "rloo" else zscore(x, self.ddof, self.eps)

    def group(self, group: Group) -> list[Floats]:
        """A of each step."""
        for t in group:
            for name in self.process:
                if name not in t.terms:
                    there = f"{nearest(name, t.terms)} The account has: {', '.join(t.terms)}"
                    raise ValueError(f"fused_advantage: no term is called {name!r}{there}")
        steps = [np.sum([t.terms[n] for n in self.process], axis=0) for t in group]
        outcome = self._norm(np.array([t.rewards.sum() - s.sum() for t, s in zip(group, steps)]))
        if self.last:
            steps = pooled(self._norm, steps)
        else:
            steps = [np.append(s, 0.0)[: len(t)] for s, t in zip(pooled(self._norm, [s[:-1] for s in steps]), group)]
        if self.gamma is None:
            return [a + self.alpha * s for a, s in zip(outcome, steps)]
        out = []
        for a, s in zip(outcome, steps):
            x = self.alpha * s
            x[-1:] += a
            out.append(togo(x, self.gamma))
        return out

"""MatchTIR's advantage: how good the whole episode was in its group, and how good the rest of it was at each turn.

    A_g,i   = zscore over the group of sum_t r_i,t
    R_i,t   = sum_{k >= t} gamma^(k - t) r_i,k,    A_l,i,t = zscore over the episodes that have a turn t of R_i,t
    A_i,t   = A_g,i + A_l,i,t

"MatchTIR" (arXiv 2601.10712); for the rewards of ``ToolMatch``, but any per-turn rewards will do. A turn is a step.

Paper and code: the paper adds the two levels, the authors' code halves the sum: ``combine="mean"``. The sample's std
(``ddof=1``), ``eps`` and gamma are the code's. Where one episode alone reaches a turn, the code takes mean 0 and std 1, so that
A_l is R itself, unlike every other turn's: ``alone="raw"``; the default 0 is ours.

Invariance: none. A group whose returns are equal has A_l alone; one that is equal turn by turn, or of one episode, gets 0.
Scaling all rewards changes nothing but for ``eps``.

Departures: r is the reward as it reaches this layer, the environment's included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..maths import pad, togo, unpad, zscore
from ..shaper import Shaper
from ..types import Floats, Group


@dataclass
class DualLevelAdvantage(Shaper):
    """Return and discounted rest of the episode, both against the group.

    Raises:
        ValueError: a setting outside its range.
    """

    gamma: float = 0.9
    """Discount of the rest of the episode."""
    combine: Literal["sum", "mean"] = "sum"
    """The paper's sum of the two levels, or the code's mean."""
    ddof: int = 1
    """Degrees of freedom taken off: 0 population, 1 sample."""
    eps: float = 1e-6
    """Guards the divisions."""
    alone: Literal["zero", "raw"] = "zero"
    """A_l of a turn that one episode alone reaches: 0, or the code's R."""
    output = "advantage"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.gamma <= 1.0:
            raise ValueError(f"dual_level_advantage: gamma = {self.gamma}, allowed is 0 to 1")
        if self.eps < 0 or self.ddof not in (0, 1):
            raise ValueError(
                f"dual_level_advantage: eps is {self.eps} and ddof {self.ddof}, allowed are eps from 0 and ddof 0 or 1"
            )

    def group(self, group: Group) -> list[Floats]:
        """A of each step."""
        whole = zscore(np.array([t.rewards.sum() for t in group]), self.ddof, self.eps)
        rest = pad([togo(t.rewards, self.gamma) for t in group])
        turn = zscore(rest, self.ddof, self.eps, axis=0)
        if self.alone == "raw":
            turn = np.where((~np.isnan(rest)).sum(0) == 1, rest, turn)
        weight = 0.5 if self.combine == "mean" else 1.0
        return [weight * (a + b) for a, b in zip(whole, unpad(turn, group))]

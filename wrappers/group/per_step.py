"""Rewards of one time step against the same step of the group's other episodes.

    A_i,t = clip((r_i,t - mean r_t) / (std r_t + eps), -limit, limit),    over the episodes that have a step t

"TP-GRPO" (arXiv 2602.06422), whose code normalises per time step and prompt and cuts at 5; for the rewards of
``TurningPoints``.

Invariance: none. A step that one episode alone reaches, and a group that earns the same at every step, get 0.

Departures: episodes are of one length in the paper; here ragged ones are aligned at their start.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..maths import clip, pad, unpad, zscore
from ..shaper import Shaper
from ..types import Floats, Group


@dataclass
class PerStepNorm(Shaper):
    """The z-score of each time step.

    Raises:
        ValueError: a setting outside its range.
    """

    eps: float = 1e-4
    """Guards the division."""
    ddof: int = 0
    """Degrees of freedom taken off: 0 population, 1 sample."""
    limit: float = 5.0
    """Largest size of an advantage."""
    output = "advantage"
    unbounded = ("limit",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eps < 0 or self.ddof not in (0, 1) or not self.limit > 0:
            raise ValueError(
                f"per_step_norm: eps is {self.eps}, ddof {self.ddof} and limit {self.limit}; "
                "allowed are eps from 0, ddof 0 or 1, a positive limit"
            )

    def group(self, group: Group) -> list[Floats]:
        """A of each step."""
        scores = zscore(pad([t.rewards for t in group]), self.ddof, self.eps, axis=0)
        return unpad(np.asarray(clip(scores, -self.limit, self.limit)), group)

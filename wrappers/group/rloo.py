"""REINFORCE leave-one-out (RLOO).

    A_i = R_i - 1/(G - 1) sum_{j != i} R_j, the same at every step of episode i

Ahmadian et al. (2024), "Back to basics", arXiv 2402.14740; Kool, van Hoof and Welling (2019). Unlike GRPO nothing is
divided, so the estimator of the policy gradient is unbiased.

Invariance: none; a group of one gets 0.

Departures: none; the return is the sum of the rewards as they reach this layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..maths import by, rloo
from ..shaper import Shaper
from ..types import Floats, Group


@dataclass
class Rloo(Shaper):
    """Each episode's return against the mean of the others in its group."""

    by: str = ""
    """A ``meta`` key that splits the group further."""
    output = "advantage"

    def group(self, group: Group) -> list[Floats]:
        """One value an episode, repeated over its steps."""
        out = [np.zeros(len(t)) for t in group]
        for side in by(group, self.by):
            for i, a in zip(side, rloo(np.array([group[i].rewards.sum() for i in side]))):
                out[i] = np.full(len(group[i]), a)
        return out

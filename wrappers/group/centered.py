"""Each episode's return minus the mean of its group, not divided by anything.

    A_i = R_i - mean R

"Beyond monolithic rewards" (HARMO, arXiv 2510.05283), to avoid the bias towards tasks whose returns vary little; the same
estimator is Dr. GRPO's (arXiv 2503.20783).

Invariance: none. Advantages of a group sum to 0 and scale with the rewards; a group of one gets 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..maths import by, center
from ..shaper import Shaper
from ..types import Floats, Group


@dataclass
class Centered(Shaper):
    """The return without the group's mean."""

    by: str = ""
    """A ``meta`` key that splits the group further."""
    output = "advantage"

    def group(self, group: Group) -> list[Floats]:
        """One value an episode, repeated over its steps."""
        out = [np.zeros(len(t)) for t in group]
        for side in by(group, self.by):
            for i, a in zip(side, center(np.array([group[i].rewards.sum() for i in side]))):
                out[i] = np.full(len(group[i]), a)
        return out

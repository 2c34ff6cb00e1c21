"""Group-relative advantage (GRPO).

    A_i = (R_i - mean R) / (std R + eps), the same at every step of episode i

Shao et al. (2024), "DeepSeekMath", arXiv 2402.03300, sec. 4.1.2 (outcome supervision). The paper writes std without saying
which; ``ddof=0`` is the population's, most code (torch's ``std``) has ``ddof=1``.

Invariance: none; a group whose returns are all equal, or a group of one, gets 0.

Departures: verl gives a group of one its raw reward; here 0. The return is the sum of the rewards as they reach this layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..maths import by, zscore
from ..shaper import Shaper
from ..types import Floats, Group


@dataclass
class Grpo(Shaper):
    """Each episode's return against those of its group.

    Raises:
        ValueError: a negative ``eps``, or a ``ddof`` that is neither 0 nor 1.
    """

    eps: float = 1e-4
    """Guards the division."""
    ddof: int = 0
    """Degrees of freedom taken off: 0 population, 1 sample."""
    by: str = ""
    """A ``meta`` key that splits the group further."""
    output = "advantage"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eps < 0 or self.ddof not in (0, 1):
            raise ValueError(f"grpo: eps is {self.eps} and ddof {self.ddof}, allowed are eps from 0 and ddof 0 or 1")

    def group(self, group: Group) -> list[Floats]:
        """One value an episode, repeated over its steps."""
        out = [np.zeros(len(t)) for t in group]
        for side in by(group, self.by):
            for i, a in zip(side, zscore(np.array([group[i].rewards.sum() for i in side]), self.ddof, self.eps)):
                out[i] = np.full(len(group[i]), a)
        return out

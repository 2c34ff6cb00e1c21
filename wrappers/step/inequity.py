"""Inequity aversion: it hurts to have less than others, and a little to have more.

    e_i <- gamma lambda e_i + r_i                                                              (eq. 5; e_i = 0 at a reset)
    r'_i = r_i - alpha / (N - 1) sum_{j != i} max(e_j - e_i, 0) - beta / (N - 1) sum_{j != i} max(e_i - e_j, 0)       (eq. 4)

Hughes et al. (2018), "Inequity aversion improves cooperation in intertemporal social dilemmas", NeurIPS, arXiv
1803.08884. alpha is envy (disadvantageous inequity), beta guilt (advantageous). Smoothing makes rewards comparable that
fall on different steps; without it (``lam=0``) this is Fehr and Schmidt (1999), "A theory of fairness, competition, and
cooperation" (eq. 3 there), with e_i = r_i.

What comes from where ([T]: third-party sources, [I]: recalled, not read again): equations 3 to 5 [T, an independent
implementation agrees]; alpha = 5 and beta = 0.05 [T]; gamma = 0.99 and lambda = 0.975 [I]. The paper's agents have one
of the two aversions: ``beta=0`` or ``alpha=0``.

Invariance: none; the sum of the team falls by the inequity. With equal rewards, or alone, nothing changes.

Hacks: a reward below others' can be answered by lowering theirs; that is the model's envy, not an error. With alpha
this large an agent may rather nobody earns.

Hosts: Parallel. Where agents take turns their rewards do not come together: convert with ``aec_to_parallel``, or shape
first and then convert with ``parallel_to_aec``. A lone environment keeps its reward.

Departures: only those who step together are compared, so one that has left is envied no more, and N is their number
[I]. All agents have the same alpha and beta; the paper's may differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..shaper import Shaper
from ..types import Transition


@dataclass
class InequityAversion(Shaper):
    """Takes off envy and guilt. The state is e, a float.

    Raises:
        ValueError: a setting outside its range.
    """

    alpha: float = 5.0
    """Envy: weight of what others have more."""
    beta: float = 0.05
    """Guilt: weight of what others have less."""
    gamma: float = 0.99
    """Discount of the agents."""
    lam: float = 0.975
    """Decay of the smoothed reward; 0: the reward of this step alone."""
    pool = "joint"
    additive = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("alpha", "beta"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"inequity_aversion: {name} = {getattr(self, name)}, allowed is 0 or more")
        for name in ("gamma", "lam"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"inequity_aversion: {name} = {getattr(self, name)}, allowed is 0 to 1")

    def init(self, obs: Any, info: dict[str, Any]) -> float:
        """Nothing earned yet."""
        return 0.0

    def steps(self, states: list[Any], ts: Sequence[Transition]) -> list[Any]:
        """Compares those who step together."""
        r = np.array([t.reward for t in ts], np.float64)
        e = self.gamma * self.lam * np.array(states, np.float64) + r
        states[:] = e.tolist()
        more = e[None, :] - e[:, None]  # what j has more than i
        hurt = self.alpha * np.maximum(more, 0).sum(1) + self.beta * np.maximum(-more, 0).sum(1)
        return list(map(float, r - hurt / max(len(r) - 1, 1)))

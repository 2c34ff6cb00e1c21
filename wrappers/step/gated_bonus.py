"""A secondary reward that counts only as far as the main one is earned.

    R = fmt + acc (1 + sum_k w_k c_k)

"R1-Reward" (StableReinforce, arXiv 2505.02835): acc is the outcome, c the verdict of a referee on whether the reasoning
supports the answer, w = 0.5. Here: what the gate's term paid, times the bonuses, is added to the reward; form (0.5 a
correct form in the authors' code) is the environment's own term. The paper's note has c in {0, 1}, the code c in {-1, 0,
1}.

Kin to G-RA, which gates by a threshold.

Invariance: none. With the gate's term at 0 nothing is added, whatever the verdicts were.

Departures: a verdict that is missing, None or NaN counts as 0 and is counted in ``stats``; the authors' code pays 1 where its
verifier fails.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..maths import known
from ..shaper import Shaper, nearest
from ..types import Transition


@dataclass
class GatedBonus(Shaper):
    """Adds to a term a share of itself for each verdict.

    Raises:
        ValueError: a bonus that is no finite number; or, at a step, an unknown term.
    """

    gate: str = "outcome"
    """Term of the account that must be earned."""
    bonus: Mapping[str, float] = field(default_factory=lambda: {"consistent": 0.5})
    """Info key of a verdict, in [-1, 1] -> weight."""

    def setup(self, rng: np.random.Generator) -> None:
        """Nothing failed."""
        super().setup(rng)
        self._stats = {"unanswered": 0}

    def step(self, state: Any, t: Transition) -> tuple[Any, Any]:
        """Pays the bonus."""
        if self.gate not in t.terms:
            there = f"{nearest(self.gate, t.terms)} The account has: {', '.join(t.terms)}"
            raise ValueError(f"gated_bonus: no term is called {self.gate!r}{there}")
        earned = float(t.terms[self.gate])
        if not earned:
            return t.reward, None
        share = 0.0
        for key, weight in self.bonus.items():
            verdict = known(t.info.get(key))
            if math.isnan(verdict):
                self._stats["unanswered"] += 1
            else:
                share += weight * verdict
        return t.reward + earned * share, None

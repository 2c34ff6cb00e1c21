"""ReNorm: scores of the process count, but never against the outcome.

    r'_t = p_t + r_o - beta  for t < T,    r'_T = r_o        p_t = s_t / m_t, the score of turn t over its maximum, in [0, 1]

"PPR" (arXiv 2509.25598), principle process reward with reward normalisation; r_o is the outcome, exact match in {0, 1} there
and ``info["success"]`` here, and beta is 1. Formulas from the authors' code. An episode of fewer than ``min_turns`` turns has
the outcome alone.

With beta = 1 no turn of a failed episode earns more than 0, and none of a successful one less, whatever the process scores
say. beta = 0 is the plain sum, which process scores can lead astray.

A score is invalid if it is below 0 or above its maximum, or the maximum is not above 0; NaN and None too, which is a judge's
"no answer". Then p is 0 (``invalid="zero"``: in a failed episode that costs beta), or the turn is left out (``"skip"``: it
earns 0). ``stats`` counts them.

Hacks: every further turn costs 1 - p in a failed episode and pays p in a successful one, so an agent that succeeds earns
more by going on with turns that score well. Bound the number of turns, or let scores of useless turns be 0.

Invariance: none.

Departures: none with ``combine="replace"``, where all earlier rewards of the episode, dense ones too, give way to this one.
``combine="add"`` is ours: the rewards stay, the environment's own for the outcome among them, and p_t + r_o - beta is added to
all steps but the last. A turn is a step.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..maths import known, number
from ..shaper import Shaper
from ..types import Floats, Trajectory


@dataclass
class ReNorm(Shaper):
    """Pays process scores, shifted by the outcome.

    Raises:
        ValueError: a setting outside its range, or an outcome that is no finite number.
        MissingFact: the environment does not publish the score, its maximum, or the outcome.
    """

    beta: float = 1.0
    """Taken off at all steps but the last."""
    invalid: Literal["zero", "skip"] = "zero"
    """An invalid score counts as 0, or its turn earns nothing."""
    min_turns: int = 2
    """Shorter episodes have the outcome alone."""
    key: str = "process_score"
    """Info key of the score, published at every step."""
    maximum: float | str = 1.0
    """The largest score there is: a number or an info key."""
    outcome: str = "success"
    """Key of the last info with the outcome, a number or a truth value."""
    combine: Literal["replace", "add"] = "replace"
    """The paper's rewards instead of those so far, or beside them (then the outcome is the environment's to pay)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.beta < math.inf:
            raise ValueError(f"re_norm: beta = {self.beta}, allowed is 0 or more")
        if self.min_turns < 1:
            raise ValueError(f"re_norm: min_turns = {self.min_turns}, allowed is a number from 1")
        if not isinstance(self.maximum, str) and not 0.0 < self.maximum < math.inf:
            raise ValueError(f"re_norm: maximum = {self.maximum}, allowed is a number above 0 or an info key")

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The score, its maximum if it is read, and the outcome."""
        return (self.key, *((self.maximum,) if isinstance(self.maximum, str) else ()), self.outcome)

    @property
    def additive(self) -> bool:  # type: ignore[override]
        """Where the rewards so far stay."""
        return self.combine == "add"

    def setup(self, rng: np.random.Generator) -> None:
        """``_stats`` counts scores, and invalid ones."""
        self._stats: Counter[str] = Counter({"scores": 0, "invalid scores": 0})

    def process(self, info: dict[str, Any]) -> float:
        """The score p of a step, in [0, 1]; NaN if invalid."""
        s, m = info[self.key], info[self.maximum] if isinstance(self.maximum, str) else self.maximum
        s, m = known(s), known(m)
        return s / m if m > 0 and 0 <= s <= m else math.nan

    def episode(self, traj: Trajectory) -> Floats:
        """Shifts the scores by the outcome."""
        n, last = len(traj), traj.infos[-1]
        if not n:
            return np.zeros(0)
        outcome = number(last[self.outcome])
        if not math.isfinite(outcome):
            raise ValueError(f"re_norm: the outcome info[{self.outcome!r}] is {outcome}, a finite number is expected")
        p = np.array([self.process(info) for info in traj.infos[1:-1]])
        lost = np.isnan(p)
        self._stats["scores"] += len(p)
        self._stats["invalid scores"] += int(lost.sum())
        out = np.where(lost, 0.0, p) + outcome - self.beta
        if self.invalid == "skip":
            out[lost] = 0.0
        if n < self.min_turns:
            out[:] = 0.0
        return traj.rewards + np.append(out, 0.0) if self.combine == "add" else np.append(out, outcome)

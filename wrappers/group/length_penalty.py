"""A penalty for short wrong answers, by the length of the right ones of their group.

    L_ref = mean length of the right ones,   r_i = - p_max min(1, (L_ref - L_i) / (tau L_ref))  for wrong i shorter than L_ref

"Beyond monolithic rewards" (HARMO, arXiv 2510.05283). That the penalty is relative to the group, needs a right sample, has the
parameters P_max and tau and is meant to stop short-answer hacking is the paper's; the formula is our reading. ``two_sided``
takes too long wrong answers alike.

Invariance: none. Right samples are never touched, nor is a group without one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..maths import number
from ..shaper import Shaper
from ..types import Floats, Group, Trajectory


@dataclass
class LengthPenalty(Shaper):
    """Takes from wrong episodes that gave up early, at their last step.

    Raises:
        ValueError: a setting outside its range.
        MissingFact: the environment does not publish success, or the length that was named.
    """

    p_max: float = 0.5
    """Largest penalty."""
    tau: float = 0.5
    """Share of L_ref by which an answer may be shorter until the penalty is largest."""
    two_sided: bool = False
    """Too long wrong answers too."""
    success: str = "success"
    """Info key, read at the last step."""
    length: str = ""
    """Info key of the length, read at the last step; ``""``: the number of steps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.p_max < 0 or not self.tau > 0:
            raise ValueError(f"length_penalty: p_max is {self.p_max} and tau {self.tau}; allowed: from 0, above 0")

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Success and, if it is named, the length."""
        return (self.success, self.length) if self.length else (self.success,)

    def _length(self, t: Trajectory) -> float:
        return float(number(t.infos[-1][self.length])) if self.length else float(len(t))

    def group(self, group: Group) -> list[Floats]:
        """The rewards, with the penalty at the last steps."""
        out = [t.rewards.copy() for t in group]
        right = [len(t) > 0 and bool(t.infos[-1][self.success]) for t in group]
        if not any(right):
            return out
        usual = float(np.mean([self._length(t) for t, ok in zip(group, right) if ok]))
        for rewards, t, ok in zip(out, group, right):
            gap = usual - self._length(t)
            if not ok and len(t) and usual > 0 and (gap > 0 or self.two_sided):
                rewards[-1] -= self.p_max * min(1.0, abs(gap) / (self.tau * usual))
        return out

"""Score delta: pays each change of the environment's cumulative score.

    r'_t = r_t + (s_t - s_{t-1}) / max_score

"A practitioner's guide to multi-turn agentic reinforcement learning" (arXiv 2510.01132), the dense reward of its text worlds
(the branch of episodes that are not won, which is the one known online; the divisor of won episodes, the number of positive
changes, is known only at the end: ``ScoreDeltaWin``). With a fixed divisor it is the difference of the potential
``s / max_score`` at discount 1 whose terminal value is kept, so it is *not* policy-invariant.

Invariance: none. It telescopes: the sum over an episode is (s_T - s_0) / max_score, so an oscillating score earns nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..maths import number
from ..shaper import Shaper
from ..types import Transition


@dataclass
class ScoreDelta(Shaper):
    """Pays each change of ``info[key]``, divided by a fixed number."""

    key: str = "score"
    """Info key of the cumulative score."""
    max_key: str = "max_score"
    """Info key of the largest score, read when ``max_score`` is None."""
    max_score: float | None = None
    """Fixed divisor; None: ``info[max_key]``."""
    beta: float = 1.0
    """Factor of the change."""
    columnar = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_score is not None and self.max_score <= 0:
            raise ValueError(f"score_delta: max_score is {self.max_score}, allowed is a number above 0")

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The keys it reads."""
        return (self.key,) if self.max_score is not None else (self.key, self.max_key)

    def init(self, obs: Any, info: dict[str, Any]) -> Any:
        """The first score."""
        return number(info[self.key])

    def step(self, state: Any, t: Transition) -> tuple[Any, Any]:
        """Pays the change."""
        score = number(t.info[self.key])
        largest = self.max_score if self.max_score is not None else number(t.info[self.max_key])
        return t.reward + self.beta * (score - state) / largest, score

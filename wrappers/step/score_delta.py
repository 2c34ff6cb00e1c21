"""Change of the score as a dense reward, paid online.

    r'_t = r_t + (score_t - score_{t-1}) / max_score

"A practitioner's guide to multi-turn agentic reinforcement learning" (arXiv 2510.01132), the dense reward of its TextWorld
experiments on a lost episode; on a won one the authors' code divides by the number of positive changes, which is known at
the end only: ``ScoreDeltaWin``. A score that goes up and down again pays nothing in sum: the episode is paid
``(score_T - score_0) / max_score``.

Invariance: none (a potential without discount whose terminal value is kept: it adds the final score to the return).

Departures: the delta is added to the reward, where the paper pays it instead; ``[Scale(0.0), ScoreDelta()]`` is the paper's.
An environment whose own reward is the change of the score needs no such layer.
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
    """Adds each change of ``info[key]``, divided by the largest score there is.

    The state is the last score, a float or ``(lanes,)`` float64. Columnar.

    Raises:
        ValueError: a fixed ``max_score`` that is not positive.
        MissingFact: the environment does not publish the score or its maximum.
    """

    key: str = "score"
    """Info key of the cumulative score, published at the reset and at every step."""
    max_score: float | str | None = "max_score"
    """Divisor: a number, an info key (a game whose maximum is 0 is not divided), or None for the raw change."""
    columnar = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.max_score, str) and self.max_score is not None and self.max_score <= 0:
            raise ValueError(f"score_delta: max_score = {self.max_score}, allowed is a positive number, a key or None")

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The score and, if it is read, its maximum."""
        return (self.key, self.max_score) if isinstance(self.max_score, str) else (self.key,)

    def init(self, obs: Any, info: dict[str, Any]) -> Any:
        """The score of the first state."""
        return number(info[self.key])

    def step(self, state: Any, t: Transition) -> tuple[Any, Any]:
        """Pays the change."""
        score = number(t.info[self.key])
        change = score - state
        if isinstance(self.max_score, str):
            most = number(t.info[self.max_score])
            change = change / (most + (most == 0))
        elif self.max_score is not None:
            change = change / self.max_score
        return t.reward + change, score

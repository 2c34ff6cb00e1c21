"""Rule where there is one, model where there is none.

    R = R_rule  if the task can be verified,   R + w f  otherwise

"Beyond monolithic rewards" (HARMO, arXiv 2510.05283): items that rules can verify keep their rule's reward, others get a
learned reward model's score or the similarity of the answer to a reference. f is asked only for items without a rule.

Invariance: none; a verifiable task is paid as it was.

Departures: the confidence that the paper gives beside a rule's verdict was not within reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..maths import number
from ..shaper import Shaper, use
from ..types import Transition


@dataclass
class HybridReward(Shaper):
    """Adds a surrogate's score at the end of episodes that no rule can judge.

    Raises:
        ValueError: a surrogate that is neither an info key nor a function.
        MissingFact: the environment does not say whether the task is verifiable, or, where it is not, the score.
    """

    surrogate: Any = "similarity"
    """Info key of the score, or ``"module:function"`` (or a function) of the last transition; None
    or NaN is no answer and pays 0."""
    verifiable: str = "verifiable"
    """Info key, read at the last step."""
    weight: float = 1.0
    """Of the score."""

    def __post_init__(self) -> None:
        super().__post_init__()
        named = isinstance(self.surrogate, str) and ":" not in self.surrogate
        self._score = None if named else use(self.surrogate) if isinstance(self.surrogate, str) else self.surrogate
        if not named and not callable(self._score):
            raise ValueError(f"hybrid_reward: surrogate is {self.surrogate!r}; allowed: an info key, or a function")

    def setup(self, rng: np.random.Generator) -> None:
        """Nothing was asked."""
        super().setup(rng)
        self._stats = {"asked": 0, "unanswered": 0}

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """Whether a rule can judge and, if it is a fact, the score."""
        return (self.verifiable, self.surrogate) if self._score is None else (self.verifiable,)

    def step(self, state: Any, t: Transition) -> tuple[Any, Any]:
        """Pays the score."""
        if not (t.terminated or t.truncated) or t.info[self.verifiable]:
            return t.reward, None
        self._stats["asked"] += 1
        score = t.info[self.surrogate] if self._score is None else self._score(t)
        if score is None or score != score:
            self._stats["unanswered"] += 1
            return t.reward, None
        return t.reward + self.weight * number(score), None

"""Exploration bonus by visit counts: what was seen rarely pays more.

    r'_t = r_t + beta / sqrt(n(x_{t+1})),      n counts the visits so far, this one included

Strehl and Littman (2008), "An analysis of model-based interval estimation for Markov decision processes", JCSS 74
(MBIE-EB); x is the observation or any fact (a room, a caption). Counts are shared by all streams and kept over episodes.

Invariance: none; the bonus of a thing fades as ``beta (2 sqrt(n) - 1)`` in sum, so it vanishes per visit.

Departures: the paper adds the bonus of the state-action pair inside its planner; here it is paid for what the step led to.
With ``training`` off nothing is counted: the bonus is what the next visit would pay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..maths import fingerprint
from ..shaper import Shaper
from ..types import Transition


@dataclass
class CountBonus(Shaper):
    """Adds ``beta / sqrt(n)`` for the n-th visit of what the step led to.

    Shared memory: ``counts``, a dict from ``maths.fingerprint`` (text, numbers, arrays, dicts and sequences of these) to
    the number of visits.

    Raises:
        ValueError: a negative ``beta``.
        TypeError: an observation that cannot be counted.
        MissingFact: the environment does not publish ``key``.
    """

    beta: float = 0.1
    """Bonus of a first visit."""
    key: str = ""
    """Info key of what is counted; ``""``: the observation."""
    stateless = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta < 0:
            raise ValueError(f"count_bonus: beta = {self.beta}, allowed is 0 or more")

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The fact, if one is counted."""
        return (self.key,) if self.key else ()

    def setup(self, rng: np.random.Generator) -> None:
        """Nothing has been seen."""
        self.counts: dict[str, int] = {}

    def step(self, state: Any, t: Transition) -> tuple[Any, Any]:
        """Counts while training, and pays."""
        x = fingerprint(t.info[self.key] if self.key else t.next_obs)
        n = self.counts.get(x, 0) + 1
        if self.training:
            self.counts[x] = n
        return t.reward + self.beta / n**0.5, None

"""Team spirit: an agent's reward is partly that of its team, less that of the opponents.

    r'_i = (1 - tau) r_i + tau mean_{j in team of i} r_j - opponents mean_{j not in team of i} r_j

tau = 0 is selfish, tau = 1 shares everything. Berner et al. (2019), "Dota 2 with large scale deep reinforcement
learning", arXiv 1912.06680, and Lucy-SKG, arXiv 2305.15801, with tau = 0.3.

What comes from where ([T]: third-party sources, [I]: our own choice): we have both papers from others' implementations
and a note [T]. They agree on the first two terms. The opponents' mean stands with weight 1 in most, whether it is
subtracted before the team shares or after (the same number); with weight tau in one reading of the formula:
``opponents=tau``. A fixed tau is Lucy-SKG's, OpenAI Five raised it in training.

Teams: ``info[team]`` at an agent's first observation names its team; with ``team=""`` all agents are one, and there is
no opponent. ``collect.Counterfactual(env, teams=...)`` publishes it.

Invariance: with one team, or with ``opponents = 0``, each team's sum stays what it was at every step (return-preserving
over the team). With ``opponents = 1`` two teams of equal size are a zero-sum game at every tau. The best joint policy
of one team stays the best for its sum; a single agent's does not.

Hosts: Parallel. Where agents take turns their rewards do not come together: convert with ``aec_to_parallel``, or shape
first and then convert with ``parallel_to_aec``. A lone environment is a team of one and keeps its reward.

Departures: only those who step together are counted, so an agent that has left neither gives nor takes [I].
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
class TeamSpirit(Shaper):
    """Shares rewards within a team and takes off the opponents'.

    Raises:
        ValueError: a setting outside its range.
        MissingFact: the game does not publish ``team``.
    """

    tau: float = 0.3
    """Share of the team's mean, 0 to 1."""
    opponents: float = 1.0
    """Weight of the opponents' mean, 0 or more; without opponents it has no effect."""
    team: str = ""
    """Info key of the team's name at the reset; ``""``: all agents are one team."""
    pool = "joint"
    additive = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.tau <= 1.0:
            raise ValueError(f"team_spirit: tau = {self.tau}, allowed is 0 to 1")
        if not 0.0 <= self.opponents < math.inf:
            raise ValueError(f"team_spirit: opponents = {self.opponents}, allowed is 0 or more")

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The team, if it is read."""
        return (self.team,) if self.team else ()

    @property
    def return_preserving(self) -> bool:  # type: ignore[override]
        """Over the team, where nothing is taken off for opponents."""
        return not self.team or self.opponents == 0

    def init(self, obs: Any, info: dict[str, Any]) -> Any:
        """The state is the team's name."""
        return info[self.team] if self.team else ""

    def steps(self, states: list[Any], ts: Sequence[Transition]) -> list[Any]:
        """Mixes the rewards of those who step together."""
        r = np.array([t.reward for t in ts], np.float64)
        out = np.zeros(len(r))
        for name in dict.fromkeys(states):
            mine = np.array([s == name for s in states])
            theirs = r[~mine].mean() if not mine.all() else 0.0
            out[mine] = (1 - self.tau) * r[mine] + self.tau * r[mine].mean() - self.opponents * theirs
        return list(map(float, out))

"""Tiers of nearness beside the outcome.

    R = C + alpha Q(S),    S = mean over steps of the nearness to a solution, Q(S) = floor(K S) / K

"Sweet Spot Learning" (SSL, arXiv 2601.22491). C is the verifier's outcome (here the reward that reaches this layer), Q cuts
nearness into K zones, 4 in the paper's best run, so that small noisy differences do not count. alpha and
the exact quantiser were not within reach: 0.5 and the floor are ours, ``rounding="ceil"`` and ``edges`` the other readings.

For clicks and other single steps the paper scores each step: ``level_of="step"``.

Invariance: none. With C in {0, 1} and alpha < 1 every success outranks every failure; R never falls with S and has at most
2 (K + 1) values; alpha = 0 pays C alone.

Departures: per step, nearness is paid at every step, so an agent can earn by staying near: for tasks of one step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..maths import clip, number
from ..shaper import Shaper
from ..types import Floats, Level, Trajectory, Transition


@dataclass
class SweetSpot(Shaper):
    """Adds the tier of the mean nearness, at the end.

    Raises:
        ValueError: a setting outside its range.
        MissingFact: the environment does not publish the nearness at every step.
    """

    key: str = "progress"
    """Info key of the nearness, in [0, 1]; what lies outside is cut."""
    zones: int = 4
    """K."""
    alpha: float = 0.5
    """What the highest tier adds."""
    rounding: Literal["floor", "ceil"] = "floor"
    """Which end of its zone a nearness counts as."""
    edges: tuple[float, ...] = ()
    """Rising limits of the zones within (0, 1), such as quartiles of past episodes; replaces ``zones``."""
    level_of: Literal["episode", "step"] = "episode"
    """Tier of the mean, paid at the end, or of each step, paid at once."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.zones < 1 or self.alpha < 0:
            raise ValueError(
                f"sweet_spot: zones is {self.zones} and alpha {self.alpha}; allowed are zones from 1 and alpha from 0"
            )
        self.edges = tuple(float(e) for e in self.edges)
        if self.edges and (sorted(set(self.edges)) != list(self.edges) or not 0 < self.edges[0] <= self.edges[-1] < 1):
            raise ValueError(f"sweet_spot: edges is {self.edges}; allowed are rising numbers between 0 and 1")

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The nearness."""
        return (self.key,)

    @property
    def level(self) -> Level:
        """As ``level_of`` says."""
        return Level.STEP if self.level_of == "step" else Level.EPISODE

    def tier(self, nearness: float) -> float:
        """Q of a nearness."""
        s = clip(number(nearness), 0.0, 1.0)
        if self.edges:
            passed = sum(e <= s if self.rounding == "floor" else e < s for e in self.edges)
            zone = passed + (self.rounding == "ceil" and s > 0)
            return min(zone, len(self.edges) + 1) / (len(self.edges) + 1) if s < 1 else 1.0
        x = round(self.zones * s, 9)  # 0.29 * 100 is 28.999999999999996
        return float(np.floor(x) if self.rounding == "floor" else np.ceil(x)) / self.zones

    def step(self, state: Any, t: Transition) -> tuple[Any, Any]:
        """Pays the tier of this step."""
        return t.reward + self.alpha * self.tier(t.info[self.key]), None

    def episode(self, traj: Trajectory) -> Floats:
        """Pays the tier of the mean at the last step."""
        if self.level_of == "step":
            return traj.rewards + self.alpha * np.array([self.tier(i[self.key]) for i in traj.infos[1:]])
        out = traj.rewards.copy()
        if len(traj):
            out[-1] += self.alpha * self.tier(float(np.mean([number(i[self.key]) for i in traj.infos[1:]])))
        return out

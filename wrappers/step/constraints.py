"""Behaviour specified by constraints: multipliers that rise while a limit is broken weigh the reward against the costs.

    lambda = softmax(z_0, z_1 ... z_K),    r~ = lambda_0 r - sum_k lambda_k s_k c_k
    z <- z - lr d/dz sum_k -s_k lambda_k (J_k - d_k),   s_k = +1 for an upper limit d_k, -1 for a lower one

"Direct behaviour specification" (Roy et al. 2022; Roy's thesis, arXiv 2412.07177). c_k are indicators that the designer
writes, J_k is the mean of c_k over the last ``window`` steps. A multiplier rises while its constraint is broken and falls
while it holds. One constraint can be the bootstrap: its multiplier is lent to the reward, lambda_0 <- max(lambda_0,
lambda_boot), so that the task is learned first.

For agents: at most 1 % destructive commands, at most 10 % repeated calls, success in at least 90 % of the episodes.

Invariance: none. The multipliers are positive and sum to 1; without costs the reward is lambda_0 r; out of training they
stand still.

Departures: the multipliers move in ``learn``, after the trainer's updates, or every ``every`` steps while training; the
authors' code moves them every 10 updates with 100 times the policy's rate. A cost that is missing, None or NaN at a step is
left out; the last step of an episode must publish it (unless the infrastructure ended it).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..maths import known
from ..shaper import Shaper
from ..types import Trajectory, Transition


@dataclass
class Constraints(Shaper):
    """Weighs the reward against costs whose rates have limits.

    Raises:
        ValueError: no constraint, a limit that is no number, an unknown bootstrap, or a setting outside its range; an
            infinite cost.
        MissingFact: the environment does not publish a cost, not even at an episode's end.
    """

    upper: Mapping[str, float] = field(default_factory=dict)
    """Info key of an indicator (or cost) -> largest mean rate."""
    lower: Mapping[str, float] = field(default_factory=dict)
    """Info key -> smallest mean rate."""
    bootstrap: str = ""
    """Key of the lower constraint that lends its multiplier to the reward."""
    lr: float = 0.1
    """Step of the multipliers' logits."""
    start: float = 0.02
    """Every logit at the beginning."""
    window: int = 2000
    """Steps over which rates are taken."""
    every: int = 0
    """Steps after which multipliers move by themselves; 0: only when the trainer calls ``learn``."""
    additive = False

    def __post_init__(self) -> None:
        super().__post_init__()
        limits = [(k, v, 1.0) for k, v in self.upper.items()] + [(k, v, -1.0) for k, v in self.lower.items()]
        if not limits:
            raise ValueError("constraints: upper and lower are empty; allowed: at least one limit")
        if self.bootstrap and self.bootstrap not in self.lower:
            raise ValueError(
                f"constraints: bootstrap is {self.bootstrap!r}; allowed: {', '.join(self.lower) or 'no lower limit'}"
            )
        if not self.lr > 0 or self.window < 1 or self.every < 0:
            raise ValueError(
                f"constraints: lr is {self.lr}, window {self.window} and every {self.every}; "
                "allowed: lr above 0, window from 1, every from 0"
            )
        self._limits = limits

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The costs."""
        return (*self.upper, *self.lower)

    def setup(self, rng: np.random.Generator) -> None:
        """Equal multipliers; nothing was counted."""
        super().setup(rng)
        self.logits = np.full(len(self._limits) + 1, float(self.start))
        self.costs: list[list[float]] = [[] for _ in self._limits]  # of the last steps
        self.seen = 0

    def multipliers(self) -> np.ndarray:
        """``(K + 1,)`` lambda: of the reward, of the upper limits, of the lower ones, in their order."""
        e = np.exp(self.logits - self.logits.max())
        return np.asarray(e / e.sum(), np.float64)

    def step(self, state: Any, t: Transition) -> tuple[Any, Any]:
        """Pays the weighted reward, less the weighted costs."""
        weights = self.multipliers()
        own = weights[0]
        if self.bootstrap:
            own = max(own, weights[1 + len(self.upper) + list(self.lower).index(self.bootstrap)])
        out = float(own) * t.reward
        told = (t.terminated or t.truncated) and not t.info.get("invalid")
        for (key, _, sign), weight, kept in zip(self._limits, weights[1:], self.costs):
            cost: float = known(t.info[key] if told else t.info.get(key))
            if math.isnan(cost):
                continue
            if math.isinf(cost):  # before it is remembered: no later mean would be a number again
                raise ValueError(f"constraints: the cost info[{key!r}] is {cost}, a finite number is expected")
            out -= float(weight) * sign * cost
            if self.training:
                kept.append(cost)
                del kept[: -self.window]
        if self.training:
            self.seen += 1
            if self.every and self.seen % self.every == 0:
                self._move()
        return out, None

    def _move(self) -> None:
        weights = self.multipliers()
        over = np.zeros(len(weights))  # how far each constraint is broken, against its multiplier's way
        for k, ((_, limit, sign), kept) in enumerate(zip(self._limits, self.costs), 1):
            if kept:
                over[k] = -sign * (float(np.mean(kept)) - limit)
        self.logits = self.logits - self.lr * weights * (over - weights @ over)

    def learn(self, trajs: Sequence[Trajectory]) -> dict[str, float]:
        """Moves the multipliers by the rates of the last steps."""
        self._move()
        rates = {key: float(np.mean(kept)) for (key, _, _), kept in zip(self._limits, self.costs) if kept}
        return {f"rate/{k}": v for k, v in rates.items()} | {"weight": float(self.multipliers()[0])}

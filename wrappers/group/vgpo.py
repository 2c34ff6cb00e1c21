"""Value anchoring in time and in the group.

    Q_i,t = sum_k gamma^k V_i,t+k,    w_i,t = Q_i,t / mean_t Q_i,t
    A_i,t = w_i,t (z_i,t + k (Q_i,t - b)),    z the z-score of Q_t over the group

"Value-anchored group policy optimisation" (VGPO, arXiv 2512.12387). V_t is the reward of ending right after step t, a one-step
guess; ``info["value"]`` of the steps. Reviews quote A = w ((1 + alpha) Q - mean Q) / std Q with alpha = k std Q, which is the
second line with b = 0. The anchor keeps a signal where a group is all alike; the paper uses it in the first steps of
training only: ``anchor_batches``.

The paper assumes V >= 0. With b = 0 a group that fails alike but has Q > 0 is pushed up; ``anchor="running"`` takes the running
mean of Q for b instead, which is ours, as is w = 1 for an episode whose mean Q is not positive.

Invariance: none. With ``k=0`` and ``temporal=False`` this is the z-score of each time step's Q; w has mean 1 over an episode.

Hacks: Q sums over the steps to come, so among episodes of different lengths who stays longer has more of it. The paper's are
of one length; elsewhere ``gamma`` below 1 bounds it.

Departures: a value that is None or NaN takes its step, and those before it whose Q it is part of, out of the loss (NaN).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..maths import known, pad, togo, unpad, zscore
from ..shaper import Shaper
from ..types import Floats, Group, Trajectory


@dataclass
class ValueAnchored(Shaper):
    """Advantages of the values of a group's steps, anchored so that they do not vanish.

    Raises:
        ValueError: a setting outside its range.
        MissingFact: the environment does not publish the value.
    """

    key: str = "value"
    """Info key of V, published at every step."""
    gamma: float = 1.0
    """Discount of later values."""
    k: float = 1.0
    """Weight of the anchor."""
    anchor: Literal["zero", "running"] = "zero"
    """b: 0, or the running mean of Q over learned batches."""
    anchor_batches: int | None = None
    """Batches after which the anchor is left out; None: never."""
    temporal: bool = True
    """Weigh by w."""
    eps: float = 1e-8
    """Guards the division."""
    output = "advantage"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.gamma <= 1 or self.k < 0 or self.eps < 0 or (self.anchor_batches or 0) < 0:
            raise ValueError(
                f"value_anchored: gamma is {self.gamma}, k {self.k}, eps {self.eps} and anchor_batches {self.anchor_batches}; "
                "allowed are gamma 0 to 1, the others from 0"
            )

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The value."""
        return (self.key,)

    def setup(self, rng: np.random.Generator) -> None:
        """No Q was seen."""
        super().setup(rng)
        self.mean, self.count, self.batches = 0.0, 0, 0

    def _q(self, traj: Trajectory) -> Floats:
        return togo(np.array([known(i[self.key]) for i in traj.infos[1:]], np.float64), self.gamma)

    def learn(self, trajs: Sequence[Trajectory]) -> dict[str, float]:
        """Moves the running mean of Q, and counts the batch."""
        for t in trajs:
            q = self._q(t)
            q = q[np.isfinite(q)]
            self.count += len(q)
            self.mean += float((q - self.mean).sum()) / max(self.count, 1)
        self.batches += 1
        return {"mean_q": self.mean}

    def group(self, group: Group) -> list[Floats]:
        """A of each step."""
        q = [self._q(t) for t in group]
        z = unpad(zscore(pad(q), 0, self.eps, axis=0), group)
        on = self.anchor_batches is None or self.batches < self.anchor_batches
        base = self.mean if self.anchor == "running" else 0.0
        out = []
        for mine, score in zip(q, z):
            mean = float(mine.mean()) if len(mine) else 0.0
            w = mine / mean if self.temporal and mean > 0 else np.ones(len(mine))
            out.append(w * (score + self.k * (mine - base) * on))
        return out

r"""Hop progress: policy-invariant shaping on a progress value that is fused from several views.

    H(p, q) = (q - p) / (1 - p) if q >= p else (q - p) / p            (hop, in [-1, 1]; 0 where nothing is left)
    Phi_I = Phi_{t-1} + dPhi,  dPhi = (1 - Phi_{t-1}) H if H >= 0 else Phi_{t-1} H      (incremental view)
    Phi_F = H(s_0, s_t),  Phi_B = 1 + H(s_goal, s_t)                                   (forward and backward views)
    Phi_t = mean of the views; with ``alpha``: Phi_{t-1} + w / 2 (m - Phi_{t-1} + dPhi),
            m = (Phi_F + Phi_B) / 2,  w = exp(-alpha ((Phi_B - Phi_F) / (m + eps))^2)
    r'_t = r_t + bonus 1[Phi_{t+1} >= 1 - delta] + gamma Phi_{t+1} - Phi_t

Robo-Dopamine (arXiv 2512.23703). ``hop`` is the pair judge ``(before, after) -> [-1, 1]`` of the paper; without it the
progress fact stands in and all views agree. Departures: the potential is 0 at termination and kept at truncation (the
paper's formula leaves gamma^T Phi(s_T); ``terminal_zero=False`` is that), and the success bonus is 0 by default.

Invariance: policy-invariant without a judge and bonus and with ``terminal_zero``; with a judge the incremental view depends on
the path.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..shaper import Shaper, use
from ..types import Transition

EPS = 1e-8
VIEWS = ("incremental", "forward", "backward")


def hop(p: float, q: float) -> float:
    """Relative progress from ``p`` to ``q``, both in [0, 1]."""
    if q >= p:
        return (q - p) / (1 - p) if p < 1 else 0.0
    return (q - p) / p


def reconstruct(p: float, h: float) -> float:
    """The progress after a hop ``h`` from ``p``: the inverse of ``hop``, in [0, 1]."""
    return p + ((1 - p) * h if h >= 0 else p * h)


@dataclass
class HopProgress(Shaper):
    """Potential-based shaping on fused progress."""

    key: str = "progress"
    """Info key of the progress in [0, 1], used without a judge."""
    judge: Any = ""
    """``"module:function"`` or a function ``(before, after) -> hop`` of observations; None means no change."""
    goal: Any = None
    """Observation of the goal, for the judge's backward view."""
    views: tuple[str, ...] = VIEWS
    """Which views are averaged."""
    alpha: float | None = None
    """Strength of the consistency weight; None: plain mean."""
    gamma: float = 0.99
    """The agent's discount."""
    bonus: float = 0.0
    """Paid at every step whose progress is at least ``1 - delta``."""
    delta: float = 0.05
    """Width of the success band."""
    terminal_zero: bool = True
    """The potential of a terminal state is 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [v for v in self.views if v not in VIEWS]
        if unknown or not self.views:
            raise ValueError(f"hop_progress: views are {self.views}, allowed are {', '.join(VIEWS)}")
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"hop_progress: gamma is {self.gamma}, allowed is 0 to 1")
        if self.judge and "backward" in self.views and self.goal is None:
            raise ValueError(
                "hop_progress: the backward view of a judge needs the goal: set goal, or leave the view out"
            )
        if self.alpha is not None and set(self.views) != set(VIEWS):
            raise ValueError("hop_progress: the consistency weight compares all three views")

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The progress fact, without a judge."""
        return () if self.judge else (self.key,)

    @property
    def policy_invariant(self) -> bool:  # type: ignore[override]
        """Where only a state's potential is paid."""
        return not self.judge and self.bonus == 0 and self.terminal_zero and self.alpha is None

    def setup(self, rng: np.random.Generator) -> None:
        """Resolves the judge."""
        self._judge: Callable[[Any, Any], float | None] | None = use(self.judge) if self.judge else None

    def asked(self, before: Any, after: Any) -> float:
        """The judge's hop, clipped to [-1, 1]; no answer is no change, as in the authors' code."""
        assert self._judge is not None
        said = self._judge(before, after)
        return 0.0 if said is None else min(max(float(said), -1.0), 1.0)

    def init(self, obs: Any, info: dict[str, Any]) -> Any:
        """Potential of the first state, and that state."""
        return (0.0 if self._judge else float(info[self.key])), obs

    def fused(self, last: float, start: Any, t: Transition) -> float:
        """Potential after this step."""
        if self._judge is None:
            now = float(t.info[self.key])
            if self.alpha is None:  # all views agree
                return now
            step, forward, backward = now - last, now, now
        else:
            step = reconstruct(last, self.asked(t.obs, t.next_obs)) - last
            forward = self.asked(start, t.next_obs) if "forward" in self.views else 0.0
            backward = 1 + self.asked(self.goal, t.next_obs) if "backward" in self.views else 0.0
        if self.alpha is not None:
            return consistent(last, step, forward, backward, self.alpha)
        seen = {"incremental": last + step, "forward": forward, "backward": backward}
        return min(max(sum(seen[v] for v in self.views) / len(self.views), 0.0), 1.0)

    def step(self, state: Any, t: Transition) -> tuple[Any, Any]:
        """Pays the rise of the potential, and the bonus."""
        last, start = state
        phi = self.fused(last, start, t)
        pay = self.bonus if phi >= 1 - self.delta else 0.0
        kept = 0.0 if t.terminated and self.terminal_zero else phi
        return t.reward + (pay + self.gamma * kept - last), (phi, start)


def consistent(last: float, step: float, forward: float, backward: float, alpha: float) -> float:
    """The update weighted by how well forward and backward views agree."""
    mean = (forward + backward) / 2
    gap = abs(backward - forward) / (mean + EPS)
    return last + math.exp(-alpha * gap**2) / 2 * (mean - last + step)

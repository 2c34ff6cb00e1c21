"""Turning points: a step that turns the trend towards the outcome is paid for all that followed.

    d_t = V_t - V_{t-1},   Delta = V_T - V_0,   s_t = sgn(d_t) sgn(Delta)
    r_t = V_T - V_{t-1}  at turning points,   r_t = d_t  elsewhere

"TP-GRPO" (arXiv 2602.06422) and the authors' code. V_t is the final reward if the first t steps are kept and the rest is
completed by a fixed policy: any per-step value serves (``info["value"]``, progress, share of tests). Step t >= 2 turns if
s_{t-1} < 0 and s_t > 0; it is consistent if sgn(d_t) sgn(V_T - V_t) > 0 too, which the released setting asks for. The first
step turns if sgn(d_1) sgn(V_T - V_1) > 0. A step that changes nothing never turns.

Earlier variants of the code: the bonus on top of d_t instead of in its place is ``replace=False``; equal numbers of
positive and negative turning points in a batch are ``balance=True`` (of the larger side those with the largest size stay;
all are dropped where a side has none). ``PerStepNorm`` is the advantage that goes with it.

Invariance: none. Without turning points the rewards telescope to V_T - V_0; a constant trace pays 0; a trace turned upside down
pays the negative.

Hacks: a step back and forth again is a turn, and pays all that is still to come, every time. The paper's episodes have a
fixed number of steps that cannot be taken back; where they can, an agent that dithers before it succeeds earns more.

Departures: what is paid is added to the reward that reaches this layer; the paper's is it alone: ``[Scale(0.0),
TurningPoints()]``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..shaper import Shaper
from ..types import Floats, Group, Level, Trajectory


@dataclass
class TurningPoints(Shaper):
    """Adds the changes of a value, at turning points the rest of the way.

    Raises:
        ValueError: a negative ``eta``.
        MissingFact: the environment does not publish the value at the reset and at every step.
    """

    key: str = "value"
    """Info key of V."""
    consistent: bool = True
    """A turning point must agree with what followed it."""
    first_step: bool = True
    """The first step can be one."""
    replace: bool = True
    """At a turning point the rest of the way replaces the change; else it is added to it."""
    eta: float = 1.0
    """Weight of the rest of the way."""
    balance: bool = False
    """As many positive turning points in a batch as negative ones."""
    pool = "batch"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eta < 0:
            raise ValueError(f"turning_points: eta = {self.eta}, allowed is a number from 0")

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The value."""
        return (self.key,)

    @property
    def level(self) -> Level:
        """An episode alone, unless a batch is balanced."""
        return Level.GROUP if self.balance else Level.EPISODE

    def turns(self, values: Floats) -> np.ndarray:
        """``(T,)`` bool: which steps are turning points of a trace of ``T + 1`` values."""
        d, out = np.diff(values), np.zeros(max(len(values) - 1, 0), bool)
        if len(d):
            s, ahead = np.sign(d) * np.sign(values[-1] - values[0]), np.sign(d) * np.sign(values[-1] - values[1:])
            out[1:] = (s[:-1] < 0) & (s[1:] > 0) & ((ahead[1:] > 0) | (not self.consistent))
            out[0] = self.first_step and ahead[0] > 0
        return out

    def _paid(self, values: Floats, turns: np.ndarray) -> Floats:
        d = np.diff(values)
        rest = self.eta * (values[-1] - values[:-1])
        return np.where(turns, rest if self.replace else d + rest, d)

    def episode(self, traj: Trajectory) -> Floats:
        """Pays one episode."""
        values = traj.trace(self.key)
        return traj.rewards + self._paid(values, self.turns(values))

    def group(self, group: Group) -> list[Floats]:
        """Pays a batch, of whose turning points as many are positive as negative."""
        if not self.balance:
            return [self.episode(t) for t in group]
        traces = [t.trace(self.key) for t in group]
        turns = [self.turns(v) for v in traces]
        found = [(float(v[-1] - v[k]), i, k) for i, (v, w) in enumerate(zip(traces, turns)) for k in np.flatnonzero(w)]
        sides = [sorted((x for x in found if x[0] > 0), reverse=True), sorted(x for x in found if x[0] < 0)]
        kept = {(i, k) for side in sides for _, i, k in side[: min(map(len, sides))]}
        for i, w in enumerate(turns):
            w[[k for k in np.flatnonzero(w) if (i, k) not in kept]] = False
        return [t.rewards + self._paid(v, w) for t, v, w in zip(group, traces, turns)]

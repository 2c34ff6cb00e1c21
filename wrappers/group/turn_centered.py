"""CM2's turn-level advantage: what each turn of the user earned, against the same turn of the group's other episodes.

    A_i,t = R_i,k - mean over the episodes that have a turn k of R_k,    k the turn of step t, R_i,k the sum of its rewards

"CM2" (arXiv 2602.12268), the authors' code; nothing is divided (``use_std=False``). A turn that fewer than ``min_holders``
episodes have gets 0: the mean of few says little. For the rewards of ``Checklist(emit="turn")``, or any others.

Turns as in ``Checklist``: ``info["turn"]`` counts them, and a step belongs to the turn that was running before it. Where an
episode does not publish it the whole episode is one turn; with ``min_holders=1`` that is the estimator of the paper's default
run, the return minus the group's mean (Dr.GRPO).

A turn in which ``info[failed]`` holds at some step is left out of the means, and its steps have NaN, which takes them out of
the loss: the paper's code does so with samples whose judge failed. ``Checklist`` pays such steps nothing but cannot publish
it: whoever runs the judge before the stack does.

Invariance: none; a group whose episodes earn the same turn by turn gets 0, and so does one of fewer than ``min_holders``.

Departures: r is the reward as it reaches this layer, the environment's included. Which std ``use_std`` means is not known to
us; here the sample's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..maths import center, zscore
from ..shaper import Shaper
from ..types import Floats, Group, Trajectory


@dataclass
class TurnCentered(Shaper):
    """Centres the reward of each turn over the group.

    Raises:
        ValueError: ``min_holders`` below 1.
    """

    min_holders: int = 5
    """Episodes that must have a turn; with fewer it gets 0."""
    use_std: bool = False
    """Divide by the sample's std."""
    turn: str = "turn"
    """Info key of the count of the user's turns; ``""``: every step is a turn."""
    failed: str = "judge_failed"
    """Info key of a step that is no sample."""
    output = "advantage"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_holders < 1:
            raise ValueError(f"turn_centered: min_holders = {self.min_holders}, allowed is a number from 1")

    def turns(self, traj: Trajectory) -> dict[Any, list[int]]:
        """Turn to its steps, in order."""
        out: dict[Any, list[int]] = {}
        now: Any = 0
        for k, info in enumerate(traj.infos[:-1]):  # what was said before step k
            now = info.get(self.turn, now) if self.turn else k
            out.setdefault(now, []).append(k)
        return out

    def group(self, group: Group) -> list[Floats]:
        """A of each step."""
        out = [np.zeros(len(t)) for t in group]
        holders: dict[Any, list[tuple[int, list[int]]]] = {}
        for i, t in enumerate(group):
            for turn, steps in self.turns(t).items():
                if any(t.infos[k + 1].get(self.failed) for k in steps):
                    out[i][steps] = np.nan
                else:
                    holders.setdefault(turn, []).append((i, steps))
        for rows in holders.values():
            if len(rows) >= self.min_holders:
                earned = np.array([group[i].rewards[steps].sum() for i, steps in rows])
                for (i, steps), a in zip(rows, zscore(earned, 1) if self.use_std else center(earned)):
                    out[i][steps] = a
        return out

"""A judge's grade from 1 to 5 for the whole episode, as its reward.

    r'_T = r_T + weight (grade - 1) / 4        1 nothing of the task was done, 2 too little, 3 good progress, but a major
                                               requirement or several are missed, 4 one minor one is, 5 all are met

RoboReward, "General-purpose vision-language reward models for robotics" (arXiv 2601.00675), from notes and the model's card
[T]: five grades, judged on the final state. Its findings [T]: five grades are as good as a continuous number and better than
success alone, a smaller error of the judge gives better agents, and a poor judge is worse than none: measure it first
(``milepost.wrappers.probes.reward_bench``), on failures too (``milepost.wrappers.collect.negatives``).

The grade comes from a ``judge`` (any scorer, ``scorers.serve``) that is asked for a rating of the task and of the episode in
words, or from ``info[key]`` at the last step, 1 to 5, None where whoever runs the judge had no answer. An answer that is
missing, unreadable or out of range is the grade ``on_fail``, the lowest, which pays nothing; ``stats`` counts them, so that a
judge that fails is not mistaken for an agent that does. Late answers (``async``) are paid by ``stack.rerun``.

Measured: SmolLM2-135M on 17 episodes of Quest-easy (successes, cut ones, ones held against other quests; final state): every
grade lies between 2.6 and 2.8, so rounded all are 3, and the mean error of 1.41 is that of always saying 3; but of the pairs
that differ it orders 84 % right. Give so small a judge ``discrete=False`` and a layer that compares episodes.

``curve`` grades every prefix: the progress of an episode as the judge sees it.

Invariance: none. What is added lies in {0, 1/4, 1/2, 3/4, 1} times ``weight`` (with ``discrete=False``: between 0 and 1).

Hacks: an agent learns what its judge likes. A judge that is shown the episode and not the state can be talked to.

Departures: texts instead of video. What is paid is added to the reward; the paper's is the reward.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..maths import known
from ..models import prefix, shown, task_of, transcript
from ..scorers import Rating, Service, serve
from ..shaper import Shaper, use
from ..types import Floats, Group, Level, Trajectory


def final_state(traj: Trajectory) -> str:
    """The last observation in words."""
    return shown(traj.obs[-1], traj.infos[-1])


VIEWS = {"final": final_state, "episode": transcript}


@dataclass
class GradedOutcome(Shaper):
    """Adds a judge's grade at the last step.

    Raises:
        ValueError: a setting outside its range, or a judge that does not rate.
        MissingFact: no judge, and the environment does not publish the grade.
    """

    judge: Any = ""
    """Scorer that rates: a name, settings (see ``scorers.serve``) or a live one; ``""``: ``key``."""
    key: str = "grade"
    """Key of the last info with the grade, 1 to 5 or None."""
    view: Any = "final"
    """What the judge reads: ``"final"``, the last observation; ``"episode"``, all; or a function of the trajectory."""
    task: str = ""
    """Text of the task; empty: what the first observation says of it."""
    discrete: bool = True
    """The nearest of the five grades; else a judge's number between two of them as it is."""
    on_fail: int = 1
    """Grade where there is no answer."""
    weight: float = 1.0
    """Of what is added."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.on_fail <= 5 or not math.isfinite(self.weight):
            raise ValueError(
                f"graded_outcome: on_fail is {self.on_fail} and weight {self.weight}; "
                "allowed are a grade from 1 to 5 and a finite number"
            )
        if not callable(self.view) and not (isinstance(self.view, str) and (self.view in VIEWS or ":" in self.view)):
            raise ValueError(
                f"graded_outcome: view is {self.view!r}; allowed: 'final', 'episode' or a function of the trajectory"
            )

    @property
    def level(self) -> Level:
        """The episode; several are judged in one batch."""
        return Level.EPISODE

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The grade, if it is a fact."""
        return () if self.judge else (self.key,)

    def setup(self, rng: np.random.Generator) -> None:
        """Looks the judge up; ``_stats`` counts grades and failures."""
        self._service: Service | None = serve(self.judge) if self.judge else None
        self._services = {} if self._service is None else {"judge": self._service}
        if self._service is not None and "rating" not in self._service.model.kinds:
            raise ValueError(
                f"graded_outcome: the judge answers {', '.join(self._service.model.kinds)}; allowed: one that rates"
            )
        self._view = VIEWS[self.view] if isinstance(self.view, str) and self.view in VIEWS else use(self.view)
        self._stats: Counter[str] = Counter({"grades": 0, "failures": 0})

    def _share(self, grade: float | None) -> float:
        """(grade - 1) / 4, or that of a failure."""
        self._stats["grades"] += 1
        if grade is None or not 1.0 <= grade <= 5.0:
            self._stats["failures"] += 1
            grade = float(self.on_fail)
        grade = math.floor(grade + 0.5) if self.discrete else grade
        return (grade - 1.0) / 4.0

    def grades(self, trajs: Sequence[Trajectory]) -> Floats:
        """``(n,)`` shares in [0, 1] of episodes, in one batch."""
        if self._service is None:
            return np.array([self._share(known(t.infos[-1][self.key])) for t in trajs], np.float64)
        said = self._service.ask([Rating(self.task or task_of(t), self._view(t)) for t in trajs])
        return np.array([self._share(None if x is None else 1.0 + 4.0 * float(x)) for x in said], np.float64)

    def curve(self, traj: Trajectory) -> Floats:
        """``(T + 1,)`` shares in [0, 1] of all prefixes; needs a judge.

        Raises:
            ValueError: there is none.
        """
        if self._service is None:
            raise ValueError("graded_outcome: a curve needs a judge; a published grade is of the whole episode")
        return self.grades([prefix(traj, k) for k in range(len(traj) + 1)])

    def group(self, group: Group) -> list[Floats]:
        """The rewards, with the grade at the last step."""
        out = [t.rewards.copy() for t in group]
        there = [i for i, t in enumerate(group) if len(t)]
        for i, share in zip(there, self.grades([group[i] for i in there])):
            out[i][-1] += self.weight * share
        return out

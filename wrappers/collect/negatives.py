"""Failures made of successes, with known grades: what a reward model or a judge of episodes is trained and tested on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..models.texts import prefix, task_of
from ..types import Trajectory

Verify = Callable[[Trajectory, Any], "float | None"]


class Graded(NamedTuple):
    """An episode, the task that it is held against, and the grade that it deserves."""

    task: str
    """In words."""
    traj: Trajectory
    """What was done."""
    grade: int
    """1 to 5, see ``GradedOutcome``."""
    kind: str
    """``success``, ``clip``, ``relabel`` or ``paraphrase`` of one of them."""
    source: int
    """Number of the success that it was made of."""
    asked: str
    """The task before it was said in other words."""


def grade_of(share: float, done: bool = False) -> int:
    """The grade of a share of the task in [0, 1]: 5 only for what is done, else 1 to 4."""
    return 5 if done else min(4, 1 + int(np.floor(4.0 * min(max(share, 0.0), 1.0) + 1e-9)))


def share_of(traj: Trajectory) -> float:
    """How much of the task an episode did: its sub-goals that hold at the end, else its progress.

    Raises:
        ValueError: the environment publishes neither.
    """
    last = traj.infos[-1]
    if goals := last.get("subgoals"):
        return float(np.mean([bool(v) for v in goals.values()]))
    if last.get("progress") is None or np.isnan(last["progress"]):
        raise ValueError(
            "negatives: neither subgoals nor progress is published, so nobody knows what half an episode deserves; "
            "give clip(share=) a function of the trajectory"
        )
    return float(last["progress"])


def replay(env: Any) -> Verify:
    """A verifier made of an environment: it plays the actions on another task, and says how much of that they did.

    Args:
        env: a Gymnasium environment that takes ``reset(options={"task": ...})`` and publishes ``subgoals`` or ``progress``.

    Returns:
        ``(traj, task) -> share``, 1.0 for a success; None where the infrastructure failed.
    """

    def verify(traj: Trajectory, task: Any) -> float | None:
        obs, info = env.reset(options={"task": task})
        seen, infos = [obs], [info]
        for action in traj.actions:
            obs, _, terminated, truncated, info = env.step(action)
            seen.append(obs)
            infos.append(info)
            if terminated or truncated:
                break
        if infos[-1].get("invalid"):
            return None
        if infos[-1].get("success"):
            return 1.0
        n = len(seen) - 1
        return share_of(Trajectory(seen, traj.actions[:n], np.zeros(n), False, True, infos))

    return verify


class NegativeForge:
    """Makes graded failures of successful episodes.

    RoboReward (arXiv 2601.00675) [T]: successes are cut (temporal clipping), held against another instruction that they
    meet in part (counterfactual relabelling, hindsight the other way round), and their instructions are said in other words
    (paraphrases share the grade). There a second model checks the relabelled ones; here the environment's own verifier does,
    which is better evidence than a model's [I].

    Args:
        successes: successful episodes.
        task: the task of an episode in words, ``traj -> str``; None: what its first observation says.

    Raises:
        ValueError: an episode that is no success, or none at all.
    """

    def __init__(self, successes: Iterable[Trajectory], task: Callable[[Trajectory], str] | None = None) -> None:
        self.successes, self._task = list(successes), task or task_of
        if not self.successes:
            raise ValueError("negatives: no episode is given; at least one success is expected")
        for i, t in enumerate(self.successes):
            if not t.infos[-1].get("success"):
                raise ValueError(f"negatives: episode {i} is no success; allowed are episodes with info['success']")

    def positives(self) -> list[Graded]:
        """The successes themselves, grade 5."""
        return [Graded(self._task(t), t, 5, "success", i, self._task(t)) for i, t in enumerate(self.successes)]

    def clip(
        self, fractions: Sequence[float] = (0.25, 0.5, 0.75), share: Callable[[Trajectory], float] = share_of
    ) -> list[Graded]:
        """Beginnings of the successes.

        A prefix deserves the grade of the share of the task that it did, less than 5, and, along one episode, never less than
        a shorter prefix: progress that is lost again is still in the film.

        Args:
            fractions: of the steps, in [0, 1).
            share: how much of the task a prefix did, in [0, 1].

        Raises:
            ValueError: a fraction outside its range.
        """
        out = []
        if bad := [f for f in fractions if not 0.0 <= f < 1.0]:
            raise ValueError(f"negatives: the fraction {bad[0]} is not in [0, 1)")
        for i, t in enumerate(self.successes):
            done, best = -1, 0
            for k in sorted({int(f * len(t)) for f in fractions}):
                if k == done:
                    continue
                part, done = prefix(t, k), k
                best = max(best, grade_of(share(part)))
                out.append(Graded(self._task(t), part, best, "clip", i, self._task(t)))
        return out

    def relabel(self, tasks: Sequence[tuple[Any, str]], verify: Verify, per_grade: int | None = 1) -> list[Graded]:
        """The successes, held against other tasks.

        Args:
            tasks: (task, its text): what ``verify`` is given, and what a judge would read.
            verify: how much of the task an episode did, in [0, 1]; 1.0 (it did it all) and None (nobody knows) are left out.
            per_grade: of each grade 1 to 4 at most so many for each success; None: all.
        """
        out = []
        for i, t in enumerate(self.successes):
            kept = dict.fromkeys(range(1, 5), 0)
            for task, text in tasks:
                found = verify(t, task)
                if found is None or found >= 1.0:
                    continue
                grade = grade_of(found)
                if per_grade is None or kept[grade] < per_grade:
                    kept[grade] += 1
                    out.append(Graded(text, t, grade, "relabel", i, text))
        return out

    @staticmethod
    def paraphrase(examples: Iterable[Graded], rewrites: Sequence[Callable[[str], str]]) -> list[Graded]:
        """The same examples with their tasks in other words, one for each rewrite that changes the text; grades are shared."""
        return [
            x._replace(task=new, kind="paraphrase")
            for x in examples
            for rewrite in rewrites
            if (new := rewrite(x.task)) != x.task
        ]

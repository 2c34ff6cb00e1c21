"""CALM's discovered sub-goals, from episodes: a judge proposes, and what the episodes that succeed reach is kept.

In CALM (arXiv 2409.12798) the model may "identify" the sub-goals itself while it annotates transitions [C].
``SubgoalOptions`` with ``subgoals="discover"`` asks for them once, from the text of the task. ``discover`` here asks
from recorded episodes, the task with what was done and said in them, and then lets the judge say which of them those
episodes reached: a proposal that nobody reaches is no guidance, one that failures reach as often tells nothing. Keeping
by these shares is ours [I].
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from ..scorers import Proposal
from ..types import Trajectory, Transition
from .calm_judge import Judged, action_of, task_of, words
from .calm_names import distinct


class Found(NamedTuple):
    """A discovered sub-goal."""

    name: str
    successes: float
    """Share of the successful episodes that reached it."""
    failures: float
    """Share of the others; 0 where there are none."""


def story(traj: Trajectory, longest: int = 2_000) -> str:
    """The task and, in order, what was done and what the world said to it; the end is cut off."""

    def line(t: Transition) -> str:
        return f"> {action_of(t)} {str(t.info.get('message', '')).strip()}".strip()

    told = "\n".join([task_of(words(traj.obs[0], traj.infos[0])), *map(line, traj)])
    return told[:longest]


def discover(
    trajs: Sequence[Trajectory],
    judge: Judged,
    success: str = "success",
    limit: int = 6,
    least: float = 0.5,
) -> tuple[Found, ...]:
    """Sub-goals of a task from its episodes, the most telling first.

    Args:
        trajs: episodes, one success at least.
        judge: asked for proposals, one an episode that succeeded, and then about the transitions of all of them.
        success: info key, read at the last step.
        limit: sub-goals of the result.
        least: share of the successes that must reach one.

    Raises:
        ValueError: no episode succeeded.
    """
    won = [bool(t.infos[-1].get(success)) for t in trajs]
    if not any(won):
        raise ValueError(
            f"discover: none of {len(trajs)} episodes has info[{success!r}] at its end: there is nothing to tell"
        )
    stories = [Proposal(story(t)) for t, ok in zip(trajs, won) if ok]
    names = distinct(n for said in judge.service.ask(stories) for n in said or ())
    asked = Judged(judge.service, names, judge.view, judge.task, judge.threshold, False, judge.stats, judge.layer)
    count: Counter[tuple[str, bool]] = Counter()
    for traj, ok in zip(trajs, won) if names else ():
        seen, reached = asked.begin(traj.obs[0], traj.infos[0]), set[str]()
        for t in traj:
            ((truth, seen),) = asked.truths([seen], [t])
            reached |= {n for n, holds in truth if holds}
        count.update((n, ok) for n in reached)
    found = [Found(n, count[n, True] / sum(won), count[n, False] / max(len(won) - sum(won), 1)) for n in names]
    kept = [f for f in found if f.successes >= least]
    return tuple(sorted(kept, key=lambda f: f.failures - f.successes)[:limit])  # equal ones as proposed

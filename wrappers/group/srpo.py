"""Self-referential progress: failures are paid for how near they came to the successes of their own group.

    r = 1 for a success,   r = cap sigma(steepness (offset - d)) for a failure,    d = distance to the nearest success,
    scaled to [0, 1]

"SRPO" (arXiv 2511.15605) and the authors' code: cap 0.6, steepness 10, offset 0.5. Episodes are embedded (by a video model
there); successes are clustered (DBSCAN with eps 0.5 and 2 samples on standardised embeddings), their centres, or without a
cluster their mean, are what failures are measured against; distances are scaled by the least and largest of the group's
failures. A group without a success pays its failures nothing, an embedding of zeros is none.

``bank`` keeps the embeddings of past successes by task, so that a group without one still has something to go by; it is
ours. So is ``scale="fixed"``: the scaling by the group pays its best failure 0.596 however far it is; ``exp(-d / width)``
does not. An episode counts once: one that is learned again is not kept again, and what is in the group as well as in the
bank, as when a batch is learned from and then run again, counts as the group's.

Invariance: none. A failure earns less than ``cap``, a success 1; nearer is more; the order of the group does not matter.

Departures: embeddings here are of texts, actions and facts: ``"module:function"`` of a trajectory, by default how often
each (hashed) action was taken. What is paid is added to the reward, at the last step: an environment that pays 1.0 for
success itself is left to ``success_reward=0.0``.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..shaper import Shaper, use
from ..types import Floats, Group, Trajectory

SIZE = 64


def actions_taken(traj: Trajectory) -> Floats:
    """``(64,)`` how often each action was taken, hashed, of length 1."""
    out = np.zeros(SIZE)
    for action in traj.actions:
        out[zlib.crc32(repr(action).encode()) % SIZE] += 1.0
    return np.asarray(out / max(float(np.sqrt(out @ out)), 1e-12), np.float64)


def centres(x: Floats, eps: float = 0.5, least: int = 2) -> Floats:
    """``(k, d)`` means of the clusters of ``(n, d)`` embeddings; one mean of all where there is no cluster.

    DBSCAN (Ester et al. 1996) on standardised columns: points with ``least`` points within ``eps``, themselves among them, are
    cores; cores within ``eps`` of each other and what is near one belong together.
    """
    std = x.std(0)
    z = (x - x.mean(0)) / np.where(std > 0, std, 1.0)
    near = np.sqrt(((z[:, None] - z[None]) ** 2).sum(-1)) <= eps
    core = near.sum(1) >= least
    label = np.full(len(x), -1)
    for start in np.flatnonzero(core):
        if label[start] >= 0:
            continue
        label[start], todo = label.max() + 1, [start]
        while todo:
            k = todo.pop()
            for j in np.flatnonzero(near[k] & (label < 0)):
                label[j] = label[start]
                todo += [j] if core[j] else []
    found = [x[label == c].mean(0) for c in range(label.max() + 1)]
    return np.array(found) if found else x.mean(0, keepdims=True)


@dataclass
class SelfReferential(Shaper):
    """Adds a share of the success to failures, by how near they came.

    Raises:
        ValueError: a setting outside its range; or embeddings that are no rows of finite numbers of one length.
        MissingFact: the environment does not publish success.
    """

    embed: Any = "milepost.wrappers.group.srpo:actions_taken"
    """``Trajectory -> (d,)``."""
    success: str = "success"
    """Info key, read at the last step."""
    cap: float = 0.6
    """Limit of what a failure earns."""
    steepness: float = 10.0
    """Of the sigmoid."""
    offset: float = 0.5
    """Scaled distance that earns half the cap."""
    reference: Literal["dbscan", "mean", "nearest"] = "dbscan"
    """Centres of clusters, the mean, or every success."""
    scale: Literal["minmax", "fixed"] = "minmax"
    """Distances between the group's least and largest, or ``1 - exp(-d / width)``."""
    width: float = 1.0
    """Unit of the fixed scale."""
    success_reward: float = 0.0
    """Added to a success; the paper's reward is 1.0 for it."""
    bank: int = 0
    """Past successes that are kept for each task."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cap < 0 or not self.steepness > 0 or not self.width > 0 or self.bank < 0:
            raise ValueError(
                f"self_referential: cap is {self.cap}, steepness {self.steepness}, width {self.width} and bank {self.bank}; "
                "allowed are cap and bank from 0, a positive steepness and width"
            )

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """Success."""
        return (self.success,)

    def setup(self, rng: np.random.Generator) -> None:
        """An empty bank."""
        super().setup(rng)
        self.kept: dict[str, Floats] = {}
        # the actions of what is kept: however relabelled, an episode keeps the object
        self._whose: dict[str, list[Any]] = {}

    def load_state_dict(self, state: Any) -> None:
        """Takes the bank back; its episodes are of the past."""
        super().load_state_dict(state)
        self._whose = {task: [None] * len(x) for task, x in self.kept.items()}

    def _embedded(self, group: Group) -> list[Floats]:
        embed = use(self.embed) if isinstance(self.embed, str) else self.embed
        out = [np.asarray(embed(t), np.float64) for t in group]
        known = next((x.shape[1:] for x in self.kept.values()), out[0].shape if out else ())
        for x in out:
            if x.ndim != 1 or x.shape != known or not np.isfinite(x).all():
                raise ValueError(
                    f"self_referential: an embedding has the shape {x.shape} after {known} or is not finite; allowed are "
                    "finite numbers, as many for every episode"
                )
        return out

    def _past(self, group: Group) -> list[Floats]:
        """What is kept of the group's task, without the group's own episodes."""
        task = repr(group[0].meta.get("task"))
        kept = zip(self.kept.get(task, ()), self._whose.get(task, ()))
        return [x for x, whose in kept if not any(whose is t.actions for t in group)]

    def learn(self, trajs: Sequence[Trajectory]) -> dict[str, float]:
        """Puts successes into the bank."""
        if not self.bank:
            return {}
        for t, e in zip(trajs, self._embedded(trajs)):
            if len(t) and t.infos[-1][self.success] and np.any(e):
                task = repr(t.meta.get("task"))
                whose = self._whose.get(task, [])
                if any(x is t.actions for x in whose):
                    continue
                self._whose[task] = [*whose, t.actions][-self.bank :]
                self.kept[task] = np.concatenate([self.kept.get(task, np.zeros((0, len(e)))), e[None]])[-self.bank :]
        return {"kept": float(sum(map(len, self.kept.values())))}

    def group(self, group: Group) -> list[Floats]:
        """The rewards, with what failures earn at their last steps."""
        out = [t.rewards.copy() for t in group]
        if not any(map(len, group)):
            return out
        e = self._embedded(group)
        won = [len(t) > 0 and bool(t.infos[-1][self.success]) for t in group]
        good = [x for x, ok in zip(e, won) if ok and np.any(x)] + self._past(group)
        for rewards, ok in zip(out, won):
            rewards[-1:] += self.success_reward * ok
        lost = [i for i, ok in enumerate(won) if not ok and np.any(e[i]) and len(group[i])]
        if not good or not lost:
            return out
        to = np.array(good)
        to = (
            centres(to) if self.reference == "dbscan" else to.mean(0, keepdims=True) if self.reference == "mean" else to
        )
        d = np.array([np.sqrt(((to - e[i]) ** 2).sum(-1)).min() for i in lost])
        if self.scale == "fixed":
            d = 1.0 - np.exp(-d / self.width)
        else:
            span = float(d.max() - d.min())
            d = (d - d.min()) / span if span >= 1e-6 else np.full(len(d), 0.5)
        for i, x in zip(lost, d):
            out[i][-1] += self.cap / (1.0 + np.exp(-self.steepness * (self.offset - x)))
        return out

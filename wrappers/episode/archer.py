"""ArCHer: advantages of whole utterances from twin critics that learn off-policy.

    Q_i(h, a) -> r + (1 - done) gamma V'_i(h'),     V_i(h) -> Q'_i(h, a~),  a~ from the policy,     i = 1, 2
    A(h, a) = min(Q_1, Q_2)(h, a) - min(V_1, V_2)(h)
    X' <- (1 - tau) X' + tau X  for every target X' after each pass

"ArCHer: training language model agents via hierarchical multi-turn RL" (arXiv 2402.19446), formulas and numbers from the
authors' code: gamma = .95, tau = .1, 50 passes, batches of 8. An utterance is an action; its advantage is shared by its
tokens (``at_tokens``). ``learn`` fits the critics to the episodes that it is given: the replay buffer is the trainer's
(``baselines/archer.py``), which also publishes a~ in ``meta`` (``sampled``). Without it the action that was taken counts,
which is right for episodes of the policy itself.

Invariance: none; these are advantages and never paid. Where the two twins agree A is Q - V; after a terminal step no value
counts; with ``tau=1`` the targets are the critics, with 0 they stand still.

Departures: the critics are linear on hashed words and pairs of a word of the utterance and one of the state, where the
paper has RoBERTa; so ``lr`` is one of normalised steps, which are stable from 0 to 1, and ``spread`` makes the twins differ.
A truncated episode is no terminal one: its last state counts as V'(h').
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..maths import fingerprint, matrix
from ..shaper import Shaper, use
from ..types import Floats, Trajectory

WORDS = 24  # last words of a state that are paired with those of an utterance


@functools.lru_cache(100_000)
def _words(text: str) -> NDArray[np.uint64]:
    """Codes of the words of a text."""
    return np.array([zlib.crc32(w.encode()) for w in re.findall(r"\w+", text.lower())], np.uint64)


def _codes(x: Any) -> NDArray[np.uint64]:
    return _words(x) if isinstance(x, str) else np.array([zlib.crc32(fingerprint(x).encode())], np.uint64)


def _mixed(a: Any, b: Any) -> NDArray[np.uint64]:
    """One code of two, 64 bits well stirred."""
    x = (a * np.uint64(0x9E3779B97F4A7C15)) ^ (b * np.uint64(0xC2B2AE3D27D4EB4F))
    x = (x ^ (x >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)
    return np.asarray(x ^ (x >> np.uint64(29)), np.uint64)


def utterance_features(state: Any, action: Any, dim: int) -> Floats:
    """``(dim,)`` of length 1: signed hashes of the words of a state (``action`` None), or of an action and of its pairs
    with them.

    A state or an action that is no text counts as one word, so that small tables are tables.
    """
    seen = _codes(state)
    if action is None:
        codes = _mixed(seen, np.array([1], np.uint64))
    else:
        said = _codes(action)
        codes = _mixed(said[:, None], np.unique(seen[-WORDS:])[None] + np.uint64(3)).ravel()
        if isinstance(state, str):
            codes = np.append(codes, _mixed(said, np.array([2], np.uint64)))
    sign = np.where(codes & np.uint64(1), 1.0, -1.0)
    out = np.bincount(((codes >> np.uint64(1)) % np.uint64(dim)).astype(np.int64), sign, dim)
    return np.asarray(out / max(float(np.linalg.norm(out)), 1e-12), np.float64)


@dataclass
class UtteranceCritic(Shaper):
    """Twin critics of states and utterances, and the advantages that they give.

    Shared memory: ``q``, ``v``, ``target_q``, ``target_v``, each ``(1 or 2, dim)`` float64.

    Raises:
        ValueError: a setting outside its range, or features of another length.
    """

    gamma: float = 0.95
    """Discount from utterance to utterance."""
    tau: float = 0.1
    """Share of the critic in its target after each pass."""
    twin: bool = True
    """Two critics of each kind and the smaller of their values, or one."""
    lr: float = 0.5
    """Size of a normalised step, at most 1."""
    epochs: int = 50
    """Passes over the episodes at each ``learn``."""
    batch: int = 8
    """Steps that are fitted together."""
    dim: int = 1024
    """Number of features."""
    features: Any = "milepost.wrappers.episode.archer:utterance_features"
    """``"module:function"`` or a function ``(state, action or None, dim) -> (dim,)`` of length 1 at most."""
    sampled: str = "sampled"
    """Meta key of a~, one a step; without it the actions that were taken."""
    spread: float = 0.01
    """Standard deviation of the weights at the beginning."""
    output = "advantage"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value, low in (("gamma", self.gamma, 0.0), ("tau", self.tau, 0.0), ("lr", self.lr, 1e-12)):
            if not low <= value <= 1:
                raise ValueError(f"utterance_critic: {name} is {value}, allowed is {'above ' if low else ''}0, to 1")
        if min(self.epochs, self.batch, self.dim) < 1 or not 0 <= self.spread < np.inf:
            raise ValueError(
                f"utterance_critic: epochs is {self.epochs}, batch {self.batch}, dim {self.dim} and spread {self.spread}; "
                "allowed: whole numbers from 1, and spread from 0"
            )

    def setup(self, rng: np.random.Generator) -> None:
        """Small random critics, and targets that equal them."""
        super().setup(rng)
        self._features: Callable[[Any, Any, int], Floats] = use(self.features)
        shape = (2 if self.twin else 1, self.dim)
        self.q: Floats = self.spread * rng.normal(size=shape)
        self.v: Floats = self.spread * rng.normal(size=shape)
        self.target_q, self.target_v = self.q.copy(), self.v.copy()
        self.passes = 0

    def matrix(self, states: Sequence[Any], actions: Sequence[Any] | None = None) -> Floats:
        """``(N, dim)`` features of states, or of states with an action each."""
        many = [None] * len(states) if actions is None else actions
        return matrix("utterance_critic", [self._features(s, a, self.dim) for s, a in zip(states, many)], self.dim)

    def values(self, states: Sequence[Any], actions: Sequence[Any] | None = None) -> Floats:
        """``(N,)`` the smaller V of each state, or the smaller Q of each state and action."""
        heads = self.v if actions is None else self.q
        return np.asarray((self.matrix(states, actions) @ heads.T).min(1), np.float64)

    def advantage(self, states: Sequence[Any], actions: Sequence[Any]) -> Floats:
        """``(N,)`` A of actions in states."""
        return self.values(states, actions) - self.values(states)

    def episode(self, traj: Trajectory) -> Floats:
        """A of each utterance."""
        return self.advantage(traj.obs[:-1], traj.actions) if len(traj) else np.zeros(0)

    def learn(self, trajs: Sequence[Trajectory]) -> dict[str, float]:
        """Fits the critics; the metrics are the mean squared errors of the last pass."""
        trajs = [t for t in trajs if len(t)]
        if not trajs or not self.training:
            return {}
        said = [t.meta.get(self.sampled, t.actions) for t in trajs]
        for t, a in zip(trajs, said):
            if len(a) != len(t):
                raise ValueError(f"utterance_critic: meta[{self.sampled!r}] has {len(a)} actions for {len(t)} steps")
        here = self.matrix([o for t in trajs for o in t.obs[:-1]])
        there = self.matrix([o for t in trajs for o in t.obs[1:]])
        taken = self.matrix([o for t in trajs for o in t.obs[:-1]], [a for t in trajs for a in t.actions])
        drawn = self.matrix([o for t in trajs for o in t.obs[:-1]], [a for x in said for a in x])
        rewards = np.concatenate([t.rewards for t in trajs])
        alive = np.concatenate([np.append(np.ones(len(t) - 1), 0.0 if t.terminated else 1.0) for t in trajs])
        for _ in range(self.epochs):
            order = np.random.default_rng([self.passes, len(rewards)]).permutation(len(rewards))
            for k in range(0, len(order), self.batch):
                i = order[k : k + self.batch]
                goal = rewards[i, None] + (alive[i] * self.gamma)[:, None] * (there[i] @ self.target_v.T)
                mean = drawn[i] @ self.target_q.T
                self.q = self.q + self._move(taken[i], goal - taken[i] @ self.q.T)
                self.v = self.v + self._move(here[i], mean - here[i] @ self.v.T)
            self.target_q = (1 - self.tau) * self.target_q + self.tau * self.q
            self.target_v = (1 - self.tau) * self.target_v + self.tau * self.v
            self.passes += 1
        goal = rewards[:, None] + (alive * self.gamma)[:, None] * (there @ self.target_v.T)
        misses = goal - taken @ self.q.T, drawn @ self.target_q.T - here @ self.v.T
        return {"q_loss": float(np.mean(misses[0] ** 2)), "v_loss": float(np.mean(misses[1] ** 2))}

    def _move(self, x: Floats, error: Floats) -> Floats:
        """A step on the squared errors, as large as the features' overlap in the batch allows (a bound of Gershgorin's)."""
        bound = max(float(np.abs(x @ x.T).sum(1).max()), 1e-12)
        return np.asarray(self.lr / bound * error.T @ x, np.float64)

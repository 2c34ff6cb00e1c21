"""Preferences over a tree of episodes that share true prefixes.

"Reward generalization in RLHF: a topological perspective" (arXiv 2402.10184): instead of comparing independent answers (a
chain), all root-to-leaf responses of a prefix tree of depth D with B branches are compared, which under diverse tasks and few
comparisons leaves a reward model less uncertain. Formulas from public notes. A tree has B^D leaves and B^D (B^D - 1) / 2 pairs;
what two leaves share is known, so an annotator reads it once, and pairs of siblings say which branch helped.

``inference_distance`` (``wrappers/probes``) measures how much a set of comparisons says.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import gymnasium as gym
import numpy as np

from ..shaper import use
from ..types import Trajectory
from .copies import go_back, state_of

Policy = Callable[[Any, dict[str, Any], np.random.Generator], Any]
Oracle = Callable[[Trajectory, Trajectory], float | None]


class Leaf(NamedTuple):
    """A root-to-leaf episode: which child was taken at each branching, and the step at which each branching was."""

    path: tuple[int, ...]
    forks: tuple[int, ...]
    episode: Trajectory


class Preference(NamedTuple):
    """A comparison of the leaves ``first`` and ``second`` (indices).

    ``y`` is how much the first is preferred, ``level`` the depth of their last common node, ``shared`` the steps that both
    have.
    """

    first: int
    second: int
    y: float
    level: int
    shared: int


def by_return(a: Trajectory, b: Trajectory) -> float | None:
    """1.0 if the first earned more, 0.0 if less, None if equal."""
    x, y = float(a.rewards.sum()), float(b.rewards.sum())
    return None if x == y else float(x > y)


def random_policy(obs: Any, info: dict[str, Any], rng: np.random.Generator) -> Any:
    """Uniform over ``info["admissible_actions"]`` or the mask of ``info["action_mask"]``.

    Raises:
        KeyError: the environment publishes neither.
    """
    if info.get("admissible_actions"):
        choices = info["admissible_actions"]
        return choices[int(rng.integers(len(choices)))]
    return int(rng.choice(np.flatnonzero(info["action_mask"])))


@dataclass
class _Node:
    """A state of the environment and how it was reached."""

    state: Any
    obs: list[Any]
    infos: list[dict[str, Any]]
    actions: list[Any]
    rewards: list[float]
    ended: tuple[bool, bool]


class PrefixTree:
    """Grows prefix trees in an environment that can go back.

    Args:
        env: with ``snapshot()`` and ``restore(snapshot)``, wrapped or not.
        policy: ``"module:function"`` or a function ``(obs, info, generator) -> action``; with chance in it, else siblings
        are equal. branching: children of a node, B. depth: branchings on a way, D. stride: steps from one branching to the
        next. After the last branching the episode is played to its end. seed: of the policy's generator.

    Raises:
        ValueError: a number outside its range, or an environment that cannot go back.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        policy: Any = "milepost.wrappers.collect.prefix_tree:random_policy",
        branching: int = 2,
        depth: int = 3,
        stride: int = 1,
        seed: int = 0,
    ) -> None:
        for name, n, low in (("branching", branching, 2), ("depth", depth, 1), ("stride", stride, 1)):
            if isinstance(n, bool) or not isinstance(n, int) or n < low:
                raise ValueError(f"{name} is {n!r}; allowed: a whole number from {low}")
        if not (env.has_wrapper_attr("snapshot") and env.has_wrapper_attr("restore")):
            raise ValueError(
                "a prefix tree needs an environment with snapshot() and restore(): this one cannot go back"
            )
        self.env, self.branching, self.depth, self.stride = env, branching, depth, stride
        self._policy: Policy = use(policy)
        self._rng = np.random.default_rng(seed)

    def grow(self, seed: int | None = None, options: dict[str, Any] | None = None) -> list[Leaf]:
        """The leaves of one tree, in the order of their paths; its root is ``env.reset(seed=seed, options=options)``.

        A branch whose episode ends before its last branching is one leaf with a shorter path. Siblings draw other actions from
        one generator; the environment's own chance is the same for all, since it is restored too.
        """
        obs, info = self.env.reset(seed=seed, options=options)
        root = _Node(self._state(), [obs], [info], [], [], (False, False))
        return self._branch(root, (), ())

    def _state(self) -> Any:
        return state_of(self.env)

    def _branch(self, node: _Node, path: tuple[int, ...], forks: tuple[int, ...]) -> list[Leaf]:
        if any(node.ended) or len(path) == self.depth:
            done = self._played(node, None)
            meta = dict(done.infos[0].get("meta", {})) | {"path": path, "forks": forks}
            rewards = np.array(done.rewards, np.float64)
            return [Leaf(path, forks, Trajectory(done.obs, done.actions, rewards, *done.ended, done.infos, meta))]
        out = []
        for k in range(self.branching):
            last = len(path) + 1 == self.depth
            child = self._played(node, None if last else self.stride)
            out += self._branch(child, (*path, k), (*forks, len(node.actions)))
        return out

    def _played(self, node: _Node, steps: int | None) -> _Node:
        """The node so many steps later, or at the end of the episode."""
        out = _Node(node.state, list(node.obs), list(node.infos), list(node.actions), list(node.rewards), node.ended)
        if any(node.ended):
            return out
        go_back(self.env, node.state)
        n = 0
        while not any(out.ended) and (steps is None or n < steps):
            action = self._policy(out.obs[-1], out.infos[-1], self._rng)
            obs, reward, terminated, truncated, info = self.env.step(action)
            out.obs.append(obs)
            out.infos.append(info)
            out.actions.append(action)
            out.rewards.append(float(reward))
            out.ended, n = (bool(terminated), bool(truncated)), n + 1
        out.state = None if any(out.ended) else self._state()
        return out


def preferences(
    leaves: Sequence[Leaf], oracle: Any = by_return, strategy: Literal["leaf_pairs", "siblings"] = "leaf_pairs"
) -> list[Preference]:
    """Comparisons of the leaves of a tree.

    Args:
        leaves: of one tree.
        oracle: ``"module:function"`` or a function of two episodes: 1 for the first, 0 for the second, between for a share,
            None for no preference, which makes no pair.
        strategy: all pairs of leaves, or those alone that differ in their last branching.

    Raises:
        ValueError: an unknown strategy.
    """
    if strategy not in ("leaf_pairs", "siblings"):
        raise ValueError(f"strategy is {strategy!r}; allowed: 'leaf_pairs', 'siblings'")
    judge: Oracle = use(oracle)
    out = []
    for (i, a), (j, b) in itertools.combinations(enumerate(leaves), 2):
        level = next((k for k, (x, y) in enumerate(zip(a.path, b.path)) if x != y), min(len(a.path), len(b.path)))
        if strategy == "siblings" and not level + 1 == len(a.path) == len(b.path):
            continue
        y = judge(a.episode, b.episode)
        if y is not None:
            out.append(Preference(i, j, float(y), level, a.forks[level]))
    return out

"""Many games of ``commons`` at once, on arrays: for training and for measuring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import one_of
from ..text.base import TEST, Split, whole
from .commons import Commons
from .commons_core import ACTIONS, APPLE, Core, Rules
from .commons_maps import layout

Floats = NDArray[np.float32]


class BatchedCommons:
    """Many games of ``commons`` at once. A game is what ``Commons`` plays on the same task with the same actions.

    Like a ``gymnasium.vector.VectorEnv``, with one more axis, the agents. All games have the same length and end
    together; then ``reset()`` begins new ones. Actions are numbers: 0 up, 1 down, 2 left, 3 right, 4 wait, 5 ``tag`` or
    ``clean``.

    Args:
        num_envs: B, the number of games.
        max_cycles: length of a game.
        weights: of ``apples``, ``tag``, ``clean`` and ``team_harvest``, beside the defaults of ``Commons``.
        split: train or test worlds.
        **settings: of ``commons_core.Rules``.

    Raises:
        ValueError: a setting is not allowed, or there is none of that name; names it.
    """

    def __init__(
        self,
        num_envs: int,
        *,
        max_cycles: int = 50,
        weights: dict[str, float] | None = None,
        split: Split = "train",
        **settings: Any,
    ) -> None:
        if split not in get_args(Split):
            raise one_of("split", split, get_args(Split))
        known = [f.name for f in fields(Rules)]
        for key in settings:
            if key not in known:
                raise one_of("a setting of BatchedCommons", key, [*known, "max_cycles", "weights", "split"])
        rules = Rules(**settings)
        self.num_envs, self.max_cycles = whole("num_envs", num_envs, 1), whole("max_cycles", max_cycles, 1)
        self.core, self.rules, self.split = Core(rules), rules, split
        terms = (*Commons.own_terms, *Commons.team_terms)
        self.weights = dict.fromkeys(terms, 0.0) | dict(Commons.default_weights)
        for key, value in (weights or {}).items():
            if key not in terms:
                raise one_of("a reward term", key, terms)
            self.weights[key] = float(value)
        v = 2 * rules.view + 1
        self.observation_shape = (self.num_envs, rules.players, v, v)
        self.action_shape, self.actions = (self.num_envs, rules.players), ACTIONS
        self._rng = np.random.default_rng()

    def reset(
        self, seed: int | None = None, tasks: Sequence[int] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """New games.

        Args:
            seed: of the tasks that are drawn; None goes on.
            tasks: B numbers of tasks of the split instead.

        Returns:
            Observations uint8 (B, N, V, V), the bits of ``Core.views``, and infos with ``tasks`` int64 (B,).

        Raises:
            ValueError: tasks of another number, or not of this split.
        """
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        first = TEST if self.split == "test" else 0
        wanted = list(self._rng.integers(first, first + TEST, self.num_envs) if tasks is None else tasks)
        if len(wanted) != self.num_envs:
            raise ValueError(f"tasks are {len(wanted)}; allowed: {self.num_envs}, one a game")
        numbers = [whole("a task", t, first, first + TEST - 1) for t in wanted]
        r = self.rules
        self.state = self.core.begin([layout(r.kind, r.size, r.players, t) for t in numbers])
        return self.core.views(self.state), {"tasks": np.array(numbers, np.int64)}

    def step(
        self, actions: Any
    ) -> tuple[NDArray[np.uint8], Floats, NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """One cycle of all games.

        Args:
            actions: whole numbers 0 to 5, (B, N).

        Returns:
            Observations uint8 (B, N, V, V), rewards float32 (B, N), terminated and truncated bool (B,), and infos:
            ``apples`` and ``tagged`` bool (B, N); at the end also ``harvest`` (B, N) and the measures of
            ``Core.outcomes``, (B,) each.

        Raises:
            RuntimeError: there was no reset, or the games are over.
            ValueError: actions of another shape, or others.
        """
        if not hasattr(self, "state") or self.state.t >= self.max_cycles:
            raise RuntimeError("the games are over: call reset() before step()")
        did, w = self.core.step(self.state, actions), self.weights
        tool = w["clean"] if self.rules.kind == "cleanup" else w["tag"]
        rewards = w["apples"] * did.got - tool * did.used + w["team_harvest"] * did.got.sum(1, keepdims=True)
        over = self.state.t >= self.max_cycles
        infos: dict[str, Any] = {"apples": did.got, "tagged": did.hit}
        if over:
            infos |= {"harvest": self.state.harvest.copy()} | self.core.outcomes(self.state)
        done = np.full(self.num_envs, over)
        return self.core.views(self.state), rewards.astype(np.float32), np.zeros_like(done), done, infos

    @staticmethod
    def planes(views: NDArray[np.uint8]) -> Floats:
        """Views as numbers 0 or 1, float32 (..., 4, V, V): apple, waste, another agent, outside."""
        bits = np.array([APPLE << k for k in range(4)], np.uint8)[:, None, None]
        return ((views[..., None, :, :] & bits) > 0).astype(np.float32)

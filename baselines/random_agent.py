"""Chance: a uniformly random action that the environment says is there."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


class RandomAgent:
    """Uniform over ``admissible_actions`` (text), the ``action_mask`` (indices), or the action space.

    Args:
        space: the action space, for environments that publish neither.
        seed: of the choices.
    """

    def __init__(self, space: gym.Space[Any] | None = None, seed: int = 0) -> None:
        self.space, self.rng = space, np.random.default_rng(seed)

    def reset(self, seed: int | None = None) -> None:
        """Begins an episode; with a seed, choices repeat."""
        if seed is not None:
            self.rng = np.random.default_rng(seed)
            if self.space is not None:
                self.space.seed(seed)

    def act(self, obs: Any, info: dict[str, Any]) -> Any:
        """A random action.

        Raises:
            ValueError: the environment publishes no admissible actions, and the agent was given no action space.
        """
        mask = obs.get("action_mask") if isinstance(obs, dict) else info.get("action_mask")
        if mask is not None and np.any(mask):
            return int(self.rng.choice(np.flatnonzero(mask)))
        if choices := info.get("admissible_actions"):
            return str(choices[int(self.rng.integers(len(choices)))])
        if self.space is None:
            raise ValueError("the random agent needs an action space: the environment publishes no admissible actions")
        return self.space.sample()

"""Evaluation: separate environments, held-out worlds, no shaping, frozen agent."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from ..wrappers.hosts import inner_stack


@dataclass(frozen=True)
class Evaluation:
    """Means over the valid episodes."""

    episodes: int
    success: float
    env_return: float
    length: float
    invalid: int  # episodes that the infrastructure ended; they count in nothing else

    def as_dict(self) -> dict[str, float]:
        """Plain numbers."""
        return asdict(self)


def evaluate(agent: Any, env: gym.Env[Any, Any], episodes: int = 100, seed: int = 0) -> Evaluation:
    """Plays ``episodes`` episodes; the agent only acts.

    Args:
        agent: has ``act(obs, info)``; ``reset(seed)`` is called before each episode if there is one.
        env: an environment *without* shaping, usually ``split="test"``.
        episodes: how many.
        seed: of the first reset; later resets follow the environment's own stream.

    Raises:
        ValueError: the environment is shaped; shaped return is never a score.
    """
    if inner_stack(env) is not None:
        raise ValueError("evaluation needs an environment without shaping: its shaped return is no score")
    rows, invalid = [], 0
    for k in range(episodes):
        obs, info = env.reset(seed=seed if k == 0 else None)
        if hasattr(agent, "reset"):
            agent.reset(seed + k)
        total, length, done = 0.0, 0, False
        while not done:
            obs, reward, terminated, truncated, info = env.step(agent.act(obs, info))
            total, length, done = total + float(reward), length + 1, terminated or truncated
        if info.get("invalid"):
            invalid += 1
        else:
            rows.append((float(bool(info.get("success", total > 0))), total, length))
    means = np.mean(rows, axis=0) if rows else np.zeros(3)
    return Evaluation(len(rows), float(means[0]), float(means[1]), float(means[2]), invalid)

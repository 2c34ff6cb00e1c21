"""Evaluation: separate environments, held-out worlds, no shaping, frozen agent."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np

from ..wrappers.hosts import inner_stack
from .lanes import copyable

SIDE = 25  # copies of the environment that are played side by side


@dataclass(frozen=True)
class Evaluation:
    """Means over the valid episodes."""

    episodes: int
    success: float  # NaN where the environment does not say: a positive return is no success
    env_return: float
    length: float
    invalid: int  # episodes that the infrastructure ended; they count in nothing else
    subgoals: dict[str, float] = field(default_factory=dict)
    """Share of episodes at whose end a sub-goal held, of those that every episode's last info has."""

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers as JSON knows them; a success that nobody can know is None."""
        return asdict(self) | {"success": None if math.isnan(self.success) else self.success}


def evaluate(agent: Any, env: gym.Env[Any, Any], episodes: int = 100, seed: int = 0) -> Evaluation:
    """Plays ``episodes`` episodes, the k-th from ``reset(seed=seed + k)``; the agent only acts.

    An agent that has ``acts(observations, infos)`` plays several copies of the environment side by side.

    Args:
        agent: has ``act(obs, info)``; ``reset(seed)`` is called first, if there is one (before each episode, if played singly).
        env: an environment *without* shaping, usually ``split="test"``.
        episodes: how many.
        seed: of the first episode.

    Returns:
        The means; ``success`` is NaN unless every episode's last info has ``success``.

    Raises:
        ValueError: the environment is shaped; shaped return is never a score.
    """
    if inner_stack(env) is not None:
        raise ValueError("evaluation needs an environment without shaping: its shaped return is no score")
    side = min(SIDE, episodes) if hasattr(agent, "acts") and copyable(env) else 1
    envs = [env]
    rows: list[tuple[float, float, int]] = []
    reached: list[dict[str, bool]] = []
    invalid = begun = 0
    running: list[list[Any]] = []  # environment, observation, info, return, length
    try:
        for _ in range(side - 1):
            assert env.spec is not None
            envs.append(gym.make(env.spec, disable_env_checker=True))
        if side > 1 and hasattr(agent, "reset"):
            agent.reset(seed)
        free = list(envs)
        while begun < episodes or running:
            while free and begun < episodes:
                e = free.pop()
                if side == 1 and hasattr(agent, "reset"):
                    agent.reset(seed + begun)
                running.append([e, *e.reset(seed=seed + begun), 0.0, 0])
                begun += 1
            if side > 1:
                actions = agent.acts([r[1] for r in running], [r[2] for r in running])
            else:
                actions = [agent.act(r[1], r[2]) for r in running]
            going = []
            for r, action in zip(running, actions):
                r[1], reward, terminated, truncated, r[2] = r[0].step(action)
                r[3], r[4] = r[3] + float(reward), r[4] + 1
                if not (terminated or truncated):
                    going.append(r)
                    continue
                free.append(r[0])
                if r[2].get("invalid"):
                    invalid += 1
                else:
                    success = float(bool(r[2]["success"])) if "success" in r[2] else math.nan
                    rows.append((success, r[3], r[4]))
                    reached.append(dict(r[2].get("subgoals", {})))
            running = going
    finally:
        for e in envs[1:]:
            e.close()
    means = np.mean(rows, axis=0) if rows else np.zeros(3)
    common = [g for g in (reached[0] if reached else ()) if all(g in r for r in reached)]
    shares = {g: sum(map(bool, (r[g] for r in reached))) / len(reached) for g in common}
    return Evaluation(len(rows), float(means[0]), float(means[1]), float(means[2]), invalid, shares)

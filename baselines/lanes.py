"""Several copies of one environment, stepped side by side through one stack: what trainers collect with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np

from ..wrappers.hosts.env import ShapedEnv
from ..wrappers.stack import Lane, Stack
from ..wrappers.types import Floats, Transition, account


@dataclass
class Episode:
    """One finished episode as a trainer needs it."""

    extras: list[Any]  # what the trainer kept at each step
    rewards: Floats  # (T,) after all layers that settle with the episode
    terminated: bool
    last_obs: Any
    last_info: dict[str, Any]
    env_return: float
    terms: dict[str, float]  # each reward term, summed over the episode

    @property
    def invalid(self) -> bool:
        """The infrastructure failed: no trainer learns from this episode."""
        return bool(self.last_info.get("invalid"))

    @property
    def success(self) -> bool:
        """Did the episode reach its goal?"""
        return bool(self.last_info.get("success"))


@dataclass
class _Running:
    env: gym.Env[Any, Any]
    lane: Lane
    obs: Any = None
    info: dict[str, Any] = field(default_factory=dict)
    extras: list[Any] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    env_return: float = 0.0
    terms: dict[str, float] = field(default_factory=dict)


def copyable(env: gym.Env[Any, Any]) -> bool:
    """Can ``gym.make(env.spec)`` build it again?"""
    return env.spec is not None and all(w.kwargs is not None for w in env.spec.additional_wrappers)


class Lanes:
    """``n`` environments behind one stack. ``env`` itself is the first; the others are made from its spec.

    If ``env`` is a ``ShapedEnv``, its stack (with its shared memory) serves all copies of the environment inside it.

    Args:
        env: a Gymnasium environment with a spec (or ``n = 1``).
        n: number of lanes.
        seed: lane ``i`` is first reset with ``seed + i // group``.
        group: so many lanes next to each other begin with the same seed, and so with the same task.

    Raises:
        ValueError: the environment has no spec to copy it from.
    """

    def __init__(self, env: gym.Env[Any, Any], n: int, seed: int, group: int = 1) -> None:
        self.stack = env.stack if isinstance(env, ShapedEnv) else Stack([])
        core = env.env if isinstance(env, ShapedEnv) else env
        if n > 1 and not copyable(core):
            raise ValueError(
                "the environment cannot be copied from its spec: build it with gym.make and wrappers that record their "
                "arguments (gym.utils.RecordConstructorArgs), or set lanes=1"
            )
        self.envs = [core]
        for _ in range(n - 1):
            assert core.spec is not None
            self.envs.append(gym.make(core.spec, disable_env_checker=True))
        self.group = group
        self.begin(seed)

    def __len__(self) -> int:
        """Lanes with a running episode."""
        return len(self.running)

    @property
    def obs(self) -> list[Any]:
        """The current observations."""
        return [r.obs for r in self.running]

    @property
    def infos(self) -> list[dict[str, Any]]:
        """The current infos."""
        return [r.info for r in self.running]

    def begin(self, seed: int) -> None:
        """A new episode in every lane, seeded as at the start."""
        self.running = []
        for i, env in enumerate(self.envs):
            first = seed + i // self.group
            # what the environment calls its task comes before the seed, which is all that is known of a stranger's
            meta: dict[str, Any] = {"task": f"seed {first}"} if self.group > 1 else {}
            self.running.append(self._begin(env, Lane(index=i, **meta), first))

    def _begin(self, env: gym.Env[Any, Any], lane: Lane, seed: int | None = None) -> _Running:
        obs, info = env.reset(seed=seed)
        lane.walked = False
        return _Running(env, lane, obs, info | self.stack.begin(lane, obs, info))

    def step(self, actions: list[Any], extras: list[Any], again: bool = True) -> list[Episode]:
        """Steps every lane that is running; returns the episodes that ended.

        Args:
            actions: one a lane.
            extras: what to keep of this step, one a lane (``Episode.extras``).
            again: a lane whose episode has ended begins another; else it rests.
        """
        ts, ended, going = [], list[Episode](), list[_Running]()
        for r, action in zip(self.running, actions):
            obs, reward, terminated, truncated, info = r.env.step(action)
            reward = float(reward)
            r.env_return += reward
            ts.append(Transition(r.obs, action, reward, obs, terminated, truncated, info, account(info, reward)))
        rewards, more = self.stack.step([r.lane for r in self.running], ts)
        for i, (t, r, reward, extra) in enumerate(zip(ts, self.running, rewards, more)):
            r.obs, r.info = t.next_obs, t.info | extra
            r.rewards.append(reward)
            r.extras.append(extras[i])
            for k, v in extra["reward_terms"].items():
                r.terms[k] = r.terms.get(k, 0.0) + v
            if t.terminated or t.truncated:
                final = np.array(r.info.get("credit", r.rewards), np.float64)
                ended.append(Episode(r.extras, final, t.terminated, r.obs, r.info, r.env_return, r.terms))
                if again:
                    going.append(self._begin(r.env, r.lane))
            else:
                going.append(r)
        self.running = going
        return ended

    def close(self) -> None:
        """Closes the copies; ``env`` itself stays open."""
        for env in self.envs[1:]:
            env.close()

"""A linear softmax policy over any environment with countable actions, and episodes played with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from ..envs.text.encode import Encoder
from ..envs.text.spaces import Unicode
from ..wrappers.hosts import inner_stack
from ..wrappers.types import Floats, Trajectory
from .bilevel import Batch, pack, probabilities

LONGEST = 10_000  # steps of an episode that nobody ends
Settings = TypeVar("Settings")


def settings_of(cls: type[Settings], name: str, given: Mapping[str, Any]) -> Settings:
    """``cls(**given)`` of a trainer called ``name``.

    Raises:
        ValueError: an unknown setting, or one of the wrong type or outside its range.
    """
    known = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for key in given:
        if key not in known:
            raise ValueError(f"{name} has no setting {key!r}; allowed: {', '.join(known)}")
    return cls(**given)


class LinearPolicy:
    """pi(a | s) = softmax over the actions of theta . f(s, a). It needs the environment only to know the form of f.

    f: of a text and ``info["admissible_actions"]`` what the encoded face has (hashed words, and the overlap with the first
    lines); of a ``Dict`` with ``actions`` these rows; of numbers with a ``Discrete`` action: (numbers, 1), of a state by number
    its indicator, in a block of its own for each action. ``info["action_mask"]``, or the observation's, leaves actions out.

    Args:
        env: what it acts in.
        dim: hashed features of an action that is text.
        seed: of the sampled actions.

    Raises:
        ValueError: the environment's actions cannot be counted, or its observations are neither numbers nor text.
    """

    def __init__(self, env: gym.Env[Any, Any], dim: int = 64, seed: int = 0) -> None:
        seen, acts = env.observation_space, env.action_space
        self.encoder: Encoder | None = None
        self.actions, self.kind = 0, ""
        if isinstance(seen, Unicode):
            self.kind, self.encoder = "text", Encoder(1, dim, 256)
            self.size = self.encoder.width
        elif isinstance(acts, spaces.Discrete) and acts.start == 0:
            self.actions = int(acts.n)
            inner = seen["observation"] if isinstance(seen, spaces.Dict) and "observation" in seen.spaces else seen
            if isinstance(seen, spaces.Dict) and "actions" in seen.spaces:
                self.kind, self.size = "rows", int(np.prod(seen["actions"].shape or (0,))) // self.actions
            elif isinstance(inner, spaces.Discrete):
                self.kind, self.size = "state", int(inner.n) * self.actions
                self.states, self.first = int(inner.n), int(inner.start)
            elif isinstance(inner, spaces.Box):
                self.kind, self.size = "numbers", (int(np.prod(inner.shape)) + 1) * self.actions
        if not self.kind:
            raise ValueError(
                f"a linear policy cannot act on {seen} with {acts}; allowed: text with admissible actions, or a Box, a "
                "Discrete or a Dict with 'observation' or 'actions', and Discrete actions from 0"
            )
        self.theta: Floats = np.zeros(self.size)
        self.rng = np.random.default_rng(seed)

    def rows(self, obs: Any, info: dict[str, Any]) -> tuple[Floats, list[Any]]:
        """``(A, P)`` features of the actions that can be taken, and these actions."""
        if self.encoder is not None:
            choices: list[Any] = sorted(info["admissible_actions"])[: self.encoder.max_actions] or [""]
            shown = self.encoder.features(obs, choices)["actions"]
            return np.asarray(shown[: len(choices)], np.float64), choices
        mask = info.get("action_mask")
        if isinstance(obs, dict):
            mask = obs.get("action_mask", mask)
        choices = list(range(self.actions)) if mask is None else [int(i) for i in np.flatnonzero(mask)]
        choices = choices or [0]
        if self.kind == "rows":
            return np.asarray(obs["actions"], np.float64)[choices], choices
        x = self.state(obs)
        out = np.zeros((len(choices), self.size))
        for k, a in enumerate(choices):
            out[k, a * len(x) : (a + 1) * len(x)] = x
        return out, choices

    def state(self, obs: Any) -> Floats:
        """``(d,)`` features of a state that is no text."""
        inner = obs["observation"] if isinstance(obs, dict) else obs
        if self.kind == "state":
            return np.asarray(np.eye(self.states)[int(inner) - self.first], np.float64)
        return np.append(np.asarray(inner, np.float64).ravel(), 1.0)

    def p(self, rows: Floats) -> Floats:
        """``(A,)`` probabilities of the actions with these rows."""
        return np.asarray(probabilities(self.theta, rows[None], np.ones((1, len(rows)), bool))[0], np.float64)

    def sample(self, obs: Any, info: dict[str, Any]) -> tuple[Any, Floats, int, float]:
        """An action, and how it was chosen: rows, index, log-probability."""
        rows, choices = self.rows(obs, info)
        p = self.p(rows)
        k = int(self.rng.choice(len(p), p=p))
        return choices[k], rows, k, float(np.log(p[k]))

    def greedy(self, obs: Any, info: dict[str, Any]) -> Any:
        """The likeliest action."""
        rows, choices = self.rows(obs, info)
        return choices[int(np.argmax(rows @ self.theta))]


def play(env: gym.Env[Any, Any], policy: LinearPolicy, seed: int | None = None) -> Trajectory:
    """One whole episode with sampled actions. ``meta["choices"]``: a tuple (rows, index, log-probability) a step."""
    obs, info = env.reset(seed=seed)
    seen, infos, actions, rewards, choices = [obs], [info], list[Any](), list[float](), list[Any]()
    terminated = truncated = False
    while not (terminated or truncated):
        action, *how = policy.sample(obs, info)
        obs, reward, terminated, truncated, info = env.step(action)
        seen.append(obs)
        infos.append(info)
        actions.append(action)
        rewards.append(float(reward))
        choices.append(tuple(how))
        truncated = truncated or len(actions) >= LONGEST
    meta = dict(infos[0].get("meta", {})) | {"choices": choices}
    return Trajectory(seen, actions, np.array(rewards), terminated, truncated, infos, meta)


def step_layers_only(name: str, env: gym.Env[Any, Any]) -> None:
    """A trainer that learns from rewards as they are paid serves step layers alone.

    Args:
        name: of the trainer.
        env: shaped or not.

    Raises:
        ValueError: a layer that settles when an episode ends, waits for a batch, or is fitted to episodes; names it.
    """
    if (stack := inner_stack(env)) is None:
        return
    late = [n for k, (n, m) in enumerate(zip(stack.names, stack.shapers)) if k >= stack.b or m.learns]
    if late:
        raise ValueError(
            f"{name} learns from rewards as they are paid and cannot serve {', '.join(late)}: use step layers only, or the "
            "agent text"
        )


def valid(trajs: Sequence[Trajectory]) -> list[Trajectory]:
    """Those that the infrastructure did not end."""
    return [t for t in trajs if not t.infos[-1].get("invalid")]


def batch(trajs: Sequence[Trajectory], weight: Sequence[float] | Floats | None = None) -> Batch:
    """Episodes of ``play`` as arrays."""
    return pack([t.meta["choices"] for t in trajs], weight)

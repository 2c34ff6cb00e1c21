"""``frame_stack`` and ``delay_observations``: what an agent saw at its earlier turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete

from .base import choice, host, refused, whole, zero
from .observations import AECView, ParallelMemory, ParallelView, put

Plan = tuple[Any, Callable[..., Any]]
MOST = 2**62  # numbers of a Discrete stack


def frame_stack(env: Any, stack_size: int = 4, stack_dim: int = -1, padding: str = "reset") -> Any:
    """Each agent sees its last ``stack_size`` observations, the oldest first.

    Vectors are put one behind the other. Images of 2 axes become channels; those of 3 axes are joined along their channels. A
    Discrete observation of ``n`` becomes one of ``n ** stack_size``: the numbers are its digits, the latest the last one. An
    ``action_mask`` is the current one alone. In a game with turns the frames are what the agent saw at its own turns.

    Args:
        env: a ``ParallelEnv`` or ``AECEnv`` with observations that are Boxes of 1 to 3 axes, or Discrete from 0.
        stack_size: frames, from 1.
        stack_dim: where images have their channels, -1 (last axis) or 0 (first).
        padding: what stands for frames before the first: ``"reset"``, the first one again (SuperSuit's ``frame_stack_v2``), or
            ``"zero"``, zeros (``frame_stack_v1``).

    Returns:
        The wrapped game.

    Raises:
        ValueError: another kind of space, or a setting that is not allowed.
    """
    return put(env, Stacked(stack_size, stack_dim, padding), host("frame_stack", env, ParallelView, AECView))


class Stacked:
    """The memory is the whole stack, what the agent gets a copy of it: a memory in one piece is copied fastest."""

    word, remembers = "frame_stack", True

    def __init__(self, size: int, axis: int, padding: str) -> None:
        self.size = whole("stack_size", size, 1)
        self.axis = choice("stack_dim", axis, (-1, 0))
        self.padding = choice("padding", padding, ("reset", "zero"))

    def plan(self, agent: Any, space: Any) -> Plan:
        """Frames joined along one axis."""
        if isinstance(space, Discrete) and space.start == 0 and int(space.n) ** self.size <= MOST:
            return self._digits(int(space.n))
        if not isinstance(space, Box) or len(space.shape) not in (1, 2, 3):
            allowed = f"a Box of 1 to 3 axes, or a Discrete space from 0 with n ** {self.size} up to 2 ** 62"
            raise refused(self.word, agent, space, allowed)
        size, join = self.size, np.concatenate
        axis = 0 if len(space.shape) == 1 or self.axis == 0 else 2
        grey = len(space.shape) == 2
        low, high = (np.expand_dims(x, axis) if grey else x for x in (space.low, space.high))
        n = low.shape[axis]
        later: Any = slice(n, None) if axis == 0 else (..., slice(n, None))
        empty = zero(space).reshape(low.shape) if self.padding == "zero" else None

        def look(memory: Any, obs: Any) -> tuple[Any, Any]:
            if grey:
                obs = obs[None] if axis == 0 else obs[..., None]
            stack = join([obs if empty is None else empty] * size, axis) if memory is None else memory
            stack = join((stack[later], obs), axis)
            return stack.copy(), stack

        low, high = join([low] * size, axis), join([high] * size, axis)
        return Box(low, high, low.shape, space.dtype.type), look

    def _digits(self, n: int) -> Plan:
        repeated, most = (n ** (self.size - 1) - 1) // (n - 1) if n > 1 else 0, n ** (self.size - 1)
        first = self.padding == "reset"

        def look(memory: Any, obs: Any) -> tuple[Any, Any]:
            if memory is None:
                memory = int(obs) * repeated if first else 0
            seen = memory * n + int(obs)
            return np.int64(seen), seen % most

        return Discrete(n**self.size), look


def delay_observations(env: Any, delay: int) -> Any:
    """Each agent sees what it would have seen ``delay`` of its own turns ago, and zeros before.

    Zeros are as near to zero as the space allows. An ``action_mask`` is not delayed: it belongs to the turn.

    Args:
        env: a ``ParallelEnv`` or ``AECEnv`` whose observations are numbers.
        delay: turns, from 0.

    Returns:
        The wrapped game; spaces are unchanged.

    Raises:
        ValueError: text, or a ``delay`` that is not allowed.
    """
    kind, rule = host("delay_observations", env, ParallelView, AECView), Delayed(delay)
    agents = getattr(env, "possible_agents", ())
    if kind is ParallelView and agents and all(isinstance(env.observation_space(a), Box) for a in agents):
        return ParallelDelay(env, rule)
    return put(env, rule, kind)


class Delayed:
    """The memory is the last ``delay`` observations, the oldest first."""

    word, remembers = "delay_observations", True

    def __init__(self, delay: int) -> None:
        self.delay = whole("delay", delay, 0)

    def plan(self, agent: Any, space: Any) -> Plan:
        """The same space."""
        delay, arrays = self.delay, not isinstance(space, Discrete)

        def look(memory: Any, obs: Any) -> tuple[Any, Any]:
            if memory is None:
                memory = tuple(zero(space) for _ in range(delay))
            line = (*memory, obs.copy() if arrays else obs)  # some games write into the same array again and again
            return line[0], line[1:]

        return space, look


class ParallelDelay(ParallelMemory):
    """The same where all observations are arrays: one line for all agents together."""

    def __init__(self, env: Any, rule: Delayed) -> None:
        super().__init__(env, rule)
        self.delay, self.line = rule.delay, list[dict[Any, Any]]()

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Resets the game; nothing has been seen."""
        self.line = [{} for _ in range(self.delay)]
        return super().reset(seed=seed, options=options)

    def _look(self, obs: dict[Any, Any]) -> dict[Any, Any]:
        line = self.line
        now: dict[Any, Any] = {}
        line.append(now)
        seen = line.pop(0)
        same = len(seen) == len(obs)
        for a, o in obs.items():
            now[a] = o.copy()
            if a not in seen:
                same = False
        if same:
            return seen
        space = self.env.observation_space
        return {a: seen[a] if a in seen else zero(space(a)) for a in obs}

    def _save(self) -> Any:
        return [{a: o.copy() for a, o in obs.items()} for obs in self.line]

    def _load(self, saved: Any) -> None:
        self.line = [{a: o.copy() for a, o in obs.items()} for obs in saved]

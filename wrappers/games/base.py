"""What the wrappers of games share: which kind of game it is, snapshots, settings, zeros."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space
from gymnasium.wrappers.utils import create_zero_array
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils import BaseParallelWrapper, BaseWrapper

MASK = "action_mask"
SEEN = "observation"  # the key of a Dict observation that the wrappers act on


class _Saving:
    """Snapshots of a wrapper: the game's own beside what the wrapper remembers of the running episode."""

    env: Any
    word: str = ""

    def _save(self) -> Any:
        return None

    def _load(self, saved: Any) -> None:
        pass

    def snapshot(self) -> dict[str, Any]:
        """The game's own snapshot and the wrapper's memory of the running episode; not running statistics."""
        return {"inner": self.env.snapshot(), "memory": self._save()}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Goes back to it: the same actions then give the same observations and rewards."""
        self.env.restore(snapshot["inner"])
        self._load(snapshot["memory"])

    def __str__(self) -> str:
        return f"{self.word}<{self.env!s}>"


class ParallelWrapper(_Saving, BaseParallelWrapper):  # type: ignore[misc]
    """A wrapper of a ``ParallelEnv``.

    ``_step`` is the game's bound method: PettingZoo's ``__getattr__`` would cost more than most wrappers do.
    """

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self._step = env.step

    @property
    def agents(self) -> list[Any]:
        """Who is in the game now."""
        found: list[Any] = self.env.agents
        return found


class AECWrapper(_Saving, BaseWrapper):  # type: ignore[misc]
    """A wrapper of an ``AECEnv``."""

    def last(self, observe: bool = True) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """What the agent whose turn it is sees; its reward is the sum since its last turn."""
        _, reward, terminated, truncated, info = self.env.last(observe=False)
        obs = self.observe(self.env.agent_selection) if observe else None
        return obs, reward, terminated, truncated, info


def host(word: str, env: Any, parallel: type, aec: type | None) -> type:
    """The class that wraps this kind of game.

    Raises:
        TypeError: it is no game of PettingZoo, or of the kind for which the wrapper is not defined; says what to do.
    """
    if isinstance(env, ParallelEnv):
        return parallel
    if isinstance(env, AECEnv):
        if aec is None:
            raise TypeError(
                f"{word} is defined for agents that step together, {env} has turns: convert it first, with "
                "aec_to_parallel(env) or turn_based_aec_to_parallel(env) of pettingzoo.utils.conversions"
            )
        return aec
    raise TypeError(
        f"{word} takes a PettingZoo ParallelEnv or AECEnv, not {type(env).__name__}"
        " (for one agent Gymnasium has wrappers of its own)"
    )


def everyone(word: str, env: Any) -> list[Any]:
    """The list ``possible_agents``.

    Raises:
        ValueError: the game does not say who may take part.
    """
    found = getattr(env, "possible_agents", None)
    if not found:
        raise ValueError(f"{word} needs to know all agents in advance, and {env} has no possible_agents")
    return list(found)


def part(word: str, agent: Any, space: Any) -> Any:
    """The space that a wrapper of observations acts on: the whole, or what a Dict has under ``"observation"``.

    Raises:
        ValueError: text, or a Dict without that key; names the agent.
    """
    if isinstance(space, Dict):
        if SEEN not in space.spaces:
            raise ValueError(f"{word}: {agent}'s observation is a Dict without the key {SEEN!r}: {space}")
        return part(word, agent, space[SEEN])
    if not isinstance(space, (Box, Discrete, MultiBinary, MultiDiscrete)):
        raise refused(word, agent, space, "numbers (text games have an encoded face)")
    return space


def refused(word: str, agent: Any, space: Any, allowed: str) -> ValueError:
    """``"word: agent's space is ...; allowed: ..."``."""
    return ValueError(f"{word}: the space of {agent} is {space}; allowed: {allowed}")


def zero(space: Space[Any]) -> Any:
    """A new sample as near to zero as the space allows; of a Dict with an action mask the mask is all ones.

    Nothing depends on the action of an agent that sees this, so each is as good: an empty mask would break samplers.
    """
    if isinstance(space, Dict):
        return {k: np.ones(s.shape or (), s.dtype) if k == MASK else zero(s) for k, s in space.spaces.items()}
    found: Any = create_zero_array(space)
    return np.int64(found) if isinstance(space, Discrete) else found


def whole(name: str, value: Any, low: int) -> int:
    """A whole number from ``low``; True is none.

    Raises:
        ValueError: names the setting and what is allowed.
    """
    try:
        n = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        n = None
    if n is None or n < low:
        raise ValueError(f"{name} is {value!r}; allowed: a whole number from {low}")
    return n


def finite(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number between ``low`` and ``high``.

    Raises:
        ValueError: names the setting and what is allowed.
    """
    good = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not (good and math.isfinite(value) and low <= value <= high):
        rest = "" if low == -math.inf and high == math.inf else f" from {low:g} to {high:g}"
        raise ValueError(f"{name} is {value!r}; allowed: a finite number{rest}")
    return float(value)


def choice(name: str, value: Any, allowed: tuple[Any, ...]) -> Any:
    """One of ``allowed``.

    Raises:
        ValueError: names the setting and what is allowed.
    """
    if not any(value is x or (type(value) is type(x) and value == x) for x in allowed):
        raise ValueError(f"{name} is {value!r}; allowed: {', '.join(map(repr, allowed))}")
    return value

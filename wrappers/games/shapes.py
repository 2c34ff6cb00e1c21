"""``dtype``, ``flatten``, ``pad_observations``, ``agent_indicator``: other arrays of the same observation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete

from .base import choice, everyone, host, part, refused
from .observations import AECView, ParallelView, put

Plan = tuple[Any, Callable[..., Any]]


def dtype(env: Any, dtype: Any) -> Any:
    """Observations as another type of number.

    Args:
        env: a ``ParallelEnv`` or ``AECEnv`` with Box observations (or Dicts with one under ``"observation"``).
        dtype: of numpy, such as ``"float32"`` or ``np.uint8``.

    Returns:
        The wrapped game; spaces ``Box(low, high, shape, dtype)``.

    Raises:
        ValueError: no type of number, an integer type that cannot hold the space's bounds, or another kind of space.
    """
    return put(env, Cast(dtype), host("dtype", env, ParallelView, AECView))


class Cast:
    """``obs.astype(dtype)``."""

    word, remembers = "dtype", False

    def __init__(self, wanted: Any) -> None:
        try:
            self.dtype: np.dtype[Any] = np.dtype(wanted)
        except TypeError:
            self.dtype = np.dtype(object)
        if wanted is None or self.dtype.kind not in "biuf":
            raise ValueError(f"dtype is {wanted!r}; allowed: a numpy type of bool, integer or floating numbers")

    def plan(self, agent: Any, space: Any) -> Plan:
        """Same shape, bounds cast."""
        if not isinstance(space, Box):
            raise refused(self.word, agent, space, "a Box")
        if self.dtype.kind in "biu":
            least, most = (0, 1) if self.dtype.kind == "b" else (np.iinfo(self.dtype).min, np.iinfo(self.dtype).max)
            if not (np.all(space.low >= least) and np.all(space.high <= most)):
                raise refused(self.word, agent, space, f"for {self.dtype}, bounds between {least} and {most}")
        low, high = space.low.astype(self.dtype), space.high.astype(self.dtype)
        kind = self.dtype
        return Box(low, high, space.shape, kind.type), lambda obs: obs.astype(kind)


def flatten(env: Any) -> Any:
    """Observations as vectors, in C order.

    Args:
        env: a ``ParallelEnv`` or ``AECEnv`` with Box observations (or Dicts with one under ``"observation"``).

    Returns:
        The wrapped game; spaces ``Box`` of shape ``(size,)``.

    Raises:
        ValueError: another kind of space.
    """
    return put(env, Flat(), host("flatten", env, ParallelView, AECView))


class Flat:
    """``obs.flatten()``."""

    word, remembers = "flatten", False

    def plan(self, agent: Any, space: Any) -> Plan:
        """One axis."""
        if not isinstance(space, Box):
            raise refused(self.word, agent, space, "a Box")
        low, high = space.low.reshape(-1), space.high.reshape(-1)
        return Box(low, high, low.shape, space.dtype.type), np.ndarray.flatten


def pad_observations(env: Any) -> Any:
    """Observations of all agents get one size: arrays are filled up with zeros at the end of each axis.

    Args:
        env: a ``ParallelEnv`` or ``AECEnv`` with ``possible_agents``, whose observations are all Boxes with the same number of
            axes and the same type of number, or all Discrete with the same start (or Dicts with such under
            ``"observation"``; their action masks stay, see ``pad_actions``).

    Returns:
        The wrapped game; equal spaces for all agents: the largest shape, bounds that hold for each agent and for the zeros.

    Raises:
        ValueError: spaces that do not go together, or no ``possible_agents``.
    """
    return put(env, Pad(env), host("pad_observations", env, ParallelView, AECView))


class Pad:
    """Zeros at the end of each axis."""

    word, remembers = "pad_observations", False

    def __init__(self, env: Any) -> None:
        self.space = common(
            self.word, {a: part(self.word, a, env.observation_space(a)) for a in everyone(self.word, env)}
        )

    def plan(self, agent: Any, space: Any) -> Plan:
        """The common space; every agent has an object of its own, for its own random numbers."""
        if isinstance(self.space, Discrete):
            return Discrete(int(self.space.n), start=int(self.space.start)), _same
        outer = Box(self.space.low, self.space.high, self.space.shape, self.space.dtype.type)
        if space.shape == outer.shape:
            return outer, _same
        shape, kind, corner = outer.shape, outer.dtype, tuple(slice(n) for n in space.shape)

        def see(obs: Any) -> Any:
            out = np.zeros(shape, kind)
            out[corner] = obs
            return out

        return outer, see


def _same(obs: Any) -> Any:
    return obs


def common(word: str, spaces: dict[Any, Any]) -> Any:
    """The smallest space that holds each of them, filled up with zeros.

    Raises:
        ValueError: spaces that do not go together; names two agents.
    """
    first, *rest = spaces
    one = spaces[first]
    for agent in rest:
        other = spaces[agent]
        fits = (
            isinstance(one, Box)
            and isinstance(other, Box)
            and one.dtype == other.dtype
            and len(one.shape) == len(other.shape)
        )
        if not fits and not (isinstance(one, Discrete) and isinstance(other, Discrete) and one.start == other.start):
            raise ValueError(
                f"{word}: the spaces of {first}, {one}, and {agent}, {other}, do not go together; allowed: Boxes with the same "
                "number of axes and the same dtype, or Discrete spaces with the same start"
            )
    if isinstance(one, Discrete):
        return Discrete(max(int(s.n) for s in spaces.values()), start=int(one.start))
    if not isinstance(one, Box):
        raise refused(word, first, one, "a Box or a Discrete space")
    shape = tuple(map(max, zip(*(s.shape for s in spaces.values()))))
    lows: list[Any] = []
    highs: list[Any] = []
    for s in spaces.values():
        for bound, all_bounds in ((s.low, lows), (s.high, highs)):
            full = np.zeros(shape, s.dtype)
            full[tuple(slice(n) for n in s.shape)] = bound
            all_bounds.append(full)
    return Box(np.min(lows, 0), np.max(highs, 0), shape, one.dtype.type)


def agent_indicator(env: Any, type_only: bool = False) -> Any:
    """Tells each agent who it is, so that agents can share a policy: a one-hot code behind its observation.

    A vector gets ``k`` more entries, 0 or 1. An image of 2 axes gets a third one, one of 3 axes ``k`` more channels, which are
    0, or the highest value of the space where that is finite and else 1 (for pixels 255, so that dividing by 255 gives 1).
    A Discrete observation ``x`` of ``n`` becomes ``x * k + i`` of ``n * k``.

    Args:
        env: a ``ParallelEnv`` or ``AECEnv`` with ``possible_agents`` and Box or Discrete observations.
        type_only: tell only the type, which is the name up to its last ``_`` (``knight`` of ``knight_0``); types are
            numbered in the order of ``possible_agents``.

    Returns:
        The wrapped game; ``k`` is the number of agents, or of types.

    Raises:
        ValueError: another kind of space, names without a type, or no ``possible_agents``.
    """
    return put(env, Indicator(env, type_only), host("agent_indicator", env, ParallelView, AECView))


class Indicator:
    """A one-hot code behind the observation."""

    word, remembers = "agent_indicator", False

    def __init__(self, env: Any, type_only: bool) -> None:
        agents = everyone(self.word, env)
        if choice("type_only", type_only, (False, True)):
            for a in agents:
                if not isinstance(a, str) or not a.rpartition("_")[0]:
                    raise ValueError(f"agent_indicator: {a!r} has no type; allowed: names such as 'knight_0'")
            self.code = {a: a.rpartition("_")[0] for a in agents}
        else:
            self.code = {a: a for a in agents}
        self.codes = list(dict.fromkeys(self.code.values()))

    def plan(self, agent: Any, space: Any) -> Plan:
        """``k`` more entries, channels, or times as many numbers."""
        i, k = self.codes.index(self.code[agent]), len(self.codes)
        if isinstance(space, Discrete):
            if space.start != 0:
                raise refused(self.word, agent, space, "a Discrete space that starts at 0")
            return Discrete(int(space.n) * k), lambda obs: obs * k + i
        if not isinstance(space, Box) or len(space.shape) not in (1, 2, 3):
            raise refused(self.word, agent, space, "a Box of 1 to 3 axes, or a Discrete space")
        flat = len(space.shape) == 1
        high = space.high.max() if space.high.size else 1
        on = 1 if flat or not np.isfinite(high) else high
        marks = np.zeros((k,) if flat else (*space.shape[:2], k), space.dtype)
        marks[..., i] = on
        tops = np.full_like(marks, on)

        def behind(x: Any, more: Any) -> Any:
            return np.concatenate((x[..., None] if x.ndim == 2 else x, more), -1)

        low, high = behind(space.low, np.zeros_like(marks)), behind(space.high, tops)
        join = np.concatenate
        if len(space.shape) == 2:
            return Box(low, high, low.shape, space.dtype.type), lambda obs: join((obs[..., None], marks), -1)
        return Box(low, high, low.shape, space.dtype.type), lambda obs: join((obs, marks), -1)

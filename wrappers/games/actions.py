"""``pad_actions`` and ``sticky_actions``: what becomes of actions on their way to the game."""

from __future__ import annotations

import copy
import zlib
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

from .base import MASK, AECWrapper, ParallelWrapper, everyone, finite, host
from .shapes import common

DRAWN = 256  # numbers at once: one call for each would cost more than all the rest


class Padding:
    """The common action space, and the way back to each agent's own; masks are filled up with zeros."""

    def __init__(self, env: Any) -> None:
        own = {a: env.action_space(a) for a in everyone("pad_actions", env)}
        wide = common("pad_actions", own)
        self.small = {a: s for a, s in own.items() if s != wide}
        self.n = int(wide.n) if isinstance(wide, Discrete) else 0
        self.spaces: dict[Any, Any] = {}  # an object for each agent, for its own random numbers
        self.masked: dict[Any, Any] = {}
        for a in own:
            if isinstance(wide, Discrete):
                self.spaces[a] = Discrete(self.n, start=int(wide.start))
            else:
                self.spaces[a] = Box(wide.low, wide.high, wide.shape, wide.dtype.type)
            seen = env.observation_space(a)
            if a in self.small and isinstance(seen, Dict) and MASK in seen.spaces:
                kind: Any = seen[MASK].dtype
                mask = Box(0, 1, (self.n,), kind.type)
                self.masked[a] = Dict({**seen.spaces, MASK: mask})

    def act(self, agent: Any, action: Any) -> Any:
        """The agent's own action; numbers that it does not have become its first."""
        space = self.small.get(agent)
        if space is None or action is None:
            return action
        if isinstance(space, Discrete):
            return action if action < space.start + space.n else space.start
        return np.clip(action[tuple(slice(n) for n in space.shape)], space.low, space.high)

    def mask(self, mask: Any) -> Any:
        """Zeros for what the agent does not have."""
        mask = np.asarray(mask)
        return np.concatenate((mask, np.zeros(self.n - len(mask), mask.dtype)))

    def see(self, agent: Any, obs: Any) -> Any:
        """The observation with a longer mask, where it has one."""
        return {**obs, MASK: self.mask(obs[MASK])} if agent in self.masked else obs

    def tell(self, agent: Any, info: Any) -> Any:
        """The info with a longer mask, where it has one."""
        return {**info, MASK: self.mask(info[MASK])} if agent in self.small and self.n and MASK in info else info


class ParallelPadded(ParallelWrapper):
    """``pad_actions`` of a ``ParallelEnv``."""

    word = "pad_actions"

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.pad = Padding(env)

    def action_space(self, agent: Any) -> Any:
        """Equal for all agents; always the same object."""
        return self.pad.spaces[agent]

    def observation_space(self, agent: Any) -> Any:
        """With a longer mask, where there is one."""
        return self.pad.masked.get(agent) or self.env.observation_space(agent)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Resets the game."""
        return self._masks(*self.env.reset(seed=seed, options=options))

    def step(self, actions: dict[Any, Any]) -> tuple[Any, ...]:
        """Steps the game with each agent's own actions."""
        pad = self.pad
        small = pad.small
        own = {a: pad.act(a, x) if a in small else x for a, x in actions.items()}
        obs, rewards, terminated, truncated, infos = self._step(own)
        obs, infos = self._masks(obs, infos)
        return obs, rewards, terminated, truncated, infos

    def _masks(self, obs: dict[Any, Any], infos: dict[Any, Any]) -> tuple[Any, Any]:
        pad = self.pad
        if pad.masked:
            obs = {a: pad.see(a, o) for a, o in obs.items()}
        for a in pad.small:
            info = infos.get(a)
            if info and MASK in info:
                infos = {**infos, a: pad.tell(a, info)}
        return obs, infos


class AECPadded(AECWrapper):
    """``pad_actions`` of an ``AECEnv``."""

    word = "pad_actions"

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.pad = Padding(env)
        self._forget()

    def _forget(self) -> None:
        self.seen: dict[Any, Any] = {}  # since the last step
        self.told: dict[Any, Any] | None = None

    def action_space(self, agent: Any) -> Any:
        """Equal for all agents; always the same object."""
        return self.pad.spaces[agent]

    def observation_space(self, agent: Any) -> Any:
        """With a longer mask, where there is one."""
        return self.pad.masked.get(agent) or self.env.observation_space(agent)

    @property
    def infos(self) -> dict[Any, Any]:
        """Of the game, with longer masks; the same object until the next step."""
        if self.told is None:
            self.told = {a: self.pad.tell(a, info) for a, info in self.env.infos.items()}
        return self.told

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Resets the game."""
        self._forget()
        self.env.reset(seed=seed, options=options)

    def observe(self, agent: Any) -> Any:
        """The same object until the next step."""
        if agent not in self.seen:
            obs = self.env.observe(agent)
            if obs is None:
                return None
            self.seen[agent] = self.pad.see(agent, obs)
        return self.seen[agent]

    def last(self, observe: bool = True) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """What the agent whose turn it is sees."""
        obs, reward, terminated, truncated, _ = super().last(observe)
        return obs, reward, terminated, truncated, self.infos[self.env.agent_selection]

    def step(self, action: Any) -> None:
        """The agent's own action."""
        self._forget()
        self.env.step(self.pad.act(self.env.agent_selection, action))

    def _load(self, saved: Any) -> None:
        self._forget()


def pad_actions(env: Any) -> Any:
    """All agents get one action space, the largest.

    A number that an agent does not have counts as its first action; of a larger array it takes the front, cut to its own
    bounds. Action masks, in the observation or the info, are filled up with zeros, so a policy that reads them never
    chooses such a number.

    Args:
        env: a ``ParallelEnv`` or ``AECEnv`` with ``possible_agents``, whose action spaces are all Discrete with the same
            start, or all Boxes with the same number of axes and the same type of number.

    Returns:
        The wrapped game.

    Raises:
        ValueError: spaces that do not go together, or no ``possible_agents``.
    """
    return host("pad_actions", env, ParallelPadded, AECPadded)(env)


class Sticking:
    """Each agent's last action and its own stream of random numbers."""

    def __init__(self, probability: float) -> None:
        self.p = finite("repeat_action_probability", probability, 0.0, 1.0)
        self.seed: int | None = None
        self.streams: dict[Any, np.random.Generator] = {}
        self.drawn: dict[Any, list[float]] = {}
        self.last: dict[Any, Any] = {}

    def begin(self, seed: int | None) -> None:
        """A new episode; a seed begins all streams anew, without one they go on."""
        self.last = {}
        if seed is not None or self.seed is None:
            self.seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
            self.streams, self.drawn = {}, {}

    def draw(self, agent: Any) -> list[float]:
        """Random numbers of this agent, to be popped; its stream depends on the seed and its name alone."""
        if agent not in self.streams:
            self.streams[agent] = np.random.default_rng([self.seed or 0, zlib.crc32(str(agent).encode())])
        self.drawn[agent] = self.streams[agent].random(DRAWN).tolist()
        return self.drawn[agent]

    def act(self, agent: Any, action: Any, legal: Any) -> Any:
        """The action, or the last one again where that is still legal; ``legal(action)`` says so."""
        if agent in self.last and (self.drawn.get(agent) or self.draw(agent)).pop() < self.p:
            if legal(self.last[agent]):
                action = self.last[agent]
        self.last[agent] = action.copy() if isinstance(action, np.ndarray) else action
        return action

    def save(self) -> Any:
        """All of it: what comes after a restored state is the same again."""
        streams = {a: copy.deepcopy(s.bit_generator.state) for a, s in self.streams.items()}
        return self.seed, dict(self.last), {a: list(x) for a, x in self.drawn.items()}, streams

    def load(self, saved: Any) -> None:
        """Goes back to it."""
        self.seed, last, drawn, streams = saved
        self.last, self.drawn, self.streams = dict(last), {a: list(x) for a, x in drawn.items()}, {}
        for a, state in streams.items():
            self.streams[a] = np.random.default_rng()
            self.streams[a].bit_generator.state = copy.deepcopy(state)


def _legal(env: Any, agent: Any, action: Any, obs: Any, info: Any) -> bool:
    """Does the agent's own mask, in its observation or info, allow the action? The mask begins with the space's first one."""
    mask = obs[MASK] if isinstance(obs, dict) and MASK in obs else info.get(MASK) if info else None
    return mask is None or bool(mask[action - getattr(env.action_space(agent), "start", 0)])


class ParallelSticky(ParallelWrapper):
    """``sticky_actions`` of a ``ParallelEnv``."""

    word = "sticky_actions"

    def __init__(self, env: Any, probability: float) -> None:
        super().__init__(env)
        self.sticking = Sticking(probability)
        self.obs: dict[Any, Any] = {}  # of the last step, for the masks
        self.infos: dict[Any, Any] = {}
        agents = getattr(env, "possible_agents", ())
        self.numbers = bool(agents) and all(isinstance(env.action_space(a), Discrete) for a in agents)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Resets the game; the first action never sticks."""
        self.sticking.begin(seed)
        self.obs, self.infos = self.env.reset(seed=seed, options=options)
        return self.obs, self.infos

    def step(self, actions: dict[Any, Any]) -> tuple[Any, ...]:
        """Steps the game; ``Sticking.act`` written out."""
        sticking, done = self.sticking, {}
        p, last, drawn = sticking.p, sticking.last, sticking.drawn
        for a, x in actions.items():
            if a in last and (drawn.get(a) or sticking.draw(a)).pop() < p:
                if _legal(self.env, a, last[a], self.obs.get(a), self.infos.get(a)):
                    x = last[a]
            done[a] = x
        sticking.last = done.copy() if self.numbers else {a: np.copy(x) for a, x in done.items()}
        obs, rewards, terminated, truncated, infos = self._step(done)
        self.obs, self.infos = obs, infos
        return obs, rewards, terminated, truncated, infos

    def _save(self) -> Any:
        return self.sticking.save(), copy.deepcopy(self.obs), copy.deepcopy(self.infos)

    def _load(self, saved: Any) -> None:
        self.sticking.load(saved[0])
        self.obs, self.infos = copy.deepcopy(saved[1:])


class AECSticky(AECWrapper):
    """``sticky_actions`` of an ``AECEnv``."""

    word = "sticky_actions"

    def __init__(self, env: Any, probability: float) -> None:
        super().__init__(env)
        self.sticking = Sticking(probability)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Resets the game; the first action never sticks."""
        self.sticking.begin(seed)
        self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> None:
        """The agent's action, or its last one again."""
        if action is not None:
            env, agent = self.env, self.env.agent_selection
            action = self.sticking.act(
                agent, action, lambda last: _legal(env, agent, last, env.observe(agent), env.infos.get(agent))
            )
        self.env.step(action)

    def _save(self) -> Any:
        return self.sticking.save()

    def _load(self, saved: Any) -> None:
        self.sticking.load(saved)


def sticky_actions(env: Any, repeat_action_probability: float = 0.25) -> Any:
    """With some probability an agent's last action is played again instead of its new one.

    Machado et al. (2018), "Revisiting the Arcade Learning Environment", JAIR 61, sec. 5.2 (0.25). What was really played
    sticks. An action that the agent's mask forbids by now is not repeated. Every agent has a stream of its own, from the
    seed of ``reset`` and its name: the order in which agents act changes nothing. ``reset()`` without a seed goes on with
    the streams.

    Args:
        env: a ``ParallelEnv`` or ``AECEnv``.
        repeat_action_probability: 0 to 1.

    Returns:
        The wrapped game.

    Raises:
        ValueError: a probability that is not allowed.
    """
    kind = host("sticky_actions", env, ParallelSticky, AECSticky)
    return kind(env, repeat_action_probability)

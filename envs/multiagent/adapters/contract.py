"""Milepost's info contract, real seeds and snapshots for PettingZoo environments of others."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Space
from gymnasium.utils.seeding import np_random
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils import BaseParallelWrapper
from pettingzoo.utils.wrappers import BaseWrapper

from ..faces import Words
from . import states
from .aside import Aside

Won = Callable[[str, Mapping[str, float]], bool]
Returns = dict[str, float]


def wins(agent: str, returns: Mapping[str, float]) -> bool:
    """Who has more than nothing, and nobody more."""
    return returns[agent] > 0 and returns[agent] == max(returns.values())


def contract(
    env: Any,
    *,
    name: str | None = None,
    won: Won | None = None,
    max_score: float | None = None,
    draws: bool = True,
    aside: Aside | None = None,
) -> Any:
    """Adds the info contract, seeds and snapshots to an AEC or Parallel environment, which stays what it is otherwise.

    Every agent's info has, beside what the environment says: ``reward_terms`` (``{"env": reward}``: of the step, in AEC
    what ``last()`` gives), ``valid_action`` (of the agent's last action: was it in its mask), ``score`` (its return so
    far), ``subgoals`` (none) and ``message`` (""); in the reset info ``meta``. With a ``Discrete`` action space
    ``action_mask`` int8 ``(n,)``, all ones where the environment knows no mask, and ``admissible_actions``, its indices;
    a mask that the environment puts in its infos alone is also in the observation, then a ``Dict`` of ``observation`` and
    ``action_mask``. With ``won``: ``success`` and ``progress``, False and 0.0 until the end, and with ``max_score``
    ``max_score``; where they are not given they are not there, since nobody can know them, and a shaper that needs them
    says so (``Facts`` adds them).

    ``reset(seed)`` repeats whole games, and the unseeded resets after it repeat too, as the environment is given a seed
    at every reset. Where it draws from the global generators it does so from a state of its own (``Aside``).
    ``snapshot()`` and ``restore()`` copy what is in the environment. Infos and observations are fresh copies.

    Args:
        env: an AEC or Parallel environment.
        name: of the game, in ``meta``; its ``metadata["name"]`` by default.
        won: ``(agent, returns of all) -> bool``, asked when the agent's game is over.
        max_score: the largest return.
        draws: it may draw from ``random`` or ``numpy.random``; False saves some microseconds a step.
        aside: the state of the global generators that it was made with.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(env, AECEnv):
        return AECContract(env, Keeper(env, name, won, max_score, draws, aside))
    if isinstance(env, ParallelEnv):
        return ParallelContract(env, Keeper(env, name, won, max_score, draws, aside))
    raise TypeError(f"contract is for PettingZoo's AEC and Parallel environments, not {type(env).__name__}")


class Keeper:
    """What both protocols add, and what of it changes: seeds, returns, masks."""

    def __init__(
        self, env: Any, name: str | None, won: Won | None, max_score: float | None, draws: bool, aside: Aside | None
    ) -> None:
        self.name = name or str(env.metadata.get("name", env))
        self.won, self.max_score = won, max_score
        self.aside = (aside or Aside()) if draws else None
        self.rng, _ = np_random(None)
        self.returns: Returns = {}
        self.valid: dict[str, bool] = {}
        self.masks: dict[str, Any] = {}
        self.spaces: dict[tuple[str, str], Space[Any]] = {}
        self.masked: bool | None = None  # the mask has to be put into the observation

    def begin(self, seed: int | None, agents: list[str]) -> int:
        """A new game: the seed for the environment."""
        if seed is not None:
            self.rng, _ = np_random(seed)
        self.returns, self.valid, self.masks = dict.fromkeys(agents, 0.0), {}, {}
        return int(self.rng.integers(2**31 - 1)) if seed is None else seed

    def inside(self, seed: int | None = None) -> Any:
        """With the environment's own state of the global generators."""
        return _as_it_is if self.aside is None else self.aside(seed)

    def action_space(self, env: Any, agent: str) -> Space[Any]:
        """The same object at every call, also after ``restore``."""
        key = "action", agent
        if key not in self.spaces:
            self.spaces[key] = env.action_space(agent)
        return self.spaces[key]

    def observation_space(self, env: Any, agent: str) -> Space[Any]:
        """See ``action_space``."""
        key = "observation", agent
        if key not in self.spaces:
            space, action = env.observation_space(agent), self.action_space(env, agent)
            if self.masked and isinstance(action, Discrete):
                space = Dict({"observation": space, "action_mask": Box(0, 1, (int(action.n),), np.int8)})
            self.spaces[key] = space
        return self.spaces[key]

    def check(self, env: Any, agent: str, action: Any) -> None:
        """Notes whether an action is in the agent's mask.

        Raises:
            ValueError: it is not even in the action space.
        """
        space = self.action_space(env, agent)
        if isinstance(space, Discrete):
            if not space.contains(action):
                raise ValueError(f"{agent}'s action is {action!r}; allowed: a whole number in {space}")
            mask = self.masks.get(agent)
            self.valid[agent] = mask is None or bool(mask[int(action) - int(space.start)])
        else:
            self.valid[agent] = True

    def mask(self, env: Any, agent: str, obs: Any, info: Mapping[str, Any], turn: bool) -> Any:
        """The agent's mask; None where actions are not numbered."""
        space = self.action_space(env, agent)
        if not isinstance(space, Discrete):
            return None
        found = obs.get("action_mask") if isinstance(obs, dict) else info.get("action_mask")
        if found is None:
            found = np.full(int(space.n), turn, np.int8)
        self.masks[agent] = np.array(found, np.int8)
        return self.masks[agent]

    def shown(self, obs: Any, agent: str) -> Any:
        """A fresh copy of an observation, with the mask."""
        own = Words(obs) if isinstance(obs, str) else copy.deepcopy(obs)
        if self.masked and not isinstance(obs, dict) and agent in self.masks:
            return {"observation": own, "action_mask": self.masks[agent].copy()}
        return own

    def info(self, agent: str, said: Mapping[str, Any], reward: float, over: bool, mask: Any) -> dict[str, Any]:
        """The agent's info."""
        out: dict[str, Any] = {"valid_action": self.valid.get(agent, True), "score": self.returns.get(agent, 0.0)}
        out |= {"subgoals": {}, "message": ""}
        if self.won is not None:
            success = over and bool(self.won(agent, self.returns))
            out |= {"success": success, "progress": float(success)}
        if self.max_score is not None:
            out["max_score"] = self.max_score
        if mask is not None:
            out["action_mask"] = mask.copy()
            start = getattr(self.spaces["action", agent], "start", 0)
            out["admissible_actions"] = tuple(int(i + start) for i in np.flatnonzero(mask))
        return out | copy.deepcopy({k: v for k, v in said.items() if k != "action_mask"} | _env(reward))

    def save(self) -> Any:
        """Its part of a snapshot."""
        kept = self.returns, self.valid, self.masks, self.rng.bit_generator.state
        return copy.deepcopy(kept), None if self.aside is None else self.aside.state

    def load(self, saved: Any) -> None:
        """Goes back to it."""
        self.returns, self.valid, self.masks, state = copy.deepcopy(saved[0])
        self.rng.bit_generator.state = state
        if self.aside is not None:
            self.aside.state = saved[1]


class _AsItIs:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


_as_it_is = _AsItIs()


def _env(reward: float) -> dict[str, Any]:
    return {"reward_terms": {"env": float(reward)}}


class AECContract(BaseWrapper):  # type: ignore[misc]
    """See ``contract``."""

    def __init__(self, env: Any, keeper: Keeper) -> None:
        super().__init__(env)
        self.keeper = keeper
        self.infos: dict[str, dict[str, Any]] = {}

    def observation_space(self, agent: str) -> Space[Any]:
        """The same object at every call."""
        self._learn()
        return self.keeper.observation_space(self.env, agent)

    def action_space(self, agent: str) -> Space[Any]:
        """The same object at every call."""
        return self.keeper.action_space(self.env, agent)

    def _learn(self) -> None:
        """Whether masks are in infos alone, which only a game shows."""
        if self.keeper.masked is None:
            with self.keeper.inside(0):
                self.env.reset(seed=0)
            self._settle()

    def _settle(self) -> None:
        first = self.env.agent_selection
        obs, said = self.env.observe(first), self.env.infos.get(first, {})
        self.keeper.masked = "action_mask" in said and not isinstance(obs, dict)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """A new game."""
        inner = self.keeper.begin(seed, list(self.env.possible_agents))
        with self.keeper.inside(inner):
            self.env.reset(seed=inner, options=options)
        if self.keeper.masked is None:
            self._settle()
        self._tell()
        for agent, info in self.infos.items():
            info["meta"] = {"task": self.keeper.name, "agent": agent} | info.get("meta", {})

    def _tell(self) -> None:
        env, keeper = self.env, self.keeper
        infos, turn = {}, env.agent_selection if env.agents else None
        parallel = env.metadata.get("is_parallelizable", False)
        for a in env.agents:
            said, over = env.infos.get(a, {}), env.terminations[a] or env.truncations[a]
            mine = a == turn and not over
            obs = env.observe(a) if mine and isinstance(keeper.observation_space(env, a), Dict) else None
            mask = keeper.mask(env, a, obs, said, (mine or parallel) and not over)
            infos[a] = keeper.info(a, said, env._cumulative_rewards[a], over, mask)
        self.infos = infos

    def step(self, action: Any) -> None:
        """The selected agent acts; one that is finished takes its one step with None."""
        env, agent = self.env, self.env.agent_selection
        dead = env.terminations[agent] or env.truncations[agent]
        if not dead:
            self.keeper.check(env, agent, action)
        with self.keeper.inside():
            env.step(action)
        if not dead:
            for a, r in env.rewards.items():
                self.keeper.returns[a] = self.keeper.returns.get(a, 0.0) + float(r)
        self._tell()

    def observe(self, agent: str) -> Any:
        """A fresh copy of what the agent sees."""
        return self.keeper.shown(self.env.observe(agent), agent)

    def snapshot(self) -> dict[str, Any]:
        """The whole state; the same actions after ``restore`` give the same.

        Raises:
            TypeError: the environment cannot be copied.
        """
        return {"env": states.save(self.env), "facts": self.keeper.save(), "infos": copy.deepcopy(self.infos)}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Goes back to it."""
        states.load(self.env, snapshot["env"])
        self.keeper.load(snapshot["facts"])
        self.infos = copy.deepcopy(snapshot["infos"])

    def __str__(self) -> str:
        return str(self.env)


class ParallelContract(BaseParallelWrapper):  # type: ignore[misc]
    """See ``contract``."""

    def __init__(self, env: Any, keeper: Keeper) -> None:
        super().__init__(env)
        self.keeper = keeper

    def observation_space(self, agent: str) -> Space[Any]:
        """The same object at every call."""
        if self.keeper.masked is None:
            with self.keeper.inside(0):
                self._settle(*self.env.reset(seed=0))
        return self.keeper.observation_space(self.env, agent)

    def action_space(self, agent: str) -> Space[Any]:
        """The same object at every call."""
        return self.keeper.action_space(self.env, agent)

    def _settle(self, obs: dict[str, Any], said: Mapping[str, Any]) -> None:
        self.keeper.masked = any("action_mask" in said.get(a, {}) and not isinstance(o, dict) for a, o in obs.items())

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Observations and infos of all agents."""
        inner = self.keeper.begin(seed, list(self.env.possible_agents))
        with self.keeper.inside(inner):
            obs, said = self.env.reset(seed=inner, options=options)
        if self.keeper.masked is None:
            self._settle(obs, said)
        infos = self._infos(obs, said, {}, {})
        for agent, info in infos.items():
            info["meta"] = {"task": self.keeper.name, "agent": agent} | info.get("meta", {})
        return {a: self.keeper.shown(o, a) for a, o in obs.items()}, infos

    def _infos(
        self, obs: dict[str, Any], said: Mapping[str, Any], rewards: Mapping[str, float], over: Mapping[str, bool]
    ) -> dict[str, dict[str, Any]]:
        infos = {}
        for a, o in obs.items():
            done = over.get(a, False)
            mask = self.keeper.mask(self.env, a, o, said.get(a, {}), not done)
            infos[a] = self.keeper.info(a, said.get(a, {}), rewards.get(a, 0.0), done, mask)
        return infos

    def step(self, actions: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        """All living agents act; where they take turns only the one whose turn it is does, as its mask says.

        Raises:
            RuntimeError: no agent is left: call ``reset()`` first.
            KeyError: a living agent has no action.
        """
        env = self.env
        if not env.agents:
            raise RuntimeError("no agent is left: call reset() before step()")
        if missing := [a for a in env.agents if a not in actions]:
            raise KeyError(f"no action for {', '.join(missing)}; every agent in agents needs one")
        for a in _acting(env):
            self.keeper.check(env, a, actions[a])
        with self.keeper.inside():
            obs, rewards, terminated, truncated, said = env.step(actions)
        paid = {a: float(rewards.get(a, 0.0)) for a in obs}
        for a, r in paid.items():
            self.keeper.returns[a] = self.keeper.returns.get(a, 0.0) + r
        terminated, truncated = {a: bool(terminated[a]) for a in obs}, {a: bool(truncated[a]) for a in obs}
        infos = self._infos(obs, said, paid, {a: terminated[a] or truncated[a] for a in obs})
        return {a: self.keeper.shown(o, a) for a, o in obs.items()}, paid, terminated, truncated, infos

    def snapshot(self) -> dict[str, Any]:
        """The whole state; the same actions after ``restore`` give the same.

        Raises:
            TypeError: the environment cannot be copied.
        """
        return {"env": states.save(self.env), "facts": self.keeper.save()}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Goes back to it."""
        states.load(self.env, snapshot["env"])
        self.keeper.load(snapshot["facts"])

    def __str__(self) -> str:
        return str(self.env)


def _acting(env: Any) -> list[str]:
    from pettingzoo.utils.conversions import turn_based_aec_to_parallel_wrapper

    return [env.aec_env.agent_selection] if isinstance(env, turn_based_aec_to_parallel_wrapper) else list(env.agents)

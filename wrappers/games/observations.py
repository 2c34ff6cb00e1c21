"""Wrappers of observations: one pure rule an agent, on games that step together and on games with turns.

A rule (``Rule``) says how one agent's space and observation change. Rules that remember (frame stacks, delays) are functions
``(memory, observation) -> (what the agent sees, next memory)`` and never write to a memory, so a snapshot needs no copy. A
game with turns looks as often as asked and keeps the next memory only when the agent acts: observing changes nothing, and
conversions between the two kinds of games give equal observations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from gymnasium.spaces import Dict

from .base import SEEN, AECWrapper, ParallelWrapper, part


class Rule(Protocol):
    """How one kind of wrapper changes observations."""

    word: str
    """The wrapper's name, in errors and in ``str(env)``."""
    remembers: bool
    """Whether what an agent sees depends on what it saw before."""

    def plan(self, agent: Any, space: Any) -> tuple[Any, Callable[..., Any]]:
        """The new space, and ``see(obs)``, or ``look(memory, obs) -> (seen, memory)`` if the rule remembers.

        A memory is None at the start of an episode. Raises ValueError for a space on which the rule is not defined.
        """
        ...


class Views:
    """Agent to its ``see`` or ``look`` (``act``), made when first needed, and the spaces."""

    def __init__(self, env: Any, rule: Rule) -> None:
        self.env, self.rule = env, rule
        self.act: dict[Any, Callable[..., Any]] = {}
        self.spaces: dict[Any, tuple[Any, Any]] = {}
        self.meet(getattr(env, "possible_agents", ()))  # refuses what must be refused now and not at the first step

    def meet(self, agents: Iterable[Any]) -> bool:
        """Makes what is missing; whether something was."""
        new = [a for a in agents if a not in self.act]
        for agent in new:
            given = self.env.observation_space(agent)
            inner = part(self.rule.word, agent, given)
            outer, act = self.rule.plan(agent, inner)
            if inner is not given:
                outer = Dict({k: outer if k == SEEN else s for k, s in given.spaces.items()})
                act = _within(act, self.rule.remembers)
            self.spaces[agent], self.act[agent] = (given, outer), act
        return bool(new)

    def space(self, agent: Any) -> Any:
        """Always the same object, unless the game itself changed its space (at a reset)."""
        if agent in self.spaces and self.spaces[agent][0] is not self.env.observation_space(agent):
            del self.act[agent]
        self.meet([agent])
        return self.spaces[agent][1]

    def renew(self) -> None:
        """A game that makes its agents at the reset may have given them other spaces."""
        here = {*self.env.agents, *getattr(self.env, "possible_agents", ())}
        for agent in list(self.act):
            if agent in here:
                self.space(agent)
            else:
                del self.act[agent], self.spaces[agent]


def _within(act: Callable[..., Any], remembers: bool) -> Callable[..., Any]:
    """The same on the observation inside a Dict; its other keys, such as the action mask, stay as they are."""

    def look(memory: Any, obs: dict[str, Any]) -> tuple[Any, Any]:
        seen, memory = act(memory, obs[SEEN])
        return {**obs, SEEN: seen}, memory

    def see(obs: dict[str, Any]) -> Any:
        return {**obs, SEEN: act(obs[SEEN])}

    return look if remembers else see


class ParallelView(ParallelWrapper):
    """A rule that remembers nothing, on a ``ParallelEnv``."""

    def __init__(self, env: Any, rule: Rule) -> None:
        super().__init__(env)
        self.word, self.views = rule.word, Views(env, rule)
        self.act = self.views.act

    def observation_space(self, agent: Any) -> Any:
        """The agent's new space, always the same object."""
        return self.views.space(agent)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Resets the game."""
        obs, infos = self.env.reset(seed=seed, options=options)
        self.views.renew()
        return self._look(obs), infos

    def step(self, actions: dict[Any, Any]) -> tuple[Any, ...]:
        """Steps the game; ``_look`` written out, a call would cost a tenth of the whole."""
        obs, rewards, terminated, truncated, infos = self._step(actions)
        act, seen = self.act, {}
        try:
            for a, o in obs.items():
                seen[a] = act[a](o)
        except KeyError:
            if not self.views.meet(obs):  # it was no new agent
                raise
            seen = self._look(obs)
        return seen, rewards, terminated, truncated, infos

    def _look(self, obs: dict[Any, Any]) -> dict[Any, Any]:
        self.views.meet(obs)
        return {a: self.act[a](o) for a, o in obs.items()}


class ParallelMemory(ParallelView):
    """A rule that remembers, on a ``ParallelEnv``."""

    def __init__(self, env: Any, rule: Rule) -> None:
        super().__init__(env, rule)
        self.memory: dict[Any, Any] = {}

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Resets the game; all memories are empty."""
        self.memory = {}
        return super().reset(seed=seed, options=options)

    def step(self, actions: dict[Any, Any]) -> tuple[Any, ...]:
        """Steps the game."""
        obs, rewards, terminated, truncated, infos = self._step(actions)
        return self._look(obs), rewards, terminated, truncated, infos

    def _look(self, obs: dict[Any, Any]) -> dict[Any, Any]:
        act, memory = self.act, self.memory
        seen, later = {}, {}
        try:
            for a, o in obs.items():
                seen[a], later[a] = act[a](memory[a] if a in memory else None, o)
        except KeyError:
            if not self.views.meet(obs):  # it was no new agent
                raise
            return self._look(obs)
        self.memory = later
        return seen

    def _save(self) -> Any:
        return self.memory

    def _load(self, saved: Any) -> None:
        self.memory = saved


class AECView(AECWrapper):
    """Any rule, on an ``AECEnv``; ``observe`` gives the same object until the next step."""

    def __init__(self, env: Any, rule: Rule) -> None:
        super().__init__(env)
        self.word, self.views, self.remembers = rule.word, Views(env, rule), rule.remembers
        self.memory: dict[Any, Any] = {}
        self.seen: dict[Any, tuple[Any, Any]] = {}  # since the last step: what the agent saw, its next memory

    def observation_space(self, agent: Any) -> Any:
        """The agent's new space, always the same object."""
        return self.views.space(agent)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Resets the game; all memories are empty."""
        self.env.reset(seed=seed, options=options)
        self.views.renew()
        self.memory, self.seen = {}, {}

    def observe(self, agent: Any) -> Any:
        """What the agent sees now; it looks at its turn, or would if it were its turn."""
        if agent not in self.seen:
            obs = self.env.observe(agent)
            if obs is None:  # a game may have nothing to show
                return None
            self.views.meet([agent])
            look = self.views.act[agent]
            self.seen[agent] = look(self.memory.get(agent), obs) if self.remembers else (look(obs), None)
        return self.seen[agent][0]

    def step(self, action: Any) -> None:
        """The agent whose turn it is acts; what it saw is part of its memory from now on."""
        agent = self.env.agent_selection
        if self.remembers and action is not None:
            self.observe(agent)
            if agent in self.seen:
                self.memory[agent] = self.seen[agent][1]
        self.seen = {}
        self.env.step(action)

    def _save(self) -> Any:
        return dict(self.memory)

    def _load(self, saved: Any) -> None:
        self.memory, self.seen = dict(saved), {}


def put(env: Any, rule: Rule, kind: type) -> Any:
    """The rule on the game, whose ``kind`` is ``ParallelView`` or ``AECView``."""
    return ParallelMemory(env, rule) if kind is ParallelView and rule.remembers else kind(env, rule)

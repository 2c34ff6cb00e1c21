"""PettingZoo's two protocols over a ``Game``."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

from gymnasium.spaces import Space
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils.wrappers import OrderEnforcingWrapper, TerminateIllegalWrapper

from ..errors import InfraError, one_of
from .base import MODES, Game
from .faces import FACES


class _Host:
    """What both protocols say in the same words."""

    def __init__(self, game: Game, face: str = "text", **sizes: int) -> None:
        if face not in FACES:
            raise one_of("face", face, FACES)
        if sizes and face == "text":
            raise one_of("a setting of the text face", next(iter(sizes)), ())
        self.game, self.face = game, FACES[face](game, **sizes)
        self.possible_agents = list(game.possible_agents)
        self.agents: list[str] = []
        self.render_mode = game.render_mode
        version = f"{game.name}_v0"
        self.metadata = {"name": version, "render_modes": list(MODES), "render_fps": 4, "is_parallelizable": True}
        self._observation_spaces: dict[str, Space[Any]] = {
            a: copy.deepcopy(self.face.observation) for a in self.possible_agents
        }
        self._action_spaces: dict[str, Space[Any]] = {a: copy.deepcopy(self.face.action) for a in self.possible_agents}
        self.state_space = self.face.state

    @property
    def max_cycles(self) -> int:
        """After so many cycles the game is truncated."""
        return self.game.max_cycles

    @max_cycles.setter
    def max_cycles(self, cycles: int) -> None:
        self.game.max_cycles = cycles

    def observation_space(self, agent: str) -> Space[Any]:
        """The same object at every call."""
        return self._observation_spaces[agent]

    def action_space(self, agent: str) -> Space[Any]:
        """The same object at every call."""
        return self._action_spaces[agent]

    def script(self, agent: str, policy: str = "oracle") -> Any:
        """The action that a scripted policy of the game takes now, in this face's form.

        Raises:
            ValueError: the game has no such policy, or the command is none of the rows.
        """
        return self.face.action_for(agent, self.game.script(agent, policy))

    def _begin(self, seed: int | None, options: Any) -> None:
        try:
            self.game.reset(seed, options)
        except InfraError:
            self.agents = []  # nothing is left of the game before
            raise
        self.agents = list(self.game.agents)

    def state(self) -> Any:
        """What all know, in ``state_space``: a text for spectators, or all observations in one array."""
        return self.face.whole_state()

    def render(self) -> Any:
        """What a spectator sees, as text, on the terminal, or drawn."""
        return self.game.render()

    def close(self) -> None:
        """Ends what the game holds open."""
        self.game.close()

    def __str__(self) -> str:
        return str(self.metadata["name"])


class ParallelGame(_Host, ParallelEnv):  # type: ignore[misc]
    """All living agents act at once; what each does counts in the order of ``agents``.

    Args:
        game: the rules.
        face: ``text`` or ``encoded``.
        **sizes: of the encoded face: ``dim``, ``action_dim``, ``rows``.
    """

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Observations and infos of all agents."""
        self._begin(seed, options)
        return self._shown()

    def _shown(self) -> tuple[dict[str, Any], dict[str, Any]]:
        shown = {a: self.face.show(a, info) for a, info in self.game.infos.items()}
        return {a: o for a, (o, _) in shown.items()}, {a: i for a, (_, i) in shown.items()}

    def step(self, actions: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        """One cycle; agents that finished are in the answers and then leave ``agents``.

        Raises:
            RuntimeError: no agent is left: call ``reset()`` first.
            KeyError: a living agent has no action.
        """
        game = self.game
        if not self.agents:
            raise RuntimeError("no agent is left: call reset() before step()")
        if missing := [a for a in self.agents if a not in actions]:
            raise KeyError(f"no action for {', '.join(missing)}; every agent in agents needs one")
        # an index is what was shown, not what is now; what cannot be read changes nothing
        commands = {a: game.read(self.face.command(a, actions[a])) for a in self.agents}
        for a in self.agents:
            game.act(a, commands[a])
        game.end_cycle()
        self.agents = list(game.agents)
        obs, infos = self._shown()
        if self.render_mode == "human":
            self.render()
        return obs, dict(game.rewards), dict(game.terminations), dict(game.truncations), infos

    def snapshot(self) -> dict[str, Any]:
        """The whole state; the same actions after ``restore`` give the same."""
        return self.game.snapshot()

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Goes back to it."""
        self.game.restore(snapshot)
        self.agents = list(self.game.agents)


class AECGame(_Host, AECEnv):  # type: ignore[misc]
    """Agents act one after the other and see what those before them did; a cycle pays when its last agent has acted.

    PettingZoo's ``aec_to_parallel`` takes the text face and gives what ``ParallelGame`` is.

    Arguments as ``ParallelGame``.
    """

    def __init__(self, game: Game, face: str = "text", **sizes: int) -> None:
        AECEnv.__init__(self)
        _Host.__init__(self, game, face, **sizes)
        # rows change while a cycle runs: an index that was chosen at its beginning would mean another row
        self.metadata["is_parallelizable"] = face == "text"
        self.rewards: dict[str, float] = {}
        self._cumulative_rewards: dict[str, float] = {}
        self.terminations: dict[str, bool] = {}
        self.truncations: dict[str, bool] = {}
        self.infos: dict[str, dict[str, Any]] = {}

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """A new game; the first agent is to act."""
        self._begin(seed, options)
        self.rewards, self._cumulative_rewards = dict(self.game.rewards), dict(self.game.rewards)
        self._settled()
        self.agent_selection = self.agents[0]

    def _settled(self) -> None:
        game = self.game
        self.terminations, self.truncations = dict(game.terminations), dict(game.truncations)
        self.infos = {a: self.face.show(a, info)[1] for a, info in game.infos.items()}

    def observe(self, agent: str) -> Any:
        """What the agent sees now."""
        return self.face.show(agent, {})[0]

    def step(self, action: Any) -> None:
        """The agent whose turn it is acts; an agent that has left takes its one step with None."""
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        command = self.game.read(self.face.command(agent, action))
        self._cumulative_rewards[agent] = 0.0
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self.game.act(agent, command)
        here = self.agents.index(agent)
        if here + 1 < len(self.agents):
            self.agent_selection = self.agents[here + 1]
            if self.game._failure is None:
                info = self.game.info(self.agent_selection)
                self.infos[self.agent_selection] = self.face.show(self.agent_selection, info)[1]
        else:
            self.game.end_cycle()
            self.rewards = dict(self.game.rewards)
            self._settled()
            self.agent_selection = next(iter(self.game.agents), self.agents[0])  # of those that go on
            self._accumulate_rewards()
            self._deads_step_first()
        if self.render_mode == "human":
            self.render()

    def snapshot(self) -> dict[str, Any]:
        """The whole state; the same actions after ``restore`` give the same."""
        kept = ("agents", "rewards", "_cumulative_rewards", "terminations", "truncations", "infos", "agent_selection")
        mine = {k: copy.deepcopy(getattr(self, k)) for k in kept}
        return {"game": self.game.snapshot(), "mine": mine, "skip": getattr(self, "_skip_agent_selection", None)}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Goes back to it."""
        self.game.restore(snapshot["game"])
        for k, v in copy.deepcopy(snapshot["mine"]).items():
            setattr(self, k, v)
        self._skip_agent_selection = snapshot["skip"]


class Module(NamedTuple):
    """PettingZoo's module style of a game: ``raw_env, env, parallel_env = module(rules)``."""

    raw_env: Callable[..., AECGame]
    env: Callable[..., Any]
    parallel_env: Callable[..., ParallelGame]


def module(rules: type[Game]) -> Module:
    """The three factories of a game; each takes the game's settings, ``face`` and the sizes of the encoded face.

    ``env`` enforces the order of calls; on the encoded face an action outside of the mask ends the game with a reward of -1 for
    who did it, as PettingZoo's games do. ``raw_env`` and ``parallel_env`` answer it in the world.
    """

    def build(host: Any, face: str, given: dict[str, Any]) -> Any:
        sizes = {k: given.pop(k) for k in ("dim", "action_dim", "rows") if k in given}
        return host(rules(**given), face, **sizes)

    def raw_env(face: str = "text", **settings: Any) -> AECGame:
        game: AECGame = build(AECGame, face, settings)
        return game

    def env(face: str = "text", **settings: Any) -> Any:
        inner: Any = raw_env(face, **settings)
        if face == "encoded":
            inner = TerminateIllegalWrapper(inner, illegal_reward=-1)
        return OrderEnforcingWrapper(inner)

    def parallel_env(face: str = "text", **settings: Any) -> ParallelGame:
        game: ParallelGame = build(ParallelGame, face, settings)
        return game

    return Module(raw_env, env, parallel_env)

"""Who plays a game for several agents: the contract, the names, one player a seat."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np

from ...wrappers.shaper import nearest
from ..agent import AGENTS, _same, make_agent

SCRIPT = "script:"
FORMS = "random, script:POLICY, FILE.pt (a team that learnt here), FILE.zip (of SB3), module:factory, openai:MODEL@URL"
Asked = tuple[str, Any, dict[str, Any]]  # agent's name, what it sees, its info


@runtime_checkable
class Player(Protocol):
    """Plays one or more seats of a game.

    ``act`` is all that is needed. Optional: ``reset(seed)`` at the start of a game; ``acts(asked) -> actions``, many questions
    ``(agent, obs, info)`` at once, for players that play several games side by side; ``sit(env, agent)``, which gives the
    player for one seat of one copy of the game, for players that must know the game or remember something.
    """

    def act(self, agent: str, obs: Any, info: dict[str, Any]) -> Any:
        """The action of ``agent`` for what it sees and the info that came with it."""


class Seat(gym.Env[Any, Any]):
    """One agent's spaces as a Gymnasium environment, for what makes agents from one; it cannot be stepped.

    Args:
        game: a PettingZoo ``ParallelEnv``.
        agent: whose seat it is.
    """

    def __init__(self, game: Any, agent: str) -> None:
        self.game, self.agent = game, agent
        self.observation_space, self.action_space = game.observation_space(agent), game.action_space(agent)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """Always an error: the game is played by all its agents."""
        raise RuntimeError("a seat of a game cannot be played alone")

    step = reset  # type: ignore[assignment]


class Script:
    """One of the game's own scripted policies, such as ``oracle``.

    Args:
        policy: its name.
    """

    def __init__(self, policy: str) -> None:
        self.policy, self.env = policy, None

    def sit(self, env: Any, agent: str) -> Script:
        """The player for this copy of the game.

        Raises:
            ValueError: the game has no scripts, or not this one.
        """
        known = getattr(getattr(env.unwrapped, "game", None), "policies", None)
        if known is None or not hasattr(env.unwrapped, "script"):
            raise ValueError(f"script:{self.policy}: {env} has no scripted policies")
        if self.policy not in known:
            raise ValueError(
                f"{env} has no script {self.policy!r}{nearest(self.policy, known)} It has: {', '.join(known)}"
            )
        mine = copy.copy(self)
        mine.env = env.unwrapped
        return mine

    def act(self, agent: str, obs: Any, info: dict[str, Any]) -> Any:
        """What the script does now; the game knows everything."""
        env: Any = self.env
        return env.script(agent, self.policy)


class Named:
    """A single-agent agent by name, one of its own a seat and copy of the game.

    Args:
        name: as ``make_agent`` takes it.
        seed: of its randomness; each seat has another.
        **settings: of the agent.
    """

    def __init__(self, name: str, seed: int = 0, **settings: Any) -> None:
        self.name, self.seed, self.settings = name, seed, settings
        self.agent: Any = None

    def sit(self, env: Any, agent: str) -> Named:
        """A fresh agent for the seat.

        Raises:
            ValueError, ImportError: as ``make_agent``.
        """
        mine = copy.copy(self)
        mine.seed = self.seed + list(env.possible_agents).index(agent)
        mine.agent = make_agent(self.name, Seat(env, agent), mine.seed, **self.settings)
        mine.wide = len(inspect.signature(mine.agent.act).parameters) == 3  # type: ignore[attr-defined]
        return mine

    def reset(self, seed: int | None = None) -> None:
        """Begins a game."""
        if hasattr(self.agent, "reset"):
            self.agent.reset(None if seed is None else seed + self.seed)

    def act(self, agent: str, obs: Any, info: dict[str, Any]) -> Any:
        """``act(obs, info)``, or ``act(agent, obs, info)`` of agents that are made for games."""
        wide: bool = self.wide  # type: ignore[attr-defined]
        return self.agent.act(agent, obs, info) if wide else self.agent.act(obs, info)


def make_player(name: str, env: Any, seed: int = 0, **settings: Any) -> Any:
    """A player by name; ``sit`` it down before it acts.

    Args:
        name: ``random``; ``script:POLICY``, one of the game's own; ``FILE.pt``, a team that ``GamePPO`` saved, which plays
            each seat with the network that learnt it; or a single agent of ``make_agent``, one of its own a seat: SB3's
            ``FILE.zip``, ``openai:MODEL@URL``, ``module:factory`` (called with ``env=Seat``; its ``act`` takes
            ``(obs, info)`` or ``(agent, obs, info)``).
        env: the game, for its spaces.
        seed: of the player's randomness.
        **settings: of the player.

    Raises:
        ValueError: an unknown name or setting, or a game that the player cannot play.
        ImportError: a module that is not allowed.
    """
    if name.startswith(SCRIPT):
        if settings:
            raise ValueError(f"{name} has no settings, not {', '.join(settings)}")
        player: Any = Script(name[len(SCRIPT) :])
    elif name.endswith(".pt"):
        from .ppo import load_players

        return load_players(name, env, seed, **settings)
    else:
        if name != "random" and name in AGENTS:
            raise ValueError(f"{name!r} plays alone and learns alone; in a game: {FORMS}")
        if ":" not in name and not name.endswith(".zip") and name not in AGENTS:
            raise ValueError(f"no player is called {name!r}{nearest(name, ['random', 'script:oracle'])} Known: {FORMS}")
        player = Named(name, seed, **settings)
    player.sit(env, env.possible_agents[0])  # what cannot play says so now
    return player


class Team:
    """A player a seat, by name.

    Args:
        players: agent to player; all of the game's.
    """

    def __init__(self, players: Mapping[str, Any]) -> None:
        self.players = dict(players)

    def sit(self, env: Any) -> dict[str, Any]:
        """Who plays which seat of this copy of the game."""
        return {a: p.sit(env, a) if hasattr(p, "sit") else p for a, p in self.players.items()}

    def but(self, players: Mapping[str, Any]) -> Team:
        """The same team with others in some seats."""
        return Team(self.players | dict(players))


def seats(what: str, names: Sequence[str] | None, possible: Sequence[str]) -> tuple[str, ...]:
    """The agents that are named, in the game's order; None: all.

    Raises:
        ValueError: there is no such agent, or none at all.
    """
    if names is None:
        return tuple(possible)
    for n in names:
        if n not in possible:
            raise ValueError(f"{what}: the game has no agent {n!r}; it has: {', '.join(possible)}")
    if not names:
        raise ValueError(f"{what} names no agent; the game has: {', '.join(possible)}")
    return tuple(a for a in possible if a in names)


def parse_team(text: str) -> dict[str, str]:
    """``"party_0=ppo.zip, party_1=random"`` to agent -> player's name; one name alone is under ``""``, for all.

    Raises:
        ValueError: it is not written so.
    """
    out: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        agent, sep, name = (p.strip() for p in part.partition("="))
        key, value = (agent, name) if sep else ("", agent)
        if not value or key in out:
            raise ValueError(
                f"a team is written agent=player, agent=player, ... or is one player for all, not {text!r}"
            )
        out[key] = value
    if not out:
        raise ValueError("a team is written agent=player, agent=player, ..., and this is empty")
    return out


def make_team(names: str | Mapping[str, str], env: Any, seed: int = 0, agents: Sequence[str] | None = None) -> Team:
    """A team from names.

    Args:
        names: agent to player's name (``""``: all others), or the text that ``parse_team`` reads.
        env: the game.
        seed: of the players' randomness.
        agents: the seats of the team; None: all.

    Raises:
        ValueError: an agent that the game does not have, a seat without a player, or as ``make_player``.
    """
    given = parse_team(names) if isinstance(names, str) else dict(names)
    possible = seats("agents", agents, env.possible_agents)
    if any(given):
        seats("team", [a for a in given if a], possible)
    made: dict[str, Any] = {}
    for k, name in enumerate(dict.fromkeys(given.values())):
        made[name] = make_player(name, env, seed + 1_000 * k)
    if missing := [a for a in possible if a not in given and "" not in given]:
        raise ValueError(f"team: nobody plays {', '.join(missing)}")
    return Team({a: made[given.get(a, given.get("", ""))] for a in possible})


def check_player(player: Any, env: Any, games: int = 2, seed: int = 0) -> None:
    """Checks the contract in all seats: actions belong, repeat under the same seeds, and nothing that is shown is changed.

    Args:
        player: has ``act(agent, obs, info)``.
        env: a ``ParallelEnv``.
        games: how many.
        seed: of the first.

    Raises:
        AssertionError: what is wrong, in one sentence.
    """
    assert callable(getattr(player, "act", None)), f"{type(player).__name__} has no act(agent, obs, info)"
    here = Team(dict.fromkeys(env.possible_agents, player)).sit(env)

    def play(number: int) -> list[Any]:
        taken = []
        for p in here.values():
            if hasattr(p, "reset"):
                p.reset(seed + number)
        obs, infos = env.reset(seed=seed + number)
        while env.agents:
            actions = {}
            for a in env.agents:
                shown = copy.deepcopy((obs[a], infos[a]))
                actions[a] = here[a].act(a, obs[a], infos[a])
                assert _same(shown, (obs[a], infos[a])), f"act changed what {a} was shown"
                assert actions[a] in env.action_space(a), f"{a}: action {actions[a]!r} is not in {env.action_space(a)}"
            taken.append(actions)
            obs, _, _, _, infos = env.step(actions)
        return taken

    for n in range(games):
        first = play(n)
        if any(hasattr(p, "reset") for p in here.values()):
            again = play(n)
            assert _same(first, again), "the same reset(seed) gave other actions"


def stack_obs(rows: Sequence[Any]) -> Any:
    """Observations of one space as one batch."""
    if isinstance(rows[0], Mapping):
        return {k: np.stack([r[k] for r in rows]) for k in rows[0]}
    return np.stack([np.asarray(r) for r in rows])

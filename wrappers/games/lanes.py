"""Copies of a game as lanes, one for each agent of each copy: what both kinds of vector environments stand on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium.vector.utils import concatenate, create_empty_array
from pettingzoo import AECEnv, ParallelEnv

from .base import MASK, everyone, part, whole
from .deaths import BlackDeath

Games = Any
"""A ParallelEnv, a function that makes one, or a sequence of such functions."""


class Lanes:
    """Lane ``k * agents + i`` is agent ``i`` of copy ``k``, in the order of ``possible_agents``.

    All lanes share one pair of spaces. Agents that leave early are padded as by ``black_death``.
    """

    def __init__(self, word: str, games: Games, num_envs: int | None) -> None:
        plain = made(word, games, num_envs)
        for game in plain:
            for agent in everyone(word, game):
                part(word, agent, game.observation_space(agent))  # texts are refused in the caller's name
        self.games = [BlackDeath(game) for game in plain]
        self.agents = everyone(word, self.games[0])
        self.pairs = [(k, a) for k in range(len(self.games)) for a in self.agents]
        k, a = self.pairs[0]
        self.space, self.actions = self.games[k].observation_space(a), self.games[k].action_space(a)
        for k, game in enumerate(self.games):
            if everyone(word, game) != self.agents:
                raise ValueError(
                    f"{word}: copy {k} has other agents than copy 0: {everyone(word, game)}, {self.agents}"
                )
            for agent in self.agents:
                for what, given, one, fix in (
                    ("observation", game.observation_space(agent), self.space, "pad_observations(env)"),
                    ("action", game.action_space(agent), self.actions, "pad_actions(env)"),
                ):
                    if given != one:
                        raise ValueError(
                            f"{word}: {agent} of copy {k} has the {what} space {given}, {a} of copy 0 has {one}; all lanes "
                            f"share one: put {fix} around each game first"
                        )

    def reset(self, k: int, seed: int | None, options: dict[str, Any] | None) -> tuple[list[Any], list[dict[str, Any]]]:
        """Observations and infos of copy ``k``'s lanes."""
        obs, infos = self.games[k].reset(seed=seed, options=options)
        return [obs[a] for a in self.agents], [dict(infos.get(a, ())) for a in self.agents]

    def step(self, k: int, actions: Sequence[Any]) -> tuple[list[Any], ...]:
        """Observations, rewards, terminations, truncations and infos of copy ``k``'s lanes."""
        agents = self.agents
        obs, rewards, terminated, truncated, infos = self.games[k].step(dict(zip(agents, actions)))
        per = ([x[a] for a in agents] for x in (obs, rewards, terminated, truncated))
        return *per, [dict(infos.get(a, ())) for a in agents]

    def over(self, k: int) -> bool:
        """Whether the game of copy ``k`` is over for everyone."""
        return not self.games[k].agents

    def batch(self, obs: Sequence[Any]) -> Any:
        """Observations of all lanes in new arrays."""
        out: Any = create_empty_array(self.space, len(obs))
        return concatenate(self.space, obs, out)

    def seeds(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        """One a copy: ``seed + k``.

        Raises:
            ValueError: a sequence of another length than copies.
        """
        n = len(self.games)
        if seed is None or isinstance(seed, (int, np.integer)):
            return [None if seed is None else int(seed) + k for k in range(n)]
        if len(seed) != n:
            raise ValueError(f"seed has {len(seed)} entries; allowed: one for each of the {n} copies of the game")
        return list(seed)

    def close(self) -> None:
        """Closes all copies."""
        for game in self.games:
            game.close()


def made(word: str, games: Games, num_envs: int | None) -> list[Any]:
    """The copies.

    Raises:
        TypeError: something is no ``ParallelEnv``; says how to convert a game with turns.
        ValueError: one environment for several copies, or another number of functions than copies.
    """
    n = None if num_envs is None else whole("num_envs", num_envs, 1)
    found: list[Any]
    if not callable(games) and isinstance(games, Sequence):
        if not games or n not in (None, len(games)):
            raise ValueError(f"{word}: {len(games)} functions for num_envs = {num_envs}; allowed: one for each copy")
        found = [make() for make in games]
    elif callable(games) and not isinstance(games, (ParallelEnv, AECEnv)):
        make: Callable[[], Any] = games
        found = [make() for _ in range(n or 1)]
    elif n not in (None, 1):
        raise ValueError(f"{word}: one environment cannot be {n} copies; allowed: a function that makes one")
    else:
        found = [games]
    for game in found:
        if not isinstance(game, ParallelEnv):
            raise TypeError(
                f"{word} takes ParallelEnvs or functions that make them, not {type(game).__name__} (a game with turns is "
                "converted by aec_to_parallel(env) or turn_based_aec_to_parallel(env) of pettingzoo.utils.conversions)"
            )
    if len({id(game.unwrapped) for game in found}) < len(found):
        raise ValueError(f"{word}: a function gave the same environment twice; each copy needs one of its own")
    return found


def mask(obs: Any, info: dict[str, Any]) -> Any:
    """The action mask in an observation or an info, or None."""
    return obs[MASK] if isinstance(obs, dict) and MASK in obs else info.get(MASK)

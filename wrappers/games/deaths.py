"""``black_death``: agents that leave stay in the game, and see nothing."""

from __future__ import annotations

from typing import Any

from .base import ParallelWrapper, everyone, host, part, zero


def black_death(env: Any) -> Any:
    """All possible agents stay until the game is over for everyone, so that the set of agents is fixed.

    An agent that has left, or is not there yet, sees zeros (its action mask is all ones), earns 0.0 and has
    ``info["padding"] = True``; the terms of its account are 0.0. Its actions are ignored. At its own last step
    ``info["left"]`` says ``"terminated"`` or ``"truncated"``, if others play on. Nobody is terminated or truncated before the
    game is over; then each agent has the flags of its own last step (one that never came is terminated). A trainer leaves
    steps with ``padding`` out of its loss and treats the step with ``left`` as the agent's last; one that cannot do that sees
    rewards of 0.

    Args:
        env: a ``ParallelEnv`` with ``possible_agents`` whose observations are numbers.

    Returns:
        The wrapped game.

    Raises:
        TypeError: a game with turns; names the conversion.
        ValueError: text observations, or no ``possible_agents``.
    """
    return host("black_death", env, BlackDeath, None)(env)


class BlackDeath(ParallelWrapper):
    """``black_death`` of a ``ParallelEnv``; see there."""

    word = "black_death"

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.everyone = everyone(self.word, env)
        for a in self.everyone:
            part(self.word, a, env.observation_space(a))
        self.size = len(self.everyone)
        self.playing: list[Any] = []
        self.over: dict[Any, tuple[bool, bool]] = {}  # of who has left: how
        self.terms: dict[Any, dict[str, float]] = {}  # and its account, of zeros

    @property
    def agents(self) -> list[Any]:
        """All possible agents, or nobody when the game is over."""
        return self.playing

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Resets the game."""
        obs, infos = self.env.reset(seed=seed, options=options)
        self.playing, self.over, self.terms = list(self.everyone), {}, {}
        if len(obs) == self.size:
            return obs, infos
        return self._all(obs), self._infos(obs, infos)

    def step(self, actions: dict[Any, Any]) -> tuple[Any, ...]:
        """Steps the game with the actions of who is in it."""
        here = self.env.agents
        if len(here) != len(actions):
            actions = {a: actions[a] for a in here}
        obs, rewards, terminated, truncated, infos = self._step(actions)
        if (
            len(obs) == self.size
            and not self.over
            and True not in terminated.values()
            and True not in truncated.values()
        ):
            return obs, rewards, terminated, truncated, infos
        obs = {a: o for a, o in obs.items() if a not in self.over}  # some games go on showing them something
        left, infos = self.env.agents, dict(infos)
        for a in obs:
            if terminated[a] or truncated[a]:
                self.over[a] = bool(terminated[a]), bool(truncated[a])
                self.terms[a] = dict.fromkeys(infos[a].get("reward_terms", ()), 0.0)
                if left:
                    infos[a] = {**infos[a], "left": "terminated" if terminated[a] else "truncated"}
        flags = dict.fromkeys(self.everyone, False), dict.fromkeys(self.everyone, False)
        if not left:
            over = {a: self.over.get(a, (True, False)) for a in self.everyone}
            flags = {a: f[0] for a, f in over.items()}, {a: f[1] for a, f in over.items()}
            self.playing = []
        paid = {a: rewards[a] if a in obs else 0.0 for a in self.everyone}
        return self._all(obs), paid, *flags, self._infos(obs, infos)

    def _all(self, obs: dict[Any, Any]) -> dict[Any, Any]:
        return {a: obs[a] if a in obs else zero(self.env.observation_space(a)) for a in self.everyone}

    def _infos(self, obs: dict[Any, Any], infos: dict[Any, Any]) -> dict[Any, Any]:
        out = dict(infos)
        for a in self.everyone:
            if a not in obs:
                out[a] = {"padding": True}
                if self.terms.get(a):
                    out[a]["reward_terms"] = dict(self.terms[a])
        return out

    def _save(self) -> Any:
        return list(self.playing), dict(self.over), dict(self.terms)

    def _load(self, saved: Any) -> None:
        playing, over, terms = saved
        self.playing, self.over, self.terms = list(playing), dict(over), dict(terms)

"""What would the team have had without an agent? Plays each step of a game again and publishes the answers as facts."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from pettingzoo import ParallelEnv
from pettingzoo.utils import BaseParallelWrapper

from ..hosts import inner_stack
from ..maths import EXACT, orders
from ..shaper import use
from .copies import twin

Gains = dict[Any, float]  # team: its reward of a step
NAMED = ("total", "mean")


def total(rewards: Mapping[Any, float]) -> float:
    """The sum of the members' rewards."""
    return sum(rewards.values())


def mean(rewards: Mapping[Any, float]) -> float:
    """Their mean, for games that give all members the same."""
    return sum(rewards.values()) / len(rewards)


def first_allowed(agent: Any, obs: Any, info: Mapping[str, Any]) -> int:
    """The lowest action that the mask allows (``info["action_mask"]``, else ``obs["action_mask"]``), in a ``Discrete`` from 0.

    Raises:
        ValueError: there is no mask, or it allows nothing.
    """
    mask = info.get("action_mask", obs.get("action_mask") if isinstance(obs, Mapping) else None)
    if mask is None or not np.any(mask):
        raise ValueError(f"{agent} has no action mask, or one that allows nothing: give another default")
    return int(np.flatnonzero(mask)[0])


def waits(agent: Any, obs: Any, info: Mapping[str, Any]) -> int:
    """The row of ``wait`` among the admissible actions: the default of our games on their encoded face.

    Raises:
        ValueError: there are no admissible actions, or ``wait`` is none of them.
    """
    rows = info.get("admissible_actions", ())
    if "wait" not in rows:
        raise ValueError(f"{agent} cannot wait by its admissible actions: give another default")
    return list(rows).index("wait")


class Counterfactual(BaseParallelWrapper):  # type: ignore[misc]
    """Replays each step of a PettingZoo ``ParallelEnv`` with default actions and publishes what the team would have had.

    In the infos of a step, for each agent i that acted:

    - ``team_reward``, a float: G, the reward of i's team;
    - ``counterfactual``, a float: G with the default action in place of i's (with ``actions="all"``: the mean of G over
      all of i's actions that its mask allows);
    - with ``coalitions``, ``coalition_values``, a dict: ``players``, the tuple of the members of i's team that acted;
      ``player``, i's place in it; ``coalitions``, whole numbers in which bit k is set where player k acts as it did and
      the other players take their default action (other teams act as they did); ``values``, G of each of these;
      ``orders``: empty where all coalitions are there, else the random orders along which they are;
    - with ``teams``, ``team``, the name of i's team, at the reset too.

    For ``DifferenceReward``, ``ShapleyCredit`` and ``TeamSpirit``. A replay has the random numbers of the real step,
    since a snapshot holds the generator. It goes through the wrappers between this one and the game, which keep no
    state of their own or are part of the snapshot. A step costs a replay an agent, with ``coalitions`` up to ``2**n -
    2`` of them for up to ``exact`` players of a team, else up to ``orders * (n - 1)``; one whose default action is what
    the agent does costs nothing.

    Args:
        env: the game, not shaped yet: ``shape(Counterfactual(game), [...])``.
        default: what an agent does that is "not there": one action for all, a dict by agent, or a function ``(agent,
            obs, info) -> action`` of what the agent last saw (or its ``"module:function"``, as ``first_allowed`` here);
            other strings are actions.
        reward: the team's reward from its members': their ``"total"``, their ``"mean"`` (of games that give all the
            same), or a function ``(dict of the members' rewards) -> float``.
        teams: agent to team; None: all are one.
        coalitions: publish the values of coalitions.
        actions: of the counterfactual: the default one, or all (spaces that are Discrete).
        horizon: steps of a replay: all take their default actions after the first one, and G is the sum over these
            steps (``team_reward`` too). For worlds in which what is done shows later.
        replay: ``"snapshot"``: by the game's ``snapshot()`` and ``restore()``; ``"copy"``: on a copy of it, for games
            that have none.
        exact: players of a team up to which all coalitions are played.
        orders: number of random orders for more players.
        seed: of the orders.
        verify: play the first step of each episode twice and refuse a game whose replay is another.

    Raises:
        ValueError: a setting outside its range, an action that the agent does not have, a team for an unknown agent or
            none for one, or a game that is shaped already.
        TypeError: no ``ParallelEnv``, or a game that has no ``snapshot``.
        RuntimeError: a replay fails, or is not what really happened.
    """

    def __init__(
        self,
        env: Any,
        default: Any = 0,
        *,
        reward: str | Callable[[dict[Any, float]], float] = "total",
        teams: Mapping[Any, Any] | None = None,
        coalitions: bool = False,
        actions: Literal["default", "all"] = "default",
        horizon: int = 1,
        replay: Literal["snapshot", "copy"] = "snapshot",
        exact: int = EXACT,
        orders: int = 64,
        seed: int = 0,
        verify: bool = True,
    ) -> None:
        super().__init__(env)
        if not isinstance(env, ParallelEnv):
            raise TypeError(f"counterfactual: {type(env).__name__} is no ParallelEnv: use aec_to_parallel(env)")
        for name, value, allowed in (
            ("actions", actions, ("default", "all")),
            ("replay", replay, ("snapshot", "copy")),
        ):
            if value not in allowed:
                raise ValueError(f"counterfactual: {name} is {value!r}, allowed are {allowed[0]!r} and {allowed[1]!r}")
        if not 0 <= exact <= 20 or orders < 1 or horizon < 1:
            raise ValueError(
                f"counterfactual: exact = {exact}, orders = {orders}, horizon = {horizon}; allowed: 0 to 20, and from 1"
            )
        if inner_stack(env) is not None:
            raise ValueError(
                "counterfactual: the game is shaped already and its layers would see every replay: "
                "put it inside, shape(Counterfactual(game), [...])"
            )
        if replay == "snapshot" and not all(callable(getattr(env, k, None)) for k in ("snapshot", "restore")):
            raise TypeError(f'counterfactual: {env} has no snapshot() and restore(): give replay="copy"')
        known = list(getattr(env, "possible_agents", ()))  # a game that makes agents as it goes has none
        if teams is not None and known and set(teams) != set(known):
            raise ValueError(f"counterfactual: teams are of {list(teams)}, the agents are {known}")
        self._gain: Callable[[dict[Any, float]], float] = use(f"{__name__}:{reward}" if reward in NAMED else reward)
        if not callable(self._gain):
            raise ValueError(f"counterfactual: reward is {reward!r}, allowed are 'total', 'mean' or a function")
        named = isinstance(default, str) and re.fullmatch(r"[\w.]+:[\w.]+", default)  # other strings are words to say
        self._default = use(default) if named else default
        self.every = actions == "all"
        if not callable(self._default) and (coalitions or not self.every or horizon > 1):
            if isinstance(default, Mapping) and known and set(default) != set(known):
                raise ValueError(f"counterfactual: default has actions of {list(default)}, the agents are {known}")
            for a in known:
                self._action(a)
        self.teams = None if teams is None else dict(teams)
        self.coalitions, self.copies = coalitions, replay == "copy"
        self.exact, self.orders, self.verify, self.horizon = exact, orders, verify, horizon
        self._rng = np.random.default_rng(seed)
        self._seen: dict[Any, tuple[Any, dict[str, Any]]] = {}  # what each agent saw last
        self._first = False

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[Any, Any], dict[Any, Any]]:
        """Resets the game."""
        obs, infos = self.env.reset(seed=seed, options=options)
        self._seen, self._first = {a: (o, infos[a]) for a, o in obs.items()}, self.verify
        return obs, self._named(infos)

    def step(self, actions: dict[Any, Any]) -> tuple[dict[Any, Any], ...]:
        """Plays the step without each agent (or with each coalition), then the step itself."""
        who = [a for a in self.env.agents if a in actions]
        teams: dict[Any, list[Any]] = {}
        for a in who:
            teams.setdefault(self.teams[a] if self.teams else None, []).append(a)
        saved = None if self.copies else self.env.snapshot()
        truly: Gains = {}

        def play(changed: dict[Any, Any]) -> Gains:
            rows = self._play(actions | changed, teams, saved)
            return {team: sum(row[team] for row in rows) for team in teams}

        without = {} if self.every and not self.coalitions else {a: self._action(a) for a in who}
        same = {a for a, x in without.items() if np.array_equal(x, actions[a])}

        @functools.cache
        def absent(gone: frozenset[Any]) -> Gains:
            return play({a: without[a] for a in gone}) if gone or self.horizon > 1 else truly

        plans = {team: self._plan(len(members)) for team, members in teams.items()} if self.coalitions else {}
        asked = {a: frozenset([a]) - same for a in who} if not self.every else {}
        found: dict[Any, Gains] = {a: absent(gone) for a, gone in asked.items()}
        tried = {a: [play({a: x}) for x in self._allowed(a)] for a in who} if self.every else {}
        values = {
            team: {c: absent(frozenset(m for k, m in enumerate(teams[team]) if not c >> k & 1) - same) for c in masks}
            for team, (masks, _) in plans.items()
        }
        whole = absent(frozenset())  # filled in below, if it is the real step
        again = self._play(actions, teams, saved, 1)[0] if self._first else None
        obs, rewards, term, trunc, infos = self.env.step(actions)
        truly |= self._gains(rewards, teams)
        if again is not None and again != truly:
            raise RuntimeError(
                f"counterfactual: the same step gave the teams {again} in a replay and then {truly}: "
                "the game's snapshot must hold its whole state, random numbers too"
            )
        self._first = False
        self._seen |= {a: (o, infos[a]) for a, o in obs.items()}
        infos = self._named(infos)
        for team, members in teams.items():
            for k, a in enumerate(members):
                g = [x[team] for x in tried[a]] if self.every else [found[a][team]]
                facts: dict[str, Any] = {"team_reward": whole[team], "counterfactual": float(np.mean(g))}
                if self.coalitions:
                    facts["coalition_values"] = {
                        "players": tuple(members),
                        "player": k,
                        "coalitions": tuple(values[team]),
                        "values": tuple(x[team] for x in values[team].values()),
                        "orders": plans[team][1],
                    }
                infos[a] = infos[a] | facts
        return obs, rewards, term, trunc, infos

    def snapshot(self) -> dict[str, Any]:
        """The game's snapshot and what this wrapper remembers of the episode."""
        mine = copy.deepcopy((self._seen, self._first, self._rng.bit_generator.state))
        return {"inner": twin(self.env) if self.copies else self.env.snapshot(), "mine": mine}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Goes back to it."""
        if self.copies:
            self.env = twin(snapshot["inner"])
        else:
            self.env.restore(snapshot["inner"])
        self._seen, self._first, self._rng.bit_generator.state = copy.deepcopy(snapshot["mine"])

    # -- parts -----------------------------------------------------------------------------------
    def _play(
        self, actions: dict[Any, Any], teams: Mapping[Any, list[Any]], saved: Any, steps: int | None = None
    ) -> list[Gains]:
        game = twin(self.env) if self.copies else self.env
        out: list[Gains] = []
        try:
            while actions and len(out) < (steps or self.horizon):
                obs, rewards, _, _, infos = game.step(actions)
                out.append(self._gains(rewards, teams))
                if any(i.get("invalid") for i in infos.values()):
                    raise RuntimeError("its infrastructure failed")
                if len(out) < (steps or self.horizon):
                    actions = {a: self._action(a, (obs[a], infos[a])) for a in game.agents}
        except Exception as e:
            raise RuntimeError(f"counterfactual: a replay fails after the joint action {actions}: {e}") from e
        finally:
            if not self.copies:
                game.restore(saved)
        return out

    def _gains(self, rewards: Mapping[Any, Any], teams: Mapping[Any, list[Any]]) -> Gains:
        """The reward of each team, in the order of its members: sums of floats depend on it."""
        out = {}
        for team, members in teams.items():
            part = {a: float(rewards.get(a, 0.0)) for a in members}
            out[team] = float(self._gain(part))
        return out

    def _plan(self, n: int) -> tuple[list[int], tuple[tuple[int, ...], ...]]:
        """Coalitions to play for ``n`` players, and the orders that they come from."""
        if n <= self.exact:
            return list(range(1 << n)), ()
        drawn = orders(n, self.orders, self._rng)
        ends = {sum(1 << i for i in order[:k]) for order in drawn for k in range(n + 1)}
        return sorted(ends), drawn

    def _named(self, infos: dict[Any, Any]) -> dict[Any, Any]:
        if self.teams is None:
            return dict(infos)
        return {a: i | {"team": self.teams[a]} if a in self.teams else i for a, i in infos.items()}

    def _action(self, agent: Any, seen: tuple[Any, dict[str, Any]] | None = None) -> Any:
        d = self._default
        if callable(d):
            return self._own(agent, d(agent, *(seen or self._seen[agent])))
        return self._own(agent, d[agent] if isinstance(d, Mapping) else d)

    def _own(self, agent: Any, action: Any) -> Any:
        space = self.action_space(agent)
        if not space.contains(action):
            raise ValueError(f"counterfactual: the default action {action!r} of {agent} is none of {space}")
        return action

    def _allowed(self, agent: Any) -> list[Any]:
        space, (obs, info) = self.action_space(agent), self._seen[agent]
        n, start = getattr(space, "n", None), getattr(space, "start", None)
        if n is None or start is None:
            raise ValueError(f'counterfactual: actions="all" needs Discrete spaces, {agent} has {space}')
        mask = info.get("action_mask", obs.get("action_mask") if isinstance(obs, Mapping) else None)
        return [int(start + k) for k in (range(n) if mask is None else np.flatnonzero(mask))]

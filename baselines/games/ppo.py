"""PPO for games of several agents: one network for all, one an agent, or self-play in a league. SB3 does the updates."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.logger import configure

from ...envs.text.base import flag, whole
from ...wrappers.shaper import nearest
from ..checkpoint import load_checkpoint, save_checkpoint
from ..credit import refuse_tail
from .agents import Team, make_team, seats
from .evaluate import CrossPlay, cross_play
from .league import League
from .play import Make, Played, match_score, play, side_by_side
from .policy import MASK, Policy, fill, make_policy, train

KIND, FORMAT = "game", 1
RECENT = 100  # games behind the means that ``learn`` returns
LEAGUE = ("latest", "pick", "every", "size")
NAMES = {  # what is told apart by name: one network for all agents?, a league?
    "shared_ppo": (True, False),
    "independent_ppo": (False, False),
    "selfplay_ppo": (True, True),
}


class GamePPO:
    """PPO over whole games that are played side by side, shaped or not.

    A rollout is made of whole games, so credit that settles late (``info["credit"]``, also of agents that left early) is known
    before advantages are computed, and no padding ever stands in a buffer. Each network's rollout buffer, advantages and update
    are SB3's own (``MaskablePPO`` where the game gives action masks, else ``PPO``).

    - ``shared_ppo``: one network plays all learning seats (parameter sharing); their spaces must be equal.
    - ``independent_ppo``: each learning agent has its own (independent PPO: de Witt et al. 2020, arXiv 2011.09533).
    - ``selfplay_ppo``: one network; in each game it meets its current self, and then learns in all seats, or a past self from a
      ``League``, which plays all but one seat; the learning seat rotates.

    Args:
        name: one of these.
        make: gives a new copy of the game, a ``ParallelEnv`` without shaping.
        layers: of the stack around each copy; they share its memory.
        seed: of networks, games, stack and league.
        agents: who learns; None: all.
        opponents: who plays the other seats, as ``make_team`` takes it (or a ``Team``); needed if there are any.
        collect: puts a collector of facts (such as ``Counterfactual``) around a copy, inside the stack.
        facts: as ``shape`` takes them.
        log: folder of TensorBoard files, or None.
        copies: games side by side.
        indicator: tell a shared network who it is, by one-hot numbers behind its observation.
        latest, pick, every, size: of the ``League``, for ``selfplay_ppo``.
        **settings: of SB3's model; ``n_steps`` are the learners' steps in a rollout at least.

    Raises:
        ValueError: an unknown name, agent or setting, layers that PPO cannot learn from, spaces that it cannot read, or seats
            that nobody plays.
    """

    def __init__(
        self,
        name: str,
        make: Make,
        layers: Sequence[Any] = (),
        seed: int = 0,
        *,
        agents: Sequence[str] | None = None,
        opponents: Any = None,
        collect: Callable[[Any], Any] | None = None,
        facts: Mapping[str, Any] | None = None,
        log: str | None = None,
        copies: int = 8,
        indicator: bool = False,
        **settings: Any,
    ) -> None:
        if name not in NAMES:
            raise ValueError(f"no trainer of games is called {name!r}{nearest(name, NAMES)} Known: {', '.join(NAMES)}")
        share, league = NAMES[name]
        whole("copies", copies, 1)
        if flag("indicator", indicator) and not share:
            raise ValueError(f"{name}: indicator is for one network of all agents, and here each has its own")
        of_league = {k: settings.pop(k) for k in LEAGUE if league and k in settings}
        self.name, self.seed, self.indicator, self.settings = name, seed, indicator, settings | of_league
        self.envs = side_by_side(make, copies, layers, seed, facts, collect)
        game = self.envs[0]
        self.stack = game.stack if layers else None
        self.agents = seats("agents", agents, game.possible_agents)
        self.fixed = self._others(opponents, game, seed)
        self.opponents = [self.fixed.sit(e) for e in self.envs]
        masked = False
        for k, env in enumerate(self.envs):  # later games go on from here
            obs, infos = env.reset(seed=1_000 * seed + k)
            first = self.agents[0]
            masked = MASK in infos[first] or (isinstance(obs[first], Mapping) and MASK in obs[first])
        groups = {"all": self.agents} if share else {a: (a,) for a in self.agents}
        order = tuple(game.possible_agents) if indicator else ()
        self.policies = {
            key: make_policy(game, who, order, masked, seed + i, settings)
            for i, (key, who) in enumerate(groups.items())
        }
        self.key = {a: key for key, who in groups.items() for a in who}
        self.league = League(**of_league, seed=seed) if league else None
        if self.league is not None:
            self.league.add(self.policies["all"].weights, 0)
        self.players: dict[int, Policy] = {}  # past selves by the steps at which they were the current one
        self.against: dict[int, int | None] = {}  # game to the past self that was met in it
        self.n_steps = next(iter(self.policies.values())).model.n_steps
        self.steps = self.games = self.updates = self.invalid = 0
        self.recent: deque[dict[str, float]] = deque(maxlen=RECENT)
        self.fits: dict[str, float] = {}  # metrics of the latest fit of the layers
        self.log = None if log is None else configure(log, ["tensorboard"])
        if self.stack is not None:
            refuse_tail(self.stack)
            self.stack.check_discount(next(iter(self.policies.values())).model.gamma)

    def _others(self, opponents: Any, game: Any, seed: int) -> Team:
        rest = [a for a in game.possible_agents if a not in self.agents]
        if opponents is None:
            if rest:
                raise ValueError(f"nobody plays {', '.join(rest)}: give opponents, or let all agents learn")
            return Team({})
        if not rest:
            raise ValueError("opponents play the agents that do not learn, and here all do")
        team = opponents if isinstance(opponents, Team) else make_team(opponents, game, seed + 1, rest)
        return Team({a: team.players[a] for a in rest})

    # -- playing ---------------------------------------------------------------------------------
    def team(self) -> Team:
        """The current networks in the learning seats and the opponents in the others."""
        return self.fixed.but({a: self.policies[key] for a, key in self.key.items()})

    def player(self) -> Trained:
        """The current networks, each in the seats that it learns in."""
        return Trained({a: self.policies[key] for a, key in self.key.items()})

    def ladder(self, make: Make, episodes: int = 20, seed: int = 0, most: int = 5) -> CrossPlay:
        """Past selves, evenly chosen from the first on, and the current one in matches against each other.

        Args:
            make: a copy of the game without shaping.
            episodes: games of each ordered pair.
            seed: of the first game.
            most: players.

        Raises:
            ValueError: there is no league, or the game is shaped.
        """
        if self.league is None:
            raise ValueError(f"{self.name} has no league: selfplay_ppo has one")
        last = (
            len(self.league) - 1 if self.league.steps[-1] == self.steps else len(self.league)
        )  # that is the current one
        chosen = sorted({int(i) for i in np.linspace(0, last - 1, min(most - 1, last)).round()}) if last else []
        players: dict[str, Any] = {f"{self.league.steps[i]} steps": self.past(i) for i in chosen}
        players[f"{self.steps} steps"] = self.policies["all"]
        return cross_play(players, make, episodes, seed, self.agents, self.fixed)

    def past(self, number: int) -> Policy:
        """A past self of the league as a player."""
        assert self.league is not None
        at = self.league.steps[number]
        if at not in self.players:
            now = self.policies["all"]
            self.players[at] = Policy(
                now.model, now.masked, now.order, self.seed + at, now.other(self.league.past[number])
            )
        return self.players[at]

    def _deal(self, number: int, k: int) -> tuple[dict[str, Any], frozenset[str]]:
        """Who plays the next game on copy ``k``, and who learns in it."""
        mine = {a: self.policies[key] for a, key in self.key.items()} | self.opponents[k]
        met = self.league.draw() if self.league is not None else None
        self.against[number] = met
        if met is None:
            return mine, frozenset(self.agents)
        learner = self.agents[(self.games + number) % len(self.agents)]
        return mine | dict.fromkeys((a for a in self.agents if a != learner), self.past(met)), frozenset([learner])

    # -- learning --------------------------------------------------------------------------------
    def learn(self, steps: int) -> list[dict[str, float]]:
        """Plays and learns until the learners have taken at least ``steps`` more steps; means of the latest games."""
        goal, metrics = self.steps + steps, dict[str, float]()
        while self.steps < goal:
            metrics = self.update(self.rollout())
            if self.league is not None and self.updates % self.league.every == 0:
                self.league.add(self.policies["all"].weights, self.steps)
                self.players = {at: p for at, p in self.players.items() if at in self.league.steps}
            if self.log is not None:
                for k, v in (self.means() | metrics).items():
                    self.log.record(k, v)
                self.log.dump(self.steps)
        return [self.means() | metrics]

    def rollout(self) -> list[Played]:
        """Whole games with at least ``n_steps`` steps of learners, in the order in which they began."""
        self.against = {}
        played = sorted(play(self.envs, self._deal, lambda n, taken: taken < self.n_steps), key=lambda g: g.number)
        self.games += len(played)
        taken = sum(len(s) for g in played for s in g.kept.values())
        self.steps += taken
        if not taken:
            raise ValueError("the learning agents never act in this game")
        for game in played:
            if game.invalid:
                self.invalid += 1
            else:
                self._note(game)
        return [g for g in played if not g.invalid]

    def own(self, game: Played, agent: str) -> float:
        """What the game itself paid an agent: shaped return is no score."""
        if self.stack is None:
            return game.returns[agent]
        return sum(v for k, v in game.terms[agent].items() if k not in self.stack.names)

    def _note(self, game: Played) -> None:
        env = {a: self.own(game, a) for a in game.returns}
        row = {"env_return": sum(env[a] for a in self.agents if a in env), "length": float(game.cycles)}
        row["shaped_return"] = sum(game.returns[a] for a in self.agents if a in env)
        for a in self.agents:
            for k, v in game.terms.get(a, {}).items():
                row[f"reward_terms/{k}"] = row.get(f"reward_terms/{k}", 0.0) + v
        self.recent.append(row)
        met = self.against.get(game.number)
        if met is not None and self.league is not None and len(env) > 1:
            (me,) = game.kept  # the one seat that learns
            others = [env[a] for a in self.agents if a != me and a in env]
            if others:
                self.league.record(met, match_score(env[me], float(np.mean(others))))

    def means(self) -> dict[str, float]:
        """Over the latest games: returns, length, and each reward term summed over the learning agents."""
        keys = {k for r in self.recent for k in r}
        return {k: float(np.mean([r[k] for r in self.recent if k in r])) for k in sorted(keys)}

    def settled(self, played: Sequence[Played]) -> dict[tuple[int, str], Any]:
        """Final rewards by number of the game and agent; layers that learn are fitted to these games afterwards."""
        out: dict[tuple[int, str], Any] = {}
        for g in played:
            for a, info in g.last_info.items():
                out[g.number, a] = info.get("credit", g.rewards[a])
        if self.stack is not None and self.stack.keep:
            trajs = [t for t in self.stack.take() if not t.infos[-1].get("invalid")]
            # an agent that left a game early is paid what a joint layer owes it in its trajectory alone
            number = {g.joint: g.number for g in played}
            out |= {(number[t.meta["joint"]], t.meta["agent"]): t.rewards for t in trajs if t.meta["joint"] in number}
            if self.stack.learns:
                self.fits = self.stack.learn(trajs)
        return out

    def update(self, played: Sequence[Played]) -> dict[str, float]:
        """Each network learns from its own steps of these games; SB3's metrics."""
        rewards, metrics = self.settled(played), dict[str, float]()
        for key, policy in self.policies.items():
            lanes = [(g, a) for g in played for a in g.kept if self.key[a] == key]
            if not lanes:
                continue
            late = [(g, a) for g, a in lanes if g.truncated[a]]
            beyond = dict.fromkeys(((g.number, a) for g, a in lanes), 0.0)
            values = policy.values([policy.see(a, g.last_obs[a]) for g, a in late])
            beyond |= {(g.number, a): float(v) for (g, a), v in zip(late, values)}
            fill(policy.model, [(g.kept[a], rewards[g.number, a], beyond[g.number, a]) for g, a in lanes])
            got = train(policy.model)
            metrics |= {k if len(self.policies) == 1 else f"{key}/{k}": v for k, v in got.items()}
        self.updates += 1
        return metrics | {f"layers/{k}": v for k, v in self.fits.items()}

    # -- checkpoints -----------------------------------------------------------------------------
    def save(self, path: str | Path) -> None:
        """Networks and their optimisers, the stack's memory and spec, the league, settings and versions; no pickled code."""
        state: dict[str, Any] = {"format": FORMAT, "name": self.name, "seed": self.seed, "settings": self.settings}
        state |= {"copies": len(self.envs), "indicator": self.indicator, "agents": list(self.agents)}
        state |= {k: getattr(self, k) for k in ("steps", "games", "updates", "invalid")}
        state["networks"] = {
            key: {
                "masked": p.masked,
                "agents": [a for a in self.agents if self.key[a] == key],
                "policy": p.model.policy.state_dict(),
                "optimizer": p.model.policy.optimizer.state_dict(),
            }
            for key, p in self.policies.items()
        }
        state["stack"] = None if self.stack is None else self.stack.state_dict()
        state["stack_spec"] = None if self.stack is None else self.stack.spec()
        state["league"] = None if self.league is None else self.league.state_dict()
        save_checkpoint(path, KIND, state)

    @classmethod
    def load(cls, path: str | Path, make: Make, layers: Sequence[Any] = (), **others: Any) -> GamePPO:
        """A trainer that goes on where it was saved.

        Args:
            path: of the file.
            make: the game.
            layers: as before, if their memory is to go on.
            **others: ``opponents``, ``collect``, ``facts`` and ``log``, which are not saved.

        Raises:
            ValueError: the file is no such checkpoint, or of other spaces or layers.
        """
        state = _read(path)
        given = {k: state[k] for k in ("seed", "agents", "copies", "indicator")} | state["settings"]
        self = cls(state["name"], make, layers, **(given | others))
        for key, saved in state["networks"].items():
            _take(path, self.policies[key], saved["policy"])
            self.policies[key].model.policy.optimizer.load_state_dict(saved["optimizer"])
        for k in ("steps", "games", "updates", "invalid"):
            setattr(self, k, state[k])
        if self.stack is not None and state["stack"] is not None:
            self.stack.load_state_dict(state["stack"])
        if self.league is not None:
            self.league.load_state_dict(state["league"])
        for p in self.policies.values():  # new random numbers after a break, not those of the start once more
            p.model.set_random_seed(self.seed + self.steps)
        for i, env in enumerate(self.envs):
            env.reset(seed=1_000 * (self.seed + self.steps) + i)
        return self

    def close(self) -> None:
        """Closes the copies."""
        for env in self.envs:
            env.close()


def _read(path: str | Path) -> dict[str, Any]:
    state = load_checkpoint(path, KIND)
    if state["format"] != FORMAT:
        raise ValueError(f"{path} has checkpoint format {state['format']}, this version reads {FORMAT}")
    return state


def _take(path: str | Path, policy: Policy, weights: Mapping[str, Any]) -> None:
    try:
        policy.model.policy.load_state_dict(weights)
    except RuntimeError as e:
        raise ValueError(f"{path} is of a game with other spaces: {str(e).splitlines()[-1].strip()}") from e


class Trained:
    """The networks of a checkpoint, each in the seats that it learnt in."""

    def __init__(self, policies: Mapping[str, Policy]) -> None:
        self.policies = dict(policies)

    def sit(self, env: Any, agent: str) -> Policy:
        """The network of the seat.

        Raises:
            ValueError: none learnt to play it.
        """
        if agent not in self.policies:
            raise ValueError(f"this team learnt to play {', '.join(self.policies)}, not {agent}")
        return self.policies[agent]

    def act(self, agent: str, obs: Any, info: dict[str, Any]) -> Any:
        """One action."""
        return self.policies[agent].act(agent, obs, info)


def load_players(path: str | Path, env: Any, seed: int = 0) -> Trained:
    """The players of a checkpoint, for playing only.

    Args:
        path: of a file that ``GamePPO.save`` wrote.
        env: the game, for its spaces.
        seed: of their choices.

    Raises:
        ValueError: the file is no such checkpoint, or of other spaces.
    """
    state, made = _read(path), dict[str, Policy]()
    order = tuple(env.possible_agents) if state["indicator"] else ()
    settings = {k: v for k, v in state["settings"].items() if k not in LEAGUE}
    for key, saved in state["networks"].items():
        seats(f"{path}", saved["agents"], env.possible_agents)
        policy = make_policy(env, saved["agents"], order, saved["masked"], state["seed"], settings)
        _take(path, policy, saved["policy"])
        policy.reset(seed)
        made |= dict.fromkeys(env.possible_agents if key == "all" else saved["agents"], policy)
    return Trained(made)

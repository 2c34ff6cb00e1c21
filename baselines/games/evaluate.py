"""Evaluation of games: separate copies without shaping, frozen players, cross-play, Elo."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...wrappers.hosts import inner_stack
from .agents import Team
from .elo import Rating, ratings
from .play import Make, Played, match_score, play

SIDE = 25  # copies of the game that are played side by side
# what a last info holds beside a game's measures: the contract, counts, and what collectors publish for layers
_KNOWN = {"success", "score", "max_score", "progress", "valid_action", "invalid", "actions_cut", "tampered", "turn"}
_KNOWN |= {"team_reward", "counterfactual", "judge_failed", "padding"}


@dataclass(frozen=True)
class GameEvaluation:
    """Means over the valid games."""

    episodes: int
    invalid: int  # games that the infrastructure ended; they count in nothing else
    length: float  # cycles
    env_return: float  # sum over the judged agents
    success: float  # mean over the judged agents; NaN where the game does not say
    agents: dict[str, dict[str, float]] = field(default_factory=dict)
    """Of every agent, judged or not: ``env_return``, ``length``, and ``success`` if the game says."""
    measures: dict[str, float] = field(default_factory=dict)
    """What the game publishes at the end as numbers, such as ``nash``: mean over agents, then over games."""

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers as JSON knows them; a success that nobody can know is None."""
        success = None if math.isnan(self.success) else self.success
        head = {k: getattr(self, k) for k in ("episodes", "env_return", "length", "invalid")}
        return head | {"success": success, "subgoals": {}, "agents": self.agents, "measures": self.measures}


def _copies(make: Make, n: int) -> list[Any]:
    envs = [make() for _ in range(n)]
    if inner_stack(envs[0]) is not None:
        raise ValueError("evaluation needs a game without shaping: its shaped return is no score")
    return envs


def games(team: Team, make: Make, episodes: int, seed: int, side: int = SIDE) -> list[Played]:
    """Plays ``episodes`` games, the k-th from ``reset(seed=seed + k)``, in this order.

    Raises:
        ValueError: the game is shaped.
    """
    envs = _copies(make, min(side, episodes))
    try:
        sat = [team.sit(e) for e in envs]
        found = play(envs, lambda n, k: (sat[k], frozenset()), lambda n, _: n < episodes, lambda n: seed + n)
        return sorted(found, key=lambda g: g.number)
    finally:
        for e in envs:
            e.close()


def evaluate_games(
    team: Team, make: Make, episodes: int = 100, seed: int = 0, judged: Sequence[str] | None = None
) -> GameEvaluation:
    """How a team plays.

    Args:
        team: a player for each seat.
        make: a copy of the game *without* shaping, usually ``split="test"``.
        episodes: how many games.
        seed: of the first.
        judged: agents whose returns and successes count; None: all.

    Raises:
        ValueError: the game is shaped; shaped return is never a score.
    """
    return summary(games(team, make, episodes, seed), judged)


def summary(played: Sequence[Played], judged: Sequence[str] | None = None) -> GameEvaluation:
    """Means over games."""
    good = [g for g in played if not g.invalid]
    if not good:
        return GameEvaluation(0, len(played), 0.0, 0.0, math.nan)
    who = list(dict.fromkeys(a for g in good for a in g.returns))
    agents: dict[str, dict[str, float]] = {}
    for a in who:
        mine = [g for g in good if a in g.returns]
        row = {"env_return": _mean(g.returns[a] for g in mine), "length": _mean(g.length[a] for g in mine)}
        if all("success" in g.last_info[a] for g in mine):
            row["success"] = _mean(bool(g.last_info[a]["success"]) for g in mine)
        agents[a] = row
    counted = [a for a in who if judged is None or a in judged]
    successes = [agents[a].get("success", math.nan) for a in counted]
    paid = _mean(sum(g.returns.get(a, 0.0) for a in counted) for g in good)
    length = _mean(g.cycles for g in good)
    return GameEvaluation(len(good), len(played) - len(good), length, paid, _mean(successes), agents, _measures(good))


def _mean(x: Any) -> float:
    return float(np.mean(list(x)))


def _measures(good: Sequence[Played]) -> dict[str, float]:
    """Of keys that every agent's last info has in every game, as a float or a bool."""
    rows = [list(g.last_info.values()) for g in good]
    kinds = (bool, float, np.floating, np.bool_)
    first = [k for k, v in rows[0][0].items() if isinstance(v, kinds) and k not in _KNOWN]
    keys = [k for k in first if all(isinstance(i.get(k), kinds) for infos in rows for i in infos)]
    return {k: _mean(_mean(i[k] for i in infos) for infos in rows) for k in sorted(keys)}


@dataclass(frozen=True)
class CrossPlay:
    """Every player against every other; lists are in the order of ``names``."""

    names: list[str]
    returns: list[list[float]]  # of the row's player in one seat, the column's player in all others
    scores: list[list[float]]  # 1 for more than the mean of the others' returns, 0.5 for the same
    elo: list[Rating]

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "names": self.names,
            "returns": self.returns,
            "scores": self.scores,
            "elo": [[r.elo, r.low, r.high] for r in self.elo],
        }


def cross_play(
    players: Mapping[str, Any],
    make: Make,
    episodes: int = 20,
    seed: int = 0,
    agents: Sequence[str] | None = None,
    opponents: Team | None = None,
) -> CrossPlay:
    """Each player alone in a seat against each other in the rest; the seat rotates over ``agents``.

    Args:
        players: by name.
        make: a copy of the game without shaping.
        episodes: games of each ordered pair.
        seed: of the first game of each pair; pairs see the same worlds.
        agents: seats that are played for; None: all.
        opponents: who plays the seats that are left.

    Raises:
        ValueError: fewer than two seats are played for, or the game is shaped.
    """
    names = list(players)
    returns, points = np.full((len(names),) * 2, np.nan), np.full((len(names),) * 2, np.nan)
    matches: list[tuple[int, int, float]] = []
    for i, mine in enumerate(names):
        for j, theirs in enumerate(names):
            rows, _ = duel(players[mine], players[theirs], make, episodes, seed, agents, opponents)
            if rows:
                returns[i, j], points[i, j] = np.mean(rows, axis=0)
            if i != j:
                matches += [(i, j, s) for _, s in rows]
    return CrossPlay(names, returns.tolist(), points.tolist(), ratings(matches, len(names), seed=seed))


def duel(
    mine: Any,
    theirs: Any,
    make: Make,
    episodes: int = 20,
    seed: int = 0,
    agents: Sequence[str] | None = None,
    opponents: Team | None = None,
) -> tuple[list[tuple[float, float]], dict[str, float]]:
    """One player in one seat, in turn in each of ``agents``, another in the rest of these.

    Returns:
        Of each valid game what ``mine`` was paid, and 1.0 if that is more than the mean of the others, 0.5 for the same, else
        0.0; and the game's measures.

    Raises:
        ValueError: as ``cross_play``.
    """
    envs = _copies(make, min(SIDE, episodes))
    try:
        seats = [a for a in envs[0].possible_agents if agents is None or a in agents]
        if len(seats) < 2:
            raise ValueError("cross-play is between seats: at least two are needed")
        team = (opponents or Team({})).but(dict.fromkeys(seats, theirs))
        sat = [[team.but({a: mine}).sit(e) for a in seats] for e in envs]
        found = list(
            play(
                envs,
                lambda n, k: (sat[k][n % len(seats)], frozenset()),
                lambda n, _: n < episodes,
                lambda n: seed + n,
            )
        )
    finally:
        for e in envs:
            e.close()
    rows, good = [], sorted((g for g in found if not g.invalid), key=lambda g: g.number)
    for g in good:
        me = seats[g.number % len(seats)]
        others = [g.returns[a] for a in seats if a != me and a in g.returns]
        if me in g.returns and others:
            rows.append((g.returns[me], match_score(g.returns[me], float(np.mean(others)))))
    return rows, _measures(good) if good else {}

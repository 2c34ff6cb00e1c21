"""ArenaRL: a tournament ranks the episodes of a group, and the rank is the advantage.

    r_i = 1 - rank_i / (N - 1),    A_i = (r_i - mean r) / (std r + 1e-6)    (sample std), the same at every step of episode i

"ArenaRL", arXiv 2601.06487. A judge compares two episodes and gives each a score, in both orders, and the two are
added: a judge that likes whoever comes first likes nobody. Who meets whom:

- ``seeded_single``: N - 1 comparisons of everybody with the anchor give seeds (the anchor has the mean of its scores);
  then single elimination in the standard bracket, in which seeds 1 and 2 meet last, with byes for the best; a tie goes
  to the better seed, losers of one round stand in the order of their mean score. 2 (N - 1) comparisons: 30 for 16
  episodes.
- ``anchor``: everybody against the anchor, N - 1; ``round_robin``: all pairs, N (N - 1) / 2, a win is 1 and a tie 1/2.
  In both, equal ones share the best of their ranks, and r_i = (last rank - rank_i) / (last rank - 1).
- ``swiss``: ceil(log2 N) rounds of those with like points who have not met, 1 for a win or a bye, then Buchholz (the
  points of those met); equal ones share the mean of their rewards. ``double``: who has lost twice is out, drawn at
  random.

The judge is ``compare``, a function of two trajectories; without one the episode with the larger ``info[key]`` (``""``:
return) wins.

What comes from where ([C]: the authors' code, [I]: our own choice): the topologies and rewards as the code has them,
but: its brackets leave out byes and pair whoever is then next, so that of six the best meets the fourth at once,
``byes="code"``; its Swiss system looks the points of opponents up in a list that it has shuffled, here they are the
opponents'; a comparison that fails counts 5 for both [C]; where no comparison of a group is decided all get 0 [I], in
the code the order of the group decides: ``undecided="seed"``. A group of one is an error there and 0 here [I].

Invariance: none; advantages have mean 0. Scores times a positive number and plus a constant give the same ranks (only
failed comparisons would not). A judge that always prefers the better one makes the best first in every topology, and
round robin finds the whole order. In single elimination the second place goes to the loser of the final, who need not
be the second best.

Agents: ``over="agents"`` ranks the agents of one joint episode, of Parallel and of AEC games: advantages are for the
trainer, so nobody has to be paid online.

Departures: the advantage stands beside the rewards and never replaces them. The order of a group decides ties, who is
the anchor, and the draw; that is made from the layer's seed, the task and the returns.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..maths import number, zscore
from ..shaper import Shaper, use
from ..types import Floats, Group, Level, Trajectory

Match = tuple[int, int, float, float]  # of whom, with what scores


@dataclass
class TournamentAdvantage(Shaper):
    """Ranks a group by comparisons of two.

    Raises:
        ValueError: a setting outside its range, ``compare`` is no function, or a group without the anchor.
        MissingFact: the environment does not publish ``key``.
    """

    compare: Any = ""
    """``"module:function"`` or a function of two trajectories, giving two scores, None where it fails; ``""``: ``key``."""
    key: str = ""
    """Key of the last info with a score; ``""``: the return."""
    topology: Literal["seeded_single", "round_robin", "swiss", "anchor", "double"] = "seeded_single"
    """Who meets whom."""
    over: Literal["rollouts", "agents"] = "rollouts"
    """A group: the episodes of one task, or the agents of one joint episode."""
    bidirectional: bool = True
    """Compare in both orders and add the scores."""
    failed_score: float = 5.0
    """What a failed comparison gives both."""
    anchor: int = 0
    """Number in the group of the one that all are compared with."""
    rounds: int | None = None
    """Of the Swiss system at most; None: ceil(log2 N)."""
    byes: Literal["bracket", "code"] = "bracket"
    """Free rounds of the best where N is no power of 2: as brackets have them, or as the code."""
    undecided: Literal["zero", "seed"] = "zero"
    """Where all comparisons are ties: 0 for all, or by the order of the group."""
    normalize: Literal["zscore", "rank"] = "zscore"
    """Standardise r, or give r itself."""
    output = "advantage"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.anchor < 0 or (self.rounds is not None and self.rounds < 1):
            raise ValueError(
                f"tournament_advantage: anchor = {self.anchor}, rounds = {self.rounds}; allowed: from 0, and from 1 or None"
            )
        if not math.isfinite(self.failed_score):
            raise ValueError(f"tournament_advantage: failed_score = {self.failed_score}, allowed is a finite number")

    @property
    def pool(self) -> Any:  # type: ignore[override]
        """Episodes of a task, or the joint episode."""
        return "joint" if self.over == "agents" else "task"

    @property
    def level(self) -> Level:
        """Always a group."""
        return Level.GROUP

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The score, if it is a fact."""
        return (self.key,) if self.key and not self.compare else ()

    def setup(self, rng: np.random.Generator) -> None:
        """Looks the judge up; ``_stats`` counts comparisons, calls of the judge, and failures."""
        self.seed = int(rng.integers(2**31))
        self._compare = use(self.compare) if self.compare else self._by_score
        if not callable(self._compare):
            raise ValueError(
                f"tournament_advantage: compare is {self._compare!r}, a function of two trajectories is expected"
            )
        self._stats: Counter[str] = Counter({"groups": 0, "comparisons": 0, "judge calls": 0, "failed calls": 0})
        self._log: list[Match] = []

    @property
    def matches(self) -> list[Match]:
        """The comparisons of the last group, in order: of whom, with what scores."""
        return list(self._log)

    def _by_score(self, a: Trajectory, b: Trajectory) -> tuple[float, float]:
        x, y = (float(number(t.infos[-1][self.key])) if self.key else float(t.rewards.sum()) for t in (a, b))
        return x, y

    def group(self, group: Group) -> list[Floats]:
        """The advantage of each episode, repeated over its steps."""
        n = len(group)
        self._log = []
        self._stats["groups"] += 1
        if n < 2:
            return [np.zeros(len(t)) for t in group]
        if self.anchor >= n and self.topology in ("anchor", "seeded_single"):
            raise ValueError(f"tournament_advantage: anchor = {self.anchor}, but the group has {n} episodes")
        returns = np.array([t.rewards.sum() for t in group])
        drawn = zlib.crc32(f"{group[0].meta.get('task')} {returns.tolist()}".encode())
        rng = np.random.default_rng([self.seed, drawn])
        r = getattr(self, f"_{self.topology}")(group, rng)
        if self.undecided == "zero" and all(x == y for _, _, x, y in self._log):
            r = np.zeros(n)
        a = zscore(r, 1, 1e-6) if self.normalize == "zscore" else r
        return [np.full(len(t), x) for t, x in zip(group, a)]

    def _meet(self, group: Group, i: int, j: int) -> tuple[float, float]:
        """Scores of episodes i and j, i shown first (and then last)."""
        x = y = 0.0
        for turned in (False, True)[: 1 + self.bidirectional]:
            first, second = (j, i) if turned else (i, j)
            said = self._compare(group[first], group[second])
            p, q = (math.nan, math.nan) if said is None else (math.nan if s is None else float(s) for s in said)
            self._stats["judge calls"] += 1
            if not (math.isfinite(p) and math.isfinite(q)):
                self._stats["failed calls"] += 1
                p = q = self.failed_score
            x, y = (x + q, y + p) if turned else (x + p, y + q)
        self._stats["comparisons"] += 1
        self._log.append((i, j, x, y))
        return x, y

    # -- topologies: (N,) rewards r in [0, 1] ------------------------------------------------------
    def _against_anchor(self, group: Group) -> list[float]:
        out, own = [0.0] * len(group), []
        for i in range(len(group)):
            if i != self.anchor:
                out[i], of_anchor = self._meet(group, i, self.anchor)
                own.append(of_anchor)
        out[self.anchor] = sum(own) / len(own)
        return out

    def _anchor(self, group: Group, rng: np.random.Generator) -> Floats:
        return by_rank(self._against_anchor(group))

    def _round_robin(self, group: Group, rng: np.random.Generator) -> Floats:
        wins = [0.0] * len(group)
        for i in range(len(group)):
            for j in range(i + 1, len(group)):
                x, y = self._meet(group, i, j)
                wins[i] += 0.5 * (x >= y) + 0.5 * (x > y)
                wins[j] += 0.5 * (y >= x) + 0.5 * (y > x)
        return by_rank(wins)

    def _seeded_single(self, group: Group, rng: np.random.Generator) -> Floats:
        n = len(group)
        points = [[x] for x in self._against_anchor(group)]
        seeds = sorted(range(n), key=lambda i: -points[i][0])
        bracket = [0]
        while len(bracket) < n:
            bracket = [k for b in bracket for k in (b, 2 * len(bracket) - 1 - b)]
        alive: list[int | None] = [seeds[k] if k < n else None for k in bracket]
        if self.byes == "code":
            alive = [i for i in alive if i is not None]
        out: list[list[int]] = []
        while len(alive) > 1:
            if len(alive) % 2:  # only without a standard bracket: who is left over goes first
                alive = [alive[-1], None, *alive[:-1]]
            after, losers = [], []
            for i, j in zip(alive[::2], alive[1::2]):
                if i is None or j is None:
                    after.append(i if j is None else j)
                    continue
                winner, loser = self._play(group, i, j, points)
                after.append(winner)
                losers.append(loser)
            out.append(losers)
            alive = after
        order = [i for i in alive if i is not None]
        for losers in reversed(out):
            order += sorted(losers, key=lambda i: -sum(points[i]) / len(points[i]))
        return by_order(order)

    def _play(self, group: Group, i: int, j: int, points: list[list[float]]) -> tuple[int, int]:
        x, y = self._meet(group, i, j)
        points[i].append(x)
        points[j].append(y)
        return (i, j) if x >= y else (j, i)

    def _double(self, group: Group, rng: np.random.Generator) -> Floats:
        n = len(group)
        points: list[list[float]] = [[] for _ in range(n)]

        def a_round(players: list[int]) -> tuple[list[int], list[int]]:
            drawn = [players[k] for k in rng.permutation(len(players))]
            pairs = [self._play(group, i, j, points) for i, j in zip(drawn[::2], drawn[1::2])]
            return drawn[len(pairs) * 2 :] + [w for w, _ in pairs], [x for _, x in pairs]

        winners, drops = list(range(n)), []
        while len(winners) > 1:
            winners, losers = a_round(winners)
            drops.append(losers)
        second: list[int] = []
        out: list[list[int]] = []
        for new in [*drops, *[[]] * n]:  # those who fall out of the upper bracket come in round by round
            second += new
            if len(second) > 1:
                second, losers = a_round(second)
                out.append(losers)
        order = list(self._play(group, winners[0], second[0], points))
        for losers in reversed(out):
            order += sorted(losers, key=lambda i: -sum(points[i]) / len(points[i]))
        return by_order(order)

    def _swiss(self, group: Group, rng: np.random.Generator) -> Floats:
        n = len(group)
        points, met = [0.0] * n, [set[int]() for _ in range(n)]
        for _ in range(min(self.rounds or math.ceil(math.log2(n)), n - 1)):
            free = sorted(rng.permutation(n).tolist(), key=lambda i: -points[i])
            if n % 2:
                points[free.pop()] += 1.0
            pairs = []
            while free:
                i = free.pop(0)
                j = next((j for j in free if j not in met[i]), free[0])
                free.remove(j)
                pairs.append((i, j))
            for i, j in pairs:
                x, y = self._meet(group, i, j)
                points[i] += 0.5 * (x >= y) + 0.5 * (x > y)
                points[j] += 0.5 * (y >= x) + 0.5 * (y > x)
                met[i].add(j)
                met[j].add(i)
        rows = [(points[i], sum(points[j] for j in sorted(met[i]))) for i in range(n)]
        order = sorted(range(n), key=lambda i: rows[i], reverse=True)
        alone = by_order(order)
        return np.array([np.mean([alone[j] for j in range(n) if rows[j] == rows[i]]) for i in range(n)], np.float64)


def by_order(order: Sequence[int]) -> Floats:
    """``(N,)`` 1 for the first of ``order``, 0 for the last."""
    out = np.zeros(len(order))
    out[list(order)] = 1.0 - np.arange(len(order)) / (len(order) - 1)
    return out


def by_rank(scores: Sequence[float]) -> Floats:
    """``(N,)`` the same of scores; equal ones share their best rank, and the last rank has 0. All equal: 0."""
    rank = np.array([sum(y > x for y in scores) for x in scores], np.float64)
    return (rank.max() - rank) / rank.max() if rank.max() else rank

"""The rules of ``commons`` on arrays: many games at once, without a loop over games or agents.

Harvest (Perolat et al. 2017, arXiv 1707.06600; Hughes et al. 2018, arXiv 1803.08884). On a square without an apple where
one can grow, one grows in a cycle with probability

    p(L) = growth * (0 if L = 0; 0.01 if L is 1 or 2; 0.05 if L is 3 or 4; 0.1 if L > 4)

where L is the number of apples on the 12 squares at most 2 away (Euclidean): who takes the last apples of a patch ends it.

Clean-up (Hughes et al. 2018). d is the share of the river's squares with waste. On each orchard square without an apple,
and on each clean river square, in a cycle

    P(apple) = 0.05 * growth * min(1, max(0, 1 - d / 0.4))
    P(waste) = pollution / river squares, as long as d < 0.4

so that the more waste the fewer apples, and from 40 % on none; the river begins with more waste than that and the orchard
empty. The published implementations put one waste square with probability 0.5 a step; ours draws for each square, so that
games need no list of free ones.

The beam that tags (Leibo et al. 2017, arXiv 1702.03037) hits the first agent of ``reach`` squares ahead, who is off the
map for ``timeout`` cycles. Outcomes are Perolat et al.'s (section 2.3), of returns R_i counted in apples:

    efficiency U = sum_i R_i / T              equality E = 1 - sum_ij |R_i - R_j| / (2 N sum_i R_i)
    sustainability S = mean_i of the mean cycle in which i got its apples      peace P = N - time-outs of all / T

From where: the structure is the papers', p(L), 0.05 and 0.4 are theirs or those of their public re-implementations,
written from memory [I]. Ours: the map's size, ``growth``, ``pollution``, four directions, what is blocked, and that a
clean takes the waste of the square and of the eight around it.

Chance has no generator: the number for a square is a hash of the game's key, the cycle and the square. So a game of a
batch is the same alone, a state is its arrays, and a replay with another action has the same luck on all squares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import one_of
from ..text.base import whole
from .commons_maps import BALL, Kind, Layout

Bools = NDArray[np.bool_]
Ints = NDArray[np.signedinteger[Any]]
UP, DOWN, LEFT, RIGHT, STAY, TOOL = range(6)
ACTIONS = 6
APPLE, WASTE, AGENT, WALL = 1, 2, 4, 8  # bits of a square in a view
DEPLETION = 0.4  # share of waste from which on nothing grows
ORCHARD = 0.05  # P(apple) at a clean river
TABLE = (0.0, 0.01, 0.01, 0.05, 0.05, *(0.1,) * 8)  # p(L)


@dataclass(frozen=True)
class Rules:
    """Settings of the dynamics.

    Raises:
        ValueError: a setting is not allowed; names it and what is.
    """

    kind: Kind = "harvest"
    players: int = 4
    """2 to 16."""
    size: int = 12
    """Side of the square map, 8 to 40."""
    view: int = 3
    """Squares that an agent sees in each direction, 2 to 7."""
    timeout: int = 5
    """Cycles off the map of who was tagged; 0: nobody can tag. Harvest alone."""
    reach: int = 3
    """Squares of the beam, at most ``view``."""
    growth: float = 2.0
    """Factor of the growth of apples, over 0 to 10."""
    pollution: float = 0.5
    """Waste squares that a clean river gets in a cycle, 0 to 10."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise one_of("kind", self.kind, get_args(Kind))
        for name, low, high in (("players", 2, 16), ("size", 8, 40), ("view", 2, 7), ("timeout", 0, 100)):
            object.__setattr__(self, name, whole(name, getattr(self, name), low, high))
        object.__setattr__(self, "reach", whole("reach", self.reach, 1, self.view))
        for name, least in (("growth", "over 0"), ("pollution", "from 0")):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 <= value <= 10 or (not value and least == "over 0"):
                raise ValueError(f"{name} is {value!r}; allowed: a number {least} to 10")
            object.__setattr__(self, name, float(value))


@dataclass
class State:
    """B games of N agents; squares are numbered row by row on the map with its border, P in all."""

    key: NDArray[np.uint64]
    """(B,) of the games' luck."""
    site: Bools
    """(B, P) where apples can grow."""
    river: Bools
    """(B, P) where waste can."""
    home: Ints
    """(B, N) squares on which agents begin and come back."""
    apples: Bools
    """(B, P)."""
    waste: Bools
    """(B, P)."""
    who: NDArray[np.int8]
    """(B, P) the agent there, or -1."""
    pos: Ints
    """(B, N) squares; 0: off the map."""
    face: Ints
    """(B, N) the last direction, as an action."""
    out: Ints
    """(B, N) cycles of the time-out that are left."""
    harvest: Ints
    """(B, N) apples so far."""
    when: Ints
    """(B, N) sum of the cycles in which they were taken."""
    away: Ints
    """(B, N) cycles off the map."""
    t: int = 0

    def copy(self) -> State:
        """Another state; what never changes is shared."""
        fixed = ("key", "site", "river", "home", "t")
        return State(**{k: v if k in fixed else v.copy() for k, v in vars(self).items()})

    def __deepcopy__(self, memo: Any) -> State:
        return self.copy()


class Did(NamedTuple):
    """What happened in a cycle, (B, N) each."""

    got: Bools
    """Ate an apple."""
    used: Bools
    """Tagged or cleaned."""
    hit: Bools
    """Was tagged."""


def _mix(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """A 32-bit hash in place (the ``lowbias32`` finaliser): every bit depends on every bit."""
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return x


def _count(field: Bools) -> NDArray[np.uint16]:
    """Squares of (B, P) that are true, (B,): several times faster than ``np.count_nonzero`` along an axis."""
    found: NDArray[np.uint16] = field.view(np.uint8).sum(1, dtype=np.uint16)
    return found


def _chance(p: Any) -> NDArray[np.uint32]:
    """Probabilities as thresholds of 32-bit numbers."""
    return np.minimum(np.asarray(p, np.float64) * 2.0**32, 2.0**32 - 1).astype(np.uint32)


class Core:
    """The dynamics of one set of rules.

    Args:
        rules: the settings.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.pad = max(2, rules.view)
        self.width = w = rules.size + 2 * self.pad
        self.delta = np.array([-w, w, -1, 1, 0, 0], np.int32)
        border = np.ones((w, w), bool)
        border[self.pad : -self.pad, self.pad : -self.pad] = False
        self.wall = border.ravel()
        self.inner = np.flatnonzero(~self.wall)
        v = np.arange(-rules.view, rules.view + 1)
        self.window = (v[:, None] * w + v).ravel().astype(np.int32)  # squares of a view
        self.near = np.array([0, -w, w, -1, 1, -w - 1, -w + 1, w - 1, w + 1], np.int32)  # squares of a clean
        self._squares = _mix(np.arange(1, rules.size**2 + 1, dtype=np.uint32))
        self._table = _chance(np.minimum(1.0, rules.growth * np.array(TABLE)))
        rank = (np.arange(rules.players)[None, :] - np.arange(rules.players)[:, None]) % rules.players  # [cycle, agent]
        self._before = rank[:, None, :] < rank[:, :, None]  # [cycle, i, j]: j comes before i
        self._agents = np.arange(rules.players, dtype=np.int32)

    def begin(self, layouts: list[Layout]) -> State:
        """Games on maps, one each."""
        b, n, p = len(layouts), self.rules.players, len(self.wall)

        def fields(name: str) -> Bools:
            out = np.zeros((b, p), bool)
            out[:, self.inner] = [getattr(x, name) for x in layouts]
            return out

        home = self.inner[np.array([x.home for x in layouts])].astype(np.int32)
        who = np.full((b, p), -1, np.int8)
        np.put_along_axis(who, home, np.broadcast_to(self._agents.astype(np.int8), (b, n)), 1)
        kept: dict[str, Any] = {k: np.zeros((b, n), np.int32) for k in ("face", "out", "harvest", "when", "away")}
        kept |= {k: fields(k) for k in ("site", "river", "apples", "waste")}
        keys = np.array([x.key for x in layouts], np.uint64)
        return State(key=keys, home=home, pos=home.copy(), who=who, **kept)

    def step(self, s: State, actions: Any) -> Did:
        """One cycle, in place: beams, moves, apples, growth, time-outs.

        Agents that want the same square: the one whose turn it is to be first has it, by cycle. A square on which an agent
        stood when the cycle began is blocked.

        Args:
            s: the state.
            actions: (B, N) whole numbers 0 to 5.

        Raises:
            ValueError: actions of another shape, or others.
        """
        a = np.asarray(actions)
        if a.shape != s.pos.shape or a.dtype.kind not in "iu" or a.min() < 0 or a.max() >= ACTIONS:
            raise ValueError(f"actions are whole numbers 0 to 5 of shape {s.pos.shape}")
        here = s.pos > 0
        used, hit = here & (a == TOOL), np.zeros(a.shape, bool)
        if self.rules.kind == "harvest" and not self.rules.timeout:
            used[:] = False
        if used.any():
            self._clean(s, used) if self.rules.kind == "cleanup" else self._tag(s, used, hit)
        lanes = np.arange(len(a), dtype=np.int64)[:, None] * len(self.wall)
        moving = here & ~hit & (a < STAY)
        np.copyto(s.face, a, where=moving, casting="unsafe")
        target = s.pos + self.delta[a]
        who, apples = s.who.reshape(-1), s.apples.reshape(-1)
        moving &= ~self.wall.take(target) & (who.take(lanes + target) < 0)
        want = np.where(moving, target, -1 - self._agents)
        clash = (want[:, :, None] == want[:, None, :]) & self._before[s.t % self.rules.players]
        moving &= ~clash.any(2)
        who[(lanes + s.pos)[moving]] = -1
        np.copyto(s.pos, target, where=moving)
        at = lanes + s.pos
        who[at[moving]] = np.broadcast_to(self._agents, a.shape)[moving]
        got = apples.take(at)
        apples[at[got]] = False
        self._grow(s)
        s.t += 1
        s.harvest += got
        s.when += got * np.int32(s.t)
        if self.rules.timeout and self.rules.kind == "harvest":
            s.away += ~here
            self._return(s)
        return Did(got, used, hit)

    def _tag(self, s: State, used: Bools, hit: Bools) -> None:
        lane, agent = np.nonzero(used)
        cell, ahead = s.pos[lane, agent], self.delta[s.face[lane, agent]]
        for _ in range(self.rules.reach):
            cell = cell + ahead
            there = np.where(self.wall[cell], np.int8(-1), s.who[lane, cell])
            hit[lane[there >= 0], there[there >= 0]] = True
            ahead = np.where(
                self.wall[cell] | (there >= 0), 0, ahead
            )  # the beam ends there; a second hit changes nothing
        lane, agent = np.nonzero(hit)
        s.who[lane, s.pos[lane, agent]] = -1
        s.pos[lane, agent] = 0
        s.out[lane, agent] = self.rules.timeout + 1

    def _clean(self, s: State, used: Bools) -> None:
        lane, agent = np.nonzero(used)
        s.waste[lane[:, None], s.pos[lane, agent][:, None] + self.near] = False

    def _return(self, s: State) -> None:
        np.maximum(s.out - 1, 0, out=s.out)
        lane, agent = np.nonzero((s.pos == 0) & (s.out == 0))
        if len(lane):
            home = s.home[lane, agent]
            free = s.who[lane, home] < 0
            lane, agent, home = lane[free], agent[free], home[free]
            s.pos[lane, agent] = home
            s.who[lane, home] = agent

    def middle(self, field: NDArray[Any]) -> NDArray[Any]:
        """(B, P) without the border: (B, size, size), a view."""
        m = slice(self.pad, -self.pad)
        return field.reshape(-1, self.width, self.width)[:, m, m]

    def around(self, s: State) -> NDArray[np.uint8]:
        """L of every square, (B, size, size)."""
        grid = s.apples.view(np.uint8).reshape(-1)
        out = np.zeros_like(grid)
        edge = 2 * self.width + 2  # the border keeps games apart, so that all can be shifted as one
        for dy, dx in BALL:
            shift = dy * self.width + dx
            out[edge:-edge] += grid[edge + shift : len(grid) - edge + shift]
        return self.middle(out)

    def dirt(self, s: State) -> NDArray[np.float64]:
        """Share of waste of each game, d, (B,)."""
        dirt: NDArray[np.float64] = _count(s.waste) / np.maximum(1, _count(s.river))
        return dirt

    def _luck(self, s: State) -> NDArray[np.uint32]:
        """(B, size, size) 32-bit numbers."""
        z = s.key + np.uint64((s.t + 1) * 0x9E3779B97F4A7C15 % 2**64)  # splitmix64
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        game = (z >> np.uint64(32)).astype(np.uint32)
        return _mix(self._squares ^ game[:, None]).reshape(-1, self.rules.size, self.rules.size)

    def _grow(self, s: State) -> None:
        luck, apples, free = self._luck(s), self.middle(s.apples), self.middle(s.who) < 0
        if self.rules.kind == "harvest":
            apples |= (luck < self._table.take(self.around(s))) & self.middle(s.site) & free
            return
        dirt = self.dirt(s)[:, None, None]
        rate = _chance(np.minimum(1.0, ORCHARD * self.rules.growth * np.clip(1.0 - dirt / DEPLETION, 0.0, 1.0)))
        flow = self.rules.pollution / np.maximum(1, _count(s.river))[:, None, None]
        spill = _chance(np.where(dirt < DEPLETION, np.minimum(1.0, flow), 0.0))
        apples |= (luck < rate) & self.middle(s.site) & free
        waste = self.middle(s.waste)
        waste |= (luck < spill) & self.middle(s.river)

    def views(self, s: State) -> NDArray[np.uint8]:
        """What agents see, (B, N, V, V) with V = 2 * view + 1: bits 1 apple, 2 waste, 4 another agent, 8 off the map.

        An agent that is off the map sees nothing: zeros.
        """
        code = s.apples.view(np.uint8) | (s.waste.view(np.uint8) << np.uint8(1))
        code |= (s.who >= 0).view(np.uint8) << np.uint8(2)
        code |= self.wall.view(np.uint8) << np.uint8(3)
        here = s.pos > 0
        lanes = np.arange(len(code), dtype=np.int64)[:, None] * len(self.wall)
        seen = code.reshape(-1).take((lanes + np.where(here, s.pos, s.home))[:, :, None] + self.window)
        seen[:, :, len(self.window) // 2] &= np.uint8(~AGENT & 0xFF)  # oneself
        seen *= here[:, :, None]
        v = 2 * self.rules.view + 1
        return seen.reshape(*s.pos.shape, v, v)

    def outcomes(self, s: State) -> dict[str, NDArray[np.float64]]:
        """Perolat et al.'s measures so far, (B,) each; without apples equality is 1 and sustainability 0."""
        r, n, t = s.harvest.astype(np.float64), self.rules.players, max(1, s.t)
        total = r.sum(1)
        apart = np.abs(r[:, :, None] - r[:, None, :]).sum((1, 2))
        return {
            "efficiency": total / t,
            "equality": 1.0 - apart / np.maximum(1.0, 2 * n * total),
            "sustainability": (s.when / np.maximum(1, s.harvest)).mean(1),
            "peace": n - s.away.sum(1) / t,
        }

"""A numeric social dilemma: harvest or clean-up, on the array core."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from .base import Game
from .commons_core import AGENT, APPLE, STAY, TOOL, WALL, WASTE, Core, Did, Rules, State
from .commons_maps import BALL, Kind, layout
from .commons_plans import POLICIES, plan, reference

MOVES = ("up", "down", "left", "right")
SHARE = 0.8  # of the reference harvest that is a success
_STEPS = ((-1, 0), (1, 0), (0, -1), (0, 1))
_BALL = np.array([[(y, x) in BALL for x in range(-2, 3)] for y in range(-2, 3)])
_GOALS = {"a quarter of the reference harvest": 0.25, "half of it": 0.5, f"{SHARE:.0%} of it": SHARE}
_GROWS = {
    "harvest": "Apples grow back the faster the more apples are within 2 squares; where none is left, none grows.",
    "cleanup": "The less waste is in the river, the faster apples grow in the orchard; from 40 % waste on, none grows.",
}


@dataclass
class World:
    """A state of the core with one game, and what agents chose in this cycle."""

    state: State
    reference: tuple[int, ...]
    side: int
    chosen: list[int]
    did: Did | None = None
    told: dict[int, str] = field(default_factory=dict)
    cache: dict[str, Any] = field(default_factory=dict)  # what follows from the state

    def __deepcopy__(self, memo: Any) -> World:
        return World(self.state.copy(), self.reference, self.side, [*self.chosen], self.did, dict(self.told))


class Commons(Game):
    """A numeric social dilemma: harvest or clean-up, on the array core.

    ## Description
    Agents walk on a square map, of which each sees a window, and eat apples. What is best for one is worst for all when
    all do it.

    - ``harvest`` (Perolat et al. 2017, arXiv 1707.06600; Hughes et al. 2018, arXiv 1803.08884): an apple grows back with a
      probability that rises with the apples within 2 squares, and is 0 without any: who takes the last ones ends a patch.
      A beam takes another agent off the map for some cycles.
    - ``cleanup`` (Hughes et al. 2018): apples grow in an orchard as long as the river is clean; waste comes all the time,
      and cleaning it earns nothing.

    Formulas are in ``commons_core``; numbers that are ours are marked there. The growth on a task is a function of the
    task, the cycle and the square: the same actions have the same luck, and so has a replay with another action. All act
    at once: agents choose, and the cycle's end moves all of them; agents that take turns do not see where those before
    them will go. Two who want the same square: the one whose turn it is to be first has it; an occupied square is
    blocked. ``commons_batch.BatchedCommons`` plays many of these games at once on arrays.

    ## Actions
    Text: ``up``, ``down``, ``left``, ``right`` (a step; an agent faces where it last went, also when it was blocked),
    ``tag`` (harvest: the first agent in the ``reach`` squares ahead is off the map for ``timeout`` cycles and loses what
    it does in this one), ``clean`` (clean-up: takes the waste of the square and the eight around), ``wait`` or ``stay``.
    Objects do as well: ``{"move": "up"}``, ``{"action": "tag"}``. Encoded: the index of a row; ``tag`` and ``clean`` have
    a row where they would do something.

    ## Observations
    Text: the nearest apple, what is on the four squares around, where the agent is, and the window as a map. Encoded:
    ``ArrayFace``; gauges are the window (apples, waste, others and the outside, ``4 * (2 * view + 1) ** 2`` numbers) and
    ten of the agent (facing, place, cycle, time-out, direction of the river); measures of a row are the apple on the
    square, the share of apples around it, whether it is occupied, whether the nearest apple in sight comes closer, the
    waste in reach from there, and whether it is ``tag`` or ``clean``.

    ## Rewards
    ``apples``: 1 for each; ``tag`` and ``clean``: -1 for each use, with weight 0.1. Team term, with weight 0 by default:
    ``team_harvest``, the apples of all in this cycle.

    ## Episode end
    Truncated after ``max_cycles`` cycles. ``success``, of the team: its harvest is at least 80 % of the reference, that
    is of what all-oracle play harvests on this task. ``score``: the agent's apples as a share of what it has in the
    reference, at most 1 (in one of 150 tasks of clean-up an agent has none there; its share is then of 1 apple). The stated
    maximum is the reference, that all-oracle play reaches by definition; it is no bound: better plans may harvest somewhat
    more, which pays but does not count in the score. Agents that play together can harvest no more than what grows;
    ``collusion`` is the oracle's play. Waiting earns 0.

    Apples of the team by default, means over 1,000 tasks: harvest, all-oracle 118, all-greedy 70, chance 27; clean-up,
    all-oracle 42, all-greedy 0, chance 0.3. One greedy agent among oracles has, in clean-up, 12.6 apples where an oracle among
    oracles has 10.6, and costs the team 11; in harvest 28.3 against 26 of the others, which is more than an oracle has among
    oracles only from six agents on (23.2 against 21.3, over 300 tasks).

    ## Information
    Besides the contract ``apples`` (own), ``team_harvest``, and Perolat et al.'s measures so far: ``efficiency`` (apples
    a cycle), ``equality`` (1 - Gini), ``sustainability`` (mean cycle of an apple), ``peace`` (players less time-outs a
    cycle); in ``meta``, ``reference_harvest``.

    Args:
        kind: ``harvest`` or ``cleanup``.
        players: 2 to 16.
        size: side of the map, 8 to 40.
        view: squares that an agent sees in each direction, 2 to 7.
        timeout: cycles off the map of who was tagged; 0: no tagging. Harvest alone.
        reach: squares of the beam, at most ``view``.
        growth: factor of the growth of apples, over 0 to 10. The papers' games have 1,000 cycles, these 50: 2 by default.
        pollution: waste squares that a clean river gets in a cycle, 0 to 10.
        max_cycles, weights, split, worlds, expose_reference, max_length, render_mode: as ``Game``.

    Raises:
        ValueError: a setting is not allowed; names it.

    ## Version history
    v0: first version.
    """

    name = "commons"
    own_terms = ("apples", "tag", "clean")
    team_terms = ("team_harvest",)
    default_weights: ClassVar[Mapping[str, float]] = {"apples": 1.0, "tag": 0.1, "clean": 0.1}
    policies = POLICIES
    measures = 6

    def __init__(
        self,
        *,
        kind: Kind = "harvest",
        players: int = 4,
        size: int = 12,
        view: int = 3,
        timeout: int = 5,
        reach: int = 3,
        growth: float = 2.0,
        pollution: float = 0.5,
        max_cycles: int = 50,
        **others: Any,
    ) -> None:
        self.rules = Rules(kind, players, size, view, timeout, reach, growth, pollution)
        super().__init__([f"picker_{k}" for k in range(self.rules.players)], max_cycles=max_cycles, **others)
        self.core = Core(self.rules)
        self.span = 2 * self.rules.view + 1
        self.gauges = 4 * self.span**2 + 10
        self.tool = "clean" if self.rules.kind == "cleanup" else "tag" if self.rules.timeout else ""

    # -- rules -----------------------------------------------------------------------------------
    def _begin(self, task: int) -> World:
        r = self.rules
        field_ = layout(r.kind, r.size, r.players, task)
        return World(
            self.core.begin([field_]), reference(r, self.max_cycles, task), field_.side, [STAY] * self.rules.players
        )

    def _me(self, agent: str) -> int:
        return self.possible_agents.index(agent)

    def _act(self, agent: str, command: str) -> bool:
        world, me = self.world, self._me(agent)
        world.chosen[me] = STAY
        self._waits(agent)
        word = _word(command)
        if word in ("stay", "wait"):
            return True
        if world.state.pos[0, me] == 0:
            world.told[me] = "you are off the map and can only wait"
        elif word in MOVES:
            dy, dx = _STEPS[MOVES.index(word)]
            if self._view(me)[self.rules.view + dy, self.rules.view + dx] & WALL:
                world.told[me] = f"the map ends {word} of you"
            else:
                world.chosen[me] = MOVES.index(word)
                return True
        elif word and word == self.tool:
            world.chosen[me] = TOOL
            return True
        else:
            world.told[me] = f"say {', '.join(filter(None, (*MOVES, self.tool)))} or wait"
        return False

    def _waits(self, agent: str) -> None:
        self.world.told.pop(self._me(agent), None)

    def _cycle(self) -> None:
        world = self.world
        world.did = self.core.step(world.state, np.array([world.chosen]))
        world.chosen = [STAY] * self.rules.players
        world.cache = {}
        for k in np.flatnonzero(world.did.hit[0]).tolist():
            world.told[k] = "you were tagged"

    def _gone(self) -> Sequence[str]:
        return ()

    def _terms(self, agent: str) -> Mapping[str, float]:
        did, me = self.world.did, self._me(agent)
        used = 0.0 - float(did.used[0, me])  # no -0.0
        tool = {self.tool: used} if self.tool else {}
        return {"apples": float(did.got[0, me]), "team_harvest": float(did.got.sum())} | tool

    def _facts(self, agent: str) -> dict[str, Any]:
        world, me = self.world, self._me(agent)
        if "facts" not in world.cache:
            facts: dict[str, Any] = {k: float(v[0]) for k, v in self.core.outcomes(world.state).items()}
            share = (total := int(world.state.harvest.sum())) / max(1, sum(world.reference))
            facts |= {"team_harvest": total, "success": share >= SHARE, "progress": min(1.0, share)}
            world.cache["facts"] = facts | {"goals": {k: share >= v for k, v in _GOALS.items()}}
        facts, apples = dict(world.cache["facts"]), int(world.state.harvest[0, me])
        facts["subgoals"] = dict(facts.pop("goals"))
        facts |= {"apples": apples, "score": min(1.0, apples / max(1, world.reference[me])), "max_score": 1.0}
        return facts | {"message": world.told.get(me, "")}

    def _meta(self) -> dict[str, Any]:
        return {"reference_harvest": sum(self.world.reference)}

    # -- what agents see -------------------------------------------------------------------------
    def _view(self, me: int) -> Any:
        """(V, V) bits of the squares in sight; zeros off the map."""
        cache = self.world.cache
        if "views" not in cache:
            cache["views"] = self.core.views(self.world.state)[0]
        return cache["views"][me]

    def _others(self, me: int) -> dict[tuple[int, int], int]:
        """Who is in sight: steps down and right -> agent."""
        cache, v = self.world.cache, self.rules.view
        if f"others {me}" not in cache:
            y, x = self._at(me)
            away = {(b - y, c - x): k for k, (b, c) in enumerate(map(self._at, range(self.rules.players))) if k != me}
            cache[f"others {me}"] = {(dy, dx): k for (dy, dx), k in away.items() if -v <= dy <= v and -v <= dx <= v}
        found: dict[tuple[int, int], int] = cache[f"others {me}"]
        return found

    def _at(self, me: int) -> tuple[int, int]:
        """Row and column, from 1; off the map, ones that nobody sees."""
        if "places" not in self.world.cache:
            y, x = np.divmod(self.world.state.pos[0], self.core.width)
            places = np.where(self.world.state.pos[0] > 0, (y, x), -9) - self.core.pad + 1
            self.world.cache["places"] = list(map(tuple, places.T.tolist()))
        found: tuple[int, int] = self.world.cache["places"][me]
        return found

    def _ahead(self, me: int) -> int:
        """The agent that a beam would hit, or -1."""
        dy, dx = _STEPS[int(self.world.state.face[0, me])]
        others = self._others(me)
        return next((others[at] for k in range(1, self.rules.reach + 1) if (at := (k * dy, k * dx)) in others), -1)

    def _nearest(self, me: int) -> list[tuple[int, int]]:
        """Apples in sight, the nearest first: steps down and right."""
        v = self.rules.view
        apples = [(y - v, x - v) for y, x in np.argwhere(self._view(me) & APPLE).tolist()]
        return sorted(apples, key=lambda a: (abs(a[0]) + abs(a[1]), a))

    def _dirt(self, me: int, dy: int = 0, dx: int = 0) -> int:
        """Waste that a clean would take from there."""
        y, x = self.rules.view + dy, self.rules.view + dx
        return int(np.count_nonzero(self._view(me)[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] & WASTE))

    def _look(self, agent: str) -> str:
        me = self._me(agent)
        s, v, r = self.world.state, self.rules.view, self.rules
        cycle = f"Cycle {min(s.t + 1, self.max_cycles)} of {self.max_cycles}. You have {int(s.harvest[0, me])} apples."
        last = [f"Last: {told}."] if (told := self.world.told.get(me)) else []
        if not s.pos[0, me]:
            back = max(1, int(s.out[0, me]))
            off = f"You are off the map and come back in {back} cycles."
            return "\n".join([off, f"You are {agent}. {cycle}", *last, "Answer with: wait"])
        near, view, others = self._nearest(me), self._view(me), self._others(me)
        names = {at: self.possible_agents[k] for at, k in others.items()}

        def square(at: tuple[int, int]) -> str:
            bits = int(view[v + at[0], v + at[1]])
            return names.get(at) or (
                "edge" if bits & WALL else "apple" if bits & APPLE else "waste" if bits & WASTE else "free"
            )

        nearest = f"Nearest apple: {_way(*near[0])} ({len(near)} in sight)." if near else "No apple is in sight."
        around = ", ".join(f"{m} {square(at)}" for m, at in zip(MOVES, _STEPS))
        row, column = self._at(me)
        lines = [
            nearest,
            f"Around you: {around}.",
            f"You are {agent} at row {row}, column {column} of {r.size} by {r.size}, facing {MOVES[int(s.face[0, me])]}.",
            cycle,
        ]
        if self.tool == "tag":
            hit = self._ahead(me)
            lines.append(f"To tag ahead: {self.possible_agents[hit] if hit >= 0 else 'nobody'}.")
        elif self.tool:
            lines.append(f"Waste to clean here: {self._dirt(me)}. The river is {MOVES[self.world.side]}.")
        if names:
            lines.append("In sight: " + "; ".join(f"{n} {_way(*at)}" for at, n in sorted(names.items())) + ".")
        lines.append(_GROWS[r.kind])
        marks = [["#" if b & WALL else "P" if b & AGENT else "A" if b & APPLE else "w" if b & WASTE else "." for b in row_]
                 for row_ in view.tolist()]  # fmt: skip
        marks[v][v] = "Y"
        lines += [*last, "Map (Y you, P picker, A apple, w waste, # outside):", *map("".join, marks)]
        return "\n".join([*lines, f"Answer with: {' | '.join(filter(None, (*MOVES, self.tool, 'wait')))}"])

    def _scene(self) -> str:
        s, core = self.world.state, self.core
        grids = [core.middle(x)[0].tolist() for x in (s.who, s.apples, s.waste)]
        rows = [
            "".join(
                f"{who:x}" if who >= 0 else "A" if apple else "w" if waste else "." for who, apple, waste in zip(*row)
            )
            for row in zip(*grids)
        ]
        return "\n".join([f"{self.name}-{self.task}, cycle {self.cycle}, apples {s.harvest[0].tolist()}", *rows])

    def _choices(self, agent: str) -> Sequence[str]:
        me, view, v = self._me(agent), self._view(self._me(agent)), self.rules.view
        if not self.world.state.pos[0, me]:
            return ()
        found = [m for m, (dy, dx) in zip(MOVES, _STEPS) if not view[v + dy, v + dx] & WALL]
        useful = self._dirt(me) > 0 if self.tool == "clean" else bool(self.tool) and self._ahead(me) >= 0
        return [*found, self.tool] if useful else found

    def _measures(self, agent: str, choices: Sequence[str]) -> Any:
        me, v = self._me(agent), self.rules.view
        view, near = self._view(me), self._nearest(me)
        apples = np.pad((view & APPLE) > 0, 2)
        out = np.zeros((len(choices), self.measures), np.float32)
        for row, command in zip(out, choices):
            dy, dx = _STEPS[MOVES.index(command)] if command in MOVES else (0, 0)
            bits = int(view[v + dy, v + dx])
            around = np.count_nonzero(apples[v + dy : v + dy + 5, v + dx : v + dx + 5] & _BALL)
            closer = abs(near[0][0]) + abs(near[0][1]) - abs(near[0][0] - dy) - abs(near[0][1] - dx) if near else 0
            row[:] = (
                bool(bits & APPLE), around / len(BALL), bool(bits & AGENT), closer,
                self._dirt(me, dy, dx) / 9, command == self.tool,
            )  # fmt: skip
        return out

    def _gauges(self, agent: str) -> Any:
        me, s = self._me(agent), self.world.state
        view = self._view(me)
        planes = [(view & bit).ravel() > 0 for bit in (APPLE, WASTE, AGENT, WALL)]
        here, side = bool(s.pos[0, me]), self.world.side
        place = [a / self.rules.size if here else 0.0 for a in self._at(me)]
        facing = [float(here and k == s.face[0, me]) for k in range(4)]
        river = _STEPS[side] if side >= 0 else (0, 0)
        out = min(1.0, int(s.out[0, me]) / max(1, self.rules.timeout))
        own = [*facing, *place, min(1.0, s.t / self.max_cycles), out, *river]
        return np.concatenate([*planes, np.array(own)]).astype(np.float32)

    # -- scripts ---------------------------------------------------------------------------------
    def _script(self, agent: str, policy: str) -> str:
        """See ``commons_plans.plan``."""
        cache, me = self.world.cache, self._me(agent)
        if policy not in cache:
            cache[policy] = plan(self.core, self.world.state, policy, self.max_cycles)[0].tolist()
        return (*MOVES, "wait", self.tool)[cache[policy][me]]


def _way(dy: int, dx: int) -> str:
    """Steps in words: ``up 1, right 2``."""
    parts = [f"{'down' if dy > 0 else 'up'} {abs(dy)}"] if dy else []
    return ", ".join([*parts, f"{'right' if dx > 0 else 'left'} {abs(dx)}"] if dx else parts) or "here"


def _word(command: str) -> str:
    """``{"move": "up"}`` and ``move up`` as ``up``."""
    if command.startswith("{"):
        try:
            command = next(iter(json.loads(command).values()))
        except (ValueError, RecursionError, StopIteration):
            return ""
        if not isinstance(command, str):
            return ""
    return command.strip().lower().removeprefix("move ").removeprefix("go ")[:16]

"""A planner over the masks of ``textworld_logic``: how far is victory from here, and by which commands?

TextWorld's own policy is the walkthrough, repaired after every step, so its length depends on the path: in a map with a
loop one and the same state has policies of 3, 5 and 7 commands, and with limited hands (``drop``) there is none. A
potential must be a function of the state, so the distance is computed from the state alone.
"""

from __future__ import annotations

import heapq
from itertools import count

from .textworld_logic import Logic, Rule, union


class Planner:
    """Remaining number of commands to victory, and the commands.

    ``exact``: at most ``limit`` situations can matter, and distances are shortest paths over them. Otherwise the distance
    is the length of a relaxed plan (nothing is ever removed; the heuristic of FF, Hoffmann and Nebel 2001) and commands
    come from a greedy best-first search with it.

    Args:
        logic: the game.
        limit: largest number of situations for exact distances.
        patience: largest number of expansions of the greedy search.
    """

    def __init__(self, logic: Logic, limit: int = 3000, patience: int = 20_000) -> None:
        self.logic, self.patience = logic, patience
        wins = union(m for q in logic.quests for m in q.win)
        fails = union(m for q in logic.quests for m in q.fail)
        rules = _without_detours(_meant(logic.rules), wins, fails)
        needed = union(m for q in logic.quests if q.required for m in q.win)
        kept: list[Rule] = []
        while more := [r for r in rules if r.add & needed]:  # backwards from the goal
            kept += more
            rules = [r for r in rules if not r.add & needed]
            needed |= union(r.pre for r in more)
        order = {id(r): i for i, r in enumerate(logic.rules)}
        self.rules = sorted(kept, key=lambda r: order[id(r)])
        self._relevant = needed | wins | fails | union(logic.done(i) for i in range(len(logic.quests)))
        self._exact: dict[int, int | None] = {}
        self._relaxed: dict[int, int | None] = {}
        self.exact = self._explore(logic.start & self._relevant, limit)
        if not self.exact:
            self._exact.clear()

    def length(self, state: int) -> int | None:
        """Commands to victory: 0 when won, None when it cannot be won any more."""
        state &= self._relevant
        if self.exact:
            if state not in self._exact:
                if len(self._exact) > 200_000:  # the distances are the same when they are computed again
                    self._exact.clear()
                self._explore(state, None)
            return self._exact[state]
        if state not in self._relaxed:
            if len(self._relaxed) > 200_000:
                self._relaxed.clear()
            self._relaxed[state] = self._estimate(state)[0]
        return self._relaxed[state]

    def plan(self, state: int) -> list[Rule]:
        """The steps of a plan from ``state``; empty when there is none, or none was found."""
        state &= self._relevant
        if not self.exact:
            return self._greedy(state)
        steps: list[Rule] = []
        while left := self.length(state):
            for rule in self.rules:
                if state & rule.pre == rule.pre:
                    then, lost = self.logic.apply(state, rule)
                    if not lost and self.length(then) == left - 1:
                        steps.append(rule)
                        state = then
                        break
        return steps

    def landmarks(self) -> list[tuple[str, int]]:
        """Command and facts of each step of the first plan that no plan can do without.

        A fact is such a landmark if the goal is out of reach, removals ignored, without the rules that add it.
        """
        start = self.logic.start & self._relevant
        seen, out = start, []
        for rule in self.plan(start):
            fresh = [bit for bit in _bits(rule.add & ~seen) if self._estimate(start, without=bit)[0] is None]
            seen |= rule.add
            if fresh:
                out.append((rule.command, union(fresh)))
        return out

    def _won(self, state: int) -> bool:
        return state & self.logic.goal == self.logic.goal

    def _next(self, state: int) -> list[tuple[Rule, int]]:
        """The rules that apply and do not lose, with the states after them."""
        out = []
        for rule in self.rules:
            if state & rule.pre == rule.pre:
                then, lost = self.logic.apply(state, rule)
                if not lost:
                    out.append((rule, then & self._relevant))
        return out

    def _explore(self, start: int, limit: int | None) -> bool:
        """Writes the distance of every new state that can be reached from ``start``; False: more than ``limit``."""
        before: dict[int, list[int]] = {}
        new, todo = {start}, [start]
        border: list[tuple[int, int]] = []
        while todo:
            state = todo.pop()
            if self._won(state):
                border.append((0, state))
                continue
            for _, then in self._next(state):
                before.setdefault(then, []).append(state)
                if then not in new and then not in self._exact:
                    new.add(then)
                    todo.append(then)
            if limit is not None and len(new) > limit:
                return False
        border += [(d, s) for s in before if (d := self._exact.get(s)) is not None]
        reached: dict[int, int] = {}
        heapq.heapify(border)
        while border:  # Dijkstra, backwards from victory and from what is known already
            distance, state = heapq.heappop(border)
            if state not in reached:
                reached[state] = distance
                for earlier in before.get(state, ()):
                    if earlier not in reached:
                        heapq.heappush(border, (distance + 1, earlier))
        self._exact.update((s, reached.get(s)) for s in new)
        return True

    def _estimate(self, state: int, without: int = 0) -> tuple[int | None, set[int]]:
        """Length of a relaxed plan, and the indices of its rules that apply right now."""
        reach = state
        facts: dict[int, int] = {}  # fact bit -> the rule that first adds it
        waiting = [(i, r) for i, r in enumerate(self.rules) if not r.add & without]
        while True:
            met = {i: m for i, q in enumerate(self.logic.quests) if q.required for m in q.win if reach & m == m}
            reach_done = union(self.logic.done(i) for i in met)
            if (reach | reach_done) & self.logic.goal == self.logic.goal:
                break
            layer = [(i, r) for i, r in waiting if reach & r.pre == r.pre]
            if not layer:
                return None, set()
            waiting = [(i, r) for i, r in waiting if reach & r.pre != r.pre]
            for i, rule in layer:
                fresh = rule.add & ~reach
                for bit in _bits(fresh):
                    facts[bit] = i
                reach |= fresh
        open_ = [b for i, m in met.items() if not state & self.logic.done(i) for b in _bits(m & ~state)]
        used: set[int] = set()
        seen: set[int] = set()
        while open_:
            bit = open_.pop()
            if bit not in seen:
                seen.add(bit)
                if (i := facts[bit]) not in used:
                    used.add(i)
                    open_ += _bits(self.rules[i].pre & ~state)
        return len(used), {i for i in used if state & self.rules[i].pre == self.rules[i].pre}

    def _greedy(self, start: int) -> list[Rule]:
        """Best-first by the estimate of the parent; rules of the relaxed plan come first."""
        tie = count()
        parents: dict[int, tuple[int, Rule] | None] = {start: None}
        frontier: list[tuple[int, int, int, int]] = [(0, 0, next(tie), start)]
        index = {id(r): i for i, r in enumerate(self.rules)}
        for _ in range(self.patience):
            if not frontier:
                break
            state = heapq.heappop(frontier)[3]
            if self._won(state):
                return _path(parents, state)
            estimate, helpful = self._estimate(state)
            if estimate is None:
                continue
            for rule, then in self._next(state):
                if then not in parents:
                    parents[then] = (state, rule)
                    heapq.heappush(frontier, (estimate, index[id(rule)] not in helpful, next(tie), then))
        return []


def _path(parents: dict[int, tuple[int, Rule] | None], state: int) -> list[Rule]:
    steps = []
    while link := parents[state]:
        state, rule = link
        steps.append(rule)
    return steps[::-1]


def _bits(mask: int) -> list[int]:
    out = []
    while mask:
        low = mask & -mask
        out.append(low)
        mask ^= low
    return out


def _meant(rules: list[Rule]) -> list[Rule]:
    """Leaves out a rule where another one behind the same event asks for all that it asks and more.

    A recipe of two has a rule that asks for the first ingredient alone; the interpreter refuses that command.
    """
    same: dict[str, list[int]] = {}
    for rule in rules:
        same.setdefault(rule.event, []).append(rule.pre)
    return [r for r in rules if not any(r.pre & p == r.pre != p for p in same[r.event])]


def _without_detours(rules: list[Rule], wins: int, fails: int) -> list[Rule]:
    """Leaves out what no shortest plan does: rules that add nothing, and rules that can only be undone.

    Putting a thing down is good for nothing but taking it again, if neither a quest nor another rule asks for where it
    lies; the same for closing and locking. No condition is negative, so a plan without both steps is still a plan.
    """
    rules = [r for r in rules if r.add]
    while True:
        asked: dict[int, list[Rule]] = {}
        for rule in rules:
            for bit in _bits(rule.pre):
                asked.setdefault(bit, []).append(rule)
        left = [
            r
            for r in rules
            if r.add & wins
            or r.remove & fails
            or any(b.add & ~r.remove for bit in _bits(r.add) for b in asked.get(bit, ()) if b is not r)
        ]
        if len(left) == len(rules):
            return rules
        rules = left

"""The rules of one TextWorld game as bit masks.

TextWorld keeps a symbolic copy of the world beside the interpreter: facts, and rules that turn facts into actions. It
matches every rule against every fact at every step, in Python. Here the rules are instantiated once a game: a state is
one integer with a bit a fact, an action is three of them, and what TextWorld reports (facts, admissible commands, the
action behind an Inform event) follows from masks, in TextWorld's own order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

Fact = tuple[str, tuple[str, ...]]  # a predicate and the ids of its arguments
Pattern = tuple[str, tuple[str, ...]]  # a predicate and the names of its placeholders

_PLACES = {"at", "in", "on"}  # predicates that say where a thing is


class Rule(NamedTuple):
    """An action of one game: applicable where all of ``pre`` hold; it adds and removes facts."""

    pre: int
    add: int
    remove: int
    command: str
    event: str
    terms: int


class Quest(NamedTuple):
    """What completes a quest, and what loses the game while it is not complete: any one of the masks."""

    win: tuple[int, ...]
    fail: tuple[int, ...]
    required: bool


class Logic:
    """Facts, actions and quests of a ``textworld.generator.game.Game``.

    A state is an integer: the facts in the low bits, above them one bit for each completed quest.

    Attributes:
        facts: texts of the facts, in the order of their bits.
        rules: the actions, in the order in which TextWorld lists them.
        properties: the bits of the facts that say how a thing is, not where.
        goal: the bits of the quests that must be complete.
        start: the state at the beginning of the game.
    """

    def __init__(self, game: Any) -> None:
        world, kb = game.world.state, game.kb
        kinds = {v.name: v.type for v in (*world.variables, *kb.types.constants_mapping.values())}
        first = [_fact(p) for p in world.facts]
        facts, found = _ground(kb, kinds, first)
        bits = {fact: 1 << i for i, fact in enumerate(facts)}
        names = {v: (game.infos[v].name or v) if v in game.infos else v for v in kinds}
        self.facts = tuple(f"{p}({', '.join(names[a] for a in args)})" for p, args in facts)
        self._quests_from = len(self.facts)
        self.properties = union(bits[f] for f in facts if f[0] not in _PLACES)
        self.rules: list[Rule] = []
        self._events: dict[str, list[Rule]] = defaultdict(list)
        for rule, binding in found:
            words = {placeholder: names[v] for placeholder, v in binding.items()}
            pre, post = (
                union(bits[_bound(p, binding)] for p in map(_pattern, side))
                for side in (rule.preconditions, rule.postconditions)
            )
            command = kb.inform7_commands[rule.name].format(**words)
            event = kb.inform7_events[rule.name].format(**words).lower()
            self.rules.append(Rule(pre, post & ~pre, pre & ~post, command, event, len(rule.preconditions)))
            self._events[event].append(self.rules[-1])
        for same in self._events.values():
            same.sort(key=lambda r: -r.terms)  # as TextWorld does: of several, the rule that asks for most is meant
        self.quests = tuple(
            Quest(_masks(q.win_events, bits), _masks(q.fail_events, bits), bool(q.win_events) and not q.optional)
            for q in game.quests
        )
        self.goal = union(self.done(i) for i, q in enumerate(self.quests) if q.required)
        self.start, _ = self.settle(union(bits[f] for f in first))

    def done(self, quest: int) -> int:
        """The bit of a completed quest."""
        return 1 << (self._quests_from + quest)

    def settle(self, state: int) -> tuple[int, bool]:
        """``state`` with the bits of the quests that it completes, and whether it loses the game."""
        lost = False
        for i, quest in enumerate(self.quests):
            if not state & self.done(i):
                if any(state & m == m for m in quest.fail):
                    lost = True
                elif any(state & m == m for m in quest.win):
                    state |= self.done(i)
        return state, lost

    def apply(self, state: int, rule: Rule) -> tuple[int, bool]:
        """The state after ``rule``, and whether the game is lost."""
        return self.settle(state & ~rule.remove | rule.add)

    def follow(self, state: int, events: Iterable[str]) -> int:
        """The state after these Inform events; an event without a rule changes nothing."""
        for event in events:
            for rule in self._events.get(event.lower(), ()):
                if state & rule.pre == rule.pre:
                    state, _ = self.apply(state, rule)
                    break
        return state

    def commands(self, state: int) -> tuple[str, ...]:
        """The admissible commands, sorted."""
        return tuple(sorted({r.command for r in self.rules if state & r.pre == r.pre}))

    def texts(self, state: int) -> tuple[str, ...]:
        """The facts that hold, as sorted texts such as ``in(apple, fridge)``."""
        return tuple(sorted(text for i, text in enumerate(self.facts) if state >> i & 1))


def union(masks: Iterable[int]) -> int:
    """All bits of all masks."""
    total = 0
    for mask in masks:
        total |= mask
    return total


def _masks(events: Iterable[Any], bits: dict[Fact, int]) -> tuple[int, ...]:
    """One mask an event; an event with a fact that can never hold is left out."""
    wanted = ([_fact(p) for p in e.condition.preconditions] for e in events)
    return tuple(union(bits[f] for f in facts) for facts in wanted if all(f in bits for f in facts))


def _fact(proposition: Any) -> Fact:
    return proposition.name, tuple(v.name for v in proposition.arguments)


def _pattern(predicate: Any) -> Pattern:
    return predicate.name, tuple(p.name for p in predicate.parameters)


def _bound(pattern: Pattern, binding: dict[str, str]) -> Fact:
    return pattern[0], tuple(binding[p] for p in pattern[1])


class _Schema(NamedTuple):
    """A rule before its placeholders are bound: conditions, their types, effects."""

    rule: Any
    conditions: list[Pattern]
    types: list[tuple[str, ...]]
    effects: list[Pattern]


_ANY = ""  # the predicate that holds for every variable


def _schema(rule: Any, constants: dict[str, str]) -> _Schema:
    conditions = [_pattern(p) for p in rule.preconditions]
    types = [tuple(p.signature.types) for p in rule.preconditions]
    asked = {name for _, names in conditions for name in names} | set(constants)
    # TextWorld's recipe of four has an argument that only an effect names: every variable of its type will do
    for name, kind in sorted({(p.name, p.type) for c in rule.postconditions for p in c.parameters}):
        if name not in asked:
            conditions.append((_ANY, (name,)))
            types.append((kind,))
    return _Schema(rule, conditions, types, [_pattern(p) for p in rule.postconditions])


def _ground(kb: Any, kinds: dict[str, str], start: list[Fact]) -> tuple[list[Fact], list[tuple[Any, dict[str, str]]]]:
    """Every fact that can come true when nothing is ever removed, and every instance of a rule over these facts."""
    constants = {placeholder.name: v.name for placeholder, v in kb.types.constants_mapping.items()}
    schemas = [_schema(rule, constants) for rule in kb.rules.values()]
    ranks: dict[tuple[str, ...], dict[tuple[str, ...], int]] = {}
    for types in {types for schema in schemas for types in schema.types}:
        orders = kb.logic.types.multi_subtypes([kb.logic.types.get(t) for t in types])
        ranks[types] = {tuple(t.name for t in order): i for i, order in enumerate(orders)}

    def instances(schema: _Schema) -> Iterator[dict[str, str]]:
        columns = []
        for (name, _), types in zip(schema.conditions, schema.types):
            typed = ((args, tuple(kinds[a] for a in args)) for args in by_name.get(name, ()))
            # TextWorld's order: by subtype, then by argument
            columns.append(
                [args for _, args in sorted((ranks[types][t], args) for args, t in typed if t in ranks[types])]
            )
        return _bindings(schema.conditions, columns, constants)

    known = dict.fromkeys(start)
    by_name: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    by_name[_ANY] = [(v,) for v in sorted(kinds)]
    added = known
    while added:
        for name, args in added:
            by_name[name].append(args)
        fresh, added = {name for name, _ in added}, {}
        for schema in schemas:
            if any(name in fresh for name, _ in schema.conditions):
                for binding in instances(schema):
                    added.update((f, None) for p in schema.effects if (f := _bound(p, binding)) not in known)
        known.update(added)
    return sorted(known), [(schema.rule, binding) for schema in schemas for binding in instances(schema)]


def _bindings(
    conditions: list[Pattern], columns: list[list[tuple[str, ...]]], constants: dict[str, str]
) -> Iterator[dict[str, str]]:
    """All ways to bind the placeholders to different variables so that each condition is one of its column's facts."""
    binding = dict(constants)
    used = set(constants.values())

    def extend(depth: int) -> Iterator[dict[str, str]]:
        if depth == len(conditions):
            yield dict(binding)
            return
        for args in columns[depth]:
            new: list[str] = []
            for placeholder, variable in zip(conditions[depth][1], args):
                bound = binding.get(placeholder)
                if bound is None and variable not in used:
                    binding[placeholder] = variable
                    used.add(variable)
                    new.append(placeholder)
                elif bound != variable:
                    break
            else:
                yield from extend(depth + 1)
            for placeholder in new:
                used.discard(binding.pop(placeholder))

    return extend(0)

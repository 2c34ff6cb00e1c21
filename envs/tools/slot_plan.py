"""The oracle of agents that make a call one choice after another: which rows make the next turn of the environment's plan."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any

from .calls import Call, Turn, parse
from .slot_env import SlotEnv
from .slot_form import LEFT, Choosing, Option, Rows, Slot, arguments_of, fill, saying
from .slot_values import Heard

LOOKS = (24, 6)  # values tried for the one argument of a look-up, for each of two
Way = tuple[tuple[Option, ...], Any]  # choices, and what they make


class Plan:
    """Finds the choices that make a turn. It knows the reference; the rows that it finds them among do not.

    Args:
        env: the environment.
        rows: those that are there.
        made: texts of calls that were made.
        showing: the rows that there would be if something else was heard.
    """

    def __init__(self, env: SlotEnv, rows: Rows, made: Container[str], showing: Callable[[Heard], Rows]) -> None:
        self._env, self._rows, self._made, self._showing = env, rows, made, showing

    def turn(self) -> Way | None:
        """The choices of the plan's next turn, and the turn; None where the rows do not hold it."""
        for step, must in self._env._needed():
            way = self._way(step)
            if way is None and must:
                return self._sought(step) if isinstance(step, Call) and self._env._at_once() == 1 else None
            if way is not None and (must or not all(c.text() in self._made for c in way[1].calls)):
                return way
        return None

    def _sought(self, call: Call) -> Way | None:
        """A look-up that shows what a call of the plan wants; None where there is none."""
        env = self._env
        if call.name not in env.tools:
            return None
        slots = {s.name: s for s in arguments_of(env.tools[call.name])}
        missing = [n for n, v in call.arguments.items() if n in slots and self._drive(fill(slots[n]), v) is None]
        for look in self._lookups():
            text = env._peek(look) if look.text() not in self._made else None
            if text is None or not any(v in text for n in missing for v in _scalars(call.arguments[n])):
                continue
            then = copy.copy(self._rows.heard)
            shown_now = {"name": look.name, "arguments": look.arguments, "result": text[: env.shown]}
            then.follow({"messages": (), "tool_calls": (shown_now,)})
            rows, self._rows = self._rows, self._showing(then)
            shown = any(self._drive(fill(slots[n]), call.arguments[n]) is not None for n in missing)
            self._rows = rows
            if shown:
                return self._calls((look,))
        return None

    def _lookups(self) -> Iterator[Call]:
        """Calls that look something up, with the values that are most likely meant."""
        for name in self._env._looks():
            needed = [s for s in arguments_of(self._env.tools[name]) if not s.optional]
            if len(needed) <= len(LOOKS):
                most = LOOKS[len(needed) - 1]
                tried = [[o.value for o in self._rows.options(s) if o.kind == "value"][:most] for s in needed]
                for values in itertools.product(*tried):
                    yield Call(name, dict(zip((s.name for s in needed), values)))

    def _way(self, step: Any) -> Way | None:
        first = self._rows.options(Slot("turn"))
        if isinstance(step, str):
            for o in first:
                if o.kind == "phrase" and o.value == step:
                    return (o,), Turn(step)
        if isinstance(step, Call):
            return self._calls((step,))
        made = parse(step).calls if isinstance(step, str) else ()
        return self._calls(made) if made else self._spoken(step if isinstance(step, list) else [step], first)

    def _spoken(self, texts: list[str], first: tuple[Option, ...]) -> Way | None:
        say = next((o for o in first if o.kind == "say"), None)
        for wish in (texts, [w for t in texts for w in t.split()]):
            got = self._drive(saying(), wish) if say else None
            if say and got:
                return (say, *got[0]), Turn(" ".join(got[1]))
        return None

    def _calls(self, calls: Sequence[Call]) -> Way | None:
        env, out, turned = self._env, list[Option](), list[Call]()
        if len(calls) > env._at_once():
            return None
        for call in calls:
            rows = self._rows.options(Slot("more" if turned else "turn"))
            out += (o for o in rows if o.kind == "tool" and o.value == call.name)
            slots = {s.name: s for s in arguments_of(env.tools[call.name])} if call.name in env.tools else None
            if slots is None or not call.arguments.keys() <= slots.keys():
                return None
            arguments = {}
            for name, slot in slots.items():
                ways = (self._drive(fill(slot), wish) for wish in env._ways(call, name))
                got = next((w for w in ways if w is not None), None)
                if got is None:
                    return None
                out += got[0]
                if got[1] is not LEFT:
                    arguments[name] = got[1]
            turned.append(Call(call.name, arguments))
        if len(turned) < env._at_once():
            out += (o for o in self._rows.options(Slot("more")) if o.kind == "all")
        return tuple(out), Turn("", tuple(turned))

    def _drive(self, asking: Choosing, wish: Any) -> Way | None:
        """The choices that make a value; None where the rows do not hold it."""
        made: list[Option] = []
        try:
            slot = next(asking)
            while (option := self._pick(slot, wish)) is not None:
                made.append(option)
                slot = asking.send(option)
        except StopIteration as done:
            ends = done.value is wish or self._like(done.value, wish)
            return (tuple(made), done.value) if ends else None
        return None

    def _like(self, a: Any, b: Any) -> bool:
        """A value does what the wish wants."""
        return a is not LEFT and b is not LEFT and same(self._plain(a), self._plain(b))

    def _plain(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._plain(v) for v in value]
        if isinstance(value, dict):
            return {k: self._plain(v) for k, v in value.items()}
        return self._env._plainly(value)

    def _pick(self, slot: Slot, wish: Any) -> Option | None:
        """The row that goes on to a wish."""
        options, up = self._rows.options(slot), slot.path[1:]
        for p in up[:-1] if slot.listed >= 0 else up:
            if isinstance(p, str):
                wish = wish.get(p, LEFT) if isinstance(wish, dict) else None
            else:
                wish = wish[p] if isinstance(wish, list) and p < len(wish) else None
        if wish is LEFT:
            return next((o for o in options if o.kind == "leave"), None)
        if slot.listed >= 0:
            if not isinstance(wish, list):
                return None
            for o in options:
                if (o.kind == "whole" and self._like(o.value, wish)) or (o.kind == "end" and slot.listed == len(wish)):
                    return o
            if slot.listed >= len(wish):
                return None
            wish = wish[slot.listed]
        plain = self._plain(wish)
        for alike in (same, self._like):  # what is just so first
            for o in options:
                if o.kind in ("value", "text") and alike(o.value, wish):
                    return o
        for o in options:
            if (o.kind == "object" and isinstance(wish, dict)) or (o.kind == "list" and isinstance(wish, list)):
                return o
            if o.kind == "begin" and isinstance(plain, str) and plain.startswith(self._env._plainly(o.value)):
                if any(
                    self._like(e.value, wish) for e in self._rows.options(slot._replace(kind="text", begin=o.value))
                ):
                    return o
        return None


def same(a: Any, b: Any) -> bool:
    """JSON values are equal: 1 is 1.0, but not true."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def _scalars(value: Any) -> Iterator[str]:
    """The texts and numbers in a value."""
    if isinstance(value, (list, dict)):
        for v in value.values() if isinstance(value, dict) else value:
            yield from _scalars(v)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
        yield str(value)

"""A turn that is made one choice after another: what is asked for, and the rows to choose from."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .calls import Call, Turn
from .slot_values import Found, Heard, fields, kinds_of, part
from .tool import Tool

ITEMS, WORDS, DEEP = 16, 8, 4  # in a list; values that are said at once; lists and objects within each other
COUNTED = 16  # values that stand in front of small numbers, where something is said
SHARE = 0.6  # of the rows of a text, for values that stand out; the others are words with which it begins
KINDS = ("phrase", "say", "tool", "value", "whole", "begin", "text", "object", "list", "leave", "end", "all", "break")
SAY, ALL, BREAK = "say ...", "that is all", "break off"


class Left:
    """The value of an argument that is left out."""


LEFT = Left()


class Slot(NamedTuple):
    """What is asked for."""

    kind: str
    """turn: a tool or words; more: another call beside those; value; text: where a text ends that was begun."""
    tool: str = ""
    path: tuple[str | int, ...] = ()
    """The argument, and where in it."""
    schema: Mapping[str, Any] = {}
    about: str = ""
    optional: bool = False
    begin: str = ""
    listed: int = -1
    """Which element of a list; -1: of none."""
    array: Mapping[str, Any] = {}
    """The schema of that list; ``schema`` is its elements'."""

    @property
    def name(self) -> str:
        """Of the argument or field."""
        return next((p for p in reversed(self.path) if isinstance(p, str)), "")


class Option(NamedTuple):
    """A row."""

    label: str
    kind: str
    value: Any = None
    found: Found | None = None


class Broken(Exception):
    """The call goes to the world as it is: no value fits."""


Choosing = Generator[Slot, Option, Any]


def turn(tools: Mapping[str, Tool], at_once: int) -> Choosing:
    """Asks for a turn; returns it."""
    made: list[Call] = []
    while len(made) < at_once:
        got = yield Slot("more" if made else "turn")
        if got.kind == "phrase":
            return Turn(got.value)
        if got.kind == "all":
            break
        if got.kind == "say":
            return Turn(" ".join((yield from saying())))
        arguments: dict[str, Any] = {}
        try:
            for slot in arguments_of(tools[got.value]):
                value = yield from fill(slot)
                if value is not LEFT:
                    arguments[slot.name] = value
        except Broken:
            made.append(Call(got.value, arguments))
            break
        made.append(Call(got.value, arguments))
    return Turn("", tuple(made))


def saying() -> Choosing:
    """Asks for the texts that are said together."""
    return (yield from _list(Slot("value", "", ("say",), SPOKEN), WORDS))


SPOKEN: dict[str, Any] = {"type": "array", "items": {"type": "string"}, "minItems": 1}


def arguments_of(tool: Tool) -> Iterator[Slot]:
    """A tool's arguments, in the schema's order."""
    needed = tool.parameters.get("required") or ()
    for name, schema in (tool.parameters.get("properties") or {}).items():
        schema = schema if isinstance(schema, Mapping) else {}
        yield _slot(Slot("value", tool.name), name, schema, name not in needed)


def _slot(parent: Slot, name: str, schema: Mapping[str, Any], optional: bool) -> Slot:
    about = str(schema.get("description") or parent.about)
    path = (*parent.path, name)
    return Slot("value", parent.tool, path, schema, about, optional)


def fill(slot: Slot) -> Choosing:
    """Asks for the value of an argument; returns it, or ``LEFT``."""
    if kinds_of(slot.schema) - {"null"} == {"array"}:
        return (yield from _list(slot, ITEMS))
    return (yield from _rest(slot, (yield slot)))


def _rest(slot: Slot, got: Option) -> Choosing:
    """What a first choice still asks for."""
    if got.kind == "leave":
        return LEFT
    if got.kind == "begin":
        return (yield slot._replace(kind="text", begin=got.value)).value
    if got.kind == "list":
        return (yield from _list(slot._replace(optional=False), ITEMS))
    if got.kind == "object":
        out = {}
        for field in got.value:
            value = yield from fill(field)
            if value is not LEFT:
                out[field.name] = value
        return out
    return got.value


def _list(slot: Slot, most: int) -> Choosing:
    out: list[Any] = []
    while len(out) < most:
        element = _element(slot, len(out))
        got = yield element
        if got.kind == "leave":
            return LEFT
        if got.kind == "end":
            break
        if got.kind == "whole":
            return got.value
        out.append((yield from _rest(element, got)))
    return out


def _element(slot: Slot, i: int) -> Slot:
    array = part(slot.schema, "array")
    items = array.get("items")
    schema = items if isinstance(items, Mapping) else {"type": "string"}
    optional = slot.optional and i == 0
    return slot._replace(path=(*slot.path, i), schema=schema, optional=optional, listed=i, array=array)


class Rows:
    """What can be chosen at one moment of a conversation.

    Args:
        heard: the conversation.
        tools, phrases: those that are there.
        speaks: words can be made of values.
        worth: ``worth(tool, argument) -> values`` that the environment makes of the conversation, None where it makes none.
        rows: at most.
    """

    def __init__(
        self,
        heard: Heard,
        tools: Mapping[str, Tool],
        phrases: Sequence[str],
        speaks: bool,
        worth: Callable[[str, str], Sequence[Any] | None],
        rows: int,
    ) -> None:
        self.heard, self.tools, self.phrases = heard, tools, tuple(phrases)
        self._speaks, self._worth, self._rows = speaks, worth, rows
        self._kept: dict[Any, tuple[Option, ...]] = {}

    def options(self, slot: Slot) -> tuple[Option, ...]:
        """The rows of a slot, those that are most likely meant in front."""
        path = (*slot.path[:-1], 1) if slot.listed > 1 else slot.path  # later elements have the same
        key = slot.kind, slot.tool, slot.begin, path
        if key not in self._kept:
            found = getattr(self, f"_{slot.kind}")(slot)[: self._rows]
            self._kept[key] = tuple(found) or (Option(BREAK, "break"),)
        return self._kept[key]

    def _turn(self, slot: Slot) -> list[Option]:
        out = [Option(p, "phrase", p) for p in self.phrases]
        return [*out, *([Option(SAY, "say")] if self._speaks else ()), *self._offered()]

    def _more(self, slot: Slot) -> list[Option]:
        return [Option(ALL, "all"), *self._offered()]

    def _offered(self) -> list[Option]:
        return [Option(json.dumps({"name": n}), "tool", n) for n in self.tools]

    def _text(self, slot: Slot) -> list[Option]:
        return [
            Option(_label(slot, f.value), "text", f.value, f)
            for f in self.heard.ends(slot.begin, part(slot.schema, "string"))
        ]

    def _value(self, slot: Slot) -> list[Option]:
        last = [Option("leave out", "leave")] if slot.optional else []
        schema, name, found = slot.schema, slot.name, list[tuple[str, Found]]()
        if slot.listed >= 0:
            name = name.removesuffix("s")
            if slot.listed == 0 and slot.tool:
                lists = self.heard.values(slot.name, slot.about, {"type": "array"} | dict(slot.array))
                found += [("whole", f) for f in lists if isinstance(f.value, list)]
            if slot.listed >= _least(slot.array):
                last.append(Option("end of list", "end"))
        own = self._worth(slot.tool, slot.name) if slot.tool else None
        if own is not None:
            values = [Found(v, form="schema") for v in own]
        else:
            about = f"{slot.about} {schema.get('description') or ''}".strip()
            values = self.heard.values(name, about, schema)
        if not slot.tool:
            front, said = values[:COUNTED], {f.value for f in values[:COUNTED]}
            counts = [f for f in self.heard.counts() if f.value not in said]
            said |= {f.value for f in counts}
            values = [*front, *counts, *(f for f in values[COUNTED:] if f.value not in said)]
        found += [("value", f) for f in values]
        kinds = kinds_of(schema)
        if "null" in kinds and not slot.optional:
            last.append(Option(_label(slot, None), "value"))
        if "object" in kinds and (parts := self._fields(slot)):
            last.insert(0, Option("open object", "object", parts))
        if "array" in kinds and len(slot.path) < 2 * DEEP:
            last.insert(0, Option("open list", "list"))
        begins = self.heard.begins(slot.name, part(schema, "string")) if "string" in kinds and own is None else []
        room = self._rows - len(last)
        direct = found[: max(round(room * SHARE), room - len(begins))]
        out = [Option(_label(slot, f.value), kind, f.value, f) for kind, f in direct]
        out += [Option(_label(slot, f"{f.value} ..."), "begin", f.value, f) for f in begins[: room - len(direct)]]
        once: dict[str, Option] = {}
        for o in (*out, *last):
            once.setdefault(o.label, o)
        return list(once.values())

    def _fields(self, slot: Slot) -> tuple[Slot, ...]:
        """Of an object: those of its schema, or of its description, or of records that results showed under its name."""
        schema = part(slot.schema, "object")
        if len(slot.path) >= 2 * DEEP or "object" not in kinds_of(schema):
            return ()
        needed, known = schema.get("required") or (), schema.get("properties")
        names = tuple(known or ()) or tuple(fields(slot.about)) or self.heard.keys(slot.name)
        return tuple(_slot(slot, n, (known or {}).get(n) or _ANY, n not in needed) for n in names)


_ANY = {"type": ["string", "number"]}


def _least(array: Mapping[str, Any]) -> int:
    least = array.get("minItems", 0)
    return least if isinstance(least, int) else 0


def _label(slot: Slot, value: Any) -> str:
    return json.dumps({slot.name: value}, ensure_ascii=False)

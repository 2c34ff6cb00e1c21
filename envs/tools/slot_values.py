"""Values that a conversation shows, for agents that fill a call's arguments one after another; never from the reference."""

from __future__ import annotations

import bisect
import functools
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ..text.encode import words
from .slot_pieces import LENGTH, YEAR, Piece, Token, dates, is_figure, is_json, pieces, tokens

TEXTS, LEAVES = 60, 2000  # kept of a conversation; values in its results
POLICY = 2000  # characters from which on the system's text is a policy, and no source of values
SPAN, PLACES = 40, 4  # words of a text that is taken out of another; places at which it may begin
NEAR = 4  # words around a value, among which the argument's name may be
YEARS = 3  # at most, of dates that are said without one
FORMS = ("quoted", "proper", "figure", "listed", "schema", "key", "word")  # how a value stood somewhere
COUNTS = 11  # 0 to 10 are always there
_PAIR = re.compile(r'"([^"\\]{1,60})": ?("(?:[^"\\]){0,200}"|-?(?:0|[1-9]\d{0,15})(?:\.\d+)?(?=[,}\]\s]))')
_FORM = re.compile(r"\b(?:YYYY|yyyy|MM|mm|DD|dd)(?:[-/.](?:YYYY|yyyy|MM|mm|DD|dd)){1,2}\b")
_CHOICES = re.compile(r"\w[\w\-]*(?:, (?:or |and )?\w[\w\-]*){2,}")  # such as a, b, or c
_PREFIX = re.compile(r"\b(?:start|begin)s? with (?:a |an )?['\"`]?([#@$])")
_LITTLE = frozenset(
    "a an the of to in on at for and or with from by is are was be it this that my me i you your we our can could would "
    "please have has do does as what which how if so there their they them he she his her its will want need like know "
    "also then".split()
)


class Found(NamedTuple):
    """A value and what is known of it."""

    value: Any
    said: float = 0.0
    """1.0 in the user's last message, 1/2 in the one before ...; 0.0: not said."""
    shown: float = 0.0
    """The same for results."""
    form: str = ""
    """How it stood there, one of ``FORMS``."""
    at: float = 0.0
    """Where in its text, 0 to 1."""
    named: float = 0.0
    """Share of the argument's words that stand near it."""
    key: float = 0.0
    """Likeness of the argument's name and the key under which a result showed it."""

    def better(self, other: Found) -> Found:
        """Both of one value."""
        return Found(
            self.value, max(self.said, other.said), max(self.shown, other.shown), self.form,
            max(self.at, other.at), max(self.named, other.named), max(self.key, other.key),
        )  # fmt: skip


class Said(NamedTuple):
    """One text of the conversation."""

    who: str
    """system, user or tool."""
    text: str
    number: int
    """Of the user's message or of the result, from 1."""


class Heard:
    """The texts of a conversation and the values that results showed under keys."""

    def __init__(self) -> None:
        self.texts: tuple[Said, ...] = ()
        self.leaves: tuple[tuple[str, Any, int], ...] = ()  # key, value, number of the result
        self.messages = self.results = 0
        self.years: tuple[str, ...] = ()
        self.given: frozenset[tuple[str, str, str]] = frozenset()  # (tool, argument, value) of calls that were made

    def follow(self, info: Mapping[str, Any]) -> None:
        """A step (or the reset) by its info."""
        new: list[Said] = []
        for made in info["tool_calls"]:
            self.results += 1
            given = made.get("arguments", {}).items()
            self.given |= {(made["name"], k, json.dumps(v, sort_keys=True)) for k, v in given if is_json(v)}
            fresh = _shown(made["result"])
            prose = [v for _, v in fresh.values() if isinstance(v, str) and " " in v] if fresh else [made["result"]]
            new.append(Said("tool", "\n".join(prose)[:LENGTH], self.results))
            old = (x for x in self.leaves if _key(x[0], x[1]) not in fresh)
            self.leaves = (*old, *((k, v, self.results) for k, v in fresh.values()))[-LEAVES:]
        for message in info["messages"]:
            if message["role"] in ("user", "system"):
                years = YEAR.findall(message["content"])
                self.years = tuple(dict.fromkeys((*self.years, *years)))[:YEARS]
                self.messages += message["role"] == "user"
                if message["role"] == "user" or len(message["content"]) <= POLICY:
                    lines = (x for x in message["content"].split("\n") if not x.startswith('{"name"'))  # nor in schemas
                    new.append(Said(message["role"], "\n".join(lines)[:LENGTH], max(1, self.messages)))
        self.texts = (*self.texts, *new)[-TEXTS:]

    def _ages(self, text: Said) -> tuple[float, float]:
        """(said, shown): how recently."""
        if text.who == "tool":
            return 0.0, 1.0 / (1 + self.results - text.number)
        return 1.0 / (1 + self.messages - text.number) * (0.5 if text.who == "system" else 1.0), 0.0

    def values(self, name: str, about: str, schema: Mapping[str, Any]) -> list[Found]:
        """Values of a schema's kind for an argument, those in front that are most likely meant.

        Args:
            name, about: of the argument: its name, its description.
            schema: its JSON schema.
        """
        kinds, wanted = kinds_of(schema), frozenset(words(name.replace("_", " "))) - _LITTLE
        out: dict[Any, Found] = {}

        def put(found: Found) -> None:
            v = found.value
            key = (type(v), json.dumps(v, sort_keys=True) if isinstance(v, (list, dict)) else v)
            old = out.get(key)
            out[key] = found if old is None else old.better(found)

        for value in _listed(schema):
            put(self._from_schema(value))
        if "boolean" in kinds:
            put(Found(True, form="schema"))
            put(Found(False, form="schema"))
        if _closed(schema):
            return self._ordered(out)
        number = "number" if "number" in kinds else "integer" if "integer" in kinds else ""
        for text in reversed(self.texts):
            said, shown = self._ages(text)
            texts, numbers, lists = pieces(text.text)
            stands: list[Piece] = []
            stands += texts if "string" in kinds else ()
            stands += numbers if number else ()
            stands += (p for p in lists if ("array" if isinstance(p.value, list) else "object") in kinds)
            for p in stands:
                for value in _as(p.value, kinds, schema):
                    put(Found(value, said, shown, p.form, p.start / len(text.text), _near(text.text, p.start, wanted)))
            if "string" in kinds:
                for date, start in dates(text.text, self.years):
                    near, at = _near(text.text, start, wanted), start / len(text.text)
                    for form in ("YYYY-MM-DD", *_FORM.findall(about)):
                        for v in _as(_written(form, *date), kinds, schema):
                            put(Found(v, said, shown, "figure", at, max(near, float("date" in wanted))))
        for key, value, n in reversed(self.leaves):
            for v in _as(value, kinds, schema):
                put(Found(v, 0.0, 1.0 / (1 + self.results - n), "key", 0.0, 0.0, _alike(key, name)))
        if "string" in kinds:
            for found in self._described(about):
                if fits(schema, found.value):
                    put(found)
            for prefix in _PREFIX.findall(about):
                for found in list(out.values()):
                    if isinstance(found.value, str) and found.form != "schema" and re.fullmatch(r"\w+", found.value):
                        put(found._replace(value=prefix + found.value, key=0.5))
            if not schema.get("pattern") and not schema.get("minLength"):
                put(Found("", form="schema", key=0.25))
        if number:
            for value in (v for n in range(COUNTS) for v in _as(n, kinds, schema)):
                put(Found(value, form="schema"))
        return self._ordered(out)

    def _described(self, about: str) -> Iterator[Found]:
        """What a description names: its words, and more likely what it quotes or lists."""
        chosen = [w for m in _CHOICES.finditer(about) for w in re.split(r", (?:or |and )?", m[0])]
        if " or " in about:
            phrases = (p.strip().strip("'\"") for p in re.split(r"[.,:;()] *|\bor\b", about))
            chosen += (p for p in phrases if 0 < len(p.split()) <= 4)
        named = dict.fromkeys(t.text for t in tokens(about)) | dict.fromkeys(
            [*(p.value for p in pieces(about)[0]), *chosen], 0.5
        )
        for value, key in named.items():
            if value.lower() not in _LITTLE:
                yield self._from_schema(value)._replace(key=key or 0.0)

    def counts(self) -> list[Found]:
        """Small numbers as texts, which somebody may have counted."""
        return [Found(str(n), form="schema") for n in range(COUNTS)]

    def _from_schema(self, value: Any) -> Found:
        mine = words(str(value).replace("_", " "))
        said = max((self._ages(t)[0] for t in self.texts if t.who == "user" and _has(t.text, mine)), default=0.0)
        return Found(value, said, 0.0, "schema")

    def _ordered(self, out: Mapping[Any, Found]) -> list[Found]:
        return sorted(out.values(), key=lambda f: -likely(f))

    def keys(self, name: str) -> tuple[str, ...]:
        """The keys of the latest record that a result showed under an argument's name."""
        for key, value, _ in reversed(self.leaves):
            if isinstance(value, dict) and _alike(key, name) == 1.0:
                return tuple(value)
        return ()

    def begins(self, name: str, schema: Mapping[str, Any]) -> list[Found]:
        """Words with which a longer text may begin, those in front that are most likely meant.

        Args:
            name: of the argument.
            schema: its JSON schema.
        """
        wanted, out = frozenset(words(name.replace("_", " "))) - _LITTLE, dict[str, Found]()
        for text in reversed(self.texts):
            said, shown = self._ages(text)
            every = tokens(text.text)
            for k, (t, around) in enumerate(zip(every, _around(text.text))):
                near = len(wanted & around) / max(1, len(wanted))
                form = "proper" if t.text[0].isupper() and t.text.lower() not in _LITTLE else "word"
                new = Found(t.text, said, shown, form, k / len(every), near)
                old = out.get(t.text)
                out[t.text] = new if old is None else old.better(new)
        found = self._ordered(out)
        return [f for f in found if self.ends(f.value, schema)] if schema.get("pattern") else found

    def ends(self, begin: str, schema: Mapping[str, Any]) -> list[Found]:
        """Texts of a schema's form that begin with a word, at its latest places; shorter ones first."""
        found: list[list[Found]] = []
        for text in reversed(self.texts):
            (said, shown), all_ = self._ages(text), tokens(text.text)
            for k in [k for k, t in enumerate(all_) if t.text == begin][: PLACES - len(found)]:
                longer: list[Found] = []
                for j, t in enumerate(all_[k : k + SPAN]):
                    sharp = float(t.mark > t.end or k + j + 1 == len(all_))
                    for end in dict.fromkeys((t.end, t.mark)):
                        value = text.text[all_[k].start : end].replace("\n", " ")
                        longer.append(Found(value, said, shown, "word", j / SPAN, sharp))
                found.append(longer)
        every = (f for row in itertools.zip_longest(*found) for f in row if f is not None)
        return list({f.value: f for f in every if fits(schema, f.value)}.values())


@functools.lru_cache(2000)
def _around(text: str) -> tuple[frozenset[str], ...]:
    """For each word of a text the words around it."""
    found = [words(t.text.replace("_", " ")) for t in tokens(text)]
    return tuple(frozenset(w for ws in found[max(0, k - NEAR) : k + NEAR] for w in ws) for k in range(len(found)))


def _near(text: str, start: int, wanted: frozenset[str]) -> float:
    """Share of the wanted words around a place of a text."""
    k = bisect.bisect_right(tokens(text), start, key=_start) - 1
    return len(wanted & _around(text)[max(0, k)]) / len(wanted) if wanted and k >= 0 else 0.0


def _start(token: Token) -> int:
    return token.start


def likely(f: Found) -> float:
    """How likely a value is meant; only their order matters."""
    form = {"quoted": 0.9, "proper": 0.5, "figure": 0.6, "listed": 1.0, "schema": 0.3, "key": 0.2, "word": 0.0}[f.form]
    little = isinstance(f.value, str) and f.value.lower() in _LITTLE
    return 2.0 * f.key + 1.2 * f.named + f.said + 0.6 * f.shown + form - 0.8 * little


def _has(text: str, mine: tuple[str, ...]) -> bool:
    theirs = frozenset(words(text))
    return bool(mine) and all(w in theirs for w in mine)


@functools.lru_cache(100_000)
def _alike(key: str, name: str) -> float:
    """Likeness of the names of a key and an argument, in [0, 1]."""
    mine, theirs = ({w.rstrip("s") for w in re.findall(r"[a-z0-9]+", _snake(x))} for x in (key, name))
    return 1.0 if mine == theirs and mine else len(mine & theirs) / max(1, len(mine | theirs))


@functools.lru_cache(10_000)
def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _shown(result: str) -> dict[Any, tuple[str, Any]]:
    """(key, value) of a result: of its JSON, or of what it has of one that was cut."""
    try:
        found = _leaves(json.loads(result), "")
    except (ValueError, RecursionError):
        pairs = ((m[1], m[2]) for m in _PAIR.finditer(result))
        found = ((k, v) for k, text in pairs for v in ([text[1:-1]] if text[0] == '"' else [json.loads(text)]))
    return {_key(k, v): (k, v) for k, v in itertools.islice(found, LEAVES)}


def _key(key: str, value: Any) -> tuple[str, str]:
    return key, json.dumps(value)


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for k, v in value.items():
            if isinstance(v, (Mapping, list)) or not re.fullmatch(r"[a-z_]+", k):
                yield key, k  # an object's name as a key
            yield from _leaves(v, k)
        yield key, dict(value)
    elif isinstance(value, list):
        for v in value:
            yield from _leaves(v, key)
        yield key, list(value)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
        yield key, value
        if isinstance(value, float) and math.isfinite(value):
            yield from ((key, n) for n in (round(value), round(value, 2)) if n != value)
        if isinstance(value, str) and len(value) < 2000:
            for t in tokens(value):
                if t.text != value and re.search(r"\d|[A-Z_.]", t.text):
                    yield key, t.text


def kinds_of(schema: Mapping[str, Any]) -> frozenset[str]:
    """Plain types that a schema takes; all where it says nothing."""
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        return frozenset(k for o in options if isinstance(o, Mapping) for k in kinds_of(o))
    if schema.get("enum"):
        return frozenset()
    given = schema.get("type")
    given = [given] if isinstance(given, str) else given or []
    same = {"float": "number", "tuple": "array", "dict": "object"}
    known = {same.get(k, k) for k in given} & {"string", "integer", "number", "boolean", "array", "object", "null"}
    return frozenset(known or {"string", "integer", "number", "boolean", "array", "object"})


def part(schema: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """The schema, or that of its choices, which takes a kind."""
    for o in schema.get("anyOf") or schema.get("oneOf") or ():
        if isinstance(o, Mapping) and kind in kinds_of(o):
            return part(o, kind)
    return schema


def _closed(schema: Mapping[str, Any]) -> bool:
    return bool(schema.get("enum")) or "const" in schema


def _listed(schema: Mapping[str, Any]) -> Iterator[Any]:
    """Values that a schema names."""
    for o in schema.get("anyOf") or schema.get("oneOf") or ():
        if isinstance(o, Mapping):
            yield from _listed(o)
    if isinstance(schema.get("enum"), (list, tuple)):
        yield from schema["enum"]
    for key in ("const", "default"):
        if key in schema and schema[key] is not None and is_json(schema[key]):
            yield schema[key]


def _as(value: Any, kinds: frozenset[str], schema: Mapping[str, Any]) -> Iterator[Any]:
    """A value in the kinds that are wanted and the bounds that the schema sets."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        low, high = schema.get("minimum", -1e300), schema.get("maximum", 1e300)
        if "number" in kinds or ("integer" in kinds and value == int(value)):
            if not isinstance(low, (int, float)) or not isinstance(high, (int, float)) or low <= value <= high:
                yield value if "number" in kinds else int(value)
        elif "string" in kinds:
            texts = [str(value), *([str(int(value))] if isinstance(value, float) and value.is_integer() else [])]
            yield from (t for text in texts for t in _as(text, kinds, schema))
    elif isinstance(value, str):
        if "string" in kinds and value and fits(schema, value):
            yield value
        elif "string" not in kinds and kinds & {"integer", "number"} and re.fullmatch(r"-?\d{1,15}(\.\d+)?", value):
            if is_figure(value.lstrip("-")):
                yield from _as(json.loads(value), kinds, schema)
    elif ("array" if isinstance(value, list) else "object") in kinds and len(json.dumps(value)) <= 2000:
        items = schema.get("items")
        if not isinstance(value, list) or not isinstance(items, Mapping) or all(_is(v, kinds_of(items)) for v in value):
            yield value


def _is(value: Any, kinds: frozenset[str]) -> bool:
    """A value is of one of the kinds; of those that a schema lists, any."""
    if isinstance(value, bool) or value is None:
        return not kinds or ("boolean" if isinstance(value, bool) else "null") in kinds
    names = {str: "string", int: "integer", float: "number", list: "array", dict: "object"}
    return not kinds or names[type(value)] in kinds or (isinstance(value, int) and "number" in kinds)


def fits(schema: Mapping[str, Any], text: str) -> bool:
    """A text has the form that a schema wants."""
    pattern = schema.get("pattern")
    return not pattern or _matches(pattern, text)


@functools.lru_cache(100_000)
def _matches(pattern: str, text: str) -> bool:
    return re.search(pattern, text) is not None


def _written(form: str, year: str, month: int, day: int) -> str:
    parts = {"y": year, "m": f"{month:02d}", "d": f"{day:02d}"}
    return re.sub(r"[YyMmDd]+", lambda m: parts[m[0][0].lower()], form)


def fields(about: str) -> Iterable[str]:
    """Names of an object's fields, where only its description says them: ``... objects with a and b``."""
    named = re.search(r"\bwith ([\w, ]+)", about)
    return [w for w in re.split(r",\s*|\s+and\s+|\s+", named[1]) if re.fullmatch(r"[a-z][\w]*", w)] if named else []

"""Calls worth choosing from, made from the tools' schemas and what the conversation showed; never from the reference."""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .calls import Call
from .tool import Tool

_TOKEN = re.compile(r"[#$]?[\w@][\w@.\-]*[\w]|\w|\"[^\"]{1,60}\"|'[^']{1,60}'")
_WORD = r"[A-Z0-9][\w'\-]*"
_NAME = re.compile(rf"[A-Z][\w'\-]*(?: (?:(?:of|the|and|de|in|for) )*{_WORD})+")  # several words that are one name
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
KEPT = 64  # values kept of a kind
CHOICES = 6  # values tried for an argument
PER_TOOL = 12


class Seen(NamedTuple):
    """Values that the conversation showed, the latest last."""

    words: tuple[str, ...] = ()
    """Words, quoted texts and names of the user."""
    named: tuple[tuple[str, Any], ...] = ()
    """(key, value) of objects in results."""

    def hear(self, text: str) -> Seen:
        """With the words of a text."""
        new = [w.strip("\"'") if w[0] in "\"'" else w for w in _TOKEN.findall(text)]
        return self._replace(words=_latest(self.words, [*new, *_NAME.findall(text)]))

    def read(self, text: str) -> Seen:
        """With the values of a tool's result."""
        try:
            found = list(itertools.islice(_leaves(json.loads(text)), KEPT))
        except (ValueError, RecursionError):
            return self.hear(text[:2000])
        return self._replace(named=_latest(self.named, found))


def _latest(old: Sequence[Any], new: Sequence[Any]) -> tuple[Any, ...]:
    merged = dict.fromkeys(old)
    for value in new:
        merged.pop(value, None)
        merged[value] = None
    return tuple(merged)[-KEPT:]


def _leaves(value: Any, key: str = "") -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for k, v in value.items():
            if isinstance(v, (Mapping, list)) and isinstance(k, str) and not _plain_key(k):
                yield key, k  # an object's name as a key
            yield from _leaves(v, str(k))
    elif isinstance(value, list):
        for v in value:
            yield from _leaves(v, key)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool) and len(str(value)) <= 80:
        yield key, value


def _plain_key(key: str) -> bool:
    return re.fullmatch(r"[a-z_]+", key) is not None


def offers(tools: Iterable[Tool], seen: Seen, most: int) -> list[Call]:
    """Calls of every tool with values that fit its arguments, in the order of the tools; at most ``most``.

    Required arguments are filled: choices of the schema, truth values, and of texts and numbers those that were seen under the
    same name (or one that ends alike), or that match the schema's pattern; lists get one value, and all of one kind.
    """
    out: list[Call] = []
    found: dict[Any, list[Any]] = {}
    for tool in tools:
        properties = tool.parameters.get("properties", {})
        needed = [a for a in properties if a in tool.parameters.get("required", ())]
        choices = [_choices(a, properties[a], seen, found) for a in needed]
        for values in itertools.islice(itertools.product(*choices), PER_TOOL):
            out.append(Call(tool.name, dict(zip(needed, values))))
    return out[: max(0, most)]


def _choices(name: str, schema: Mapping[str, Any], seen: Seen, found: dict[Any, list[Any]]) -> list[Any]:
    """Values for an argument; ``found`` keeps texts and numbers by all that they depend on, since tools ask for the same."""
    if schema.get("enum"):
        return list(schema["enum"])
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return [v for s in schema[key] for v in _choices(name, s, seen, found)][:CHOICES]
    kind = schema.get("type")
    if kind == "boolean":
        return [True, False]
    if kind == "array":
        single = _choices(name.removesuffix("s"), schema.get("items") or {"type": "string"}, seen, found)
        return [[v] for v in single] + ([list(single)] if len(single) > 1 else [])  # what is kept is nobody's argument
    if kind in ("integer", "number"):
        low, high = schema.get("minimum", -1e18), schema.get("maximum", 1e18)
        about: Any = (name, kind, low, high)
        if about not in found:
            found[about] = _numbers(name, kind, low, high, seen)
    elif kind == "object":
        return []
    elif about := schema.get("pattern"):
        if about not in found:
            if () not in found:  # all texts, the latest first
                found[()] = _once((*seen.words, *(str(v) for _, v in seen.named)))
            found[about] = list(itertools.islice((w for w in found[()] if _matches(about, w)), CHOICES))
    else:
        about = (name,)
        if about not in found:
            texts = [str(v) for k, v in seen.named if isinstance(v, str) and _alike(k, name)]
            found[about] = _once(texts or [w for w in seen.words if len(w) > 2])[:CHOICES]
    return found[about]


def _numbers(name: str, kind: str, low: float, high: float, seen: Seen) -> list[Any]:
    every = [v for k, v in seen.named if isinstance(v, (int, float)) and _alike(k, name)]
    every += [_number(w) for w in seen.words if _NUMBER.fullmatch(w)]
    return _once([v for v in every if (kind == "number" or isinstance(v, int)) and low <= v <= high])[:CHOICES]


def _once(values: Sequence[Any]) -> list[Any]:
    """Each value once, from the end."""
    return list(dict.fromkeys(reversed(values)))


@functools.lru_cache(200_000)
def _matches(pattern: str, text: str) -> bool:
    return re.search(pattern, text) is not None


def _number(word: str) -> int | float:
    return float(word) if "." in word else int(word)


def _alike(key: str, name: str) -> bool:
    return key == name or (bool(key) and (name.endswith(f"_{key}") or key.endswith(f"_{name}") or f"{key}s" == name))

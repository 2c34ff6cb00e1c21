"""Spaces of agents that talk and call tools: turns (actions) and chat messages (observations)."""

from __future__ import annotations

import json
import multiprocessing as mp
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Space
from gymnasium.vector.utils import create_shared_memory, read_from_shared_memory, write_to_shared_memory

from ..text.spaces import Texts, codes
from .calls import MOST, Call, Turn, dump, parse
from .tool import Tool

ROLES = ("system", "user", "assistant", "tool")
_WORDS = "hello please thanks yes no order account the my 東 ü".split()


class Calls(Space[Any]):
    """What an agent may say in a turn: words, tool calls, or both, in any form that ``calls.parse`` reads.

    A member is a text of at most ``calls.MOST`` characters, or a ``Call``, ``Turn``, mapping or sequence that is a well-formed
    turn. That a tool exists and takes the arguments is not asked: the world answers such calls. ``sample`` draws a ``Turn``
    with one call that fits the schema of one of the tools; without tools it draws words.

    Args:
        tools: those that samples call; only their schemas are kept.
        seed: of ``sample``.
    """

    def __init__(self, tools: Sequence[Tool] = (), seed: int | np.random.Generator | None = None) -> None:
        self.schemas: dict[str, Mapping[str, Any]] = {t.name: t.parameters for t in tools}
        super().__init__(None, None, seed)

    @property
    def is_np_flattenable(self) -> bool:
        """No."""
        return False

    def sample(self, mask: Any = None, probability: Any = None) -> Turn:
        """A turn with a valid call.

        Args:
            mask: names of the tools that may be called; all by default.
            probability: not taken.

        Raises:
            ValueError: a probability is given, or a mask that names no tool.
        """
        if probability is not None:
            raise ValueError("Calls.sample takes no probability")
        names = [n for n in self.schemas if mask is None or n in mask]
        if mask is not None and not names:
            raise ValueError(f"mask is {mask!r}; allowed: names of tools: {', '.join(self.schemas)}")
        if not names:
            return Turn(" ".join(str(w) for w in self.np_random.choice(_WORDS, 3)))
        name = names[int(self.np_random.integers(len(names)))]
        return Turn("", (Call(name, _draw({"type": "object", **self.schemas[name]}, self.np_random)),))

    def contains(self, x: Any) -> bool:
        """Is it a turn?"""
        if isinstance(x, str):
            return len(x) <= MOST and (x.isascii() or not any("\ud800" <= c <= "\udfff" for c in x))
        try:
            return not parse(x).error
        except TypeError:
            return False

    def to_jsonable(self, sample_n: Iterable[Any]) -> list[Any]:
        """Chat messages; texts as they are."""
        return [x if isinstance(x, str) else json.loads(json.dumps(dump(parse(x)))) for x in sample_n]

    def from_jsonable(self, sample_n: list[Any]) -> list[Any]:
        """Turns and texts again."""
        return [x if isinstance(x, str) else parse(x) for x in sample_n]

    def __repr__(self) -> str:
        return f"Calls({', '.join(self.schemas)})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.schemas == other.schemas

    def __hash__(self) -> int:
        return hash((type(self).__name__, tuple(self.schemas)))


class Messages(Space[Any]):
    """Chat messages, a tuple: mappings with a ``role``, a ``content`` and, of assistants, ``tool_calls``.

    Vector environments hand them on as tuples, also through shared memory.

    Args:
        max_length: characters of their JSON, at most.
        seed: of ``sample``.
    """

    def __init__(self, max_length: int, seed: int | np.random.Generator | None = None) -> None:
        self.max_length = int(max_length)
        super().__init__(None, None, seed)

    @property
    def is_np_flattenable(self) -> bool:
        """No."""
        return False

    def sample(self, mask: Any = None, probability: Any = None) -> tuple[dict[str, Any], ...]:
        """One or two messages of the user or of a tool.

        Raises:
            ValueError: a mask or probability is given.
        """
        if mask is not None or probability is not None:
            raise ValueError("Messages.sample takes no mask or probability")
        words = self.np_random.choice(_WORDS, 3)
        roles = self.np_random.choice(["user", "tool"], int(self.np_random.integers(1, 3)))
        return tuple({"role": str(r), "content": " ".join(str(w) for w in words)} for r in roles)

    def contains(self, x: Any) -> bool:
        """Is it a tuple of messages that is not too long?"""
        if not isinstance(x, tuple) or not all(_is_message(m) for m in x):
            return False
        try:
            return len(_packed(x)) <= self.max_length
        except (TypeError, ValueError, RecursionError):
            return False

    def to_jsonable(self, sample_n: Iterable[Any]) -> list[Any]:
        """Lists of messages."""
        return [json.loads(_packed(x)) for x in sample_n]

    def from_jsonable(self, sample_n: list[Any]) -> list[Any]:
        """Tuples again."""
        return [_unpacked(json.dumps(x)) for x in sample_n]

    def __repr__(self) -> str:
        return f"Messages({self.max_length})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.max_length == other.max_length

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.max_length))


def _is_message(m: Any) -> bool:
    return isinstance(m, Mapping) and m.get("role") in ROLES and isinstance(m.get("content"), str)


def _packed(messages: Any) -> str:
    return json.dumps(messages, ensure_ascii=False, separators=(",", ":"))


def _unpacked(text: str) -> tuple[dict[str, Any], ...]:
    """Messages with their calls as tuples, as ``calls.dump`` makes them."""
    out = []
    for m in json.loads(text) if text else ():
        out.append(m | {"tool_calls": tuple(m["tool_calls"])} if "tool_calls" in m else m)
    return tuple(out)


# -- samples -----------------------------------------------------------------------------------------
def _draw(schema: Mapping[str, Any], rng: np.random.Generator) -> Any:
    """A value of a JSON schema: its types, choices, bounds, patterns."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][int(rng.integers(len(schema["enum"])))]
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return _draw(schema[key][int(rng.integers(len(schema[key])))], rng)
    kind = schema.get("type")
    kind = kind[int(rng.integers(len(kind)))] if isinstance(kind, list) and kind else kind
    if kind in ("object", "dict") or (kind is None and "properties" in schema):
        needed = schema.get("required", ())
        properties = schema.get("properties") or {}
        return {k: _draw(s, rng) for k, s in properties.items() if k in needed or rng.random() < 0.3}
    if kind in ("array", "tuple"):
        low = int(schema.get("minItems", 0))
        n = int(rng.integers(low, max(low + 1, min(4, int(schema.get("maxItems", 3)) + 1))))
        return [_draw(schema.get("items") or {"type": "string"}, rng) for _ in range(n)]
    if kind == "boolean":
        return bool(rng.integers(2))
    if kind in ("integer", "number", "float"):
        low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
        low = low + 1 if kind == "integer" and "exclusiveMinimum" in schema else low
        high = schema.get("maximum", schema.get("exclusiveMaximum", low + 20))
        if kind == "integer":
            return int(rng.integers(int(low), max(int(low) + 1, int(high) + ("maximum" in schema))))
        return round(float(rng.uniform(float(low), float(high))), 2)
    if kind == "null":
        return None
    if "pattern" in schema:
        import random

        from rstr import Rstr

        return str(Rstr(random.Random(int(rng.integers(2**32)))).xeger(schema["pattern"]))
    text = " ".join(str(w) for w in rng.choice(_WORDS, 2))
    text += "x" * max(0, int(schema.get("minLength", 0)) - len(text))
    return text[: schema.get("maxLength")]


# -- vectors -----------------------------------------------------------------------------------------
class _Chats(Sequence[Any]):
    """Messages in shared memory as they are now; a copy is a plain tuple."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, i: Any) -> Any:
        return tuple(self)[i] if isinstance(i, slice) else _unpacked(self._texts[i])

    def __deepcopy__(self, memo: Any) -> tuple[Any, ...]:
        return tuple(self)


@create_shared_memory.register(Messages)
def _create(space: Any, n: int = 1, ctx: Any = mp) -> Any:
    return ctx.Array(np.dtype(np.int32).char, n * space.max_length)


@read_from_shared_memory.register(Messages)
def _read(space: Any, shared_memory: Any, n: int = 1) -> Any:
    return _Chats(Texts(np.frombuffer(shared_memory.get_obj(), np.int32).reshape((n, space.max_length))))


@write_to_shared_memory.register(Messages)
def _write(space: Any, index: int, values: Any, shared_memory: Any) -> None:
    size = space.max_length
    data = np.frombuffer(shared_memory.get_obj(), np.int32)
    data[index * size : (index + 1) * size] = codes(_packed(values), size)

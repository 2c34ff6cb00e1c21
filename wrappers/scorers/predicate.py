"""Sub-goals by patterns or functions: a judge without a model, and the baseline of the others."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..shaper import use
from .query import Query, Question, Reply
from .student import new_lines

KEYROOM = {  # what NetHack says when it happens; ours, from playing
    "pick up the key": r"^[a-zA-Z] - .*\bkey\b",
    "open the door": r"\b(?:door opens|door, it (?:crashes open|shatters))",  # WHAMM is a kick that failed
    "reach the stairs": r"\bon a staircase down\b|\bstaircase down here\b",  # the first is our position line
}


@dataclass
class Predicates:
    """True where a pattern is found in the action, the message or the new lines of a transition.

    Raises:
        ValueError: a pattern that is none, or a name that is no function.
    """

    patterns: dict[str, str] = field(default_factory=lambda: dict(KEYROOM))
    """Sub-goal to a regular expression (multi-line, any case), searched in the message and in the new lines."""
    functions: dict[str, Any] = field(default_factory=dict)
    """Sub-goal to a function of the Question (or ``"module:function"``) that says True or False; anything else is "cannot
    say". Answers are kept under the function's name: rename it, or begin a new cache, when it changes."""

    kinds = ("question",)

    def __post_init__(self) -> None:
        for name, value in (("patterns", self.patterns), ("functions", self.functions)):
            if not isinstance(value, dict):
                raise ValueError(f"predicate: {name} is {value!r}; allowed: sub-goals by name")
        self._found: dict[str, re.Pattern[str]] = {}
        for name, pattern in self.patterns.items():
            try:
                self._found[name] = re.compile(pattern, re.I | re.M)
            except (re.error, TypeError) as e:
                raise ValueError(f"predicate: the pattern of {name!r} is {pattern!r}: {e}") from None
        self._calls: dict[str, Callable[[Question], bool | None]] = {n: use(f) for n, f in self.functions.items()}
        for name, f in self._calls.items():
            if not callable(f):
                raise ValueError(f"predicate: {name!r} is {f!r}; allowed: a function of the Question")

    @property
    def identity(self) -> dict[str, Any]:
        """The patterns, and the names of the functions."""
        names = {n: f if isinstance(f, str) else _live(f) for n, f in self.functions.items()}
        return {"scorer": "predicate", "patterns": self.patterns, "functions": names}

    def reply(self, batch: Sequence[Query]) -> list[Reply | None]:
        """JSON of truth values; sub-goals without a rule, or whose rule cannot say, are left out."""
        return [self._one(q) if isinstance(q, Question) else None for q in batch]

    def _one(self, q: Question) -> Reply | None:
        text = f"{q.message}\n{new_lines(q.before, q.after)}"
        out: dict[str, bool] = {}
        for g in q.subgoals:
            said = self._calls[g](q) if g in self._calls else None
            if g in self._found and g not in self._calls:
                said = self._found[g].search(text) is not None
            if isinstance(said, (bool, np.bool_)):
                out[g] = bool(said)
        return Reply(json.dumps(out)) if out else None

    def read(self, raw: str, query: Query) -> Any:
        """The truth values as 1.0 and 0.0."""
        return query.parse(raw)


def _live(f: Any) -> str:
    """A name of a function without one of its own: two lambdas must not share answers."""
    code = getattr(f, "__code__", None)
    digest = zlib.crc32(code.co_code + repr((code.co_names, code.co_consts)).encode(errors="replace")) if code else 0
    return f"live:{getattr(f, '__qualname__', type(f).__qualname__)}:{digest:08x}"

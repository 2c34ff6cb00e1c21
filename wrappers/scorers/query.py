"""What is asked, what comes back, and what a scorer is."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

SCHEMA = 1  # raised when the same words would mean another question

# "T:5" as NetHack's status line has it, and turn(s), time, step(s), moves with a number. The letter first, then that no word
# stands before it: so written, it takes a fifth of the time on a map.
_VOLATILE = re.compile(
    r"([TtSsMm](?<!\w[\s\S])(?:(?<=[Tt]):\s*|(?i:(?<=t)urns?|(?<=t)ime|(?<=s)teps?|(?<=m)oves)[\s:#]*))"
    r"\d+(?:\s*(?:/|of)\s*\d+)?\b"
)


def strip_volatile(text: str) -> str:
    """Text with ``_`` for counts of turns, steps, moves and time: with them no two states would ever be equal."""
    return _VOLATILE.sub(r"\1_", text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in an object: which one is meant?")
    return found


_OPEN = re.compile(r'\{\s*["}]')
_DECODER = json.JSONDecoder(object_pairs_hook=_once)


def find_object(raw: str) -> dict[str, Any] | None:
    """The last whole JSON object in a text, or None; never evaluated, only parsed.

    What stands inside an object that is broken, or was cut off, is no object of its own. A name that stands twice, or a
    depth or number beyond what Python reads, makes the text unreadable.
    """
    found, at = None, 0
    while start := _OPEN.search(raw, at):
        try:
            found, at = _DECODER.raw_decode(raw, start.start())
        except json.JSONDecodeError as e:
            at = max(start.start() + 1, e.pos)
        except (ValueError, RecursionError):
            return None
    return found


def _share(value: Any) -> float | None:
    """A truth value or a number in [0, 1] as a probability; anything else is no answer."""
    if isinstance(value, (bool, int, float, np.bool_, np.integer, np.floating)) and 0.0 <= value <= 1.0:
        return float(value)
    return None


class Question(NamedTuple):
    """Which of these sub-goals did this transition reach? Answer: probability of each, ``dict[str, float]``."""

    subgoals: tuple[str, ...]
    task: str
    before: str
    action: str
    message: str
    after: str

    @property
    def kind(self) -> str:
        """Name of this kind of query."""
        return "question"

    def canonical(self, canon: Callable[[str], str]) -> Question:
        """The same without what is volatile; it is what the scorer sees."""
        return Question(
            tuple(sorted(set(self.subgoals))),
            *(canon(x) for x in (self.task, self.before, self.action, self.message, self.after)),
        )

    def parse(self, raw: str) -> dict[str, float] | None:
        """Unknown sub-goals are dropped; what is neither true, false nor in [0, 1] counts as not said."""
        found = find_object(raw)
        if found is None:
            return None
        said = {g: _share(found[g]) for g in self.subgoals if g in found}
        out = {g: p for g, p in said.items() if p is not None}
        return None if said and not out else out

    def allows(self, value: Any) -> bool:
        """Is this an answer at all? What else a scorer reads out of its text counts as unreadable."""
        return isinstance(value, dict) and all(g in self.subgoals and _share(p) is not None for g, p in value.items())


class Proposal(NamedTuple):
    """Which sub-goals does this task have? Answer: up to ``limit`` short phrases, ``tuple[str, ...]``."""

    task: str
    limit: int = 6

    @property
    def kind(self) -> str:
        """Name of this kind of query."""
        return "proposal"

    def canonical(self, canon: Callable[[str], str]) -> Proposal:
        """The same without what is volatile."""
        return Proposal(canon(self.task), self.limit)

    def parse(self, raw: str) -> tuple[str, ...] | None:
        """The strings of the list ``subgoals``; each once, lower case, without a full stop."""
        found = find_object(raw)
        listed = found.get("subgoals") if found else None
        if not isinstance(listed, list):
            return None
        names = [" ".join(x.split()).strip(" .").lower()[:80] for x in listed if isinstance(x, str)]
        return tuple(dict.fromkeys(n for n in names if n))[: self.limit] or None

    def allows(self, value: Any) -> bool:
        """Is this an answer at all?"""
        return isinstance(value, tuple) and all(isinstance(x, str) and x for x in value)


class Rating(NamedTuple):
    """How well does this text meet the task? Answer: a reward in [0, 1] from grades 1 to 5, ``float``.

    RoboReward (arXiv 2601.00675): 1 nothing of it, 5 all of it; reward ``(grade - 1) / 4``.
    """

    task: str
    text: str

    @property
    def kind(self) -> str:
        """Name of this kind of query."""
        return "rating"

    def canonical(self, canon: Callable[[str], str]) -> Rating:
        """The same without what is volatile."""
        return Rating(canon(self.task), canon(self.text))

    def parse(self, raw: str) -> float | None:
        """The number ``grade``, 1 to 5 (a model that weighs grades may say one in between)."""
        found = find_object(raw)
        grade = found.get("grade") if found else None
        if isinstance(grade, bool) or not isinstance(grade, (int, float)) or not 1.0 <= grade <= 5.0:
            return None
        return (float(grade) - 1.0) / 4.0

    def allows(self, value: Any) -> bool:
        """Is this an answer at all?"""
        return _share(value) is not None


class Text(NamedTuple):
    """A text to embed. Answer: a float32 vector ``(d,)`` of length 1."""

    text: str

    @property
    def kind(self) -> str:
        """Name of this kind of query."""
        return "text"

    def canonical(self, canon: Callable[[str], str]) -> Text:
        """The same without what is volatile."""
        return Text(canon(self.text))

    def parse(self, raw: str) -> np.ndarray[Any, np.dtype[np.float32]] | None:
        """The list ``vector`` of numbers, scaled to length 1."""
        found = find_object(raw)
        listed = found.get("vector") if found else None
        if not isinstance(listed, list) or not all(type(x) in (int, float) for x in listed):
            return None
        try:
            v = np.array(listed, np.float64)
        except OverflowError:  # JSON has whole numbers of any length
            return None
        with np.errstate(over="ignore"):
            norm = float(np.linalg.norm(v))
        return (v / norm).astype(np.float32) if 0.0 < norm < np.inf else None

    def allows(self, value: Any) -> bool:
        """Is this an answer at all?"""
        return isinstance(value, np.ndarray) and value.ndim == 1 and value.size > 0 and bool(np.isfinite(value).all())


Query = Question | Proposal | Rating | Text


class Reply(NamedTuple):
    """What a scorer said about one query, before it is parsed."""

    raw: str
    """The text that is kept; parsing it again costs no call."""
    tokens: int = 0
    """Read and written."""
    cost: float = 0.0
    """In the currency of the scorer's prices."""


class Scorer(Protocol):
    """A judge, an embedder or a reward model: batches of queries in, texts out, and how to read them.

    ``identity`` is all that an answer depends on (JSON, no secret): with the query it makes the key under which an
    answer is kept, so another model, temperature or prompt never meets old answers. What only changes how an answer is
    *read* (a threshold) does not belong there. A scorer may have a method ``ready()`` that raises where its model or key is
    missing; it is called before the first question, and not where only the cache is read.
    """

    kinds: tuple[str, ...]
    """Kinds of query that it answers."""

    @property
    def identity(self) -> dict[str, Any]:
        """All that an answer depends on."""
        ...

    def reply(self, batch: Sequence[Query]) -> list[Reply | None]:
        """One reply a query, in order; None where it has nothing to say. May raise: that is counted, never a reward."""
        ...

    def read(self, raw: str, query: Query) -> Any:
        """The value of a kept text, or None if it cannot be understood; usually ``query.parse(raw)``."""
        ...


def key(identity: dict[str, Any], query: Query) -> str:
    """sha256 of the JSON list [schema, scorer's identity, kind, fields of the canonical query], names sorted, ASCII."""
    parts = [SCHEMA, identity, query.kind, list(query)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=True).encode()).hexdigest()

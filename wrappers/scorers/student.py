"""A small student that is distilled from a judge's answers: logistic regression on hashed words."""

from __future__ import annotations

import functools
import itertools
import re
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from .query import Question
from .settings import check

REPLAY = 2_000  # latest lessons that are gone over again
Vector = tuple["np.ndarray[Any, np.dtype[np.intp]]", "np.ndarray[Any, np.dtype[np.float64]]"]  # places and values


@functools.lru_cache(2_000)
def _features(subgoal: str, action: str, message: str, new: str, dim: int) -> Vector:
    """Signed counts (crc32) of words and of pairs (word of the sub-goal, word of what is new), of length 1."""
    goal = re.findall(r"\w+", subgoal.lower())
    codes: list[int] = []
    for place, text in (("a", action), ("m", message), ("n", new)):
        words = re.findall(r"\w+", text.lower())
        tokens = [*words, *(f"{a} {b}" for a, b in itertools.pairwise(words))]
        for token in (*tokens, *(f"{g}*{w}" for g in (*goal, subgoal) for w in tokens)):
            codes.append(zlib.crc32(f"{place}:{token}".encode(errors="replace")))
    code = np.array(codes, np.int64)
    at, back = np.unique((code >> 1) % dim, return_inverse=True)
    count = np.bincount(back.ravel(), np.where(code & 1, 1.0, -1.0), len(at))
    return at, count / (float(np.linalg.norm(count)) or 1.0)


def new_lines(before: str, after: str) -> str:
    """Lines of ``after`` that ``before`` has not: what a transition changed."""
    old = set(before.splitlines())
    return "\n".join(line for line in after.splitlines() if line not in old)


@dataclass
class Student:
    """Answers where it is sure, after enough lessons; a random share still goes to the teacher, as an audit.

    One step of stochastic gradient descent on the cross-entropy a lesson, and ``replay`` more on earlier ones, so that
    nothing is fitted in one go. ``audit`` compares what it *would have* said on lessons that it was ready for.

    Raises:
        ValueError: a setting outside its range.
    """

    min_lessons: int = 200
    """Answers of the teacher before it speaks at all."""
    confidence: float = 0.95
    """It speaks where every sub-goal's probability is at least this far from doubt (or 1 minus it)."""
    audit: float = 0.05
    """Share of questions that go to the teacher although it is sure."""
    min_agreement: float = 0.9
    """Share of audits that it must pass; below, it falls silent until it passes again."""
    dim: int = 4096
    """Hashed features."""
    rate: float = 2.0
    """Step of the gradient descent."""
    replay: int = 8
    """Earlier lessons that are gone over again with each new one."""
    seed: int = 0
    """Of audits and replays."""

    def __post_init__(self) -> None:
        for name, low in {"min_lessons": 1, "dim": 1, "replay": 0, "seed": 0}.items():
            check("student", name, getattr(self, name), low, whole=True)
        ranges = {"confidence": (0.5, 1), "audit": (0, 1), "min_agreement": (0, 1), "rate": (1e-6, 1e3)}
        for name, ends in ranges.items():
            check("student", name, getattr(self, name), *ends)
        # apart: what it learns depends on its lessons only, not on how often it was asked
        self._audits, self._replays = (np.random.default_rng([self.seed, i]) for i in (0, 1))
        self._w = np.zeros(self.dim)
        self._bias = 0.0
        self._lessons: list[tuple[Vector, float]] = []
        self._seen = self._rows = 0
        self._passed: list[bool] = []

    def _vectors(self, q: Question) -> list[Vector]:
        new = new_lines(q.before, q.after)
        return [_features(g, q.action, q.message, new, self.dim) for g in q.subgoals]

    def _say(self, x: Vector) -> float:
        at, value = x
        return float(1.0 / (1.0 + np.exp(-np.clip(self._w[at] @ value + self._bias, -30.0, 30.0))))

    @property
    def ready(self) -> bool:
        """Has it had its lessons, and does it pass its audits?"""
        recent = self._passed[-50:]
        return self._seen >= self.min_lessons and (len(recent) < 10 or sum(recent) / len(recent) >= self.min_agreement)

    def answer(self, q: Question) -> dict[str, float] | None:
        """Probabilities, or None: not ready, not sure, or this one is the teacher's."""
        if not self.ready or self._audits.random() < self.audit:
            return None
        said = {g: self._say(x) for g, x in zip(q.subgoals, self._vectors(q))}
        return said if all(max(p, 1.0 - p) >= self.confidence for p in said.values()) else None

    def learn(self, q: Question, answer: dict[str, float]) -> None:
        """One lesson a sub-goal (False where the teacher left it out); first, would it have said the same?"""
        rows = [(x, float(answer.get(g, 0.0) >= 0.5)) for g, x in zip(q.subgoals, self._vectors(q))]
        if self._seen >= self.min_lessons:
            said = [self._say(x) for x, _ in rows]
            if all(max(p, 1.0 - p) >= self.confidence for p in said):  # it would have spoken
                self._passed.append(all((p >= 0.5) == bool(y) for p, (_, y) in zip(said, rows)))
        self._seen += 1
        for x, y in rows:
            again = self._replays.integers(0, len(self._lessons), self.replay if self._lessons else 0)
            for u, v in [(x, y), *(self._lessons[i] for i in again)]:
                slope = self.rate * (v - self._say(u))
                self._w[u[0]] += slope * u[1]
                self._bias += 0.1 * slope
            if len(self._lessons) < REPLAY:
                self._lessons.append((x, y))
            else:
                self._lessons[self._rows % REPLAY] = x, y  # the oldest goes
            self._rows += 1

    def report(self) -> dict[str, float]:
        """``lessons``, ``audits`` and the share of audits passed (``agreement``, NaN before the first)."""
        n = len(self._passed)
        return {
            "lessons": float(self._seen),
            "audits": float(n),
            "agreement": sum(self._passed) / n if n else float("nan"),
        }

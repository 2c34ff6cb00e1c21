"""MatchTIR: tool calls are matched to those of a reference trace, and a turn earns what its calls are worth.

    S_ij = 1[same tool] (1 + Jaccard of the parameters' names + number of equal values) / (2 + number of reference parameters)
    hard:  the one-to-one assignment with the largest sum of S; a call earns S_ij, one without a partner ``unmatched``
    soft:  Z = optimal transport of cost -S, uniform marginals 1/m and 1/n, entropy ``ot_reg``; a call earns sum_j Z_ij S_ij
    r'_t = r_t + mean over the calls of turn t, and 0 more in a turn without calls

"MatchTIR" (arXiv 2601.10712), whose names for the two are KM and OT. m calls of the whole episode meet n of the reference in
whatever order; p is a call made, its tool's name counts without case. The advantages are ``DualLevelAdvantage``'s.

Paper and code: what the authors' code calls the Hungarian assignment takes the largest S first and never looks back:
``assignment="greedy"``; the default is the paper's. ``unmatched`` is the paper's -lambda; the code's function has -0.5, and its
training run 0, as here.

The outcome: in the paper the last turn has the token F1 of the answer and nothing else pays. Here the environment's own reward
stays what it is (``final="env"``); ``"answer_f1"`` adds the F1 to the last step, and ``[Scale(0.0), ToolMatch(...)]`` pays
nothing beside. No answer earns 0, so an episode that was cut off does.

Hacks: a call of the reference pays once, so with ``unmatched=0`` an episode earns at most n, however many calls it makes; of
equal calls the first one counts. But right calls in a useless order, or that failed, pay as well, and so does a guess at names
(2 / (2 + parameters) and more): keep the outcome above it, or gate it (``GatedRewardAccumulation``). With a negative
``unmatched`` an agent may learn not to call at all.

Invariance: none.

Departures: JSON's true is not 1. Among assignments of the same sum the order of the reference decides nothing, that of
the calls may. An environment that publishes no calls cannot be told from an agent that makes none: ``stats`` counts.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..maths import fingerprint, split
from ..shaper import Shaper, use
from ..types import Floats, Trajectory


def same(a: Any, b: Any) -> bool:
    """Are two JSON values equal? True is not 1."""
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def token_f1(answer: Any, gold: Any) -> float:
    """F1 of two texts' sets of words, without case and punctuation; 0 where a side has none."""
    a, b = (set(re.sub(r"[^\w\s]", "", "" if x is None else str(x).lower()).split()) for x in (answer, gold))
    return 2 * len(a & b) / (len(a) + len(b)) if a and b else 0.0


def largest(s: Floats) -> NDArray[np.intp]:
    """``(m,)`` column of each row of ``s`` (m, n), 0 or more, in the assignment with the largest sum; -1: a row alone.

    Kuhn and Munkres by shortest augmenting paths, one row after the other: min(m, n)^2 (m + n) at most.
    """
    m, n = s.shape
    if m > n:
        rows, out = largest(s.T), np.full(m, -1)
        out[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
        return out
    width = n + m  # each row may have a column of its own that is worth nothing
    cost = np.hstack([-s, np.zeros((m, m))]).tolist()  # lists: at ten calls a numpy call costs more than its work
    u, v, owner = [0.0] * m, [0.0] * width, [-1] * width
    for row in range(m):
        least, came, i, j = [math.inf] * width, [-1] * width, row, -1
        free, seen = list(range(width)), list[int]()
        while i >= 0:  # until a column that is free
            reduced, own, step, best = cost[i], u[i], math.inf, -1
            for k in free:
                gap = reduced[k] - own - v[k]
                if gap < least[k]:
                    least[k], came[k] = gap, j
                if least[k] < step:
                    step, best = least[k], k
            u[row] += step
            for k in seen:
                u[owner[k]] += step
                v[k] -= step
            free.remove(best)
            seen.append(best)
            for k in free:
                least[k] -= step
            i, j = owner[best], best
        while j >= 0:  # every row on the path moves on by one
            owner[j] = owner[came[j]] if came[j] >= 0 else row
            j = came[j]
    out = np.full(m, -1)
    for k, i in enumerate(owner[:n]):
        if i >= 0 and s[i, k] > 0:
            out[i] = k
    return out


def greedy(s: Floats) -> NDArray[np.intp]:
    """The same, but the largest entry that is left first."""
    out = np.full(len(s), -1)
    for k in np.argsort(-s, axis=None, kind="stable"):
        i, j = divmod(int(k), s.shape[1])
        if s[i, j] > 0 and out[i] < 0 and j not in out:
            out[i] = j
    return out


def transport(s: Floats, reg: float, iters: int) -> Floats:
    """``(m, n)`` plan between uniform marginals that favours large ``s``: Sinkhorn on logarithms, rows exact."""
    m, n = s.shape
    k, f = s / reg, np.zeros((m, 1))
    for _ in range(iters):
        g = -np.logaddexp.reduce(k + f, axis=0, keepdims=True) - math.log(n)
        f = -np.logaddexp.reduce(k + g, axis=1, keepdims=True) - math.log(m)
    return np.asarray(np.exp(k + f + g), np.float64)


@dataclass
class ToolMatch(Shaper):
    """Adds to each turn the mean worth of its calls, known when the episode is over.

    Raises:
        ValueError: a setting outside its range, or one that the assignment does not use.
        MissingFact: the reset publishes no reference: make the environment with ``expose_reference=True``.
    """

    assignment: Literal["hungarian", "greedy", "ot"] = "hungarian"
    """The best one-to-one assignment (KM), the code's greedy one, or optimal transport (OT)."""
    unmatched: float = 0.0
    """What a call without a partner earns, 0 or less; not with ``"ot"``."""
    ot_reg: float = 0.1
    """Entropy of the transport, from 1e-3."""
    ot_iters: int = 200
    """Sinkhorn's iterations."""
    equal: Any = "milepost.wrappers.episode.match_tir:same"
    """``"module:function"`` or a function that says whether two values of a parameter are equal."""
    final: Literal["env", "answer_f1"] = "env"
    """The last turn's outcome: the environment's reward alone, or with the token F1 of ``info["answer"]``."""
    gold: str = "reference_answer"
    """Key of the reset info with the right answer, for F1."""
    key: str = "tool_calls"
    """Info key of a step's calls, ``{"name", "arguments", ...}`` each."""
    reference: str = "reference"
    """Key of the reset info with the reference trace, ``{"name", "arguments"}`` each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not -math.inf < self.unmatched <= 0.0:
            raise ValueError(f"tool_match: unmatched = {self.unmatched}, allowed is 0 or less: else useless calls pay")
        if self.assignment == "ot" and self.unmatched:
            raise ValueError("tool_match: unmatched is for one-to-one assignments; in transport every call has a share")
        if not 1e-3 <= self.ot_reg < math.inf or self.ot_iters < 1:
            raise ValueError(
                f"tool_match: ot_reg = {self.ot_reg} and ot_iters = {self.ot_iters}, allowed are from 1e-3 and from 1"
            )

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The reference, and the answer's if it is compared."""
        return (self.reference, self.gold) if self.final == "answer_f1" else (self.reference,)

    def setup(self, rng: np.random.Generator) -> None:
        """``_stats`` counts calls, and those worth something."""
        self._equal = use(self.equal)
        self._stats: Counter[str] = Counter({"calls": 0, "calls that match": 0})

    def similarity(self, call: Mapping[str, Any], gold: Mapping[str, Any]) -> float:
        """S of a call and one of the reference, in [0, 1]."""
        if str(call["name"]).lower() != str(gold["name"]).lower():
            return 0.0
        a, b = call["arguments"], gold["arguments"]
        names = len(a.keys() & b.keys()) / len(a.keys() | b.keys()) if a or b else 1.0
        values = sum(k in a and bool(self._equal(a[k], v)) for k, v in b.items())
        return (1.0 + names + values) / (2 + len(b))

    def worth(self, s: Floats) -> Floats:
        """``(m,)`` what each call earns, from the similarities (m, n)."""
        if not s.size:
            return np.full(len(s), self.unmatched)
        if self.assignment == "ot":
            return np.asarray((transport(s, self.ot_reg, self.ot_iters) * s).sum(1), np.float64)
        partner = (greedy if self.assignment == "greedy" else largest)(s)
        out = np.where(partner >= 0, s[np.arange(len(s)), partner], self.unmatched)
        equal: dict[tuple[float, ...], list[int]] = {}
        for i, row in enumerate(s.tolist()):
            equal.setdefault(tuple(row), []).append(i)
        for rows in equal.values():  # which of equal calls is matched is free: the first
            out[rows] = np.sort(out[rows])[::-1]
        return np.asarray(out, np.float64)

    def episode(self, traj: Trajectory) -> Floats:
        """Matches all calls at once and pays each turn its mean."""
        turns = [list(info.get(self.key, ())) for info in traj.infos[1:]]
        gold = sorted(traj.infos[0][self.reference], key=fingerprint)  # its order decides no tie
        s = np.array([[self.similarity(c, g) for g in gold] for turn in turns for c in turn], np.float64)
        worth = self.worth(s.reshape(sum(map(len, turns)), len(gold)))
        self._stats["calls"] += len(worth)
        self._stats["calls that match"] += int((worth > 0).sum())
        parts = split(worth, turns) if turns else []
        out = traj.rewards + np.array([w.mean() if len(w) else 0.0 for w in parts], np.float64)
        if self.final == "answer_f1" and len(out):
            out[-1] += token_f1(traj.infos[-1].get("answer"), traj.infos[0][self.gold])
        return out

r"""SCAR: the steps of an episode share its worth as players of a cooperative game do, by Shapley values.

    SV_t = sum_{S without t} |S|! (T - |S| - 1)! / T!  (v(S + t) - v(S)),     v(S) the worth of the steps S alone
    r'_t = alpha SV_t + (1 - alpha) 1[t = T - 1] v(all)

SCAR in "Towards better dense rewards" (arXiv 2512.04302), formulas from public notes [T]; Shapley (1953), Owen (1977),
"Values of games with a priori unions". v is a function of the trajectory and of the steps, ``value``: tests that pass
when only these edits are applied, what a scorer says of the transcript with only these turns. Two are here: ``earned``
(the rewards of the steps: each gets its own) and ``covered`` (the share of sub-goals reached by the steps: who repeats
shares).

How it is computed: exactly, over all 2^T coalitions, up to ``exact`` steps; above that over random orders (unbiased,
and the sum is exact). With ``segments``, runs of steps that belong together (a number of steps, or the info key that
changes where the next run begins, as ``turn``), it is Owen's value: runs enter as a whole, and within a run its steps
do; exact as long as a run's steps and the other runs are at most ``exact``, over random orders that keep runs together
above.

Invariance: none. Efficiency: sum SV = v(all) - v(none), so with v(none) = 0 the rewards sum to v(all) for every alpha;
``conserve`` shares a v(none) that is not 0 evenly. Steps that are alike get the same, one that adds nothing to any
coalition gets 0, values of a sum of games are the sums; over a run Owen's values sum to the run's Shapley value among
runs.

Hacks: as good as v: a v that grows with the number of steps pays for length.

Departures: the KL term of the paper is the trainer's. What was paid so far is replaced, ``combine="add"`` keeps it [I];
an episode is the game, its tokens are not.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..maths import EXACT, number, orders, shapley
from ..shaper import MissingFact, Shaper, use
from ..types import Floats, Trajectory

Value = Callable[[Trajectory, tuple[int, ...]], Any]


def earned(traj: Trajectory, steps: tuple[int, ...]) -> float:
    """The rewards of these steps."""
    return float(traj.rewards[list(steps)].sum())


def covered(traj: Trajectory, steps: tuple[int, ...]) -> float:
    """Share of ``info["subgoals"]`` that one of these steps at least has reached: it holds after the step and did not before.

    Raises:
        MissingFact: the environment does not publish ``subgoals``.
    """
    if len(traj) and "subgoals" not in traj.infos[-1]:
        raise MissingFact("shapley_steps", "subgoals")
    flags = [i.get("subgoals", {}) for i in traj.infos]
    reached = {g for t in steps for g, holds in flags[t + 1].items() if holds and not flags[t].get(g)}
    return len(reached) / max(len(traj.infos[-1]["subgoals"]), 1) if len(traj) else 0.0


def members(coalition: int, n: int) -> tuple[int, ...]:
    """The steps whose bit is set, ascending."""
    raw = np.frombuffer(coalition.to_bytes((n + 7) // 8 or 1, "little"), np.uint8)
    return tuple(np.flatnonzero(np.unpackbits(raw, bitorder="little")).tolist())


def owen(runs: list[list[int]], value: Callable[[int], float]) -> Floats:
    """Owen's values, exact: a run enters among runs, a step within its run; ``value`` as for ``shapley``."""
    out = np.zeros(sum(map(len, runs)))
    whole = [sum(1 << i for i in run) for run in runs]
    for k, run in enumerate(runs):
        others = whole[:k] + whole[k + 1 :]
        # of orders of runs, the share in which exactly these come first: h! (m - h - 1)! / m!
        for h in range(1 << len(others)):
            before = sum(w for j, w in enumerate(others) if h >> j & 1)
            size = h.bit_count()
            weight = 1.0 / (len(runs) * math.comb(len(others), size))

            def inside(s: int, before: int = before, run: list[int] = run) -> float:
                return value(before | sum(1 << i for j, i in enumerate(run) if s >> j & 1))

            out[run] += weight * shapley(len(run), inside)
    return out


@dataclass
class ShapleySteps(Shaper):
    """Redistributes the worth of an episode over its steps.

    Raises:
        ValueError: a setting outside its range, no value function, or one that gives no finite number.
        MissingFact: the environment does not publish the key of ``segments``.
    """

    value: str | Value = ""
    """``(trajectory, steps) -> worth`` of the episode with only these steps (numbers from 0, ascending), a function or
    ``"module:function"``; it must not look at what else was done."""
    alpha: float = 1.0
    """Weight of the Shapley values; the rest is paid at the last step."""
    exact: int = EXACT
    """Steps up to which all coalitions are looked at."""
    orders: int = 64
    """Random orders above that."""
    segments: int | str = 0
    """Steps of a run, or the info key whose value tells runs apart, read before a step; 0: each step for itself."""
    combine: Literal["replace", "add"] = "replace"
    """Instead of the rewards so far, or beside them."""
    conserve: bool = False
    """Share v(none) evenly, so that the sum is v(all)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.value:
            raise ValueError("shapley_steps: value is missing: a function of (trajectory, steps), or 'module:function'")
        if not 0.0 <= self.alpha <= 1.0 or not 0 <= self.exact <= 20 or self.orders < 1:
            raise ValueError(
                f"shapley_steps: alpha = {self.alpha}, exact = {self.exact}, orders = {self.orders}; allowed are 0 to 1, 0 to "
                "20, 1 or more"
            )
        if isinstance(self.segments, int) and self.segments < 0:
            raise ValueError(f"shapley_steps: segments = {self.segments}, allowed is 0 or more, or an info key")

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """What tells runs apart."""
        return (self.segments,) if isinstance(self.segments, str) else ()

    @property
    def additive(self) -> bool:  # type: ignore[override]
        """Where the rewards so far stay and are not what is shared."""
        return self.combine == "add" and self.value not in (earned, f"{__name__}:earned")

    def setup(self, rng: np.random.Generator) -> None:
        """Looks the function up; ``_stats`` counts episodes by how they were computed."""
        self.seed = int(rng.integers(2**31))
        self._value = use(self.value)
        if not callable(self._value):
            raise ValueError(f"shapley_steps: value is {self._value!r}, a function is expected")
        self._stats: Counter[str] = Counter({"exact": 0, "sampled": 0})

    def episode(self, traj: Trajectory) -> Floats:
        """``(T,)`` shares of the worth."""
        n = len(traj)
        kept = traj.rewards.copy() if self.combine == "add" else np.zeros(n)
        if not n:
            return kept
        known: dict[int, float] = {}

        def value(coalition: int) -> float:
            if coalition not in known:
                known[coalition] = x = float(number(self._value(traj, members(coalition, n))))
                if not np.isfinite(x):
                    raise ValueError(f"shapley_steps: value gave {x} for the steps {members(coalition, n)}")
            return known[coalition]

        shares = self._shares(n, value, self._runs(traj))
        if self.conserve:
            shares = shares + value(0) / n
        out = kept + self.alpha * shares
        out[-1] += (1.0 - self.alpha) * value((1 << n) - 1)
        return np.asarray(out, np.float64)

    def _runs(self, traj: Trajectory) -> list[list[int]]:
        """Steps by run; each alone where there are none."""
        n = len(traj)
        if isinstance(self.segments, int):
            size = self.segments or 1
            return [list(range(i, min(i + size, n))) for i in range(0, n, size)]
        marks = [traj.infos[t][self.segments] for t in range(n)]
        starts = [t for t in range(n) if t == 0 or marks[t] != marks[t - 1]]
        return [list(range(a, b)) for a, b in zip(starts, [*starts[1:], n])]

    def _shares(self, n: int, value: Callable[[int], float], runs: list[list[int]]) -> Floats:
        longest = max(map(len, runs))
        exact = (n if longest == 1 else longest + len(runs) - 1) <= self.exact
        self._stats["exact" if exact else "sampled"] += 1
        if exact:
            return shapley(n, value) if longest == 1 else owen(runs, value)
        rng = np.random.default_rng([self.seed, n])
        outer = orders(len(runs), self.orders, rng)
        if longest == 1:
            return shapley(n, value, outer)
        within = [[i for k in order for i in rng.permutation(runs[k]).tolist()] for order in outer]
        return shapley(n, value, within)

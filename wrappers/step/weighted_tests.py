"""Tests weighted by their difficulty as a dense reward, paid online: VeRPO with weights from earlier groups.

    R(run) = sum_j w'_j 1[test j passed in this run] / sum_j w'_j, in [0, 1]
    w'_j   = exp(-alpha rho_j) / (N_j + delta),    N_j = sum_k exp(-(rho_j - rho_k)^2 / (2 sigma^2))
    delta:  r'_t = r_t + beta (R(run at t) - R(run before)), 0 where none was
    level:  r'_t = r_t + beta R(run at t)

Wang et al. (2026), VeRPO, arXiv 2601.03525 v3, whose R_turn this is, with pass rates rho of test j over the test runs of
*earlier* groups of the same task, where the paper takes the running group's (``DenseTestAdvantage``, whose text says which
parts of the formula are a third party's [S]). So it works on one environment alone, without a group. Paying online, paying
the change, the division by the sum of the weights, ``decay``, and that a test without a weight pays nothing are ours [I].

Hacks: ``kind="delta"`` telescopes: undiscounted, an episode is paid ``beta (R(last run) - R(reset))``, -beta to beta.
The same result again pays exactly 0, and a test that is broken and mended again pays nothing in sum. Where the reset
publishes no tests the first run is paid its whole R, once: not "the first run is the mark", which would pay for breaking the
tests before it. ``kind="level"`` is the paper's R_turn as a reward and pays every run of the same tests again: use it only
where each turn is one test run and their number is fixed. A test that a run does not mention failed in it, and one
without a weight pays nothing, so neither running a part of the tests nor adding one's own pays.

Invariance: none (a potential without discount whose last value is kept: it adds the last R to the return).

Departures: until ``learn`` has seen a task all tests that its episode has published so far weigh the same, as the formula
gives for equal pass rates; only then a first run of a part of the tests looks complete until the next run. An episode keeps
the weights that it began with. An environment that never publishes tests cannot be told from an agent that never runs
them: ``stats`` counts test runs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ..maths import rarity
from ..shaper import Shaper
from ..types import Trajectory, Transition


@dataclass
class WeightedTests(Shaper):
    """Adds the change (or the level) of the weighted share of tests that pass, at steps at which tests ran.

    Shared memory, written by ``learn``: ``passes`` and ``runs``, decayed counts by task (and test). The state is
    ``(weights by test, are they known or made up as tests appear, R of the last run)``.

    Raises:
        ValueError: a setting outside its range.
    """

    kind: Literal["delta", "level"] = "delta"
    """Pay the change of R since the run before, or R at every run."""
    beta: float = 1.0
    """Pay of all tests together."""
    weights: dict[str, float] = field(default_factory=dict)
    """Weight of each test, 0 or more; nothing is learnt then, and a test not named pays nothing. Empty: learnt."""
    alpha: float = 2.0
    """How much more a hard test weighs: exp(-alpha rho)."""
    sigma: float | Literal["auto"] = "auto"
    """Width in which pass rates count as alike, from 1e-6; ``"auto"``: half the std of the pass rates, 1e-3 at least [S]."""
    delta: float = 1e-6
    """Guards the division by the density [S]."""
    decay: float = 0.9
    """Share of a task's older counts kept when ``learn`` sees it again; 0: the last batch alone, 1: all alike [I]."""
    by: str = "task"
    """Key of the reset info's ``meta`` by which pass rates are kept apart; ``""``: tests of one name are one."""
    key: str = "tests"
    """Info key of a run's results, ``dict[str, bool]``, published at steps at which tests ran."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("beta", "alpha", "delta"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"weighted_tests: {name} = {getattr(self, name)}, allowed is 0 or more")
        if not 0.0 <= self.decay <= 1.0:
            raise ValueError(f"weighted_tests: decay = {self.decay}, allowed is 0 to 1")
        if not isinstance(self.sigma, str) and not 1e-6 <= self.sigma < math.inf:
            raise ValueError(f"weighted_tests: sigma = {self.sigma}, allowed is 'auto' or a number from 1e-6")
        if self.weights and not (
            all(0.0 <= w < math.inf for w in self.weights.values()) and any(self.weights.values())
        ):
            raise ValueError("weighted_tests: weights are 0 or more and finite, and one at least is above 0")

    @property
    def learns(self) -> bool:
        """Unless the weights are given."""
        return not self.weights

    def setup(self, rng: np.random.Generator) -> None:
        """Nothing is known; ``_stats`` counts test runs, and results of tests without a weight."""
        self.passes: dict[str, dict[str, float]] = {}
        self.runs: dict[str, float] = {}
        self._stats: Counter[str] = Counter({"test runs": 0, "results without a weight": 0})

    def init(self, obs: Any, info: dict[str, Any]) -> Any:
        """The weights of the task, and R of what the reset publishes."""
        weights = self.weights or self.learnt(self._task(info))
        return self._level(weights, bool(weights), info.get(self.key) or {})

    def step(self, state: Any, t: Transition) -> tuple[Any, Any]:
        """Pays where tests ran."""
        tests = t.info.get(self.key)
        if not tests:
            return t.reward, state
        weights, known, last = state
        new = self._level(weights, known, tests)
        self._stats["test runs"] += 1
        self._stats["results without a weight"] += sum(n not in new[0] for n in tests)
        return t.reward + self.beta * (new[2] - last if self.kind == "delta" else new[2]), new

    def learn(self, trajs: Sequence[Trajectory]) -> dict[str, float]:
        """Counts passes and test runs of each task; the metrics are the tests known of these tasks and their pass rate."""
        if self.weights:
            return {}
        seen: set[str] = set()
        for t in trajs:
            task = self._task(t.infos[0])
            for tests in filter(None, (info.get(self.key) for info in t.infos[1:])):
                if task not in seen:
                    seen.add(task)
                    self.runs[task] = self.decay * self.runs.get(task, 0.0)
                    self.passes[task] = {n: self.decay * x for n, x in self.passes.get(task, {}).items()}
                self.runs[task] += 1.0
                for name, ok in tests.items():
                    self.passes[task][name] = self.passes[task].get(name, 0.0) + bool(ok)
        rates = [x / self.runs[task] for task in seen for x in self.passes[task].values()]
        return {"tests": float(len(rates)), "pass_rate": math.fsum(rates) / len(rates)} if rates else {}

    def learnt(self, task: str) -> dict[str, float]:
        """Weight of each test of a task, up to a common factor; empty where nothing is known."""
        passes = self.passes.get(task)
        if not passes:
            return {}
        rho = np.array(list(passes.values())) / self.runs[task]
        sigma = None if isinstance(self.sigma, str) else self.sigma
        return dict(zip(passes, rarity(rho, self.alpha, sigma, self.delta, hardest=True).tolist()))

    def _task(self, info: Mapping[str, Any]) -> str:
        return str(info.get("meta", {}).get(self.by, "")) if self.by else ""

    @staticmethod
    def _level(
        weights: dict[str, float], known: bool, tests: Mapping[str, Any]
    ) -> tuple[dict[str, float], bool, float]:
        if not known:
            weights = weights | dict.fromkeys(tests, 1.0)
        whole = math.fsum(weights.values())  # fsum: the order of the tests does not show, all passing is exactly 1
        won = math.fsum(weights.get(n, 0.0) for n, ok in tests.items() if ok)
        return weights, known, won / whole if whole else 0.0

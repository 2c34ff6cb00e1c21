"""VeRPO: every test run is worth the difficulty of the tests that pass, compared within the group.

    rho_j   = share of the group's turns at which test j passed
    N_j     = sum_k exp(-(rho_j - rho_k)^2 / (2 sigma^2)),    w'_j = exp(-alpha rho_j) / (N_j + delta)
    R_turn  = sum_j w'_j 1[j passed],                         A_turn = R_turn - its mean over all turns of the group
    A_traj  = R gamma^turns - its mean over the group,        A = A_traj + beta A_turn          (no std anywhere)

Wang et al. (2026), "VeRPO: Verifiable dense reward policy optimization for code generation", arXiv 2601.03525 v3. N is the
density of tests with a like pass rate: k copies of a test weigh together about what one weighs.

What comes from where ([S]: secondary sources, [I]: our own choice): the formulas from a summary of the paper [S]. Its sigma,
gamma and beta are not known to us. ``sigma="auto"``, which is ``max(std(rho) / 2, 1e-3)``, ``delta`` and the division of
R_turn by the sum of w', which keeps it in [0, 1], are a third party's implementation [S] (it has gamma .995 where the default
here is 1). The population's std, ``beta = 1`` and all that is said about steps without tests are ours [I].

Turns [I]: in the paper every turn of the model ends in a test run. Here an agent may take several steps before it runs the
tests, so a turn is a test run and the steps since the one before it, and all of them get its A_turn: the edit that mends a
test is seldom the step that shows it. ``credit="step"`` gives A_turn to the step of the test run alone. Steps after the last
run have A_traj only. A turn counts once in all means, however long it is.

Invariance: none. A group whose turns all pass the same tests has A_traj alone, a lone episode A_turn alone. A test that passes
always or never moves A_turn only through the sum of weights and the density. A test that a run does not mention failed
there, so at given weights a run of a part of the tests is never worth more than a run of all. With ``gamma`` below 1 a test
run costs something.

Departures: R is the sum of the rewards as they reach this layer. A step with no or an empty ``tests`` is no test run: an
environment whose tests could not start must say that they failed. One that never publishes tests cannot be told from
agents that never run them: both have A_traj alone, and ``stats`` counts such groups.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..maths import center, rarity, split
from ..shaper import Shaper
from ..types import Floats, Group


@dataclass
class DenseTestAdvantage(Shaper):
    """The episode's return and the weighted tests of each turn, both against the group's mean.

    Raises:
        ValueError: a setting outside its range.
    """

    alpha: float = 2.0
    """How much more a hard test weighs: exp(-alpha rho)."""
    sigma: float | Literal["auto"] = "auto"
    """Width in which pass rates count as alike, from 1e-6; ``"auto"``: half the std of the pass rates, 1e-3 at least [S]."""
    gamma: float = 1.0
    """Discount of the return for each test run."""
    beta: float = 1.0
    """Weight of A_turn [I]."""
    normalize_weights: bool = True
    """Divide R_turn by the sum of the weights [S]; False: the raw sum."""
    delta: float = 1e-6
    """Guards the division by the density [S]."""
    credit: Literal["turn", "step"] = "turn"
    """Which steps get A_turn: all since the last test run, or the step of the test run alone [I]."""
    key: str = "tests"
    """Info key of a run's results, ``dict[str, bool]``, published at steps at which tests ran."""
    output = "advantage"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("alpha", "beta", "delta"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"dense_test_advantage: {name} = {getattr(self, name)}, allowed is 0 or more")
        if not 0.0 <= self.gamma <= 1.0:
            raise ValueError(f"dense_test_advantage: gamma = {self.gamma}, allowed is 0 to 1")
        if not isinstance(self.sigma, str) and not 1e-6 <= self.sigma < math.inf:
            raise ValueError(f"dense_test_advantage: sigma = {self.sigma}, allowed is 'auto' or a number from 1e-6")

    def setup(self, rng: np.random.Generator) -> None:
        """``_stats`` counts test runs, and groups without one."""
        self._stats: Counter[str] = Counter({"test runs": 0, "groups without a test run": 0})

    def weights(self, rho: Floats) -> Floats:
        """``(tests,)`` w' of tests with these pass rates; of sum 1 where weights are normalised."""
        sigma = None if isinstance(self.sigma, str) else self.sigma
        w = rarity(rho, self.alpha, sigma, self.delta, self.normalize_weights)
        return w / w.sum() if self.normalize_weights else w

    def turn_rewards(self, runs: Sequence[Mapping[str, Any]]) -> Floats:
        """``(turns,)`` R_turn of all test runs of a group, in [0, 1] where weights are normalised."""
        names = sorted(set().union(*runs))  # sorted: no order of a set shows in the last bit
        passed = np.array([[bool(r.get(n)) for n in names] for r in runs], np.float64)
        return np.asarray(passed @ self.weights(passed.mean(0)), np.float64)

    def group(self, group: Group) -> list[Floats]:
        """A of each step."""
        if not group:
            return []
        at = [[k for k, info in enumerate(t.infos[1:]) if info.get(self.key)] for t in group]
        runs = [t.infos[k + 1][self.key] for t, steps in zip(group, at) for k in steps]
        self._stats["test runs"] += len(runs)
        self._stats["groups without a test run"] += not runs
        whole = center(np.array([t.rewards.sum() * self.gamma ** len(k) for t, k in zip(group, at)]))
        turns = split(self.beta * center(self.turn_rewards(runs)) if runs else np.zeros(0), at)
        out = []
        for t, steps, a_traj, a_turn in zip(group, at, whole, turns):
            own = np.zeros(len(t))
            own[steps] = a_turn
            if self.credit == "turn":
                nearest = np.searchsorted(steps, np.arange(len(t)))  # the next test run, this step's included
                own = np.append(a_turn, 0.0)[nearest]
            out.append(a_traj + own)
        return out

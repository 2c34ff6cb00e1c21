"""A reward from a few demonstrations without labels: their stages are found, and each stage knows what it looks like.

    cuts:     the n contiguous stages of a demonstration whose summed mean deviations (over features) are least
    features: z_j = alpha |mu+_j - mu-_j| - (sigma+_j + sigma-_j),  in the stage (+) and out of it (-); the best m of each stage
    stage i:  R_i(s) = -1/m sum_j (s_j - mu_ij)^2 / sigma_ij^2, or its probability exp(R_i)
    together: R(s) = sum_{i=2..n} 2^(i - 1) R_i(s)

"Unsupervised perceptual rewards for imitation learning" (arXiv 1612.06699, RSS 2017). The three ideas (splitting by least
deviation, selecting features, one Gaussian a stage that does not depend on time) are from overviews [T]; alpha = 5, m = 32
and the weights 2^(i - 1) are from memory [I], and settings. The stages of all demonstrations are aligned by their numbers.

Departures: the best cuts are found exactly, by dynamic programming, where the paper splits recursively. Features are
standardised over the demonstrations, so that their units do not matter, and deviations have a ``floor`` there: a feature
that never moves within a stage would else divide by 0. One that never moves at all is not used.

As a potential (``PotentialShaping(phi=model)``) it is R over its largest value with probabilities, in [0, 1]; then the
shaping is policy-invariant whatever the model says. Features are of one observation: where that does not hold the whole
state, neither does the potential.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..scorers.settings import check
from ..types import Floats


def deviations(x: Floats) -> Floats:
    """``(T + 1, T + 1)`` mean over features of the deviation of ``x[i:j]``, for every i < j; elsewhere infinite."""
    t = len(x)
    c = x - x.mean(0)
    sums, squares = (np.vstack([np.zeros(x.shape[1]), np.cumsum(y, 0)]) for y in (c, c**2))
    out = np.full((t + 1, t + 1), np.inf)
    for i in range(t):
        n = np.arange(1, t - i + 1)[:, None]
        mean = (sums[i + 1 :] - sums[i]) / n
        spread = np.maximum((squares[i + 1 :] - squares[i]) / n - mean**2, 0.0)
        out[i, i + 1 :] = np.sqrt(np.where(spread > 1e-12, spread, 0.0)).mean(1)  # no rounding error as a deviation
    return out


def cuts(x: Floats, stages: int, min_len: int = 1) -> tuple[int, ...]:
    """First steps of the stages 2 to n of one demonstration ``(T, D)``: the best split, the earliest of equal ones.

    Raises:
        ValueError: the demonstration is too short.
    """
    t = len(x)
    if t < stages * min_len:
        raise ValueError(f"a demonstration of {t} steps has no {stages} stages of at least {min_len}")
    cost = deviations(x)
    best = np.full((stages + 1, t + 1), np.inf)
    best[0, 0] = 0.0
    back = np.zeros((stages + 1, t + 1), np.int64)
    for k in range(1, stages + 1):
        for j in range(k * min_len, t + 1):
            total = best[k - 1, : j - min_len + 1] + cost[: j - min_len + 1, j]
            back[k, j] = i = int(np.argmin(np.where(total < total.min() + 1e-12, -1.0, 0.0)))
            best[k, j] = total[i]
    out, j = [], t
    for k in range(stages, 1, -1):
        j = int(back[k, j])
        out.append(j)
    return tuple(out[::-1])


def useful(inside: Floats, outside: Floats, alpha: float) -> Floats:
    """``(D,)`` z of the features: ``alpha |mu+ - mu-| - (sigma+ + sigma-)`` of the steps in a stage and out of it."""
    apart = np.abs(inside.mean(0) - outside.mean(0)) if len(outside) else np.zeros(inside.shape[1])
    spread = inside.std(0) + (outside.std(0) if len(outside) else 0.0)
    return np.asarray(alpha * apart - spread, np.float64)


@dataclass
class StageModel:
    """``fit(demonstrations)``, then a potential of an observation, its stage, and sub-goals.

    After ``fit``: ``means``, ``stds`` (stages, D) in standardised features, ``chosen`` (stages, D) bool, ``shift`` and ``unit``
    (D,) of the standardisation, ``bounds``, the cuts of each demonstration.

    Raises:
        ValueError: a setting outside its range; at ``fit``, no demonstrations, of different features, or too short ones.
        RuntimeError: it is used before ``fit``.
    """

    stages: int = 3
    """n."""
    m: int = 32
    """Features of a stage at most."""
    alpha: float = 5.0
    """What a difference of means is worth against deviations."""
    min_len: int = 2
    """Steps of a stage at least; of one step alone the deviation is 0, however odd it is."""
    weight: Literal["pow2", "linear"] = "pow2"
    """Of stage i: ``2^(i - 1)``, or ``i``."""
    score: Literal["probability", "quadratic"] = "probability"
    """``exp(R_i)``, in [0, 1], or R_i."""
    floor: float = 0.1
    """Least deviation of a standardised feature."""
    features: Callable[[Any], Any] = np.asarray
    """``observation -> (D,)``."""

    def __post_init__(self) -> None:
        what = "stage_model"
        check(what, "stages", self.stages, 2, whole=True)
        check(what, "m", self.m, 1, whole=True)
        check(what, "alpha", self.alpha, 0.0)
        check(what, "min_len", self.min_len, 1, whole=True)
        check(what, "floor", self.floor, 1e-9)
        for name, allowed in (("weight", ("pow2", "linear")), ("score", ("probability", "quadratic"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{what}: {name} is {getattr(self, name)!r}; allowed: {' or '.join(allowed)}")
        self.means: Floats = np.zeros((0, 0))

    def _rows(self, observations: Sequence[Any]) -> Floats:
        return np.array([np.asarray(self.features(o), np.float64).ravel() for o in observations])

    def fit(self, demos: Sequence[Sequence[Any]]) -> StageModel:
        """Finds the stages of demonstrations (each T observations, or a ``(T, D)`` array) and what they look like."""
        raw = [self._rows(d) for d in demos]
        if not raw or len({x.shape[1:] for x in raw}) != 1 or raw[0].ndim != 2 or not np.isfinite(np.vstack(raw)).all():
            raise ValueError(
                "stage_model: fit expects at least one demonstration, all with the same number of finite features"
            )
        every = np.vstack(raw)
        self.shift, unit = every.mean(0), every.std(0)
        moves = unit > 1e-12 * np.maximum(1.0, np.abs(self.shift))
        self.unit = np.where(moves, unit, 1.0)
        self.chosen = np.zeros((self.stages, every.shape[1]), bool)
        if not moves.any():
            raise ValueError("stage_model: no feature of the demonstrations ever moves")
        xs = [(x - self.shift) / self.unit * moves for x in raw]
        self.bounds = tuple(cuts(x[:, moves], self.stages, self.min_len) for x in xs)
        number = np.concatenate([np.searchsorted(b, np.arange(len(x)), "right") for b, x in zip(self.bounds, xs)])
        z = np.vstack(xs)
        self.means = np.array([z[number == i].mean(0) for i in range(self.stages)])
        self.stds = np.maximum([z[number == i].std(0) for i in range(self.stages)], self.floor)
        for i in range(self.stages):
            scores = np.where(moves, useful(z[number == i], z[number != i], self.alpha), -np.inf)
            best = np.argsort(-scores, kind="stable")[: min(self.m, int(moves.sum()))]
            self.chosen[i, best] = True
        return self

    def weights(self) -> Floats:
        """``(stages,)``: 0 of the first, then as ``weight`` says."""
        i = np.arange(1, self.stages + 1, dtype=np.float64)
        return np.where(i == 1, 0.0, 2 ** (i - 1) if self.weight == "pow2" else i)

    def combine(self, scores: Any) -> float:
        """R of the ``(stages,)`` scores of the stages."""
        return float(np.asarray(scores, np.float64) @ self.weights())

    def scores(self, obs: Any) -> Floats:
        """``(stages,)`` how much an observation looks like each stage: exp(R_i) or R_i."""
        if not len(self.means):
            raise RuntimeError("stage_model: call fit with demonstrations first")
        z = (np.asarray(self.features(obs), np.float64).ravel() - self.shift) / self.unit
        far = ((z - self.means) / self.stds) ** 2
        r = -(far * self.chosen).sum(1) / self.chosen.sum(1)
        return np.asarray(np.exp(r) if self.score == "probability" else r, np.float64)

    def reward(self, obs: Any) -> float:
        """R(s), as the paper pays it."""
        return self.combine(self.scores(obs))

    def __call__(self, obs: Any) -> float:
        """The potential: R over the sum of its weights, in [0, 1] with probabilities."""
        return self.reward(obs) / float(self.weights().sum())

    def stage(self, obs: Any) -> int:
        """The stage, from 1, that an observation looks most like; the later of equal ones."""
        s = self.scores(obs)
        return self.stages - int(np.argmax(s[::-1]))

    def subgoals(self, obs: Any) -> dict[str, bool]:
        """Has the stage been reached? One entry for each of 2 to n, as ``info["subgoals"]`` wants them."""
        now = self.stage(obs)
        return {f"stage {i}": now >= i for i in range(2, self.stages + 1)}

    def boundaries(self, demo: Sequence[Any]) -> NDArray[np.int64]:
        """First steps of the stages 2 to n of another demonstration, by the same rule as in ``fit``."""
        z = (self._rows(demo) - self.shift) / self.unit
        return np.array(cuts(z[:, self.chosen.any(0)], self.stages, self.min_len), np.int64)

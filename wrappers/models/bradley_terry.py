"""Bradley-Terry reward models: a score for anything, fitted to pairs of which one is better.

    P(a better than b) = sigma(s_a - s_b),    L = mean over pairs of -log sigma(s_chosen - s_rejected - margin) + l2 / 2 |w|^2

Bradley and Terry (1952); as a reward model with length control: InternLM-XComposer2.5-Reward (arXiv 2501.12368), whose
interface (``score``, ``compare``, ``rank`` with 0 for the best) is kept. The loss, the score head and the removal of pairs
whose chosen answer is much longer are stated by the paper [T]; how much longer is not: ``length_ratio_max`` [I]. Uses: a
reward, best of n, leaving out the worst training samples. Before it is a reward it is brought to mean 0 and deviation 1 on
samples that were not in its pairs [I].

Scores are linear in the features (Newton's method, the one minimum), or a small network's (``hidden``, torch). Only
differences of scores mean anything: a constant on all of them changes neither the loss nor an answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..scorers.settings import check
from ..types import Floats

Pairs = NDArray[np.int64]


def pair_loss(gap: Any, margin: float = 0.0) -> Any:
    """``-log sigma(gap - margin)`` of the score of the better minus that of the worse; numbers or arrays."""
    return np.logaddexp(0.0, margin - np.asarray(gap, np.float64))


def preferred(gap: Any) -> Any:
    """``sigma(gap)``: the probability that the first of two is the better one."""
    return np.exp(-pair_loss(gap))


def newton(d: Floats, l2: float, margin: float = 0.0, rounds: int = 100) -> Floats:
    """The w that minimises ``mean pair_loss(d w, margin) + l2 / 2 |w|^2``; strictly convex, so there is one.

    Args:
        d: ``(pairs, dim)`` features of the better minus those of the worse.
        l2: above 0.
        margin: of the loss.
        rounds: Newton steps at most; each is halved until the loss falls.
    """
    n, dim = d.shape
    w = np.zeros(dim)

    def loss(w: Floats) -> float:
        return float(pair_loss(d @ w, margin).mean() + l2 / 2 * (w @ w))

    now = loss(w)
    for _ in range(rounds):
        wrong = preferred(margin - d @ w)  # how wrong each pair still is
        slope = l2 * w - d.T @ wrong / n
        curve = (d.T * (wrong * (1 - wrong))) @ d / n + l2 * np.eye(dim)
        step, size = np.linalg.solve(curve, slope), 1.0
        if slope @ step < 1e-16:
            break
        while (new := loss(w - size * step)) > now and size > 1e-6:
            size /= 2
        if new > now:
            break
        w, now = w - size * step, new
    return np.asarray(w, np.float64)


@dataclass
class PreferenceModel:
    """Scores things by their features.

    ``state`` is all that was learned, arrays and numbers: ``weights`` (dim,) or ``network``, and ``mean`` and ``std`` of the
    scores. Before a fit every score is 0.

    Raises:
        ValueError: a setting outside its range.
    """

    features: Callable[[Any], Any] = np.asarray
    """``thing -> (dim,)``."""
    length: Callable[[Any], float] = len
    """``thing -> its length``, for the length control."""
    l2: float = 1e-2
    """Penalty of the weights."""
    margin: float = 0.0
    """By how much the better shall lead."""
    length_ratio_max: float | None = None
    """Pairs whose chosen one is more than so many times as long as the rejected are left out; None: all count."""
    center: bool = True
    """Scores have mean 0 over what they were fitted to, or over what was held out."""
    hidden: int = 0
    """Width of a network's two layers; 0: linear."""
    epochs: int = 200
    """Passes of the network over the pairs at each fit."""
    lr: float = 1e-2
    """Its step size."""
    seed: int = 0
    """Of its first weights."""
    device: str = "cpu"
    """Its torch device."""
    state: dict[str, Any] = field(default_factory=dict)
    """What was learned."""

    def __post_init__(self) -> None:
        what = "preference_model"
        check(what, "l2", self.l2, 1e-12)
        check(what, "margin", self.margin, 0.0)
        check(what, "length_ratio_max", self.length_ratio_max, 1e-9, none=True)
        check(what, "hidden", self.hidden, 0, whole=True)
        check(what, "epochs", self.epochs, 1, whole=True)
        check(what, "lr", self.lr, 1e-12)
        check(what, "seed", self.seed, 0, whole=True)

    # -- fitting ---------------------------------------------------------------------------------
    def rows(self, things: Sequence[Any]) -> Floats:
        """``(n, dim)`` features."""
        return np.array([np.asarray(self.features(x), np.float64).ravel() for x in things], np.float64)

    def fit(self, pairs: Sequence[tuple[Any, Any]], held_out: Sequence[Any] = ()) -> dict[str, float]:
        """Fits to pairs (chosen, rejected); things that are ``held_out`` of them set mean and deviation.

        Returns:
            ``loss`` (without the penalty), ``accuracy`` (ties count half), ``pairs``, and ``too_long``, those left out.
        """
        things = [x for pair in pairs for x in pair]
        lengths = np.array([self.length(x) for x in things]) if self.length_ratio_max is not None else None
        index = np.arange(len(things)).reshape(-1, 2)
        return self.fit_rows(self.rows(things), index, lengths, self.rows(held_out) if len(held_out) else None)

    def fit_rows(
        self, x: Floats, pairs: Pairs, lengths: Floats | None = None, held_out: Floats | None = None
    ) -> dict[str, float]:
        """``fit`` on features: ``x`` (n, dim), ``pairs`` (p, 2) rows of the chosen and the rejected, ``lengths`` (n,)."""
        said = len(pairs)
        if self.length_ratio_max is not None and lengths is not None and said:
            pairs = pairs[lengths[pairs[:, 0]] <= self.length_ratio_max * lengths[pairs[:, 1]]]
        out = {"pairs": float(len(pairs)), "too_long": float(said - len(pairs))}
        if not len(pairs):
            return out
        if self.hidden:
            net = self._net(x.shape[1])
            self.state = {"network": net.fit(x, pairs, self.epochs, margin=self.margin)[0]}
        else:
            d = x[pairs[:, 0]] - x[pairs[:, 1]]
            self.state = {"weights": newton(d, self.l2, self.margin)}
        raw = self._raw(x)
        over = raw[np.unique(pairs)] if held_out is None else self._raw(held_out)
        self.state |= {"mean": float(over.mean()), "std": float(over.std())}
        gap = raw[pairs[:, 0]] - raw[pairs[:, 1]]
        right = float(np.mean((gap > 0) + 0.5 * (gap == 0)))
        return {"loss": float(pair_loss(gap, self.margin).mean()), "accuracy": right} | out

    def _net(self, dim: int) -> Any:
        from .network_torch import Network

        return Network(dim, self.hidden, self.lr, self.l2, self.seed, self.device, self.state.get("network", {}))

    def _raw(self, x: Floats) -> Floats:
        if not len(x) or not self.state:
            return np.zeros(len(x))
        if self.hidden:
            return np.asarray(self._net(x.shape[1]).predict(x), np.float64)
        return np.asarray(x @ self.state["weights"], np.float64)

    # -- using -----------------------------------------------------------------------------------
    def score_rows(self, x: Floats) -> Floats:
        """``(n,)`` scores of ``(n, dim)`` features."""
        return self._raw(x) - (self.state.get("mean", 0.0) if self.center else 0.0)

    def normalized(self, x: Floats, limit: float = math.inf) -> Floats:
        """``(n,)`` scores of ``(n, dim)`` features with mean 0 and deviation 1, within ``limit``; 0 where all were equal."""
        std = self.state.get("std", 0.0)
        if std <= 1e-12:
            return np.zeros(len(x))
        return np.asarray(np.clip((self._raw(x) - self.state["mean"]) / std, -limit, limit), np.float64)

    def scores(self, things: Sequence[Any]) -> Floats:
        """``(n,)`` scores, more is better."""
        return self.score_rows(self.rows(things)) if len(things) else np.zeros(0)

    def score(self, thing: Any) -> float:
        """The score of one."""
        return float(self.scores([thing])[0])

    def compare(self, a: Any, b: Any) -> int:
        """1: the first is better; -1: the second; 0: neither."""
        x, y = self.scores([a, b])
        return int(x > y) - int(x < y)

    def probability(self, a: Any, b: Any) -> float:
        """That the first is better."""
        x, y = self.scores([a, b])
        return float(preferred(x - y))

    def rank(self, things: Sequence[Any]) -> NDArray[np.int64]:
        """``(n,)`` the place of each, 0 for the best; equal ones in their order."""
        out = np.empty(len(things), np.int64)
        out[np.argsort(-self.scores(things), kind="stable")] = np.arange(len(things))
        return out

    def best_of_n(self, things: Sequence[Any]) -> Any:
        """The best of them, the first of equal ones.

        Raises:
            ValueError: there are none.
        """
        if not len(things):
            raise ValueError("preference_model: best_of_n of nothing; at least one thing is expected")
        return things[int(np.argmax(self.scores(things)))]

    def filter_low(self, things: Sequence[Any], q: float = 0.05) -> list[Any]:
        """Those whose score is not below the quantile ``q`` of the scores, in their order."""
        check("preference_model", "q", q, 0.0, 1.0)
        if not len(things):
            return []
        scores = self.scores(things)
        return [x for x, s in zip(things, scores) if s >= np.quantile(scores, q)]

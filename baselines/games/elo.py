"""Elo ratings by maximum likelihood (Bradley and Terry 1952), with bootstrap intervals.

P(i beats j) = 1 / (1 + 10^((R_j - R_i) / 400)); a draw counts as half a win for both. The ratings maximise the likelihood of
all games at once, so the order of games is nothing (Elo's own update depends on it). Hunter (2004), "MM algorithms for
generalized Bradley-Terry models", Annals of Statistics 32. Who won all its games has no finite rating: each player also
draws ``prior`` games with a phantom of strength 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...wrappers.types import Floats

MEAN = 1000.0


@dataclass(frozen=True)
class Rating:
    """One player's Elo."""

    elo: float
    low: float
    high: float


def expected(a: float, b: float) -> float:
    """What a player of rating ``a`` scores against one of ``b``, 0 to 1."""
    return float(1.0 / (1.0 + 10.0 ** ((b - a) / 400.0)))


def fit(points: Any, prior: float = 1.0, rounds: int = 200, tolerance: float = 1e-9) -> Floats:
    """Ratings of maximum likelihood, mean 1000, by Newton's method (the likelihood is concave).

    Args:
        points: ``(..., n, n)``: ``points[i, j]`` is what i scored against j, in all games of the two; draws count half.
        prior: games drawn with the phantom, above 0.
        rounds: of the iteration at most.
        tolerance: largest step, in units of 400 / ln 10 points, at which it ends.

    Returns:
        ``(..., n)`` ratings.

    Raises:
        ValueError: negative points, or no prior.
    """
    w = np.asarray(points, np.float64)
    if w.ndim < 2 or w.shape[-1] != w.shape[-2] or (w < 0).any() or not prior > 0:
        raise ValueError(
            f"elo: a square table of points from 0 and a prior above 0 are expected, not {w.shape}, {prior}"
        )
    eye = np.eye(w.shape[-1])
    w = w * (1.0 - eye)
    games, won = w + np.swapaxes(w, -1, -2), w.sum(-1) + prior / 2
    r = np.zeros(w.shape[:-1])
    for _ in range(rounds):
        p = _logistic(r[..., :, None] - r[..., None, :])  # what i is expected to score against j
        q = _logistic(r)
        gradient = won - (games * p).sum(-1) - prior * q
        part = games * p * (1.0 - p)
        curve = part.sum(-1) + prior * q * (1.0 - q)
        step = np.linalg.solve(curve[..., None] * eye - part, gradient[..., None])[..., 0]
        most = np.abs(step).max(-1, initial=0.0, keepdims=True)
        r = r + step / np.maximum(1.0, most / 2.0)  # far from the maximum a full step would go too far
        if most.max(initial=0.0) < tolerance:
            break
    return np.asarray((r - r.mean(-1, keepdims=True)) * 400.0 / np.log(10.0) + MEAN)


def _logistic(x: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


def ratings(
    games: Sequence[tuple[int, int, float]],
    players: int,
    level: float = 0.95,
    draws: int = 500,
    seed: int = 0,
    prior: float = 1.0,
) -> list[Rating]:
    """Elo of each player with percentile bootstrap intervals: games are resampled within each pair.

    Args:
        games: ``(i, j, score of i against j)``: 1 won, 0.5 drawn, 0 lost.
        players: how many there are.
        level: coverage.
        draws: resamples.
        seed: of the resampling.
        prior: as ``fit``.

    Raises:
        ValueError: a player that there is not, or a score outside of 0 to 1.
    """
    pairs: dict[tuple[int, int], list[float]] = {}
    for i, j, s in games:
        if not (0 <= i < players and 0 <= j < players and i != j and 0.0 <= s <= 1.0):
            raise ValueError(f"elo: ({i}, {j}, {s}) is no game of {players} players")
        pairs.setdefault((min(i, j), max(i, j)), []).append(s if i < j else 1.0 - s)
    rng = np.random.default_rng(seed)
    points = np.zeros((draws + 1, players, players))  # the first are the games themselves
    for (i, j), scores in sorted(pairs.items()):
        x = np.array(scores)
        totals = np.concatenate([[x.sum()], x[rng.integers(len(x), size=(draws, len(x)))].sum(1)])
        points[:, i, j], points[:, j, i] = totals, len(x) - totals
    fitted = fit(points, prior, tolerance=1e-6)
    low, high = np.quantile(fitted[1:], [(1 - level) / 2, (1 + level) / 2], axis=0) if draws else (fitted[0],) * 2
    return [Rating(float(e), float(a), float(b)) for e, a, b in zip(fitted[0], low, high)]

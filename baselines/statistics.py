"""Statistics over seeds: interquartile mean, stratified bootstrap, probability of improvement.

Agarwal et al. (2021), "Deep reinforcement learning at the edge of the statistical precipice", NeurIPS (arXiv 2108.13264).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..wrappers.types import Floats


def iqm(x: Any) -> float:
    """Mean of the middle half of all values; a value that the quartile cuts counts in part.

    Args:
        x: ``(...)`` values.
    """
    flat = np.sort(np.ravel(np.asarray(x, np.float64)))
    n = len(flat)
    if n == 0:
        return float("nan")
    edges = np.arange(n + 1)
    weight = np.clip(np.minimum(edges[1:], 0.75 * n) - np.maximum(edges[:-1], 0.25 * n), 0, 1)
    return float(flat @ weight / weight.sum())


def interval(
    x: Any, statistic: Callable[[Any], float] = iqm, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval, resampling seeds within each task (stratum).

    Args:
        x: ``(seeds,)`` or ``(seeds, tasks)`` values.
        statistic: of such an array.
        level: coverage.
        draws: resamples.
        seed: of the resampling.
    """
    data = np.asarray(x, np.float64)
    data = data[:, None] if data.ndim == 1 else data
    if not len(data):
        return float("nan"), float("nan")
    rng, n = np.random.default_rng(seed), len(data)
    got = []
    for _ in range(draws):
        rows = rng.integers(n, size=data.shape)
        got.append(statistic(np.take_along_axis(data, rows, 0)))
    low, high = np.quantile(got, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def probability_of_improvement(x: Any, y: Any) -> float:
    """P(X > Y) + P(X = Y) / 2 over all pairs of runs.

    Args:
        x: ``(seeds,)`` of one method.
        y: ``(seeds,)`` of the other.
    """
    a, b = np.asarray(x, np.float64)[:, None], np.asarray(y, np.float64)[None]
    return float(np.mean((a > b) + 0.5 * (a == b))) if a.size and b.size else float("nan")


def steps_to(steps: Any, success: Any, target: float = 0.8) -> float:
    """First step at which success reaches ``target``; infinite if never.

    Args:
        steps: ``(evaluations,)``.
        success: ``(evaluations,)``.
    """
    at: Floats = np.asarray(steps, np.float64)
    reached = np.flatnonzero(np.asarray(success) >= target)
    return float(at[reached[0]]) if len(reached) else float("inf")


def speed_up(
    first: Any, other: Any, most: float, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """How many times fewer steps the other method needs: the ratio of restricted means, with its bootstrap interval.

    A run that never got there counts with the whole budget, so a method that fails looks faster than it is: where
    ``first`` has such runs and ``other`` has none, the ratio is a lower bound.

    Args:
        first: ``(seeds,)`` steps of the one method, infinite where the target was not reached.
        other: ``(seeds,)`` of the other.
        most: the budget, in steps.
        level: coverage.
        draws: resamples.
        seed: of the resampling.

    Returns:
        Ratio, lower and upper end.
    """
    a, b = (np.clip(np.asarray(x, np.float64), 1.0, most) for x in (first, other))
    rng = np.random.default_rng(seed)
    got = [
        a[rng.integers(len(a), size=len(a))].mean() / b[rng.integers(len(b), size=len(b))].mean() for _ in range(draws)
    ]
    low, high = np.quantile(got, [(1 - level) / 2, (1 + level) / 2])
    return float(a.mean() / b.mean()), float(low), float(high)

"""VOC, the value-order correlation: a progress rises as a successful episode goes on, and falls when it is shown backwards.

    VOC = Spearman's rank correlation of (0, 1, ..., T) and (phi_0, ..., phi_T)

Robo-Dopamine (arXiv 2512.23703) reports it on videos of successes as they are (VOC+) and reversed (VOC-); [C] formula
and both directions. A progress that only counts steps has VOC+ 1 and, shown the reversed episode, 1 again: a good one
has -1 there. That a constant progress has 0 (the correlation is not defined) and that ties get the mean of their ranks
is ours [I].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..types import Floats


class Voc(NamedTuple):
    """Means over episodes, each in [-1, 1]."""

    forward: float
    backward: float
    episodes: int


def ranks(x: Any) -> Floats:
    """``(n,)`` ranks from 0 of ``(n,)`` numbers; equal ones share the mean of theirs."""
    _, place, count = np.unique(np.asarray(x, np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - (count + 1) / 2)[place.ravel()], np.float64)


def voc(progress: Any) -> float:
    """Rank correlation of ``(n,)`` values with their order; 0.0 where all are equal, or there are fewer than two.

    Raises:
        ValueError: a value is NaN.
    """
    x = np.asarray(progress, np.float64)
    if x.ndim != 1 or np.isnan(x).any():
        raise ValueError(f"voc: a row of numbers without NaN is expected, not {x!r}")
    r, t = ranks(x) - (len(x) - 1) / 2, np.arange(len(x)) - (len(x) - 1) / 2
    size = float(np.sqrt((r @ r) * (t @ t)))
    return float(r @ t / size) if size > 0 else 0.0


def both_ways(progress: Callable[[Sequence[Any]], Any], episodes: Iterable[Sequence[Any]]) -> Voc:
    """VOC+ and VOC- of a progress, which is shown each episode as it was and reversed.

    Args:
        progress: the observations of an episode to as many numbers.
        episodes: observations of successful episodes.

    Raises:
        ValueError: no episode, or a number of values that is not that of the observations.
    """
    there: list[float] = []
    back: list[float] = []
    for obs in episodes:
        for rows, seen in ((there, list(obs)), (back, list(obs)[::-1])):
            said = np.asarray(progress(seen), np.float64)
            if said.shape != (len(seen),):
                raise ValueError(f"voc: {len(seen)} values are expected, one an observation, not {said.shape}")
            rows.append(voc(said))
    if not there:
        raise ValueError("voc: no episode is given")
    return Voc(float(np.mean(there)), float(np.mean(back)), len(there))

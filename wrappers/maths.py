"""Small pure functions that shaper files share. Arrays in, arrays out; no state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .types import Floats, Trajectory


def clip(x: Any, low: float, high: float) -> Any:
    """``min(max(x, low), high)``, the same for a float and an array; a float stays a float."""
    if isinstance(x, np.ndarray):
        return np.minimum(np.maximum(x, low), high)
    return low if x < low else high if x > high else x


def number(x: Any) -> Any:
    """A Python float, or a float64 array: one numpy float32 scalar would turn every later sum into float32."""
    if isinstance(x, np.ndarray) and x.ndim:
        return x if x.dtype == np.float64 else x.astype(np.float64)
    return float(x)


def zscore(x: Floats, ddof: int = 0, eps: float = 1e-6, axis: int | None = None) -> Floats:
    """``(x - mean) / (std + eps)`` over the numbers present (NaN = absent); one number alone gives 0."""
    n = np.sum(~np.isnan(x), axis=axis, keepdims=True)
    c = x - np.nansum(x, axis=axis, keepdims=True) / np.maximum(n, 1)
    std = np.sqrt(np.nansum(c**2, axis=axis, keepdims=True) / np.maximum(n - ddof, 1))
    return np.asarray(c / np.where(std + eps > 0, std + eps, 1.0), np.float64)  # all equal: c is 0


def center(x: Floats, axis: int | None = None) -> Floats:
    """``x`` minus the mean of the numbers present."""
    return np.asarray(x - np.nanmean(x, axis=axis, keepdims=True), np.float64)


def rloo(x: Floats) -> Floats:
    """``x`` minus the mean of the others (0 for one number alone)."""
    n = x.size
    return (x - x.mean()) * (n / (n - 1)) if n > 1 else np.zeros_like(x)


def togo(x: Floats, gamma: float = 1.0) -> Floats:
    """Discounted sum from each step on."""
    out, total = np.zeros(len(x)), 0.0
    for k in range(len(x) - 1, -1, -1):
        out[k] = total = x[k] + gamma * total
    return out


def pad(rows: Sequence[Floats]) -> Floats:
    """Ragged rows, aligned at the start, as ``(G, longest)`` with NaN after the end."""
    out = np.full((len(rows), max(map(len, rows), default=0)), np.nan)
    for o, r in zip(out, rows):
        o[: len(r)] = r
    return out


def unpad(x: Floats, rows: Sequence[Any]) -> list[Floats]:
    """The rows of ``pad`` again, each as long as its row in ``rows``."""
    return [r[: len(k)] for r, k in zip(x, rows)]


def split(flat: Floats, rows: Sequence[Any]) -> list[Floats]:
    """A flat array cut into pieces as long as ``rows``."""
    return list(np.split(flat, np.cumsum([len(r) for r in rows])[:-1]))


def pooled(f: Callable[[Floats], Floats], rows: Sequence[Floats]) -> list[Floats]:
    """``f`` over all numbers of all rows together."""
    return split(f(np.concatenate(list(rows))), rows)


def by(items: Sequence[Trajectory], key: str) -> list[list[int]]:
    """Indices of the trajectories that agree in ``meta[key]`` (all together when ``key`` is empty)."""
    out: dict[Any, list[int]] = {}
    for i, t in enumerate(items):
        out.setdefault(t.meta.get(key) if key else None, []).append(i)
    return list(out.values())

"""Small pure functions that shaper files share. Arrays in, arrays out; no state."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .types import Floats, Trajectory, WrongFact, as_float


def clip(x: Any, low: float, high: float) -> Any:
    """``min(max(x, low), high)``, the same for a float and an array; a float stays a float."""
    if isinstance(x, np.ndarray):
        return np.minimum(np.maximum(x, low), high)
    return low if x < low else high if x > high else x


def number(x: Any) -> Any:
    """A Python float, or a float64 array: one numpy float32 scalar would turn every later sum into float32.

    Raises:
        WrongFact: ``x`` is no number; a stack adds whose it is.
    """
    if type(x) is float:
        return x
    if isinstance(x, np.ndarray) and x.ndim:
        try:
            return x if x.dtype == np.float64 else x.astype(np.float64)
        except (TypeError, ValueError):
            raise WrongFact(x) from None
    return as_float(x)


def known(x: Any) -> Any:
    """``number``, but NaN for None: a fact that nobody knows."""
    return math.nan if x is None else number(x)


def unless(flag: Any, x: Any) -> Any:
    """``x``, but 0.0 where ``flag`` holds (whatever ``x`` is there, NaN too); a float or one a lane."""
    if isinstance(flag, np.ndarray) and flag.ndim:
        return np.where(flag, 0.0, x)
    return 0.0 if flag else x


def fingerprint(x: Any) -> str:
    """32 hex digits that are equal for equal observations, in every process and on every machine.

    Numpy and Python numbers of one value and kind agree, the order of a dict does not matter.

    Raises:
        TypeError: ``x`` holds something that is no text, number, array, dict, sequence, set, bool or None.
    """
    h = hashlib.blake2b(digest_size=16)
    _feed(h, x)
    return h.hexdigest()


def _feed(h: Any, x: Any) -> None:
    if isinstance(x, (np.ndarray, np.generic)) and not (isinstance(x, np.ndarray) and x.dtype == object):
        if x.ndim == 0:
            return _feed(h, x.item())
        x = np.add(x, 0) if x.dtype.kind in "fc" else x  # -0.0 is 0.0
        h.update(f"a{x.dtype.str}{x.shape}".encode() + np.ascontiguousarray(x).tobytes())
    elif isinstance(x, (str, bytes)):
        raw = x.encode("utf-8", "surrogatepass") if isinstance(x, str) else x
        h.update(f"{type(x).__name__}{len(raw)}:".encode() + raw)
    elif x is None or isinstance(x, (bool, int, float)):
        h.update(f"{type(x).__name__}{x + 0.0 if isinstance(x, float) else x};".encode())
    elif isinstance(x, Mapping):
        rows = sorted((fingerprint(k), fingerprint(v)) for k, v in x.items())
        h.update(f"d{rows}".encode())
    elif isinstance(x, (set, frozenset)):
        h.update(f"s{sorted(map(fingerprint, x))}".encode())
    elif isinstance(x, (list, tuple, np.ndarray)):
        h.update(f"t{len(x)}(".encode())
        for v in x:
            _feed(h, v)
    else:
        raise TypeError(
            f"a {type(x).__name__} cannot be counted: text, numbers, arrays, dicts, sequences and sets can; "
            "publish one of these as a fact and name it"
        )


def zscore(x: Floats, ddof: int = 0, eps: float = 1e-6, axis: int | None = None) -> Floats:
    """``(x - mean) / (std + eps)`` over the numbers present (NaN = absent); one number alone gives 0."""
    gone = np.isnan(x)
    n = (~gone).sum(axis=axis, keepdims=True)
    c = x - np.where(gone, 0.0, x).sum(axis=axis, keepdims=True) / np.maximum(n, 1)
    low = np.where(gone, np.inf, x).min(axis=axis, keepdims=True, initial=np.inf)
    high = np.where(gone, -np.inf, x).max(axis=axis, keepdims=True, initial=-np.inf)
    c = np.where(high > low, c, c * 0.0)  # all equal: no rounding error is blown up by a small eps
    std = np.sqrt(np.where(gone, 0.0, c * c).sum(axis=axis, keepdims=True) / np.maximum(n - ddof, 1))
    return np.asarray(c / np.where(std + eps > 0, std + eps, 1.0), np.float64)


def center(x: Floats, axis: int | None = None) -> Floats:
    """``x`` minus the mean of the numbers present."""
    return np.asarray(x - np.nanmean(x, axis=axis, keepdims=True), np.float64)


def rloo(x: Floats) -> Floats:
    """``x`` minus the mean of the others (0 for one number alone)."""
    n = x.size
    return np.asarray((x - x.mean()) * (n / (n - 1)), np.float64) if n > 1 else np.zeros_like(x)


def togo(x: Floats, gamma: float = 1.0) -> Floats:
    """Discounted sum from each step on."""
    out, total = [], 0.0
    for r in reversed(np.asarray(x, np.float64).tolist()):
        total = r + gamma * total
        out.append(total)
    return np.array(out[::-1], np.float64)


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


def matrix(layer: str, found: Sequence[Any], dim: int) -> Floats:
    """``(n, dim)`` float64 of what a layer's function of features gave, one answer a row.

    Raises:
        ValueError: an answer has another shape or is not finite; names the layer.
    """
    rows = [np.asarray(x, np.float64) for x in found]
    if wrong := [r.shape for r in rows if r.shape != (dim,)]:
        raise ValueError(f"{layer}: features have the shape {wrong[0]}, ({dim},) is expected (setting dim)")
    out = np.array(rows, np.float64).reshape(len(rows), dim)
    if not np.isfinite(out).all():
        raise ValueError(f"{layer}: features are not finite; finite numbers are expected")
    return out


def by(items: Sequence[Trajectory], key: str) -> list[list[int]]:
    """Indices of the trajectories that agree in ``meta[key]`` (all together when ``key`` is empty)."""
    out: dict[Any, list[int]] = {}
    for i, t in enumerate(items):
        out.setdefault(t.meta.get(key) if key else None, []).append(i)
    return list(out.values())


def rarity(rho: Floats, alpha: float, sigma: float | None, delta: float, hardest: bool) -> Floats:
    """``(n,)`` VeRPO's weights of tests with pass rates ``rho`` (arXiv 2601.03525): exp(-alpha rho) over their density.

    Args:
        rho: pass rates, in [0, 1].
        alpha: how much more a hard test weighs.
        sigma: width in which pass rates count as alike; None: half their std, 1e-3 at least.
        delta: guards the division by the density.
        hardest: leave out the factor of the hardest test, so that the weights cannot all vanish; for weights that are
            divided by their sum.
    """
    width = max(float(rho.std()) / 2, 1e-3) if sigma is None else sigma
    rates, which, copies = np.unique(rho, return_inverse=True, return_counts=True)
    density = np.exp(-(((rates[:, None] - rates) / width) ** 2) / 2) @ copies
    w = np.exp(-alpha * (rates - (rates[0] if hardest else 0.0))) / (density + delta)
    return np.asarray(w[which], np.float64)


EXACT = 10  # players up to whom Shapley values look at all coalitions


def shapley(n: int, value: Callable[[int], float], orders: Sequence[Sequence[int]] | None = None) -> Floats:
    """``(n,)`` Shapley values of players 0 to n - 1; they sum to ``value(all) - value(none)``.

    Shapley (1953), "A value for n-person games": what a player adds to those who came before it, on average over all orders
    in which the players can come. Over a sample of orders that is an unbiased estimate, and sums to the same.

    Args:
        n: number of players.
        value: of a coalition: player i is in it where bit i of its number is set.
        orders: permutations of the players; None: exact, with all ``2**n`` coalitions.
    """
    out = np.zeros(n)
    if orders is None:
        every = np.arange(1 << n)
        v = np.array([value(s) for s in range(1 << n)], np.float64)
        size = np.array([s.bit_count() for s in range(1 << n)])
        weight = np.array([1 / (n * math.comb(n - 1, k)) for k in range(n)])
        for i in range(n):
            without = every[(every >> i) & 1 == 0]
            out[i] = weight[size[without]] @ (v[without | (1 << i)] - v[without])
        return out
    known = functools.cache(value)
    for order in orders:
        coalition = 0
        for i in order:
            out[i] += known(coalition | (1 << i)) - known(coalition)
            coalition |= 1 << i
    return out / max(len(orders), 1)


def orders(n: int, count: int, rng: np.random.Generator) -> tuple[tuple[int, ...], ...]:
    """``count`` random permutations of ``n`` players."""
    return tuple(tuple(rng.permutation(n).tolist()) for _ in range(count))

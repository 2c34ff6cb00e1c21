"""Trees of arrays over the lanes of a vector environment: pick lanes, merge lanes back."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..types import Floats


def pick(x: Any, idx: Any) -> Any:
    """The lanes ``idx`` of a tree of arrays (a slice takes all: the tree itself)."""
    if x is None or isinstance(idx, slice):
        return x
    if isinstance(x, dict):
        return {k: pick(v, idx) for k, v in x.items()}
    if isinstance(x, tuple):
        return type(x)(*(pick(v, idx) for v in x)) if hasattr(x, "_fields") else tuple(pick(v, idx) for v in x)
    return x[idx]


def merge(old: Any, idx: Any, new: Any, n: int) -> Any:
    """A state tree whose lanes ``idx`` are replaced by ``new``; a plain number is repeated over the ``n`` lanes."""
    if new is None:
        return None
    if isinstance(new, dict):
        return {k: merge(None if old is None else old[k], idx, v, n) for k, v in new.items()}
    if isinstance(new, tuple):
        parts = [merge(None if old is None else o, idx, v, n) for o, v in zip(old or new, new)]
        return type(new)(*parts) if hasattr(new, "_fields") else tuple(parts)
    if not isinstance(new, np.ndarray) or not new.ndim:
        new = np.full(n, new)
    if isinstance(idx, slice) or old is None:
        return new
    out = old.astype(np.result_type(old, new))  # a copy
    out[idx] = new
    return out


def spread(x: Any, idx: Any, n: int) -> Floats:
    """The lanes' values in a full ``(n,)`` array, 0.0 elsewhere."""
    if isinstance(idx, slice):
        return np.asarray(x, np.float64)
    out = np.zeros(n)
    out[idx] = x
    return out


def put(obs: Any, ends: Any, final: Any) -> Any:
    """Batched observations with the rows ``ends`` replaced by the last ones of the old episodes.

    ``final`` holds one observation an environment: an object array, or batched as ``obs`` is.
    """
    return _replaced(obs, ends, pick(final, ends))


def _replaced(obs: Any, ends: Any, rows: Any) -> Any:
    """``rows`` has one observation for each of ``ends``."""
    if isinstance(obs, dict):
        return {
            k: _replaced(v, ends, rows[k] if isinstance(rows, dict) else [r[k] for r in rows]) for k, v in obs.items()
        }
    out = obs.copy()
    out[ends] = np.stack(list(rows))
    return out


def overlay(top: dict[str, Any], final: dict[str, Any], done: Any) -> dict[str, Any]:
    """Infos that show, on the lanes that ended, the last step of the old episode.

    A key that only the next episode's reset published is not said there: its mask is cleared. The statistics of a vector
    ``RecordEpisodeStatistics`` stand at the top level although they belong to the old episode.
    """
    out = {k: v for k, v in top.items() if k.removeprefix("_") not in ("final_obs", "final_info")}
    for k in list(out):
        if k[0] == "_" and k not in final and k != "_episode":
            out[k] = out[k] & ~done
    for k, v in final.items():
        o = out.get(k)
        if isinstance(v, dict):
            out[k] = overlay(o if isinstance(o, dict) else {}, v, done)
        else:
            o = np.zeros_like(v) if o is None else o
            out[k] = np.where(done.reshape(-1, *[1] * (v.ndim - 1)), v, o)
    return out

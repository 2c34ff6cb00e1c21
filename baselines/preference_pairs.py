"""Preference pairs from attempts at the same tasks, without the guidance they were given, and DPO's loss on them.

"Agent-RLVR" (arXiv 2506.11425): attempts that pass, guided ones included, are preferred to attempts that fail; the policy is
trained offline by DPO. That the guidance is taken out of the training prompt, so that the policy learns to do without, is
how we read it.

    L = - log sigmoid(beta (log-ratio of the chosen - log-ratio of the rejected)),   log-ratio = log pi - log pi_ref
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..wrappers.maths import by
from ..wrappers.types import Floats, Trajectory


class Pair(NamedTuple):
    """Two attempts at one task; ``chosen`` passed, ``rejected`` did not."""

    task: Any
    chosen: Trajectory
    rejected: Trajectory


def _clean(x: Any, guidance: str) -> Any:
    """A tree of plain values without a text, wherever it stands in one."""
    if isinstance(x, str):
        return x.removeprefix(f"{guidance}\n\n").replace(guidance, "")
    if isinstance(x, dict):
        return {k: _clean(v, guidance) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return type(x)(_clean(v, guidance) for v in x)
    return x


def strip_guidance(traj: Trajectory) -> Trajectory:
    """The attempt as if nobody had told it anything: its text is in no observation, message or meta any more."""
    told = traj.meta.get("guidance", "")
    if not told:
        return traj
    infos = [_clean(i, told) for i in traj.infos]
    for info in infos:
        if "messages" in info:  # what the system said was nothing else
            info["messages"] = tuple(m for m in info["messages"] if m.get("role") != "system" or m.get("content"))
    return replace(traj, obs=[_clean(o, told) for o in traj.obs], infos=infos, meta=_clean(traj.meta, told))


def preference_pairs(
    attempts: Sequence[Trajectory], strip: bool = True, max_pairs: int | None = None, key: str = "success"
) -> list[Pair]:
    """All pairs of a passing and a failing attempt at the same task.

    Args:
        attempts: episodes; ``meta["task"]`` names their task. Those that the infrastructure ended are left out.
        strip: take guidance out of both.
        max_pairs: at most so many a task, those with the fewest attempts first (plain before guided); None: all.
        key: flag of the last info.

    Raises:
        ValueError: ``max_pairs`` is below 1.
        KeyError: an attempt has no such flag, or names no task.
    """
    if max_pairs is not None and max_pairs < 1:
        raise ValueError(f"max_pairs is {max_pairs}; allowed: a number from 1, or None")
    kept = [t for t in attempts if len(t) and not t.infos[-1].get("invalid")]
    for t in kept:
        if "task" not in t.meta:
            raise KeyError("an attempt names no task in meta: nothing says which attempts belong together")
    out = []
    for part in by(kept, "task"):
        part = sorted(part, key=lambda i: (kept[i].meta.get("attempt", 0), i))
        won = [i for i in part if kept[i].infos[-1][key]]
        lost = [i for i in part if not kept[i].infos[-1][key]]
        pairs = [(i, j) for i in won for j in lost][:max_pairs]
        for i, j in pairs:
            good, bad = (strip_guidance(kept[k]) if strip else kept[k] for k in (i, j))
            out.append(Pair(kept[i].meta["task"], good, bad))
    return out


def dpo(chosen: Any, rejected: Any, beta: float = 0.1) -> tuple[float, Floats, Floats]:
    """Mean DPO loss of pairs, and its derivatives by the log-ratios of chosen and rejected.

    Args:
        chosen: ``(N,)`` log pi - log pi_ref of the chosen episodes, summed over their tokens.
        rejected: ``(N,)`` of the rejected.
        beta: above 0.

    Raises:
        ValueError: no pair, other lengths, or a beta that is not positive.
    """
    a, b = np.atleast_1d(np.asarray(chosen, np.float64)), np.atleast_1d(np.asarray(rejected, np.float64))
    if a.shape != b.shape or not a.size or not beta > 0:
        raise ValueError(
            f"{a.shape} chosen and {b.shape} rejected log-ratios with beta = {beta}; allowed: as many of both, at least one, "
            "and beta above 0"
        )
    gap = beta * (a - b)
    slope = -beta * np.exp(-np.logaddexp(0, gap)) / a.size
    return float(np.mean(np.logaddexp(0, -gap))), slope, -slope


def chat(pair: Pair) -> dict[str, Any]:
    """A row for trainers of language models: ``prompt``, ``chosen`` and ``rejected`` as chat messages, from
    ``info["messages"]``.

    Raises:
        KeyError: the episodes have no messages.
    """
    rows = {}
    for name, traj in (("chosen", pair.chosen), ("rejected", pair.rejected)):
        rows[name] = [m for i in traj.infos[1:] for m in i["messages"]]
    return {"prompt": list(pair.chosen.infos[0]["messages"]), **rows}

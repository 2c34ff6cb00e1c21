"""A stack on recorded episodes: Minari data sets, or anything with the same fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..stack import Stack
from ..types import Trajectory


def _info(infos: dict[str, Any], i: int, n: int) -> dict[str, Any]:
    """Info ``i`` of ``n + 1`` as it was online: what was recorded at the ``n`` steps only is absent at the reset."""
    out: dict[str, Any] = {}
    for k, v in infos.items():
        if isinstance(v, dict):
            if part := _info(v, i, n):
                out[k] = part
        elif (late := len(v[0] if isinstance(v, tuple) else v) == n) and not i:
            continue
        else:
            x = _at(v, i - late)
            x = x.item() if isinstance(x, np.generic) else x
            out[k] = x.decode() if isinstance(x, bytes) else x  # HDF5 gives text back as bytes
    return out


def _at(x: Any, i: int) -> Any:
    if isinstance(x, dict):
        return {k: _at(v, i) for k, v in x.items()}
    return tuple(_at(v, i) for v in x) if isinstance(x, tuple) else x[i]


def trajectory(episode: Any) -> Trajectory:
    """From ``minari.EpisodeData``: T actions and rewards, T + 1 observations and infos (if recorded)."""
    n = len(episode.rewards)
    infos = [_info(episode.infos or {}, i, n) for i in range(n + 1)]
    return Trajectory(
        [_at(episode.observations, i) for i in range(n + 1)],
        [_at(episode.actions, i) for i in range(n)],
        np.asarray(episode.rewards, np.float64),
        bool(episode.terminations[-1]) if n else False,
        bool(episode.truncations[-1]) if n else False,
        infos,
        {"id": episode.id} | infos[0].get("meta", {}),
    )


def relabel(episodes: Iterable[Any], stack: Stack) -> Iterator[Any]:
    """Yields the same episodes with the rewards that ``stack`` makes of them.

    The account, environment first, is in ``infos["reward_terms"]``: a dict of ``(T,)`` float64 arrays. Episodes go
    through one by one; a layer that compares episodes needs ``stack.run`` on all of them.

    Args:
        episodes: ``minari.EpisodeData`` or a data class with the same fields (a ``MinariDataset`` iterates over them).
        stack: the layers.
    """
    for episode in episodes:
        (new,) = stack.run([trajectory(episode)])
        infos = dict(episode.infos or {}) | {"reward_terms": new.terms}
        yield dataclasses.replace(episode, rewards=new.rewards, infos=infos)

"""Maps of ``commons``, drawn from the number of a task alone."""

from __future__ import annotations

import functools
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Kind = Literal["harvest", "cleanup"]
BALL = [(y, x) for y in range(-2, 3) for x in range(-2, 3) if 0 < y * y + x * x <= 4]  # 12 squares at most 2 away
PLANTED = 0.6  # share of the orchard's squares on which apples grow
DIRTY = 0.6  # share of the river that has waste at the beginning


class Layout(NamedTuple):
    """A map of S x S squares, each field flat; read only."""

    site: NDArray[np.bool_]
    river: NDArray[np.bool_]
    apples: NDArray[np.bool_]
    """At the beginning."""
    waste: NDArray[np.bool_]
    """At the beginning."""
    home: NDArray[Any]
    """(N,) squares on which agents begin: off the river, and no apple grows there."""
    key: int
    """Of the growth."""
    side: int
    """Where the river is, as an action: 0 up, 1 down, 2 left, 3 right; -1: there is none."""


@functools.lru_cache(4096)
def layout(kind: Kind, size: int, players: int, task: int) -> Layout:
    """The map of a task.

    Harvest: round patches of 13 squares, full of apples, as many as go into the map with size * size / 36 tried, apart
    from one another where there is room. Clean-up: a river over a quarter of the map along one side, with waste on 60 %
    of it, and an orchard over a third along the other.
    """
    rng = np.random.default_rng(task)
    site, river, side = np.zeros((size, size), bool), np.zeros((size, size), bool), -1
    if kind == "harvest":
        centres: list[tuple[int, int]] = []
        for _ in range(400):
            y, x = (int(c) for c in rng.integers(2, size - 2, 2))
            if all(abs(y - a) + abs(x - b) >= 5 for a, b in centres):
                centres.append((y, x))
            if len(centres) == max(2, size * size // 36):
                break
        for y, x in centres:
            for dy, dx in [(0, 0), *BALL]:
                site[y + dy, x + dx] = True
    else:
        deep, orchard = size // 4, size // 3
        river[:deep], site[-orchard:] = True, rng.random((orchard, size)) < PLANTED
        side = int(rng.integers(4))
        turns = (0, 2, 1, 3)[side]  # np.rot90 turns against the clock: up, down, left, right
        site, river = np.rot90(site, turns).copy(), np.rot90(river, turns).copy()
    home = rng.choice(np.flatnonzero(~(site | river).ravel()), players, replace=False)
    apples, waste = site & (kind == "harvest"), np.zeros_like(river)
    wet = np.flatnonzero(river)
    waste.ravel()[rng.choice(wet, round(DIRTY * len(wet)), replace=False)] = True
    flat = [f.ravel() for f in (site, river, apples, waste)]
    made = Layout._make([*flat, home, int(rng.integers(2**63)), side])
    for f in (*flat, home):
        f.setflags(write=False)  # the cache hands the same arrays to everybody
    return made

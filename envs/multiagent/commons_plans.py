"""Scripted policies of ``commons``, for all agents of many games at once. They know the whole map."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .commons_core import DEPLETION, STAY, TOOL, Core, Ints, Rules, State
from .commons_maps import layout

POLICIES = ("oracle", "greedy", "collusion")
KEEP = 4  # apples around one that the oracle leaves, so that it grows back soon
STRIP = 12  # cycles before the end in which it leaves none
WAY = 1.0  # apples that a square of way to the river weighs in who cleans
LAST = 10  # cycles before the end in which nobody cleans
START = 10  # cycles at the beginning in which all clean
ENOUGH = 2  # waste squares that are worth a clean
FAR = np.int32(10_000)


def plan(core: Core, s: State, policy: str, cycles: int) -> Ints:
    """What each agent does now, (B, N) actions.

    ``oracle`` and ``collusion`` harvest so that it lasts: in harvest they take apples that have at least 4 around them,
    all in the last 12 cycles; in clean-up all clean in the first 10 cycles and while nothing grows, then a quarter of
    them until 10 cycles before the end: who has most apples, less one a square of the way to the river. ``greedy`` takes
    the nearest apple and nothing else.

    Args:
        core: the rules.
        s: the state.
        policy: one of ``POLICIES``.
        cycles: of the whole game.
    """
    table = _distances(core.width)
    fair = policy != "greedy"
    clean = core.rules.kind == "cleanup"
    want = s.apples
    if fair and not clean and cycles - s.t > STRIP:
        want = s.apples.copy()
        ripe = core.middle(want)
        ripe &= core.around(s) >= KEEP
    shy = s.apples & ~want  # not to be trodden on
    steps = _go(core, s, want, shy)
    if fair and clean:
        rich = s.harvest - WAY * np.where(s.river[:, None, :], table[s.pos], FAR).min(2) - FAR * (s.harvest < 2)
        turn = np.argsort(np.argsort(-rich, 1, kind="stable"), 1) < -(-core.rules.players // 4)
        turn = turn & (cycles - s.t > LAST) | (s.t < START) | (core.dirt(s) >= DEPLETION)[:, None]
        steps = np.where(turn, _clean(core, s), steps)
    out: Ints = np.where(s.pos > 0, steps, STAY)
    return out


def _clean(core: Core, s: State) -> Ints:
    """Cleans where there is much waste, and goes there."""
    grid = s.waste.reshape(-1, core.width, core.width)
    much = np.zeros(grid.shape, np.int8)
    for dy, dx in itertools.product((-1, 0, 1), repeat=2):
        much[:, 1:-1, 1:-1] += grid[:, 1 + dy : core.width - 1 + dy, 1 + dx : core.width - 1 + dx]
    amount = much.reshape(len(grid), -1) * ~core.wall
    enough = np.clip(amount.max(1), 1, ENOUGH)[:, None]
    here = np.take_along_axis(amount, np.where(s.pos > 0, s.pos, s.home), 1) >= enough
    steps: Ints = np.where(here, TOOL, _go(core, s, amount >= enough, np.zeros_like(s.waste)))
    return steps


@functools.lru_cache(8)
def _distances(width: int) -> NDArray[np.int32]:
    y, x = np.divmod(np.arange(width * width, dtype=np.int32), np.int32(width))
    table: NDArray[np.int32] = np.abs(y[:, None] - y) + np.abs(x[:, None] - x)
    return table


def _go(core: Core, s: State, want: Any, shy: Any) -> Ints:
    """The step to the nearest wanted square, those to which nobody else is nearer first; none in sight: stay."""
    table = _distances(core.width)
    here = s.pos > 0
    away = table[s.pos] + np.where(here, np.int32(0), FAR)[:, :, None]  # (B, N, P)
    mine = away.argmin(1)[:, None, :] == core._agents[:, None]
    cost = away + np.where(mine, np.int32(0), np.int32(100)) + np.where(want, np.int32(0), FAR)[:, None, :]
    goal = cost.argmin(2)
    least = np.take_along_axis(cost, goal[:, :, None], 2)[:, :, 0]
    lanes = np.arange(len(s.pos), dtype=np.int64)[:, None, None] * len(core.wall)
    cells = np.where(here, s.pos, s.home)[:, :, None] + core.delta[:5]  # (B, N, 5)
    worse = table[cells, goal[:, :, None]] + 3 * shy.reshape(-1).take(lanes + cells)
    worse[:, :, :STAY] += 50 * (core.wall.take(cells) | (s.who.reshape(-1).take(lanes + cells) >= 0))[:, :, :STAY]
    steps: Ints = np.where(least < FAR, worse.argmin(2), STAY)
    return steps


@functools.lru_cache(65_536)
def reference(rules: Rules, cycles: int, task: int) -> tuple[int, ...]:
    """Apples of each agent when all play the oracle on a task."""
    core = _core(rules)
    s = core.begin([layout(rules.kind, rules.size, rules.players, task)])
    for _ in range(cycles):
        core.step(s, plan(core, s, "oracle", cycles))
    return tuple(s.harvest[0].tolist())


@functools.lru_cache(64)
def _core(rules: Rules) -> Core:
    return Core(rules)

"""Gated reward accumulation (G-RA): lower rewards count only if the outcome clears its threshold.

    R(tau) = r_high + 1[r_high >= delta] sum_t r_low(t)                     (two levels)
    R~^(i) = R^(i) if R^(j) >= delta_j for all j > i, else 0                (K levels, the highest never gated)

"Stabilizing long-term multi-turn reinforcement learning with gated rewards" (arXiv 2508.10548). One summary writes >=, a
third-party implementation >: ``strict`` is the latter. What belongs to the outcome are terms of the account by name; all
other terms, those of earlier layers included, are the lower level. Put it after every layer that it must be able to veto, and
potentials after it.

Departures: the paper has an outcome and one lower level; K levels, release at the last step and the strict form are settings.
Rewards are paid as they come and settled when the episode ends (``info["credit"]``), so that earlier layers stay online.

Invariance: none. With the gate closed the episode's return is r_high exactly, whatever the dense terms were; with
``threshold=-inf`` nothing changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..shaper import Shaper, nearest
from ..types import Floats, Trajectory

HIGH = ("outcome", "env")  # an environment with an account of its own calls it outcome, one without has only env


@dataclass
class GatedRewardAccumulation(Shaper):
    """Vetoes the dense terms of an episode whose outcome is too low.

    Raises:
        ValueError: a level that is no ``(term names, threshold)``, a term in two levels, ``levels`` beside ``high``; or, at the
            end of an episode, a name that its account lacks.
    """

    high: tuple[str, ...] = HIGH
    """Terms of the outcome; all must be in the account, of the default those that are (at least one)."""
    threshold: float = 0.5
    """The gate is open from this outcome on."""
    strict: bool = False
    """Open only above the threshold."""
    levels: tuple[Any, ...] = ()
    """K levels from high to low, each ``(term names, threshold)``; terms of no level are the lowest. Replaces ``high``."""
    release: Literal["per_step", "terminal"] = "per_step"
    """Where what counts is paid: at its own step, or all at the last."""
    additive = False
    unbounded = ("threshold",)

    def __post_init__(self) -> None:
        super().__post_init__()
        for level in self.levels:
            if not (isinstance(level, (list, tuple)) and len(level) == 2 and not isinstance(level[0], str)):
                raise ValueError(f"gated_reward_accumulation: a level is (term names, threshold), not {level!r}")
        self.levels = tuple((tuple(names), float(at)) for names, at in self.levels)
        if self.levels and (self.high != HIGH or self.threshold != 0.5):
            raise ValueError(
                "gated_reward_accumulation: levels takes the place of high and threshold: give one or the other"
            )
        names = [n for level, _ in self.levels or ((self.high, 0.0),) for n in level]
        if len(set(names)) != len(names) or not names:
            raise ValueError(f"gated_reward_accumulation: each term stands in one level, and there is one; not {names}")

    def episode(self, traj: Trajectory) -> Floats:
        """Adds the levels from the highest down until a gate is closed.

        Raises:
            ValueError: the account lacks a term; names those that it has.
        """
        out, rest, is_open = np.zeros(len(traj)), dict(traj.terms), True
        for names, at in self.levels or ((self.high, self.threshold),):
            found = [n for n in names if n in traj.terms]
            lost = [n for n in names if n not in traj.terms]
            if lost and not (found and names == HIGH):
                raise ValueError(
                    f"gated_reward_accumulation: no term is called {' or '.join(map(repr, lost))}"
                    f"{nearest(lost[0], traj.terms)} The account has: {', '.join(traj.terms)}"
                )
            level = np.sum([rest.pop(n) for n in found], axis=0)
            if is_open:
                out = out + level
            is_open = is_open and self.clears(float(level.sum()), at)
        if is_open:
            out = out + np.sum(list(rest.values()), axis=0) if rest else out
        if self.release == "per_step" or not len(traj):
            return out
        return np.append(np.zeros(len(traj) - 1), out.sum())

    def clears(self, total: float, at: float) -> bool:
        """Does a level's sum open the gate below it?"""
        return total > at if self.strict else total >= at

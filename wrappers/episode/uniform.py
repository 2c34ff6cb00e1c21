"""Uniform return redistribution.

    r'_t = R / T

Gangwani, Zhou and Peng (2020), "Learning guidance rewards with trajectory-space smoothing", NeurIPS: every step of an
episode is credited with the same share of its return.

Invariance: return-preserving.

Departures: the paper averages the shares of all stored episodes that pass through a state and action; this is the share of
the one episode at hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..shaper import Shaper
from ..types import Floats, Trajectory


@dataclass
class Uniform(Shaper):
    """Spreads the return evenly over the steps."""

    return_preserving = True
    additive = False

    def episode(self, traj: Trajectory) -> Floats:
        """The same share for every step."""
        return np.full(len(traj), traj.rewards.sum() / max(len(traj), 1))

"""Score delta with the win divisor: what "A practitioner's guide" (arXiv 2510.01132) pays at the end of an episode.

    won:      r'_t = r_t + d_t / max(1, number of positive d)        d_t = s_t - s_{t-1}
    not won:  r'_t = r_t + d_t / max_score

The divisor of a won episode is known only at its end; ``ScoreDelta`` is the online form with the other divisor.

Invariance: none. Won with changes of +1 alone, the terms sum to 1; with mixed signs they need not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..shaper import Shaper
from ..types import Floats, Trajectory


@dataclass
class ScoreDeltaWin(Shaper):
    """Pays each change of the score, divided by what the episode came to."""

    key: str = "score"
    """Info key of the cumulative score."""
    max_key: str = "max_score"
    """Info key of the largest score."""
    success: str = "success"
    """Key of the last info that says whether the episode was won."""
    needs = ("score", "max_score", "success")

    def episode(self, traj: Trajectory) -> Floats:
        """Divides by the number of positive changes if won, else by the largest score."""
        d = np.diff(traj.trace(self.key))
        if not len(d):
            return traj.rewards
        won = bool(traj.infos[-1][self.success])
        return traj.rewards + d / (max(1, int((d > 0).sum())) if won else float(traj.infos[-1][self.max_key]))

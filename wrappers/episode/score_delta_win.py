"""Score delta with the win divisor: what "A practitioner's guide" (arXiv 2510.01132) pays at the end of an episode.

    won:      r'_t = r_t + d_t / max(1, number of positive d)        d_t = s_t - s_{t-1}
    not won:  r'_t = r_t + d_t / max_score

The divisor of a won episode is known only at its end; ``ScoreDelta`` is the online form with the other divisor.

Invariance: none. Won with changes of +1 alone, the terms sum to 1; with mixed signs they need not.

Departures: the delta is added to the reward, where the paper pays it instead; ``[Scale(0.0), ScoreDeltaWin()]`` is the
paper's. Ending an episode at an invalid action is the environment's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..maths import number
from ..shaper import Shaper
from ..types import Floats, Trajectory


@dataclass
class ScoreDeltaWin(Shaper):
    """Pays each change of the score, divided by what the episode came to.

    Raises:
        ValueError: a fixed ``max_score`` that is not positive.
        MissingFact: the environment does not publish the score, its maximum, or the success.
    """

    key: str = "score"
    """Info key of the cumulative score."""
    max_score: float | str = "max_score"
    """Divisor of an episode that is not won: a number or an info key (a game whose maximum is 0 is not divided)."""
    success: str = "success"
    """Key of the last info that says whether the episode was won."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.max_score, str) and self.max_score <= 0:
            raise ValueError(f"score_delta_win: max_score = {self.max_score}, allowed is a positive number or a key")

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The score, its maximum if it is read, and the success."""
        most = (self.max_score,) if isinstance(self.max_score, str) else ()
        return (self.key, *most, self.success)

    def episode(self, traj: Trajectory) -> Floats:
        """Divides by the number of positive changes if won, else by the largest score."""
        d = np.diff(traj.trace(self.key))
        if not len(d):
            return traj.rewards
        last = traj.infos[-1]
        most = number(last[self.max_score]) if isinstance(self.max_score, str) else self.max_score
        return traj.rewards + d / (max(1, int((d > 0).sum())) if last[self.success] else most or 1.0)

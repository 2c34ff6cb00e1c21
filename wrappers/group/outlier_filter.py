"""Advantages of a batch as z-scores, without the outliers.

    z = (A - mean A) / std A;   where |z| > sigma:  0  ("zero"), or the limit  ("clip")

"R1-Reward" (StableReinforce, arXiv 2505.02835): the three-sigma filter of the paper. The authors' repository compares z
with the raw mean of A plus and minus 3, and sets what is above 10 or no number to 0: another filter, not reproduced. Put it
behind an advantage layer; alone it works on the rewards.

``safe_ratio`` is the paper's clip before the exponential, for your own PPO loss.

Invariance: none. Without outliers it is the plain z-score over the batch; a batch of one step, or without variance, gets 0.

Departures: NaN, which takes a step out of the loss, stays NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..maths import clip, split, zscore
from ..shaper import Shaper
from ..types import Floats, Group


def safe_ratio(logp: Any, old_logp: Any, low: float = 1e-3, high: float = 1e3) -> Any:
    """``exp(clip(logp - old_logp, log low, log high))``: finite for any gap."""
    return np.exp(np.clip(np.asarray(logp) - np.asarray(old_logp), np.log(low), np.log(high)))


@dataclass
class OutlierFilter(Shaper):
    """The z-score of all steps of the batch; far ones are dropped or cut.

    Raises:
        ValueError: a setting outside its range.
    """

    sigma: float = 3.0
    """Size of z from which a step is an outlier."""
    mode: Literal["zero", "clip"] = "zero"
    """Outliers get 0, or the limit."""
    ddof: int = 0
    """Degrees of freedom taken off: 0 population, 1 sample."""
    eps: float = 1e-8
    """Guards the division."""
    output = "advantage"
    unbounded = ("sigma",)
    pool = "batch"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sigma > 0 or self.ddof not in (0, 1) or self.eps < 0:
            raise ValueError(
                f"outlier_filter: sigma is {self.sigma}, ddof {self.ddof} and eps {self.eps}; "
                "allowed are a positive sigma, ddof 0 or 1, eps from 0"
            )

    def group(self, group: Group) -> list[Floats]:
        """A of each step."""
        if not any(map(len, group)):
            return [np.zeros(0) for _ in group]
        z = zscore(np.concatenate([t.signal for t in group]), self.ddof, self.eps)
        out = clip(z, -self.sigma, self.sigma) if self.mode == "clip" else np.where(np.abs(z) > self.sigma, 0.0, z)
        return split(out, group)

"""Listwise advantages: how a softmax ranking of the rewards differs from the policy's own.

    q_i(j) = softmax over j >= i of r_j / tau,    p_i(j) = softmax over j >= i of s_j,     r_1 >= r_2 >= ... >= r_n
    A_j    = sum_{i < n, i <= j} (q_i(j) - p_i(j))  =  - dL / ds_j

"Group-level direct reward optimisation" (GDRO, arXiv 2601.02036): L = sum_i [log sum_{m >= i} e^{s_m} - sum_{j >= i} q_i(j)
s_j] is its loss (``loss``). s are implicit scores beta (log pi - log pi_ref), summed over an episode; without
log-probabilities in ``meta`` they are 0 for all. tau -> 0 is the Plackett-Luce ranking, and with two episodes the loss is
then DPO's. The paper trains offline by the loss; its gradient as an advantage is ours, bounded where a z-score is not.

Invariance: none. Advantages of a group sum to 0; a constant added to all s or r changes nothing; a group of one, and one of
equal rewards and scores, gets 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..shaper import Shaper
from ..types import Floats, Group


def ranking(r: Floats, s: Floats, tau: float) -> tuple[Floats, Floats, float]:
    """Targets, the policy's own shares (each summed over the lists that hold an episode) and the loss.

    Args:
        r: ``(n,)`` rewards, in any order.
        s: ``(n,)`` implicit scores.
        tau: temperature of the targets, above 0.
    """
    order = np.argsort(-r, kind="stable")
    targets, shares, loss = np.zeros(len(r)), np.zeros(len(r)), 0.0
    for i in range(len(r) - 1):
        rest = order[i:]
        q = np.exp((r[rest] - r[rest].max()) / tau)
        p = np.exp(s[rest] - s[rest].max())
        q, total = q / q.sum(), p.sum()
        targets[rest] += q
        shares[rest] += p / total
        loss += float(np.log(total) + s[rest].max() - q @ s[rest])
    return targets, shares, loss


@dataclass
class ListwiseAdvantage(Shaper):
    """One bounded advantage an episode, from the ranking of the group.

    Raises:
        ValueError: a setting that is not positive; or log-probabilities that are not finite or not one an action.
    """

    tau: float = 0.05
    """Temperature of the targets."""
    beta: float = 1.0
    """Of the implicit scores; the paper has 12 and 6 for diffusion losses."""
    logp: str = "logp"
    """Meta key of the policy's log-probabilities of the actions, ``(T,)``."""
    ref_logp: str = "ref_logp"
    """Meta key of the reference's."""
    output = "advantage"
    late = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.tau > 0 and self.beta > 0):
            raise ValueError(
                f"listwise_advantage: tau is {self.tau} and beta {self.beta}; allowed are positive numbers"
            )

    def scores(self, group: Group) -> Floats:
        """``(n,)`` implicit scores; 0 where an episode has no log-probabilities."""
        out = np.zeros(len(group))
        for i, t in enumerate(group):
            if self.logp in t.meta and self.ref_logp in t.meta:
                mine, theirs = (np.asarray(t.meta[k], np.float64) for k in (self.logp, self.ref_logp))
                if mine.shape != (len(t),) or theirs.shape != (len(t),) or not np.isfinite(mine.sum() - theirs.sum()):
                    raise ValueError(
                        f"listwise_advantage: meta[{self.logp!r}] and meta[{self.ref_logp!r}] have the shapes {mine.shape} and "
                        f"{theirs.shape}; allowed are finite log-probabilities, one an action: ({len(t)},)"
                    )
                out[i] = self.beta * float(mine.sum() - theirs.sum())
        return out

    def loss(self, group: Group) -> float:
        """The paper's loss of a group, without its regulariser."""
        return ranking(np.array([t.rewards.sum() for t in group]), self.scores(group), self.tau)[2]

    def group(self, group: Group) -> list[Floats]:
        """A of each step, the same over an episode."""
        targets, shares, _ = ranking(np.array([t.rewards.sum() for t in group]), self.scores(group), self.tau)
        return [np.full(len(t), a) for t, a in zip(group, targets - shares)]

"""Advantages on the tree that the rollouts of one task form.

    R(s)   = agg over the rollouts i through s of gamma^(T_i - t) R_i  +  w_format valid(s)
    A_i,t  = w_traj zscore over the group of R_i  +  w_fork zscore over s's siblings of R(s)

PORTool, "Improving tool use with a rewarded tree" (arXiv 2510.26020). Rollouts whose steps are equal up to t share the node s;
steps that follow one node are siblings. The tree is made from the prefixes of flat rollouts, so no special sampler is needed.

The paper's equations were not within reach: shared steps that share their value, a fork-relative and a trajectory-relative term
are confirmed by its summaries, the formulas above are our reading. The discount 0.95 is its best. ``agg="any"`` is the later
version's: can any descendant reach a right answer?

Invariance: none. Without a fork A is GRPO's; siblings' fork terms sum to 0; the names of nodes do not matter. With gamma < 1 a
step from which fewer steps lead to a right answer is worth more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..maths import fingerprint, zscore
from ..shaper import Shaper, use
from ..types import Floats, Group, Transition


def same_action(t: Transition) -> Any:
    """Steps are one where what was seen and what was done are equal."""
    return fingerprint((t.obs, t.action))


@dataclass
class TreeAdvantage(Shaper):
    """How good an episode was in its group, and each step among those that were taken in its place.

    Raises:
        ValueError: a setting outside its range.
    """

    gamma: float = 0.95
    """Discount of the return by the steps that follow."""
    agg: Literal["mean", "any"] = "mean"
    """The mean over the rollouts through a step, or the best."""
    w_traj: float = 1.0
    """Weight of the episode's advantage."""
    w_fork: float = 1.0
    """Weight of the step's advantage among its siblings."""
    w_format: float = 0.0
    """What a valid action adds to R(s); reads ``info["valid_action"]``."""
    key: Any = "milepost.wrappers.group.tree:same_action"
    """What makes two steps equal: ``Transition -> hashable``."""
    ddof: int = 0
    """Degrees of freedom taken off: 0 population, 1 sample."""
    eps: float = 1e-6
    """Guards the divisions."""
    output = "advantage"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.gamma <= 1.0 or self.eps < 0 or self.ddof not in (0, 1):
            raise ValueError(
                f"tree_advantage: gamma is {self.gamma}, eps {self.eps} and ddof {self.ddof}; "
                "allowed are gamma 0 to 1, eps from 0, ddof 0 or 1"
            )

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """Whether actions were valid, where that counts."""
        return ("valid_action",) if self.w_format else ()

    def group(self, group: Group) -> list[Floats]:
        """A of each step."""
        key = use(self.key) if isinstance(self.key, str) else self.key
        total = np.array([t.rewards.sum() for t in group])
        nodes: dict[Any, int] = {}  # (parent, key of the step) -> number
        through: list[list[float]] = []  # of each node: discounted returns
        paths = []
        for t, r in zip(group, total):
            parent, path = -1, []
            for k, step in enumerate(t):
                parent = nodes.setdefault((parent, key(step)), len(nodes))
                if parent == len(through):
                    through.append([])
                valid = self.w_format * bool(step.info["valid_action"]) if self.w_format else 0.0
                through[parent].append(self.gamma ** (len(t) - 1 - k) * r + valid)
                path.append(parent)
            paths.append(path)
        value = np.array([max(v) if self.agg == "any" else float(np.mean(v)) for v in through])
        siblings: dict[int, list[int]] = {}
        for (parent, _), node in nodes.items():
            siblings.setdefault(parent, []).append(node)
        fork = np.zeros(len(nodes))
        for family in siblings.values():
            fork[family] = zscore(value[family], self.ddof, self.eps)
        whole = self.w_traj * zscore(total, self.ddof, self.eps)
        return [a + self.w_fork * fork[path] if path else np.zeros(0) for a, path in zip(whole, paths)]

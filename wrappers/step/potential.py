r"""Potential-based shaping: the optimal policy stays the same.

    r' = r + gamma phi(s') - phi(s),    phi(s') = 0 where s' is terminal

Ng, Harada and Russell (1999), "Policy invariance under reward transformations", ICML, theorem 1. In episodic tasks the
potential of a terminal state must be 0 (Grzes 2017, "Reward shaping in episodic reinforcement learning", AAMAS, sec. 3); a
truncated episode is not terminal, so its last potential is kept and the agent bootstraps.

Invariance: policy-invariant if ``gamma`` is the agent's discount and the potential a function of the state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..maths import number
from ..shaper import Shaper, use
from ..types import Transition


@dataclass
class PotentialShaping(Shaper):
    """Pays the discounted rise of a potential."""

    phi: Any = ""
    """``"module:function"`` of one observation, or the function itself; empty: read ``key``."""
    gamma: float = 0.99
    """The agent's discount."""
    key: str = ""
    """Info key that holds the potential, such as ``progress``; used when ``phi`` is empty."""
    scale: float = 1.0
    """Factor of the potential."""
    batched: bool = False
    """``phi`` takes a batch of observations and gives an array."""
    policy_invariant = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.phi) == bool(self.key):
            raise ValueError("potential_shaping: give either phi (a function of the observation) or key (an info key)")
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"potential_shaping: gamma is {self.gamma}, allowed is 0 to 1")

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The key of the potential."""
        return (self.key,) if self.key else ()

    @property
    def columnar(self) -> bool:  # type: ignore[override]
        """If the potential comes as an array."""
        return bool(self.key) or self.batched

    def setup(self, rng: np.random.Generator) -> None:
        """Resolves the function."""
        self._phi = use(self.phi) if self.phi else None

    def value(self, obs: Any, info: dict[str, Any]) -> Any:
        """The potential of a state, a float (or one a lane)."""
        return number(info[self.key] if self._phi is None else self._phi(obs)) * self.scale

    def init(self, obs: Any, info: dict[str, Any]) -> Any:
        """The potential of the first state."""
        return self.value(obs, info)

    def step(self, state: Any, t: Transition) -> tuple[Any, Any]:
        """Pays the rise."""
        new = self.value(t.next_obs, t.info) * (1 - t.terminated)
        return t.reward + (self.gamma * new - state), new

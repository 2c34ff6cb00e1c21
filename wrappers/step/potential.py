r"""Potential-based shaping: dense guidance that leaves the best policy where it was.

    r'_t = r_t + gamma * phi(s_{t+1}) - phi(s_t),      phi(terminal) = 0

Ng, Harada and Russell (1999), "Policy invariance under reward transformations", ICML, theorem 1 (eq. 2). With phi = 0 at
terminal states the shaping of an episode sums, discounted, to ``-phi(s_0)``: a constant that no action changes. A
truncated episode has not ended in a terminal state, so there phi is kept and a learner that bootstraps sees the same
values (Grzes 2017, "Reward shaping in episodic reinforcement learning", AAMAS).

Invariance: policy-invariant when ``gamma`` is the discount of the agent and phi is a function of the state. A gate or a
clip after this layer breaks it.

Departures: the paper's potential of a terminal state is arbitrary in the infinite-horizon case; here it is always 0.
Scale it by ``Scale(factor, PotentialShaping(...))``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..maths import number, unless
from ..shaper import Shaper, use
from ..types import Transition


@dataclass
class PotentialShaping(Shaper):
    """``r' = r + gamma phi(s') - phi(s)`` with phi from a fact or from a function of the observation.

    The state is ``phi(s)``, a float or ``(lanes,)`` float64. Columnar with ``key`` or ``batched``.

    Raises:
        ValueError: ``gamma`` outside [0, 1], neither ``phi`` nor ``key``, or ``phi`` is no function.
        MissingFact: the environment does not publish ``key``.
    """

    phi: str | Callable[[Any], Any] = ""
    """Function of one observation, or ``"module:function"``; ``""``: read ``key`` instead."""
    gamma: float = 0.99
    """Discount of the agent."""
    key: str = "progress"
    """Info key of the potential, used when ``phi`` is not given."""
    batched: bool = False
    """``phi`` takes arrays of observations and gives ``(lanes,)`` numbers."""
    policy_invariant = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.gamma <= 1.0:
            raise ValueError(f"potential_shaping: gamma = {self.gamma}, allowed is 0 to 1")
        if not self.phi and not self.key:
            raise ValueError("potential_shaping: give phi (a function of the observation) or key (an info key)")
        if self.batched and not self.phi:
            raise ValueError("potential_shaping: batched says how phi is called, but no phi is given")

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The fact, if the potential is one."""
        return () if self.phi else (self.key,)

    @property
    def columnar(self) -> bool:  # type: ignore[override]
        """A fact comes as an array; a function only if it says so."""
        return self.batched or not self.phi

    def setup(self, rng: np.random.Generator) -> None:
        """Looks the function up."""
        self._phi = use(self.phi) if self.phi else None
        if self._phi is not None and not callable(self._phi):
            raise ValueError(f"potential_shaping: phi is {self._phi!r}, a function of the observation is expected")

    def init(self, obs: Any, info: dict[str, Any]) -> Any:
        """The potential of the first state."""
        return number(info[self.key] if self._phi is None else self._phi(obs))

    def step(self, state: Any, t: Transition) -> tuple[Any, Any]:
        """Pays the discounted change of the potential."""
        new = unless(t.terminated, number(t.info[self.key] if self._phi is None else self._phi(t.next_obs)))
        return t.reward + (self.gamma * new - state), new

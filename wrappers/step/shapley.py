"""Shapley credit: an agent's share of the team's reward, fair over all coalitions.

    phi_i = sum_{S without i} |S|! (n - |S| - 1)! / n!  (v(S + i) - v(S)),     r'_i = alpha phi_i + (1 - alpha) r_i

v(S) is what the team would have had if only the agents in S had acted, the others with a default action. Shapley
(1953); as credit inside an episode: SCAR, in "Towards better dense rewards", arXiv 2512.04302, where r_i is the final
reward and alpha mixes them.

By facts (the default): ``collect.Counterfactual(env, coalitions=True)`` plays each step again for every coalition and
publishes ``info["coalition_values"]``: all of them for up to 10 players, above that those along random orders, over
which phi is the mean (unbiased, and it still sums to v(all) - v(none)).

By ``value``: a function of the joint episode gives v of any set of agents; the credit stands on each agent's last step.

What comes from where ([T]: third-party notes of the paper, [I]: our own choice): the formulas [T]. Agents as players
and default actions for those outside are ours [I], as is ``conserve``: the values sum to v(all) - v(none), which is the
team's reward only where doing nothing earns nothing; with ``conserve`` v(none) is shared evenly on top.

Invariance: none for a single agent. Efficiency: the sum over agents is v(all) - v(none), with ``conserve`` v(all).
Symmetric agents earn the same; one that adds nothing to any coalition earns 0; values of a sum of games are the sums.

Hacks: as for ``DifferenceReward``, a default action that harms makes every other one look good.

Hosts: Parallel, and AEC by ``parallel_to_aec`` around the collector; ``value`` needs all agents at once, so there
Parallel alone.

Departures: SCAR's players are parts of one episode and its Owen values use their nesting: see the methods of time. Its
KL term is the trainer's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..maths import EXACT, number, orders, shapley
from ..shaper import Shaper, use
from ..types import Floats, Group, Level, Transition


@dataclass
class ShapleyCredit(Shaper):
    """Pays each agent its Shapley value of the team's reward.

    Raises:
        ValueError: a setting outside its range, or ``value`` is no function.
        MissingFact: the game does not publish the values of coalitions: put ``collect.Counterfactual`` around it.
    """

    alpha: float = 1.0
    """Weight of the Shapley value against the reward so far, 0 to 1."""
    conserve: bool = False
    """Share v(none) evenly, so that the sum is v(all)."""
    key: str = "coalition_values"
    """Info key of the values of coalitions."""
    value: Any = ""
    """``"module:function"`` or a function ``(joint episode, frozenset of agents) -> float``; ``""``: facts."""
    exact: int = EXACT
    """With ``value``: all coalitions for up to this many agents, random orders above."""
    orders: int = 64
    """Number of random orders."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.alpha <= 1.0:
            raise ValueError(f"shapley_credit: alpha = {self.alpha}, allowed is 0 to 1")
        if self.orders < 1 or not 0 <= self.exact <= 20:
            raise ValueError(
                f"shapley_credit: orders = {self.orders} and exact = {self.exact}, allowed are from 1 and 0 to 20"
            )

    @property
    def pool(self) -> Any:  # type: ignore[override]
        """The joint episode, if there is a value function of it."""
        return "joint" if self.value else "task"

    @property
    def level(self) -> Level:
        """Facts come step by step; a value function wants all agents' episodes."""
        return Level.GROUP if self.value else Level.STEP

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The fact, if it is read."""
        return () if self.value else (self.key,)

    @property
    def additive(self) -> bool:  # type: ignore[override]
        """Only where it leaves the reward as it is: else a share of that is taken off."""
        return self.alpha == 0

    def setup(self, rng: np.random.Generator) -> None:
        """Looks the function up, and keeps a seed for orders."""
        self.seed = int(rng.integers(2**31))
        self._value = use(self.value) if self.value else None
        if self._value is not None and not callable(self._value):
            raise ValueError(f"shapley_credit: value is {self._value!r}, a function is expected")

    def step(self, state: Any, t: Transition) -> tuple[Any, Any]:
        """An agent's share of one step."""
        fact = t.info[self.key]
        n, v = len(fact["players"]), dict(zip(fact["coalitions"], map(number, fact["values"])))
        phi = float(shapley(n, v.__getitem__, fact["orders"] or None)[fact["player"]])
        phi += v[0] / n if self.conserve else 0.0
        return self.alpha * phi + (1 - self.alpha) * t.reward, None

    def group(self, group: Group) -> list[Floats]:
        """An agent's share of a joint episode, on its last step."""
        f, n = self._value, len(group)
        if f is None:
            return super().group(group)
        who = [t.meta.get("agent", i) for i, t in enumerate(group)]

        def value(coalition: int) -> float:
            return float(number(f(group, frozenset(a for i, a in enumerate(who) if coalition >> i & 1))))

        drawn = None if n <= self.exact else orders(n, self.orders, np.random.default_rng(self.seed))
        phi = shapley(n, value, drawn) + (value(0) / n if self.conserve else 0.0)
        out = [(1 - self.alpha) * t.rewards for t in group]
        for x, p in zip(out, phi):
            x[-1:] += self.alpha * p
        return out

"""CALM: sub-goals as options whose termination pays.

    r'_t = r_t + beta sum_g w_g b_g(o_t, a_t, o_{t+1}) latch_g

"Assessing the zero-shot capabilities of LLMs for action evaluation in RL" (arXiv 2409.12798): an option ends when its sub-goal
``b_g`` is reached, and its end is rewarded. Here the verdicts are facts of the environment or predicates; judges arrive with
the scorers. The paper's text pays for any sub-goal at once; ``once`` (each sub-goal once an episode) and the weights are ours,
so that a sub-goal which can be undone cannot be farmed. Keep ``beta`` times the number of sub-goals below the reward of
success, so that sub-goals cannot outweigh it.

``table`` is the authors' offline reward: counts of how often each sub-goal was named, normalised (c - min) / (max - min),
are the weights. Their code divides by zero when all counts are equal; here equal counts are all worth 1.

``potential``: Phi = beta sum of the latched weights, paid as gamma Phi' - Phi with Phi = 0 at termination. Invariance: none
in the plain mode; with ``potential`` policy-invariant for policies that see observation and latches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..shaper import Shaper, use
from ..types import Transition

State = tuple[frozenset[str], float, float]  # latched sub-goals, their potential, what was paid so far


@dataclass
class SubgoalOptions(Shaper):
    """Pays each sub-goal that is newly reached. One that holds at the reset is never paid."""

    beta: float = 0.5
    """Reward of a sub-goal of weight 1."""
    key: str = "subgoals"
    """Info key of ``{sub-goal: bool}``, read when there are no ``predicates``."""
    predicates: dict[str, Any] = field(default_factory=dict)
    """Sub-goal to a function of the transition (or ``"module:function"``) that gives a bool; None counts as no."""
    weights: dict[str, float] = field(default_factory=dict)
    """Sub-goal to weight; others weigh 1."""
    table: dict[str, float] = field(default_factory=dict)
    """Sub-goal to count: the authors' offline table; sub-goals that it lacks are worth 0."""
    once: bool = True
    """Each sub-goal pays once an episode; otherwise whenever it turns from false to true."""
    ordered: bool = False
    """A sub-goal counts only when all that stand before it are latched."""
    potential: bool = False
    """Pay the latched weights as a potential."""
    gamma: float = 0.99
    """Discount of the potential."""
    cap: float | None = None
    """Most that an episode can be paid; None: no limit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.table and self.weights:
            raise ValueError("subgoal_options: give either weights or table")
        if self.potential and (not self.once or self.cap is not None):
            raise ValueError("subgoal_options: potential mode latches (once=True) and has no cap")
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"subgoal_options: gamma is {self.gamma}, allowed is 0 to 1")
        if self.cap is not None and self.cap < 0:
            raise ValueError(f"subgoal_options: cap is {self.cap}, allowed is None or a number from 0")

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The key of the verdicts, if there are no predicates."""
        return () if self.predicates else (self.key,)

    def setup(self, rng: np.random.Generator) -> None:
        """Resolves predicates and weights."""
        self._predicates: dict[str, Callable[[Transition], Any]] = {g: use(f) for g, f in self.predicates.items()}
        self._worth: Mapping[str, float] = self.weights
        self._other = 1.0
        if self.table:
            low, high = min(self.table.values()), max(self.table.values())
            self._worth = {g: (c - low) / (high - low) if high > low else 1.0 for g, c in self.table.items()}
            self._other = 0.0

    def reached(self, t: Transition) -> list[str]:
        """The sub-goals that hold after this step, in order."""
        if not self._predicates:
            return [g for g, yes in t.info[self.key].items() if yes]
        return [g for g, f in self._predicates.items() if f(t)]

    def init(self, obs: Any, info: dict[str, Any]) -> State:
        """What holds already is latched without pay."""
        t = Transition(None, None, 0.0, obs, False, False, info, {})
        held = frozenset() if self._predicates else frozenset(self.reached(t))
        return held, self.phi(held), 0.0

    def phi(self, latched: frozenset[str]) -> float:
        """Potential of a set of latched sub-goals."""
        return self.beta * sum(self._worth.get(g, self._other) for g in sorted(latched)) if self.potential else 0.0

    def step(self, state: State, t: Transition) -> tuple[Any, State]:
        """Latches what is new and pays it."""
        latched, phi, paid = state
        now = self.reached(t)
        if self.ordered:
            now = self._in_order(latched, now, t)
        new = [g for g in now if g not in latched]
        held = latched | frozenset(now) if self.once else frozenset(now)
        if self.potential:
            after = 0.0 if t.terminated else self.phi(held)
            return t.reward + (self.gamma * after - phi), (held, after, paid)
        pay = self.beta * sum(self._worth.get(g, self._other) for g in new)
        if self.cap is not None:
            pay = min(pay, self.cap - paid)
        return t.reward + pay, (held, phi, paid + pay)

    def _in_order(self, latched: frozenset[str], now: list[str], t: Transition) -> list[str]:
        names = list(self._predicates or t.info[self.key])
        out = []
        for g in names:
            if g in now:
                out.append(g)
            elif g not in latched:
                break
        return out

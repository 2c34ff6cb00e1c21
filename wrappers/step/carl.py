"""Progress times penalties: infractions shrink what progress pays and cannot be made up for by anything else.

    r_t = scale d_t prod_i p_i,t  +  T_t,    d_t = c_t - c_{t-1};    where d_t < 0 penalties do not shrink it

"CaRL" (Jaeger et al. 2025, CoRL) and the authors' code. c is progress in [0, 1] (route completion there, with
``scale=100``), p_i in [0, 1] are soft penalties, T is a hint paid when a hard infraction ends the episode (-1.0 there for a
collision or a red light). A soft penalty can be sticky: it holds for so many steps after it was caused (500 ticks there).
Ending the episode at a hard infraction is the environment's, or the wrapper ``milepost.wrappers.collect.StopWhen``'s.

Generic for agents: progress is the share of tests or milestones; soft are lint or time overruns; hard a destructive command.

Invariance: none. Without infractions the episode is paid ``scale`` times what its progress rose by; penalties commute; a
penalty of 0 cannot be compensated; going back and forth never pays.

Departures: what is paid is added to the reward that reaches this layer; the paper's is it alone: ``[Scale(0.0), ...]``.
Their progress never falls; ``high_water`` says whether a fall costs, as here by default, or only new heights pay. A fall costs
whole, whatever penalties hold: falling at a discount and rising without would pay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..maths import clip, number
from ..shaper import Shaper
from ..types import Transition


@dataclass
class MultiplicativeProgress(Shaper):
    """Pays each change of progress, times the penalties that hold, plus hints.

    The state is the progress so far and the steps for which each sticky penalty still holds.

    Raises:
        ValueError: a penalty outside of [0, 1], a sticky time below 0, or a hint that is no finite number.
        MissingFact: the environment does not publish the progress or a flag.
    """

    key: str = "progress"
    """Info key of progress."""
    soft: Mapping[str, Any] = field(default_factory=dict)
    """Info key of a flag -> factor, or (factor, steps that it holds on); key of a number in [0, 1] -> None: itself the
    factor."""
    hard: Mapping[str, float] = field(default_factory=dict)
    """Info key of a flag -> hint."""
    scale: float = 1.0
    """What the whole progress is worth."""
    high_water: bool = False
    """Only heights that were not reached before pay."""

    def __post_init__(self) -> None:
        super().__post_init__()
        rules = {}
        for key, rule in self.soft.items():
            factor, steps = rule if isinstance(rule, (list, tuple)) and len(rule) == 2 else (rule, 0)
            good = factor is None or (
                isinstance(factor, (int, float)) and not isinstance(factor, bool) and 0 <= factor <= 1
            )
            if not good or isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
                raise ValueError(
                    f"multiplicative_progress: soft[{key!r}] is {rule!r}; allowed: None, a factor 0 to 1, or (factor, steps)"
                )
            rules[key] = (factor, steps)
        self._rules = rules

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """Progress and every flag."""
        return (self.key, *self.soft, *self.hard)

    def init(self, obs: Any, info: dict[str, Any]) -> Any:
        """Progress at the start; nothing holds."""
        return number(info[self.key]), (0,) * len(self._rules)

    def step(self, state: Any, t: Transition) -> tuple[Any, Any]:
        """Pays the step."""
        (before, held), now = state, number(t.info[self.key])
        product, left = 1.0, []
        for (key, (factor, steps)), rest in zip(self._rules.items(), held):
            if factor is None:
                product *= clip(number(t.info[key]), 0.0, 1.0)
            elif t.info[key]:
                product, rest = product * factor, steps + 1
            elif rest:
                product *= factor
            left.append(max(0, rest - 1))
        change = max(0.0, now - before) if self.high_water else now - before
        hint = sum(float(h) for key, h in self.hard.items() if t.info[key])
        best = max(now, before) if self.high_water else now
        paid = change * product if change > 0 else change
        return t.reward + self.scale * paid + hint, (best, tuple(left))

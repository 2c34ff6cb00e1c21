"""The same thing again in one episode pays less and less.

    r'_t = r_t + (N_ep(m_t)^-b - 1) * x_t,      N_ep: how often m_t occurred in this episode, this time included

"Online intrinsic rewards for decision making agents from large language model feedback", ONI (arXiv 2410.23022):
``r_int(m_t) N_ep(m_t)^-b`` with b = 3 in the authors' code, m_t the caption. Here x is one term of the account, or what a
child shaper adds, or the whole reward. All that one caption can earn in an episode is ``x zeta(b)``: 1.2021 times the first
for b = 3.

Invariance: none.

Departures: the paper discounts its own intrinsic reward only; here any term or layer. The caption is any fact, by default
the observation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..maths import fingerprint
from ..shaper import Shaper, load
from ..types import Level, Transition


@dataclass
class EpisodicCountDiscount(Shaper):
    """Multiplies a contribution by ``N^-exponent``, N the occurrences of the caption in this episode.

    With ``child`` its contribution is discounted, with ``of`` one term, with neither the whole reward.
    The state is ``(counts of this episode, state of the child)``.

    Raises:
        ValueError: both ``child`` and ``of``, a negative exponent, or a child that does not answer at every step.
        MissingFact: the environment does not publish ``key``.
    """

    child: Any = None
    """A step shaper or its spec, whose contribution is discounted."""
    of: str = ""
    """Name of the term of the account that is discounted; 0 where the account lacks it."""
    exponent: float = 3.0
    """b: 0 leaves all as it is."""
    key: str = ""
    """Info key of the caption; ``""``: the observation."""
    unbounded = ("exponent",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.exponent < 0:
            raise ValueError(f"episodic_count_discount: exponent = {self.exponent}, allowed is 0 or more")
        if self.child is not None and self.of:
            raise ValueError("episodic_count_discount: give child or of, not both")
        if self.child is not None:
            self.child = load(self.child)
            if self.child.level != Level.STEP or self.child.output != "reward":
                raise ValueError(
                    f"episodic_count_discount: the child is a {type(self.child).__name__}, a step shaper is expected"
                )

    @property
    def additive(self) -> bool:  # type: ignore[override]
        """If a child's contribution is discounted that is."""
        return self.child is not None and self.child.additive

    @property
    def pool(self) -> Any:  # type: ignore[override]
        """The child's."""
        return "task" if self.child is None else self.child.pool

    @property
    def late(self) -> bool:  # type: ignore[override]
        """The child's."""
        return self.child is not None and self.child.late

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The caption, and what the child needs."""
        own = (self.key,) if self.key else ()
        return own if self.child is None else (*own, *self.child.needs)

    def init(self, obs: Any, info: dict[str, Any]) -> Any:
        """Nothing has occurred in this episode (the first observation is no step)."""
        return {}, None if self.child is None else self.child.init(obs, info)

    def steps(self, states: list[Any], ts: Sequence[Transition]) -> list[Any]:
        """Counts the captions of these steps and discounts."""
        if self.child is None:
            part = [t.terms.get(self.of, 0.0) if self.of else t.reward for t in ts]
        else:
            inner = [s[1] for s in states]
            part = [new - t.reward for new, t in zip(self.child.steps(inner, ts), ts)]
            states[:] = [(s[0], i) for s, i in zip(states, inner)]
        out = []
        for (counts, _), t, x in zip(states, ts, part):
            m = fingerprint(t.info[self.key] if self.key else t.next_obs)
            counts[m] = n = counts.get(m, 0) + 1
            kept = x * n**-self.exponent
            out.append(t.reward + (kept if self.child is not None else kept - x))
        return out

    def learn(self, trajs: Sequence[Any]) -> dict[str, float]:
        """The child's."""
        return {} if self.child is None else dict(self.child.learn(trajs))

    @property
    def learns(self) -> bool:
        """The child's."""
        return self.child is not None and bool(self.child.learns)

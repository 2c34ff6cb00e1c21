"""Kinesthetic reward combination (KRC): the signed geometric mean of several utilities, none of which can make up for another.

    R_c = sgn (prod_i |R_i|)^(1/n),    sgn = +1 if all R_i > 0, else -1; 0 if one of them is 0

"Lucy-SKG" (arXiv 2305.15801), eqs. 2 and 3 as independent implementers cite them; one takes the product of the signs instead:
``sign="product"``. Utilities enter the paper's reward as potential differences, events as they are:

- ``facts``: numbers of the state in the info; their combination is a potential, gamma Phi(s') - Phi(s), 0 at termination;
- ``of``: terms of the account, whose sum is replaced by their combination at every step.

``closeness`` is the paper's parametrised distance, for a fact that is a length.

Invariance: policy invariant with ``facts`` (a potential), none with ``of``. |R_c| lies between the smallest and the largest
|R_i|, equal terms give that term, their order does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..maths import number
from ..shaper import Shaper, nearest
from ..types import Transition


def closeness(d: float, c: float, dispersion: float = 1.0, density: float = 1.0) -> float:
    """``exp(-d / (2 c dispersion)) ** (1 / density)``: 1.0 at distance 0; the first widens, the second flattens.

    Args:
        d: a distance, from 0.
        c: its unit, above 0.
        dispersion: above 0.
        density: above 0.

    Raises:
        ValueError: a number outside its range.
    """
    if not (d >= 0 and c > 0 and dispersion > 0 and density > 0):
        raise ValueError(
            f"closeness: d = {d}, c = {c}, dispersion = {dispersion}, density = {density}; allowed: from 0, above 0"
        )
    return math.exp(-0.5 * d / (c * dispersion * density))


def combine(values: Sequence[float], sign: str = "all_positive") -> float:
    """R_c of at least one number."""
    size = float(math.prod(abs(v) ** (1.0 / len(values)) for v in values))
    if sign == "product":
        return math.copysign(size, math.prod(math.copysign(1.0, v) for v in values)) if size else 0.0
    return size if all(v > 0 for v in values) else -size


@dataclass
class Krc(Shaper):
    """Adds the combination of facts as a potential, or puts that of terms in their place.

    The state is the potential.

    Raises:
        ValueError: both or neither of ``facts`` and ``of``, or a ``gamma`` outside of 0 to 1; or, at a step, an unknown term.
        MissingFact: the environment does not publish a fact.
    """

    facts: tuple[str, ...] = ()
    """Info keys of numbers that are functions of the state."""
    of: tuple[str, ...] = ()
    """Terms of the account."""
    sign: Literal["all_positive", "product"] = "all_positive"
    """Positive if all are, or by the product of the signs."""
    weight: float = 1.0
    """Of the combination."""
    gamma: float = 0.99
    """The agent's discount; of ``facts`` only."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.facts, self.of = tuple(self.facts), tuple(self.of)
        if bool(self.facts) == bool(self.of):
            raise ValueError(f"krc: facts is {self.facts} and of {self.of}; allowed is one of the two")
        if not 0.0 <= self.gamma <= 1.0:
            raise ValueError(f"krc: gamma = {self.gamma}, allowed is 0 to 1")

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The facts."""
        return self.facts

    @property
    def policy_invariant(self) -> bool:  # type: ignore[override]
        """A potential is."""
        return bool(self.facts)

    @property
    def additive(self) -> bool:  # type: ignore[override]
        """A potential is; a combination of terms depends on them."""
        return bool(self.facts)

    def _phi(self, info: dict[str, Any]) -> float:
        return self.weight * combine([number(info[k]) for k in self.facts], self.sign)

    def init(self, obs: Any, info: dict[str, Any]) -> Any:
        """The potential of the first state."""
        return self._phi(info) if self.facts else None

    def step(self, state: Any, t: Transition) -> tuple[Any, Any]:
        """Pays the difference, or the combination."""
        if self.facts:
            phi = 0.0 if t.terminated else self._phi(t.info)
            return t.reward + self.gamma * phi - state, phi
        for name in self.of:
            if name not in t.terms:
                there = f"{nearest(name, t.terms)} The account has: {', '.join(t.terms)}"
                raise ValueError(f"krc: no term is called {name!r}{there}")
        values = [float(t.terms[n]) for n in self.of]
        return t.reward - sum(values) + self.weight * combine(values, self.sign), None

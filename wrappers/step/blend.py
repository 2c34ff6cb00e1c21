"""A blend of reward terms whose weights a trainer learns: the primary reward, plus what each auxiliary term is worth.

    r_phi(s, a) = phi_1(s) + r_p + sum_k phi_3,k(s) r_aux,k,    phi_j(s) = phi_j . (1, x(s))

"Behavior Alignment via Reward Function Optimization" (BARFI, NeurIPS 2023): the behaviour alignment reward, with the weight of
the primary reward fixed at 1 as in the authors' code. The auxiliary terms are heuristics of unknown quality;
``baselines/barfi`` moves the weights so that the policy that they make earns the most *primary* reward. The primary reward
is what the account has besides ``terms``.

The weights are memory that the trainer writes (``weights``, ``offset``); alone this layer learns nothing and pays the naive
sum.

Invariance: none. With all weights and the offset 0 it pays the primary reward.

Departures: several auxiliary terms, each with a head of its own; the paper has one. A start other than 1 is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..shaper import Shaper, nearest, use
from ..types import Floats, Transition


@dataclass
class TermBlend(Shaper):
    """Weighs auxiliary terms of the account by weights that a trainer writes.

    Shared memory: ``weights`` ``(len(terms), 1 + size)`` and ``offset`` ``(1 + size,)``, float64.

    Raises:
        ValueError: no term, one twice, or features without a size; or, at a step, an unknown term or features of another
        length.
    """

    terms: tuple[str, ...] = ("aux",)
    """Names of the auxiliary terms in the account."""
    start: float = 1.0
    """Every weight at the beginning: 1 is the naive sum, which BARFI starts with."""
    features: Any = None
    """``"module:function"`` or a function of the observation before the action -> ``(size,)``; None: the weights are
    constants."""
    size: int = 0
    """Number of features."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.terms or len(set(self.terms)) < len(self.terms):
            raise ValueError(f"term_blend: terms is {self.terms}; allowed are names of terms, at least one, none twice")
        if not math.isfinite(self.start):
            raise ValueError(f"term_blend: start is {self.start}, allowed is a finite number")
        if self.size < 0 or (self.features is None) != (self.size == 0):
            raise ValueError(
                f"term_blend: features is {self.features!r} and size {self.size}; allowed: features with a size from 1, or "
                "None with 0"
            )

    def setup(self, rng: np.random.Generator) -> None:
        """The naive sum, no offset."""
        super().setup(rng)
        self._features = None if self.features is None else use(self.features)
        self.weights: Floats = np.zeros((len(self.terms), 1 + self.size))
        self.weights[:, 0] = self.start
        self.offset: Floats = np.zeros(1 + self.size)

    def inputs(self, obs: Any) -> Floats:
        """``(1 + size,)`` the constant and the features of a state."""
        if self._features is None:
            return np.ones(1)
        x = np.asarray(self._features(obs), np.float64)
        if x.shape != (self.size,):
            raise ValueError(
                f"term_blend: features have the shape {x.shape}, ({self.size},) is expected (setting size)"
            )
        return np.append(1.0, x)

    def parts(self, t: Transition) -> Floats:
        """``(len(terms),)`` the auxiliary terms of a step.

        Raises:
            ValueError: the account lacks one.
        """
        for name in self.terms:
            if name not in t.terms:
                there = f"{nearest(name, t.terms)} The account has: {', '.join(t.terms)}"
                raise ValueError(f"term_blend: no term is called {name!r}{there}")
        return np.array([float(t.terms[n]) for n in self.terms])

    def step(self, state: Any, t: Transition) -> tuple[Any, Any]:
        """Pays the blend."""
        x, aux = self.inputs(t.obs), self.parts(t)
        return t.reward + float(self.offset @ x + (self.weights @ x - 1.0) @ aux), None

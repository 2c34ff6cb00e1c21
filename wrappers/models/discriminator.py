"""Which policy said this? A score of how alike two samples are, fitted so that those of one policy are.

    L = mean of -log sigma(r(t, t') - r(t, u)),    t and t' of one policy, u of another

POLAR, "Pre-trained policy discriminators are general reward models" (arXiv 2507.05197). The interface is confirmed (a number
or None for a prompt, a reference and a candidate; only differences for one prompt and reference mean anything); the loss of
the pre-training is from the abstract [S]. POLAR is a language model of 1.8 or 7 billion parameters; this is what does
without one: r(a, b) = - w |f(a) - f(b)| over hashed words, by the Bradley-Terry core of the other reward models. The prompt
is not read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..scorers.hashed import vector
from ..scorers.settings import check
from ..types import Floats
from .bradley_terry import PreferenceModel
from .texts import text_of


def words(sample: Any) -> Floats:
    """``(256,)`` hashed words and pairs of words of a sample, of length 1."""
    return vector(text_of(sample), 256, 0).astype(np.float64)


@dataclass
class PolicyDiscriminator:
    """``fit`` on samples by policy, then a scorer for ``ReferenceReward``.

    Raises:
        ValueError: a setting outside its range; at ``fit``, fewer than two policies, or none with two samples.
    """

    features: Callable[[Any], Any] = words
    """``sample -> (dim,)``."""
    l2: float = 1e-3
    """Penalty of the weights."""
    triples: int = 2000
    """Triples (sample, of the same policy, of another) that a fit draws at most."""
    seed: int = 0
    """Of the draw."""
    model: PreferenceModel = field(init=False, repr=False)
    """The fitted core."""

    def __post_init__(self) -> None:
        for name, low in (("triples", 1), ("seed", 0)):
            check("policy_discriminator", name, getattr(self, name), low, whole=True)
        self.model = PreferenceModel(self._alike, l2=self.l2, center=False)

    def _alike(self, pair: tuple[Any, Any]) -> Floats:
        a, b = (np.asarray(self.features(x), np.float64) for x in pair)
        return -np.abs(a - b)

    def _triples(self, samples: Mapping[Any, Sequence[Any]]) -> list[tuple[Any, Any, Any]]:
        names = list(samples)
        if len(names) < 2 or not any(len(s) > 1 for s in samples.values()):
            raise ValueError("policy_discriminator: at least two policies are expected, one of them with two samples")
        sizes = {n: len(samples[n]) * (len(samples[n]) - 1) for n in names}
        every = sum(sizes[n] * sum(len(samples[m]) for m in names if m != n) for n in names)
        rng = np.random.default_rng(self.seed)
        own = [(n, i, j) for n in names for i in range(len(samples[n])) for j in range(len(samples[n])) if i != j]
        others = {n: [x for m in names if m != n for x in samples[m]] for n in names}
        own = [x for x in own if others[x[0]]]
        if every <= self.triples:
            return [(samples[n][i], samples[n][j], u) for n, i, j in own for u in others[n]]
        out = []
        for k in rng.integers(len(own), size=self.triples):
            n, i, j = own[k]
            out.append((samples[n][i], samples[n][j], others[n][rng.integers(len(others[n]))]))
        return out

    def fit(self, samples: Mapping[Any, Sequence[Any]]) -> dict[str, float]:
        """Fits to samples by policy; the metrics of ``PreferenceModel.fit``."""
        return self.model.fit([((t, same), (t, other)) for t, same, other in self._triples(samples)])

    def accuracy(self, samples: Mapping[Any, Sequence[Any]]) -> float:
        """Share of triples in which the sample of the same policy scores higher (ties count half)."""
        triples = self._triples(samples)
        same = self.model.scores([(t, a) for t, a, _ in triples])
        other = self.model.scores([(t, b) for t, _, b in triples])
        return float(np.mean((same > other) + 0.5 * (same == other)))

    def __call__(self, prompt: str, reference: Any, candidate: Any) -> float:
        """How well a candidate fits a reference; 0 for the reference itself."""
        return self.model.score((reference, candidate))

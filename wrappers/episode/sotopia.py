"""Sotopia-RL: a judge who has read the whole dialogue says which utterances earned the episode's scores.

    direct:      r_t,d = G_d A_d(t)                  A in [0, 1], the judge's grade over ``scale``
    scaled:      r_t,d = G_d A_d(t) / sum_k A_d(k)   (0 if nothing is attributed)
    uniform:     r_t,d = G_d
    singular:    r_t,d = G_d at the key utterance, else 0
    discounted:  r_t,d = discount^(T - 1 - t) G_d
    minmax:      r~_t,d = (r_t,d - min_k r_k,d) / (max_k r_k,d - min_k r_k,d)
    r'_t = 1/N sum_d w_d r~_t,d      over N dimensions, as goal, relationship, knowledge

"Sotopia-RL", arXiv 2508.03905, equations 1 to 5; direct with minmax over three dimensions is the paper's main model,
the others are its baselines. G_d is the episode's score in a dimension. An agent's episode has its own utterances
alone, so what its partner says earns it nothing.

What comes from where ([C]: the paper or the authors' code, [I]: our own choice): the formulas, grades from 0 to 3,
weights and the discount of 0.9 [C]. That grades of -1, which the code pays as -1, mean "no answer" [I]: such an
utterance earns nothing and is left out of the others' minmax, ``missing="minus_one"`` is the code's. Over which pool
minmax runs the paper does not say: the episode, or with ``over="batch"`` all episodes of a batch [I]. Where all are
equal it gives 0 [I]. Whether the baselines are normalised is not known to us: with ``normalize="auto"`` only direct is
[I]. The key utterance is the first one with the highest grade [I]; the code asks for yes or no, and lets each key
utterance shine back by the discount.

Where the grades come from: ``info[key]`` of the last step, a dict of T grades a dimension, or T grades for all of them;
or of each step, a dict of its grades, or one number (recorded episodes that a judge has read); or ``attributor``, a
function of the trajectory.

Invariance: none. ``scaled`` without minmax and with one dimension of weight 1 sums to G where anything is attributed;
``Conserve`` around it keeps the environment's return. Direct pays from 0 to G, minmax from 0 to 1. The order of
dimensions has no effect.

Hacks: with minmax the best utterance of a poor episode earns as much as that of a good one, and T of them up to T times
1: what is paid grows with the number of utterances that the judge likes. Bound the turns, or use ``scaled``. No score,
no grade and no utterance pay nothing; ``stats`` counts.

Departures: ``combine="add"`` keeps the rewards so far [I]. The paper distils the labels into a reward model for use
online.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ..maths import known
from ..shaper import Shaper, nearest, use
from ..types import Floats, Group, Level, Trajectory

PAPER = ("goal", "relationship", "knowledge")
MANY = (list, tuple, np.ndarray)


@dataclass
class UtteranceAttribution(Shaper):
    """Redistributes an episode's scores over its utterances.

    Raises:
        ValueError: a setting outside its range, a weight for a dimension without a score, or grades that do not fit the
            episode.
        MissingFact: the environment does not publish the scores, or the grades.
    """

    scheme: Literal["direct", "scaled", "uniform", "singular", "discounted"] = "direct"
    """How a score reaches the utterances."""
    normalize: Literal["auto", "minmax", "none"] = "auto"
    """Minmax of each dimension; ``"auto"``: of direct alone."""
    over: Literal["episode", "batch"] = "episode"
    """What minmax compares: the utterances of an episode, or of all episodes given to ``stack.run``."""
    weights: dict[str, float] = field(default_factory=dict)
    """Dimension to weight; empty: 1 for goal, relationship and knowledge, or for all scores where one of these has none."""
    scale: float = 3.0
    """The highest grade."""
    missing: Literal["zero", "minus_one"] = "zero"
    """What an utterance without a grade (None, NaN, -1, out of range) earns in direct: nothing, or the code's -1."""
    discount: float = 0.9
    """Of ``"discounted"``."""
    scores: str = "scores"
    """Key of the last info with the scores, a dict of dimension to number."""
    key: str = "attribution"
    """Info key of the grades."""
    attributor: Any = ""
    """``"module:function"`` or a function of the trajectory, giving a dict of dimension to T grades; ``""``: facts."""
    combine: Literal["replace", "add"] = "replace"
    """The attributed rewards instead of those so far, or beside them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.scale < math.inf or not 0.0 <= self.discount <= 1.0:
            raise ValueError(
                f"utterance_attribution: scale = {self.scale} and discount = {self.discount}, allowed are above 0 and 0 to 1"
            )
        if bad := [d for d, w in self.weights.items() if not 0.0 <= w < math.inf]:
            raise ValueError(
                f"utterance_attribution: the weight of {bad[0]!r} is {self.weights[bad[0]]}, allowed is 0 or more"
            )
        if self.over == "batch" and not self._minmax:
            raise ValueError("utterance_attribution: over='batch' says what minmax compares, but nothing is normalised")

    @property
    def _minmax(self) -> bool:
        return self.normalize == "minmax" or (self.normalize == "auto" and self.scheme == "direct")

    @property
    def _graded(self) -> bool:
        return self.scheme in ("direct", "scaled", "singular")

    @property
    def pool(self) -> Any:  # type: ignore[override]
        """The batch, if minmax runs over it."""
        return "batch" if self.over == "batch" else "task"

    @property
    def level(self) -> Level:
        """The episode, or the batch."""
        return Level.GROUP if self.over == "batch" else Level.EPISODE

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The scores, and the grades where they are read."""
        return (self.scores, self.key) if self._graded and not self.attributor else (self.scores,)

    @property
    def additive(self) -> bool:  # type: ignore[override]
        """Where the rewards so far stay."""
        return self.combine == "add"

    def setup(self, rng: np.random.Generator) -> None:
        """``_stats`` counts episodes, those without scores, grades, and those that are none."""
        self._attributor = use(self.attributor) if self.attributor else None
        self._stats: Counter[str] = Counter({"episodes": 0, "without scores": 0, "grades": 0, "no answer": 0})

    def grades(self, traj: Trajectory, dim: str) -> Floats:
        """``(T,)`` A of one dimension, in [0, 1]; NaN where there is none."""
        given = traj.infos[-1][self.key] if self._attributor is None else self._attributor(traj)
        if isinstance(given, Mapping) and all(isinstance(v, MANY) for v in given.values()):
            found = list(given[dim]) if dim in given else [None] * len(traj)
        elif isinstance(given, MANY):
            found = list(given)
        else:
            each = [i[self.key] for i in traj.infos[1:]]
            found = [x.get(dim) if isinstance(x, Mapping) else x for x in each]
        if len(found) != len(traj):
            raise ValueError(f"utterance_attribution: {len(found)} grades of {dim!r} for {len(traj)} utterances")
        a = np.array([known(x) for x in found], np.float64)
        bad = ~((a >= 0) & (a <= self.scale))
        self._stats["grades"] += len(a)
        self._stats["no answer"] += int(bad.sum())
        return np.where(bad, np.nan, a / self.scale)

    def raw(self, traj: Trajectory) -> dict[str, tuple[float, Floats]]:
        """Dimension to its weight and its ``(T,)`` rewards before minmax; NaN at an utterance that has no grade."""
        n = len(traj)
        self._stats["episodes"] += 1
        given = traj.infos[-1][self.scores] if n else None
        if not isinstance(given, Mapping):  # None: the judge of the episode failed
            self._stats["without scores"] += 1
            return {}
        for d in self.weights:
            if d not in given:
                raise ValueError(
                    f"utterance_attribution: there is no score {d!r}{nearest(d, given)} There are: {', '.join(given)}"
                )
        out = {}
        for d in sorted(self.weights or (PAPER if all(d in given for d in PAPER) else given)):
            g = float(known(given[d]))
            self._stats["without scores"] += math.isnan(g)
            out[d] = (self.weights.get(d, 1.0), self._spread(traj, d, 0.0 if math.isnan(g) else g, n))
        return out

    def _spread(self, traj: Trajectory, dim: str, g: float, n: int) -> Floats:
        if self.scheme == "uniform":
            return np.full(n, g)
        if self.scheme == "discounted":
            return np.asarray(g * self.discount ** np.arange(n - 1, -1, -1.0), np.float64)
        a = self.grades(traj, dim)
        if self.scheme == "direct":
            r = g * a
            return np.where(np.isnan(r), -1.0, r) if self.missing == "minus_one" else r
        total, best = np.nansum(a), np.nan_to_num(a).argmax() if n else 0
        if total == 0:
            return np.zeros(n)
        return g * a / total if self.scheme == "scaled" else g * (np.arange(n) == best)

    def group(self, group: Group) -> list[Floats]:
        """Attributes, normalises within each pool, averages the dimensions."""
        parts = [self.raw(t) for t in group]
        if self._minmax:
            for pool in [parts] if self.over == "batch" else [[p] for p in parts]:
                for d in sorted({d for p in pool for d in p}):
                    x = np.concatenate([p[d][1] for p in pool if d in p])
                    x = x[~np.isnan(x)]
                    low, high = (x.min(), x.max()) if len(x) else (0.0, 0.0)
                    for p in pool:
                        if d in p:
                            w, r = p[d]
                            p[d] = (w, (r - low) / (high - low) if high > low else r * 0.0)
        out = []
        for t, p in zip(group, parts):
            r = t.rewards * float(self.combine == "add")
            for w, x in p.values():
                r = r + w * np.nan_to_num(x) / len(p)
            out.append(r)
        return out

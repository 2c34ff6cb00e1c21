"""A reward model that is fitted to which of the agent's own episodes were better.

    episodes i, j of the window: i before j by the first factor that differs by more than sigma of its deviations
    s(x) = w x (or a network), fitted by -log sigma(s_i - s_j);    x: mean over the episode of the steps' features
    r'_T = weight clip((s - mean) / std, -limit, limit)           or, as a delta, r'_t = what step t changed of it

The preferences are HERON's, "Learning reward for RL from hierarchical weak preferences" (arXiv 2309.02632): factors in order
of importance (info keys of the last step, ``"return"``, ``"length"``), confirmed in the authors' code, where the model is
fitted again every few hundred steps and its reward takes the place of the environment's. The model, its length control and
``limit`` are those of InternLM-XComposer2.5-Reward (arXiv 2501.12368, see ``milepost.wrappers.models``). With the one factor
``("success",)`` it is a plain model of success.

Mean and deviation come from the share ``held_out`` of the window, which is in no pair [I]. Before a first fit with a pair
every score is 0: with ``combine="replace"`` the episode is then paid nothing; fit first, or ``"add"``.

Measured: a policy of a logit a state that walks the wrong way of a corridor of seven, batches of 16: batches until 80 %
succeed, median of 8 seeds, 24 with the outcome alone and 8 with the model's score beside it (both with leave-one-out).

Invariance: none. The sum paid for an episode lies within ``weight limit``, however long it is, and both ways to pay give the
same sum. A factor times a positive number, or plus a constant, changes nothing.

Hacks: what the features cannot tell apart is paid alike; a feature that goes with success and can be had without it is paid
until the next ``learn`` has seen it fail.

Departures: features of steps, hashed by default, instead of a network on states; pairs of whole episodes instead of a
buffer of states. The paper pays the model's score at every step; a sum of scores would pay for length, so the mean's score
is paid once, or step by step as a difference.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..maths import matrix
from ..models import Lexicographic, PreferenceModel
from ..shaper import MissingFact, Shaper, use
from ..types import Floats, Trajectory

OWN = ("return", "length")  # factors of the episode itself


@dataclass
class ModelReward(Shaper):
    """Pays the score of a reward model that is fitted to preferences between episodes.

    Shared memory: of the window ``rows`` (n, dim), ``values`` (n, factors), ``lengths`` (n,) and ``tasks``; ``model``, arrays
    and numbers; ``fits`` and ``seed``.

    Raises:
        ValueError: a setting outside its range, or features of the wrong length.
        MissingFact: the environment does not publish a factor (at ``learn``).
    """

    factors: tuple[Any, ...] = (("success", 1, 0.0), ("length", -1, 0.5))
    """(key, 1 or -1, margin in deviations), the most important first; keys of the last info, ``"return"``, ``"length"``."""
    features: Any = "milepost.wrappers.episode.spa:hashed_features"
    """``"module:function"`` or a function ``(transition, dim) -> (dim,)``, averaged over the steps."""
    dim: int = 128
    """Number of features."""
    pay: Literal["end", "delta"] = "end"
    """The score at the last step, or at each step what it changed."""
    combine: Literal["replace", "add"] = "replace"
    """Instead of the rewards so far, or beside them."""
    weight: float = 1.0
    """Of the normalised score."""
    limit: float = 3.0
    """Largest size of the normalised score."""
    within: Literal["batch", "task"] = "batch"
    """Which episodes are compared: all of the window, or those of one task."""
    pairs: int = 2000
    """Pairs that a fit draws at most."""
    window: int = 200
    """Episodes that are remembered."""
    held_out: float = 0.2
    """Share of the window that gives mean and deviation and is in no pair."""
    l2: float = 1e-2
    """Penalty of the model's weights."""
    margin: float = 0.0
    """By how much the better episode shall lead."""
    length_ratio_max: float | None = None
    """Pairs whose better episode is more than so many times as long are left out; None: all count."""
    hidden: int = 0
    """Width of a network (torch); 0: linear."""
    epochs: int = 100
    """Steps of the network at each ``learn``."""
    lr: float = 1e-2
    """Its step size."""
    device: str = "cpu"
    """Its torch device."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.factors = tuple(tuple(f) if isinstance(f, list) else f for f in self.factors)
        for name in ("dim", "pairs", "window"):
            if getattr(self, name) < 1:
                raise ValueError(f"model_reward: {name} is {getattr(self, name)}, allowed is a number from 1")
        if not 0.0 <= self.weight < math.inf or not 0.0 < self.limit < math.inf or not 0.0 <= self.held_out <= 0.5:
            raise ValueError(
                f"model_reward: weight is {self.weight}, limit {self.limit} and held_out {self.held_out}; "
                "allowed are weight from 0, limit above 0, held_out 0 to 0.5"
            )
        try:
            self._order()
            self._core({})
        except ValueError as e:
            raise ValueError(f"model_reward: {e}") from None

    def _order(self) -> Lexicographic:
        return Lexicographic(self.factors)

    def _core(self, state: dict[str, Any]) -> PreferenceModel:
        return PreferenceModel(
            l2=self.l2,
            margin=self.margin,
            length_ratio_max=self.length_ratio_max,
            hidden=self.hidden,
            epochs=self.epochs,
            lr=self.lr,
            seed=getattr(self, "seed", 0),
            device=self.device,
            state=dict(state),
        )

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The factors that are facts."""
        return tuple(k for k in (f.key for f in self._order().factors) if k not in OWN)

    @property
    def additive(self) -> bool:  # type: ignore[override]
        """Where the rewards so far stay."""
        return self.combine == "add"

    def setup(self, rng: np.random.Generator) -> None:
        """Nothing is fitted yet; ``_stats`` counts pairs, pairs that nothing decided, and pairs left out for length."""
        self._features = use(self.features)
        self.seed, self.fits = int(rng.integers(2**31)), 0
        self.rows, self.values = np.zeros((0, self.dim)), np.zeros((0, len(self.factors)))
        self.lengths, self.tasks = np.zeros(0), list[str]()
        self.model: dict[str, Any] = {}
        self._stats: Counter[str] = Counter({"pairs": 0, "undecided": 0, "too long": 0})

    def matrix(self, traj: Trajectory) -> Floats:
        """``(T, dim)`` features of the steps."""
        return matrix("model_reward", [self._features(t, self.dim) for t in traj], self.dim)

    def episode(self, traj: Trajectory) -> Floats:
        """Pays the score, once or by what each step changed."""
        out = traj.rewards.copy() if self.combine == "add" else np.zeros(len(traj))
        if not len(traj) or not self.model:
            return out
        core, x = self._core(self.model), self.matrix(traj)
        if self.pay == "end":
            out[-1] += self.weight * float(core.normalized(x.mean(0, keepdims=True), self.limit)[0])
            return out
        means = np.cumsum(x, 0) / np.arange(1, len(x) + 1)[:, None]
        return out + self.weight * np.diff(core.normalized(means, self.limit), prepend=0.0)

    def learn(self, trajs: Sequence[Trajectory]) -> dict[str, float]:
        """Fits to pairs of the last ``window`` episodes: ``loss``, ``accuracy``, ``pairs``, ``too_long``."""
        trajs = [t for t in trajs if len(t) and not t.infos[-1].get("invalid")]
        if not trajs or not self.training:
            return {}
        order, keep = self._order(), slice(-self.window, None)
        try:
            values = order.values(trajs)
        except KeyError as e:
            raise MissingFact("model_reward", str(e.args[0])) from e
        self.rows = np.vstack([self.rows, *(self.matrix(t).mean(0)[None] for t in trajs)])[keep]
        self.values = np.vstack([self.values, values])[keep]
        self.lengths = np.append(self.lengths, [float(len(t)) for t in trajs])[keep]
        self.tasks = (self.tasks + [repr(t.meta.get("task")) for t in trajs])[keep]
        rng = np.random.default_rng([self.seed, self.fits])
        self.fits += 1
        n = len(self.rows)
        held = np.zeros(n, bool)
        if self.held_out and n >= 10:
            held = np.arange(n) % round(1 / self.held_out) == 0
        signs = order.signs(self.values)
        comparable = ~(held[:, None] | held[None])
        if self.within == "task":
            names = np.array(self.tasks)
            comparable &= names[:, None] == names[None]
        np.fill_diagonal(comparable, False)
        found = np.argwhere((signs > 0) & comparable)
        if len(found) > self.pairs:
            found = found[np.sort(rng.choice(len(found), self.pairs, replace=False))]
        core = self._core(self.model)
        out = core.fit_rows(self.rows, found, self.lengths, self.rows[held] if held.any() else None)
        self.model = core.state
        self._stats["pairs"] += int(out["pairs"])
        self._stats["too long"] += int(out["too_long"])
        self._stats["undecided"] += int(((signs == 0) & comparable).sum()) // 2
        return out

"""Combinators: shapers that transform a reward, and shapers made of shapers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from .maths import clip, known, number
from .shaper import Shaper, load, single, snake
from .types import Floats, Group, Level, Trajectory, Transition


@dataclass
class Clip(Shaper):
    """``r' = min(max(r, low), high)``. Mnih et al. (2015), Nature 518, "Methods". Not policy-invariant.

    Raises:
        ValueError: ``low`` is above ``high``.
    """

    low: float = -1.0
    """Smallest reward."""
    high: float = 1.0
    """Largest reward."""
    columnar = True
    additive = False
    stateless = True
    unbounded = ("low", "high")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.low <= self.high:
            raise ValueError(f"clip: low = {self.low} is above high = {self.high}")

    def step(self, state: Any, t: Transition) -> tuple[Any, Any]:
        """Clips one reward (or one a lane)."""
        return clip(t.reward, self.low, self.high), None


@dataclass
class Normalize(Shaper):
    """Running normalisation, by all rewards seen so far, the current one included.

    ``"return"``: ``r' = r / sqrt(var(G) + eps)`` with ``G <- gamma G + r`` of each stream (Engstrom et al. 2020,
    "Implementation matters in deep policy gradients", sec. 2), G = 0 at a reset. Step by step equal to Gymnasium's
    NormalizeReward within an episode; at a terminal step that one drops G before it adds r, and carries r over the reset.
    ``"reward"``: ``r' = (r - mean) / (std + eps)`` (the baseline of PAR, arXiv 2502.18770).
    Memory is updated once a step, for all lanes of a vector environment together. Not policy-invariant.

    Raises:
        ValueError: ``gamma`` outside [0, 1] or a negative ``eps``.
    """

    how: Literal["return", "reward"] = "return"
    """What is normalised by."""
    gamma: float = 0.99
    """Discount of ``"return"``."""
    eps: float = 1e-8
    """Guards the division."""
    columnar = True
    additive = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.gamma <= 1.0 or self.eps < 0:
            raise ValueError(
                f"normalize: gamma = {self.gamma}, eps = {self.eps}; allowed are gamma in [0, 1], eps from 0"
            )

    def setup(self, rng: np.random.Generator) -> None:
        """Moments as Gymnasium starts them: mean 0, variance 1, weight 1e-4."""
        self.count, self.mean, self.var = 1e-4, 0.0, 1.0

    def init(self, obs: Any, info: dict[str, Any]) -> float:
        """The running return of a new episode."""
        return 0.0

    def step(self, state: Any, t: Transition) -> tuple[Any, Any]:
        """Updates the moments while training, then normalises."""
        r = t.reward
        running = state * self.gamma + r if self.how == "return" else r
        if self.training:
            self._update(running)
        if self.how == "return":
            return r / (self.var + self.eps) ** 0.5, running
        return (r - self.mean) / (self.var**0.5 + self.eps), state

    def _update(self, x: Any) -> None:
        many = isinstance(x, np.ndarray)
        n, mean, var = (x.size, float(x.mean()), float(x.var())) if many else (1, x, 0.0)
        gap, total = mean - self.mean, self.count + n
        m2 = self.var * self.count + var * n + gap * gap * self.count * n / total
        self.mean, self.var, self.count = self.mean + gap * n / total, m2 / total, total


class _OneChild(Shaper):
    """What combinators of one child share: the child decides level, pool and columns."""

    child: Any

    childless = False  # may it do without?

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.child is None and not self.childless:
            raise ValueError(f"{snake(type(self).__name__)}: child is None, a shaper or its spec is expected")
        if self.child is not None:
            self.child = load(self.child)
            if self.child.output != "reward":
                raise ValueError(f"{snake(type(self).__name__)}: the child gives rewards, not advantages")

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        return () if self.child is None else self.child.needs

    @property
    def level(self) -> Level:
        return Level.STEP if self.child is None else self.child.level

    @property
    def pool(self) -> Any:  # type: ignore[override]
        return "task" if self.child is None else self.child.pool

    @property
    def late(self) -> bool:  # type: ignore[override]
        return self.child is not None and self.child.late

    @property
    def columnar(self) -> bool:  # type: ignore[override]
        return self.child is None or self.child.columnar

    @property
    def additive(self) -> bool:  # type: ignore[override]
        return self.child is not None and self.child.additive

    def init(self, obs: Any, info: dict[str, Any]) -> Any:
        return None if self.child is None else self.child.init(obs, info)

    def shown(self, t: Transition) -> Transition:
        """What the child sees."""
        return t

    def paid(self, reward: Any, shown: Any, new: Any, info: Any) -> Any:
        """The reward from what the child was shown and what it answered; arrays or floats."""
        raise NotImplementedError

    def step(self, state: Any, t: Transition) -> tuple[Any, Any]:
        part = self.shown(t)
        given = part.reward
        new, state = single(self.child)(state, part) if self.child is not None else (given, state)
        return self.paid(t.reward, given, new, t.info), state

    def steps(self, states: list[Any], ts: Sequence[Transition]) -> list[Any]:
        parts = [self.shown(t) for t in ts]
        given = [p.reward for p in parts]
        new = self.child.steps(states, parts) if self.child is not None else given
        return [self.paid(t.reward, g, n, t.info) for t, g, n in zip(ts, given, new)]

    def shown_episode(self, traj: Trajectory) -> Trajectory:
        return traj

    def learn(self, trajs: Sequence[Trajectory]) -> dict[str, float]:
        return {} if self.child is None else dict(self.child.learn([self.shown_episode(t) for t in trajs]))

    @property
    def learns(self) -> bool:
        return self.child is not None and bool(self.child.learns)

    def group(self, group: Group) -> list[Floats]:
        parts = [self.shown_episode(t) for t in group]
        new = self.child.group(parts) if self.child is not None else [p.rewards for p in parts]
        return [self.paid(t.rewards, p.rewards, n, t.infos[1:]) for t, p, n in zip(group, parts, new)]


@dataclass
class Focus(_OneChild):
    """``child`` sees only the term ``of`` as its reward; the other terms stay: ``r' = r - r_of + child(r_of)``.

    A term that this episode's account lacks counts as 0.0.

    Raises:
        ValueError: the child is none, or gives advantages.
    """

    of: str
    """Name of a term of the account."""
    child: Any
    """A shaper or its spec."""

    def shown(self, t: Transition) -> Transition:
        """Only one term."""
        part = t.terms.get(self.of, t.reward * 0.0)
        return t.having(reward=part, terms={self.of: part})

    def shown_episode(self, traj: Trajectory) -> Trajectory:
        """Only one term."""
        part = traj.terms.get(self.of, np.zeros(len(traj)))
        return replace(traj, rewards=part, terms={self.of: part})

    def paid(self, reward: Any, shown: Any, new: Any, info: Any) -> Any:
        """The other terms stay."""
        return reward + (new - shown)


@dataclass
class Scale(_OneChild):
    """``r' = factor r``; with a child, its contribution is scaled: ``r' = r + factor (child(r) - r)``.

    Raises:
        ValueError: the child gives advantages.
    """

    factor: float
    """The factor."""
    child: Any = None
    """A shaper or its spec, or None to scale the reward itself."""
    childless = True

    def paid(self, reward: Any, shown: Any, new: Any, info: Any) -> Any:
        """Scales."""
        return self.factor * reward if self.child is None else reward + self.factor * (new - shown)


@dataclass
class Gate(_OneChild):
    """The child's contribution counts only where ``info[key] >= threshold``: ``r' = r + 1[open] (child(r) - r)``.

    For a gate on the outcome of the whole episode see ``GatedRewardAccumulation``. Not policy-invariant, and a gate
    around a potential breaks its telescoping: put potentials after gates.

    Raises:
        ValueError: the child is none, or gives advantages.
        MissingFact: the environment does not publish ``key``.
    """

    child: Any
    """A shaper or its spec."""
    key: str
    """Info key of the gate, a number or bool at every step."""
    threshold: float = 0.5
    """The gate is open from here on."""
    unbounded = ("threshold",)

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The key of the gate, and what the child needs."""
        return (self.key, *self.child.needs)

    def paid(self, reward: Any, shown: Any, new: Any, info: Any) -> Any:
        """Adds the contribution where the gate is open."""
        if isinstance(info, dict):
            is_open = number(info[self.key]) >= self.threshold
        else:
            is_open = np.array([known(i[self.key]) for i in info], np.float64) >= self.threshold
        return reward + is_open * (new - shown)


@dataclass
class Mix(Shaper):
    """Convex mix of shapers of the same rewards: ``r' = sum_i w_i part_i(r)``.

    Two redistributors in a row are a chain (the second sees the first's rewards); mixing them is this.
    Return-preserving if every part is.

    Raises:
        ValueError: no part, weights that do not fit, or a part that gives advantages.
    """

    parts: tuple[Any, ...]
    """Shapers or their specs."""
    weights: tuple[float, ...] = ()
    """One a part, summing to 1; empty: equal weights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.parts:
            raise ValueError("mix: parts is empty, at least one shaper is expected")
        self.parts = tuple(load(p) for p in self.parts)
        self.weights = self.weights or (1 / len(self.parts),) * len(self.parts)
        if len(self.weights) != len(self.parts) or min(self.weights) < 0 or abs(sum(self.weights) - 1) > 1e-9:
            raise ValueError(f"mix: {len(self.parts)} weights that sum to 1 are expected, not {self.weights}")
        if any(p.output != "reward" for p in self.parts):
            raise ValueError("mix: parts give rewards, not advantages")

    @property
    def level(self) -> Level:
        """The widest part's."""
        return Level(max(p.level for p in self.parts))

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """What any part needs."""
        return tuple(dict.fromkeys(n for p in self.parts for n in p.needs))

    @property
    def additive(self) -> bool:  # type: ignore[override]
        """If every part is."""
        return all(p.additive for p in self.parts)

    @property
    def late(self) -> bool:  # type: ignore[override]
        """If any part is."""
        return any(p.late for p in self.parts)

    @property
    def return_preserving(self) -> bool:  # type: ignore[override]
        """If every part is."""
        return all(p.return_preserving for p in self.parts)

    def init(self, obs: Any, info: dict[str, Any]) -> tuple[Any, ...]:
        """The parts' states."""
        return tuple(p.init(obs, info) for p in self.parts)

    def step(self, state: tuple[Any, ...], t: Transition) -> tuple[Any, tuple[Any, ...]]:
        """Mixes one step of step shapers."""
        pairs = [single(p)(s, t) for p, s in zip(self.parts, state)]
        return sum(w * r for w, (r, _) in zip(self.weights, pairs)), tuple(s for _, s in pairs)

    def group(self, group: Group) -> list[Floats]:
        """Mixes whole episodes."""
        every = [p.group(group) for p in self.parts]
        return [
            np.sum([w * np.asarray(e[i], np.float64) for w, e in zip(self.weights, every)], axis=0)
            for i in range(len(group))
        ]

    def learn(self, trajs: Sequence[Trajectory]) -> dict[str, float]:
        """Every part that learns does."""
        return {f"{i}/{k}": v for i, p in enumerate(self.parts) if p.learns for k, v in p.learn(trajs).items()}

    @property
    def learns(self) -> bool:
        """If any part does."""
        return any(p.learns for p in self.parts)


@dataclass
class Conserve(_OneChild):
    """Gives back what ``child`` took from or added to the return, so that the return stays.

    ``"uniform"``: ``r'_t = c_t + (R - sum c) / T``; ``"last"``: the whole residual on the last step.

    Raises:
        ValueError: the child is none, or gives advantages.
    """

    child: Any
    """A shaper or its spec; usually a redistributor."""
    how: Literal["uniform", "last"] = "uniform"
    """Where the residual goes."""
    return_preserving = True

    @property
    def columnar(self) -> bool:  # type: ignore[override]
        """Never: it waits for the end."""
        return False

    @property
    def level(self) -> Level:
        """At least the episode: the residual is known at its end."""
        return Level(max(self.child.level, Level.EPISODE))

    def group(self, group: Group) -> list[Floats]:
        """Adds the residual."""
        out = []
        for t, c in zip(group, self.child.group(group)):
            c = np.array(c, np.float64)
            gap = t.rewards.sum() - c.sum()
            if self.how == "uniform":
                c += gap / max(len(t), 1)
            elif len(t):
                c[-1] += gap
            out.append(c)
        return out

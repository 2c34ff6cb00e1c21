"""LaRe: the return is decomposed over time, and over agents, by a few factors that say what matters.

    r^_t = f(phi(s_t, a_t)),      phi in R^d: the latent reward, d evaluation factors
    rd:            L = mean over episodes (1/T sum_t r^_t - R/T)^2
    rrd:           L = (mean_{t in I} r^_t - R/T)^2,        I a random subset of K steps
    rrd_unbiased:  L - (1 - K/T)/K Var(r^_I)                (sample variance; its mean over the subsets is the loss of rd)

"Latent reward: LLM-empowered credit assignment in episodic reinforcement learning", arXiv 2412.11120, AAAI 2025; rrd:
Ren et al. (2022), "Learning long-term reward redistribution via randomized return decomposition". The redistributed
return replaces the rewards.

The factors come from the environment (``info["latent_factors"]``, a dict of numbers or a sequence, at every step) or
from a function of the transition. In the paper a language model writes their code.

``decoder="linear"``: f(x) = w x + b in closed form: with x_e the mean of an episode's factors (or of a subset's) and y
= R/T, both without their means, w = (X'X - sum_e C_e + l2 I)^-1 X'y, where C_e is what rrd_unbiased takes off, (1 -
K/T)/K times the sample covariance of the subset; b explains what no factor does. ``decoder="mlp"``: a network trained
by gradient descent (torch).

Over agents (``over="agents"``): R is the return of the team and T the number of steps of all agents together: f sees
each agent's own factors, so what an agent did is paid to it. The agents' number is no factor unless you make it one.

What comes from where ([C]: the authors' code, [I]: our own choice): the losses, K = 64, three layers of 256, Adam at
3e-4, agents by their own observations [C]. Where K is above T the code draws with repetition; here K is then T, else
the correction would be negative [I]. The linear decoder, l2 and ``residual`` are ours [I]. The unbiased loss has no
minimum where C outweighs X'X: eigenvalues of X'X - C below 0 are raised to it [I].

``residual`` gives R - sum r^ back: evenly over all steps (of all agents), or on the last step (of each agent in equal
parts). The paper does not: with ``"none"`` an episode is paid what the fit says, nothing before the first ``learn``.

Invariance: return-preserving (over the team) with a residual, else none. Steps in another order get their rewards in
that order; a factor that is always 0 changes nothing.

Hacks: without a residual r^ pays for its factors whatever the outcome: a factor that goes with success and can be had
without it will be farmed until the next ``learn``. With one, an episode that fails is paid what it earned.

Hosts: all; ``over="agents"`` needs the joint episode, so there Parallel alone (of games by turns: ``aec_to_parallel``).
An agent that left before the last one is not paid later online; its share is in its trajectory.

Departures: a transition has the next observation too, so factors may read it; the code has that as an option.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..maths import by, split
from ..shaper import Shaper, use
from ..types import Floats, Group, Level, Trajectory, WrongFact

Picks = list[NDArray[np.int64]]


def decomposition_loss(r: Floats, total: float, subset: Any = None, unbiased: bool = False) -> float:
    """The loss of one episode: ``(T,)`` rewards r^ against its return; over a subset of steps for rrd."""
    n = len(r)
    part = r if subset is None else r[subset]
    k = len(part)
    loss = float((part.mean() - total / n) ** 2)
    return loss - ((1 - k / n) / k * float(part.var(ddof=1)) if unbiased and 1 < k < n else 0.0)


@dataclass
class LatentReward(Shaper):
    """Redistributes the return by a decoder of factors, fitted to returns.

    Shared memory: ``weights`` (d,) and ``base``, or ``network``; the window's ``rows``, (steps, d) an episode, and
    ``totals``; ``fits``, the number of calls of ``learn``, and ``seed``, from which subsets are drawn.

    Raises:
        ValueError: a setting outside its range, or factors that are not d finite numbers.
        MissingFact: the environment does not publish the factors.
    """

    factors: Any = ""
    """``"module:function"`` or a function of the transition, giving d numbers or a dict of them; ``""``: ``key``."""
    over: Literal["time", "agents"] = "time"
    """The return is an episode's, or that of all agents of a joint episode."""
    decoder: Literal["linear", "mlp"] = "linear"
    """Closed form, or a network trained by gradient descent."""
    loss: Literal["rd", "rrd", "rrd_unbiased"] = "rd"
    """Whole episodes, random subsets of their steps, or these without bias."""
    k: int = 64
    """Steps of a subset."""
    draws: int = 1
    """Subsets an episode and fit (of the network: and epoch)."""
    residual: Literal["none", "uniform", "last"] = "none"
    """Where the rest of the return goes."""
    l2: float = 1e-3
    """Ridge penalty of the linear decoder."""
    window: int = 2000
    """Episodes that the fit remembers."""
    layers: int = 3
    """Layers of the network."""
    hidden: int = 256
    """Width of the network."""
    epochs: int = 200
    """Passes of the network over the window at each ``learn``."""
    lr: float = 3e-4
    """Step size of the network."""
    device: str = "cpu"
    """Torch device of the network."""
    key: str = "latent_factors"
    """Info key of the factors."""
    additive = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("k", "draws", "window", "layers", "hidden", "epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"latent_reward: {name} = {getattr(self, name)}, allowed is a number from 1")
        for name in ("l2", "lr"):
            if not 0.0 < getattr(self, name) < np.inf:
                raise ValueError(f"latent_reward: {name} = {getattr(self, name)}, allowed is a number above 0")
        if self.loss == "rrd_unbiased" and self.k < 2:
            raise ValueError("latent_reward: k = 1, but rrd_unbiased needs the variance of at least 2 steps")

    @property
    def pool(self) -> Any:  # type: ignore[override]
        """The joint episode, if the return is the team's."""
        return "joint" if self.over == "agents" else "task"

    @property
    def level(self) -> Level:
        """The episode, or the joint one."""
        return Level.GROUP if self.over == "agents" else Level.EPISODE

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The factors, if they are a fact."""
        return () if self.factors else (self.key,)

    @property
    def return_preserving(self) -> bool:  # type: ignore[override]
        """Where the residual is given back."""
        return self.residual != "none"

    def setup(self, rng: np.random.Generator) -> None:
        """A decoder that pays nothing."""
        self._factors = use(self.factors) if self.factors else None
        self.seed, self.fits = int(rng.integers(2**31)), 0
        self.weights, self.base = np.zeros(0), 0.0
        self.network: dict[str, Any] = {}
        self.rows, self.totals = list[Floats](), np.zeros(0)

    def matrix(self, traj: Trajectory) -> Floats:
        """``(T, d)`` factors of the steps."""
        out = []
        for t in traj:
            x = t.info[self.key] if self._factors is None else self._factors(t)
            row = [x[k] for k in sorted(x)] if isinstance(x, Mapping) else x
            try:
                out.append(np.atleast_1d(np.asarray(row, np.float64)))
            except (TypeError, ValueError):
                raise WrongFact(x) from None
        known = self.rows[0].shape[1:] if self.rows else out[0].shape if out else (0,)
        for row in out:
            if row.ndim != 1 or row.shape != known or not np.isfinite(row).all():
                raise ValueError(
                    f"latent_reward: the factors of a step are {row.tolist()}, {known[0]} finite numbers are expected as before"
                )
        return np.array(out, np.float64).reshape(len(traj), *known)

    def predict(self, x: Floats) -> Floats:
        """``(steps,)`` r^ of ``(steps, d)`` factors."""
        if not self.fits or not len(x):
            return np.zeros(len(x))
        if self.decoder == "mlp":
            return np.asarray(self._net().predict(x), np.float64)
        return np.asarray(x @ self.weights + self.base, np.float64)

    def group(self, group: Group) -> list[Floats]:
        """Redistributes each episode's return, or the team's."""
        if self.over == "agents":
            return self._shared(group)
        return [self._shared([t])[0] for t in group]

    def _shared(self, team: Group) -> list[Floats]:
        out = [self.predict(self.matrix(t)) for t in team]
        there = [x for x in out if len(x)]
        rest = sum(t.rewards.sum() for t in team) - sum(x.sum() for x in out)
        if self.residual == "uniform":
            out = [x + rest / sum(map(len, there)) if len(x) else x for x in out]
        elif self.residual == "last":
            for x in there:
                x[-1] += rest / len(there)
        return out

    def learn(self, trajs: Sequence[Trajectory]) -> dict[str, float]:
        """Refits to the last ``window`` episodes; the metric is the mean loss."""
        teams = (
            [[trajs[i] for i in part] for part in by(trajs, "joint")] if self.over == "agents" else [[t] for t in trajs]
        )
        teams = [team for team in teams if any(map(len, team))]
        if not teams:
            return {}
        new = []
        for team in teams:
            parts = [self.matrix(t) for t in team if len(t)]
            if len({p.shape[1] for p in parts}) > 1:
                raise ValueError(
                    f"latent_reward: the agents have {[p.shape[1] for p in parts]} factors, one number is expected"
                )
            new.append(np.concatenate(parts))
        self.rows = (self.rows + new)[-self.window :]
        sums = [sum(t.rewards.sum() for t in team) for team in teams]
        self.totals = np.append(self.totals, sums)[-self.window :]
        rng = np.random.default_rng([self.seed, self.fits])
        self.fits += 1
        if self.decoder == "mlp":
            picks = [self._picks(rng) for _ in range(self.epochs * (1 if self.loss == "rd" else self.draws))]
            self.network = self._net().fit(self.rows, self.totals, picks, self.loss == "rrd_unbiased")
        else:
            picks = [self._picks(rng) for _ in range(1 if self.loss == "rd" else self.draws)]
            self._ridge(picks)
        flat = split(self.predict(np.concatenate(self.rows)), self.rows)
        losses = [
            decomposition_loss(r, total, i, self.loss == "rrd_unbiased")
            for r, total, i in zip(flat, self.totals, picks[-1])
        ]
        return {"loss": float(np.mean(losses))}

    def _picks(self, rng: np.random.Generator) -> Picks:
        """Steps of each episode of the window that a loss sees."""
        if self.loss == "rd":
            return [np.arange(len(x)) for x in self.rows]
        return [rng.choice(len(x), min(self.k, len(x)), replace=False) for x in self.rows]

    def _ridge(self, picks: list[Picks]) -> None:
        d = self.rows[0].shape[1]
        x = np.array([row[i].mean(0) for draw in picks for row, i in zip(self.rows, draw)]).reshape(-1, d)
        y = np.array([total / len(row) for _ in picks for row, total in zip(self.rows, self.totals)])
        xc, yc = x - x.mean(0), y - y.mean()
        gram = xc.T @ xc
        if self.loss == "rrd_unbiased":
            for draw in picks:
                for row, i in zip(self.rows, draw):
                    if 1 < len(i) < len(row):
                        gram = gram - (1 - len(i) / len(row)) / len(i) * np.cov(row[i].T, ddof=1).reshape(d, d)
            size, axes = np.linalg.eigh(gram)
            gram = (axes * np.maximum(size, 0.0)) @ axes.T
        self.weights = np.asarray(np.linalg.solve(gram + self.l2 * np.eye(d), xc.T @ yc), np.float64)
        self.base = float(y.mean() - x.mean(0) @ self.weights)

    def _net(self) -> Any:
        from .lare_torch import Decoder

        d = self.rows[0].shape[1]
        return Decoder(d, self.layers, self.hidden, self.lr, self.seed, self.device, self.network)

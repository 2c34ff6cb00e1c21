"""PARL: a reward model learnt from preferences over the episodes of the policy that it makes.

    upper   G(nu, theta*(nu)) = E_(tau0, tau1, y) [y log P(tau0 > tau1) + (1 - y) log P(tau1 > tau0)] - reg |nu|^2 / 2
            P(tau0 > tau1) = sigmoid(R_nu(tau0) - R_nu(tau1)),   both from the policy pi_theta*(nu)
    lower   theta*(nu) = argmax_theta  E R_nu(tau) + lambda H
    dG/dnu  = G_nu - V_nu,theta [V_theta,theta]^-1 G_theta,      G_theta = E[l (grad log pi(tau0) + grad log pi(tau1))]

"PARL: a unified framework for policy alignment in reinforcement learning from human feedback" (arXiv 2308.02585). The abstract
confirms the structure: the data of the preferences come from the policy itself, and the gradient through it is what ordinary
RLHF leaves out. The formulas here are derived from it, not read in the paper. A-PARL alternates ``inner_steps`` of the
policy with one outer step. ``score_term=False`` is the RLHF gradient, G_nu alone.

r_nu is linear in the features of (state, action) that the policy has.

Departures: equal preferences (y None) make no pair. ``center`` takes the mean of l from it in the score term, which leaves its
expectation (but for a share of 1 / pairs) and much of the noise away. Pairs are always of the current policy; no old ones
are weighted.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from ..wrappers.shaper import check_settings, use
from ..wrappers.types import Floats, Trajectory
from .bilevel import Batch, Solver, derivatives, hypergradient, mixed, scores
from .bilevel import gradient as policy_gradient
from .linear import LinearPolicy, batch, play, settings_of, step_layers_only, valid

Prefer = Callable[[Trajectory, Trajectory], float | None]


def by_return(a: Trajectory, b: Trajectory) -> float | None:
    """1.0 if the environment paid ``a`` more, 0.0 if less, None if equal."""
    x, y = float(a.rewards.sum()), float(b.rewards.sum())
    return None if x == y else float(x > y)


@dataclass(frozen=True)
class Pairs:
    """Preferences as arrays: of the pair ``k``, ``first`` and ``second`` are episodes, ``y`` says how much the first is
    preferred.

    Attributes:
        first: ``(M,)`` int.
        second: ``(M,)`` int.
        y: ``(M,)`` float64 in [0, 1].
        weight: ``(M,)`` of the pairs; 1 / M for a sample.
    """

    first: Any
    second: Any
    y: Floats
    weight: Floats


def preferences(trajs: Sequence[Trajectory], prefer: Prefer) -> Pairs:
    """All pairs of the episodes that are not equal; each weighs 1 over the number of all pairs."""
    every = list(itertools.combinations(range(len(trajs)), 2))
    said = [(i, j, y) for i, j in every if (y := prefer(trajs[i], trajs[j])) is not None]
    first, second = (np.array([s[k] for s in said], np.int64) for k in (0, 1))
    likes = np.array([s[2] for s in said], np.float64)
    return Pairs(first, second, likes, np.full(len(said), 1.0 / max(len(every), 1)))


def likelihood(nu: Floats, sums: Floats, pairs: Pairs) -> tuple[Floats, Floats]:
    """``(M,)`` l of each pair and ``(K,)`` the derivative G_nu of their weighted sum.

    Args:
        nu: ``(K,)``.
        sums: ``(E, K)`` features summed over each episode.
        pairs: M preferences.
    """
    gap = sums[pairs.first] - sums[pairs.second]
    d = gap @ nu
    ell = -pairs.y * np.logaddexp(0, -d) - (1 - pairs.y) * np.logaddexp(0, d)
    slope = pairs.y - 1 / (1 + np.exp(-np.clip(d, -500, 500)))
    return np.asarray(ell, np.float64), np.asarray((pairs.weight * slope) @ gap, np.float64)


def gradient(
    nu: Floats,
    theta: Floats,
    b: Batch,
    pairs: Pairs,
    *,
    entropy: float = 1.0,
    reg: float = 0.0,
    score_term: bool = True,
    center: bool = False,
    inner: Batch | None = None,
    solver: Solver = "exact",
    **settings: Any,
) -> tuple[Floats, Floats]:
    """The explicit part G_nu ``(K,)`` and the implicit one ``(K,)`` of dG/dnu.

    Args:
        nu: ``(K,)`` of the reward, on the features of the policy, so K = P.
        theta: ``(P,)``.
        b: the episodes of the pairs.
        pairs: preferences between them.
        entropy: lambda.
        reg: weight of ``|nu|^2 / 2``.
        score_term: False: the implicit part is 0.
        center: take the mean of l from it in the score term.
        inner: episodes for the lower objective's derivatives; None: those of the pairs.
        solver: see ``bilevel.inverse``, as are ``terms``, ``alpha``, ``damping``.
    """

    def taken(x: Batch) -> Floats:
        return np.asarray(x.rows[np.arange(len(x.action)), x.action], np.float64)

    def summed(x: Batch, values: Floats) -> Floats:
        out = np.zeros((len(x.weight), values.shape[1]))
        np.add.at(out, x.owner, values)
        return out

    ell, explicit = likelihood(nu, summed(b, taken(b)), pairs)
    explicit = explicit - reg * nu
    if not score_term:
        return explicit, np.zeros(len(nu))
    grads = summed(b, scores(theta, b)[1])
    shown = ell - (pairs.weight @ ell / max(float(pairs.weight.sum()), 1e-300) if center else 0.0)
    push = (pairs.weight * shown) @ (grads[pairs.first] + grads[pairs.second])
    low = b if inner is None else inner
    features = taken(low)
    _, hessian = derivatives(theta, low, features @ nu, entropy, "episode")
    return explicit, hypergradient(hessian, mixed(theta, low, features, "episode"), push, 0.0, solver, **settings)


@dataclass
class ParlSettings:
    """Numbers are ours: the paper's were not to be read.

    Raises:
        ValueError: a setting outside its range.
    """

    episodes: int = 16
    """Of a round; all pairs of them are compared."""
    inner_steps: int = 5
    """Policy-gradient steps, each with new episodes, before an outer step."""
    score_term: bool = True
    """False: ordinary RLHF."""
    center: bool = True
    """Take the mean from l in the score term."""
    entropy: float = 0.1
    """lambda."""
    reg: float = 1e-3
    """Of the reward's weights."""
    solver: Solver = "cg"
    """How the inverse is taken."""
    loops: int = 10
    """Directions, or terms of the series."""
    alpha: float = 0.1
    """Of the series."""
    damping: float = 1e-2
    """Taken from the Hessian's diagonal: it is estimated and may not be that of a maximum."""
    inner_lr: float = 0.5
    """Step of the policy."""
    outer_lr: float = 0.5
    """Step of the reward."""
    prefer: Any = "milepost.baselines.parl:by_return"
    """``"module:function"`` or a function of two trajectories: 1 for the first, 0 for the second, None for neither."""

    def __post_init__(self) -> None:
        check_settings(self, "parl")
        if self.episodes < 2 or min(self.inner_steps, self.loops) < 1:
            raise ValueError(
                f"parl: episodes is {self.episodes}, inner_steps {self.inner_steps} and loops {self.loops}; "
                "allowed: episodes from 2, the others from 1"
            )
        for name in ("alpha", "inner_lr", "outer_lr"):
            if not getattr(self, name) > 0:
                raise ValueError(f"parl: {name} is {getattr(self, name)}, allowed is a number above 0")
        for name in ("entropy", "reg", "damping"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"parl: {name} is {getattr(self, name)}, allowed is a number from 0")


class Parl:
    """A linear softmax policy and a linear reward, each trained on what the other makes.

    Args:
        env: what it acts in. Its reward is used by ``prefer`` alone.
        seed: of the actions.
        **settings: of ``ParlSettings``.

    Raises:
        ValueError: an unknown setting, or one outside its range; an environment that a linear policy cannot act in.
    """

    def __init__(self, env: gym.Env[Any, Any], seed: int = 0, **settings: Any) -> None:
        self.settings = settings_of(ParlSettings, "parl", settings)
        self.policy = LinearPolicy(env, seed=seed)
        self.nu: Floats = np.zeros(self.policy.size)
        self.steps = 0
        self._prefer: Prefer = use(self.settings.prefer)

    def act(self, obs: Any, info: dict[str, Any]) -> Any:
        """The likeliest action."""
        return self.policy.greedy(obs, info)

    def _collect(self, env: gym.Env[Any, Any]) -> list[Trajectory]:
        new = [play(env, self.policy, int(self.policy.rng.integers(2**31))) for _ in range(self.settings.episodes)]
        self.steps += sum(map(len, new))
        return [t for t in valid(new) if len(t)]

    def _improve(self, trajs: Sequence[Trajectory]) -> None:
        """One step of the policy on r_nu: returns-to-go, less their mean."""
        b = batch(trajs)
        gains = []
        for t in trajs:
            r = np.array([x[k] @ self.nu for x, k, _ in t.meta["choices"]])
            gains.append(np.cumsum(r[::-1])[::-1])
        credit = np.concatenate(gains)
        g = policy_gradient(self.policy.theta, b, credit - credit.mean(), self.settings.entropy, "log")
        self.policy.theta = self.policy.theta + self.settings.inner_lr * g

    def learn(self, env: gym.Env[Any, Any], steps: int) -> list[dict[str, float]]:
        """Trains for at least ``steps`` environment steps, in whole rounds.

        Returns:
            One dict a round: the environment's return, the pairs, and the sizes of the two parts of the gradient.

        Raises:
            ValueError: the environment is shaped by layers other than step layers.
        """
        step_layers_only("parl", env)
        s, history, goal = self.settings, list[dict[str, float]](), self.steps + steps
        while self.steps < goal:
            for _ in range(s.inner_steps):
                if new := self._collect(env):
                    self._improve(new)
            new = self._collect(env)
            row = {"return": float(np.mean([t.rewards.sum() for t in new])) if new else 0.0, "pairs": 0.0}
            pairs = preferences(new, self._prefer)
            if len(pairs.y):
                solver: dict[str, Any] = {"terms": s.loops, "alpha": s.alpha, "damping": s.damping}
                explicit, implicit = gradient(
                    self.nu, self.policy.theta, batch(new), pairs,
                    entropy=s.entropy, reg=s.reg, score_term=s.score_term, center=s.center,
                    solver=s.solver, **solver,
                )  # fmt: skip
                self.nu = self.nu + s.outer_lr * (explicit + implicit)
                row |= {"pairs": float(len(pairs.y)), "explicit": float(np.linalg.norm(explicit))}
                row |= {"implicit": float(np.linalg.norm(implicit))}
            history.append(row)
        return history

    def save(self, path: str | Path) -> None:
        """The policy and the reward."""
        from .checkpoint import save_checkpoint

        plain = dataclasses.asdict(self.settings)
        if not isinstance(plain["prefer"], str):
            plain.pop("prefer")  # a live function is given again
        save_checkpoint(path, "parl", {"theta": self.policy.theta, "nu": self.nu, "settings": plain})

    @classmethod
    def load(cls, path: str | Path, env: gym.Env[Any, Any], seed: int = 0, **settings: Any) -> Parl:
        """An agent that acts as the saved one; ``settings`` such as a live ``prefer`` replace the saved ones.

        Raises:
            ValueError: no checkpoint of this trainer.
        """
        from .checkpoint import load_checkpoint

        state = load_checkpoint(path, "parl")
        agent = cls(env, seed, **(state["settings"] | settings))
        agent.policy.theta, agent.nu = state["theta"], state["nu"]
        return agent

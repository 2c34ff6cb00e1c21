"""BARFI: learns what heuristic rewards are worth, by the primary return of the policy that they make.

    inner   theta*(phi) = argmax_theta  E sum_t G_t(r_phi, gamma_phi) log pi(a_t | s_t) + lambda H
    outer   maximise  J(theta*(phi)) - lambda_r |phi| - lambda_g gamma_phi,   J the primary return
            dJ/dphi = - J_theta [inner_theta,theta]^-1 inner_theta,phi

"Behavior Alignment via Reward Function Optimization" (NeurIPS 2023). From the authors' code: r_phi of ``TermBlend``,
gamma_phi = sigmoid(g) with g = 4.6 at first, lambda = .25, a Neumann series of 5 terms with alpha = 5e-4, RMSprop with .005
inside and outside; a warm start with the naive sum for 155 episodes, then after every 3 episodes one outer step and 15
inner ones, off-policy on the last episodes, 15 times as many for the Hessian. A helpful heuristic keeps its weight, a
misleading one loses it; a potential cannot help an optimiser that is flawed, since it leaves the expected update as it is.

``solver="identity"`` is first order: weight_k moves by <grad J_primary, grad J_aux,k>, within 0 to ``most``; that is ours.

Departures: small linear softmax policies on (hashed) features; the authors' tabular ones, and networks with the same formulas.
``form="episode"`` weighs whole episodes by importance ratios instead, which is exact for any data and noisy for long episodes.
Weights are bounded by ``most`` only if it is given.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from ..wrappers.maths import clip, togo
from ..wrappers.shaper import check_settings
from ..wrappers.shaper import load as load_shaper
from ..wrappers.step.blend import TermBlend
from ..wrappers.types import Floats, Trajectory
from .bilevel import Form, RMSprop, Solver, derivatives, gradient, hypergradient, mixed
from .linear import LinearPolicy, batch, play, settings_of, step_layers_only, valid


@dataclass
class BarfiSettings:
    """What the paper leaves open is as in the authors' code.

    Raises:
        ValueError: a setting outside its range.
    """

    entropy: float = 0.25
    """lambda of the inner objective."""
    form: Form = "log"
    """The inner objective, see ``bilevel``."""
    solver: Solver = "neumann"
    """How the inverse is taken."""
    loops: int = 5
    """Terms of the series, or directions."""
    alpha: float = 5e-4
    """Of the series."""
    damping: float = 0.0
    """Taken from the Hessian's diagonal."""
    inner_lr: float = 0.005
    """Step of the policy."""
    outer_lr: float = 0.005
    """Step of the reward."""
    warm: int = 155
    """Episodes with the naive sum."""
    every: int = 3
    """Episodes before each outer step; five times as many inner steps follow."""
    window: int = 45
    """Last episodes, for the Hessian and the inner steps."""
    learn_gamma: bool = True
    """Learn the discount of the inner objective too."""
    logit: float = 4.6
    """sigmoid of it is the inner discount at first: .99."""
    gamma: float = 1.0
    """Discount of the primary return."""
    reward_penalty: float = 0.0
    """lambda_r; the paper has 0 and .06125."""
    gamma_penalty: float = 0.0
    """lambda_g; the paper has .061 to 16."""
    most: float | None = None
    """Weights stay in 0 to this; None: they are free."""

    def __post_init__(self) -> None:
        check_settings(self, "barfi")
        for name in ("alpha", "inner_lr", "outer_lr"):
            if not getattr(self, name) > 0:
                raise ValueError(f"barfi: {name} is {getattr(self, name)}, allowed is a number above 0")
        for name in ("entropy", "damping", "reward_penalty", "gamma_penalty", "warm"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"barfi: {name} is {getattr(self, name)}, allowed is a number from 0")
        if min(self.loops, self.every, self.window) < 1 or not 0 <= self.gamma <= 1 or not (self.most or 1.0) > 0:
            raise ValueError(
                f"barfi: loops is {self.loops}, every {self.every}, window {self.window}, gamma {self.gamma} and most "
                f"{self.most}; "
                "allowed: whole numbers from 1, gamma 0 to 1, most above 0 or None"
            )


class Barfi:
    """A linear softmax policy and a blend of reward terms, trained against each other.

    Args:
        env: what it acts in; for ``learn`` one whose account has the blend's terms (``shape`` it with layers that add them).
        blend: which terms, and their features: a ``TermBlend`` or its spec; a copy is made.
        seed: of the actions.
        **settings: of ``BarfiSettings``.

    Raises:
        ValueError: an unknown setting, or one outside its range; no blend; an environment that a linear policy cannot act in.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        blend: TermBlend | Mapping[str, Any] | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        self.settings = settings_of(BarfiSettings, "barfi", settings)
        self.policy = LinearPolicy(env, seed=seed)
        if blend is None:
            raise ValueError(
                "barfi: blend is missing: say which terms of the account it weighs, as {'shaper': 'term_blend', 'terms': [...]}"
            )
        layer = load_shaper(blend)
        if not isinstance(layer, TermBlend):
            raise ValueError(f"barfi: blend is a {type(layer).__name__}; allowed: a TermBlend or its spec")
        self.blend = layer
        self.blend.setup(np.random.default_rng(seed))
        self.logit, self.episodes, self.steps = self.settings.logit, 0, 0
        self.recent: list[Trajectory] = []
        self._inner, self._outer = RMSprop(self.settings.inner_lr), RMSprop(self.settings.outer_lr)

    # -- acting ----------------------------------------------------------------------------------
    def act(self, obs: Any, info: dict[str, Any]) -> Any:
        """The likeliest action."""
        return self.policy.greedy(obs, info)

    # -- phi -------------------------------------------------------------------------------------
    @property
    def discount(self) -> float:
        """gamma_phi."""
        return 1.0 / (1.0 + math.exp(-self.logit)) if self.settings.learn_gamma else self.settings.gamma

    def phi(self) -> Floats:
        """``(K,)``: offset, weights, and the discount's logit where it is learnt."""
        own = [self.blend.offset, self.blend.weights.ravel()]
        return np.concatenate([*own, [self.logit]] if self.settings.learn_gamma else own)

    def _set(self, phi: Floats) -> None:
        n, s = len(self.blend.offset), self.settings
        size = self.blend.weights.size
        weights = phi[n : n + size].reshape(self.blend.weights.shape)
        self.blend.offset = phi[:n].copy()
        self.blend.weights = weights.copy() if s.most is None else np.asarray(clip(weights, 0.0, s.most), np.float64)
        if s.learn_gamma:
            self.logit = float(phi[-1])

    def credit(self, traj: Trajectory) -> tuple[Floats, Floats, Floats]:
        """``(T,)`` credit of an episode's steps by r_phi, its derivative by phi ``(T, K)``, and primary rewards ``(T,)``."""
        steps, gamma = list(traj), self.discount
        x = np.array([self.blend.inputs(t.obs) for t in steps])
        aux = np.array([self.blend.parts(t) for t in steps])
        primary = traj.rewards - aux.sum(1)
        r = primary + x @ self.blend.offset + ((x @ self.blend.weights.T) * aux).sum(1)
        by = np.concatenate([x, (aux[:, :, None] * x[:, None, :]).reshape(len(x), -1)], 1)
        if self.settings.form == "episode":
            scale = gamma ** np.arange(len(x))
            credit, change = scale * r, scale[:, None] * by
            slope = np.arange(len(x)) * gamma ** np.maximum(np.arange(len(x)) - 1, 0) * r
        else:
            credit = togo(r, gamma)
            change = np.stack([togo(c, gamma) for c in by.T], 1)
            slope = togo(np.append(credit[1:], 0.0), gamma)  # d/dgamma G_t = G_t+1 + gamma d/dgamma G_t+1
        if self.settings.learn_gamma:
            change = np.concatenate([change, (gamma * (1 - gamma) * slope)[:, None]], 1)
        return credit, change, primary

    # -- learning --------------------------------------------------------------------------------
    def outer_gradient(self, fresh: Sequence[Trajectory], data: Sequence[Trajectory]) -> Floats:
        """``(K,)`` dJ/dphi, with the regularisers.

        Args:
            fresh: episodes of the policy as it is, for the gradient of the primary return.
            data: episodes for the inner objective's derivatives.
        """
        s, theta = self.settings, self.policy.theta
        b = batch(data)
        parts = [self.credit(t) for t in data]
        _, hessian = derivatives(theta, b, np.concatenate([p[0] for p in parts]), s.entropy, s.form)
        cross = mixed(theta, b, np.concatenate([p[1] for p in parts]), s.form)
        primary = [self.credit(t)[2] for t in fresh]
        gains = [togo(r, s.gamma) if s.form == "log" else r * s.gamma ** np.arange(len(r)) for r in primary]
        push = gradient(theta, batch(fresh), np.concatenate(gains), 0.0, s.form)
        own = self.phi()
        size = len(own) - s.learn_gamma
        own[:size] *= -s.reward_penalty / max(float(np.linalg.norm(own[:size])), 1e-12)
        if s.learn_gamma:
            own[-1] = -s.gamma_penalty * self.discount * (1 - self.discount)
        return hypergradient(hessian, cross, push, own, s.solver, terms=s.loops, alpha=s.alpha, damping=s.damping)

    def inner_steps(self, data: Sequence[Trajectory], count: int) -> None:
        """Gradient steps of the policy on r_phi."""
        s, b = self.settings, batch(data)
        credit = np.concatenate([self.credit(t)[0] for t in data])
        for _ in range(count):
            g = gradient(self.policy.theta, b, credit, s.entropy, s.form)
            self.policy.theta = self._inner.step(self.policy.theta, g)

    def learn(self, env: gym.Env[Any, Any], steps: int) -> list[dict[str, float]]:
        """Trains for at least ``steps`` environment steps, in whole rounds of ``every`` episodes.

        Args:
            env: with the blend's terms in ``info["reward_terms"]``.
            steps: of the environment.

        Returns:
            One dict a round: the primary return, the weights as ``weight/term``, the discount.

        Raises:
            ValueError: the account lacks a term; or the environment is shaped by layers other than step layers.
        """
        step_layers_only("barfi", env)
        s, history, goal = self.settings, list[dict[str, float]](), self.steps + steps
        while self.steps < goal:
            new = [play(env, self.policy, int(self.policy.rng.integers(2**31))) for _ in range(s.every)]
            self.steps += sum(map(len, new))
            self.episodes += len(new)
            new = [t for t in valid(new) if len(t)]
            if not new:
                continue
            self.recent = (self.recent + new)[-s.window :]
            if self.episodes > s.warm:
                self._set(self._outer.step(self.phi(), self.outer_gradient(new, self.recent)))
            self.inner_steps(self.recent, 5 * s.every)
            row = {"return": float(np.mean([self.credit(t)[2].sum() for t in new])), "discount": self.discount}
            history.append(row | {f"weight/{n}": float(w[0]) for n, w in zip(self.blend.terms, self.blend.weights)})
        return history

    # -- checkpoints -----------------------------------------------------------------------------
    def save(self, path: str | Path) -> None:
        """The policy and the blend."""
        from .checkpoint import save_checkpoint

        state = {"theta": self.policy.theta, "blend": self.blend.state_dict(), "logit": self.logit}
        state["spec"] = self.blend.spec()
        save_checkpoint(path, "barfi", state | {"settings": dataclasses.asdict(self.settings)})

    @classmethod
    def load(cls, path: str | Path, env: gym.Env[Any, Any], blend: TermBlend | None = None, seed: int = 0) -> Barfi:
        """An agent that acts as the saved one; ``blend`` is needed again where its features were a live function.

        Raises:
            ValueError: no checkpoint of this trainer.
        """
        from .checkpoint import load_checkpoint

        state = load_checkpoint(path, "barfi")
        agent = cls(env, blend or state["spec"], seed, **state["settings"])
        agent.policy.theta, agent.logit = state["theta"], state["logit"]
        agent.blend.load_state_dict(state["blend"])
        return agent

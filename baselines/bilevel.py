"""Bilevel optimisation over linear softmax policies: derivatives of an inner objective, and the gradient through its maximum.

    theta*(phi) = argmax_theta J(theta, phi),     dF/dphi = F_phi - J_phi,theta [J_theta,theta]^-1 F_theta

The implicit function theorem at a maximum; BARFI (NeurIPS 2023) and PARL (arXiv 2308.02585) share it. The inverse is exact,
a Neumann series, conjugate gradient, or left out (``identity``: the first-order form, phi moves by how well the gradients
agree).

The inner objective of a batch of episodes, with H the entropy of the policy at a step and w the weight of an episode:

    log      sum_t w G_t log pi(a_t | s_t) + lambda w H_t            G_t the return from step t on
    episode  w R prod_t pi(a_t | s_t) / mu(a_t | s_t) + lambda sum_t w H_t     R the return; exact importance sampling

Small policies only: matrices of ``(P, P)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..wrappers.types import Floats

Form = Literal["log", "episode"]
Solver = Literal["exact", "neumann", "cg", "identity"]
SOLVERS: tuple[Solver, ...] = ("exact", "neumann", "cg", "identity")
FORMS: tuple[Form, ...] = ("log", "episode")


@dataclass(frozen=True)
class Batch:
    """Steps of several episodes, in time order, as arrays.

    Attributes:
        rows: ``(N, A, P)`` float64, features of each action that could be taken; 0 where there is none.
        mask: ``(N, A)`` bool, which rows are actions.
        action: ``(N,)`` int, the row that was taken.
        logp: ``(N,)`` its log-probability when it was taken.
        owner: ``(N,)`` int, the episode, from 0.
        weight: ``(E,)`` of the episodes.
    """

    rows: Floats
    mask: NDArray[np.bool_]
    action: NDArray[np.int64]
    logp: Floats
    owner: NDArray[np.int64]
    weight: Floats


def pack(
    episodes: Sequence[Sequence[tuple[Floats, int, float]]], weight: Sequence[float] | Floats | None = None
) -> Batch:
    """A batch of episodes of steps ``(features of the actions (A, P), index of the one taken, its log-probability)``.

    Args:
        episodes: at least one step in all.
        weight: one an episode; None: 1 / number of episodes.
    """
    steps = [s for e in episodes for s in e]
    most = max(len(s[0]) for s in steps)
    rows, mask = np.zeros((len(steps), most, steps[0][0].shape[1])), np.zeros((len(steps), most), bool)
    for i, (x, _, _) in enumerate(steps):
        rows[i, : len(x)], mask[i, : len(x)] = x, True
    w = np.full(len(episodes), 1.0 / len(episodes)) if weight is None else np.asarray(weight, np.float64)
    owner = np.repeat(np.arange(len(episodes)), [len(e) for e in episodes])
    action = np.array([s[1] for s in steps], np.int64)
    return Batch(rows, mask, action, np.array([s[2] for s in steps], np.float64), owner, w)


def probabilities(theta: Floats, rows: Floats, mask: NDArray[np.bool_]) -> Floats:
    """``(N, A)`` softmax of ``rows @ theta`` over the rows that are actions."""
    z = np.where(mask, rows @ theta, -np.inf)
    p = np.exp(z - z.max(-1, keepdims=True))
    return np.asarray(p / p.sum(-1, keepdims=True), np.float64)


def scores(theta: Floats, b: Batch) -> tuple[Floats, Floats]:
    """``(N, A)`` probabilities and ``(N, P)`` gradients of log pi(a)."""
    p = probabilities(theta, b.rows, b.mask)
    n = np.arange(len(p))
    return p, b.rows[n, b.action] - np.einsum("na,nap->np", p, b.rows)


def _entropy(p: Floats) -> tuple[Floats, Floats, Floats]:
    """``(N,)`` entropies, their gradients ``(N, A)`` and Hessians ``(N, A, A)`` by the logits."""
    logs = np.log(np.where(p > 0, p, 1.0))
    h = -(p * logs).sum(1)
    g = -p * (logs + h[:, None])
    twist = -p * (logs + h[:, None] + 1.0)
    hessian = np.einsum("na,ab->nab", twist, np.eye(p.shape[1])) - np.einsum("na,nb->nab", twist, p)
    return h, g, hessian - np.einsum("na,nb->nab", p, g)


def _ratios(theta: Floats, b: Batch, p: Floats) -> Floats:
    """``(E,)`` products of pi / mu."""
    logs = np.log(np.maximum(p[np.arange(len(p)), b.action], 1e-300)) - b.logp
    return np.asarray(np.exp(np.bincount(b.owner, logs, len(b.weight))), np.float64)


def _sums(b: Batch, x: Floats) -> Floats:
    """Sums over the steps of each episode, ``(E, ...)`` of ``(N, ...)``."""
    out = np.zeros((len(b.weight), *x.shape[1:]))
    np.add.at(out, b.owner, x)
    return out


def objective(theta: Floats, b: Batch, credit: Floats, entropy: float, form: Form = "log") -> float:
    """The inner objective.

    Args:
        theta: ``(P,)``.
        b: N steps.
        credit: ``(N,)``; ``log``: the returns from each step on, ``episode``: the (discounted) rewards, which it sums.
        entropy: lambda.
        form: which objective.
    """
    p, _ = scores(theta, b)
    total = entropy * float(b.weight[b.owner] @ _entropy(p)[0])
    if form == "episode":
        return total + float(b.weight @ (_ratios(theta, b, p) * _sums(b, credit)))
    return total + float((b.weight[b.owner] * credit) @ np.log(p[np.arange(len(p)), b.action]))


def _push(theta: Floats, b: Batch, credit: Floats, form: Form, p: Floats) -> Floats:
    """``(N,)`` by how much each step's log-probability moves the objective."""
    if form == "log":
        return b.weight[b.owner] * credit
    return np.asarray((b.weight * _ratios(theta, b, p) * _sums(b, credit))[b.owner], np.float64)


def gradient(theta: Floats, b: Batch, credit: Floats, entropy: float, form: Form = "log") -> Floats:
    """``(P,)`` of ``objective`` by theta; arguments as there."""
    p = probabilities(theta, b.rows, b.mask)
    push = _push(theta, b, credit, form, p)
    slope = -p * push[:, None]
    slope[np.arange(len(p)), b.action] += push
    slope += entropy * b.weight[b.owner][:, None] * _entropy(p)[1]
    return np.asarray(slope.ravel() @ b.rows.reshape(-1, b.rows.shape[2]), np.float64)


def derivatives(theta: Floats, b: Batch, credit: Floats, entropy: float, form: Form = "log") -> tuple[Floats, Floats]:
    """Gradient ``(P,)`` and Hessian ``(P, P)`` of ``objective`` by theta; arguments as there."""
    p, s = scores(theta, b)
    push, flat = _push(theta, b, credit, form, p), b.rows.reshape(-1, b.rows.shape[2])
    twist = entropy * b.weight[b.owner][:, None, None] * _entropy(p)[2]
    twist += push[:, None, None] * (np.einsum("na,nb->nab", p, p) - np.einsum("na,ab->nab", p, np.eye(p.shape[1])))
    hessian = flat.T @ np.matmul(twist, b.rows).reshape(flat.shape)
    if form == "episode":
        whole = _sums(b, s)
        size = b.weight * _ratios(theta, b, p) * _sums(b, credit)
        hessian = hessian + whole.T @ (size[:, None] * whole)
    return gradient(theta, b, credit, entropy, form), np.asarray(hessian, np.float64)


def mixed(theta: Floats, b: Batch, change: Floats, form: Form = "log") -> Floats:
    """``(P, K)`` derivative of the gradient by phi, where ``change`` ``(N, K)`` is that of the credit."""
    p, s = scores(theta, b)
    if form == "episode":
        size = (b.weight * _ratios(theta, b, p))[:, None] * _sums(b, change)
        return np.asarray(_sums(b, s).T @ size, np.float64)
    return np.asarray(s.T @ (b.weight[b.owner][:, None] * change), np.float64)


def inverse(
    hessian: Floats, b: Floats, how: Solver = "exact", terms: int = 5, alpha: float = 5e-4, damping: float = 0.0
) -> Floats:
    """About ``(hessian - damping I)^-1 b`` at a maximum, where the Hessian has no positive eigenvalue.

    Args:
        hessian: ``(P, P)``, symmetric.
        b: ``(P,)``.
        how: ``exact`` (least squares where it is singular), ``neumann``: ``- alpha sum_{k < terms} (I + alpha H)^k b``,
            right in the limit if all eigenvalues of alpha H lie in (-2, 0), ``cg``: at most ``terms`` conjugate
            directions, ``identity``: ``- b``.
        terms: of the series, or directions.
        alpha: of the series.
        damping: from 0.

    Raises:
        ValueError: an unknown solver, or a number outside its range.
    """
    if how not in SOLVERS or terms < 1 or not alpha > 0 or damping < 0:
        raise ValueError(
            f"solver is {how!r}, terms {terms}, alpha {alpha} and damping {damping}; "
            f"allowed: {', '.join(SOLVERS)}; terms from 1, alpha above 0, damping from 0"
        )
    h = hessian - damping * np.eye(len(hessian))
    if how == "identity":
        return -b
    if how == "exact":
        return np.asarray(np.linalg.lstsq(h, b, rcond=None)[0], np.float64)
    if how == "neumann":
        total, term = np.zeros(len(b)), b.astype(np.float64)
        for _ in range(terms):
            total, term = total + term, term + alpha * (h @ term)
        return -alpha * total
    x, r = np.zeros(len(b)), -b.astype(np.float64)  # -h x = -b, -h positive
    d, size = r.copy(), float(r @ r)
    for _ in range(terms):
        hd = -(h @ d)
        bend = float(d @ hd)
        if bend <= 1e-14 * float(d @ d) or size <= 1e-28:
            break  # solved, or a direction without curvature
        step = size / bend
        x, r = x + step * d, r - step * hd
        size, before = float(r @ r), size
        d = r + size / before * d
    return x


def hypergradient(
    hessian: Floats, cross: Floats, outer_theta: Floats, outer_phi: Any = 0.0, how: Solver = "exact", **solver: Any
) -> Floats:
    """``(K,)`` dF/dphi of an outer objective F(phi, theta*(phi)).

    Args:
        hessian: ``(P, P)`` of the inner objective by theta.
        cross: ``(P, K)`` of the inner objective by theta and phi.
        outer_theta: ``(P,)`` of F by theta.
        outer_phi: ``(K,)`` of F by phi alone.
        how: see ``inverse``.
        **solver: ``terms``, ``alpha``, ``damping``.

    Raises:
        ValueError: as ``inverse``.
    """
    return np.asarray(outer_phi - cross.T @ inverse(hessian, outer_theta, how, **solver), np.float64)


class RMSprop:
    """Ascent by RMSprop: x <- x + lr g / (sqrt(v) + eps), v a running mean of g^2.

    Args:
        lr: step size.
        decay: of the running mean.
    """

    def __init__(self, lr: float, decay: float = 0.99) -> None:
        self.lr, self.decay = lr, decay
        self.v: Floats = np.zeros(0)

    def step(self, x: Floats, g: Floats) -> Floats:
        """The new x."""
        if self.v.shape != g.shape:
            self.v = np.zeros_like(g)
        self.v = self.decay * self.v + (1 - self.decay) * g * g
        return np.asarray(x + self.lr * g / (np.sqrt(self.v) + 1e-8), np.float64)

"""SPA-RL: a learned share of the final reward for every step.

    c_t = f(o_t, a_t, o_{t+1}),  f fitted to minimise (sum_t c_t - R)^2 over episodes   (progress estimator)
    r'_t = alpha c_t + beta g_t,  g_t = 1 if the action could be executed, else 0        (the last step always 1)

"SPA-RL: reinforcing LLM agents via stepwise progress attribution" (arXiv 2505.20732), with alpha = 1 and beta = 0.5 as in the
authors' code. Nothing bounds a single c_t.

``estimator="ridge"``: X_i are the summed features of episode i, Xc = X - mean X, ``w = (Xc'Xc + l2 I)^-1 Xc'(R - mean R)``,
``c_t = w x_t + (mean R - w mean X) / T``. A feature whose sum never varies gets weight 0; what no feature explains is
spread evenly. ``estimator="torch"``: a network of two layers on the same features.

``conserve`` puts the residual R - sum c evenly on all steps or on the last, so that the redistribution keeps the return
(with ``beta=0``). Before the first ``learn`` every c_t is 0, so ``"uniform"`` is then ``Uniform`` and ``"last"`` pays R at the
end (with ``"none"`` the episode is then paid nothing: fit first). The redistributed return replaces the rewards of the episode.

Invariance: return-preserving with ``conserve`` and ``beta = 0``, else none.

Departures: the paper's estimator is a language model with a linear head on the history up to a_t, fitted once; here features of
one step, what it led to included, refitted at every ``learn``. ``beta`` is 0 by default: grounding pays every valid action,
useless ones too, so an agent that only prolongs the episode earns more. ``conserve`` is ours, and so is the ridge
with its ``l2`` of 0.1 (the sums of an episode's features are few and correlated). The authors' leave-one-out
centring of the estimates and their weighting by remaining steps are not reproduced.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..maths import fingerprint, matrix
from ..shaper import Shaper, use
from ..types import Floats, Trajectory, Transition


def hashed_features(t: Transition, dim: int) -> Floats:
    """``(dim,)`` signed hashes: each word of a text, each number of an array, any other state or action as a whole.

    Of an observation in several lines the last one counts, the world's answer. More than ``dim`` numbers share places.
    """
    out = np.zeros(dim)
    for name, value in (("o", t.obs), ("a", t.action), ("n", t.next_obs)):
        _hash(out, name, value)
    return out


def _hash(out: Floats, name: str, value: Any) -> None:
    if isinstance(value, dict):
        for k, v in value.items():
            _hash(out, f"{name}/{k}", v)
    elif isinstance(value, str):
        said = value if name == "a" else value.rstrip().rsplit("\n", 1)[-1]
        for word in re.findall(r"\w+", said.lower()):
            _add(out, f"{name} {word}", 1.0)
    elif isinstance(value, np.ndarray) and value.dtype != object and value.ndim:
        flat = value.ravel().astype(np.float64)
        where, sign = _places(name, len(flat), len(out))
        np.add.at(out, where, sign * flat)
    elif value is not None:
        _add(out, f"{name} {fingerprint(value)}", 1.0)  # a state or an action by number: one place each


def _add(out: Floats, name: str, x: float) -> None:
    code = zlib.crc32(name.encode())
    out[(code >> 1) % len(out)] += x if code & 1 else -x


@functools.lru_cache(256)
def _places(name: str, size: int, dim: int) -> tuple[NDArray[np.int64], Floats]:
    codes = np.array([zlib.crc32(f"{name} {i}".encode()) for i in range(size)], np.int64)
    return (codes >> 1) % dim, np.asarray(np.where(codes & 1, 1.0, -1.0), np.float64)


@dataclass
class ProgressAttribution(Shaper):
    """Redistributes the return by a fitted estimator of each step's share.

    Shared memory: the window's ``totals`` (n,), and ``weights`` (dim,), ``base``, ``sums`` (n, dim) or ``network``, ``rows``.

    Raises:
        ValueError: a setting outside its range, or features of the wrong length.
        MissingFact: ``beta`` is not 0 and the environment does not publish ``valid_action``.
    """

    alpha: float = 1.0
    """Weight of the attribution."""
    beta: float = 0.0
    """Weight of the grounding signal ``info["valid_action"]``."""
    conserve: Literal["none", "uniform", "last"] = "uniform"
    """Where the residual of the return goes."""
    estimator: Literal["ridge", "torch"] = "ridge"
    """Closed form, or a network trained by gradient descent."""
    features: Any = "milepost.wrappers.episode.spa:hashed_features"
    """``"module:function"`` or a function ``(transition, dim) -> (dim,)``."""
    dim: int = 128
    """Number of features."""
    l2: float = 1e-1
    """Ridge penalty (weight decay of the network)."""
    window: int = 2000
    """Episodes that the fit remembers."""
    hidden: int = 32
    """Width of the network."""
    epochs: int = 20
    """Passes of the network over the window at each ``learn``."""
    lr: float = 1e-2
    """Step size of the network."""
    device: str = "cpu"
    """Torch device of the network."""
    additive = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("dim", "window", "hidden", "epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"progress_attribution: {name} is {getattr(self, name)}, allowed is a number from 1")
        for name in ("l2", "lr"):
            if getattr(self, name) <= 0:
                raise ValueError(f"progress_attribution: {name} is {getattr(self, name)}, allowed is a number above 0")

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The grounding fact, if it is paid."""
        return ("valid_action",) if self.beta else ()

    @property
    def return_preserving(self) -> bool:  # type: ignore[override]
        """Where the residual is given back and nothing is added."""
        return self.conserve != "none" and self.beta == 0

    def setup(self, rng: np.random.Generator) -> None:
        """An estimator that credits nothing."""
        self._features: Callable[[Transition, int], Floats] = use(self.features)
        self.seed = int(rng.integers(2**31))
        self.weights: Floats = np.zeros(self.dim)
        self.base = 0.0  # what no feature explains, shared by the steps of an episode
        self.network: dict[str, Any] = {}
        self.sums, self.totals = np.zeros((0, self.dim)), np.zeros(0)  # the window, summed over each episode
        self.rows = list[Floats]()  # the window step by step, for the network

    def matrix(self, traj: Trajectory) -> Floats:
        """``(T, dim)`` features of the steps."""
        return matrix("progress_attribution", [self._features(t, self.dim) for t in traj], self.dim)

    def predict(self, traj: Trajectory) -> Floats:
        """``(T,)`` shares c_t."""
        x = self.matrix(traj)
        if self.estimator == "torch":
            return self._net().predict(x) if self.network else np.zeros(len(x))
        return np.asarray(x @ self.weights + self.base / max(len(x), 1), np.float64)

    def episode(self, traj: Trajectory) -> Floats:
        """Shares, grounding, residual."""
        n, total = len(traj), float(traj.rewards.sum())
        if not n:
            return np.zeros(0)
        out = self.alpha * self.predict(traj)
        if self.conserve == "uniform":
            out = out + (total - out.sum()) / n
        elif self.conserve == "last":
            out[-1] += total - out.sum()
        if self.beta:
            grounded = np.array([float(i["valid_action"]) for i in traj.infos[1:]])
            grounded[-1] = 1.0
            out = out + self.beta * grounded
        return out

    def learn(self, trajs: Sequence[Trajectory]) -> dict[str, float]:
        """Refits to the last ``window`` episodes; the metric is the mean squared error of their returns."""
        trajs = [t for t in trajs if len(t)]
        if not trajs:
            return {}
        new = [self.matrix(t) for t in trajs]
        totals = np.array([t.rewards.sum() for t in trajs])
        self.totals = np.append(self.totals, totals)[-self.window :]
        if self.estimator == "torch":
            self.rows = (self.rows + new)[-self.window :]
            self.network, loss = self._net().fit(self.rows, self.totals, self.epochs)
            return {"loss": loss}
        self.sums = np.vstack([self.sums, *(x.sum(0)[None] for x in new)])[-self.window :]
        center, mean = self.sums.mean(0), self.totals.mean()
        x, y = self.sums - center, self.totals - mean
        gram = x.T @ x + self.l2 * np.eye(self.dim)
        self.weights = np.asarray(np.linalg.solve(gram, x.T @ y), np.float64)
        self.base = float(mean - center @ self.weights)
        return {"loss": float(np.mean((x @ self.weights - y) ** 2))}

    def _net(self) -> Any:
        from .spa_torch import Estimator

        return Estimator(self.dim, self.hidden, self.lr, self.l2, self.seed, self.device, self.network)

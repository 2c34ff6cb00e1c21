"""SPA-RL: a learned share of the final reward for every step.

    c_t = f(o_t, a_t),  f fitted to minimise (sum_t c_t - R)^2 over episodes        (progress estimator)
    r'_t = alpha c_t + beta g_t,  g_t = 1 if the action could be executed, else 0   (the last step always 1)

"SPA-RL: reinforcing LLM agents via stepwise progress attribution" (arXiv 2505.20732), with alpha = 1 and beta = 0.5 as in the
authors' code; ``beta`` is 0 here by default, since grounding adds to the return for every valid action. The paper's estimator
is a language model with a linear head; here it is linear on features of observation and action, with the closed form of
ridge regression on summed features, or a small torch network (``estimator="torch"``). Nothing bounds a single c_t.

``conserve`` puts the residual R - sum c evenly on all steps or on the last, so that the redistribution keeps the return
(with ``beta=0``). Before the first ``learn`` every c_t is 0, so ``"uniform"`` is then ``Uniform`` and ``"last"`` pays R at the
end. The redistributed return replaces the rewards of the episode.

Invariance: return-preserving with ``conserve`` and ``beta = 0``, else none.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..shaper import Shaper, use
from ..types import Floats, Trajectory, Transition


def hashed_features(t: Transition, dim: int) -> Floats:
    """Signed bag of the words of the action and of what it led to, or the numbers of arrays; plus a constant."""
    out = np.zeros(dim)
    parts = {"o": t.obs, "a": t.action, "n": t.next_obs}
    numbers = [
        np.ravel(np.asarray(v, np.float64))
        for v in parts.values()
        if isinstance(v, (int, float, np.ndarray, np.generic))
    ]
    flat = np.concatenate(numbers) if numbers else np.zeros(0)
    for i, x in enumerate(flat):
        out[1 + i % (dim - 1)] += x
    for name, text in parts.items():
        if isinstance(text, str):
            said = text if name == "a" else text.rsplit("\n", 1)[-1]  # the answer of the world stands last
            for word in re.findall(r"\w+", said.lower()):
                code = zlib.crc32(f"{name}{word}".encode())
                out[1 + (code >> 1) % (dim - 1)] += 1.0 if code & 1 else -1.0
    out[0] = 1.0
    return out


@dataclass
class ProgressAttribution(Shaper):
    """Redistributes the return by a fitted estimator of each step's share."""

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

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("dim", "window", "hidden", "epochs"):
            if getattr(self, name) < (2 if name == "dim" else 1):
                raise ValueError(f"progress_attribution: {name} is {getattr(self, name)}, allowed is a number from 1")
        if self.l2 <= 0:
            raise ValueError(f"progress_attribution: l2 is {self.l2}, allowed is a number above 0")

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
        self.network: dict[str, Any] = {}
        self.sums, self.totals = np.zeros((0, self.dim)), np.zeros(0)  # the window, summed over each episode
        self.rows = list[Floats]()  # the window step by step, for the network

    def matrix(self, traj: Trajectory) -> Floats:
        """``(T, dim)`` features of the steps."""
        return np.array([self._features(t, self.dim) for t in traj], np.float64).reshape(len(traj), self.dim)

    def predict(self, traj: Trajectory) -> Floats:
        """``(T,)`` shares c_t."""
        x = self.matrix(traj)
        if self.estimator == "torch":
            return self._net().predict(x) if self.network else np.zeros(len(x))
        return np.asarray(x @ self.weights, np.float64)

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
        """Refits to the last ``window`` episodes; the metric is the mean squared error of the return."""
        new = [self.matrix(t) for t in trajs]
        totals = np.array([t.rewards.sum() for t in trajs])
        self.totals = np.append(self.totals, totals)[-self.window :]
        if self.estimator == "torch":
            self.rows = (self.rows + new)[-self.window :]
            self.network, loss = self._net().fit(self.rows, self.totals, self.epochs)
            return {"loss": loss}
        self.sums = np.vstack([self.sums, *(x.sum(0)[None] for x in new)])[-self.window :]
        gram = self.sums.T @ self.sums + self.l2 * np.eye(self.dim)
        self.weights = np.asarray(np.linalg.solve(gram, self.sums.T @ self.totals), np.float64)
        return {"loss": float(np.mean((self.sums @ self.weights - self.totals) ** 2))}

    def _net(self) -> Any:
        from .spa_torch import Estimator

        return Estimator(self.dim, self.hidden, self.lr, self.l2, self.seed, self.device, self.network)

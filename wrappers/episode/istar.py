"""Step rewards that a process model implies, trained in turn with the policy from outcomes alone.

    r_t = beta (log pi_phi(a_t | h_t) - log pi_old(a_t | h_t)),    r'_t = the reward so far + r_t
    Q = sum_t r_t,    L = mean over pairs (success, failure) of one group of -log sigma(Q+ - Q-)

iStar, "Agentic RL with implicit step rewards" (arXiv 2509.19199), formulas confirmed in the paper and the authors' code; beta
is 0.05. pi_old is the policy that acted: its trainer puts ``meta["logp"]``, (T,), into the episodes. The order is: collect,
``stack.learn``, ``stack.rerun`` (the new step rewards), update the policy. The advantage that goes with it is
``FusedAdvantage``. The code averages over the steps in Q: ``reduce="mean"``. A success is an outcome above ``above``: 0, or 6
for the goal scores of SOTOPIA. A group without both kinds gives no pair.

The process model pi_phi:

    tabular   a logit for each pair of observation and action
    linear    logits linear in hashed words of the action, alone and with each word (or number) of the observation
    torch     a network of two layers on the same features
    trainer   the trainer's own (a language model): ``meta["model_logp"]``; ``learn`` then only measures the loss

The first three are softmax over the actions that there were: ``info["admissible_actions"]``, ``info["action_mask"]``, or
``actions`` of them. What was done although it was not on the list counts as one more.

``reference="start"`` compares with the process model's own first weights (uniform, for the table) instead of the policy, for
episodes whose trainer publishes no log-probabilities; it is ours [I], after implicit process rewards with a fixed reference.

Measured: a policy of a logit a state that walks the wrong way of a corridor of seven, batches of 16, one step size: batches
until 80 % succeed, median of 8 seeds, 12.5 with the z-score of the outcome alone (alpha = 0) and 3 with the step rewards
beside it; with leave-one-out 24 and 17.5. The sum of two advantages is also the longer step.

Invariance: none is claimed; in the paper's theory the rewards are those of a potential. pi_phi = pi_old pays 0 everywhere
and has the loss log 2. The sum over an episode depends on the whole ratio alone, and |r_t| <= beta log(1 / eps) where both
probabilities are at least eps. Before the first ``learn`` the reference ``"start"`` pays 0.

Departures: pi_phi starts at no policy's weights (the paper: at the policy's), and does not see the history before the
observation. The paper's learning rates are those of a language model. Pairs are averaged over all groups of a batch.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..maths import by, fingerprint, matrix, number, split
from ..models import pair_loss, preferred
from ..shaper import MissingFact, Shaper, use
from ..types import Floats, Trajectory

LAYER = "implicit_process"
Ints = NDArray[np.int64]


class Choices(NamedTuple):
    """The actions that there were at each step of several episodes, a row each."""

    first: Ints  # (steps,) first row of a step
    taken: Ints  # (steps,) row of what was done
    episode: Ints  # (steps,) whose step it is
    obs: list[Any]  # (rows,)
    actions: list[Any]  # (rows,)

    def spread(self) -> Ints:
        """``(rows,)`` the step that a row belongs to."""
        return np.repeat(np.arange(len(self.first)), np.diff(np.append(self.first, len(self.actions))))


def pair_features(obs: Any, action: Any, dim: int) -> Floats:
    """``(dim,)`` signed hashes of the action's words, alone and with each word (or number) of the observation.

    Of an observation in several lines the last one counts; an array's numbers are weights of their places.
    """
    out = np.zeros(dim)
    if isinstance(obs, np.ndarray) and obs.dtype != object:
        seen = [(str(i), float(v)) for i, v in enumerate(obs.ravel())]
    else:
        text = obs.rstrip().rsplit("\n", 1)[-1] if isinstance(obs, str) else fingerprint(obs)
        seen = [(w, 1.0) for w in re.findall(r"\w+", text.lower())]
    words = re.findall(r"\w+", action.lower()) if isinstance(action, str) else [fingerprint(action)]
    for word, (name, value) in itertools.product(words, [("", 1.0), *seen]):
        code = zlib.crc32(f"{word} {name}".encode(errors="replace"))
        out[(code >> 1) % dim] += value if code & 1 else -value
    return out


def log_softmax(logits: Floats, first: Ints, step: Ints) -> Floats:
    """``(rows,)`` log-probabilities within each step."""
    z = logits - np.maximum.reduceat(logits, first)[step]
    return np.asarray(z - np.log(np.add.reduceat(np.exp(z), first))[step], np.float64)


@dataclass
class ImplicitProcess(Shaper):
    """Adds the step rewards of a process model that is trained on which episodes succeeded.

    Shared memory: ``table`` (tabular), ``weights`` (linear), ``network`` (torch) and ``seed``.

    Raises:
        ValueError: a setting outside its range, or log-probabilities that the trainer did not give.
        MissingFact: the actions that there were are not known, or (at ``learn``) success is not published.
    """

    beta: float = 0.05
    """Scale of the step rewards."""
    model: Literal["tabular", "linear", "torch", "trainer"] = "tabular"
    """The process model."""
    reference: Literal["policy", "start"] = "policy"
    """What it is compared with: the policy that acted, or its own first weights."""
    reduce: Literal["sum", "mean"] = "sum"
    """Q over the steps: the paper's sum, or the code's mean."""
    success: str = "success"
    """Key of the last info with the outcome."""
    above: float = 0.0
    """An outcome above this is a success."""
    logp: str = "logp"
    """Meta key of the policy's log-probabilities, ``(T,)``."""
    model_logp: str = "model_logp"
    """Meta key of the trainer's process model's, ``(T,)``."""
    actions: int = 0
    """Number of actions where the environment publishes neither ``admissible_actions`` nor ``action_mask``."""
    features: Any = "milepost.wrappers.episode.istar:pair_features"
    """``"module:function"`` or a function ``(obs, action, dim) -> (dim,)``, of the linear model and the network."""
    dim: int = 256
    """Number of features."""
    hidden: int = 32
    """Width of the network."""
    epochs: int = 1
    """Gradient steps at each ``learn``."""
    lr: float | None = None
    """Step size; None: 10 (tabular, linear), 1e-2 (torch)."""
    device: str = "cpu"
    """Torch device of the network."""
    late = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.beta < np.inf or not (self.lr is None or 0.0 < self.lr < np.inf):
            raise ValueError(f"{LAYER}: beta is {self.beta} and lr {self.lr}, allowed are numbers above 0")
        for name, low in (("actions", 0), ("dim", 1), ("hidden", 1), ("epochs", 1)):
            if getattr(self, name) < low:
                raise ValueError(f"{LAYER}: {name} is {getattr(self, name)}, allowed is a number from {low}")
        if self.model == "trainer" and self.reference == "start":
            raise ValueError(
                f"{LAYER}: reference='start' needs a model that is not the trainer's: it has the first weights"
            )

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The outcome."""
        return (self.success,)

    def setup(self, rng: np.random.Generator) -> None:
        """A model of equal logits (a network: of random ones)."""
        self._features: Callable[[Any, Any, int], Floats] = use(self.features)
        self.seed = int(rng.integers(2**31))
        self.table: dict[str, float] = {}
        self.weights: Floats = np.zeros(self.dim)
        self.network: dict[str, Any] = {}

    # -- the model -------------------------------------------------------------------------------
    def _at(self, info: dict[str, Any], action: Any) -> tuple[list[Any], int]:
        """The actions that there were, and which was taken."""
        found: Any = info.get("admissible_actions")
        if found is not None and len(found):
            found = list(dict.fromkeys(found))
            if isinstance(action, (int, np.integer)) and not isinstance(found[0], (int, np.integer)):
                action = found[int(action)] if 0 <= action < len(found) else action
        elif info.get("action_mask") is not None:
            found = np.flatnonzero(info["action_mask"]).tolist()
        elif self.actions:
            found = list(range(self.actions))
        else:
            raise MissingFact(LAYER, "admissible_actions")
        action = action.item() if isinstance(action, np.generic) else action
        found = found if action in found else [*found, action]
        return found, found.index(action)

    def choices(self, trajs: Sequence[Trajectory]) -> Choices:
        """The actions that there were at all steps."""
        first, taken, episode = [], [], []
        obs: list[Any] = []
        actions: list[Any] = []
        for e, t in enumerate(trajs):
            for o, a, info in zip(t.obs, t.actions, t.infos):
                found, k = self._at(info, a)
                first.append(len(actions))
                taken.append(len(actions) + k)
                episode.append(e)
                obs += [o] * len(found)
                actions += found
        places = [np.array(x, np.int64) for x in (first, taken, episode)]
        return Choices(places[0], places[1], places[2], obs, actions)

    def _inputs(self, c: Choices) -> Any:
        """What the model reads: keys of the table, or ``(rows, dim)`` features."""
        if self.model == "tabular":
            known: dict[int, str] = {}  # an observation is hashed once a step, not once an action
            return [f"{known.setdefault(id(o), fingerprint(o))} {a!r}" for o, a in zip(c.obs, c.actions)]
        return matrix(LAYER, [self._features(o, a, self.dim) for o, a in zip(c.obs, c.actions)], self.dim)

    def _logits(self, x: Any, start: bool = False) -> Floats:
        if self.model == "torch":
            return np.asarray(self._net({} if start else self.network).predict(x), np.float64)
        if start:
            return np.zeros(len(x))
        if self.model == "tabular":
            return np.array([self.table.get(k, 0.0) for k in x])
        return np.asarray(x @ self.weights, np.float64)

    def _net(self, state: dict[str, Any]) -> Any:
        from ..models.network_torch import Network

        return Network(self.dim, self.hidden, self.lr or 1e-2, 0.0, self.seed, self.device, state)

    def _from_meta(self, trajs: Sequence[Trajectory], key: str) -> Floats:
        out = []
        for t in trajs:
            given = np.asarray(t.meta[key], np.float64) if key in t.meta else None
            if given is None or given.shape != (len(t),):
                said = "is missing" if given is None else f"has the shape {given.shape}"
                raise ValueError(
                    f"{LAYER}: meta[{key!r}] {said}; the trainer gives the log-probability of each action, ({len(t)},)"
                    + ("; without a trainer that does: reference='start'" if key == self.logp else "")
                )
            out.append(given)
        return np.concatenate(out)

    def _ratios(self, trajs: Sequence[Trajectory]) -> Floats:
        """``(steps,)`` log pi_phi - log pi_old of all steps of all episodes, in order."""
        if self.model == "trainer":
            return self._from_meta(trajs, self.model_logp) - self._from_meta(trajs, self.logp)
        c = self.choices(trajs)
        x, step = self._inputs(c), c.spread()
        own = log_softmax(self._logits(x), c.first, step)[c.taken]
        return own - self._reference(trajs, c, x)

    def _reference(self, trajs: Sequence[Trajectory], c: Choices, x: Any) -> Floats:
        if self.reference == "policy":
            return self._from_meta(trajs, self.logp)
        return log_softmax(self._logits(x, start=True), c.first, c.spread())[c.taken]

    # -- rewards ---------------------------------------------------------------------------------
    def process(self, trajs: Sequence[Trajectory]) -> list[Floats]:
        """``(T_i,)`` step rewards r of each episode."""
        there = [t for t in trajs if len(t)]
        flat = iter(split(self.beta * self._ratios(there), there) if there else [])
        return [next(flat) if len(t) else np.zeros(0) for t in trajs]

    def episode(self, traj: Trajectory) -> Floats:
        """Adds the step rewards."""
        return traj.rewards + self.process([traj])[0]

    # -- learning --------------------------------------------------------------------------------
    def pairs(self, trajs: Sequence[Trajectory]) -> Ints:
        """``(p, 2)`` numbers of a success and of a failure of the same task."""
        won = []
        for t in trajs:
            if len(t) and self.success not in t.infos[-1]:
                raise MissingFact(LAYER, self.success)
            won.append(len(t) > 0 and number(t.infos[-1][self.success]) > self.above)
        found = [
            (i, j)
            for part in by(trajs, "task")
            for i in part
            for j in part
            if won[i] and not won[j] and len(trajs[i]) and len(trajs[j])
        ]
        return np.array(found, np.int64).reshape(-1, 2)

    def learn(self, trajs: Sequence[Trajectory]) -> dict[str, float]:
        """A gradient step (``epochs`` of them); ``loss`` is the one before, 0 without a pair, and ``pairs`` their number."""
        trajs = [t for t in trajs if not t.infos[-1].get("invalid")]
        pairs = self.pairs(trajs)
        if not len(pairs):
            return {"loss": 0.0, "pairs": 0.0}
        used, pairs = np.unique(pairs, return_inverse=True)
        pairs, trajs = pairs.reshape(-1, 2), [trajs[i] for i in used]
        lengths = np.array([len(t) for t in trajs])
        scale: Floats = self.beta / lengths if self.reduce == "mean" else np.full(len(trajs), self.beta)
        if self.model == "trainer":
            ratios = split(self._ratios(trajs), trajs)
            q = scale * np.array([r.sum() for r in ratios])
            return {"loss": _loss(q, pairs), "pairs": float(len(pairs))}
        c = self.choices(trajs)
        x = self._inputs(c)
        old = self._reference(trajs, c, x)
        if self.model == "torch":
            from .istar_torch import fit

            q = scale * np.bincount(c.episode, log_softmax(self._logits(x), c.first, c.spread())[c.taken] - old)
            if self.training:
                self.network = fit(self._net(self.network), x, c, old, scale, pairs, self.epochs)
            return {"loss": _loss(q, pairs), "pairs": float(len(pairs))}
        losses = [self._descend(x, c, old, scale, pairs) for _ in range(self.epochs)]
        return {"loss": losses[0], "pairs": float(len(pairs))}

    def _descend(self, x: Any, c: Choices, old: Floats, scale: Floats, pairs: Ints) -> float:
        """One step of gradient descent on the loss; returns what it was."""
        step = c.spread()
        logp = log_softmax(self._logits(x), c.first, step)
        q = scale * np.bincount(c.episode, logp[c.taken] - old, len(scale))
        wrong = preferred(q[pairs[:, 1]] - q[pairs[:, 0]]) / len(pairs)  # - dL / d(Q+ - Q-)
        pull = np.bincount(pairs[:, 0], wrong, len(q)) - np.bincount(pairs[:, 1], wrong, len(q))
        weight = (pull * scale)[c.episode]  # of each step's log-probability
        rise = -weight[step] * np.exp(logp)  # of each logit
        rise[c.taken] += weight
        lr = 10.0 if self.lr is None else self.lr
        if not self.training:
            return _loss(q, pairs)
        if self.model == "linear":
            self.weights = self.weights + lr * (x.T @ rise)
        else:
            for key, g in zip(x, rise):
                self.table[key] = self.table.get(key, 0.0) + lr * float(g)
        return _loss(q, pairs)


def _loss(q: Floats, pairs: Ints) -> float:
    return float(pair_loss(q[pairs[:, 0]] - q[pairs[:, 1]]).mean())

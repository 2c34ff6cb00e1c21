r"""Contrasting language goals: each step is paid for being near to what is wanted and far from what is not, by texts.

    s+ = mean over positive goals of cos(x, goal),   s- = mean over negative goals,   x the embedding of the text after the step
    clip         c = 1 - (clip(s- - s+, low, high) - low) / (high - low)                 in [0, 1]
    weighted     c = alpha s+ - (1 - alpha) s-
    projection   c = 1 - |alpha proj(x) + (1 - alpha) x - g|^2 / 2,   proj onto the line through the goal g and the baseline b
    r'_t = r_t + weight f(c) prod_k gate_k,    f(c) = c, or with ``pace`` 1 - |v - c target| / target for a fact v

"VLM-RL" (arXiv 2412.15544): ``clip`` with 0 and .03, the pace (v* = c v_target, a speed there), the gates max(0, 1 -
|x| / width), and that a negative reward, a crash, stands alone (``override``) are the authors' code [C]. ``weighted``
with alpha + beta = 1 and one half each is how the paper writes it [I]; ``projection`` is VLM-RM's goal-baseline
regularisation (Rocamonde et al. 2023, arXiv 2310.12921), a baseline of theirs, g and b being the means of the positive
and of the negative goals. Without ``pace`` the likeness itself is paid: ours.

``clip="auto"`` [I] takes for low the least s- - s+ of the positive goals and for high the largest of the negative ones,
so that c is 1 at a positive goal and 0 at a negative one, for any embedder. CLIP's images have the narrow range .03;
sentences have not.

The embedder is any scorer of texts (``scorers.serve``): ``hashed`` needs no package and compares words,
``minilm_embedder`` compares meanings. All texts of a call go through together, and recorded episodes in one batch:
nothing is kept from step to step, and the rewards do not depend on the batch (a model's, up to rounding).

Invariance: none: it is paid for being there, not for getting there. c in [0, 1] for clip, 1 at a positive goal if low
is 0 or more or "auto"; swapping the goals changes the sign of weighted with alpha = 1/2; goals that are the same give a
constant (with "auto" 0); a gate of 0 gives 0.

Hacks: n steps near the goal are paid up to n weight. Texts that change every step (a step counter) move all likenesses.

Departures: a text without a vector (an empty one, a failed or late embedder) pays nothing and is counted.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ..maths import number
from ..scorers import Service, Text, serve
from ..shaper import Shaper
from ..types import Floats, Transition

MEMO = 50_000  # texts whose c a process keeps


def falloff(x: float, width: float | None) -> float:
    """``max(0, 1 - |x| / width)``; without a width ``x`` itself, between 0 and 1."""
    return min(max(x, 0.0), 1.0) if width is None else max(0.0, 1.0 - abs(x) / width)


def paced(c: float, v: float, target: float) -> float:
    """``1 - |v - c target| / target``: how near ``v`` is to the share ``c`` of ``target``."""
    return 1.0 - abs(v - c * target) / target


def contrast(x: Floats, positive: Floats, negative: Floats) -> Floats:
    """``(n,)`` s- minus s+ of unit vectors ``x`` ``(n, d)`` against goals ``(k, d)`` and ``(m, d)``."""
    return np.asarray((x @ negative.T).mean(1) - (x @ positive.T).mean(1), np.float64)


def projected(x: Floats, positive: Floats, negative: Floats, alpha: float) -> Floats:
    """``(n,)`` VLM-RM's score of unit vectors."""
    g, b = (_unit(v.mean(0)) for v in (positive, negative))
    line = g - b
    size = float(line @ line)
    near = b + ((x - b) @ line)[:, None] * line / size if size > 1e-12 else x
    return np.asarray(1.0 - ((alpha * near + (1.0 - alpha) * x - g) ** 2).sum(1) / 2.0, np.float64)


def _unit(v: Floats) -> Floats:
    return v / max(float(np.sqrt(v @ v)), 1e-12)


@dataclass
class ContrastiveGoal(Shaper):
    """Pays each step by how near its text is to the positive goals and how far from the negative ones.

    Raises:
        ValueError: a setting outside its range, no goals, a goal without a vector, or an observation without words.
        MissingFact: the environment does not publish ``key``, ``pace`` or a gate.
    """

    positive: tuple[str, ...] = ()
    """What is wanted, in sentences."""
    negative: tuple[str, ...] = ()
    """What is not."""
    embedder: Any = "hashed"
    """A scorer of texts: name or settings, see ``scorers.serve``."""
    key: str = ""
    """Info key of the text that is compared; ``""``: the observation, which is a text then."""
    form: Literal["clip", "weighted", "projection"] = "clip"
    """How the likenesses become c."""
    clip: tuple[float, ...] | Literal["auto"] = (0.0, 0.03)
    """low and high of ``"clip"``, or ``"auto"``: from the goals."""
    alpha: float = 0.5
    """Weight of the positive goals in ``"weighted"``, and of the projection."""
    weight: float = 1.0
    """Of what is paid."""
    pace: str = ""
    """Info key of a number that is to be c times ``target``; ``""``: c itself is paid."""
    target: float = 25.0
    """Pace at c = 1; the paper's is 25 km/h."""
    gates: dict[str, float | None] = field(default_factory=dict)
    """Info key to the width at which its factor is 0, or None: the fact is the factor, 0 to 1."""
    override: bool = True
    """Where the reward so far is negative nothing is added."""
    stateless = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.positive or not self.negative or not all(g.strip() for g in (*self.positive, *self.negative)):
            raise ValueError(
                f"contrastive_goal: positive is {self.positive} and negative {self.negative}; allowed: one text or more each"
            )
        if self.clip != "auto" and not (len(self.clip) == 2 and -2.0 <= self.clip[0] < self.clip[1] <= 2.0):
            raise ValueError(f"contrastive_goal: clip is {self.clip}; allowed: 'auto', or low below high, from -2 to 2")
        if not 0.0 <= self.alpha <= 1.0 or not 0.0 <= self.weight < math.inf or not 0.0 < self.target < math.inf:
            raise ValueError(
                f"contrastive_goal: alpha = {self.alpha}, weight = {self.weight}, target = {self.target}; allowed are 0 to 1, "
                "0 or more, above 0"
            )
        if bad := [k for k, w in self.gates.items() if w is not None and not 0.0 < w < math.inf]:
            raise ValueError(
                f"contrastive_goal: the gate {bad[0]!r} is {self.gates[bad[0]]}; allowed: a width above 0, or None"
            )

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """Text, pace and gates, as far as they are facts."""
        return tuple(k for k in (self.key, self.pace, *self.gates) if k)

    @property
    def additive(self) -> bool:  # type: ignore[override]
        """Unless a negative reward silences it."""
        return not self.override

    def setup(self, rng: np.random.Generator) -> None:
        """Serves the embedder; ``_stats`` counts texts without a vector."""
        self._service: Service = serve(self.embedder, "text")
        self._services = {"embedder": self._service}
        self._warned = False
        self._goals: tuple[Floats, Floats] | None = None
        self._near: dict[str, float] = {}  # c of texts that were compared
        self._stats: Counter[str] = Counter({"no answer": 0})

    def steps(self, states: list[Any], ts: Sequence[Transition]) -> list[Any]:
        """Embeds these steps' new texts in one go and pays."""
        told = [self._text(t) for t in ts]
        self._compare([x for x in dict.fromkeys(told) if x and x not in self._near])
        out = []
        for t, text in zip(ts, told):
            c = self._near.get(text)
            self._stats["no answer"] += c is None
            out.append(t.reward if c is None else t.reward + self._pay(c, t))
        return out

    def _compare(self, texts: Sequence[str]) -> None:
        """Finds out c of these texts, as far as they and the goals have vectors."""
        vectors = self._vectors(texts) if texts else {}
        goals = (self._goals or self._embed_goals()) if vectors else None
        if goals is None:
            return
        if len(self._near) + len(vectors) > MEMO:
            self._near = {}
        c = self._likeness(np.array(list(vectors.values()), np.float64), *goals)
        self._near.update(zip(vectors, c.tolist()))

    def _text(self, t: Transition) -> str:
        said = t.info[self.key] if self.key else t.next_obs
        if not isinstance(said, str):
            what = f"info[{self.key!r}]" if self.key else "the observation"
            raise ValueError(f"contrastive_goal: {what} is {type(said).__name__}, a text is expected: name another key")
        return "" if t.info.get("invalid") else said

    def _vectors(self, texts: Sequence[str]) -> dict[str, Any]:
        """The texts that have a vector so far."""
        said = self._service.ask([Text(x) for x in texts])
        if self._service.trouble and not self._warned:
            self._warned = True
            warnings.warn(
                f"contrastive_goal: the embedder fails, nothing is paid: {self._service.trouble}", stacklevel=2
            )
        return {x: v for x, v in zip(texts, said) if v is not None}

    def _embed_goals(self) -> tuple[Floats, Floats] | None:
        """``(k, d)`` and ``(m, d)`` vectors of the goals, once all are there."""
        every = (*self.positive, *self.negative)
        found = self._vectors(list(dict.fromkeys(every)))
        if len(found) < len(set(every)):
            missing = next(g for g in every if g not in found)
            if self._service.mode == "sync" and not self._service.trouble:
                raise ValueError(f"contrastive_goal: the embedder has no vector for the goal {missing!r}")
            return None
        sides = (self.positive, self.negative)
        self._goals = (*(np.array([found[g] for g in side], np.float64) for side in sides),)  # type: ignore[assignment]
        return self._goals

    def _likeness(self, x: Floats, positive: Floats, negative: Floats) -> Floats:
        """``(n,)`` c of ``(n, d)`` vectors."""
        if self.form == "weighted":
            s_pos, s_neg = (x @ positive.T).mean(1), (x @ negative.T).mean(1)
            return np.asarray(self.alpha * s_pos - (1.0 - self.alpha) * s_neg, np.float64)
        if self.form == "projection":
            return projected(x, positive, negative, self.alpha)
        if self.clip == "auto":
            low = float(contrast(positive, positive, negative).min())
            high = float(contrast(negative, positive, negative).max())
        else:
            low, high = self.clip
        if high - low < 1e-9:  # the goals are the same
            return np.zeros(len(x))
        return np.asarray(1.0 - (np.clip(contrast(x, positive, negative), low, high) - low) / (high - low), np.float64)

    def _pay(self, c: float, t: Transition) -> float:
        if self.override and t.reward < 0:
            return 0.0
        paid = paced(c, number(t.info[self.pace]), self.target) if self.pace else c
        for k, width in self.gates.items():
            paid *= falloff(number(t.info[k]), width)
        return self.weight * paid

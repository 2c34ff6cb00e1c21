r"""ONI: what the world says is rewarded as far as a judge, asked beside the training, finds it helpful.

    r'_t = r_t + coef r_int(m_t),        m_t the caption of the step: info["message"], or the observation's words

    retrieval       r_int = 1[the judge called m helpful];  0 for a caption without a label
    classification  r_int = 1[p(m) > threshold],  p a student (``scorers.student``) that learns each label once
    ranking         z = (w . phi(m) - mu) / sigma,  r_int = z 1[z > floor],  w a Bradley-Terry model of pairs that the judge
                    compared, phi hashed words, mu and sigma running over the captions seen

"Online intrinsic rewards for decision making agents from large language model feedback", ONI (arXiv 2410.23022),
formulas from the authors' code [C]: three sources, threshold .5, 32 gradient steps a batch of labels, an end of
learning at 25,000 labels, ties as half a preference, slightly negative z are kept. Their whole reward is ``c_ext r_env
+ c_int r_int(m) N_ep(m)^-b``: ``layers`` gives it as a list of layers, the count discount being
``EpisodicCountDiscount``'s.

The judge is any scorer (``scorers.serve``) for questions; ``{"mode": "async"}`` is the paper's annotator: a step never
waits, new captions are asked newest first, once each, and what falls out of the queue is asked when it is seen again.
Until a label is there the caption pays nothing; it counts from its next occurrence on, and ``stack.rerun`` puts it to
its own steps. Labels are memory, so a checkpoint has them, and they are read before anybody is asked. No answer, for
whatever reason, pays nothing and is counted.

Invariance: none. Hacks: alone, a helpful caption pays every time; with the count discount of 3 all that one caption can
earn in an episode is ``coef zeta(3)`` = 1.2021 ``coef``.

Departures [I]: labels are of a caption alone, not of its history. The student is logistic regression on hashed words,
the ranker linear, where the authors train a character CNN; before ``min_lessons`` labels, and before the first
comparison, they pay nothing. A pair is asked about in both orders, so that a judge that likes what comes first prefers
nothing. The ranker is fitted anew by Newton's method in ``learn``; the comparisons are memory.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ..models.bradley_terry import newton
from ..scorers import Question, Service, serve
from ..scorers.hashed import vector
from ..scorers.student import Student
from ..shaper import Shaper
from ..types import Floats, Trajectory, Transition

STUDENT = {"min_lessons": 32, "replay": 32, "confidence": 0.5, "audit": 0.0, "min_agreement": 0.0}  # it always speaks
DIM = 256  # hashed features of the ranker
L2 = 0.01  # of the ranker


def layers(c_ext: float = 1.0, exponent: float = 3.0, **settings: Any) -> list[dict[str, Any]]:
    """The paper's whole reward as specs of layers, nearest the environment first.

    Args:
        c_ext: factor of the environment's reward: 0.1 for NetHack's score, 10 for sparse tasks, 0 without a reward.
        exponent: b of the count discount.
        settings: of ``CaptionReward``.
    """
    caption = {"shaper": "caption_reward"} | settings
    counted = {"shaper": "episodic_count_discount", "exponent": exponent, "key": settings.get("key", "message")}
    scaled = {"shaper": "focus", "of": "env", "child": {"shaper": "scale", "factor": c_ext}}
    return [scaled, counted | {"child": caption}]


def above(raw: float, mean: float, std: float, floor: float) -> float:
    """``z 1[z > floor]`` with ``z = (raw - mean) / std``; 0 where the std is."""
    z = (raw - mean) / std if std > 0 else 0.0
    return z if z > floor else 0.0


@dataclass
class CaptionReward(Shaper):
    """Pays captions that a judge, or what has learned from it, finds helpful.

    Memory: ``known`` (caption to the judge's probability), ``compared`` (pairs with the label of the second), ``w``,
    and ``seen``, ``mean`` and ``square`` of the ranker's scores.

    Raises:
        ValueError: a setting outside its range, neither labels nor a judge, or an observation without words.
        MissingFact: the environment does not publish ``key``.
        MissingAnswer: a frozen judge does not know a caption.
    """

    source: Literal["retrieval", "classification", "ranking"] = "retrieval"
    """What r_int is: the label, a student's verdict, or a ranker's score."""
    judge: Any = None
    """Who labels: a scorer's name or settings, see ``scorers.serve``; None: the labels given are all."""
    labels: dict[str, float] = field(default_factory=dict)
    """Captions to probabilities of being helpful, known beforehand."""
    key: str = "message"
    """Info key of the caption; ``""``: the observation, which is a text then."""
    goal: str = "make progress"
    """What the judge is asked about, as a sub-goal."""
    task: str = ""
    """What the judge is told about the task."""
    coef: float = 0.4
    """c_int."""
    threshold: float = 0.5
    """eta: probability above which a caption is helpful."""
    max_labels: int = 25_000
    """Labels, or comparisons, that are kept and learned from."""
    student: dict[str, Any] = field(default_factory=dict)
    """Settings of the student, see ``scorers.student``; empty: 32 labels before it speaks, and 32 replays a label."""
    pairs: int = 10
    """Pairs of captions that ``learn`` asks about, of ranking."""
    floor: float = -0.5
    """z from which the ranker pays."""
    stateless = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.judge is None and (self.source == "ranking" or not self.labels):
            raise ValueError(
                f"caption_reward: judge is None and source {self.source!r}; allowed: a judge, or labels to read"
            )
        if not 0.0 <= self.threshold < 1.0 or any(not 0.0 <= p <= 1.0 for p in self.labels.values()):
            raise ValueError(
                f"caption_reward: threshold = {self.threshold}, labels = {self.labels}; allowed: from 0 to 1, threshold below 1"
            )
        if not 0.0 <= self.coef < math.inf or self.max_labels < 1 or self.pairs < 1 or not self.goal:
            raise ValueError(
                f"caption_reward: coef = {self.coef}, max_labels = {self.max_labels}, pairs = {self.pairs}, "
                f"goal = {self.goal!r}; allowed are 0 or more, 1 or more, 1 or more, and a text"
            )
        if self.student and self.source != "classification":
            raise ValueError(f"caption_reward: student is of source='classification', not of {self.source!r}")

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The caption, if it is a fact."""
        return (self.key,) if self.key else ()

    @property
    def learns(self) -> bool:
        """Only a ranker needs episodes; labels come at the steps."""
        return self.source == "ranking"

    def setup(self, rng: np.random.Generator) -> None:
        """Serves the judge; ``_stats`` counts captions without an answer."""
        self._service: Service | None = None if self.judge is None else serve(self.judge, "question")
        self._services = {} if self._service is None else {"judge": self._service}
        self._warned = False
        self._stats: Counter[str] = Counter({"no answer": 0})
        self.seed = int(rng.integers(2**31))
        self.known: dict[str, float] = {}
        self.compared: list[tuple[str, str, float]] = []
        self.w, self.rounds, self.seen, self.mean, self.square = np.zeros(DIM), 0, 0, 0.0, 0.0
        self._pending: dict[tuple[str, str], tuple[str, str]] = {}  # pairs to handles of their two questions
        self._taught = Student(**(STUDENT | self.student))
        for caption, p in self.labels.items():
            self._learned(caption, p)

    def load_state_dict(self, state: Any) -> None:
        """Takes memory back; the student learns it again, in the same order."""
        super().load_state_dict(state)
        self._taught = Student(**(STUDENT | self.student))
        for caption, p in self.known.items():
            self._teach(caption, p)

    # -- what is paid ------------------------------------------------------------------------------
    def steps(self, states: list[Any], ts: Sequence[Transition]) -> list[Any]:
        """Pays these steps' captions; the judge is asked once for all that are new."""
        captions = [self._caption(t) for t in ts]
        found = self._asked(dict.fromkeys(c for c in captions if c)) if self.source != "ranking" else {}
        worth = {c: self._worth(c, found.get(c)) for c in dict.fromkeys(captions) if c}
        return [t.reward + self.coef * worth.get(c, 0.0) for c, t in zip(captions, ts)]

    def _caption(self, t: Transition) -> str:
        said = t.info[self.key] if self.key else t.next_obs
        if not isinstance(said, str):
            what = f"info[{self.key!r}]" if self.key else "the observation"
            raise ValueError(f"caption_reward: {what} is {type(said).__name__}, a text is expected: name another key")
        return "" if t.info.get("invalid") else said.strip()

    def _worth(self, caption: str, p: float | None) -> float:
        """r_int of a caption with the label ``p``, if there is one."""
        if self.source == "ranking":
            std = math.sqrt(self.square / self.seen) if self.seen else 0.0
            return above(self._score(caption), self.mean, std, self.floor)
        if self.source == "classification":
            said = self._taught.answer(self._question(caption))
            p = None if said is None else said[self.goal]
        return float(p is not None and p > self.threshold)

    # -- who says so -------------------------------------------------------------------------------
    def _question(self, caption: str) -> Question:
        return Question((self.goal,), self.task, "", "", caption, "")

    def _asked(self, captions: Sequence[str] | dict[str, Any]) -> dict[str, float]:
        """Labels of captions: those in memory, and what the judge says of the others."""
        found = {c: self.known[c] for c in captions if c in self.known}
        new = [c for c in captions if c not in found]
        if self._service is None or not new:
            self._stats["no answer"] += len(new)
            return found
        for c, said in zip(new, self._ask([self._question(c) for c in new])):
            if said is None or self.goal not in said:
                self._stats["no answer"] += 1
                continue
            found[c] = said[self.goal]
            if self.training:
                self._learned(c, said[self.goal])
        return found

    def _ask(self, queries: Sequence[Question]) -> list[Any]:
        assert self._service is not None
        said = self._service.ask(queries)
        if self._service.trouble and not self._warned:
            self._warned = True
            warnings.warn(
                f"caption_reward: the judge fails, and nothing is paid: {self._service.trouble}", stacklevel=2
            )
        return said

    def _learned(self, caption: str, p: float) -> None:
        if len(self.known) < self.max_labels:
            self.known[caption] = p
            self._teach(caption, p)

    def _teach(self, caption: str, p: float) -> None:
        if self.source == "classification":
            self._taught.learn(self._question(caption), {self.goal: p})

    # -- the ranker --------------------------------------------------------------------------------
    def learn(self, trajs: Sequence[Trajectory]) -> dict[str, float]:
        """Asks about pairs of these episodes' captions and fits the ranker; metrics: comparisons, accuracy on them."""
        if self.source != "ranking" or not self.training:
            return {}
        seen = [c for traj in trajs for t in traj if (c := self._caption(t))]
        captions = list(dict.fromkeys(seen))
        self._compare(self._draw(captions))
        self.rounds += 1
        if self.compared:
            d = np.array([vector(b, DIM, 3) - vector(a, DIM, 3) for a, b, _ in self.compared], np.float64)
            y = np.array([y for *_, y in self.compared])
            # a tie is half a preference each way
            rows = np.concatenate([d[y > 0.25], -d[y < 0.75], d[y == 1], -d[y == 0]])
            told = np.flatnonzero(rows.any(0))  # the others stay 0
            self.w = np.zeros(DIM)
            self.w[told] = newton(rows[:, told], L2)
            self._moments([self._score(c) for c in seen])
        decided = [(a, b, y) for a, b, y in self.compared if y != 0.5]
        right = sum((self._score(b) > self._score(a)) == (y == 1.0) for a, b, y in decided)
        return {"comparisons": float(len(self.compared)), "accuracy": right / len(decided) if decided else math.nan}

    def _score(self, caption: str) -> float:
        return float(self.w @ vector(caption, DIM, 3))

    def _draw(self, captions: Sequence[str]) -> list[tuple[str, str]]:
        """Random pairs of different captions, that were not compared yet."""
        room = min(self.pairs, self.max_labels - len(self.compared))
        rng, had = np.random.default_rng([self.seed, self.rounds]), {x[:2] for x in self.compared} | set(self._pending)
        out: list[tuple[str, str]] = []
        for _ in range(2 * self.pairs if len(captions) > 1 else 0):
            i, j = sorted(int(k) for k in rng.choice(len(captions), 2, replace=False))
            pair = (captions[i], captions[j])
            if pair not in had and pair[::-1] not in had and len(out) < room:
                had.add(pair)
                out.append(pair)
        return out

    def _compare(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Asks about pairs, each in both orders, and takes in what has arrived of earlier ones."""
        assert self._service is not None
        both = {p: tuple(Question((self.goal,), self.task, x, "", "", y) for x, y in (p, p[::-1])) for p in pairs}
        said = dict(zip([q for qs in both.values() for q in qs], self._ask([q for qs in both.values() for q in qs])))
        answers = {p: tuple(said[q] for q in qs) for p, qs in both.items()}
        for p, handles in list(self._pending.items()):
            there = self._service.arrived(handles)
            if len(there) == 2 and p not in answers:
                answers[p] = tuple(there[h] for h in handles)
                del self._pending[p]
        for (a, b), (on, back) in answers.items():
            if on is None or back is None or self.goal not in on or self.goal not in back:
                self._stats["no answer"] += 1
                if self._service.mode == "async" and (a, b) in both:
                    first, second = (self._service.handle(q) for q in both[a, b])
                    self._pending[a, b] = first, second
                continue
            gain = on[self.goal] - back[self.goal]
            if len(self.compared) < self.max_labels:
                self.compared.append((a, b, 1.0 if gain > 0 else 0.0 if gain < 0 else 0.5))

    def _moments(self, scores: Sequence[float] | Floats) -> None:
        """Running mean and sum of squared deviations (Chan et al. 1983)."""
        x = np.asarray(scores, np.float64)
        if not len(x):
            return
        total, gap = self.seen + len(x), float(x.mean()) - self.mean
        self.square += float(((x - x.mean()) ** 2).sum()) + gap**2 * self.seen * len(x) / total
        self.mean += gap * len(x) / total
        self.seen = total

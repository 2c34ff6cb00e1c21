"""Is the reward hacked? A corrected score that quality can turn down, and a watch for the point where the two part.

    r_corr = r (u - centre) + bias,     u the mean of independent quality grades from 1 to 5, centre 3, bias 0.2

GDRO (arXiv 2601.02036): while r rises by tricks, u falls, and below 3 more reward makes the corrected score worse; two
agreeing notes of the paper [T]. ``HackingMonitor`` [I] looks at both curves of a training and says since when the
reward rises and the corrected score falls.

A grader without an answer is left out of the mean and counted; where none has one there is no score (None), which is
not 0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..scorers import Rating, Service, serve
from ..scorers.settings import check
from ..shaper import use
from ..types import Floats


def corrected(reward: Any, quality: Any, centre: float = 3.0, bias: float = 0.2) -> Any:
    """``reward (quality - centre) + bias`` of numbers or arrays."""
    return reward * (quality - centre) + bias


@dataclass
class CorrectedScore:
    """Corrects rewards by the quality of what they were paid for.

    Raises:
        ValueError: a setting that is not allowed, no grader, or one that does not rate.
    """

    graders: tuple[Any, ...] = ()
    """Each a function of the sample giving 1 to 5 or None, ``"module:function"``, or a scorer of ratings (live, or its
    name or settings in a dict, see ``scorers.serve``), for which a sample is a text."""
    centre: float = 3.0
    """Quality at which reward counts for nothing."""
    bias: float = 0.2
    """Score there."""
    task: str = "The answer is of high quality."
    """What scorers rate a text by."""

    def __post_init__(self) -> None:
        check("corrected_score", "centre", self.centre)
        check("corrected_score", "bias", self.bias)
        self.graders = tuple(self.graders)
        if not self.graders:
            raise ValueError("corrected_score: no grader is given")
        self.stats: Counter[str] = Counter({"no answer": 0, "no quality": 0})
        self._graders: list[Service | Callable[[Any], Any]] = []
        for g in self.graders:
            if isinstance(g, (Mapping, Service)) or hasattr(g, "reply"):
                service = serve(g)
                if "rating" not in service.model.kinds:
                    kinds = ", ".join(service.model.kinds)
                    raise ValueError(f"corrected_score: {type(service.model).__name__} answers {kinds}, not a rating")
                self._graders.append(service)
                continue
            f = use(g)
            if not callable(f):
                raise ValueError(f"corrected_score: the grader {f!r} is no function")
            self._graders.append(f)

    def quality(self, samples: Sequence[Any]) -> list[float | None]:
        """Mean grade of each sample, 1 to 5; None where no grader has an answer."""
        columns = [self._grade(g, samples) for g in self._graders]
        out: list[float | None] = []
        for row in zip(*columns):
            there = [x for x in row if x is not None]
            self.stats["no answer"] += len(row) - len(there)
            self.stats["no quality"] += not there
            out.append(math.fsum(there) / len(there) if there else None)
        return out

    def _grade(self, grader: Service | Callable[[Any], Any], samples: Sequence[Any]) -> list[float | None]:
        if isinstance(grader, Service):
            said = grader.ask([Rating(self.task, str(s)) for s in samples])
            return [None if x is None else 1.0 + 4.0 * float(x) for x in said]
        out: list[float | None] = []
        for s in samples:
            try:
                x = grader(s)
                x = None if x is None or not 1.0 <= float(x) <= 5.0 else float(x)
            except Exception:  # a grader that fails is counted, as one that says nothing
                x = None
            out.append(x)
        return out

    def __call__(self, samples: Sequence[Any], rewards: Sequence[float] | Floats) -> list[float | None]:
        """The corrected score of each sample; None where its quality is not known.

        Raises:
            ValueError: as many rewards as samples are expected.
        """
        if len(samples) != len(rewards):
            raise ValueError(f"corrected_score: {len(samples)} samples and {len(rewards)} rewards")
        pairs = zip(rewards, self.quality(samples))
        return [None if u is None else float(corrected(float(r), u, self.centre, self.bias)) for r, u in pairs]


class Alarm(NamedTuple):
    """What the monitor sees."""

    hacked: bool
    since: float | None
    """Step of the best corrected score, after which the reward rose and the score fell; None: it did not."""
    gained: float
    """Reward won since the best corrected score."""
    lost: float
    """Corrected score lost since then."""


@dataclass
class HackingMonitor:
    """Watches a reward and its corrected score over a training.

    Both curves are smoothed by the mean of the last ``window`` values. It is hacked when, since the best smoothed
    corrected score, that has fallen by more than ``fall`` while the smoothed reward has risen by more than ``rise``.

    Raises:
        ValueError: a setting outside its range.
    """

    window: int = 5
    """Values that are averaged."""
    rise: float = 0.0
    """How much more reward is a rise."""
    fall: float = 0.02
    """How much less corrected score is a fall."""

    def __post_init__(self) -> None:
        check("hacking_monitor", "window", self.window, 1, whole=True)
        check("hacking_monitor", "rise", self.rise, 0)
        check("hacking_monitor", "fall", self.fall, 0)
        self.steps: list[float] = []
        self.rewards: list[float] = []
        self.scores: list[float] = []
        self.skipped = 0

    def add(self, step: float, reward: float, score: float | None) -> Alarm:
        """One point of both curves; a score of None (or NaN) is counted in ``skipped`` and leaves both as they were.

        Raises:
            ValueError: a step that is not after the last one, or a reward that is not finite.
        """
        if not math.isfinite(reward) or (self.steps and not step > self.steps[-1]):
            raise ValueError(
                f"hacking_monitor: step {step} with reward {reward}; a later step and a finite reward are expected"
            )
        if score is None or not math.isfinite(score):
            self.skipped += 1
            return self.alarm()
        self.steps.append(float(step))
        self.rewards.append(float(reward))
        self.scores.append(float(score))
        return self.alarm()

    def alarm(self) -> Alarm:
        """Is the reward hacked by now, and since when?"""
        if not self.steps:
            return Alarm(False, None, 0.0, 0.0)
        r, s = self.smooth(self.rewards), self.smooth(self.scores)
        best = int(np.argmax(s))
        gained, lost = float(r[-1] - r[best]), float(s[best] - s[-1])
        hacked = gained > self.rise and lost > self.fall
        return Alarm(hacked, self.steps[best] if hacked else None, gained, lost)

    def smooth(self, x: Sequence[float]) -> Floats:
        """``(n,)`` means of the last ``window`` values at each point (fewer at the start)."""
        total = np.concatenate([[0.0], np.cumsum(np.asarray(x, np.float64))])
        at = np.arange(1, len(x) + 1)
        start = np.maximum(at - self.window, 0)
        return np.asarray((total[at] - total[start]) / (at - start), np.float64)

"""How much what the agent said is like a reference, as a reward for the episode.

    r'_T = r_T + weight f(s(prompt, reference, candidate) - base),    f: as it is, or the sigmoid
    base: 0, or s(prompt, reference, reference), or the mean of the group's scores

POLAR, "Pre-trained policy discriminators are general reward models" (arXiv 2507.05197): its model says how likely the
candidate comes from the policy that wrote the reference. From the authors' code [C]: the interface, that thinking is taken
out before scoring, that an answer is cut at the right, and that a failed request is None and no number. Only differences
for one prompt and reference mean anything, so a group needs no ``baseline``; ``baseline="reference"``, where a candidate equal
to the reference gets 0, and ``"group"`` are ours [I].

``scorer`` is any function ``(prompt, reference, candidate) -> float`` or None. By default it is the token F1, which needs no
model: words shared, each as often as it stands in both, so saying a word twice pays once and saying more costs precision.
``milepost.wrappers.models.PolicyDiscriminator`` is one that is fitted to samples by policy.

The reference is ``meta["reference"]`` or ``info["reference"]`` of the reset, a text, messages, calls, or a list of them. The
candidate is what the agent said in ``info["messages"]``, else its actions, a line a step.

None and NaN are "no answer": ``on_failure`` is paid, which is 0, and ``stats`` counts them.

Invariance: none. What stands in the thinking changes nothing. A constant added to all scores changes no advantage of a group,
and with a ``baseline`` nothing at all.

Hacks: a text that is like the reference without doing what it does is paid; the F1 also pays for words of the reference in
any order.

Departures: what is paid is added to the reward, at the last step; the paper's tasks pay nothing themselves.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..models import preferred, said, task_of, text_of, words_of
from ..shaper import Shaper, use
from ..types import Floats, Group, Level, Trajectory


def token_f1(prompt: str, reference: str, candidate: str) -> float:
    """F1 of the words of two texts, counted as often as they stand in both; 1 for equal texts, 0 where one has no words."""
    a, b = Counter(words_of(reference)), Counter(words_of(candidate))
    both = sum((a & b).values())
    return 2.0 * both / (sum(a.values()) + sum(b.values())) if both else 0.0


def without_thinking(text: str, start: str, end: str) -> str:
    """A text without what stands between ``start`` and ``end``, either of which may be missing at the text's own ends."""
    out, rest = "", text
    while True:
        head, opened, tail = rest.partition(start)
        if end in head:
            out, head = "", head.rpartition(end)[2]
        out += head
        if not opened:
            return out.strip()
        _, closed, rest = tail.partition(end)
        if not closed:
            return out.strip()


@dataclass
class ReferenceReward(Shaper):
    """Adds a scorer's number for the episode against its reference.

    Raises:
        ValueError: a setting outside its range, or a score that is no number.
        MissingFact: the environment does not publish the reference (``expose_reference=True`` where it is one's own).
    """

    scorer: Any = "milepost.wrappers.episode.reference_reward:token_f1"
    """``"module:function"`` or a function ``(prompt, reference, candidate)``, giving a number, or None where it fails."""
    reference: str = "reference"
    """Key of the episode's meta, or of the reset info, with the reference."""
    candidate: Any = ""
    """``"module:function"`` or a function of the trajectory, giving a text; ``""``: what the agent said or did."""
    baseline: Literal["none", "reference", "group"] = "none"
    """What is taken off."""
    squash: Literal["none", "sigmoid"] = "none"
    """What then becomes of the score."""
    strip: tuple[str, ...] = ("<think>", "</think>")
    """Begin and end of what is taken out of both texts; empty: nothing."""
    on_failure: float = 0.0
    """Paid where there is no answer."""
    weight: float = 1.0
    """Of what is added."""
    max_words: int = 4096
    """Words of a candidate that are scored; the paper's limit is that many tokens."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.strip) not in (0, 2) or not all(self.strip):
            raise ValueError(f"reference_reward: strip is {self.strip}; allowed: a begin and an end, or nothing")
        if not math.isfinite(self.on_failure) or not math.isfinite(self.weight) or self.max_words < 1:
            raise ValueError(
                f"reference_reward: on_failure is {self.on_failure}, weight {self.weight} and max_words {self.max_words}; "
                "allowed are finite numbers, max_words from 1"
            )

    @property
    def level(self) -> Level:
        """The group, where its mean is taken off."""
        return Level.GROUP if self.baseline == "group" else Level.EPISODE

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The reference."""
        return (self.reference,)

    def setup(self, rng: np.random.Generator) -> None:
        """Looks functions up; ``_stats`` counts scores and failures."""
        self._scorer = use(self.scorer)
        self._candidate = use(self.candidate) if self.candidate else said
        self._stats: Counter[str] = Counter({"scores": 0, "failures": 0})

    def _clean(self, x: Any) -> str:
        text = text_of(x)
        text = without_thinking(text, *self.strip) if self.strip else text
        words = text.split(" ")
        return " ".join(words[: self.max_words])

    def _ask(self, prompt: str, reference: str, candidate: str) -> float:
        self._stats["scores"] += 1
        found = self._scorer(prompt, reference, candidate)
        value = math.nan if found is None else float(found)
        if math.isinf(value):
            raise ValueError(f"reference_reward: the score is {value}, a finite number or None is expected")
        self._stats["failures"] += math.isnan(value)
        return value

    def score(self, traj: Trajectory) -> float:
        """The score of an episode against its reference, less the reference's own where that is the base; NaN: none."""
        given = traj.meta[self.reference] if self.reference in traj.meta else traj.infos[0][self.reference]
        prompt, reference = task_of(traj), self._clean(given)
        value = self._ask(prompt, reference, self._clean(self._candidate(traj)))
        if self.baseline == "reference" and not math.isnan(value):
            value -= self._ask(prompt, reference, reference)
        return value

    def group(self, group: Group) -> list[Floats]:
        """The rewards, with the score at the last step."""
        out = [t.rewards.copy() for t in group]
        s = np.array([self.score(t) if len(t) else math.nan for t in group])
        if self.baseline == "group" and not np.isnan(s).all():
            s = s - np.nanmean(s)
        if self.squash == "sigmoid":
            there = ~np.isnan(s)
            s[there] = preferred(s[there])
        for rewards, value in zip(out, s):
            rewards[-1:] += self.weight * (self.on_failure if math.isnan(value) else value)
        return out

"""Hops between two states, for ``HopProgress``: their arithmetic, and a judge that reads both and says how far it went.

Robo-Dopamine (arXiv 2512.23703) trains a vision-language model on pairs of images, with the start and the goal beside
them, to say the hop in percent [C]. Here any scorer of texts says it [I]:

    question  H = P("the second is nearer to the goal") - P("the second is farther from it")
    rating    H = the label of the hop between the ratings of the two states, each in [0, 1]

Without an answer there is no hop (None). ``hop_pairs`` draws pairs of states with their labels, to fit or to check such
a judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from ..scorers import Query, Question, Rating, Service
from ..shaper import MissingFact
from ..types import Floats

NEARER, FARTHER = "come nearer to the goal", "move away from the goal"
SCORE_BINS, GAP_BINS, ZERO_HOPS = 25, 4, 0.05  # the paper's balance of training pairs


def hop(p: Any, q: Any) -> Any:
    """The label ``H`` of a hop from progress ``p`` to ``q``, floats or arrays in [0, 1]; 0 where nothing can change."""
    up = q >= p
    whole = up * (1 - p) + (1 - up) * p
    return (q - p) / (whole + (whole == 0))


def advance(phi: Any, h: Any) -> Any:
    """Progress after the hop ``h`` in [-1, 1] from ``phi`` in [0, 1]; the inverse of ``hop`` in its second argument."""
    return phi + h * ((h >= 0) * (1 - phi) + (h < 0) * phi)


def shown(obs: Any, info: Mapping[str, Any], key: str) -> str:
    """What a judge sees of a state.

    Raises:
        MissingFact: ``info`` lacks ``key``.
        ValueError: the observation is no text, and no key is named.
    """
    if key:
        if key not in info:
            raise MissingFact("hop_progress", key)
        return str(info[key])
    if not isinstance(obs, str):
        raise ValueError(f"hop_progress: the observation is {type(obs).__name__}, no text: name an info key with text=")
    return obs


class HopJudge:
    """``(before, after, start, goal) -> H`` in [-1, 1] or None, of four texts.

    Args:
        service: who is asked.
        ask: see the module.
        task: what it is told; empty: the start's line ``Objective: ...`` or ``Task: ...`` if there is one, else all of it.

    Raises:
        ValueError: a scorer that does not answer this kind of question.
    """

    def __init__(self, service: Service, ask: Literal["question", "rating"], task: str = "") -> None:
        self.service, self.ask, self.task = service, ask, task
        if ask not in service.model.kinds:
            kinds, name = ", ".join(service.model.kinds), type(service.model).__name__
            raise ValueError(f"hop_progress: {name} answers {kinds}, not a {ask}: set ask, or take another judge")

    def _queries(self, before: str, after: str, start: str, goal: str) -> list[Query]:
        told = self.task or next((x for x in start.split("\n") if x.startswith(("Objective: ", "Task: "))), start)
        task = f"{told}\nGoal: {goal}" if goal else told
        if self.ask == "rating":
            return [Rating(task, before), Rating(task, after)]
        return [Question((NEARER, FARTHER), task, before, "", "", after)]

    def prepare(self, pairs: Iterable[tuple[str, str, str, str]]) -> None:
        """Asks about all pairs in one go; answers are then at hand."""
        if queries := [q for p in pairs for q in self._queries(*p)]:
            self.service.ask(queries)

    def __call__(self, before: str, after: str, start: str, goal: str) -> float | None:
        """H, None without an answer."""
        said = self.service.ask(self._queries(before, after, start, goal))
        if any(x is None for x in said):
            return None
        if self.ask == "rating":
            return float(hop(float(said[0]), float(said[1])))
        (p,) = said
        return float(p[NEARER] - p.get(FARTHER, 0.0)) if NEARER in p else None


class Pair(NamedTuple):
    """Two states of one episode and the label of the hop between them."""

    episode: int
    before: int
    after: int
    hop: float


def hop_pairs(
    lengths: Sequence[int],
    n: int,
    rng: np.random.Generator,
    score_bins: int = SCORE_BINS,
    gap_bins: int = GAP_BINS,
    zero: float = ZERO_HOPS,
) -> list[Pair]:
    """Pairs for training or checking a hop judge, spread evenly over labels and over how far apart the states are.

    The paper's sampling [C]: labels in 25 bins over [-1, 1], distances in 4, 5 % of pairs with a hop of 0. Progress in
    a successful episode of M steps is i / M. A bin that no pair falls into stays empty, so fewer than ``n`` may come
    back; no pair comes twice.

    Args:
        lengths: M, steps of each successful episode.
        n: pairs.
        rng: of the draw.
        score_bins: of the label.
        gap_bins: of ``|after - before| / M``.
        zero: share of pairs of a state with itself.

    Raises:
        ValueError: a length, a number or a share outside its range.
    """
    if n < 1 or score_bins < 1 or gap_bins < 1 or not 0.0 <= zero <= 1.0 or any(m < 1 for m in lengths) or not lengths:
        raise ValueError(
            f"hop_pairs: n = {n}, score_bins = {score_bins}, gap_bins = {gap_bins}, zero = {zero}, lengths = {list(lengths)}; "
            "allowed are numbers from 1, a share from 0 to 1, and one length or more"
        )
    table: dict[tuple[int, int], list[Pair]] = {}
    same = [Pair(e, i, i, 0.0) for e, m in enumerate(lengths) for i in range(m + 1)]
    for e, m in enumerate(lengths):
        progress: Floats = np.arange(m + 1) / m
        labels = hop(progress[:, None], progress[None, :])
        for i, j in zip(*np.nonzero(~np.eye(m + 1, dtype=bool))):
            h = float(labels[i, j])
            place = (
                min(int((h + 1.0) / 2.0 * score_bins), score_bins - 1),
                min(int(abs(j - i) / m * gap_bins), gap_bins - 1),
            )
            table.setdefault(place, []).append(Pair(e, int(i), int(j), h))
    out = [same[k] for k in rng.permutation(len(same))[: round(zero * n)]]
    piles = [[table[k][i] for i in rng.permutation(len(table[k]))] for k in sorted(table)]
    while len(out) < n and any(piles):
        for k in rng.permutation(len(piles)):
            if piles[k] and len(out) < n:
                out.append(piles[k].pop())
    return out

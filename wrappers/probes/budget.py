"""Who pays what: each term's part of the return, and whether it goes with the outcome, is dead, dominant or wavering.

    total_k = sum over episodes and steps of r_k,     the totals of all terms sum to the return of all episodes
    size_k  = sum |r_k| / sum over terms of sum |r|                                             in [0, 1]
    flips_k = share of a term's neighbouring non-zero values, within an episode, that differ in sign
    corr_k  = correlation over episodes of the term's sums with those of ``against``, by default of all other terms

The domain-free form of Lucy-SKG's reward analysis (arXiv 2305.15801), whose own tool draws single terms over states of
a game; third-party notes of it [T], the measures are ours [I]. Corr is NaN for fewer than two episodes or where one
side is constant.

``sweep`` is the other half: what a shaper pays for each of several transitions, to be drawn as a curve or a heat map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..scorers.settings import check
from ..shaper import Shaper, load, nearest, single
from ..types import Floats, Trajectory, Transition

TINY = 1e-12


class Term(NamedTuple):
    """One row of the budget."""

    name: str
    total: float
    """Summed over all steps of all episodes."""
    mean: float
    """Of an episode's sum."""
    size: float
    """Share of all that was paid or taken."""
    active: float
    """Share of the steps at which it is not 0."""
    flips: float
    """Share of changes of sign; NaN without two neighbours."""
    correlation: float
    """With what it is compared with, over episodes."""


class Budget(NamedTuple):
    """What was paid in some episodes, term by term."""

    terms: tuple[Term, ...]
    returns: float
    """Return of all episodes together: the sum of the totals."""
    episodes: int
    warnings: tuple[str, ...]
    """Sentences: dead, dominant, wavering and opposed terms."""

    def __getitem__(self, name: Any) -> Any:
        """The row of a term (a number: as a tuple)."""
        if not isinstance(name, str):
            return tuple.__getitem__(self, name)
        rows = {t.name: t for t in self.terms}
        if name not in rows:
            raise KeyError(f"no term is called {name!r}{nearest(name, rows)} There are: {', '.join(rows)}")
        return rows[name]

    def table(self) -> str:
        """The rows as Markdown."""
        lines = [
            "| term | total | mean | size | active | flips | corr |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        lines += [f"| {t.name} | " + " | ".join(f"{x:.4g}" for x in t[1:]) + " |" for t in self.terms]
        return "\n".join([*lines, *(f"- {w}" for w in self.warnings)])


def budget(
    trajs: Sequence[Trajectory],
    against: str = "",
    dominant: float = 0.9,
    wavering: float = 0.5,
    opposed: float = -0.5,
) -> Budget:
    """The budget of some episodes, as a stack leaves them (``stack.run``, ``stack.take``).

    Args:
        trajs: episodes with their terms; one that lacks a term counts as having 0 of it.
        against: name of the term that others are compared with; ``""``: the sum of all others.
        dominant: share of the size from which a term is said to drown the others.
        wavering: share of flips from which a term is said to go back and forth.
        opposed: correlation below which a term is said to pay against the rest.

    Raises:
        ValueError: no episode, an unknown term, or a limit outside its range.
    """
    for name, x, low in (("dominant", dominant, 0.0), ("wavering", wavering, 0.0), ("opposed", opposed, -1.0)):
        check("budget", name, x, low, 1)
    if not trajs:
        raise ValueError("budget: no episode is given")
    names = list(dict.fromkeys(n for t in trajs for n in t.terms))
    if against and against not in names:
        raise ValueError(
            f"budget: no term is called {against!r}{nearest(against, names)} There are: {', '.join(names)}"
        )
    rows = {n: [t.terms.get(n, np.zeros(len(t))) for t in trajs] for n in names}
    sums = {n: np.array([x.sum() for x in r]) for n, r in rows.items()}
    sizes = {n: float(sum(np.abs(x).sum() for x in r)) for n, r in rows.items()}
    steps, paid = sum(map(len, trajs)), sum(sizes.values())
    terms = []
    for n in names:
        other = (
            sums[against]
            if against
            else np.sum([s for k, s in sums.items() if k != n] or [np.zeros(len(trajs))], axis=0)
        )
        terms.append(
            Term(
                n,
                float(sums[n].sum()),
                float(sums[n].mean()),
                sizes[n] / paid if paid > TINY else 0.0,
                sum(int((np.abs(x) > TINY).sum()) for x in rows[n]) / max(steps, 1),
                flips(rows[n]),
                correlation(sums[n], other),
            )
        )
    return Budget(
        tuple(terms),
        float(sum(t.rewards.sum() for t in trajs)),
        len(trajs),
        tuple(w for t in terms for w in _warnings(t, len(names), dominant, wavering, opposed, against)),
    )


def _warnings(t: Term, n: int, dominant: float, wavering: float, opposed: float, against: str) -> list[str]:
    out = []
    if t.active == 0:
        out.append(f"{t.name} is dead: it never paid anything")
    if n > 1 and t.size >= dominant:
        out.append(f"{t.name} is dominant: {t.size:.0%} of all that was paid or taken")
    if t.flips >= wavering:
        out.append(f"{t.name} wavers: {t.flips:.0%} of its neighbouring values differ in sign")
    if t.correlation <= opposed and t.name != against:
        out.append(f"{t.name} pays against {against or 'the other terms'}: correlation {t.correlation:.2f}")
    return out


def flips(episodes: Sequence[Floats]) -> float:
    """Share of neighbouring non-zero values, within each of some ``(T,)`` rows, that differ in sign; NaN for none."""
    signs = [np.sign(x[np.abs(x) > TINY]) for x in episodes]
    pairs = sum(max(len(s) - 1, 0) for s in signs)
    return sum(int((s[1:] != s[:-1]).sum()) for s in signs) / pairs if pairs else math.nan


def correlation(x: Floats, y: Floats) -> float:
    """Pearson's of two ``(n,)`` rows; NaN for fewer than two numbers or where one of them is constant."""
    a, b = x - x.mean(), y - y.mean()
    scale = max(float(np.abs(x).max(initial=0.0)), float(np.abs(y).max(initial=0.0)), 1.0)
    if min(float(np.abs(a).max(initial=0.0)), float(np.abs(b).max(initial=0.0))) <= TINY * scale:
        return math.nan
    return float(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1.0, 1.0))


def sweep(shaper: Shaper, transitions: Sequence[Transition], seed: int = 0) -> Floats:
    """``(n,)`` what a step shaper adds to each of several transitions, each the first of an episode, memory frozen.

    Args:
        shaper: its settings; a fresh one is made.
        transitions: with ``obs`` and ``info`` as a reset would publish them in ``info["before"]``, else the step's own info.
        seed: of the shaper.
    """
    m = load(shaper)
    m.setup(np.random.default_rng(seed))
    m.train(False)
    call, out = single(m), np.zeros(len(transitions))
    for i, t in enumerate(transitions):
        reward, _ = call(m.init(t.obs, t.info.get("before", t.info)), t)
        out[i] = reward - t.reward
    return out

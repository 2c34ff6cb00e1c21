"""How good is a judge or a reward model of episodes? Errors, orders, and whether its progress rises with time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .voc import voc

Judge = Callable[[Any], "float | None"]


def mae(said: Any, truth: Any) -> float:
    """Mean absolute error; NaN for nothing."""
    a, b = np.asarray(said, np.float64), np.asarray(truth, np.float64)
    return float(np.abs(a - b).mean()) if len(a) else math.nan


def pairwise_accuracy(said: Any, truth: Any) -> float:
    """Of the pairs that differ in truth, the share that the scores order alike; equal scores count half. NaN: no such pair."""
    a, b = np.asarray(said, np.float64), np.asarray(truth, np.float64)
    i, j = np.triu_indices(len(a), 1)
    want, got = np.sign(b[i] - b[j]), np.sign(a[i] - a[j])
    counts = want != 0
    return float(np.mean(np.where(got == 0, 0.5, got == want)[counts])) if counts.any() else math.nan


def win_rates(errors: Mapping[str, Any]) -> dict[str, float]:
    """Mean pairwise win rate: how often a judge's error is smaller than another's, over examples and others; ties half.

    Args:
        errors: judge -> ``(n,)`` absolute errors on the same examples, NaN (no answer) loses to any number.
    """
    e = {k: np.where(np.isnan(np.asarray(v, np.float64)), np.inf, v) for k, v in errors.items()}
    out = {}
    for a, x in e.items():
        games = [np.where(x == y, 0.5, x < y) for b, y in e.items() if b != a]
        out[a] = float(np.mean(games)) if games and np.size(games) else math.nan
    return out


@dataclass(frozen=True)
class Report:
    """One judge on one set of examples."""

    mae: float
    """Of the grades, over the answers."""
    accuracy: float
    """Pairwise, over the answers."""
    win_rate: float
    """Against the other judges, over all examples; NaN for one judge alone."""
    unlike: float
    """Mean difference of the grades of one episode under paraphrases of its task; NaN without paraphrases."""
    voc: float
    """Mean value-order correlation of the judge's curves over successes; NaN without curves."""
    failures: int
    """Examples without an answer: None, NaN, or a grade outside 1 to 5."""
    n: int
    """Examples."""


def reward_bench(
    examples: Sequence[Any], judges: Mapping[str, Judge], curves: Mapping[str, Callable[[Any], Any]] | None = None
) -> dict[str, Report]:
    """Judges on graded examples (``milepost.wrappers.collect.negatives.Graded``).

    The metrics are those of RoboReward (arXiv 2601.00675) [T]: mean absolute error of the grade and mean pairwise win rate;
    pairwise accuracy is what a preference needs, and the value-order correlation says whether progress rises along a success.
    An example without an answer is counted, is in no error, and loses.

    Args:
        examples: with ``task``, ``asked``, ``traj`` and ``grade``.
        judges: name -> ``example -> grade`` from 1 to 5, or None.
        curves: name of a judge -> ``trajectory -> (T + 1,)`` progress, such as ``GradedOutcome.curve``.

    Raises:
        ValueError: no examples, or a curve of a judge that is not there.
    """
    if not examples:
        raise ValueError("reward_bench: no examples; at least one is expected")
    if unknown := [k for k in curves or {} if k not in judges]:
        raise ValueError(f"reward_bench: a curve of {unknown[0]!r}; allowed: {', '.join(judges)}")
    done = list({id(x.traj): x.traj for x in examples if x.grade == 5}.values())
    truth = np.array([x.grade for x in examples], np.float64)
    said = {name: np.array([_grade(judge(x)) for x in examples]) for name, judge in judges.items()}
    wins = win_rates({k: np.abs(v - truth) for k, v in said.items()})
    alike: dict[tuple[int, str], list[int]] = {}  # one episode against one task, however it is said
    for i, x in enumerate(examples):
        alike.setdefault((id(x.traj), x.asked), []).append(i)
    out = {}
    for name, s in said.items():
        ok = ~np.isnan(s)
        gaps = [abs(s[i] - s[j]) for part in alike.values() for i in part for j in part if i < j and ok[i] and ok[j]]
        out[name] = Report(
            mae(s[ok], truth[ok]),
            pairwise_accuracy(s[ok], truth[ok]),
            wins[name],
            float(np.mean(gaps)) if gaps else math.nan,
            float(np.mean([voc(curves[name](t)) for t in done])) if curves and name in curves and done else math.nan,
            int((~ok).sum()),
            len(s),
        )
    return out


def _grade(x: float | None) -> float:
    return math.nan if x is None or not 1.0 <= x <= 5.0 else float(x)


def table(reports: Mapping[str, Report]) -> str:
    """The reports as a Markdown table, the smallest error first."""
    lines = ["| judge | MAE | pairs right | win rate | paraphrases differ by | VOC | no answer |", "|" + " --- |" * 7]
    for name, r in sorted(reports.items(), key=lambda x: (math.isnan(x[1].mae), x[1].mae, x[0])):
        row = (r.mae, r.accuracy, r.win_rate, r.unlike, r.voc)
        numbers = " | ".join("-" if math.isnan(v) else f"{v:.3f}" for v in row)
        lines.append(f"| {name} | {numbers} | {r.failures} of {r.n} |")
    return "\n".join(lines)

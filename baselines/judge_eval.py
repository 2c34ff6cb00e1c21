"""How good is a judge? Its sub-goal verdicts against the environments' own truth.

CALM (arXiv 2409.12798): one decision a transition, any sub-goal flagged against any in truth; accuracy, precision, recall, F1.
Besides, per sub-goal: area under the ROC curve, Brier score and expected calibration error of the probabilities, and what it
cost. What cannot be read counts as "not detected".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from ..wrappers.scorers import Question, Service
from ..wrappers.step.calm_judge import action_of, task_of, view_of
from ..wrappers.types import Transition

BINS = 10  # of the calibration error
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {  # name: id, settings
    "quest": ("milepost/Quest-medium-v0", {}),
    "textworld": ("milepost/TextWorld-v0", {"challenge": "custom", "expose_reference": True}),
    "minihack": ("milepost/MiniHack-v0", {"level": "KeyRoom-S5"}),
}


class Case(NamedTuple):
    """A transition with its truth."""

    question: Question
    truth: frozenset[str]  # what became true in it
    kind: str  # first word of what became true; "none" for nothing


@dataclass(frozen=True)
class Score:
    """A judge on a sample. All shares are in [0, 1]; NaN where there is nothing to divide by."""

    n: int
    accuracy: float
    precision: float
    recall: float
    f1: float
    tp: int
    fp: int
    fn: int
    tn: int
    auc: float
    brier: float
    calibration_error: float
    silent: int
    """Transitions without an answer, counted as not detected."""


def cases(
    env: gym.Env[Any, Any],
    n: int,
    seed: int,
    view: str | Callable[[Any, dict[str, Any]], str] = "text",
    subgoals: Sequence[str] = (),
    expert: float = 0.5,
) -> list[Case]:
    """Transitions of episodes that follow the oracle with probability ``expert``, else chance.

    Args:
        env: an environment that publishes ``subgoals`` and ``admissible_actions``, with an oracle.
        n: transitions.
        seed: of the worlds and of chance.
        view: what the judge sees of a state, see ``SubgoalOptions``.
        subgoals: ask only about these; empty: about all.
        expert: share of expert actions.

    Raises:
        ValueError: the environment has none of ``subgoals``.
    """
    rng, look, out = np.random.default_rng(seed), view_of(view), list[Case]()
    oracle = env.get_wrapper_attr("oracle")
    reset: int | None = seed
    while len(out) < n:
        obs, info = env.reset(seed=reset)
        reset = None
        told = info.get("meta", {}).get("subgoals") or tuple(info["subgoals"])
        sentence = dict(zip(info["subgoals"], told))
        asked = tuple(dict.fromkeys(s for s in sentence.values() if not subgoals or s in subgoals))
        if not asked:
            raise ValueError(f"the environment has none of the sub-goals {list(subgoals)}; it has {list(told)}")
        task, text, held, over = task_of(str(obs)), look(obs, info), info["subgoals"], False
        while not over and len(out) < n:
            if rng.random() < expert:
                action = oracle()
            else:
                action = info["admissible_actions"][rng.integers(len(info["admissible_actions"]))]
            t = Transition(obs, action, 0.0, *_four(env.step(action)), {})
            new = frozenset(sentence[g] for g, v in t.info["subgoals"].items() if v and not held[g])
            new &= frozenset(asked)
            after = look(t.next_obs, t.info)
            question = Question(asked, task, text, action_of(t), str(t.info.get("message", "")), after)
            out.append(Case(question, new, min(new).split()[0] if new else "none"))
            obs, info, text, held = t.next_obs, t.info, after, t.info["subgoals"]
            over = t.terminated or t.truncated
    return out


def _four(step: Any) -> tuple[Any, bool, bool, dict[str, Any]]:
    obs, _, terminated, truncated, info = step
    return obs, terminated, truncated, info


def balanced(pool: Sequence[Case], n: int, seed: int) -> list[Case]:
    """``n`` of them, the same number of each kind as far as there are that many (CALM: in thirds)."""
    rng = np.random.default_rng(seed)
    kinds: dict[str, list[Case]] = {}
    for i in rng.permutation(len(pool)):
        kinds.setdefault(pool[i].kind, []).append(pool[i])
    out: list[Case] = []
    while len(out) < n and any(kinds.values()):
        for kind in sorted(kinds):
            if kinds[kind] and len(out) < n:
                out.append(kinds[kind].pop())
    return out


def warm(judge: Service) -> None:
    """Asks a throw-away question, past cache and counts, so that no timing has the loading of a model in it.

    What comes of it is looked at by nobody: the questions that count show what is wrong. A ``frozen`` judge is left alone.
    """
    if judge.mode == "frozen":
        return
    aside = Service(judge.model, timeout=judge.timeout, max_calls=judge.max_calls, max_seconds=judge.max_seconds)
    aside.ask([Question(("begin",), "", "", "", "", "")])
    aside.close()


def score(judge: Service, sample: Sequence[Case]) -> Score:
    """The judge's verdicts on the sample against its truth."""
    answers: list[dict[str, float] | None] = []
    for i in range(0, len(sample), judge.batch):
        answers += judge.ask([c.question for c in sample[i : i + judge.batch]])
    count: Counter[tuple[bool, bool]] = Counter()
    probabilities, truths = [], []
    for case, answer in zip(sample, answers):
        said = answer or {}
        count[any(p >= 0.5 for p in said.values()), bool(case.truth)] += 1
        for g in case.question.subgoals:
            probabilities.append(said.get(g, 0.0))
            truths.append(g in case.truth)
    tp, fp, fn, tn = (count[x] for x in ((True, True), (True, False), (False, True), (False, False)))
    p, y = np.array(probabilities), np.array(truths, np.float64)
    return Score(
        len(sample),
        _share(tp + tn, len(sample)),
        _share(tp, tp + fp),
        _share(tp, tp + fn),
        _share(2 * tp, 2 * tp + fp + fn),
        tp,
        fp,
        fn,
        tn,
        auc(p, y),
        float(np.mean((p - y) ** 2)) if len(p) else float("nan"),
        calibration_error(p, y),
        sum(a is None for a in answers),
    )


def _share(x: float, y: float) -> float:
    return x / y if y else float("nan")


def auc(p: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> float:
    """Probability that a true one is given more than a false one, ties one half (Mann-Whitney); NaN for one class.

    Args:
        p: ``(n,)`` scores.
        y: ``(n,)`` truth, 0 or 1.
    """
    yes, no = np.sort(p[y > 0]), np.sort(p[y == 0])
    if not len(yes) or not len(no):
        return float("nan")
    below = np.searchsorted(no, yes, "left") + np.searchsorted(no, yes, "right")
    return float(below.sum() / (2 * len(yes) * len(no)))


def calibration_error(p: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> float:
    """Mean distance of stated probability and frequency over ten bins, weighted by their size (Naeini et al. 2015)."""
    if not len(p):
        return float("nan")
    place = np.minimum((p * BINS).astype(int), BINS - 1)
    gaps = [abs(p[place == b].mean() - y[place == b].mean()) * (place == b).mean() for b in np.unique(place)]
    return float(sum(gaps))

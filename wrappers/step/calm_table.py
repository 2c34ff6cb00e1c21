r"""CALM's table: how often a judge found something reached by an (observation, action), learned beside the training.

    r'_t = r_t + beta (c(k) - c_min) / (c_max - c_min),     k the key of the transition, c its count; unknown keys 0

CALM, "Assessing the zero-shot capabilities of LLMs for action evaluation in RL" (arXiv 2409.12798): the variant of the
authors' reinforcement learning [C]. A language model annotates many episodes; c is the number of its verdicts on a key,
the whole map and the action; beta was 0.1, 0.5 or 1. ``SubgoalOptions(table=...)`` pays from a table that is given.
This layer makes it: ``learn`` lets the judge annotate the episodes that it is shown and adds to the counts, which are
memory. ``read`` and ``write`` keep a table in a JSON file, ``file`` starts from one.

Invariance: none. An entry pays at every repetition, as in the paper: n steps are paid up to n beta; ``once`` pays each
key once an episode. beta = 0 changes nothing, and so does an empty table.

Departures: equal counts divide by zero in the authors' code; here they are worth 1 each (0 if all are 0). Keys that a
judge saw and never flagged count 0. A judge without an answer has flagged nothing, and is counted; one that answers
late (``async``) is refused. Keys beyond ``keys_max`` are not taken in.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..scorers import serve
from ..shaper import MissingFact, Shaper, use
from ..types import Trajectory, Transition
from .calm_judge import Judged, shares, table_of, view_of

LAYER = "judgement_table"


def write(path: str | Path, counts: Mapping[str, float]) -> None:
    """Keeps a table in a JSON file, keys sorted."""
    Path(path).write_text(
        json.dumps(dict(sorted(counts.items())), indent=0, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def read(path: str | Path) -> dict[str, float]:
    """A table from a file that ``write`` made.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it holds no object of numbers from 0.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as e:
        raise ValueError(f"judgement_table: {path} is no JSON: {e}") from None
    numbers = isinstance(found, dict) and all(type(c) in (int, float) and 0 <= c < math.inf for c in found.values())
    if not numbers:
        raise ValueError(f"judgement_table: {path} holds no table; allowed: an object of keys to counts from 0")
    return {k: float(c) for k, c in found.items()}


@dataclass
class JudgementTable(Shaper):
    """Pays (observation, action) pairs by a judge's counts over earlier episodes.

    Memory: ``counts``. The state is the keys paid in this episode, with ``once``, else None.

    Raises:
        ValueError: a setting outside its range, neither a judge nor a table, a file that holds none, or an ``async`` judge.
        MissingFact: the judge's ``view`` needs a key that the environment does not publish.
        MissingAnswer: a frozen judge does not know a transition.
    """

    judge: Any = None
    """Who annotates: a scorer's name or settings, see ``scorers.serve``; None: the table stays as it is."""
    beta: float = 0.1
    """Bonus of the key with the highest count."""
    table: dict[str, float] = field(default_factory=dict)
    """Counts to start from."""
    file: str = ""
    """JSON file of counts to start from, see ``write``; added to ``table``."""
    key: str | Callable[[Transition], str] = "milepost.wrappers.step.calm:table_key"
    """Key of a transition; a function or ``"module:function"``."""
    count: Literal["each", "any"] = "each"
    """A transition counts once for each sub-goal that was found reached, or once."""
    once: bool = False
    """Each key pays once an episode; False is the paper's."""
    subgoals: tuple[str, ...] | str = "given"
    """What the judge is asked about: names, ``"given"`` or ``"discover"``, see ``SubgoalOptions``."""
    view: str | Callable[[Any, dict[str, Any]], str] = "text"
    """What the judge sees of a state, see ``SubgoalOptions``."""
    task: str = ""
    """What the judge is told about the task; empty: what the first observation says of it."""
    threshold: float = 0.5
    """Probability from which a judge's yes is one."""
    keys_max: int = 100_000
    """Keys that are kept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.judge is None and not self.table and not self.file:
            raise ValueError("judgement_table: nothing to pay from; allowed: a judge, a table or a file")
        if not 0.0 <= self.beta < math.inf or not 0.0 < self.threshold <= 1.0 or self.keys_max < 1:
            raise ValueError(
                f"judgement_table: beta = {self.beta}, threshold = {self.threshold}, keys_max = {self.keys_max}; "
                "allowed are 0 or more, above 0 to 1, 1 or more"
            )
        if any(not 0.0 <= c < math.inf for c in self.table.values()):
            raise ValueError("judgement_table: table has a count below 0; allowed are numbers from 0")
        if isinstance(self.subgoals, str) and self.subgoals not in ("given", "discover"):
            raise ValueError(f"judgement_table: subgoals is {self.subgoals!r}; allowed: names, 'given' or 'discover'")

    @property
    def learns(self) -> bool:
        """Where somebody annotates."""
        return self.judge is not None

    def setup(self, rng: np.random.Generator) -> None:
        """Serves the judge and takes the table in; ``_stats`` counts transitions without an answer."""
        self._stats: Counter[str] = Counter()
        self._judged: Judged | None = None
        if self.judge is not None:
            service = serve(self.judge, "question")
            if service.mode == "async":
                raise ValueError(
                    "judgement_table: judge is in mode 'async', which answers late; allowed: 'sync', 'frozen'"
                )
            self._services = {"judge": service}
            view = use(self.view) if isinstance(self.view, str) and ":" in self.view else self.view
            self._judged = Judged(
                service, self.subgoals, view_of(view, LAYER), self.task, self.threshold, False, self._stats, LAYER
            )
        self._key = use(self.key)
        if not callable(self._key):
            raise ValueError(f"judgement_table: key is {self._key!r}, a function of the Transition is expected")
        self.counts: dict[str, float] = {k: float(c) for k, c in self.table.items()}
        self._add(read(self.file) if self.file else {})

    def load_state_dict(self, state: Any) -> None:
        """Takes the counts back."""
        super().load_state_dict(state)
        self._worth = shares(self.counts)

    def _add(self, more: Mapping[str, float]) -> None:
        for k, c in more.items():
            if k in self.counts or len(self.counts) < self.keys_max:
                self.counts[k] = self.counts.get(k, 0.0) + c
        self._worth = shares(self.counts)

    def init(self, obs: Any, info: dict[str, Any]) -> Any:
        """Nothing is paid yet."""
        return frozenset() if self.once else None

    def step(self, state: Any, t: Transition) -> tuple[Any, Any]:
        """Pays the transition's share."""
        key = self._key(t)
        worth = self._worth.get(key, 0.0)
        if not self.once:
            return t.reward + self.beta * worth, None
        return (t.reward, state) if key in state else (t.reward + self.beta * worth, state | {key})

    def learn(self, trajs: Sequence[Trajectory]) -> dict[str, float]:
        """Lets the judge annotate episodes and adds to the counts; metrics: keys, and the share flagged."""
        if self._judged is None or not self.training:
            return {}
        try:
            self._add(table_of(trajs, self._judged, self._key, self.count))
        except MissingFact as e:  # the judge's side is shared with SubgoalOptions
            raise MissingFact(LAYER, e.key) from None
        flagged = sum(c > 0 for c in self.counts.values())
        return {"keys": float(len(self.counts)), "flagged": flagged / max(len(self.counts), 1)}

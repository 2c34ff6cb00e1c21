r"""Sub-goals reached pay a bonus, each once an episode.

    r'_t = r_t + beta * sum_g w_g * 1[g holds after step t, and for the first time in this episode]

CALM, "Assessing the zero-shot capabilities of LLMs for action evaluation in RL" (arXiv 2409.12798): an option ends
when its sub-goal is judged reached, and that is rewarded. There a language model judges the transition. Here the truth comes
from a ``judge`` (any scorer: patterns, MiniLM, SmolLM2, an endpoint), from the ``subgoals`` fact, from predicates of the
transition, or from a table of judgements made before.

Judges. ``judge`` is a name or ``{"scorer": name, "mode": "async", "cache": file, ...}`` (``scorers.serve``). It is asked about
``subgoals``: names, ``"given"`` (the environment's own) or ``"discover"`` (the judge proposes them once from the text of the
task). ``view`` is what it sees of a state: the text, only the message, or CALM's two conditions, the 9x9 crop and the whole
screen. A judge that fails, hangs, or talks nonsense has said nothing, and nothing pays nothing. With ``retro`` an answer that
comes late (``async``) counts for an episode that is still running, at the step at which it is there; ``stack.rerun`` puts it at
its own step; later it counts from the next occurrence on.

Modes. ``table``: the authors' offline table, counts c of judgements by (observation, action), paid
``(c - c_min) / (c_max - c_min)``, unknown keys 0 (``JudgementTable`` makes and keeps one). ``potential``: phi = beta * sum of
the weights reached so far, paid ``gamma phi' - phi`` with phi = 0 at termination and kept at truncation (Ng, Harada and Russell
1999). ``ordered``: a sub-goal counts only after all those before it.

Invariance: ``potential`` is policy-invariant on the state that includes what has been reached; the plain bonus is not. Keep
``beta * sum w`` below the reward of success, or an agent may be content with the sub-goals; ``cap`` enforces a limit.

Departures: the paper pays 1 for any flagged sub-goal, at every flagged step, in its offline form also for each repetition of
a table entry; here weights, and ``once`` (False is the paper's). A sub-goal that holds at the reset already is not paid.
Equal counts in a table divide by zero in the authors' code; here they are worth 1 each (0 if all are 0). A predicate that
answers None ("cannot say") pays nothing and is counted; one that raises stops the run, with its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..maths import fingerprint, unless
from ..scorers import serve
from ..shaper import Shaper, nearest, use
from ..types import Transition
from .calm_judge import Judged, shares, view_of

Predicate = Callable[[Transition], "bool | None"]
_OF_JUDGE = {"subgoals": "given", "view": "text", "task": "", "threshold": 0.5, "retro": True}  # with their defaults


def table_key(t: Transition) -> str:
    """The default key of a table: observation and action as text where they are text, else as a fingerprint."""
    obs = t.obs if isinstance(t.obs, str) else fingerprint(t.obs)
    action = t.action if isinstance(t.action, (str, int)) else fingerprint(t.action)
    return f"{obs}\n{action}"


@dataclass
class SubgoalOptions(Shaper):
    """Pays sub-goals when they are reached.

    The state is ``(names reached, bonus paid so far or potential, what a judge has seen)``.

    Raises:
        ValueError: settings outside their range or that exclude each other, or a weight of an unknown sub-goal.
        RuntimeError: a predicate failed; names it.
        MissingFact: the environment does not publish ``key`` (and no judge, predicates or table are given), or what a
            judge's ``view`` needs.
        MissingAnswer: a frozen judge does not know a transition.
    """

    beta: float = 0.5
    """Bonus of a sub-goal of weight 1."""
    key: str = "subgoals"
    """Info key of the truth, ``dict[str, bool]``, used when neither predicates nor a table are given."""
    predicates: dict[str, Any] = field(default_factory=dict)
    """Sub-goal to a predicate of the Transition (or ``"module:function"``); at a reset its ``obs`` and ``action`` are None."""
    weights: dict[str, float] = field(default_factory=dict)
    """Weight of a sub-goal, 0 or more; 1 where none is given."""
    once: bool = True
    """Each sub-goal pays once an episode; False: at every step at which it holds."""
    ordered: bool = False
    """A sub-goal counts only after all before it, in the order of the fact or of ``predicates``."""
    potential: bool = False
    """Pay the discounted change of what has been reached instead of a bonus."""
    gamma: float = 0.99
    """Discount of the agent, for ``potential``."""
    table: dict[str, float] = field(default_factory=dict)
    """Counts of judgements by key; used instead of sub-goals."""
    table_key: str | Callable[[Transition], str] = "milepost.wrappers.step.calm:table_key"
    """Key of a transition in the table; a function or ``"module:function"``."""
    cap: float | None = None
    """Most that an episode can earn (or the largest potential)."""
    judge: Any = None
    """Who says what a transition reached: a scorer's name or settings, see ``scorers.serve``; None: nobody is asked."""
    subgoals: tuple[str, ...] | str = "given"
    """What a judge is asked about: names, ``"given"`` or ``"discover"``."""
    view: str | Callable[[Any, dict[str, Any]], str] = "text"
    """What a judge sees of a state: ``text``, ``message``, ``crop``, ``screen``, or a function of (obs, info)."""
    task: str = ""
    """What a judge is told about the task; empty: the first observation's line ``Objective:`` or ``Task:``, else all of it."""
    threshold: float = 0.5
    """Probability from which a judge's yes is one."""
    retro: bool = True
    """Late answers of an ``async`` judge count for the running episode; not with ``ordered``, where late is
    out of order. With ``once=False`` several that come at once pay once."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta < 0:
            raise ValueError(f"subgoal_options: beta = {self.beta}, allowed is 0 or more")
        if self.cap is not None and self.cap < 0:
            raise ValueError(f"subgoal_options: cap = {self.cap}, allowed is 0 or more, or None")
        if not 0.0 <= self.gamma <= 1.0:
            raise ValueError(f"subgoal_options: gamma = {self.gamma}, allowed is 0 to 1")
        if any(v < 0 for v in (*self.weights.values(), *self.table.values())):
            raise ValueError("subgoal_options: weights and counts are 0 or more")
        if not self.once and (self.potential or self.ordered):
            raise ValueError(
                "subgoal_options: potential and ordered go by what has been reached, so they need once=True"
            )
        if self.table and (self.predicates or self.weights or self.ordered):
            raise ValueError(
                "subgoal_options: a table takes the place of predicates, weights and order: give one or the other"
            )
        if self.predicates:
            self._check_weights(self.predicates)
        if self.judge is not None and (self.predicates or self.table):
            raise ValueError("subgoal_options: a judge takes the place of predicates and of a table: give one of them")
        if isinstance(self.subgoals, str) and self.subgoals not in ("given", "discover"):
            raise ValueError(f"subgoal_options: subgoals is {self.subgoals!r}; allowed: names, 'given' or 'discover'")
        if isinstance(self.subgoals, tuple) and not (self.subgoals and all(g.strip() for g in self.subgoals)):
            raise ValueError(f"subgoal_options: subgoals is {self.subgoals!r}; allowed: one name or more, none empty")
        if self.judge is None and (of_judge := [n for n, v in _OF_JUDGE.items() if getattr(self, n) != v]):
            raise ValueError(
                f"subgoal_options: {of_judge[0]!r} is a setting for a judge, and none is given: add judge="
            )
        if not 0.0 < self.threshold <= 1.0:
            raise ValueError(f"subgoal_options: threshold = {self.threshold}, allowed is above 0, to 1")

    @property
    def policy_invariant(self) -> bool:  # type: ignore[override]
        """In potential mode, on the state that includes what has been reached."""
        return self.potential

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """The fact, where it is what is read."""
        return () if self.predicates or self.table or self.judge is not None else (self.key,)

    def setup(self, rng: np.random.Generator) -> None:
        """Looks the predicates up and normalises the table; ``_stats`` counts predicates that cannot say."""
        self._stats: Counter[str] = Counter()
        self._judged: Judged | None = None
        if self.judge is not None:
            view = view_of(use(self.view) if isinstance(self.view, str) and ":" in self.view else self.view)
            retro = self.retro and not self.ordered
            service = serve(self.judge, "question")
            self._services = {"judge": service}
            self._judged = Judged(service, self.subgoals, view, self.task, self.threshold, retro, self._stats)
        self._tests: dict[str, Predicate] = {n: use(p) for n, p in self.predicates.items()}
        self._key = use(self.table_key)
        for name, f in (self._tests | {"table_key": self._key}).items():
            if not callable(f):
                raise ValueError(f"subgoal_options: {name!r} is {f!r}, a function of the Transition is expected")
        self._worth: dict[str, float] = dict(self.weights)
        if self.table:
            self._worth = shares(self.table)

    def init(self, obs: Any, info: dict[str, Any]) -> Any:
        """What holds already counts as reached, unpaid, in whatever order."""
        if self.table:
            return frozenset(), 0.0, None
        if self._judged is not None:  # it judges transitions, and there has been none
            return frozenset(), 0.0, self._judged.begin(obs, info, self.weights)
        if not self.predicates:
            self._check_weights(info[self.key])
        start = Transition(None, None, 0.0, obs, False, False, info, {})
        reached = frozenset(name for name, holds in self._truth(start) if holds)
        return reached, self._worthy(reached) if self.potential else 0.0, None

    def step(self, state: Any, t: Transition) -> tuple[Any, Any]:
        """Pays what this step reached."""
        if self._judged is None:
            return self._pay(state, t, () if self.table else self._truth(t))
        ((truth, seen),) = self._judged.truths([state[2]], [t])
        return self._pay((*state[:2], seen), t, truth)

    def steps(self, states: list[Any], ts: Sequence[Transition]) -> list[Any]:
        """The same for several streams: a judge is asked once for all of them."""
        if self._judged is None:
            return super().steps(states, ts)
        out = []
        for i, (truth, seen) in enumerate(self._judged.truths([s[2] for s in states], ts)):
            reward, states[i] = self._pay((*states[i][:2], seen), ts[i], truth)
            out.append(reward)
        return out

    def _pay(self, state: Any, t: Transition, truth: Iterable[tuple[str, bool]]) -> tuple[Any, Any]:
        reached, paid, seen = state
        new = self._new(t, reached if self.once else frozenset(), truth)
        if new:
            reached = reached | frozenset(new)
        if self.potential:
            phi = unless(t.terminated, self._worthy(reached))
            return t.reward + (self.gamma * phi - paid), (reached, phi, seen)
        if not new:
            return t.reward, (reached, paid, seen)
        pay = self.beta * sum(self._weight(n) for n in new)
        if self.cap is not None:
            pay = min(pay, self.cap - paid)
        return t.reward + pay, (reached, paid + pay, seen)

    def _new(self, t: Transition, reached: frozenset[str], truth: Iterable[tuple[str, bool]]) -> list[str]:
        """Sub-goals that hold and are not in ``reached``, in order."""
        if self.table:
            key = self._key(t)
            return [key] if key in self.table and key not in reached else []
        new: list[str] = []
        for name, holds in truth:
            if name in reached:
                continue
            if holds:
                new.append(name)
            elif self.ordered:
                break
        return new

    def _truth(self, t: Transition) -> Iterable[tuple[str, bool]]:
        if not self._tests:
            yield from t.info[self.key].items()
        for name, test in self._tests.items():
            try:
                said = test(t)
            except Exception as e:
                when = "the reset, where obs and action are None" if t.action is None else f"action {t.action!r}"
                raise RuntimeError(f"subgoal_options: the predicate of {name!r} failed at {when}: {e!r}") from e
            if said is None:
                self._stats[f"{name}: no answer"] += 1
            yield name, bool(said)

    def _weight(self, name: str) -> float:
        return self._worth.get(name, 1.0)

    def _worthy(self, reached: Iterable[str]) -> float:
        """The potential of what has been reached; sorted, so that no order of a set shows in the last bit."""
        phi = self.beta * sum(self._weight(n) for n in sorted(reached))
        return phi if self.cap is None else min(phi, self.cap)

    def _check_weights(self, known: Mapping[str, Any]) -> None:
        for name in self.weights:
            if name not in known:
                raise ValueError(f"subgoal_options: weights names {name!r}, which is no sub-goal{nearest(name, known)}")

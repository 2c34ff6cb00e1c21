"""CM2: a checklist for every turn of the user; what is ticked off pays, once.

    score of a turn = sum_k w_k 1[item k holds after any step of that turn],  sum_k w_k = 1
    r'_t = r_t + (scores of the turns) / (number of turns), in [0, 1] over an episode

"CM2" (arXiv 2602.12268), formulas from the authors' code. When it is paid:

    episode   at the last step: dense criteria, sparse assignment, the paper's default
    turn      at the last step of each turn of the user; ``TurnCentered`` makes advantages of it
    step      each item at its step, times eta^(steps since all that it depends on was passed, or since its turn began)

An item counts after those that it depends on, in the same step at the earliest. In a step with a tool call that failed, items
about calls or their results do not hold. Items come from ``items``, or from the reset's ``info["meta"]["checklist"]`` or
``info["checklist"]``; what holds comes from ``info["subgoals"]``, by the items' ids, or from a ``judge`` (any scorer,
``scorers.serve``), which is asked about the open items of the turn, all at once. A step without an answer ticks nothing off: it
is left out and counted; answers that come late (``async``) are paid by ``stack.rerun``.

Turns: ``info["turn"]`` counts the user's turns; a step belongs to the turn that was running before it, and an item holds only
in its own turn. Where nobody publishes it, items hold in every turn, and ``emit="turn"`` is refused for more than one.

Hacks: a ticked item pays no more, so repetition and what nothing asks for pay nothing, and the sum is at most 1. What
holds at the reset is not the agent's doing: it is passed, unpaid, and counted. With ``eta`` below 1 haste pays.

Invariance: none. With ``eta=1`` all three ways to pay have the same return.

Departures: several checklists for a turn are one with the weights divided by their number. The judge sees one step, not the
conversation. The paper leaves samples whose judge failed out of the advantages; a reward cannot say so: ``TurnCentered``
leaves out what ``info`` says failed. The early stop where ``required`` items fail ends episodes, which a shaper never does.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal, NamedTuple

import numpy as np

from ..scorers import Question, Service, serve
from ..shaper import MissingFact, Shaper, nearest
from ..types import Transition

FOCUS = ("assistant", "tool_calls", "tool_content")


class Item(NamedTuple):
    """One line of a checklist."""

    id: str
    weight: float
    turn: int = 0
    depends: tuple[str, ...] = ()
    focus: str = "assistant"
    required: bool = False
    question: str = ""


class Episode(NamedTuple):
    """What the shaper remembers of an episode."""

    items: tuple[Item, ...]  # each after those that it depends on
    turns: int  # the score is divided by
    turn: Any  # that is running; None: nobody says
    start: int  # step at which it began
    clock: int
    passed: Mapping[str, int]  # item to its step
    owed: float
    task: str
    text: str  # of the state, for a judge


def checklist(found: Iterable[Mapping[str, Any]]) -> tuple[Item, ...]:
    """Items in an order in which each stands after those that it depends on.

    Raises:
        ValueError: names what is wrong: a key, a weight, an id twice, a dependency, a cycle, or a turn whose weights do not sum
            to 1.
    """
    items: dict[str, Item] = {}
    for x in found:
        for k in x:
            if k not in Item._fields:
                raise ValueError(f"checklist: an item has no {k!r}{nearest(k, Item._fields)}")
        if "id" not in x or "weight" not in x:
            raise ValueError(f"checklist: an item has at least an id and a weight, not {dict(x)!r}")
        item = Item(**x)._replace(depends=tuple(x.get("depends", ())))
        number = isinstance(item.weight, (int, float)) and 0.0 < item.weight <= 1.0 + 1e-6
        if item.id in items or not number or item.focus not in FOCUS:
            raise ValueError(
                f"checklist: the item {item.id!r} has the weight {item.weight!r} and the focus {item.focus!r}; allowed are an "
                f"id that stands once, a weight above 0, to 1, and {', '.join(map(repr, FOCUS))}"
            )
        items[item.id] = item
    for turn in sorted({i.turn for i in items.values()}):
        total = math.fsum(i.weight for i in items.values() if i.turn == turn)
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"checklist: the weights of turn {turn} sum to {total:.6g}, 1 is expected")
    for item in items.values():
        for d in item.depends:
            if d not in items:
                raise ValueError(f"checklist: {item.id!r} depends on {d!r}, which is no item{nearest(d, items)}")
    try:
        return tuple(items[i] for i in TopologicalSorter({i.id: i.depends for i in items.values()}).static_order())
    except CycleError as e:
        raise ValueError(f"checklist: items depend on each other: {' <- '.join(e.args[1])}") from None


@dataclass
class Checklist(Shaper):
    """Pays the items of a checklist that the agent fulfils.

    Raises:
        ValueError: settings outside their range, or a checklist that is none, see ``checklist``.
        MissingFact: the environment publishes no checklist (and none is given), not what holds (and there is no judge), no
            turns (and ``emit="turn"`` needs them), or no text for a judge.
        MissingAnswer: a frozen judge does not know a step.
    """

    emit: Literal["episode", "turn", "step"] = "episode"
    """When items are paid."""
    eta: float = 1.0
    """Factor for each step that an item takes, with ``emit="step"``."""
    items: tuple[Any, ...] = ()
    """The checklist: mappings with ``id``, ``weight`` and, as far as they differ from ``Item``'s defaults, the other fields;
    empty: the environment's."""
    max_turns: int | None = None
    """The score is divided by this number; None: the number of turns that have items."""
    on_tool_error: Literal["fail_tool_items", "ignore"] = "fail_tool_items"
    """Do items about tools hold in a step with a call that failed?"""
    key: str = "subgoals"
    """Info key of what holds, ``dict[str, bool]``."""
    calls: str = "tool_calls"
    """Info key of a step's calls, which say whether they are ``ok``."""
    turn: str = "turn"
    """Info key of the count of the user's turns, 0 at the reset; ``""``: every step is a turn."""
    judge: Any = None
    """Who says what holds: a scorer's name or settings, see ``scorers.serve``; None: the environment."""
    threshold: float = 0.5
    """Probability from which a judge's yes is one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.eta <= 1.0 or (self.eta != 1.0 and self.emit != "step"):
            raise ValueError(f"checklist: eta = {self.eta}, allowed is 0 to 1, and 1 alone unless emit is 'step'")
        if not 0.0 < self.threshold <= 1.0:
            raise ValueError(f"checklist: threshold = {self.threshold}, allowed is above 0, to 1")
        if self.max_turns is not None and self.max_turns < 1:
            raise ValueError(f"checklist: max_turns = {self.max_turns}, allowed is a number from 1, or None")
        self.items = tuple(i._asdict() for i in checklist(self.items))

    @property
    def needs(self) -> Sequence[str]:  # type: ignore[override]
        """What holds, unless a judge says it."""
        return () if self.judge is not None else (self.key,)

    def setup(self, rng: np.random.Generator) -> None:
        """Serves the judge; ``_stats`` counts items passed at a reset, and steps without an answer."""
        self._service: Service | None = None if self.judge is None else serve(self.judge, "question")
        self._services = {} if self._service is None else {"judge": self._service}
        self._warned = False
        self._stats: Counter[str] = Counter({"items passed": 0, "passed at a reset": 0, "no answer": 0})

    def init(self, obs: Any, info: dict[str, Any]) -> Any:
        """Reads the checklist; what holds already is passed."""
        found = self.items or info.get("meta", {}).get("checklist", info.get("checklist"))
        if found is None:
            raise MissingFact("checklist", "checklist")
        items = checklist(found)
        turns = len({i.turn for i in items})
        if self.max_turns is not None and self.max_turns < turns:
            raise ValueError(f"checklist: max_turns = {self.max_turns}, but items of {turns} turns")
        now = info.get(self.turn) if self.turn else 0
        if self.emit == "turn" and now is None and turns > 1:
            raise MissingFact("checklist", self.turn)
        truth: Mapping[str, Any] = {} if self._service is not None else info[self.key]
        for i in items if self._service is None else ():
            if i.id not in truth:
                raise ValueError(
                    f"checklist: info[{self.key!r}] does not say whether {i.id!r} holds{nearest(i.id, truth)}"
                )
        passed = {i.id: 0 for i in items if truth.get(i.id)}
        self._stats["passed at a reset"] += len(passed)
        text = self._words(obs, info)
        return Episode(items, self.max_turns or max(turns, 1), now, 0, 0, passed, 0.0, text, text)

    def steps(self, states: list[Any], ts: Sequence[Transition]) -> list[Any]:
        """Pays what these steps ticked off; a judge is asked once for all of them."""
        out = []
        for k, (t, truth) in enumerate(zip(ts, self._truths(states, ts))):
            pay, states[k] = self._one(states[k], t, truth)
            out.append(t.reward + pay)
        return out

    def _one(self, s: Episode, t: Transition, truth: Mapping[str, Any]) -> tuple[float, Episode]:
        passed, gained = dict(s.passed), 0.0
        failed = self.on_tool_error != "ignore" and any(not c["ok"] for c in t.info.get(self.calls, ()))
        for i in self._open(s):
            if not truth.get(i.id) or (failed and i.focus != "assistant") or any(d not in passed for d in i.depends):
                continue
            waited = s.clock - max([s.start, *(passed[d] for d in i.depends)])
            gained += i.weight * self.eta**waited / s.turns
            passed[i.id] = s.clock
            self._stats["items passed"] += 1
        turn = t.info.get(self.turn, s.turn) if self.turn else s.clock + 1
        over = t.terminated or t.truncated
        due = self.emit == "step" or over or (self.emit == "turn" and turn != s.turn)
        owed = s.owed + gained
        after = s._replace(
            turn=turn,
            start=s.start if turn == s.turn else s.clock + 1,
            clock=s.clock + 1,
            passed=passed,
            owed=0.0 if due else owed,
            text=self._words(t.next_obs, t.info),
        )
        return owed if due else 0.0, after

    @staticmethod
    def _open(s: Episode) -> list[Item]:
        return [i for i in s.items if i.id not in s.passed and s.turn in (None, i.turn)]

    # -- who says what holds -----------------------------------------------------------------------
    def _truths(self, states: Sequence[Episode], ts: Sequence[Transition]) -> list[Mapping[str, Any]]:
        """Item to whether it holds after the step; empty where a judge has no answer."""
        if self._service is None:
            return [t.info[self.key] for t in ts]
        out: list[Mapping[str, Any]] = [{} for _ in ts]
        asked = {}
        for k, (s, t) in enumerate(zip(states, ts)):
            if (names := tuple(dict.fromkeys(i.question or i.id for i in self._open(s)))) and not t.info.get("invalid"):
                asked[k] = Question(names, s.task, s.text, self._did(t), self._said(t), self._words(t.next_obs, t.info))
        said = self._service.ask(list(asked.values())) if asked else []
        if self._service.trouble and not self._warned:
            self._warned = True
            warnings.warn(
                f"checklist: the judge fails, and nothing is ticked off: {self._service.trouble}", stacklevel=2
            )
        for k, answer in zip(asked, said):
            self._stats["no answer"] += answer is None
            if answer is not None:
                yes = {q for q, p in answer.items() if p >= self.threshold}
                out[k] = {i.id: (i.question or i.id) in yes for i in states[k].items}
        return out

    def _words(self, obs: Any, info: Mapping[str, Any]) -> str:
        """A state as a judge sees it: the observation where it is text, else the step's messages."""
        if self._service is None:
            return ""
        if isinstance(obs, str):
            return obs
        if "messages" not in info:
            raise MissingFact("checklist", "messages")
        return "\n".join(f"{m['role']}: {m.get('content', '')}" for m in info["messages"])

    @staticmethod
    def _did(t: Transition) -> str:
        if isinstance(t.action, str):
            return t.action
        said = (str(m["content"]) for m in t.info.get("messages", ()) if m["role"] == "assistant" and m.get("content"))
        return next(said, str(t.action))

    def _said(self, t: Transition) -> str:
        """The world's message and the results of the calls."""
        calls = (f"{c['name']}({c['arguments']}): {c['result']}" for c in t.info.get(self.calls, ()))
        return "\n".join([*filter(None, [str(t.info.get("message", ""))]), *calls])

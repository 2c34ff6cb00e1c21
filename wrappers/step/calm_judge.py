"""What a judge says about a transition, for ``SubgoalOptions``: views of a state, late answers, discovered sub-goals."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from ..scorers import Proposal, Query, Question, Service
from ..shaper import MissingFact, nearest
from ..types import Trajectory, Transition
from .calm_names import distinct

LAYER = "subgoal_options"
VIEWS = ("text", "message", "crop", "screen")  # observation conditions; the last two are CALM's
PENDING = 64  # transitions of an episode whose answers are waited for; the oldest are given up

View = Callable[[Any, dict[str, Any]], str]


class Seen(NamedTuple):
    """What the judge's side remembers of an episode."""

    names: tuple[str, ...]
    task: str
    text: str  # of the state before the next action
    pending: tuple[str, ...]  # handles of questions without an answer so far, oldest first


def words(obs: Any, info: dict[str, Any]) -> str:
    """The observation in words: itself where it is text, else what the user said last in ``info["messages"]``."""
    if isinstance(obs, str):
        return obs
    if "messages" not in info:
        raise MissingFact(LAYER, "messages")
    return next((str(m["content"]) for m in reversed(info["messages"]) if m["role"] == "user"), "")


def task_of(text: str) -> str:
    """What a first observation says of the task: the line ``Objective: ...`` or ``Task: ...`` if there is one, else all."""
    return next((x for x in text.split("\n") if x.startswith(("Objective: ", "Task: "))), text)


def _published(name: str) -> View:
    def view(obs: Any, info: dict[str, Any]) -> str:
        if name not in info:
            raise MissingFact(LAYER, name)
        return str(info[name])

    return view


def _nothing(obs: Any, info: dict[str, Any]) -> str:
    if "message" not in info:
        raise MissingFact(LAYER, "message")
    return ""


def view_of(view: Any, layer: str = LAYER) -> View:
    """The function that a view names; ``layer`` is who speaks in an error.

    Raises:
        ValueError: no such view.
    """
    if view == "text":
        return words
    if view == "message":
        return _nothing
    if view in VIEWS:
        return _published(view)
    if not callable(view):
        raise ValueError(
            f"{layer}: view is {view!r}; allowed: {', '.join(map(repr, VIEWS))} or a function of (obs, info)"
        )
    return view  # type: ignore[no-any-return]


def action_of(t: Transition) -> str:
    """The action in words: itself where it is text, else what the assistant said in ``info["messages"]``."""
    if isinstance(t.action, str):
        return t.action
    said = (str(m["content"]) for m in t.info.get("messages", ()) if m["role"] == "assistant")
    return next(said, str(t.action))


class Judged:
    """Asks a service about transitions, one batch for all streams of a step.

    Args:
        service: the judge.
        subgoals: names; ``"given"``: those of the environment; ``"discover"``: the judge proposes them from the task.
        view: see ``view_of``.
        task: text of the task; empty: what the first observation says of it, see ``task_of``.
        threshold: probability from which a sub-goal counts as reached.
        retro: an answer that comes late counts for a running episode, at the step at which it is there.
        stats: counts of the layer.
        layer: its name, for errors.
    """

    def __init__(
        self,
        service: Service,
        subgoals: tuple[str, ...] | str,
        view: View,
        task: str,
        threshold: float,
        retro: bool,
        stats: Counter[str],
        layer: str = LAYER,
    ) -> None:
        self.service, self.subgoals, self.view, self.task = service, subgoals, view, task
        self.threshold, self.stats, self.layer = threshold, stats, layer
        self.retro = retro and service.mode == "async"
        self._warned = False

    def begin(self, obs: Any, info: dict[str, Any], known: Iterable[str] = ()) -> Seen:
        """An episode begins; ``known`` are names that settings speak of."""
        task = self.task or task_of(words(obs, info))
        names = self._names(task, info)
        for name in known if self.subgoals != "discover" else ():
            if name not in names:
                raise ValueError(f"{self.layer}: weights names {name!r}, which is no sub-goal{nearest(name, names)}")
        return Seen(names, task, self.view(obs, info), ())

    def _names(self, task: str, info: dict[str, Any]) -> tuple[str, ...]:
        if isinstance(self.subgoals, tuple):
            return tuple(dict.fromkeys(self.subgoals))
        if self.subgoals == "given":
            told = info.get("meta", {}).get("subgoals")  # sentences, where the keys of the fact are none
            if told is None and "subgoals" not in info:
                raise MissingFact(LAYER, "subgoals")
            # two of an environment's may be one sentence, and a sentence is paid once
            return tuple(dict.fromkeys(told if told is not None else info["subgoals"]))
        (proposed,) = self._ask([Proposal(task)])
        if proposed is None:
            self.stats["no sub-goals proposed"] += 1
        return distinct(proposed or ())

    def _ask(self, queries: Sequence[Query]) -> list[Any]:
        """As the service; the first time that the judge fails it is said, later failures are only counted."""
        said = self.service.ask(queries)
        if self.service.trouble and not self._warned:
            self._warned = True
            warnings.warn(
                f"{self.layer}: the judge fails, and what it does not answer pays nothing: {self.service.trouble}",
                RuntimeWarning,
                stacklevel=2,
            )
        return said

    def truths(self, seen: Sequence[Seen], ts: Sequence[Transition]) -> list[tuple[Sequence[tuple[str, bool]], Seen]]:
        """What holds after each step, in the order of the names (empty where nothing does), and what to remember."""
        after = [self.view(t.next_obs, t.info) for t in ts]
        queries = [
            Question(s.names, s.task, s.text, action_of(t), str(t.info.get("message", "")), text)
            for s, t, text in zip(seen, ts, after)
        ]
        where = [i for i, (q, t) in enumerate(zip(queries, ts)) if q.subgoals and not t.info.get("invalid")]
        said: list[Any] = [{}] * len(queries)
        for i, answer in zip(where, self._ask([queries[i] for i in where]) if where else ()):
            said[i] = answer
        return [self._one(*row) for row in zip(seen, queries, said, after)]

    def _one(
        self, seen: Seen, q: Question, said: dict[str, float] | None, text: str
    ) -> tuple[Sequence[tuple[str, bool]], Seen]:
        pending = seen.pending
        held = {g for g, p in said.items() if p >= self.threshold} if said else set[str]()
        if pending:
            late = self.service.arrived(pending)
            pending = tuple(x for x in pending if x not in late)
            for answer in late.values():
                if answer is not None:
                    self.stats["late answers"] += 1
                    held |= {g for g, p in answer.items() if p >= self.threshold}
        if said is None:
            self.stats["no answer"] += 1
            if self.retro:
                pending = (*pending, self.service.handle(q))[-PENDING:]
        truth = [(g, g in held) for g in seen.names] if held else ()
        return truth, Seen(seen.names or self._late_names(seen.task), seen.task, text, pending)

    def _late_names(self, task: str) -> tuple[str, ...]:
        """Proposed sub-goals that have arrived since the reset."""
        if self.subgoals != "discover":
            return ()
        handle = self.service.handle(Proposal(task))
        return distinct(self.service.arrived([handle]).get(handle) or ())


def table_of(
    trajs: Sequence[Trajectory],
    judge: Judged,
    key: Callable[[Transition], str],
    count: Literal["any", "each"] = "any",
) -> dict[str, float]:
    """The authors' offline table: how often the judge found a sub-goal reached, by ``key`` of the transition.

    CALM (arXiv 2409.12798) counts the annotations of each (observation, action) over many episodes; give the result to
    ``SubgoalOptions(table=...)``. ``count``: a transition counts once, or once for each sub-goal that it reached.
    """
    counts: Counter[str] = Counter()
    for traj in trajs:
        seen = judge.begin(traj.obs[0], traj.infos[0])
        for t in traj:
            ((truth, seen),) = judge.truths([seen], [t])
            reached = sum(holds for _, holds in truth)
            counts[key(t)] += reached if count == "each" else min(reached, 1)
    return {k: float(v) for k, v in sorted(counts.items())}


def shares(counts: Mapping[str, float]) -> dict[str, float]:
    """``(c - c_min) / (c_max - c_min)`` of each count; equal ones, where the authors divide by 0, are 1 (0 if all are 0)."""
    low, high = min(counts.values(), default=0.0), max(counts.values(), default=0.0)
    return {k: (c - low) / (high - low) if high > low else float(c > 0) for k, c in counts.items()}

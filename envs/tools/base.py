"""What tool environments share: turns, tools, users, reward terms, reference traces, snapshots and forks."""

from __future__ import annotations

import copy
import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from ...sandboxes import SandboxError
from ..errors import InfraError, one_of, settings
from ..text.base import Split, TextEnv, whole
from ..text.spaces import Unicode
from . import calls
from .calls import Call, Turn
from .candidates import Seen, offers
from .spaces import Calls
from .tool import BadCall, Result, Toolbox, small

TERMS = ("format", "valid_call", "match", "items", "outcome")
_ordered = json.JSONEncoder(sort_keys=True, default=str).encode
SHOWN = 4000  # characters of a turn that is no call, in the messages
REPEATED, VALID, GOOD = 0.0, 0.5, 1.0  # process scores of a call


class Item(NamedTuple):
    """One item of a checklist, as CM2 (arXiv 2602.12268) has them; published in ``meta["checklist"]``."""

    id: str
    """Also its key in ``info["subgoals"]``."""
    weight: float
    """Weights of a turn's items sum to 1."""
    turn: int = 0
    """Of the user, from 0."""
    depends: tuple[str, ...] = ()
    """Items that must have been passed before."""
    focus: str = "tool_calls"
    """What it is about: ``assistant``, ``tool_calls`` or ``tool_content``."""
    required: bool = False
    """The next turn makes no sense without it."""
    question: str = ""
    """For a judge, answered by yes or no."""


class ToolEnv(TextEnv):
    """Base of the tool environments: an agent talks, calls tools and reads what they say.

    An action is a turn in any form that ``calls.parse`` reads: words for the user, or one or more tool calls. A wrong call is
    answered in the world with ``valid_action = False``. The observation is a text, ``Unicode(max_length)``: what tools and the
    user said since the agent's last turn; ``chat.Chat`` shows chat messages instead.

    A subclass writes ``_open(task)``, which sets ``tools``, ``state``, ``system`` (policy or instruction) and ``opening`` (the
    user's first words); ``_reply(words) -> (answer, over)`` for turns without calls; ``_won() -> bool``, asked once when the
    episode is over; and as far as it has them ``_trace() -> calls`` (the reference), ``_remaining() -> calls or words`` (the
    oracle's plan from here), ``_items()``, ``_checks() -> item -> passed now``, ``_after(calls, results) -> over``,
    ``_phrases()`` (words worth saying, for agents that choose), ``_keep() / _take(kept)`` (its own part of a snapshot) and
    ``_answer()``.

    Reward terms, each times its weight (``outcome`` 1, the others 0): ``format``, the turn is in a known form; ``valid_call``,
    share of the turn's calls that a tool took; ``match``, share of the reference's calls that were made for the first time, and
    with its arguments; ``items``, weight of checklist items that passed for the first time, over all turns; ``outcome``, 1.0 at
    the end of an episode that is won. ``process_score`` in the info is the mean over the turn's calls of 1.0 for one of the
    reference, 0.5 for another that is valid and new, 0.0 else; words have 0.5, and 1.0 where they pass an item.

    Args:
        weights: reward term -> weight.
        candidates: calls and phrases at most in ``admissible_actions``, made from the conversation alone; 0 for none.
        max_calls: calls in one turn at most; others are answered with an error.
        split, worlds, max_steps, expose_reference, max_length, render_mode: as ``TextEnv``.

    Raises:
        ValueError: a setting is not allowed; names it and what is.
    """

    name = "tools"
    reward_terms = TERMS
    shown = 4000  # characters of one result that the agent sees

    def __init__(
        self,
        *,
        weights: Mapping[str, float] | None = None,
        candidates: int = 0,
        max_calls: int = 16,
        split: Split = "train",
        worlds: int | None = None,
        max_steps: int = 30,
        expose_reference: bool = False,
        max_length: int = 16384,
        render_mode: str | None = None,
        **others: Any,
    ) -> None:
        for name in others:  # subclasses hand on what they do not take themselves
            raise one_of(f"a setting of {type(self).__name__}", name, settings(type(self)))
        super().__init__(
            split=split,
            worlds=worlds,
            max_steps=max_steps,
            expose_reference=expose_reference,
            max_length=max_length,
            render_mode=render_mode,
        )
        self.max_length = max_length
        self.weights = dict.fromkeys(TERMS, 0.0) | {"outcome": 1.0} | {k: float(v) for k, v in (weights or {}).items()}
        if unknown := set(self.weights) - set(TERMS):
            raise one_of("a reward term", unknown.pop(), TERMS)
        if not all(map(math.isfinite, self.weights.values())):
            raise ValueError(f"weights is {dict(weights or {})!r}; allowed: finite numbers")
        self.candidates = whole("candidates", candidates, 0, 1000)
        self.max_calls = whole("max_calls", max_calls, 1, 1000)
        self.tools = Toolbox(())
        self.state: Any = None
        self.system, self.opening = "", ""
        self.action_space = Calls()
        self._begin_episode()

    # -- what a subclass writes ------------------------------------------------------------------
    def _open(self, task: int) -> None:
        raise NotImplementedError

    def _reply(self, words: str) -> tuple[str, bool]:
        raise NotImplementedError

    def _won(self) -> bool:
        raise NotImplementedError

    def _trace(self) -> tuple[Call, ...]:
        return ()

    def _remaining(self) -> list[Call | str]:
        return []

    def _items(self) -> tuple[Item, ...]:
        return ()

    def _checks(self) -> dict[str, bool]:
        return {}

    def _after(self, made: tuple[Call, ...], results: tuple[Result, ...]) -> bool:
        return False

    def _phrases(self) -> tuple[str, ...]:
        return ()

    def _answer(self) -> Any:
        return None

    def _user_turn(self) -> int:
        """Which of the user's turns runs: of those that the checklist has, 0 where it has one."""
        return min(self._round, self._turns - 1)

    def _keep(self) -> Any:
        return None

    def _take(self, kept: Any) -> None:
        pass

    # -- an episode ------------------------------------------------------------------------------
    def _begin_episode(self) -> None:
        self._turn = Turn("")
        self._made: tuple[Call, ...] = ()
        self._results: tuple[Result, ...] = ()
        self._answered: str = ""  # by the user
        self._known: set[str] = set()  # calls that were valid before
        self._open_calls: Counter[str] = Counter()  # of the reference, not made yet
        self._trace_length = self._matched = 0
        self._passed: dict[str, bool] = {}
        self._weights: dict[str, float] = {}
        self._terms = dict.fromkeys(TERMS, 0.0)
        self._process = VALID
        self._round = 0  # replies of the user
        self._turns = 1
        self._ended = self._success = False
        self._seen = Seen()

    def _begin(self, task: int) -> None:
        self._begin_episode()
        with _Infrastructure():
            self._open(task)
            trace = self._trace()
            self._passed = dict(self._checks())
        self._open_calls, self._trace_length = Counter(self._key(c) for c in trace), len(trace)
        self._matched = 0
        items = self._items()
        self._turns = max((i.turn for i in items), default=0) + 1
        turns = len({i.turn for i in items})
        self._weights = {i.id: i.weight / turns for i in items}
        self._feedback = self.opening
        if self.candidates:
            self._seen = Seen().hear(self.system).hear(self.opening)

    def _key(self, call: Call) -> str:
        """By which calls are compared: the arguments as the tool takes them, in the order of their names."""
        try:
            arguments = self.tools.find(call)[1]
        except BadCall:
            arguments = call.arguments
        return call.name + _ordered(arguments)

    def _unmade(self) -> list[Call]:
        """Calls of the reference that were not made yet, in their order; of equal ones the last."""
        left, out = Counter(self._open_calls), list[Call]()
        for call in reversed(self._trace()):
            key = self._key(call)
            if left[key] > 0:
                left[key] -= 1
                out.insert(0, call)
        return out

    def _read(self, action: Any) -> Turn:
        return calls.parse(action)

    def _command(self, turn: Turn) -> bool:
        terms = dict.fromkeys(TERMS, 0.0)
        self._made = self._results = ()
        self._answered = ""
        before, process = self._matched, VALID
        self._turn = Turn(turn.content, (), turn.error)
        with _Infrastructure():
            if turn.error:
                valid, process, self._feedback = False, 0.0, f"Error: {turn.error}"
            elif turn.calls:
                valid, process, terms["valid_call"] = self._use(turn)
            else:
                self._answered, self._ended = self._reply(turn.content)
                self._feedback = self._answered
                valid = True
                self._round += self._answered != "" and not self._ended
                if self.candidates:
                    self._seen = self._seen.hear(self._answered)
            terms["format"] = float(bool(turn.calls or turn.content) and not turn.error)
            if self._trace_length:
                terms["match"] = (self._matched - before) / self._trace_length
            passed = self._new_items()
            terms["items"] = sum((self._weights.get(i, 0.0) for i in passed), 0.0)
            if passed and not turn.calls and not turn.error:
                process = GOOD
            if self._ended:
                self._success = bool(self._won())
        terms["outcome"] = float(self._success)
        self._terms = {t: terms[t] * self.weights[t] for t in TERMS}
        self._process = process
        return valid

    def _use(self, turn: Turn) -> tuple[bool, float, float]:
        """Makes the calls of a turn: all were fine, the process score, and the share of those that were fine."""
        made: list[Call] = []
        results: list[Result] = []
        scores = 0.0
        for call in turn.calls[: self.max_calls]:
            result = self.tools.use(self.state, call)
            results.append(result)
            made.append(Call(call.name, _copied(call.arguments, checked=result.arguments is not None)))
            if not result.ok:
                continue
            key = call.name + _ordered(result.arguments)
            if self._open_calls.get(key):
                self._open_calls[key] -= 1
                self._matched += 1
                scores += GOOD
            else:
                scores += REPEATED if key in self._known else VALID
            self._known.add(key)
        self._made, self._results = tuple(made), tuple(results)
        lines = [f"{c.name}: {_cut(r.text, self.shown)}" for c, r in zip(self._made, results)]
        left = len(turn.calls) - len(self._made)
        if left:
            lines.append(f"Error: {left} calls were not made: at most {self.max_calls} in a turn")
        self._feedback = "\n".join(lines)
        if self.candidates:
            for r in results:
                self._seen = self._seen.read(r.text)
        self._ended = self._after(self._made, self._results)
        fine = sum(r.ok for r in results)
        return fine == len(turn.calls), scores / len(turn.calls), fine / len(turn.calls)

    def _new_items(self) -> list[str]:
        """Notes items that pass for the first time; these."""
        if not self._weights:
            return []
        now = self._checks()
        new = [i for i, ok in now.items() if ok and not self._passed.get(i)]
        self._passed = {i: ok or self._passed.get(i, False) for i, ok in now.items()}
        return new

    # -- what is seen ----------------------------------------------------------------------------
    def _look(self) -> str:
        if self._steps:
            text = f"User: {self._answered}" if self._answered else self._feedback
        else:
            listed = "\n".join(f"- {_signature(t)}" for t in self.tools.values())
            parts = (
                self.system,
                f"Tools:\n{listed}" if listed else "",
                f"User: {self.opening}" if self.opening else "",
            )
            text = "\n\n".join(p for p in parts if p)
        return text if len(text) <= self.max_length else text[: self.max_length - 4] + " ..."

    def _chat(self, action: Any) -> tuple[dict[str, Any], ...]:
        if not self._steps:
            first = ({"role": "system", "content": self.system},) if self.system else ()
            return (*first, {"role": "user", "content": self.opening})
        turn, made = self._turn, tuple(Call(c.name, _copied(c.arguments, True)) for c in self._made)
        if turn.error:
            text = action if isinstance(action, str) else f"({type(action).__name__})"
            wrong = text[:SHOWN].encode(errors="replace").decode()  # no lone surrogates
            return {"role": "assistant", "content": wrong}, {"role": "user", "content": self._feedback}
        said = calls.dump(turn._replace(calls=made))
        told = tuple(
            {"role": "tool", "name": c.name, "content": _cut(r.text, self.shown)}
            for c, r in zip(self._made, self._results)
        )
        return (said, *told, {"role": "user", "content": self._answered}) if self._answered else (said, *told)

    def _facts(self) -> dict[str, Any]:
        checked = sum(self._weights[i] for i, ok in self._passed.items() if ok and i in self._weights)
        done = self._matched / self._trace_length if self._trace_length else 0.0
        progress = min(1.0, checked if self._weights else done)
        facts: dict[str, Any] = {
            "score": progress,
            "max_score": 1.0,
            "progress": 1.0 if self._success else progress,
            "success": self._success,
            "over": self._ended,
            "subgoals": dict(self._passed),
            "process_score": self._process,
            "turn": self._user_turn(),
            "reward_terms": dict(self._terms),
            "tool_calls": tuple(
                {
                    "name": c.name,
                    "arguments": _copied(c.arguments, True),
                    "ok": r.ok,
                    "result": _cut(r.text, self.shown),
                }
                for c, r in zip(self._made, self._results)
            ),
            "admissible_actions": self._listed() if self.candidates and not self._ended else (),
        }
        if self._ended or self._last:
            facts["answer"] = self._answer()
        return facts

    def _listed(self) -> tuple[str, ...]:
        """Turns for agents that choose: calls with values from the conversation, and phrases."""
        phrases = self._phrases()
        made = offers(self.tools.values(), self._seen, self.candidates - len(phrases))
        return (*phrases, *(c.text() for c in made))[: self.candidates]

    def _failed(self, action: Any, e: InfraError) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = super()._failed(action, e)
        info |= {"tool_calls": (), "process_score": 0.0, "turn": self._user_turn(), "answer": None}
        return obs, reward, terminated, truncated, info

    def _reference(self) -> tuple[Any, ...]:
        return tuple({"name": c.name, "arguments": copy.deepcopy(c.arguments)} for c in self._trace())

    def oracle(self) -> str:
        """See ``TextEnv.oracle``.

        Raises:
            RuntimeError: nothing is left to do, or there was no reset yet.
        """
        if self.task is None:
            raise RuntimeError("there is nothing to do yet: call reset() first")
        return super().oracle()

    def snapshot(self) -> dict[str, Any]:
        """See ``TextEnv.snapshot``.

        Raises:
            RuntimeError: there was no reset yet.
        """
        if self.task is None:
            raise RuntimeError("there is no state yet: call reset() first")
        return super().snapshot()

    def _plan(self) -> list[str]:
        return [step.text() if isinstance(step, Call) else step for step in self._remaining()]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """A new episode, see ``TextEnv.reset``; ``meta`` also has the ``checklist``, where the task has one."""
        obs, info = super().reset(seed=seed, options=options)
        if items := self._items():
            info["meta"]["checklist"] = tuple(i._asdict() for i in items)
        return obs, info

    # -- states ----------------------------------------------------------------------------------
    def _save(self) -> dict[str, Any]:
        kept = {k: getattr(self, k) for k in _KEPT}
        return kept | {"state": None if self.state is None else self.state.save(), "own": self._keep()}

    def _load(self, state: dict[str, Any]) -> None:
        assert self.task is not None
        with _Infrastructure():
            self._open(self.task)
            for k in _KEPT:
                setattr(self, k, state[k])
            if self.state is not None:
                self.state.load(state["state"])
            self._take(state["own"])

    def fork(self) -> ToolEnv:
        """An environment of its own in the same state; what one does does not reach the other.

        Raises:
            RuntimeError: there was no reset yet.
        """
        snapshot = self.snapshot()
        branch = copy.copy(self)
        branch.weights = dict(self.weights)
        branch.np_random = copy.deepcopy(self.np_random)
        branch.action_space, branch.observation_space = Calls(tuple(self.tools.values())), Unicode(self.max_length)
        branch.state = None if self.state is None else self.state.fork()
        branch.restore(snapshot)
        return branch


_KEPT = (
    "_turn", "_made", "_results", "_answered", "_known", "_open_calls", "_trace_length", "_matched", "_passed",
    "_weights", "_terms", "_process", "_round", "_turns", "_ended", "_success", "_seen", "_feedback",
)  # fmt: skip


class _Infrastructure:
    """What a sandbox failed at is the infrastructure's fault."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, SandboxError):
            raise InfraError(str(error)) from error


def _signature(tool: Any) -> str:
    """A tool as a line: name(argument: type, optional: type = ...): what it does."""
    needed = tool.parameters.get("required", ())
    parts = []
    for a, schema in tool.parameters.get("properties", {}).items():
        kind = "|".join(map(json.dumps, schema["enum"])) if schema.get("enum") else schema.get("type", "any")
        parts.append(f"{a}: {kind}" + ("" if a in needed else " = ..."))
    return f"{tool.name}({', '.join(parts)}): {tool.description}"


def _copied(arguments: dict[str, Any], checked: bool) -> dict[str, Any]:
    """For the infos: what the agent does to its call later is no business of theirs, and it may say the same object twice."""
    if not checked:
        try:
            small(arguments)
        except ValueError as e:
            return {"": str(e)}
    return {k: v if isinstance(v, (str, int, float)) else copy.deepcopy(v) for k, v in arguments.items()}


def _cut(text: str, most: int) -> str:
    """A long result without its end."""
    return text if len(text) <= most else f"{text[:most]} ... {len(text) - most} characters more"

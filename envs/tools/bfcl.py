"""The Berkeley Function Calling Leaderboard as an environment, from its own wheel."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from ..text.base import TEST, flag
from . import bfcl_apis, bfcl_data, bfcl_grade
from .base import Item
from .bfcl_data import Problem
from .calls import Call
from .slot_env import SlotEnv
from .slot_form import LEFT
from .tool import Arguments, Result, Tool

_AT_ONCE = 8  # calls that an agent that chooses can make in a turn; the most that a single-turn problem wants
_LOOKS = re.compile(r"get_|list_|view_|search|find|display|check_|ls$|pwd$")  # names of what looks things up
_DONE = "Done."
_NONE = "None of the functions can be used for this."


class BFCLEnv(SlotEnv):
    """Call functions for a user, graded as the Berkeley Function Calling Leaderboard grades.

    ## Description
    The problems of BFCL v4 (Patil et al., ICML 2025) from the installed wheel ``bfcl-eval``, which ``milepost setup bfcl``
    brings; its data, API classes and checkers are used where they are, none is copied. By default the 800 multi-turn problems:
    a user asks in one to eight turns, and the agent calls functions of one or two of eight stateful API classes (a file system,
    messages, tickets, trading, travel, a car, ...). Words without a call end the user's turn and bring the next question. At
    the end of each turn the leaderboard's two checks are made: the instances have the public attributes that the reference
    calls give, and the results so far hold those of the reference. A problem is won when every turn passes.

    With ``category`` also its single-turn problems: one step with calls, compared with the accepted answers by the
    leaderboard's syntax-tree checker. Names with dots are kept, or written with ``_`` (``underscores``), as the leaderboard
    does for models that take no dots. Arguments of Java's and JavaScript's functions are texts in those languages.

    As at the leaderboard: ``miss_func`` lists the missing functions in a later turn of their own, and runs them even before
    (one reference needs that); ``excluded_function`` takes nothing away; turns in which the reference makes no call are not
    checked; what a failing call changed stays; more than 20 steps with calls in one turn lose the problem; any call wins in
    ``live_relevance``.

    Otherwise than there: a malformed call is answered and does not end the turn; a result that is an ``error`` counts as a
    call that no tool took (the reference has none); calls within calls are refused, and so are arguments that would not end or
    that make a file system without end (huge powers, folders inside themselves); one result shows 12000 characters at most,
    which cuts 63 of the reference's 4,625 results, all in ``long_context`` (the checks see all of them); an empty answer wins
    no ``irrelevance`` problem, words do. Memory and web-search problems are not here: they need a network, or a model's own
    memory store.

    ## Observation Space
    ``Unicode(32768)``: at first instruction, functions and question; then results of calls, or the user's next question.

    ## Action Space
    ``Calls()``: words or calls in any form that ``envs.tools.calls`` reads, among them BFCL's ``[f(a=1), g(b=2)]``. Functions
    differ by problem: ``tools`` has those of the running one.

    ``milepost/BFCL-encoded-v0`` is for agents without words (``SlotRows``): a function, then its arguments one after another,
    and in single-turn problems further calls beside it. It plays the problems that its oracle wins so, with look-ups that the
    reference leaves out: 493 of 800 multi-turn ones (base 128, miss_func 126, miss_param 127, long_context 112 of 200 each),
    1,231 of 1,390 single-turn ones (240 of them irrelevant) and 1,884 of 2,251 live ones (884 irrelevant). The others want a
    text in other words, a number that no function gives, or a fact that nobody says (San Francisco is in CA); the 16 of
    ``live_relevance``, where any call wins, are not played either.

    ## Rewards
    Terms times ``weights`` (by default ``outcome`` alone): ``format``, ``valid_call``, ``match`` (reference calls made, exact
    arguments; of single-turn problems those of one accepted answer), ``items`` (turns that passed, of those that are
    checked), ``outcome``: 1.0 for a won problem.

    ## Episode End
    Terminates after the last turn, after the answer of a single-turn problem, or with the 21st step with calls in a turn;
    truncates after ``max_steps``.

    ## Information
    As all tool environments. ``subgoals``: ``turn_0`` ... for turns that are checked. ``answer``, at the end: for each turn
    "" or what the leaderboard calls its failure. ``meta["task"]``: the leaderboard's id.

    ## Arguments
    ``category``: a category of the leaderboard, or ``multi_turn``, ``single_turn``, ``live``, ``non_live``. ``underscores``.
    ``weights``, ``candidates``, ``max_calls``, ``split``, ``worlds``, ``max_steps``, ``expose_reference``, ``max_length``,
    ``render_mode`` as all tool environments. Split: problems with an even number in their category train, odd ones test; the
    four multi-turn variants of a scenario have the same number and so the same split.

    ## Sizes
    Multi-turn: 4 x 200, 1 to 8 turns, up to 35 reference calls. Single-turn: 1,390 (1,150 to answer, 240 irrelevant) and 2,251
    live ones. Six single-turn problems have no answer that the leaderboard's checker accepts (simple_java 36 and 65,
    live_simple 106 and 112, live_multiple 862 and 964): the oracle loses them.

    ## Sources
    bfcl-eval 2026.3.23, Apache 2.0 (Berkeley Function Calling Leaderboard, Patil et al. 2025).

    ## Version History
    * v0: first version.

    Raises:
        ValueError: bfcl-eval is not installed, or a setting is not allowed; says what is.
    """

    name = "bfcl"
    shown = 12000  # the leaderboard cuts nothing, and the files of long_context are long

    def __init__(
        self,
        category: str = "multi_turn",
        *,
        underscores: bool = False,
        max_calls: int = 64,
        max_steps: int = 180,
        max_length: int = 32768,
        **settings: Any,
    ) -> None:
        super().__init__(max_calls=max_calls, max_steps=max_steps, max_length=max_length, **settings)
        self.category, self.underscores = category, flag("underscores", underscores)
        odd = int(self.split == "test")
        every = [p for c in bfcl_data.categories(category) for p in bfcl_data.problems(c) if p.number % 2 == odd]
        self._problems = every[: self.worlds or len(every)]
        self._start(self._problems[0])

    # -- tasks -----------------------------------------------------------------------------------
    def tasks(self) -> range:
        """The tasks of this split."""
        first = TEST if self.split == "test" else 0
        return range(first, first + len(self._problems))

    def problem(self, task: int | None = None) -> Problem:
        """The problem of a task, of the running one by default.

        Raises:
            RuntimeError: none is running.
        """
        number = self.task if task is None else task
        if number is None:
            raise RuntimeError("there is no problem yet: call reset() first")
        return self._problems[number - self.tasks().start]

    def _title(self, task: int) -> str:
        return self.problem(task).id

    def _open(self, task: int) -> None:
        self._start(self.problem(task))

    def _start(self, problem: Problem) -> None:
        from bfcl_eval.constants.default_prompts import PROMPT_STYLE_TEMPLATES

        said = PROMPT_STYLE_TEMPLATES["classic"]
        self._multi = problem.category in bfcl_data.MULTI
        self._at = self._steps_in_turn = 0
        self._done: tuple[str, ...] = ()
        self._verdicts: tuple[str, ...] = ()
        self._forced = False
        self._questions = problem.entry["question"]
        messages = self._questions[0]
        self.system = f"{said['persona']} {said['task']}"
        if self._multi:
            self.system += f"\n\n{said['multiturn_behavior']}"
            self._truth = bfcl_apis.truth(problem)
            self._every = bfcl_apis.tools(problem)
            self._missing = {int(t): tuple(n) for t, n in problem.entry.get("missed_function", {}).items()}
            self.state = bfcl_apis.start(problem)
            self._reference_calls = tuple(c for turn in self._truth.calls for c in turn)
        else:
            told = [m["content"] for m in messages if m["role"] == "system"]
            self.system = "\n\n".join((self.system, *told))
            tools = (self._single_tool(f, problem.category) for f in problem.entry["function"])
            self._every, self._missing, self.state = {t.name: t for t in tools}, {}, None
            self._reference_calls = bfcl_grade.answer(problem, self._every, self.underscores)
        said_before = [m for m in messages if m["role"] != "system"]
        only = len(said_before) == 1
        self.opening = "\n".join(m["content"] if only else f"{m['role']}: {m['content']}" for m in said_before)
        self._offer()

    def _single_tool(self, function: dict[str, Any], category: str) -> Tool:
        name = function["name"].replace(".", "_") if self.underscores else function["name"]
        return Tool.of_schema(name, *bfcl_data.shown(function, category), run=_noted, writes=False)

    def _offer(self) -> None:
        """The tools of this turn: new ones come behind the others."""
        late = {n: turn for turn, names in self._missing.items() for n in names}
        names = [n for n in self._every if n not in late] + [n for n, turn in late.items() if turn <= self._at]
        hidden = [self._every[n] for n, turn in late.items() if turn > self._at]
        self.tools = bfcl_apis.Offered((self._every[n] for n in names), hidden)

    # -- an episode ------------------------------------------------------------------------------
    def _after(self, made: tuple[Call, ...], results: tuple[Result, ...]) -> bool:
        taken = [c if r.arguments is None else Call(c.name, r.arguments) for c, r in zip(made, results)]
        if not self._multi:
            self._verdicts = (bfcl_grade.single(self.problem(), taken, self.underscores),)
            return True
        self._done += tuple(map(_told, taken))
        self._steps_in_turn += 1
        self._forced = self._steps_in_turn > bfcl_grade.LIMIT
        return self._forced

    def _reply(self, words: str) -> tuple[str, bool]:
        if not self._multi:
            fine = words if "irrelevance" in self.problem().category else ""
            self._verdicts = ("" if fine else "no_answer",)
            return "", True
        self._verdicts += (bfcl_grade.turn(self.state, self._truth, self._at, bool(self._done)),)
        self._at, self._steps_in_turn, self._done = self._at + 1, 0, ()
        if self._at == len(self._questions):
            return "", True
        self._offer()
        return self._question(), False

    def _question(self) -> str:
        from bfcl_eval.constants.default_prompts import DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_FC as more

        if new := self._missing.get(self._at):
            listed = "\n".join(json.dumps(self.tools[n].schema()["function"], ensure_ascii=False) for n in new)
            return f"{listed}\n{more}"
        return "\n".join(str(m["content"]) for m in self._questions[self._at])

    def _won(self) -> bool:
        wanted = len(self._questions) if self._multi else 1
        return not self._forced and len(self._verdicts) == wanted and not any(self._verdicts)

    def _trace(self) -> tuple[Call, ...]:
        return self._reference_calls

    def _items(self) -> tuple[Item, ...]:
        if not self._multi:
            return ()
        return tuple(Item(f"turn_{t}", 1.0, t) for t, made in enumerate(self._truth.calls) if made)

    def _checks(self) -> dict[str, bool]:
        return {i.id: i.turn < len(self._verdicts) and not self._verdicts[i.turn] for i in self._items()}

    def _remaining(self) -> list[Call | str]:
        if self._ended:
            return []
        if not self._multi:
            return [_text(self._reference_calls)] if self._reference_calls else [_NONE]
        plan: list[Call | str] = []
        for t in range(self._at, len(self._questions)):
            left, room = list(self._truth.calls[t]), bfcl_grade.LIMIT
            if t == self._at:
                room = max(1, room - self._steps_in_turn)
                for key in self._done:
                    if left and key == _told(left[0]):
                        left.pop(0)
            size = max(1, math.ceil(len(left) / room))
            parts = [left[i : i + size] for i in range(0, len(left), size)]
            plan += [p[0] if len(p) == 1 else _text(p) for p in parts]
            plan.append(_DONE)
        return plan

    def _at_once(self) -> int:
        return 1 if self._multi else _AT_ONCE

    def _ways(self, call: Call, argument: str) -> list[Any]:
        """What the leaderboard accepts: of a single-turn problem one of several values."""
        if self._multi or not self.problem().truth:
            return super()._ways(call, argument)
        given = bfcl_grade.values(self.problem(), self.problem().truth[self._reference_calls.index(call)])
        return [LEFT if v is ... else v for v in given.get(argument, [...])]

    def _plainly(self, value: Any) -> Any:
        return bfcl_grade.plain(value) if isinstance(value, str) and not self._multi else value

    def _looks(self) -> tuple[str, ...]:
        return tuple(n for n in self.tools if _LOOKS.match(n)) if self._multi else ()

    def _peek(self, call: Call) -> str | None:
        before = self.state.fork()
        result = self.tools.use(self.state, call)
        same = bfcl_grade.same(self.state, before)
        self.state.adopt(before)
        return result.text if same and result.ok else None

    def _phrases(self) -> tuple[str, ...]:
        return (_DONE,) if self._multi else (_NONE,)

    def _answer(self) -> tuple[str, ...]:
        return self._verdicts

    def _keep(self) -> tuple[Any, ...]:
        return self._at, self._steps_in_turn, self._done, self._verdicts, self._forced

    def _take(self, kept: tuple[Any, ...]) -> None:
        self._at, self._steps_in_turn, self._done, self._verdicts, self._forced = kept
        self._offer()


def _told(call: Call) -> str:
    """By which calls are told apart: 1 is 1.0."""
    return call.name + json.dumps(_numbers(call.arguments), sort_keys=True, default=str)


def _numbers(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_numbers(v) for v in value]
    if isinstance(value, dict):
        return {k: _numbers(v) for k, v in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _noted(state: Any, arguments: Arguments) -> str:
    """Functions of single-turn problems do nothing."""
    return "noted"


def _text(made: Any) -> str:
    """Several calls as one turn."""
    return json.dumps([{"name": c.name, "arguments": c.arguments} for c in made], ensure_ascii=False)

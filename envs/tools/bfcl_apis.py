"""The API classes of BFCL's multi-turn problems: instances of an episode, their tools, and what the reference calls give."""

from __future__ import annotations

import contextlib
import copy
import decimal
import functools
import importlib
import inspect
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from . import bfcl_data, calls
from .bfcl_data import Problem
from .calls import Call
from .tool import Arguments, Tool, Toolbox, ToolFailed

FOLDERS, DEEP, ROOM = 30, 20000, 2**22  # of a file system: height, entries, characters
BITS, DIGITS = 4096, 1000  # of a number; of a result
_WRITES = ("mkdir", "touch", "mv", "cp", "echo")


class Apis:
    """Instances of API classes with the texts that their calls gave, as state of a tool environment.

    What a failing call changed stays, as at the leaderboard: ``mark`` and ``undo`` do nothing.

    Args:
        apis: class name -> instance.
        results: texts of all calls so far.
    """

    def __init__(self, apis: dict[str, Any], results: tuple[str, ...] = ()) -> None:
        self.apis, self.results = apis, list(results)

    def save(self) -> tuple[dict[str, Any], tuple[str, ...]]:
        """A copy of the instances, and the results."""
        return copy.deepcopy(self.apis), tuple(self.results)

    def load(self, saved: tuple[dict[str, Any], tuple[str, ...]]) -> None:
        """A copy of what was saved becomes the state."""
        self.apis, self.results = copy.deepcopy(saved[0]), list(saved[1])

    def fork(self) -> Apis:
        """A state of its own with the same value."""
        return Apis(*self.save())

    def adopt(self, branch: Apis) -> None:
        """Becomes what a fork is, which is not used any more."""
        self.apis, self.results = branch.apis, branch.results

    def mark(self) -> None:
        """Nothing: nothing is taken back."""

    def undo(self, mark: None) -> None:
        """Nothing: what a failing call changed stays."""

    def keep(self, mark: None) -> None:
        """The changes stay."""


class Offered(Toolbox):
    """Tools that are listed, and others that can be called all the same, as the leaderboard runs them.

    Args:
        tools: listed.
        hidden: not listed.
    """

    def __init__(self, tools: Iterable[Tool], hidden: Iterable[Tool]) -> None:
        super().__init__(tools)
        self._hidden = Toolbox(hidden)

    def find(self, call: Call) -> tuple[Tool, Arguments]:
        """The tool of a call and the arguments for it.

        Raises:
            BadCall: there is no such tool, or the arguments do not fit; names no tool that is not listed.
        """
        return self._hidden.find(call) if call.name in self._hidden else super().find(call)


class Truth(NamedTuple):
    """What the reference calls of a problem give, by turn."""

    calls: tuple[tuple[Call, ...], ...]
    results: tuple[tuple[str, ...], ...]
    states: tuple[dict[str, Any], ...]
    """Class name -> instance, at the end of the turn; for reading only."""


def start(problem: Problem) -> Apis:
    """A new state of a problem."""
    return Apis(copy.deepcopy(_loaded(problem.category, problem.number)))


@functools.lru_cache(1024)
def _loaded(category: str, number: int) -> dict[str, Any]:
    """Instances with the problem's configuration. They are copied for each episode: some share the module's own lists."""
    from bfcl_eval.constants.executable_backend_config import CLASS_FILE_PATH_MAPPING, STATELESS_CLASSES

    entry, apis = bfcl_data.problems(category)[number].entry, {}
    for name in entry["involved_classes"]:
        api = getattr(importlib.import_module(CLASS_FILE_PATH_MAPPING[name]), name)()
        if name not in STATELESS_CLASSES:
            config = copy.deepcopy(entry["initial_config"].get(name, {}))
            api._load_scenario(config, long_context="long_context" in category)
        apis[name] = api
    return apis


def tools(problem: Problem) -> dict[str, Tool]:
    """All tools of a problem by name, in the leaderboard's order."""
    return {t.name: t for name in problem.entry["involved_classes"] for t in _of_class(name)}


@functools.cache
def _of_class(owner: str) -> tuple[Tool, ...]:
    return tuple(_tool(owner, f) for f in bfcl_data.of_class(owner))


def _tool(owner: str, function: dict[str, Any]) -> Tool:
    name = function["name"]
    about, schema = bfcl_data.shown(function, "multi_turn")

    def check(arguments: Arguments) -> Arguments:
        _bounded(arguments)
        if owner == "MathAPI":
            _computable(name, arguments)
        return arguments

    def run(state: Apis, arguments: Arguments) -> str:
        api = state.apis[owner]
        # some keep what they get and change it later: also their own defaults, which would reach the next episode
        arguments = copy.deepcopy(_defaults(api.__class__, name) | arguments)
        try:
            if owner == "GorillaFileSystem" and name in _WRITES:
                _room(api, arguments)
            with _context() if owner == "MathAPI" else contextlib.nullcontext():
                value = _steady(getattr(api, name)(**arguments))
                text = _text(value)
        except Exception as e:  # the leaderboard shows all of them to the agent
            state.results.append(f"Error during execution: {e}")
            raise ToolFailed(str(e)) from None
        state.results.append(text)
        if _refused(value):
            raise ToolFailed(text)
        return text

    return Tool(name, about, schema, run, check)


@functools.cache
def _defaults(owner: type, name: str) -> dict[str, Any]:
    """Default values of a method that can be changed."""
    given = inspect.signature(getattr(owner, name)).parameters.values()
    return {p.name: p.default for p in given if isinstance(p.default, (list, dict, set))}


def _refused(value: Any) -> bool:
    """A result says that the call was in vain; no reference call has such a one."""
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, dict) and "error" in first


def _steady(value: Any) -> Any:
    """The one result that lists a set, in the order of the names: others would follow the process's seed of hashes."""
    start = "Invalid fields for update: "
    if isinstance(value, dict) and str(value.get("error", "")).startswith(start):
        return {"error": start + ", ".join(sorted(value["error"].removeprefix(start).split(", ")))}
    return value


def _text(value: Any) -> str:
    """A result as the leaderboard compares and shows it."""
    if type(value) is str:
        return value
    if type(value) is dict:
        try:
            return json.dumps(value)
        except (TypeError, ValueError, RecursionError):
            pass
    return str(value)


@contextlib.contextmanager
def _context() -> Iterator[None]:
    """The API's arithmetic sets the precision of the whole process; ours comes back."""
    import mpmath

    with decimal.localcontext(), mpmath.workprec(mpmath.mp.prec):
        yield


# -- what the leaderboard does not bound -------------------------------------------------------------
def _bounded(arguments: Arguments) -> None:
    """Refuses numbers that no honest call has."""
    todo: list[Any] = [arguments]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            todo += value.values()
        elif isinstance(value, (list, tuple)):
            todo += value
        elif isinstance(value, int) and value.bit_length() > BITS:
            raise ValueError(f"a number has more than {BITS} bits")


def _computable(name: str, arguments: Arguments) -> None:
    for a in ("precision", "decimal_places"):
        value = arguments.get(a, 0)
        if isinstance(value, (int, float)) and abs(value) > DIGITS:
            raise ValueError(f"{a}: at most {DIGITS}")
    if name == "logarithm" and any(isinstance(arguments.get(a), str) for a in ("value", "base")):
        raise ValueError("value and base are numbers")
    base, exponent = arguments.get("base"), arguments.get("exponent")
    if name == "power" and isinstance(base, int) and isinstance(exponent, int):
        if base.bit_length() * abs(exponent) > 16 * BITS:
            raise ValueError(f"the power has more than {16 * BITS} bits")


def _room(api: Any, arguments: Arguments) -> None:
    """Refuses what makes a file system that cannot be walked: too high, too large, or a folder inside itself.

    Raises:
        OSError: it does.
    """
    source = arguments.get("source")
    if source is not None and source in (".", arguments.get("destination")):
        raise OSError(f"cannot move or copy {source!r} onto itself")
    entries, characters, todo = 0, 0, [(api.root, 0)]
    while todo:
        item, high = todo.pop()
        entries += 1
        for child in item.contents.values():
            if hasattr(child, "contents"):
                todo.append((child, high + 1))
            else:
                entries += 1
                characters += len(child.content) if isinstance(child.content, str) else 0
        if high > FOLDERS or entries > DEEP or characters > ROOM:
            raise OSError("no space left on device")


# -- the reference -----------------------------------------------------------------------------------
@functools.lru_cache(1024)
def _truth(category: str, number: int) -> Truth:
    problem = bfcl_data.problems(category)[number]
    state, box = start(problem), Toolbox(tools(problem).values())
    made, results, states = [], [], []
    for turn in problem.truth:
        parsed = [c for text in turn for c in calls.parse(text).calls]
        named = tuple(Call(c.name, json.loads(json.dumps(box.find(c)[1]))) for c in parsed)
        before = len(state.results)
        for call in named:
            box.use(state, call)
        made.append(named)
        results.append(tuple(state.results[before:]))
        states.append(copy.deepcopy(state.apis) if turn else {})
    return Truth(tuple(made), tuple(results), tuple(states))


def truth(problem: Problem) -> Truth:
    """The reference calls, with named arguments, and what they give; kept for problems asked for lately."""
    return _truth(problem.category, problem.number)

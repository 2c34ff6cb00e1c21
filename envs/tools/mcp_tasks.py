"""Task files of ``milepost/MCP-v0``: which server, which tasks, how they are graded."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import one_of
from .base import Item
from .calls import Call

KINDS = ("exact", "contains", "number")
WORDY = 400  # characters that an answer may have which is looked for in it: else one could say everything
FOCUS = ("assistant", "tool_calls", "tool_content")
FIGURES = 8  # words with digits in it, where the one that is looked for has some
_HEAD = ("system", "command", "url", "env", "reset", "stateless", "hidden", "tasks")
_TASK = ("id", "question", "system", "split", "setup", "reference", "answer", "state", "checklist")
_ITEM = ("id", "weight", "question", "depends", "focus", "required", "state", "called")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


class Need(NamedTuple):
    """A call of a grader, and what its result must be."""

    call: Call
    value: Any
    part: bool
    """The value must be in the result, fields of an object or of one in a list; else both must be equal."""

    def holds(self, fine: bool, text: str) -> bool:
        """Is it so, as the server answered?"""
        found = _value(text)
        if not fine:
            return False
        if not self.part:
            return _same(found, self.value)
        return any(_within(self.value, x) for x in (found if isinstance(found, list) else [found]))


class Answer(NamedTuple):
    """What the agent's last words must say."""

    kind: str
    value: Any
    tolerance: float = 1e-6

    def fits(self, said: str) -> bool:
        """Is it right? Numbers: the last one in the text."""
        if self.kind == "exact":
            return bool(_plain(said)) and _plain(said) == _plain(str(self.value))
        if self.kind == "contains":
            wanted, words = _plain(str(self.value)), _plain(said)
            own = _figures(wanted)
            listed = own > 0 and _figures(words) > max(own, FIGURES)
            return len(said) <= WORDY and not listed and f" {wanted} " in f" {words} "
        found = _NUMBER.findall(said)
        return bool(found) and abs(float(found[-1].replace(",", "")) - self.value) <= self.tolerance * max(
            1.0, abs(self.value)
        )

    def words(self) -> str:
        """What an agent may say that knows it."""
        return str(self.value)


class Task(NamedTuple):
    """One task of a file."""

    id: str
    question: str
    system: str
    held_out: bool | None
    """Of the test split; None: the file says nothing of splits."""
    setup: tuple[Call, ...]
    reference: tuple[Call, ...]
    answer: Answer | None
    state: tuple[Need, ...]
    items: tuple[Item, ...]
    passes: Mapping[str, tuple[Need, ...] | Call]
    """What makes an item pass: the state, or a call with at least these arguments."""

    def asked(self) -> tuple[Call, ...]:
        """What the grader calls at the server, or wants called."""
        needs = [*self.state]
        wanted = []
        for what in self.passes.values():
            if isinstance(what, Call):
                wanted.append(what)
            else:
                needs += what
        return (*wanted, *(n.call for n in needs))


class TaskFile(NamedTuple):
    """A task file."""

    command: tuple[str, ...]
    """Of the server; ``{here}`` stands for the file's folder. Empty: there is a ``url``, or it is our own server."""
    url: str
    env: Mapping[str, str]
    reset: str
    """The tool that puts the server to its start; "": a fresh process does."""
    stateless: bool
    """Nothing that is called changes anything: no reset is needed."""
    hidden: tuple[str, ...]
    """Tools that the agent does not see, beside ``reset``."""
    tasks: tuple[Task, ...]


def load(path: str | Path) -> TaskFile:
    """Reads a task file: a JSON object with ``tasks``, or JSONL whose first line is that object without them.

    Raises:
        ValueError: it cannot be read, or is none; names the place, what is wrong and what is allowed.
    """
    place = Path(path)
    try:
        text = place.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise ValueError(f"path is {str(path)!r}, which cannot be read: {e}") from None
    try:
        if place.suffix == ".jsonl":
            lines = [json.loads(line) for line in text.splitlines() if line.strip()]
            head, rows = (lines[0], lines[1:]) if lines else ({}, [])
        else:
            head = json.loads(text)
            rows = head.get("tasks", []) if isinstance(head, dict) else []
        json.dumps([head, rows], allow_nan=False, ensure_ascii=False).encode()  # no NaN, no 1e999, no half character
    except (ValueError, RecursionError) as e:
        raise ValueError(f"{place}: it is no JSON: {e}") from None
    try:
        return _file(head, rows, place.parent.resolve())
    except ValueError as e:
        raise ValueError(f"{place}: {e}") from None


def _file(head: Any, rows: Any, here: Path) -> TaskFile:
    _fields(head, _HEAD, "the file")
    if not isinstance(rows, list) or not rows:
        raise ValueError("tasks is empty or no list; allowed: a list of at least one task")
    command, url, env = head.get("command", []), head.get("url", ""), head.get("env", {})
    if not _texts(command) or not isinstance(url, str) or (command and url):
        raise ValueError("command and url; allowed: a list of texts, or a text, or neither for our own server")
    proper = isinstance(env, dict) and _texts(list(env.values())) and "\0" not in "".join((*env, *env.values()))
    if not proper or "=" in "".join(env) or (env and not command):
        # a variable can make a program run another (LD_PRELOAD): no server of ours gets one from a file
        raise ValueError(f"env is {env!r}; allowed: names of variables with texts, for a command")
    hidden, reset, stateless = head.get("hidden", []), head.get("reset", ""), head.get("stateless", False)
    if not _texts(hidden) or not isinstance(reset, str) or not isinstance(stateless, bool):
        raise ValueError("hidden, reset and stateless; allowed: a list of tools, a tool, true or false")
    if url and not reset and not stateless:
        raise ValueError("a url needs reset, the tool that puts the server to its start, or stateless: true")
    if not command and not url:
        reset = "reset"
    system = head.get("system", "")
    tasks = tuple(_task(row, f"task {i}", system) for i, row in enumerate(rows))
    names = [t.id for t in tasks]
    if len(set(names)) < len(names):
        raise ValueError(f"two tasks have the id {next(n for n in names if names.count(n) > 1)!r}")
    command = tuple(w.replace("{here}", str(here)) for w in command)
    return TaskFile(command, url, env, reset, stateless, tuple(hidden), tasks)


def _task(row: Any, where: str, system: Any) -> Task:
    _fields(row, _TASK, where)
    name, question, system = row.get("id", where.replace(" ", "-")), row.get("question"), row.get("system", system)
    if not isinstance(name, str) or not isinstance(question, str) or not question or not isinstance(system, str):
        raise ValueError(f"{where}: id, question and system are texts, and the question is not empty")
    where = f"task {name!r}"
    split = row.get("split")
    if split not in (None, "train", "test"):
        raise one_of(f"{where}: split", split, ("train", "test"))
    answer = None if row.get("answer") is None else _answer(row["answer"], where)
    state = tuple(_need(n, where) for n in _list(row, "state", where))
    items: list[Item] = []
    passes: dict[str, tuple[Need, ...] | Call] = {}
    for n, item in enumerate(_list(row, "checklist", where)):
        _fields(item, _ITEM, f"{where}: item {n}")
        about = {k: v for k, v in item.items() if k not in ("state", "called", "depends")}
        if not isinstance(item.get("id"), str) or item["id"] in passes or ("state" in item) == ("called" in item):
            raise ValueError(f"{where}: item {n} needs an id of its own, and either state or called")
        made = Item(**{"weight": 1.0, "depends": tuple(_list(item, "depends", where)), **about})
        if not _number(made.weight) or made.weight < 0 or not all(d in passes for d in made.depends):
            raise ValueError(
                f"{where}: item {made.id!r}: weight and depends; allowed: a number from 0, items before it"
            )
        if not isinstance(made.question, str) or made.focus not in FOCUS or not isinstance(made.required, bool):
            raise ValueError(
                f"{where}: item {made.id!r}: question, focus and required; allowed: a text, one of {', '.join(FOCUS)}, "
                "true or false"
            )
        items.append(made)
        if "called" in item:
            passes[item["id"]] = _call(item["called"], where)
        else:
            passes[item["id"]] = tuple(_need(x, where) for x in _list(item, "state", where))
    if answer is None and not state and not items:
        raise ValueError(f"{where} cannot be graded; allowed: answer, state, checklist")
    total = sum(i.weight for i in items)
    if items and not total > 0:
        raise ValueError(f"{where}: no item of the checklist has a weight above 0")
    items = [i._replace(weight=i.weight / total) for i in items]
    calls = [tuple(_call(c, where) for c in _list(row, k, where)) for k in ("setup", "reference")]
    held_out = None if split is None else split == "test"
    return Task(name, question, system, held_out, calls[0], calls[1], answer, state, tuple(items), passes)


def _answer(given: Any, where: str) -> Answer:
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        given = {"number": given}
    elif isinstance(given, str):
        given = {"exact": given}
    kinds = [k for k in KINDS if isinstance(given, dict) and k in given]
    if not isinstance(given, dict) or len(kinds) != 1 or set(given) - {*KINDS, "tolerance"}:
        raise ValueError(f"{where}: answer is {given!r:.80}; allowed: one of {', '.join(KINDS)}, and tolerance")
    value, tolerance = given[kinds[0]], given.get("tolerance", 1e-6)
    if (kinds[0] == "number" and not _number(value)) or not _number(tolerance) or tolerance < 0:
        raise ValueError(f"{where}: answer is {given!r:.80}; allowed: a number, and a number from 0 as tolerance")
    if kinds[0] != "number" and (not isinstance(value, (str, int, float)) or not _plain(str(value))):
        raise ValueError(f"{where}: answer is {given!r:.80}; allowed: a text with a letter or digit")
    if kinds[0] == "contains" and len(str(value)) > WORDY:
        raise ValueError(f"{where}: answer is {given!r:.80}; allowed: at most {WORDY} characters to be looked for")
    return Answer(kinds[0], float(value) if kinds[0] == "number" and not isinstance(value, int) else value, tolerance)


def _need(given: Any, where: str) -> Need:
    _fields(given, ("name", "arguments", "result", "has"), f"{where}: state")
    if ("result" in given) == ("has" in given):
        raise ValueError(f"{where}: a call of state needs either result or has")
    part = "has" in given
    return Need(_call({k: v for k, v in given.items() if k in ("name", "arguments")}, where),
                given["has" if part else "result"], part)  # fmt: skip


def _call(given: Any, where: str) -> Call:
    _fields(given, ("name", "arguments"), f"{where}: a call")
    name, arguments = given.get("name"), given.get("arguments", {})
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise ValueError(f'{where}: a call is {{"name": text, "arguments": object}}, not {given!r:.80}')
    return Call(name, arguments)


def _list(row: Mapping[str, Any], key: str, where: str) -> list[Any]:
    found = row.get(key) or []
    if not isinstance(found, list):
        raise ValueError(f"{where}: {key} is no list")
    return found


def _fields(given: Any, allowed: Sequence[str], where: str) -> None:
    if not isinstance(given, dict):
        raise ValueError(f"{where} is no object; allowed: one with {', '.join(allowed)}")
    for k in given:
        if k not in allowed:
            raise one_of(f"{where}: a field", k, allowed)


def _number(given: Any) -> bool:
    """A number that a float can hold."""
    return isinstance(given, (int, float)) and not isinstance(given, bool) and abs(given) <= sys.float_info.max


def _texts(given: Any) -> bool:
    return isinstance(given, list) and all(isinstance(x, str) for x in given)


def _plain(text: str) -> str:
    """Lower-case words, without punctuation but within numbers and times."""
    return " ".join(w.strip(".,:-'") for w in re.findall(r"[\w.,:'\-]+", text.lower()) if w.strip(".,:-'"))


def _figures(plain: str) -> int:
    """Different words with a digit."""
    return sum(any(c.isdigit() for c in w) for w in set(plain.split()))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _same(a: Any, b: Any) -> bool:
    """JSON equality: true is not 1; a text may stand for the JSON that it is."""
    if isinstance(b, str) and not isinstance(a, str):
        b = _value(b)
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True) or (
        isinstance(a, (int, float))
        and isinstance(b, (int, float))
        and bool(a == b)
        and type(a) is not bool is not type(b)
    )


def _within(part: Any, whole: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(k in whole and _within(v, whole[k]) for k, v in part.items())
    return _same(whole, part)

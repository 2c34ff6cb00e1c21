"""Tools: typed Python functions, checked by pydantic, and what else has a JSON schema and can be called."""

from __future__ import annotations

import ctypes
import difflib
import inspect
import itertools
import json
import math
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, get_type_hints

from ...sandboxes import SandboxError
from ..errors import InfraError
from .calls import POSITIONAL, Call, Loose, Word, is_text

LONGEST = 2**16  # characters and items of all arguments of a call
DEEPEST, BITS = 50, 4096  # arrays within arrays; of a whole number
Arguments = dict[str, Any]


class BadCall(Exception):
    """A call that no tool takes; the agent is told why."""


class ToolFailed(Exception):
    """A tool could not do what was asked; what it says is shown to the agent. Any other exception is shown too, by its name."""


class Result(NamedTuple):
    """What came of a call."""

    ok: bool
    text: str
    """For the agent."""
    arguments: Arguments | None = None
    """As the tool took them; None where no tool did."""


class Tool:
    """One tool.

    Args:
        name: by which it is called.
        description: what it does.
        parameters: JSON schema of its arguments, an object.
        run: ``run(state, arguments) -> value``; a value that is no text is shown as JSON.
        check: arguments as they are given to those that ``run`` takes; raises ``ValueError``, whose text is shown.
        writes: it changes the state.
        timeout: seconds after which it is cut off; None: it is trusted to end.
    """

    __slots__ = ("_order", "check", "description", "name", "parameters", "run", "timeout", "writes")

    def __init__(
        self,
        name: str,
        description: str,
        parameters: Mapping[str, Any],
        run: Callable[[Any, Arguments], Any],
        check: Callable[[Arguments], Arguments],
        *,
        writes: bool = True,
        timeout: float | None = None,
    ) -> None:
        self.name, self.description, self.parameters = name, description, dict(parameters)
        self.run, self.check, self.writes, self.timeout = run, check, writes, timeout
        self._order = tuple(self.parameters.get("properties", {}))

    @classmethod
    def of(
        cls, function: Callable[..., Any], *, name: str = "", writes: bool = True, timeout: float | None = None
    ) -> Tool:
        """A tool of a typed function ``f(state, *, argument: type = default)``; its docstring is the description.

        Types are strict, as JSON has them: "3" is no number. Unknown arguments, NaN and lone surrogates are refused.

        Raises:
            TypeError: an argument has no type.
        """
        from pydantic import ConfigDict, TypeAdapter, ValidationError
        from typing_extensions import NotRequired, TypedDict

        hints = get_type_hints(function, include_extras=True)
        fields: dict[str, Any] = {}
        for p in list(inspect.signature(function).parameters.values())[1:]:
            if p.name not in hints:
                raise TypeError(f"{function.__name__}: the argument {p.name} has no type")
            fields[p.name] = hints[p.name] if p.default is p.empty else NotRequired[hints[p.name]]
        make: Any = TypedDict
        shape = make(name or function.__name__, fields)
        shape.__pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
        adapter: Any = TypeAdapter(shape)
        schema = _plain(adapter.json_schema())
        schema.setdefault("additionalProperties", False)
        validate, title = adapter.validator.validate_python, name or function.__name__

        def check(arguments: Arguments) -> Arguments:
            try:
                checked: Arguments = validate(arguments)
            except ValidationError as e:
                first = e.errors(include_url=False, include_context=False, include_input=False)[0]
                where = ".".join(str(part) for part in first["loc"])
                if first["type"] == "extra_forbidden":
                    raise ValueError(f"no argument {where[:40]!r}; it takes {', '.join(fields) or 'none'}") from None
                raise ValueError(f"{where}: {first['msg']}") from None
            return checked

        def run(state: Any, arguments: Arguments) -> Any:
            return function(state, **arguments)

        text = " ".join((inspect.getdoc(function) or "").split())
        return cls(title, text, schema, run, check, writes=writes, timeout=timeout)

    @classmethod
    def of_schema(
        cls,
        name: str,
        description: str,
        parameters: Mapping[str, Any],
        run: Callable[[Any, Arguments], Any],
        *,
        writes: bool = True,
        timeout: float | None = None,
    ) -> Tool:
        """A tool of a JSON schema that came from elsewhere; names, required ones and plain types of arguments are checked."""
        parameters = {"type": "object", **_sound(parameters)}
        allowed: Mapping[str, Any] = parameters.get("properties") or {}
        needed = tuple(parameters.get("required") or ())

        def check(arguments: Arguments) -> Arguments:
            for a, value in arguments.items():
                if a not in allowed and parameters.get("additionalProperties") in (None, False):
                    raise ValueError(f"no argument {a[:40]!r}; it takes {', '.join(allowed) or 'none'}")
                kind = allowed.get(a, {})
                if isinstance(kind, Mapping) and not _fits(value, kind):
                    raise ValueError(f"{a}: {value!r:.60} is not of type {kind.get('type', kind)}")
            for a in needed:
                if a not in arguments:
                    raise ValueError(f"the argument {a!r} is missing")
            return arguments

        return cls(name, description, parameters, run, check, writes=writes, timeout=timeout)

    def arguments(self, given: Arguments) -> Arguments:
        """The arguments that the tool takes.

        Raises:
            BadCall: they do not fit; says why.
        """
        if isinstance(given.get(POSITIONAL), Loose) or any(type(v) is Word for v in given.values()):
            given = self._typed(given)
        try:
            small(given)
            return self.check(given)
        except (ValueError, RecursionError) as e:
            raise BadCall(f"{self.name}: {e}") from None

    def _typed(self, given: Arguments) -> Arguments:
        """Arguments without names get them by their order; words become what the tool takes, text before JSON."""
        loose = given.get(POSITIONAL)
        if not isinstance(loose, Loose):
            loose = Loose()
        out = {k: v for k, v in given.items() if v is not loose}
        if len(loose) > len(self._order) or any(k in out for k in self._order[: len(loose)]):
            raise BadCall(
                f"{self.name}: it takes {', '.join(self._order) or 'no argument'}; {len(loose)} came without a name"
            )
        out |= dict(zip(self._order, loose))
        properties = self.parameters.get("properties", {})
        for k, v in out.items():
            if type(v) is not Word:
                continue
            out[k] = str(v)
            if not _fits(out[k], properties.get(k, {})):
                try:
                    out[k] = json.loads(v)
                except (ValueError, RecursionError):
                    pass
        return out

    def schema(self) -> dict[str, Any]:
        """As an item of OpenAI's ``tools``."""
        about = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": about}


class State(Protocol):
    """What tools work on; see ``state.py``."""

    def save(self) -> Any:
        """All of it, as a value that later changes do not touch."""
        ...

    def load(self, saved: Any) -> None:
        """Puts it back to a saved value."""
        ...

    def fork(self) -> Any:
        """A state of its own with the same value."""
        ...

    def adopt(self, branch: Any) -> None:
        """Becomes what a fork is, which is not used any more."""
        ...

    def mark(self) -> Any:
        """Where ``undo`` goes back to."""
        ...

    def undo(self, mark: Any) -> None:
        """Takes back what was changed since the mark."""
        ...

    def keep(self, mark: Any) -> None:
        """What was changed since the mark stays."""
        ...


class Toolbox(Mapping[str, Tool]):
    """The tools of a task, by name."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._tools = {t.name: t for t in tools}

    def __getitem__(self, name: str) -> Tool:
        return self._tools[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tools)

    def __len__(self) -> int:
        return len(self._tools)

    def schemas(self) -> tuple[dict[str, Any], ...]:
        """As OpenAI's ``tools``."""
        return tuple(t.schema() for t in self._tools.values())

    def find(self, call: Call) -> tuple[Tool, Arguments]:
        """The tool of a call and the arguments for it.

        Raises:
            BadCall: there is no such tool, or the arguments do not fit.
        """
        tool = self._tools.get(call.name)
        if tool is None:
            close = difflib.get_close_matches(call.name[:60], list(self._tools), 1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise BadCall(f"there is no tool {call.name[:60]!r}{hint}; there are {', '.join(self._tools)}")
        return tool, tool.arguments(call.arguments)

    def use(self, state: Any, call: Call) -> Result:
        """Makes a call. What goes wrong inside is the agent's to read; what a failing or late tool changed is taken back.

        Raises:
            InfraError, SandboxError: the infrastructure failed, not the call.
        """
        try:
            tool, arguments = self.find(call)
        except BadCall as e:
            return Result(False, f"Error: {e}")
        undone = state if tool.writes and tool.timeout is None else None
        mark = None if undone is None else undone.mark()
        try:
            value = tool.run(state, arguments) if tool.timeout is None else _timed(tool, state, arguments)
            text = value if type(value) is str else text_of(value)
        except (InfraError, SandboxError):
            raise
        except ToolFailed as e:
            problem = str(e)
        except Exception as e:  # the tool's own fault is a part of the world
            problem = f"{type(e).__name__}: {_said(e)}"
        else:
            if undone is not None:
                undone.keep(mark)
            return Result(True, text, arguments)
        if undone is not None:
            undone.undo(mark)
        return Result(False, f"Error: {call.name}: {problem[:2000]}", arguments)


def _timed(tool: Tool, state: Any, arguments: Arguments) -> Any:
    """Runs a tool in a thread of its own on a fork of the state: one that does not end keeps only that."""
    out: list[Any] = []
    branch = None if state is None else state.fork()

    def work() -> None:
        try:
            out.append((True, tool.run(branch, arguments)))
        except BaseException as e:  # handed to who waits
            out.append((False, e))

    thread = threading.Thread(target=work, name=f"milepost-tool-{tool.name}", daemon=True)
    thread.start()
    thread.join(tool.timeout)
    if not out:
        cut = getattr(branch, "interrupt", None)
        if cut is not None:  # a database ends its statement
            cut()
        # ends it at its next line; one that sits in a call of the system for ever stays until the process ends
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
        raise ToolFailed(f"it was cut off after {tool.timeout:g} seconds")
    fine, value = out[0]
    if not fine:
        raise value
    if tool.writes and state is not None:
        state.adopt(branch)
    return value


def text_of(value: Any) -> str:
    """A tool's value as the agent sees it: JSON, where that can be."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return _said(value)


def _said(value: Any) -> str:
    try:
        return str(value)
    except Exception:
        return f"a {type(value).__name__} that cannot be shown"


_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "float": (int, float), "boolean": (bool,),
    "array": (list, tuple), "tuple": (list, tuple), "object": (dict,), "dict": (dict,), "null": (type(None),),
}  # fmt: skip


def _fits(value: Any, schema: Mapping[str, Any]) -> bool:
    """A value is of a plain type of JSON schema; what says nothing of types takes all."""
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        return any(_fits(value, o) for o in options if isinstance(o, Mapping))
    if "enum" in schema and isinstance(schema["enum"], (list, tuple)) and value not in schema["enum"]:
        return False
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds or []
    known = [k for k in kinds if k in _TYPES]
    if not known:
        return True
    if isinstance(value, bool) and "boolean" not in known:
        return False
    if isinstance(value, float) and "integer" in known and value.is_integer():
        return True
    return any(isinstance(value, _TYPES[k]) for k in known)


def small(arguments: Arguments) -> None:
    """Refuses what is too long, too deep, or no text, wherever it is.

    Raises:
        ValueError: says which argument and why.
    """
    left = LONGEST
    todo: list[tuple[str, Any, int]] = [(k, v, 0) for k, v in arguments.items()]
    while todo:
        key, value, deep = todo.pop()
        left -= 1
        if isinstance(value, str):
            left -= len(value)
            if left >= 0 and not is_text(value):
                raise ValueError(f"{key}: a lone surrogate is no text")
        elif isinstance(value, dict):
            for k, v in itertools.islice(value.items(), LONGEST):
                if not isinstance(k, str) or not is_text(k):
                    raise ValueError(f"{key}: the keys of an object are texts")
                left -= len(k)
                todo.append((k, v, deep + 1))
        elif isinstance(value, (list, tuple)):
            todo += [(key, v, deep + 1) for v in value[:LONGEST]]
        elif isinstance(value, int):
            if value.bit_length() > BITS:
                raise ValueError(f"{key}: a whole number of more than {BITS} bits")
        elif isinstance(value, float):
            if not math.isfinite(value):
                raise ValueError(f"{key}: {value} is no JSON")
        elif value is not None:
            raise ValueError(f"{key}: a {type(value).__name__} is no JSON")
        if left < 0:
            raise ValueError(f"the arguments are too long: together at most {LONGEST} characters")
        if deep > DEEPEST:
            raise ValueError(f"the arguments are nested more than {DEEPEST} deep")


def _sound(schema: Any) -> dict[str, Any]:
    """A JSON schema from elsewhere as far as we read it: what is no schema allows all, a pattern that is none is left out."""
    if not isinstance(schema, Mapping):
        return {}
    out = dict(schema)
    if "properties" in out:
        given = out["properties"]
        out["properties"] = {str(k): _sound(v) for k, v in given.items()} if isinstance(given, Mapping) else {}
    for key in ("anyOf", "oneOf"):
        if key in out:
            out[key] = [_sound(s) for s in out[key]] if isinstance(out[key], (list, tuple)) else []
    if "items" in out:
        out["items"] = _sound(out["items"])
    try:
        re.compile(out.get("pattern", ""))
    except (re.error, TypeError, RecursionError):
        del out["pattern"]
    if not isinstance(out.get("required", []), (list, tuple)):
        del out["required"]
    return out


def _plain(schema: Any) -> Any:
    """A JSON schema without titles and references."""
    definitions = schema.get("$defs", {}) if isinstance(schema, dict) else {}

    def walk(node: Any, names: bool = False) -> Any:
        if isinstance(node, list):
            return [walk(v) for v in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node and not names:
            return walk(definitions[node["$ref"].rpartition("/")[2]])
        # below "properties" the keys are names of arguments, and one may be called title
        return {
            k: walk(v, k == "properties" and not names) for k, v in node.items() if names or k not in ("title", "$defs")
        }

    out = walk({k: v for k, v in schema.items() if k not in ("$defs", "title")})
    out.setdefault("properties", {})
    return out

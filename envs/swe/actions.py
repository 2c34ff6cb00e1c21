"""What an agent may say: tool calls as OpenAI's JSON, as one fenced bash block, or as Python objects."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ..tools.calls import Call

_FENCE = re.compile(r"^```(?:bash|sh|shell)[ \t]*\n(.*?)^```", re.S | re.M)

# tool -> (what it does, argument -> (type, required, what it is))
TOOLS: dict[str, tuple[str, dict[str, tuple[str, bool, str]]]] = {
    "bash": ("Runs a command in the repository's root; nothing but files is kept from one to the next.",
             {"command": ("string", True, "the command"), "timeout": ("number", False, "seconds")}),
    "view": ("Shows a file with line numbers, or lists a directory.",
             {"path": ("string", True, "relative to the root"), "start": ("integer", False, "first line, from 1"),
              "end": ("integer", False, "last line")}),
    "edit": ("Replaces a text that stands exactly once in a file.",
             {"path": ("string", True, "the file"), "old": ("string", True, "text that stands there once"),
              "new": ("string", True, "text instead of it")}),
    "create": ("Writes a file.", {"path": ("string", True, "the file"), "content": ("string", True, "all of it")}),
    "search": ("Lists lines that match a regular expression (grep -E).",
               {"pattern": ("string", True, "the expression"), "path": ("string", False, "where; all by default")}),
    "run_tests": ("Runs the repository's tests on the source files as they are now.", {}),
    "submit": ("Hands the repair in and ends the episode.", {}),
}  # fmt: skip
_TYPES: dict[str, tuple[type, ...]] = {"string": (str,), "integer": (int,), "number": (int, float)}


class BadAction(Exception):
    """An action that is no call; the agent is told why.

    Args:
        why: one sentence.
        formed: it was a call in form, of a tool or with arguments that do not exist.
    """

    def __init__(self, why: str, formed: bool = False) -> None:
        super().__init__(why)
        self.formed = formed


def schemas() -> list[dict[str, Any]]:
    """The tools as OpenAI's ``tools`` parameter."""
    return [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": what,
                "parameters": {
                    "type": "object",
                    "properties": {a: {"type": kind, "description": text} for a, (kind, _, text) in arguments.items()},
                    "required": [a for a, (_, needed, _) in arguments.items() if needed],
                    "additionalProperties": False,
                },
            },
        }
        for name, (what, arguments) in TOOLS.items()
    ]


def dump(action: Any) -> str:
    """An action object as the text that ``parse`` reads: a call, a mapping, or a list of one; a text as it is.

    Raises:
        TypeError: something else.
    """
    if isinstance(action, str):
        return action
    if isinstance(action, Call):
        return action.text()
    if isinstance(action, Mapping) or (isinstance(action, list) and all(isinstance(a, Mapping) for a in action)):
        return json.dumps(action, ensure_ascii=False)
    raise TypeError(f"an action is a text, a Call or a mapping, not {type(action).__name__}")


def parse(text: str) -> Call:
    """The one call of an action.

    Raises:
        BadAction: it has none, or several, or one that no tool takes.
    """
    blocks = _FENCE.findall(text)
    if blocks:
        if len(blocks) > 1:
            raise BadAction(f"one bash block a turn, not {len(blocks)}")
        return check("bash", {"command": blocks[0].rstrip("\n")})
    start = text.find("[" if text.lstrip().startswith("[") else "{")
    if start < 0:
        raise BadAction('say a tool call as JSON, {"name": ..., "arguments": {...}}, or one ```bash block')
    try:
        found, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError) as e:
        raise BadAction(f"the JSON of the tool call cannot be read: {e}") from None
    if text[end:].strip().startswith(("{", "[")):
        raise BadAction("one tool call a turn")
    if isinstance(found, dict) and "tool_calls" in found:
        found = found["tool_calls"]
    if isinstance(found, list):
        if len(found) != 1:
            raise BadAction(f"one tool call a turn, not {len(found)}")
        found = found[0]
    if isinstance(found, dict) and isinstance(found.get("function"), dict):
        found = found["function"]
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        raise BadAction('a tool call is {"name": ..., "arguments": {...}}')
    arguments = found.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError) as e:
            raise BadAction(f"the arguments cannot be read: {e}") from None
    if not isinstance(arguments, dict):
        raise BadAction("arguments are an object")
    return check(found["name"], arguments)


def check(name: str, arguments: dict[str, Any]) -> Call:
    """A call whose tool exists and whose arguments fit it.

    Raises:
        BadAction: names what is wrong and what is allowed.
    """
    if name not in TOOLS:
        raise BadAction(f"there is no tool {name[:40]!r}; there are {', '.join(TOOLS)}", True)
    allowed = TOOLS[name][1]
    for a, value in arguments.items():
        if a not in allowed:
            raise BadAction(f"{name} has no argument {a[:40]!r}; it takes {', '.join(allowed) or 'none'}", True)
        kind = allowed[a][0]
        if isinstance(value, bool) or not isinstance(value, _TYPES[kind]):
            raise BadAction(f"{name}: {a} is {value!r:.40}; it is of type {kind}", True)
        if isinstance(value, str) and ("\0" in value or any("\ud800" <= c <= "\udfff" for c in value)):
            raise BadAction(f"{name}: {a} holds a character that no file can", True)
    for a, (_, needed, _) in allowed.items():
        if needed and a not in arguments:
            raise BadAction(f"{name} needs the argument {a!r}", True)
    return Call(name, arguments)

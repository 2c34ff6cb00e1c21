"""What an agent may say: words, and tool calls in each of the forms that models are trained on.

A text is read as OpenAI's ``tool_calls``, Anthropic's ``tool_use`` blocks, ``<tool_call>`` and ``<invoke>`` elements, ReAct's
``Action:`` / ``Action Input:`` lines, or calls in Python's syntax (``[get_order(order_id="W1")]``); all else is said to the
user. Nothing that is read here is run: Python's syntax is read as a tree of literals.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

MOST = 2**16  # characters of an action
CALLS = 256  # in an action
NAME = 100  # characters of a tool's name
POSITIONAL = "*"  # the argument that holds those without a name, in their order
_TAGGED = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.S)
_INVOKE, _INVOKED = re.compile(r"<(?:invoke name|function)=\"?([\w.\-]+)\"?>"), re.compile(r"</(?:invoke|function)>")
_PARAMETER, _GIVEN = re.compile(r"<parameter(?: name)?=\"?([\w.\-]+)\"?>"), re.compile(r"</parameter>")
_REACT = re.compile(
    r"^Action:[ \t]*([\w.\-]+)[ \t]*\n+Action Input:[ \t]*(.*?)(?=^(?:Observation|Thought|Action):|\Z)", re.S | re.M
)
_FENCE = re.compile(r"^```(?:json|tool_call|tool_code|python)?[ \t]*\n(.*?)^```", re.S | re.M)
_PYTHON = re.compile(r"\[?\s*[A-Za-z_][\w.]*\(")
_OBJECT = re.compile(r"\{|\[\s*\{")


class Call(NamedTuple):
    """One tool call."""

    name: str
    arguments: dict[str, Any]

    def text(self) -> str:
        """As JSON that ``parse`` reads; equal calls have equal texts."""
        return json.dumps({"name": self.name, "arguments": self.arguments}, ensure_ascii=False)


class Word(str):
    """An argument of a form that has no types: a tool takes it as the text or as the JSON that it is."""


class Loose(list[Any]):
    """Arguments without names, as our own readers find them; ``{"*": ...}`` in JSON is an argument of that name."""


class Turn(NamedTuple):
    """What an agent said in one step."""

    content: str
    """Words for the user; "" where there are none."""
    calls: tuple[Call, ...] = ()
    error: str = ""
    """Why it is none of the forms, for the agent; "" where it is."""


def parse(action: Any) -> Turn:
    """What an action says.

    Args:
        action: a text, a ``Call``, a ``Turn``, a chat message or a call as a mapping, or several calls in a sequence.

    Raises:
        TypeError: it is something else. A wrong text or mapping is no error here: ``Turn.error`` says what is wrong.
    """
    try:
        if isinstance(action, Call):
            return _checked(Turn("", (action,)))
        if isinstance(action, Turn):
            return action if action.error else _checked(action)
        if isinstance(action, str):
            return _checked(_text(action))
        if isinstance(action, Mapping):
            return _checked(_message(action))
        if isinstance(action, Sequence) and not isinstance(action, (bytes, bytearray)):
            return _checked(Turn("", tuple(_each(action))))
    except _Bad as e:
        return Turn("", (), str(e))
    except (RecursionError, MemoryError):
        return Turn("", (), "the tool call is nested too deeply")
    raise TypeError(f"an action is a text, a Call, a mapping or a sequence of calls, not {type(action).__name__}")


def _checked(turn: Turn) -> Turn:
    """What comes as objects is no better than what comes as text."""
    if not isinstance(turn.content, str) or len(turn.content) > MOST or not is_text(turn.content):
        raise _Bad(f"words are a text of at most {MOST} characters, without lone surrogates")
    if not isinstance(turn.calls, tuple) or len(turn.calls) > CALLS:
        raise _Bad(f"a turn has at most {CALLS} calls")
    for call in turn.calls:
        if not isinstance(call, Call) or not isinstance(call.name, str):
            raise _Bad('a tool call is {"name": ..., "arguments": {...}}')
        if len(call.name) > NAME or not is_text(call.name):
            raise _Bad(f"a tool's name is a text of at most {NAME} characters")
        if not isinstance(call.arguments, dict) or not all(isinstance(k, str) for k in call.arguments):
            raise _Bad("arguments are an object")
    return turn


def is_text(text: str) -> bool:
    """It can be encoded: it has no lone surrogates."""
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


class _Bad(Exception):
    """Not a form that is known."""


def _text(text: str) -> Turn:
    if len(text) > MOST:
        raise _Bad(f"an action has at most {MOST} characters, not {len(text)}")
    if not is_text(text):
        raise _Bad("a lone surrogate is no text")
    if "<tool_call>" in text:
        calls = [c for body in _TAGGED.findall(text) for c in _tagged(body)]
        return Turn(_TAGGED.sub("", text).strip(), tuple(calls))
    if "<parameter" in text or "<invoke" in text or "<function=" in text:
        found, rest = _elements(text, _INVOKE, _INVOKED)
        if found:
            rest = rest.replace("<function_calls>", "").replace("</function_calls>", "")
            return Turn(rest.strip(), tuple(_invoked(n, b) for n, b in found))
    if "Action Input:" in text and (found := _REACT.findall(text)):
        return Turn("", tuple(_react(n, b.strip()) for n, b in found))
    body = text.strip()
    fenced = _FENCE.findall(body)
    if len(fenced) == 1:
        body = fenced[0].strip()
    if _OBJECT.match(body):
        return _parsed(_json(body))
    if _PYTHON.match(body) and body[-1] in ")]":
        calls = _python(body)
        if calls:
            return Turn("", tuple(calls))
    start = body.find('{"name"')
    if start > 0:  # a call behind words
        try:
            found, end = json.JSONDecoder(parse_constant=_constant).raw_decode(body, start)
        except ValueError as e:
            raise _Bad(f"the JSON of the tool call cannot be read: {e}") from None
        if not body[end:].strip():
            return Turn(body[:start].strip(), tuple(_each([found])))
    return Turn(text.strip())


def _elements(text: str, opening: re.Pattern[str], closing: re.Pattern[str]) -> tuple[list[tuple[str, str]], str]:
    """(name, what is inside) of elements, and the text without them; in one pass, however many are left open."""
    found, rest, at = [], [], 0
    while (first := opening.search(text, at)) and (last := closing.search(text, first.end())):
        found.append((first[1], text[first.end() : last.start()]))
        rest.append(text[at : first.start()])
        at = last.end()
    return found, "".join([*rest, text[at:]])


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_constant)
    except ValueError as e:
        raise _Bad(f"the JSON of the tool call cannot be read: {e}") from None


def _constant(name: str) -> Any:
    raise _Bad(f"{name} is no JSON")


def _parsed(found: Any) -> Turn:
    if isinstance(found, dict):
        return _message(found)
    if isinstance(found, list) and found:
        return Turn("", tuple(_each(found)))
    raise _Bad('a tool call is {"name": ..., "arguments": {...}}')


def _message(found: Mapping[Any, Any]) -> Turn:
    """A chat message, or a call alone."""
    content = found.get("content")
    if "tool_calls" in found:
        calls = found["tool_calls"] or ()
        if not isinstance(calls, Sequence) or isinstance(calls, (str, bytes)):
            raise _Bad("tool_calls is a list")
        return Turn(content.strip() if isinstance(content, str) else "", tuple(_each(calls)))
    if "content" in found and "name" not in found and found.get("role", "assistant") == "assistant":
        if isinstance(content, str):
            return Turn(content.strip())
        if isinstance(content, Sequence) and not isinstance(content, bytes):  # Anthropic's blocks
            blocks = [b for b in content if isinstance(b, Mapping)]
            words = " ".join(str(b.get("text", "")) for b in blocks if b.get("type") == "text")
            return Turn(words.strip(), tuple(_each([b for b in blocks if b.get("type") == "tool_use"])))
        raise _Bad("content is a text or a list of blocks")
    return Turn("", tuple(_each([found])))


def _each(calls: Iterable[Any]) -> Iterable[Call]:
    for call in calls:
        if isinstance(call, Call):
            yield call
            continue
        if isinstance(call, str):
            yield from _python(call)
            continue
        if isinstance(call, Mapping) and isinstance(call.get("function"), Mapping):
            call = call["function"]
        if not isinstance(call, Mapping) or not isinstance(call.get("name"), str):
            raise _Bad('a tool call is {"name": ..., "arguments": {...}}')
        arguments: Any = next((call[k] for k in ("arguments", "input", "parameters") if k in call), {})
        if isinstance(arguments, str):
            arguments = _json(arguments) if arguments.strip() else {}
        if not isinstance(arguments, Mapping) or not all(isinstance(k, str) for k in arguments):
            raise _Bad("arguments are an object")
        yield Call(call["name"], dict(arguments))


def _tagged(body: str) -> Iterable[Call]:
    found, _ = _elements(body, _INVOKE, _INVOKED)
    if found:
        return [_invoked(n, b) for n, b in found]
    return _parsed(_json(body.strip())).calls


def _invoked(name: str, body: str) -> Call:
    return Call(name, {k: Word(v.strip("\n")) for k, v in _elements(body, _PARAMETER, _GIVEN)[0]})


def _react(name: str, body: str) -> Call:
    fenced = _FENCE.findall(body + "\n" if body.startswith("```") else "")
    body = fenced[0].strip() if fenced else body
    if body[:1] == "{":
        found = _json(body)
        if isinstance(found, dict):
            return Call(name, found)
    return Call(name, {POSITIONAL: Loose([Word(body)])} if body else {})


def _python(text: str) -> list[Call]:
    """Calls in Python's syntax with literal arguments; none where it is another expression."""
    if len(text) > MOST:
        raise _Bad(f"a call has at most {MOST} characters, not {len(text)}")
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        return []
    nodes = node.elts if isinstance(node, (ast.List, ast.Tuple)) else [node]
    calls = []
    for n in nodes:
        if not isinstance(n, ast.Call):
            return []
        name = ast.unparse(n.func)
        arguments: dict[str, Any] = {}
        if n.args:
            arguments[POSITIONAL] = Loose(_literal(a, name) for a in n.args)
        for k in n.keywords:
            if k.arg is None:
                raise _Bad(f"{name}: arguments are written out, not unpacked")
            arguments[k.arg] = _literal(k.value, name)
        calls.append(Call(name, arguments))
    return calls


_CONSTANTS = {"true": True, "false": False, "null": None}


def _literal(node: ast.expr, name: str) -> Any:
    if isinstance(node, ast.Name) and node.id in _CONSTANTS:
        return _CONSTANTS[node.id]
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError):
        raise _Bad(f"{name}: {ast.unparse(node)[:60]} is no literal") from None


def dump(turn: Turn) -> dict[str, Any]:
    """A turn as an OpenAI chat message, arguments as objects; ``parse`` reads it."""
    message: dict[str, Any] = {"role": "assistant", "content": turn.content}
    if turn.calls:
        message["tool_calls"] = tuple({"name": c.name, "arguments": c.arguments} for c in turn.calls)
    return message

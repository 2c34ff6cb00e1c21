"""Whole statements that a repair puts back: guards, updates, calls, ``return`` and ``raise``."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping

from .code import Code, Edit, Function, ends, same
from .names import nearest
from .statements import updates, writes

_MOST = 4  # statements of the file that are tried at one place
_COUNTS = 5  # variables that a lost ``return`` may have returned


def _blocks(code: Code) -> Iterator[list[ast.stmt]]:
    """The blocks of statements inside of functions."""
    seen: set[int] = set()
    for stmt, place in code.places.items():
        if id(place.block) not in seen and (isinstance(place.owner, Function) or code.function(place.owner)):
            seen.add(id(place.block))
            if isinstance(stmt, ast.stmt):
                yield place.block


def _shown(block: list[ast.stmt]) -> list[ast.stmt]:
    """A block without its docstring."""
    first = block[0]
    return block[1:] if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) else block


def _lines(code: Code, stmt: ast.stmt) -> str:
    """A statement's text with its indentation taken off."""
    indent = code.indent(stmt)
    text = (indent or "") + code.text(stmt)
    return textwrap.dedent(text).replace(code.newline, "\n")


def _needs(stmt: ast.stmt) -> set[str]:
    """The names that a statement reads and does not bind."""
    names = [n for n in ast.walk(stmt) if isinstance(n, ast.Name)]
    return {n.id for n in names if isinstance(n.ctx, ast.Load)} - {n.id for n in names if isinstance(n.ctx, ast.Store)}


def _put(code: Code, texts: Mapping[str, ast.stmt], why: str) -> Iterator[Edit]:
    """Each text, where its variables are there, in front of all statements of its class, and behind the last of a block.

    Only those that stand closest are tried at one place.
    """
    owners = {text: (code.scopes.owner(s) or (None, ""))[0] for text, s in texts.items()}
    needs = {text: _needs(s) - code.outer for text, s in texts.items()}
    for block in _blocks(code):
        owner, me = code.scopes.owner(block[0]) or (None, "")
        kept = [text for text in texts if owners[text] is owner and "\n\n" not in text]
        for stmt in _shown(block) if kept else ():
            there = {v.name for v in code.scopes.visible(stmt)} | {me}
            fit = [t for t in kept if texts[t] is not stmt and needs[t] <= there]
            for text in sorted(fit, key=lambda t: abs(texts[t].lineno - stmt.lineno))[:_MOST]:
                yield from _at(code, stmt, block, text, why)


def _texts(code: Code, stmts: Iterable[ast.stmt]) -> dict[str, ast.stmt]:
    """Short statements by their text."""
    out: dict[str, ast.stmt] = {}
    for s in sorted(stmts, key=code.span):
        text = _lines(code, s)
        if text.count("\n") < 4 and not re.search("\"\"\"|'''", text):
            out.setdefault(text, s)
    return out


def _at(code: Code, stmt: ast.stmt, block: list[ast.stmt], text: str, why: str) -> Iterator[Edit]:
    """In front of a statement, behind it where it is the last one, for it where it is a lone ``pass``."""
    if isinstance(stmt, ast.Pass) and len(block) == 1:
        indent = code.indent(stmt)
        if indent is not None:
            yield code.replace(stmt, text.replace("\n", code.newline + indent), why)
        return
    yield from code.insert(stmt, text, why)
    if stmt is block[-1] and not ends([stmt]):
        yield from code.insert(stmt, text, why, after=True)


def dropped_guards(code: Code) -> Iterator[Edit]:
    """A guard that the class, or the file, has elsewhere is put in front of a statement, where its variables are there."""
    guards: list[ast.stmt] = [
        node
        for node in code.nodes(ast.If)
        if not node.orelse
        and len(node.body) <= 2
        and ends(node.body)
        and not code.is_elif(node)
        and code.function(node)
    ]
    yield from _put(code, _texts(code, guards), "a guard put in")
    for function in code.nodes(*Function):
        first = next(iter(_shown(function.body)), None)
        if first is None:
            continue
        unit = _unit(code)
        for v in code.scopes.visible(first)[:2]:
            for guard in (f"if not {v.name}:\n{unit}return {v.name}", f"if {v.name} is None:\n{unit}return None"):
                yield from code.insert(first, guard, "a guard put in")


def _unit(code: Code) -> str:
    """The file's own step of indentation."""
    for function in code.nodes(*Function):
        inner, outer = code.indent(function.body[0]), code.indent(function)
        if inner and outer is not None and inner.startswith(outer):
            return inner[len(outer) :]
    return "    "


def lost_updates(code: Code) -> Iterator[Edit]:
    """An update that the class makes elsewhere is put in, or its opposite; an assignment becomes an update."""
    texts = _texts(code, updates(code))
    for stmt in list(texts.values()):
        if isinstance(stmt, ast.AugAssign) and isinstance(stmt.op, (ast.Add, ast.Sub)):
            gap = code.gap(stmt.target, stmt.value, r"[+-]=")
            turned = "-=" if isinstance(stmt.op, ast.Add) else "+="
            texts.setdefault(
                code.cut(code.span(stmt)[0], gap.start) + turned + code.cut(gap.end, code.span(stmt)[1]), stmt
            )
    yield from _put(code, texts, "an update put in")
    for assign in code.nodes(ast.Assign):
        if (
            len(assign.targets) == 1
            and not isinstance(assign.targets[0], (ast.Name, ast.Tuple))
            and code.function(assign)
        ):
            gap = code.gap(assign.targets[0], assign.value, "=")
            yield Edit(gap.start, gap.end, "+=", "an assignment becomes an update")
            yield Edit(gap.start, gap.end, "-=", "an assignment becomes an update")


def lost_calls(code: Code) -> Iterator[Edit]:
    """A call that stands alone elsewhere in the class, or file, is put in."""
    calls: list[ast.stmt] = []
    for stmt in code.nodes(ast.Expr):
        if isinstance(stmt.value, ast.Call) and code.function(stmt) and not any("." in w for w in writes(stmt)):
            calls.append(stmt)
    yield from _put(code, _texts(code, calls), "a call put in")


def lost_returns(code: Code) -> Iterator[Edit]:
    """An expression that stands alone is returned; ``return`` of a variable is put at the end of a function or for ``pass``."""
    for stmt in code.nodes(ast.Expr):
        if not isinstance(stmt.value, (ast.Constant, ast.Yield, ast.YieldFrom, ast.Await)) and code.function(stmt):
            start = code.span(stmt)[0]
            yield Edit(start, start, "return ", "a value is returned")
    for block in _blocks(code):
        last = block[-1]
        owner = code.places[last].owner
        alone = isinstance(last, ast.Pass) and len(block) == 1
        if not alone and (
            ends([last]) or not isinstance(owner, (*Function, ast.If, ast.For, ast.While, ast.With, ast.Try))
        ):
            continue
        there = code.scopes.visible(last, False)
        order = max((v.order for v in there), default=0)
        words = nearest("", order, there, _COUNTS)
        me = code.scopes.owner(last)
        words += [me[1], *(f"{me[1]}.{f}" for f in code.scopes.fields(me[0])[:_COUNTS])] if me else []
        for word in [*words, *(("None", "True", "False") if alone else ())]:
            if alone:
                yield code.replace(last, f"return {word}", "a value is returned")
            elif not isinstance(last, Function):
                yield from code.insert(last, f"return {word}", "a value is returned", after=True)
    for given in code.nodes(ast.Return):
        if given.value is not None:
            there = code.scopes.visible(given, False)
            start, end = code.behind(given, "return", given.value)
            if isinstance(given.value, ast.Constant) and given.value.value is None:
                words = nearest("", max((v.order for v in there), default=0), there, _COUNTS)
                me = code.scopes.owner(given)
                words += [me[1], *(f"{me[1]}.{f}" for f in code.scopes.fields(me[0])[:_COUNTS])] if me else []
                yield from (Edit(start, end, word) for word in [*words, "True", "False", "0", "1", "[]", "''"])
                yield from (Edit(start, end, text) for text in _returned(code, given, {v.name for v in there}))
            elif isinstance(given.value, ast.Name):
                mine = next((v for v in there if v.name == given.value.id), None) if given.value else None
                if mine:
                    yield from (Edit(start, end, name) for name in nearest(mine.name, mine.order, there, _COUNTS))
            elif isinstance(given.value, (ast.Call, ast.Attribute, ast.BinOp, ast.Subscript)):
                yield Edit(start, end, f"-{code.bracketed(given.value)}")


def _returned(code: Code, at: ast.Return, there: set[str]) -> Iterator[str]:
    """What other functions of the file return, where it could be computed here."""
    me = code.scopes.owner(at)
    names = there | ({me[1]} if me else set())
    found: dict[str, None] = {}
    for other in sorted(code.nodes(ast.Return), key=code.span):
        if other.value is not None and not same(other.value, ast.Constant(None)):
            text = code.cut(*code.behind(other, "return", other.value))
            used = {n.id for n in ast.walk(other.value) if isinstance(n, ast.Name)}
            if "\n" not in text and all(n in names or n in code.outer for n in used):
                found[text] = None
    return iter(list(found)[:_MOST])


def reraise(code: Code) -> Iterator[Edit]:
    """A handler that does nothing raises again, goes on with the loop, or returns."""
    elsewhere: dict[str, None] = {}
    for node in code.nodes(ast.Try):
        for handler in node.handlers:
            if len(handler.body) == 1 and "\n" not in code.text(handler.body[0]):
                elsewhere[code.text(handler.body[0])] = None
    for raised in code.nodes(ast.Raise):
        if "\n" not in code.text(raised):
            elsewhere[code.text(raised)] = None
    usual = ("raise", "return None", "return False", "return True", "return default", "continue", "break", "return")
    for node in code.nodes(ast.Try):
        for handler in node.handlers:
            if len(handler.body) == 1 and isinstance(handler.body[0], (ast.Pass, ast.Raise)):
                loop = any(isinstance(n, (ast.For, ast.While, ast.AsyncFor)) for n in code.up(handler))
                for text in dict.fromkeys([*usual, *list(elsewhere)[: 2 * _MOST]]):
                    if loop or text not in ("continue", "break"):
                        yield code.replace(handler.body[0], text, "a handler does something")


def missing_else(code: Code) -> Iterator[Edit]:
    """What follows a loop with a ``break`` is put into its ``else``."""
    for loop in code.nodes(ast.For, ast.AsyncFor, ast.While):
        place, indent = code.places[loop], code.indent(loop)
        if loop.orelse or indent is None or not any(isinstance(n, ast.Break) for n in ast.walk(loop)):
            continue
        rest = place.block[place.index + 1 :]
        unit = _unit(code)
        for n in range(1, min(len(rest), 4) + 1):
            first, last = code.lines(rest[0]), code.lines(rest[n - 1])
            if first is None or last is None:
                break
            text = code.cut(first[0], last[1])
            if '"""' in text or "'''" in text:
                break
            lines = [unit + line if line.strip() else line for line in text.splitlines(keepends=True)]
            yield Edit(
                first[0],
                last[1],
                f"{indent}else:{code.newline}{''.join(lines)}",
                "the `else` of a loop",
                code.span(loop)[0],
            )

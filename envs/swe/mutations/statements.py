"""Bugs in statements: exceptions, state, what is returned, calls that are gone."""

from __future__ import annotations

import ast
import builtins
import itertools
from collections.abc import Iterator

from .code import Code, Edit, called, dotted, simple
from .names import attributes, nearest

_KIN = (
    ("KeyError", "IndexError"),
    ("KeyError", "LookupError"),
    ("IndexError", "LookupError"),
    ("ValueError", "TypeError"),
    ("ValueError", "KeyError"),
    ("TypeError", "AttributeError"),
    ("Exception", "ValueError"),
    ("RuntimeError", "ValueError"),
    ("RuntimeError", "NotImplementedError"),
    ("OSError", "FileNotFoundError"),
    ("OSError", "ValueError"),
    ("ZeroDivisionError", "ArithmeticError"),
    ("OverflowError", "ArithmeticError"),
    ("ZeroDivisionError", "ValueError"),
    ("StopIteration", "IndexError"),
    ("StopIteration", "RuntimeError"),
    ("UnicodeDecodeError", "UnicodeError"),
    ("UnicodeEncodeError", "UnicodeError"),
    ("UnicodeError", "ValueError"),
    ("NameError", "AttributeError"),
    ("BaseException", "Exception"),
    ("TimeoutError", "OSError"),
)
COPIES = {"list", "dict", "set", "tuple", "copy", "deepcopy"}
WRAPPERS = {"sorted", "abs", "int", "str", "float", "bool", "reversed", "frozenset", "iter", "repr", "round", "len"}
METHODS = {"strip", "lstrip", "rstrip", "lower", "upper", "casefold", "title", "capitalize", "swapcase", "splitlines"}
CHANGES = {
    *("append", "extend", "add", "insert", "remove", "discard", "pop", "popleft", "appendleft", "clear", "update"),
    *("setdefault", "sort", "reverse", "popitem", "move_to_end", "rotate", "difference_update", "intersection_update"),
}
_TRUTHS = {"any", "all", "isinstance", "issubclass", "startswith", "endswith", "hasattr", "callable", "bool"}
_IDEMPOTENT = {"clear", "sort", "discard", "add", "update", "setdefault", "move_to_end"}


def kin(code: Code, name: str) -> dict[str, str]:
    """Exceptions that are taken for another, each as ``wider``, ``narrower`` or ``other``.

    Builtin ones by a table, a module's own with their bases and each other.
    """
    own: dict[str, list[str]] = {}
    for node in code.tree.body:
        if isinstance(node, ast.ClassDef):
            bases = [dotted(b) for b in node.bases]
            if any(b.endswith(("Error", "Exception")) or b in own for b in bases):
                own[node.name] = bases
    near = [*own.get(name, ()), *(child for child, bases in own.items() if name in bases)]
    near += [*(own if name in own else ()), *(b if a == name else a for a, b in _KIN if name in (a, b))]
    above, below = _above(own, name), {n for n in near if name in _above(own, n)}
    kinds = {n: "wider" if n in above else "narrower" if n in below else "other" for n in near}
    return {n: kind for n, kind in kinds.items() if n and n != name}


def _above(own: dict[str, list[str]], name: str) -> set[str]:
    """The classes that an exception is also one of."""
    out: set[str] = set()
    todo = [name]
    while todo:
        for base in own.get(todo.pop(), ()):
            if base not in out:
                out.add(base)
                todo.append(base)
    for each in (name, *out):
        kind = getattr(builtins, each, None)
        if isinstance(kind, type) and issubclass(kind, BaseException):
            out |= {k.__name__ for k in kind.__mro__}
    return out - {name, "object"}


def _handlers(code: Code) -> Iterator[ast.ExceptHandler]:
    for node in code.nodes(ast.Try):
        yield from node.handlers


def exception_handling(code: Code) -> Iterator[Edit]:
    """Another type is caught or raised, one of several types is missing, an exception is swallowed or let through."""
    for raised in code.nodes(ast.Raise):
        kind = raised.exc.func if isinstance(raised.exc, ast.Call) else raised.exc
        if isinstance(kind, ast.Name):
            near = [n for n, what in kin(code, kind.id).items() if what != "narrower"]  # whoever expects it is content
            yield from (code.replace(kind, other) for other in near[:3])
    for handler in _handlers(code):
        if isinstance(handler.type, ast.Name):
            near = [n for n, what in kin(code, handler.type.id).items() if what != "wider"]
            yield from (code.replace(handler.type, other) for other in near[:3])
        elif isinstance(handler.type, ast.Tuple) and len(handler.type.elts) > 1:
            texts = [code.text(e) for e in handler.type.elts]
            for i, gone in enumerate(texts):
                rest = texts[:i] + texts[i + 1 :]
                new = rest[0] if len(rest) == 1 else f"({', '.join(rest)})"
                yield code.replace(handler.type, new, f"`{gone}` is no longer caught")
        last = handler.body[-1]
        start, end = code.span(handler.body[0])[0], code.span(last)[1]
        if isinstance(last, ast.Raise):
            yield code.replace(last, "pass", "an exception swallowed")
        elif code.cut(start, end) != "pass":
            yield Edit(start, end, "pass", "the body of a handler removed")
            yield Edit(start, end, "raise", "a handler lets the exception through")


def writes(stmt: ast.stmt) -> set[str]:
    """Attributes and containers that a plain statement changes, as dotted names; locals only where they are updated."""
    out: set[str] = set()
    targets = stmt.targets if isinstance(stmt, (ast.Assign, ast.Delete)) else [getattr(stmt, "target", None)]
    for target in itertools.chain.from_iterable(t.elts if isinstance(t, ast.Tuple) else [t] for t in targets):
        base = target.value if isinstance(target, ast.Subscript) else target
        if base is not None and (
            not isinstance(base, ast.Name) or base is not target or isinstance(stmt, ast.AugAssign)
        ):
            out.add(dotted(base))
    if isinstance(stmt, ast.Expr) and isinstance(stmt.value, ast.Call) and isinstance(stmt.value.func, ast.Attribute):
        if stmt.value.func.attr in CHANGES:
            out.add(dotted(stmt.value.func.value))
    return out - {""}


def _reads(stmt: ast.stmt) -> set[str]:
    return {dotted(n) for n in ast.walk(stmt)} - {""}


def updates(code: Code) -> Iterator[ast.stmt]:
    """Statements that change an attribute or an element, in functions."""
    for stmt in code.nodes(ast.Assign, ast.AugAssign, ast.Expr, ast.Delete, ast.AnnAssign):
        if code.function(stmt) and any("." in w for w in writes(stmt)):
            yield stmt
        elif isinstance(stmt, (ast.Assign, ast.AugAssign)) and code.function(stmt):
            target = stmt.targets[0] if isinstance(stmt, ast.Assign) else stmt.target
            if isinstance(target, ast.Subscript):
                yield stmt


def state(code: Code) -> Iterator[Edit]:
    """An update of an attribute or element is gone, done twice, goes elsewhere or comes too late; a copy is missing."""
    for stmt in updates(code):
        yield from code.delete(stmt, "an update removed")
        again = isinstance(stmt, ast.AugAssign) or (
            isinstance(stmt, ast.Expr) and called(stmt.value) not in _IDEMPOTENT
        )
        if again and "\n" not in code.text(stmt):
            yield from code.insert(stmt, code.text(stmt), "an update done twice", after=True)
    for node, others in attributes(code, 2, store=True):
        for other in others:
            yield from code.attribute(node, other)
    for add in code.nodes(ast.AugAssign):
        if not isinstance(add.target, ast.Name):
            gap = code.gap(add.target, add.value, r"[-+*/%&|^<>@]{1,2}=|\*\*=|//=")
            yield Edit(gap.start, gap.end, "=", "an update overwrites")
    for stmt in code.nodes(ast.Assign, ast.AugAssign, ast.Expr, ast.Delete):
        place = code.places[stmt]
        after = place.block[place.index + 1] if place.index + 1 < len(place.block) else None
        if (
            isinstance(after, (ast.Assign, ast.AugAssign, ast.Expr, ast.Delete))
            and code.lines(stmt)
            and code.lines(after)
        ):
            mine, theirs = writes(stmt), writes(after)
            docstring = isinstance(stmt, ast.Expr) and isinstance(stmt.value, ast.Constant)
            if not docstring and code.function(stmt) and (mine & (_reads(after) | theirs) or theirs & _reads(stmt)):
                yield from code.swap(stmt, after, "two statements in the wrong order")
    for call in code.nodes(ast.Call):
        if called(call) in COPIES and not call.keywords:
            method = isinstance(call.func, ast.Attribute) and dotted(call.func.value) != "copy"
            inner = call.func.value if method and isinstance(call.func, ast.Attribute) else next(iter(call.args), None)
            if len(call.args) == (0 if method else 1) and isinstance(inner, (ast.Name, ast.Attribute, ast.Subscript)):
                yield code.replace(call, code.text(inner), "a copy is missing")
    for part in code.nodes(ast.Subscript):
        if isinstance(part.slice, ast.Slice) and not (part.slice.lower or part.slice.upper or part.slice.step):
            if isinstance(part.ctx, ast.Load):
                yield code.replace(part, code.cut(code.span(part)[0], _open(code, part)), "a copy is missing")


def _open(code: Code, part: ast.Subscript) -> int:
    """Byte offset of the bracket of a subscript."""
    end = code.span(part.value)[1]
    return end + code.masked(end, code.span(part)[1]).index("[")


def truth(code: Code, node: ast.Return) -> bool:
    """Whether a ``return`` gives a truth value that ``not`` would turn around."""
    value = node.value
    if isinstance(value, ast.UnaryOp):
        return isinstance(value.op, ast.Not)
    if isinstance(value, ast.Compare):
        return len(value.ops) > 1  # one alone is the family comparison's
    if isinstance(value, ast.Call) and called(value) in _TRUTHS:
        return True
    function = code.function(node)
    if function is None or not isinstance(value, (ast.BoolOp, ast.Call)):
        return False
    said = isinstance(function.returns, ast.Name) and function.returns.id == "bool"
    return said or function.name.lstrip("_").startswith(("is_", "has_", "can_", "contains"))


def return_value(code: Code) -> Iterator[Edit]:
    """Another variable, ``None`` or nothing is returned, the answer negated, a pair the wrong way round."""
    for node in code.nodes(ast.Return):
        value = node.value
        if value is None:
            continue
        start, end = code.behind(node, "return", value)
        text = code.cut(start, end)
        if not (isinstance(value, ast.Constant) and not value.value):  # None for what is as false would hardly be seen
            yield Edit(start, end, "None")
        if isinstance(value, ast.Constant) and isinstance(value.value, bool):
            yield Edit(start, end, str(not value.value))
        elif truth(code, node):
            if isinstance(value, ast.UnaryOp):
                yield Edit(start, end, code.cut(*code.behind(value, "not", value.operand)))
            else:
                yield Edit(start, end, f"not ({text})" if isinstance(value, ast.BoolOp) else f"not {text}")
        elif (
            isinstance(value, ast.UnaryOp)
            and isinstance(value.op, ast.USub)
            and not isinstance(value.operand, ast.Constant)
        ):
            yield Edit(start, end, code.cut(*code.behind(value, "-", value.operand)))
        if isinstance(value, ast.Name):
            there = code.scopes.visible(node)
            mine = next((v for v in code.scopes.visible(node, False) if v.name == value.id), None)
            if mine:
                yield from (Edit(start, end, name) for name in nearest(value.id, mine.order, there, 2))
        if isinstance(value, (ast.Name, ast.Attribute)):
            yield from code.delete(node, "`return` removed")
        elif not isinstance(value, ast.Constant):
            yield Edit(code.span(node)[0], start, "", "the word `return` removed")
        if isinstance(value, ast.Tuple) and all(simple(e) for e in value.elts):
            for one, two in itertools.pairwise(value.elts):
                yield from code.swap(one, two, "returned values swapped")


def wrapped(call: ast.Call) -> ast.expr | None:
    """What a call turns into something like it: ``x`` of ``sorted(x)``, ``abs(x)``, ``x.strip(...)``."""
    if isinstance(call.func, ast.Name):
        if (
            call.func.id in WRAPPERS
            and len(call.args) >= 1
            and not isinstance(call.args[0], (ast.Starred, ast.GeneratorExp))
        ):
            return call.args[0]
    elif isinstance(call.func, ast.Attribute) and call.func.attr in METHODS:
        return call.func.value
    return None


def removed_call(code: Code) -> Iterator[Edit]:
    """A call is gone: one that stood alone, or one around a value (``sorted``, ``abs``, ``strip``, a limit by ``min``)."""
    for stmt in code.nodes(ast.Expr):
        value = stmt.value.value if isinstance(stmt.value, ast.Await) else stmt.value
        if isinstance(value, ast.Call) and code.function(stmt) and not any("." in w for w in writes(stmt)):
            yield from code.delete(stmt, "a call removed")
    for call in code.nodes(ast.Call):
        inner = wrapped(call)
        if inner is not None and not (called(call) == "len"):
            yield code.replace(call, code.bracketed(inner), f"a call of `{called(call)}` removed")
        if (
            called(call) in ("min", "max")
            and isinstance(call.func, ast.Name)
            and len(call.args) == 2
            and not call.keywords
        ):
            for kept in call.args:
                if not isinstance(kept, ast.Starred) and not isinstance(kept, ast.Constant):
                    yield code.replace(call, code.bracketed(kept), f"a limit by `{called(call)}` removed")

"""Bugs in conditions and the ways that a program takes."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .code import Code, Edit, ends, same

# each operator with its neighbours; symmetric, so that every bug's repair is itself a site
_TOKENS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<(?!=)", "<"),
    ast.LtE: ("<=", "<="),
    ast.Gt: (">(?!=)", ">"),
    ast.GtE: (">=", ">="),
    ast.Eq: ("==", "=="),
    ast.NotEq: ("!=", "!="),
    ast.Is: (r"\bis\b", "is"),
    ast.IsNot: (r"\bis\s+not\b", "is not"),
    ast.In: (r"\bin\b", "in"),
    ast.NotIn: (r"\bnot\s+in\b", "not in"),
}
_NEAR: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_INVERSE: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt}
_BOOL = {ast.And: (r"\band\b", "or"), ast.Or: (r"\bor\b", "and")}


def comparison(code: Code) -> Iterator[Edit]:
    """``<`` for ``<=``, ``<`` for ``>``, ``==`` for ``!=``, ``is`` for ``is not``, ``in`` for ``not in``, and back."""
    for node in code.nodes(ast.Compare):
        operands = [node.left, *node.comparators]
        for left, op, right in zip(operands, node.ops, operands[1:]):
            if same(left, right):
                continue
            gap = code.gap(left, right, _TOKENS[type(op)][0])
            for other in _NEAR[type(op)]:
                yield Edit(gap.start, gap.end, _TOKENS[other][1])


def _tests(code: Code) -> Iterator[ast.expr]:
    """Conditions that are negated; where there is a plain ``else``, its branch is swapped instead."""
    for node in code.nodes(ast.If):
        if not node.orelse or (isinstance(node.orelse[0], ast.If) and code.is_elif(node.orelse[0])):
            yield node.test
    for loop in code.nodes(ast.While):
        if not isinstance(loop.test, ast.Constant):
            yield loop.test
    for part in code.nodes(ast.comprehension):
        yield from part.ifs


def _negate(code: Code, test: ast.expr) -> Iterator[Edit]:
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        yield code.replace(test, code.cut(*code.behind(test, "not", test.operand)))
    elif isinstance(test, ast.Compare) and len(test.ops) == 1:
        if inverse := _INVERSE.get(type(test.ops[0])):  # the others are the family comparison's
            gap = code.gap(test.left, test.comparators[0], _TOKENS[type(test.ops[0])][0])
            yield Edit(gap.start, gap.end, _TOKENS[inverse][1])
    elif not isinstance(test, (ast.Yield, ast.YieldFrom)):
        plain = isinstance(test, ast.UnaryOp) or not isinstance(
            test, (ast.BoolOp, ast.IfExp, ast.Lambda, ast.NamedExpr)
        )
        yield code.replace(test, f"not {code.text(test)}" if plain else f"not ({code.text(test)})")


def _branches(code: Code) -> Iterator[Edit]:
    """``if`` and ``else`` swapped, of statements and of expressions; ``elif`` for ``if`` and back."""
    for node in code.nodes(ast.If):
        if node.orelse and not (isinstance(node.orelse[0], ast.If) and code.is_elif(node.orelse[0])):
            body, other = node.body, node.orelse
            (a, b), (c, d) = (
                (code.span(body[0])[0], code.span(body[-1])[1]),
                (code.span(other[0])[0], code.span(other[-1])[1]),
            )
            alike = code.position(a)[1] == code.position(c)[1]  # both on lines of their own
            alone = code.lines(body[0]) and code.lines(other[0]) and code.lines(body[-1]) and code.lines(other[-1])
            if alike and alone and code.cut(a, b) != code.cut(c, d):
                yield Edit(
                    a, d, code.cut(c, d) + code.cut(b, c) + code.cut(a, b), "the branches of `if` and `else` swapped"
                )
        chain, start = code.parents[node], code.span(node)[0]
        if code.is_elif(node):
            assert isinstance(chain, ast.If)
            if not _closed(code, node):
                yield Edit(start, start + 4, "if")
        else:
            place = code.places[node]
            before = place.block[place.index - 1] if place.index else None
            if isinstance(before, ast.If):
                arms = _arms(code, before)
                if not arms[-1].orelse and not all(ends(arm.body) for arm in arms):
                    yield Edit(start, start + 2, "elif")
    for choice in code.nodes(ast.IfExp):
        if not isinstance(choice.orelse, (ast.IfExp, ast.Lambda)):
            one, two = code.gap(choice.body, choice.test, r"\bif\b"), code.gap(choice.test, choice.orelse, r"\belse\b")
            (a, d), b, c = code.span(choice), one.left, two.right
            if not same(choice.body, choice.orelse):
                yield Edit(a, d, code.cut(c, d) + code.cut(b, c) + code.cut(a, b), "the two values of a choice swapped")


def _closed(code: Code, node: ast.If) -> bool:
    """Whether every branch above an ``elif`` leaves: then ``if`` would be the same."""
    while code.is_elif(node):
        above = code.parents[node]
        assert isinstance(above, ast.If)
        if not ends(above.body):
            return False
        node = above
    return True


def _arms(code: Code, node: ast.If) -> list[ast.If]:
    """An ``if`` and the ``elif`` that follow it."""
    arms = [node]
    while len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If) and code.is_elif(node.orelse[0]):
        node = node.orelse[0]
        arms.append(node)
    return arms


def control_flow(code: Code) -> Iterator[Edit]:
    """A negated condition, swapped branches, ``and`` for ``or``, ``elif`` for ``if``, ``break`` for ``continue``.

    The ``else`` of a loop is lost by unindenting it: what it guards always runs.
    """
    for test in _tests(code):
        yield from _negate(code, test)
    yield from _branches(code)
    for node in code.nodes(ast.BoolOp):
        token, other = _BOOL[type(node.op)]
        for left, right in zip(node.values, node.values[1:]):
            gap = code.gap(left, right, token)
            yield Edit(gap.start, gap.end, other)
    for leave in code.nodes(ast.Break):
        yield code.replace(leave, "continue")
    for again in code.nodes(ast.Continue):
        yield code.replace(again, "break")
    for loop in code.nodes(ast.For, ast.AsyncFor, ast.While):
        if loop.orelse:
            yield from _unindent(code, loop)


def _unindent(code: Code, loop: ast.For | ast.AsyncFor | ast.While) -> Iterator[Edit]:
    outer, inner = code.indent(loop), code.indent(loop.orelse[0])
    first, last = code.lines(loop.orelse[0]), code.lines(loop.orelse[-1])
    if outer is None or inner is None or first is None or last is None:
        return
    body_end = code.span(loop.body[-1])[1]
    word = code.masked(body_end, first[0]).find("else")
    line, col = code.position(body_end + word)
    start = code.starts[line - 1]
    text = code.cut(start + col + 4, last[1])
    if not text.lstrip(" \t").startswith(":") or '"""' in text or "'''" in text:
        return
    lines = code.cut(first[0], last[1]).splitlines(keepends=True)
    if code.cut(start + col + 4, first[0]).strip() != ":":  # a comment behind the colon
        return
    shorter = "".join(outer + line[len(inner) :] if line.startswith(inner) else line for line in lines)
    yield Edit(start, last[1], shorter, "the `else` of a loop unindented: it always runs")


def dropped_guard(code: Code) -> Iterator[Edit]:
    """An early exit is gone, or one side of an ``and`` or ``or``."""
    for node in code.nodes(ast.If):
        if not node.orelse and len(node.body) <= 2 and ends(node.body) and not isinstance(node.body[-1], ast.If):
            yield from code.delete(node, "a guard removed")
    for both in code.nodes(ast.BoolOp):
        token = _BOOL[type(both.op)][0]
        gaps = [code.gap(left, right, token) for left, right in zip(both.values, both.values[1:])]
        word = "and" if isinstance(both.op, ast.And) else "or"
        for i in range(len(both.values)):
            start, stop = (gaps[i - 1].left, gaps[i].left if i < len(gaps) else code.span(both)[1])
            if not i:
                start, stop = code.span(both)[0], gaps[0].right
            yield Edit(start, stop, "", f"one side of an `{word}` removed")

"""Bugs in numbers: bounds that are off by one, wrong operators."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .code import Code, Edit, same, simple

LARGEST = 4096  # constants beyond are no counts but magic numbers
WIDE = 8  # elements from which on a display is a table
_TOKENS: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
}
_OPERATORS = {text: kind for kind, text in _TOKENS.items()}
# symmetric, so that every bug's repair is itself a site
_NEAR = {
    "+": ("-", "*"),
    "-": ("+",),
    "*": ("+", "/", "**"),
    "/": ("*", "//"),
    "//": ("/", "%"),
    "%": ("//",),
    "**": ("*",),
    "<<": (">>",),
    ">>": ("<<",),
    "&": ("|",),
    "|": ("&", "^"),
    "^": ("|",),
}
_TEXT_CALLS = {"str", "repr", "join", "format", "ascii", "hex", "bytes", "list", "tuple", "lower", "upper", "strip"}


def number(node: ast.AST) -> int | None:
    """The whole number that a literal is, its sign included."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = number(node.operand)
        return None if value is None or isinstance(node.operand, ast.UnaryOp) else -value
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    return None


def whole(node: ast.AST, code: Code) -> ast.AST:
    """The literal with its sign that a constant is part of."""
    parent = code.parents.get(node)
    return parent if isinstance(parent, ast.UnaryOp) and isinstance(parent.op, ast.USub) else node


def loose(node: ast.AST) -> bool:
    """Whether a sum needs parentheses around such an operand."""
    weak = (ast.BoolOp, ast.Compare, ast.IfExp, ast.Lambda, ast.NamedExpr, ast.Yield, ast.YieldFrom, ast.Tuple)
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, (ast.BitAnd, ast.BitOr, ast.BitXor, ast.LShift, ast.RShift))
    return isinstance(node, weak) or (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not))


def texty(node: ast.AST) -> bool:
    """Whether an operand is a text, a list or the like, as far as its form shows: most operators would only raise."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, (str, bytes))
    if isinstance(node, ast.BinOp):
        return texty(node.left) or texty(node.right)
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        return name in _TEXT_CALLS
    return isinstance(node, (ast.JoinedStr, ast.List, ast.Tuple, ast.Dict, ast.ListComp, ast.DictComp))


def is_default(node: ast.AST, code: Code) -> bool:
    """Whether a constant is the default of a parameter, which is another family's."""
    return isinstance(code.parents.get(whole(node, code)), ast.arguments)


def _constants(code: Code) -> Iterator[Edit]:
    for node in code.nodes(ast.Constant):
        literal = whole(node, code)
        n = number(literal)
        if n is None or abs(n) > LARGEST or is_default(node, code) or _table(literal, code):
            continue
        parent = code.parents[literal]
        if isinstance(parent, ast.Slice) and parent.step is literal:
            continue
        summed = isinstance(parent, (ast.BinOp, ast.AugAssign))
        for other in (n + 1, n - 1):
            if not (summed and other == 0):  # x + 0, x * 0, x / 0
                yield code.replace(literal, str(other))


def _table(node: ast.AST, code: Code) -> bool:
    for i, up in enumerate(code.up(node)):
        if isinstance(up, (ast.List, ast.Tuple, ast.Set)) and len(up.elts) > WIDE:
            return True
        if isinstance(up, ast.Dict) and len(up.keys) > WIDE:
            return True
        if i == 2 or isinstance(up, ast.stmt):
            return False
    return False


def shifted(code: Code, node: ast.expr) -> Iterator[Edit]:
    """``E`` becomes ``E + 1`` and ``E - 1``; ``E + 1`` and ``E - 1`` become ``E``."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)) and number(node.right) == 1:
        if not texty(node.left):
            yield stripped(code, node)
    elif number(node) is None and not isinstance(node, (ast.Starred, ast.Constant)):
        text = f"({code.text(node)})" if loose(node) else code.text(node)
        yield code.replace(node, f"{text} + 1")
        yield code.replace(node, f"{text} - 1")


def stripped(code: Code, node: ast.BinOp) -> Edit:
    """Its left operand alone."""
    return code.replace(node, code.cut(code.span(node)[0], code.gap(node.left, node.right, r"[+-]").left))


def off_by_one(code: Code) -> Iterator[Edit]:
    """A whole number, or a bound of ``range``, of a slice or of ``enumerate``, is one too much or too little."""
    yield from _constants(code)
    for call in code.nodes(ast.Call):
        if not isinstance(call.func, ast.Name) or call.keywords or any(isinstance(a, ast.Starred) for a in call.args):
            continue
        if call.func.id == "range":
            for arg in call.args[:2]:
                yield from shifted(code, arg)
            if len(call.args) == 1 and number(call.args[0]) is None:
                start = code.span(call.args[0])[0]
                before = code.masked(code.span(call.func)[1], start).find("(") + code.span(call.func)[1] + 1
                yield Edit(before, before, "1, ", "`range` starts at 1")
            if len(call.args) == 2 and number(call.args[0]) == 1:
                gap = code.gap(call.args[0], call.args[1], ",")
                yield Edit(code.span(call.args[0])[0], gap.right, "", "`range` starts at 0")
        if call.func.id == "enumerate" and len(call.args) == 1:
            end = code.span(call)[1] - 1
            if code.data[code.span(call.args[0])[1] : end].strip() == b"":
                yield Edit(end, end, ", 1", "`enumerate` starts at 1")
        if call.func.id == "enumerate" and len(call.args) == 2 and number(call.args[1]) == 1:
            gap = code.gap(call.args[0], call.args[1], ",")
            yield Edit(gap.left, code.span(call.args[1])[1], "", "`enumerate` starts at 0")
    for piece in code.nodes(ast.Slice):
        for bound in (piece.lower, piece.upper):
            if bound is not None:
                yield from shifted(code, bound)
    for item in code.nodes(ast.Subscript):
        if isinstance(item.slice, ast.BinOp) and isinstance(item.slice.op, (ast.Add, ast.Sub)):
            if number(item.slice.right) == 1 and not texty(item.slice.left):
                yield stripped(code, item.slice)


def _neutral(op: ast.operator, right: ast.AST) -> bool:
    """``x + 0``, ``x * 1``: no bug could be seen."""
    n = number(right)
    return n == 0 if isinstance(op, (ast.Add, ast.Sub)) else n == 1


def operator(code: Code) -> Iterator[Edit]:
    """Another arithmetic operator, operands the wrong way round, a lost sign."""
    for node in code.nodes(ast.BinOp):
        mine = _TOKENS.get(type(node.op))
        if mine is None or texty(node.left) or texty(node.right):
            continue
        if mine == "|" and code.function(node) is None:  # a union of types
            continue
        gap = code.gap(node.left, node.right, "".join("\\" + c for c in mine))
        if not _neutral(node.op, node.right):
            for other in _NEAR.get(mine, ()):
                if not _neutral(_OPERATORS[other](), node.right):
                    yield Edit(gap.start, gap.end, other)
        if mine in ("-", "/", "//", "%", "**", "<<", ">>") and not same(node.left, node.right):
            (a, d) = code.span(node)
            sides = code.cut(a, gap.left), code.cut(gap.right, d)
            if all(simple(n) or s.startswith("(") for n, s in zip((node.left, node.right), sides)):
                yield Edit(a, d, sides[1] + code.cut(gap.left, gap.right) + sides[0], "the operands swapped")
    for step in code.nodes(ast.AugAssign):
        mine = _TOKENS.get(type(step.op))
        if mine is not None and not texty(step.value) and not _neutral(step.op, step.value):
            gap = code.gap(step.target, step.value, "".join("\\" + c for c in mine) + "=")
            for other in _NEAR.get(mine, ()):
                if not _neutral(_OPERATORS[other](), step.value):
                    yield Edit(gap.start, gap.end, f"{other}=")
    for sign in code.nodes(ast.UnaryOp):
        if isinstance(sign.op, ast.USub) and number(sign) is None and not isinstance(sign.operand, ast.Constant):
            yield code.replace(sign, code.cut(*code.behind(sign, "-", sign.operand)))

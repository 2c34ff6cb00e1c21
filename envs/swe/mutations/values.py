"""Bugs in texts, slices and defaults."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .arithmetic import number
from .code import Code, Edit, Function, called, neighbours

_PAIRS = (
    ("strip", "lstrip"),
    ("strip", "rstrip"),
    ("lstrip", "rstrip"),
    ("lower", "upper"),
    ("title", "capitalize"),
    ("startswith", "endswith"),
    ("find", "rfind"),
    ("index", "rindex"),
    ("split", "rsplit"),
    ("partition", "rpartition"),
    ("ljust", "rjust"),
    ("removeprefix", "removesuffix"),
    ("isdigit", "isalpha"),
    ("isdigit", "isalnum"),
    ("isalpha", "isalnum"),
    ("isupper", "islower"),
)
_NEAR = neighbours(_PAIRS)
SEPARATORS = {
    "split",
    "rsplit",
    "join",
    "partition",
    "rpartition",
    "replace",
    "strip",
    "lstrip",
    "rstrip",
    "splitlines",
}
_STRIPS = {"strip", "lstrip", "rstrip"}
FEW = 3  # other texts for one place


def asked(code: Code, node: ast.AST) -> bool:
    """Whether an expression is only asked for its truth."""
    parent = code.parents[node]
    if isinstance(parent, ast.UnaryOp):
        return isinstance(parent.op, ast.Not)
    if isinstance(parent, ast.comprehension):
        return node in parent.ifs
    return isinstance(parent, (ast.If, ast.While, ast.IfExp)) and parent.test is node


def separator(code: Code, node: ast.Constant) -> bool:
    """Whether a text parts or joins others: ``","`` of ``",".join(...)`` and of ``x.split(",")``."""
    parent = code.parents[node]
    if isinstance(parent, ast.Attribute):
        call = code.parents[parent]
        return parent.attr == "join" and isinstance(call, ast.Call) and call.func is parent
    return isinstance(parent, ast.Call) and node in parent.args and called(parent) in SEPARATORS - {"join"}


def separators(code: Code) -> list[str]:
    """The texts that part or join others somewhere in the file."""
    found = [n for n in code.nodes(ast.Constant) if isinstance(n.value, str) and separator(code, n)]
    found.sort(key=lambda n: (n.lineno, n.col_offset))
    return list(dict.fromkeys(str(n.value) for n in found))


def string_slice(code: Code) -> Iterator[Edit]:
    """A slice lost or mirrored a bound, a method of texts is the other one of a pair, a separator is another."""
    for item in code.nodes(ast.Subscript):
        if isinstance(item.slice, ast.Slice) and isinstance(item.ctx, ast.Load):
            yield from _slice(code, item, item.slice)
    for node in code.nodes(ast.Attribute):
        parent = code.parents[node]
        if isinstance(parent, ast.Call) and parent.func is node and not (node.attr in _STRIPS and asked(code, parent)):
            if node.attr in ("split", "rsplit") and len(parent.args) + len(parent.keywords) < 2:
                continue  # the same where nothing limits the number of pieces
            for other in _NEAR.get(node.attr, ()):
                yield from code.attribute(node, other)
    others = separators(code)
    for text in code.nodes(ast.Constant):
        if isinstance(text.value, str) and separator(code, text):
            value, joins = text.value, isinstance(code.parents[text], ast.Attribute)
            near = [value[:-1] if value.endswith(" ") and len(value) > 1 else value + " ", *([""] if joins else [])]
            near += others
            fit = [n for n in dict.fromkeys(near) if n != value and (n or joins)]
            for new in fit[: FEW + joins]:
                yield code.replace(text, repr(new))


def _slice(code: Code, item: ast.Subscript, piece: ast.Slice) -> Iterator[Edit]:
    start, end = code.span(piece)
    lower, upper, step = piece.lower, piece.upper, piece.step
    if step is not None:
        n = number(step)
        if n in (1, -1):
            yield code.replace(step, str(-n), "a slice runs the other way")
        return
    if lower is None and upper is None:
        return
    low, high = (code.text(b) if b is not None else "" for b in (lower, upper))
    if any(isinstance(b, (ast.NamedExpr, ast.Lambda, ast.IfExp, ast.BoolOp, ast.Compare)) for b in (lower, upper)):
        return
    if "\n" in code.cut(start, end):
        return
    if lower is not None and upper is not None:
        yield Edit(start, end, f"{low}:", "a slice lost its end")
        yield Edit(start, end, f":{high}", "a slice lost its start")
    else:
        yield Edit(start, end, f"{high}:{low}", "a slice is on the other side")


def defaults(code: Code) -> Iterator[ast.expr]:
    """Constant defaults of parameters, and of fields of data classes."""
    for node in code.nodes(ast.arguments):
        yield from (d for d in [*node.defaults, *node.kw_defaults] if d is not None)
    for owner in code.nodes(ast.ClassDef):
        names = {called(d) or getattr(d, "id", getattr(d, "attr", "")) for d in owner.decorator_list}
        if names & {"dataclass", "define", "frozen"}:
            for stmt in owner.body:
                if isinstance(stmt, ast.AnnAssign) and stmt.value is not None:
                    yield stmt.value


def _filled(code: Code, default: ast.expr) -> bool:
    """Whether the function replaces a default of ``None`` by an empty list or the like."""
    arguments = code.parents[default]
    function = code.parents.get(arguments)
    if not isinstance(arguments, ast.arguments) or not isinstance(function, Function):
        return False
    empty = {"list()", "dict()", "set()", "[]", "{}"}
    given = (n for n in ast.walk(function) if isinstance(n, (ast.Assign, ast.IfExp, ast.BoolOp)))
    return any(ast.unparse(n).split()[-1] in empty for n in given)


def default_argument(code: Code) -> Iterator[Edit]:
    """Another default of a parameter, a flag the other way round in a call, a keyword that is not passed."""
    for node in defaults(code):
        n = number(node)
        if n is not None:
            yield from (code.replace(node, str(other)) for other in (n + 1, n - 1))
            yield code.replace(node, "None")
        elif isinstance(node, ast.Constant):
            value = node.value
            if value is None:
                yield code.replace(node, "[]" if _filled(code, node) else "0")
                yield code.replace(node, "False")
            elif isinstance(value, bool):
                yield code.replace(node, str(not value))
            elif isinstance(value, str):
                yield code.replace(node, "' '" if not value else "''")
                yield code.replace(node, "None")
    for call in code.nodes(ast.Call):
        for i, k in enumerate(call.keywords):
            if isinstance(k.value, ast.Constant) and isinstance(k.value.value, bool):
                yield code.replace(k.value, str(not k.value.value))
            if k.arg is not None:
                yield from _drop(code, call, i)


def _drop(code: Code, call: ast.Call, i: int) -> Iterator[Edit]:
    """A keyword is not passed."""
    k = call.keywords[i]
    start, end = code.span(k)
    everything = sorted([*map(code.span, call.args), *map(code.span, call.keywords)])
    at = everything.index((start, end))
    before = everything[at - 1][1] if at else code.span(call.func)[1]
    between = code.cut(before, start)
    if "#" in between:
        return
    if at:
        yield Edit(before + len(between[: between.index(",")].encode()), end, "", f"`{k.arg}` is not passed")
    elif len(everything) == 1:
        yield Edit(start, end, "", f"`{k.arg}` is not passed")

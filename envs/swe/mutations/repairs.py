"""Edits that only a repair makes: what was taken away is put back, from idioms and from what the file itself does elsewhere.

``REPAIRS`` has, for each family of bugs, functions in addition to the family's own.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator

from .arithmetic import loose, number
from .code import Code, Edit, Function, called, dotted, same, simple
from .names import nearest, wrong_variable
from .repair_statements import dropped_guards, lost_calls, lost_returns, lost_updates, missing_else, reraise
from .statements import COPIES, kin, wrapped
from .values import defaults, separators

_MOST = 6  # suggestions for one place


def shifted_index(code: Code) -> Iterator[Edit]:
    """``x[i]`` becomes ``x[i + 1]`` and ``x[i - 1]``."""
    for item in code.nodes(ast.Subscript):
        index = item.slice
        if isinstance(index, (ast.Name, ast.Attribute)) or (isinstance(index, ast.BinOp) and number(index.right) != 1):
            text = f"({code.text(index)})" if loose(index) else code.text(index)
            yield code.replace(index, f"{text} + 1")
            yield code.replace(index, f"{text} - 1")


def signs(code: Code) -> Iterator[Edit]:
    """``x`` becomes ``-x`` where it is passed, assigned, returned or one of several values."""
    for node in _values(code):
        owner = code.parents[node]
        if isinstance(owner, (ast.Call, ast.Assign, ast.AugAssign, ast.Return, ast.Tuple)) and kind(code, node) in (
            "",
            "int",
        ):
            if isinstance(node, (ast.Name, ast.Attribute, ast.Call, ast.Subscript)):
                yield code.replace(node, f"-{code.text(node)}")


def more_variables(code: Code) -> Iterator[Edit]:
    """As the family does, with more variables, and those that may not be bound on every way."""
    yield from wrong_variable(code, 4, sure=False)


def _values(code: Code) -> Iterator[ast.expr]:
    """Expressions whose value goes somewhere: returned, assigned, passed, compared, iterated, an operand or an index."""
    for node in code.nodes(ast.Return, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.keyword):
        if node.value is not None:
            yield node.value
    for call in code.nodes(ast.Call):
        yield from (a for a in call.args if not isinstance(a, ast.Starred))
        if isinstance(call.func, ast.Attribute):
            yield call.func.value
    for compare in code.nodes(ast.Compare):
        yield from [compare.left, *compare.comparators]
    for loop in code.nodes(ast.For, ast.comprehension):
        yield loop.iter
    for pair in code.nodes(ast.BinOp):
        yield from (pair.left, pair.right)
    for group in code.nodes(ast.BoolOp, ast.Tuple, ast.List):
        if isinstance(getattr(group, "ctx", ast.Load()), ast.Load):
            yield from group.values if isinstance(group, ast.BoolOp) else group.elts
    for made in code.nodes(ast.ListComp, ast.SetComp, ast.GeneratorExp):
        yield made.elt
    for pairs in code.nodes(ast.DictComp):
        yield from (pairs.key, pairs.value)
    for item in code.nodes(ast.Subscript):
        if not isinstance(item.slice, (ast.Slice, ast.Tuple, ast.Constant)):
            yield item.slice


_KINDS = {"int": "int", "float": "int", "bool": "bool", "str": "str", "list": "list", "dict": "dict", "set": "set"}
_TELL = {
    "len": "int",
    "sum": "int",
    "abs": "int",
    "int": "int",
    "float": "int",
    "ord": "int",
    "str": "str",
    "join": "str",
}


def kind(code: Code, node: ast.AST) -> str:
    """What an expression is, as its form or an annotation says: ``int`` for numbers, ``str``, ``list`` ...; else nothing."""
    if isinstance(node, ast.Name):
        said = next((v.annotation for v in code.scopes.visible(node, False) if v.name == node.id), "")
        return _KINDS.get(re.split(r"\W", said)[0], "")
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Sub, ast.Div, ast.FloorDiv, ast.Pow)):
        return "int"
    if isinstance(node, (ast.List, ast.ListComp)):
        return "list"
    return "str" if isinstance(node, ast.JoinedStr) else _TELL.get(called(node), "")


def copies(code: Code) -> Iterator[Edit]:
    """A value that is returned, assigned, passed or iterated is copied first: ``list(x)``, ``x.copy()``, ``x[:]``."""
    used = {called(c) for c in code.nodes(ast.Call)} & COPIES
    sliced = any(
        isinstance(p.slice, ast.Slice) and not (p.slice.lower or p.slice.upper) for p in code.nodes(ast.Subscript)
    )
    for node in _values(code):
        owner = code.parents[node]
        if not isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)) or kind(code, node) in ("int", "str", "bool"):
            continue
        if isinstance(owner, (ast.BinOp, ast.Compare, ast.BoolOp, ast.Attribute, ast.Subscript)):
            continue
        text, likely = code.text(node), isinstance(owner, (ast.Return, ast.Assign, ast.AnnAssign))
        kinds = used | ({"list", "dict", "copy"} if likely else {"list"} if isinstance(owner, ast.For) else set())
        for k in sorted(kinds):
            if k == "deepcopy":
                yield code.replace(node, f"copy.deepcopy({text})")
            elif called(owner) != k:
                yield code.replace(node, f"{text}.copy()" if k == "copy" else f"{k}({text})")
        if sliced or likely:
            yield code.replace(node, f"{text}[:]")


_NUMERIC = re.compile(r"(abs|round|int|float|max|min)\(")


def _forms(code: Code) -> tuple[list[str], list[str]]:
    """Calls around a value, and methods behind one, that a file uses; ``{}`` stands for the value; the most used first."""
    around: Counter[str] = Counter()
    behind: Counter[str] = Counter()
    for call in sorted(code.nodes(ast.Call), key=code.span):
        inner = wrapped(call)
        if inner is not None and inner in call.args and called(call) != "len":
            around[code.text(call.func) + "({}" + code.cut(code.span(inner)[1], code.span(call)[1])] += 1
        elif inner is not None and isinstance(call.func, ast.Attribute):
            behind["." + call.func.attr + code.cut(code.span(call.func)[1], code.span(call)[1])] += 1
        elif called(call) in ("min", "max") and isinstance(call.func, ast.Name) and len(call.args) == 2:
            a, b = call.args
            for kept, form in ((b, f"{code.text(a)}, {{}}"), (a, f"{{}}, {code.text(b)}")):
                if not isinstance(kept, (ast.Constant, ast.Starred)):
                    around[f"{called(call)}({form})"] += 1
    fit = [f for f, _ in around.most_common() if f.count("{") == 1 and "\n" not in f]
    return fit[:_OWN], [t for t, _ in behind.most_common() if "\n" not in t][:_OWN]


_OWN = 4  # forms of the file that are tried at one place


def wraps(code: Code) -> Iterator[Edit]:
    """A call is put around a value: such as the file makes elsewhere, or a usual one for the place."""
    around, behind = _forms(code)
    for node in _values(code):
        if isinstance(
            node, (ast.Constant, ast.Compare, ast.BoolOp, ast.Lambda, ast.IfExp, ast.GeneratorExp, ast.Starred)
        ):
            continue
        if isinstance(node, ast.Name) and node.id in code.outer:
            continue
        owner, what, text = code.parents[node], kind(code, node), code.text(node)
        if isinstance(node, ast.Name) and what == "" and (code.scopes.owner(node) or ("", ""))[1] == node.id:
            continue
        if not isinstance(owner, ast.Attribute):
            for form in dict.fromkeys([*around, *_usual(owner, node)]):
                numeric = _NUMERIC.match(form) is not None
                if what in ("", "int", "str") if numeric else what not in ("int", "bool"):
                    if called(owner) + "({})" != form and not (numeric and what == "str" and form[0] in "am"):
                        yield code.replace(node, form.replace("{}", text))
        if simple(node) and what in ("", "str"):
            yield from (code.replace(node, text + tail) for tail in dict.fromkeys([*behind, *_tails(owner)]))


def _usual(owner: ast.AST, node: ast.AST) -> tuple[str, ...]:
    if isinstance(owner, (ast.For, ast.comprehension)):
        return ("sorted({})", "reversed({})")
    if isinstance(node, ast.BinOp):
        return ("abs({})", "max(0, {})", "int({})")
    return ("sorted({})", "abs({})") if isinstance(owner, (ast.Return, ast.Assign)) else ()


def _tails(owner: ast.AST) -> tuple[str, ...]:
    return (".strip()", ".lower()") if isinstance(owner, (ast.Return, ast.Assign, ast.Compare)) else ()


def operands(code: Code) -> Iterator[Edit]:
    """A condition gets one more side by ``and`` or ``or``: what its function, or else its class, tests elsewhere."""
    tested: dict[str, tuple[str, ast.expr]] = {}
    for node in sorted(code.nodes(ast.BoolOp), key=code.span):
        for side in node.values:
            tested.setdefault(ast.dump(side), (_BOOL_WORD[type(node.op)], side))
    for choice in sorted(code.nodes(ast.If, ast.While, ast.IfExp), key=code.span):
        tested.setdefault(ast.dump(choice.test), ("and", choice.test))
    reads = {key: _names(side) for key, (_, side) in tested.items()}
    for test in _conditions(code):
        if isinstance(test, ast.NamedExpr):
            continue
        there = {v.name for v in code.scopes.visible(test, False)} | _names(test)
        at, me = code.span(test)[0], (code.function(test), code.scopes.owner(test))
        known = [
            (code.function(side) is not me[0], abs(code.span(side)[0] - at), word, code.text(side))
            for key, (word, side) in tested.items()
            if not isinstance(side, ast.NamedExpr)
            and reads[key] - code.outer <= there
            and not same(side, test)
            and (code.scopes.owner(side) == me[1])
        ]
        mine = code.text(test)
        for _, _, word, text in sorted(k for k in known if "\n" not in k[3])[:_OWN]:
            left = f"({mine})" if isinstance(test, (ast.IfExp, ast.Lambda)) or _weaker(test, word) else mine
            text = f"({text})" if re.search(r"\b(or|if|lambda)\b", text) else text
            yield code.replace(test, f"{left} {word} {text}")
            yield code.replace(test, f"{text} {word} {left}")


_BOOL_WORD: dict[type[ast.boolop], str] = {ast.And: "and", ast.Or: "or"}


def _weaker(node: ast.AST, word: str) -> bool:
    return isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or) and word == "and"


def _conditions(code: Code) -> Iterator[ast.expr]:
    for node in code.nodes(ast.If, ast.While, ast.IfExp):
        if not isinstance(node.test, ast.Constant):
            yield node.test
    for part in code.nodes(ast.comprehension):
        yield from part.ifs
    for given in code.nodes(ast.Return):
        if isinstance(given.value, (ast.Compare, ast.BoolOp)):
            yield given.value
    for both in code.nodes(ast.BoolOp):
        yield from both.values


def _names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def caught(code: Code) -> Iterator[Edit]:
    """Another relative of the type is raised or caught than the bugs take, or one more is caught."""
    for raised in code.nodes(ast.Raise):
        kind = raised.exc.func if isinstance(raised.exc, ast.Call) else raised.exc
        if isinstance(kind, ast.Name):
            yield from (code.replace(kind, other) for other in list(kin(code, kind.id))[:_MOST])
    for node in code.nodes(ast.Try):
        for handler in node.handlers:
            if isinstance(handler.type, ast.Name):
                for other in list(kin(code, handler.type.id))[:_MOST]:
                    yield code.replace(handler.type, other)
                    yield code.replace(handler.type, f"({handler.type.id}, {other})")
                    yield code.replace(handler.type, f"({other}, {handler.type.id})")
            elif isinstance(handler.type, ast.Tuple) and all(isinstance(e, ast.Name) for e in handler.type.elts):
                have = [code.text(e) for e in handler.type.elts]
                more = dict.fromkeys(k for h in have for k in list(kin(code, h))[:3] if k not in have)
                for other in list(more)[:_MOST]:
                    for i in range(len(have) + 1):
                        yield code.replace(handler.type, f"({', '.join([*have[:i], other, *have[i:]])})")


def slice_bounds(code: Code) -> Iterator[Edit]:
    """A slice with one bound gets the other: a small number, a variable, or the other bound with a step."""
    for item in code.nodes(ast.Subscript):
        piece = item.slice
        if not isinstance(piece, ast.Slice) or piece.step is not None or (piece.lower is None) == (piece.upper is None):
            continue
        start, end = code.span(piece)
        mine = code.text(piece.lower or piece.upper or piece)
        names = nearest("", 0, code.scopes.visible(item), _MOST)
        fields = [f"{dotted(item.value)}"] if dotted(item.value) else []
        more = [f"{mine} + {n}" for n in names] + [
            f"{mine} + 1",
            f"{mine} + 2",
            f"len({fields[0]})" if fields else "None",
        ]
        for bound in ("1", "-1", *names, *(more if piece.lower else [f"{n} + 1" for n in names])):
            yield Edit(
                start, end, f"{mine}:{bound}" if piece.lower else f"{bound}:{mine}", "a slice gets its other bound"
            )


def texts(code: Code) -> Iterator[Edit]:
    """An empty separator or default becomes one that the file uses elsewhere, or a usual one."""
    usual = [*separators(code), " ", ", ", ",", "\n"]
    for call in code.nodes(ast.Call):
        if (
            isinstance(call.func, ast.Attribute)
            and call.func.attr == "join"
            and isinstance(call.func.value, ast.Constant)
        ):
            value = call.func.value.value
            yield from (code.replace(call.func.value, repr(t)) for t in dict.fromkeys(usual) if t != value)
        if isinstance(call.func, ast.Attribute) and call.func.attr in ("split", "rsplit", "strip", "lstrip", "rstrip"):
            if not call.args and not call.keywords:
                end = code.span(call)[1] - 1
                yield from (Edit(end, end, repr(t), "a separator is passed") for t in dict.fromkeys(usual) if t)


def default_values(code: Code) -> Iterator[Edit]:
    """A default becomes ``None``, a usual constant, or another text that the file uses."""
    strings: dict[str, None] = {}
    for node in sorted(code.nodes(ast.Constant), key=code.span):
        if isinstance(node.value, str) and len(node.value) <= 12:
            strings[node.value] = None
    for default in defaults(code):
        mine = default.value if isinstance(default, ast.Constant) else ...
        if mine is not None:
            yield code.replace(default, "None")
        if isinstance(mine, str) or mine is None:
            few = list(dict.fromkeys([*strings, " ", ",", "utf-8"]))[:40]
            yield from (code.replace(default, repr(s)) for s in few if s != mine)
        if mine is None:
            yield from (
                code.replace(default, s) for s in ("0", "1", "-1", "2", "3", "4", "10", "100", "True", "''", "()")
            )


def keywords(code: Code) -> Iterator[Edit]:
    """A keyword is passed that the same function gets elsewhere in the file, has as a parameter, or usually gets."""
    seen: dict[str, dict[str, None]] = {}
    for call in sorted(code.nodes(ast.Call), key=code.span):
        for k in call.keywords:
            if k.arg:
                seen.setdefault(called(call), {})[code.text(k)] = None
    for name in ("sorted", "sort"):
        seen.setdefault(name, {})["reverse=True"] = None
    for name in ("min", "max"):
        seen.setdefault(name, {})["default=None"] = None
    for function in code.nodes(*Function):
        for arg in [*function.args.args, *function.args.kwonlyargs]:
            for value in (arg.arg, "True", "False"):
                seen.setdefault(function.name, {})[f"{arg.arg}={value}"] = None
    for call in code.nodes(ast.Call):
        have = {k.arg for k in call.keywords}
        end = code.span(call)[1] - 1
        inner = code.masked(code.span(call.func)[1], end).rstrip()
        comma = "" if inner.endswith(("(", ",")) else ", "
        if len(call.args) == 1 and isinstance(call.args[0], ast.GeneratorExp) and not have:
            continue
        for text in list(seen.get(called(call), ()))[: _MOST * 3]:
            if text.split("=")[0] not in have and "\n" not in text:
                yield Edit(end, end, comma + text, "a keyword is passed")


def got(code: Code) -> Iterator[Edit]:
    """``get`` with a default."""
    for call in code.nodes(ast.Call):
        if (
            isinstance(call.func, ast.Attribute)
            and call.func.attr == "get"
            and len(call.args) == 1
            and not call.keywords
        ):
            end = code.span(call.args[0])[1]
            if re.fullmatch(r"\s*\)", code.cut(end, code.span(call)[1])):
                for value in ("0", "1", "''", "[]", "()", "False", "{}"):
                    yield Edit(end, end, f", {value}", "`get` has a default")


REPAIRS: dict[str, tuple[Callable[[Code], Iterator[Edit]], ...]] = {
    "control_flow": (missing_else,),
    "default_argument": (default_values, keywords),
    "dropped_guard": (dropped_guards, operands),
    "exception_handling": (caught, reraise),
    "off_by_one": (shifted_index,),
    "operator": (signs,),
    "removed_call": (wraps, lost_calls),
    "return_value": (lost_returns,),
    "state": (copies, lost_updates),
    "string_slice": (slice_bounds, texts),
    "wrong_call": (got,),
    "wrong_variable": (more_variables,),
}

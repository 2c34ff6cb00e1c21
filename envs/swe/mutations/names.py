"""Bugs in names: another variable, arguments in another order, a function that is near the right one."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator

from .code import Code, Edit, called, dotted, neighbours, same
from .scope import Variable

_TYPE_CHECKS = {"isinstance", "issubclass", "getattr", "setattr", "hasattr", "delattr"}  # swapped, they only raise
_UNMOVED = (ast.Starred, ast.Yield, ast.YieldFrom, ast.NamedExpr, ast.GeneratorExp)
_COMMUTE = {"min", "max", "gcd", "lcm", "hypot", "isclose", "dist", "union", "isdisjoint"}
_FUNCTIONS = (
    ("min", "max"),
    ("any", "all"),
    ("floor", "ceil"),
    ("str", "repr"),
    ("int", "float"),
    ("int", "round"),
    ("divmod", "pow"),
)
_METHODS = (
    ("append", "extend"),
    ("appendleft", "append"),
    ("popleft", "pop"),
    ("keys", "values"),
    ("values", "items"),
    ("add", "discard"),
    ("union", "intersection"),
    ("intersection", "difference"),
    ("difference", "symmetric_difference"),
    ("issubset", "issuperset"),
    ("get", "setdefault"),
    ("floor", "ceil"),
    ("bisect_left", "bisect_right"),
    ("insort_left", "insort_right"),
    ("heappushpop", "heapreplace"),
    ("min", "max"),
    ("match", "fullmatch"),
    ("match", "search"),
    ("group", "groups"),
    ("start", "end"),
    ("islice", "cycle"),
    ("date", "time"),
)


_NEAR_FUNCTIONS, _NEAR_METHODS = neighbours(_FUNCTIONS), neighbours(_METHODS)


def nearest(me: str, order: int, others: list[Variable], most: int, annotation: str = "") -> list[str]:
    """Up to ``most`` other names, those first bound closest in front; parameters of another plain type are left out."""
    fit = [v for v in others if v.name != me and not (annotation and v.annotation and annotation != v.annotation)]
    fit.sort(key=lambda v: (abs(v.order - order), v.order, v.name))
    return [v.name for v in fit[:most]]


def variables(code: Code, most: int, sure: bool) -> Iterator[tuple[ast.Name, list[str]]]:
    """Each variable that is read in a function, with the others that could stand there.

    What is called, returned as it is, or a module's is left out.
    """
    for node in code.nodes(ast.Name):
        parent = code.parents[node]
        if not isinstance(node.ctx, ast.Load) or code.scopes.home(node) is code.tree:
            continue
        if (isinstance(parent, ast.Call) and parent.func is node) or isinstance(parent, ast.Return):
            continue
        there = code.scopes.visible(node, sure)
        mine = next((v for v in code.scopes.visible(node, False) if v.name == node.id), None)
        if mine is not None:
            yield node, nearest(node.id, mine.order, there, most, mine.annotation)
        elif node.id in code.scopes.constants():
            every = code.scopes.constants()
            at = every.index(node.id)
            close = sorted((n for n in every if n != node.id), key=lambda n: (abs(every.index(n) - at), every.index(n)))
            yield node, close[:most]


def attributes(code: Code, most: int, store: bool) -> Iterator[tuple[ast.Attribute, list[str]]]:
    """Each attribute of a method's own object that is read, or written, with its class's others."""
    for node in code.nodes(ast.Attribute):
        owner = code.scopes.owner(node)
        if owner is None or not isinstance(node.value, ast.Name) or node.value.id != owner[1]:
            continue
        if isinstance(node.ctx, ast.Store) is not store or isinstance(node.ctx, ast.Del):
            continue
        every = code.scopes.fields(owner[0])
        if node.attr in every:
            at = every.index(node.attr)
            close = sorted(
                (n for n in every if n != node.attr), key=lambda n: (abs(every.index(n) - at), every.index(n))
            )
            yield node, close[:most]


def wrong_variable(code: Code, most: int = 2, sure: bool = True) -> Iterator[Edit]:
    """Another variable of the function, or another attribute of the object.

    Args:
        code: the file.
        most: replacements for one place.
        sure: only variables that are bound on every way there.
    """
    for name, others in variables(code, most, sure):
        yield from (code.replace(name, other) for other in others)
    for attribute, others in attributes(code, most, store=False):
        for other in others:
            yield from code.attribute(attribute, other)


def swapped_arguments(code: Code) -> Iterator[Edit]:
    """Two neighbouring arguments of a call the wrong way round."""
    for call in code.nodes(ast.Call):
        name = called(call)
        if name not in _TYPE_CHECKS and name not in _COMMUTE:
            for first, second in itertools.pairwise(call.args):
                if not isinstance(first, _UNMOVED) and not isinstance(second, _UNMOVED):
                    yield from code.swap(first, second)
        for one, two in itertools.pairwise(call.keywords):
            if one.arg and two.arg and not isinstance(one.value, _UNMOVED) and not isinstance(two.value, _UNMOVED):
                yield from code.swap(one.value, two.value)


def wrong_call(code: Code) -> Iterator[Edit]:
    """A function near the right one: ``max`` for ``min``, ``any`` for ``all``, ``pop()`` for ``pop(0)``."""
    for call in code.nodes(ast.Call):
        if isinstance(call.func, ast.Name):
            for other in _NEAR_FUNCTIONS.get(call.func.id, ()):
                if not (other == "float" and len(call.args) != 1):
                    yield code.replace(call.func, other)
        elif isinstance(call.func, ast.Attribute):
            for other in _NEAR_METHODS.get(call.func.attr, ()):
                if call.func.attr == "pop" and call.args:  # popleft takes none
                    continue
                yield from code.attribute(call.func, other)
            if call.func.attr == "pop" and not call.keywords:
                yield from _popped(code, call)
            if call.func.attr == "get" and len(call.args) == 2 and not call.keywords and not _none(call.args[1]):
                gap = code.gap(call.args[0], call.args[1], ",")
                if not isinstance(call.args[1], ast.Starred) and "requests" not in dotted(call.func):
                    yield Edit(gap.left, code.span(call)[1] - 1, "", "the default of `get` dropped")


def _none(node: ast.AST) -> bool:
    return same(node, ast.Constant(None))


def _popped(code: Code, call: ast.Call) -> Iterator[Edit]:
    end = code.span(call)[1] - 1
    if not call.args:
        start = end - len(code.cut(code.span(call.func)[1], end).rpartition("(")[2])
        yield Edit(start, end, "0", "`pop` takes the first instead of the last")
    elif len(call.args) == 1 and same(call.args[0], ast.Constant(0)):
        start, stop = code.span(call.args[0])
        yield Edit(start, stop, "", "`pop` takes the last instead of the first")

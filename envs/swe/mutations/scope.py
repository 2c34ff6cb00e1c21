"""Which variables are there at a point of a source file, and which attributes a class keeps."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class Place:
    """Where a statement stands: its block, its index there, and the node that the block is part of."""

    block: list[ast.stmt]
    index: int
    owner: ast.AST


@dataclass
class Variable:
    """A name that a function, or the module, binds as a variable."""

    name: str
    order: int
    """Among those of its function, by where they are first bound."""
    annotation: str = ""
    at: list[tuple[int, int]] = field(default_factory=list)
    """``(id of the block, index in it)`` of each binding; the index is -1 for what a block's header binds."""
    lines: list[tuple[int, int]] = field(default_factory=list)
    """Line and column of each binding."""


def bound(target: ast.AST) -> Iterator[ast.Name]:
    """The names that an assignment's target binds."""
    if isinstance(target, ast.Name):
        yield target
    elif isinstance(target, (ast.Tuple, ast.List)):
        for element in target.elts:
            yield from bound(element)
    elif isinstance(target, ast.Starred):
        yield from bound(target.value)


def receiver(function: ast.AST | None) -> str:
    """The name of a method's first parameter; empty for what has none."""
    if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return ""
    args = [*function.args.posonlyargs, *function.args.args]
    return args[0].arg if args else ""


class Scopes:
    """Variables of every function of a tree.

    Functions, classes and imported modules are no variables, nor are ``self``, ``cls`` and names of underscores alone.
    """

    def __init__(self, tree: ast.Module, parents: dict[ast.AST, ast.AST], places: dict[ast.stmt, Place]) -> None:
        self._parents, self._places = parents, places
        self._tables: dict[ast.AST, dict[str, Variable]] = {tree: {}}
        self._tree = tree
        self._fields: dict[ast.ClassDef, tuple[str, ...]] = {}
        self._outer: dict[ast.AST, set[str]] = {}
        for node in self._ordered(tree):
            self._bind(node)

    @staticmethod
    def _ordered(tree: ast.AST) -> Iterator[ast.AST]:
        stack = [tree]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(list(ast.iter_child_nodes(node))))

    def _bind(self, node: ast.AST) -> None:
        if isinstance(node, _FUNCTIONS):
            self._tables[node] = {}
            method = isinstance(self._parents.get(node), ast.ClassDef)
            a = node.args
            every = [*a.posonlyargs, *a.args, *([a.vararg] if a.vararg else []), *a.kwonlyargs]
            every += [a.kwarg] if a.kwarg else []
            static = any(
                isinstance(d, ast.Name) and d.id == "staticmethod" for d in getattr(node, "decorator_list", ())
            )
            for i, arg in enumerate(every):
                if not (method and i == 0 and not static) and arg.arg not in ("self", "cls"):
                    kind = ast.unparse(arg.annotation) if arg.annotation else ""
                    block = node.body if isinstance(node.body, list) else None
                    self._add(node, arg.arg, arg, id(block) if block is not None else id(node), -1, kind)
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                for name in bound(target):
                    kind = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else ""
                    place = self._places[node]
                    self._add(self.home(node), name.id, name, id(place.block), place.index, kind)
        elif isinstance(node, ast.NamedExpr):
            stmt = self._statement(node)
            self._add(
                self.home(node), node.target.id, node.target, id(self._places[stmt].block), self._places[stmt].index
            )
        elif isinstance(node, (ast.For, ast.AsyncFor)):
            for name in bound(node.target):
                self._add(self.home(node), name.id, name, id(node.body), -1)
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            for item in node.items:
                for name in bound(item.optional_vars) if item.optional_vars else ():
                    self._add(self.home(node), name.id, name, id(node.body), -1)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            self._add(self.home(node), node.name, node, id(node.body), -1)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            self._outer.setdefault(self.home(node), set()).update(node.names)

    def _add(self, home: ast.AST, name: str, node: ast.AST, block: int, index: int, annotation: str = "") -> None:
        if not name.strip("_") or isinstance(home, ast.ClassDef):
            return
        table = self._tables.setdefault(home, {})
        variable = table.setdefault(name, Variable(name, len(table), annotation))
        variable.at.append((block, index))
        variable.lines.append((getattr(node, "lineno", 0), getattr(node, "col_offset", 0)))

    def _statement(self, node: ast.AST) -> ast.stmt:
        while not isinstance(node, ast.stmt):
            node = self._parents[node]
        return node

    def home(self, node: ast.AST) -> ast.AST:
        """The function, class or module whose names a node's own bindings are."""
        before, node = node, self._parents.get(node, self._tree)
        while not isinstance(node, (*_FUNCTIONS, ast.ClassDef, ast.Module)) or self._outside(before, node):
            before, node = node, self._parents[node]
        return node

    @staticmethod
    def _outside(child: ast.AST, owner: ast.AST) -> bool:
        """Defaults, decorators and annotations of a function are evaluated around it."""
        if isinstance(owner, ast.Lambda):
            return child is not owner.body
        if isinstance(owner, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return child not in owner.body
        return False

    def _around(self, node: ast.AST) -> Iterator[ast.AST]:
        """The functions whose names are seen at a node, from the inside out."""
        home = self.home(node)
        yield home
        while not isinstance(home, ast.Module):
            home = self.home(home)
            if not isinstance(home, ast.ClassDef):
                yield home

    def _comprehended(self, node: ast.AST) -> dict[str, Variable]:
        """Variables of the comprehensions around a node."""
        out: dict[str, Variable] = {}
        child = node
        while child in self._parents and not isinstance(child, (ast.stmt, ast.Lambda)):
            owner = self._parents[child]
            if isinstance(owner, _COMPREHENSIONS) and child is not owner.generators[0]:
                for g in owner.generators:
                    if g is not child:
                        for name in bound(g.target):
                            out.setdefault(name.id, Variable(name.id, 1000 + len(out)))
            elif isinstance(owner, ast.comprehension) and child in owner.ifs:
                for name in bound(owner.target):
                    out.setdefault(name.id, Variable(name.id, 1000 + len(out)))
            child = owner
        return out

    def _path(self, node: ast.AST) -> dict[int, int]:
        """Block to index of the statements around a node, and of the node itself where it is one."""
        out: dict[int, int] = {}
        while node in self._parents:
            if isinstance(node, ast.stmt):
                out[id(self._places[node].block)] = self._places[node].index
            if isinstance(node, ast.Lambda):
                out[id(node)] = 0
            node = self._parents[node]
        return out

    def visible(self, node: ast.AST, sure: bool = True) -> list[Variable]:
        """Variables of the functions around a node that are bound there, those of the module left out.

        Args:
            node: an expression or statement.
            sure: only those bound on every way to the node, as far as blocks show; else all that are bound on a line above.
        """
        out = self._comprehended(node)
        path = self._path(node)
        where = (getattr(node, "lineno", 0), getattr(node, "col_offset", 0))
        home = self.home(node)
        for scope in self._around(node):
            if isinstance(scope, (ast.Module, ast.ClassDef)):
                continue
            for name, v in self._tables.get(scope, {}).items():
                if name in self._outer.get(scope, ()):
                    continue
                there = any(index < path.get(block, -2) for block, index in v.at)
                if there or (not sure and any(at < where for at in v.lines)) or (scope is not home and v.at):
                    out.setdefault(name, v)
        return list(out.values())

    def globals(self) -> list[str]:
        """Variables of the module."""
        return list(self._tables[self._tree])

    def constants(self) -> list[str]:
        """Names in capitals that the module binds."""
        return [name for name in self._tables[self._tree] if name.isupper()]

    def owner(self, node: ast.AST) -> tuple[ast.ClassDef, str] | None:
        """The class whose method is around a node, and what the method calls its object."""
        while node in self._parents:
            parent = self._parents[node]
            if isinstance(parent, ast.ClassDef) and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                names = {d.id for d in node.decorator_list if isinstance(d, ast.Name)}
                me = receiver(node)
                return (parent, me) if me and not names & {"staticmethod", "classmethod"} else None
            node = parent
        return None

    def fields(self, owner: ast.ClassDef) -> tuple[str, ...]:
        """Annotated fields of a class, attributes that its methods set, then others that they read."""
        if owner not in self._fields:
            found: dict[str, None] = {}
            for stmt in owner.body:
                if isinstance(stmt, ast.AnnAssign) and isinstance(stmt.target, ast.Name):
                    found[stmt.target.id] = None
            methods = [m for m in owner.body if isinstance(m, (ast.FunctionDef, ast.AsyncFunctionDef))]
            for kind in (ast.Store, ast.Load):
                for method in methods:
                    for node in self._ordered(method):
                        if isinstance(node, ast.Attribute) and isinstance(node.ctx, kind):
                            call = self._parents[node]
                            method_call = isinstance(call, ast.Call) and call.func is node
                            if (
                                isinstance(node.value, ast.Name)
                                and node.value.id == receiver(method)
                                and not method_call
                            ):
                                found.setdefault(node.attr)
            for stmt in owner.body:
                if isinstance(stmt, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                    found.pop(stmt.name, None)
            self._fields[owner] = tuple(found)
        return self._fields[owner]

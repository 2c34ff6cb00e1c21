"""A source file as the families see it: its tree without what no bug belongs in, exact byte spans, edits of whole lines."""

from __future__ import annotations

import ast
import bisect
import builtins
import functools
import itertools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar, overload

from .scope import Place, Scopes

_A = TypeVar("_A", bound=ast.AST)
_B = TypeVar("_B", bound=ast.AST)
_C = TypeVar("_C", bound=ast.AST)
_D = TypeVar("_D", bound=ast.AST)
_E = TypeVar("_E", bound=ast.AST)
Function = (ast.FunctionDef, ast.AsyncFunctionDef)
_DUNDER = re.compile(r"__\w+__")
_LOGGERS = {"log", "logger", "logging", "_log", "_logger", "LOG", "LOGGER", "warnings"}
_TYPING = {"cast", "TypeVar", "ParamSpec", "NewType", "NamedTuple", "TypedDict"}
_ATOMS = (
    ast.Name,
    ast.Constant,
    ast.Attribute,
    ast.Subscript,
    ast.Call,
    ast.List,
    ast.Dict,
    ast.Set,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
)


class Edit(NamedTuple):
    """One replacement: bytes ``start`` to ``end`` of the file become ``new``."""

    start: int
    end: int
    new: str
    why: str = ""
    """What happened, in words; empty where "`old` became `new`" says it."""
    inside: int = -1
    """Byte offset that says which function it belongs to, where ``start`` does not."""


class Gap(NamedTuple):
    """Between two operands, as byte offsets: ``left) op (right`` with the parentheses counted to the operands."""

    left: int
    start: int
    end: int
    right: int


def same(a: object, b: object) -> bool:
    """Whether two syntax trees are equal, positions aside."""
    stack = [(a, b)]
    while stack:
        x, y = stack.pop()
        if type(x) is not type(y):
            return False
        if isinstance(x, ast.AST):
            for name in x._fields:
                if name != "ctx":
                    stack.append((getattr(x, name, None), getattr(y, name, None)))
        elif isinstance(x, list):
            assert isinstance(y, list)
            if len(x) != len(y):
                return False
            stack.extend(zip(x, y))
        elif x != y or repr(x) != repr(y):  # 0.0 == -0.0, but they are two constants
            return False
    return True


def simple(node: ast.AST) -> bool:
    """Whether an expression can stand anywhere without parentheses."""
    if isinstance(node, ast.Constant):
        return not isinstance(node.value, complex)
    return isinstance(node, _ATOMS)


def called(node: ast.AST) -> str:
    """``f`` of ``f(...)``, ``m`` of ``x.m(...)``, else nothing."""
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name):
            return node.func.id
        if isinstance(node.func, ast.Attribute):
            return node.func.attr
    return ""


def dotted(node: ast.AST) -> str:
    """``a.b`` of that expression, else nothing."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def neighbours(pairs: tuple[tuple[str, str], ...]) -> dict[str, tuple[str, ...]]:
    """Each name with those that it is paired with, in both directions: so every bug's repair is itself a site."""
    out: dict[str, tuple[str, ...]] = {}
    for a, b in pairs:
        out[a] = (*out.get(a, ()), b)
        out[b] = (*out.get(b, ()), a)
    return out


def ends(block: list[ast.stmt]) -> bool:
    """Whether a block never runs on behind its last statement, as far as that statement shows."""
    last = block[-1]
    if isinstance(last, ast.If):
        return bool(last.orelse) and ends(last.body) and ends(last.orelse)
    return isinstance(last, (ast.Return, ast.Raise, ast.Continue, ast.Break))


def tree(source: str) -> ast.Module:
    """The syntax tree of a source.

    Raises:
        ValueError: it is no Python of this interpreter's version; the sentence says where.
    """
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        where = f" in line {e.lineno}" if isinstance(e, SyntaxError) and e.lineno else ""
        why = e.msg if isinstance(e, SyntaxError) else str(e) or type(e).__name__
        raise ValueError(f"the source is no valid Python{where}: {why}") from e


class Code:
    """A parsed source file.

    ``nodes`` leaves out what no bug belongs in: docstrings, annotations, decorators, base classes, imports, asserts, f-strings
    (Python before 3.12 misplaces what is in them), the arguments of raised exceptions, messages to loggers, patterns of
    ``match``, assignments to ``__names__``, blocks under ``TYPE_CHECKING``, ``__name__``, the platform or the version.

    Raises:
        ValueError: the source is no Python of this interpreter's version; the sentence says where.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.tree = tree(source)
        self.data = source.encode()
        self.starts = [0, *(m.end() for m in re.finditer(rb"\r\n|\r|\n", self.data))]
        found = re.search(rb"\r\n|\r|\n", self.data)
        self.newline = found.group().decode() if found else "\n"
        self.parents: dict[ast.AST, ast.AST] = {}
        self.places: dict[ast.stmt, Place] = {}
        self._all: dict[type[ast.AST], list[ast.AST]] = {}
        self._walk()
        self.scopes = Scopes(self.tree, self.parents, self.places)
        self._heads = sorted(self._functions())
        self.outer = frozenset(self._globals())
        """Names that every function sees: those of the module, and the builtin ones."""

    # --- the tree -------------------------------------------------------------------------------------------------

    def _walk(self) -> None:
        stack: list[tuple[ast.AST, bool]] = [(self.tree, True)]
        while stack:
            node, keep = stack.pop()
            keep = keep and not self._out(node)
            if keep:
                self._all.setdefault(type(node), []).append(node)
            hidden = {id(n) for n in self._hidden(node)} if keep else set()
            for _, value in ast.iter_fields(node):
                block = value if isinstance(value, list) else [value]
                for i, child in enumerate(block):
                    if isinstance(child, ast.AST):
                        self.parents[child] = node
                        if isinstance(child, ast.stmt):
                            self.places[child] = Place(block, i, node)
                        stack.append((child, keep and id(child) not in hidden))

    def _out(self, node: ast.AST) -> bool:
        if isinstance(
            node, (ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal, ast.Assert, ast.JoinedStr, ast.pattern)
        ):
            return True
        if isinstance(node, ast.Expr):
            return isinstance(node.value, ast.Constant) or (isinstance(node.value, ast.Call) and self._out(node.value))
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            return any(isinstance(t, ast.Name) and _DUNDER.fullmatch(t.id) for t in targets)
        if isinstance(node, ast.If):
            names = {dotted(n).rpartition(".")[2] for n in ast.walk(node.test)}
            return bool(names & {"TYPE_CHECKING", "__name__", "version_info", "platform", "__debug__"})
        if isinstance(node, ast.Call):
            base = dotted(node.func).split(".")
            return base[0] == "print" or (len(base) > 1 and base[-2] in _LOGGERS) or base[-1] in _TYPING
        if isinstance(node, ast.Try):
            types = {dotted(n) for h in node.handlers if h.type for n in ast.walk(h.type)}
            return isinstance(self.parents[node], ast.Module) and bool(types & {"ImportError", "ModuleNotFoundError"})
        if isinstance(node, Function):
            return any(dotted(d).rpartition(".")[2] == "overload" for d in node.decorator_list)
        return type(node).__name__ in ("TypeAlias", "TemplateStr")

    @staticmethod
    def _hidden(node: ast.AST) -> Iterator[ast.AST]:
        """Children that are left out although their parent is not."""
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield from node.decorator_list
            yield from getattr(node, "type_params", [])
        if isinstance(node, Function) and node.returns:
            yield node.returns
        if isinstance(node, ast.ClassDef):
            yield from node.bases
            yield from node.keywords
        if isinstance(node, ast.arg) and node.annotation:
            yield node.annotation
        if isinstance(node, ast.AnnAssign):
            yield node.annotation
        if isinstance(node, ast.Raise):
            if isinstance(node.exc, ast.Call):
                yield node.exc
            if node.cause:
                yield node.cause
        if isinstance(node, ast.ExceptHandler) and node.type:
            yield node.type

    @overload
    def nodes(self, a: type[_A], /) -> Iterator[_A]: ...
    @overload
    def nodes(self, a: type[_A], b: type[_B], /) -> Iterator[_A | _B]: ...
    @overload
    def nodes(self, a: type[_A], b: type[_B], c: type[_C], /) -> Iterator[_A | _B | _C]: ...
    @overload
    def nodes(self, a: type[_A], b: type[_B], c: type[_C], d: type[_D], /) -> Iterator[_A | _B | _C | _D]: ...
    @overload
    def nodes(
        self, a: type[_A], b: type[_B], c: type[_C], d: type[_D], e: type[_E], /
    ) -> Iterator[_A | _B | _C | _D | _E]: ...
    def nodes(self, *kinds: type[ast.AST]) -> Iterator[Any]:
        """Nodes of these types, those left out excepted, each type in no order that matters."""
        for kind in kinds:
            yield from self._all.get(kind, ())

    def up(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around a node, from the inside out."""
        while node in self.parents:
            node = self.parents[node]
            yield node

    def statement(self, node: ast.AST) -> ast.stmt:
        """The innermost statement that a node is part of, or is."""
        if isinstance(node, ast.stmt):
            return node
        return next(n for n in self.up(node) if isinstance(n, ast.stmt))

    def function(self, node: ast.AST) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
        """The innermost function around a node."""
        return next((n for n in self.up(node) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))), None)

    def _globals(self) -> Iterator[str]:
        yield from dir(builtins)
        for node in ast.walk(self.tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                if isinstance(self.parents[node], ast.Module):
                    yield node.name
            elif isinstance(node, ast.alias):
                yield (node.asname or node.name).split(".")[0]
        yield from self.scopes.globals()

    def _functions(self) -> Iterator[tuple[int, int, str]]:
        stack: list[tuple[ast.AST, tuple[str, ...]]] = [(self.tree, ())]
        while stack:
            node, path = stack.pop()
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                path = (*path, node.name)
                yield *self.span(node), ".".join(path)
            stack += [(child, path) for child in ast.iter_child_nodes(node)]

    def qualname(self, at: int) -> str:
        """``Class.method`` of the innermost function or class around a byte offset; empty at the top of the file."""
        best = ""
        for _, end, name in self._heads[: bisect.bisect_right(self._heads, (at, len(self.data) + 1, ""))]:
            if at < end:
                best = name  # sorted by start: a later one that still holds the offset is further inside
        return best

    # --- spans ----------------------------------------------------------------------------------------------------

    def offset(self, line: int, col: int) -> int:
        """Byte offset of a 1-based line and a column in UTF-8 bytes."""
        return self.starts[line - 1] + col

    def position(self, offset: int) -> tuple[int, int]:
        """1-based line and column in UTF-8 bytes of a byte offset."""
        line = bisect.bisect_right(self.starts, offset)
        return line, offset - self.starts[line - 1]

    def characters(self, offset: int) -> int:
        """A byte offset, which is no part of a longer character, in characters."""
        if self.source.isascii():
            return offset
        line = bisect.bisect_right(self.starts, offset) - 1
        return self._characters[line] + len(self.data[self.starts[line] : offset].decode())

    @functools.cached_property
    def _characters(self) -> list[int]:
        ends = [*self.starts[1:], len(self.data)]
        return [0, *itertools.accumulate(len(self.data[a:b].decode()) for a, b in zip(self.starts, ends))]

    def span(self, node: ast.AST) -> tuple[int, int]:
        """First and last-plus-one byte of a node; decorators count to what they decorate."""
        assert isinstance(node, (ast.stmt, ast.expr, ast.excepthandler, ast.arg, ast.keyword))
        line, col = node.lineno, node.col_offset
        for d in getattr(node, "decorator_list", ()):
            if (d.lineno, d.col_offset) < (line, col):
                at = self.data.rindex(b"@", 0, self.offset(d.lineno, d.col_offset))
                line, col = self.position(at)
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self.offset(line, col), self.offset(node.end_lineno, node.end_col_offset)

    def cut(self, start: int, end: int) -> str:
        """The text between two byte offsets."""
        return self.data[start:end].decode()

    def text(self, node: ast.AST) -> str:
        """The text of a node."""
        return self.cut(*self.span(node))

    def masked(self, start: int, end: int) -> str:
        """The text between two tokens, one character a byte, with comments and line joins blanked."""
        raw = self.data[start:end].decode("latin-1")
        return re.sub(r"#[^\r\n]*|\\(?=[\r\n])", lambda m: " " * len(m.group()), raw)

    def gap(self, left: ast.AST, right: ast.AST, token: str) -> Gap:
        """Where ``token`` (a regular expression) stands between two neighbouring operands."""
        a, b = self.span(left)[1], self.span(right)[0]
        between = self.masked(a, b)
        found = re.search(token, between)
        assert found, (token, between)
        close, open_ = between.rfind(")", 0, found.start()), between.find("(", found.end())
        return Gap(a + close + 1, a + found.start(), a + found.end(), b if open_ < 0 else a + open_)

    def behind(self, node: ast.expr | ast.stmt, token: str, last: ast.AST) -> tuple[int, int]:
        """Span of what follows a leading ``token`` of ``node``: its operand ``last`` with the parentheses around it."""
        start, end = self.span(node)
        between = self.masked(start + len(token), self.span(last)[0])
        return start + len(token) + len(between) - len(between.lstrip()), end

    def bracketed(self, node: ast.expr) -> str:
        """The text of an expression, in parentheses unless it can stand anywhere."""
        text = self.text(node)
        return (
            text
            if simple(node) or (isinstance(node, (ast.Tuple, ast.GeneratorExp)) and text[0] == "(")
            else f"({text})"
        )

    # --- edits ----------------------------------------------------------------------------------------------------

    def replace(self, node: ast.AST, new: str, why: str = "") -> Edit:
        """The node becomes ``new``."""
        return Edit(*self.span(node), new, why)

    def attribute(self, node: ast.Attribute, new: str) -> Iterator[Edit]:
        """The name behind the dot becomes ``new``."""
        end = self.span(node)[1]
        start = end - len(node.attr.encode())
        if self.data[start:end] == node.attr.encode():  # identifiers are normalised in the tree
            yield Edit(start, end, new)

    def lines(self, stmt: ast.stmt) -> tuple[int, int] | None:
        """The whole lines that a statement has for itself, comment and line end included; None where it shares them."""
        start, end = self.span(stmt)
        line = self.position(start)[0]
        first = self.starts[line - 1]
        last = bisect.bisect_right(self.starts, end)
        stop = self.starts[last] if last < len(self.starts) else len(self.data)
        if self.data[first:start].strip() or self.masked(end, stop).strip():
            return None
        if line > 1 and self.data[:first].rstrip(b"\r\n").endswith(b"\\"):
            return None
        return first, stop

    def delete(self, stmt: ast.stmt, why: str) -> Iterator[Edit]:
        """The lines of a statement go; where it is alone in its block it becomes ``pass``."""
        place = self.places[stmt]
        if isinstance(stmt, ast.If) and self.is_elif(stmt):
            return
        if len(place.block) == 1:
            yield self.replace(stmt, "pass", why)
        elif span := self.lines(stmt):
            yield Edit(*span, "", why)

    def indent(self, stmt: ast.stmt) -> str | None:
        """The white space in front of a statement that begins its line, else None."""
        span = self.lines(stmt)
        return None if span is None else self.cut(span[0], self.span(stmt)[0])

    def insert(self, stmt: ast.stmt, text: str, why: str, after: bool = False) -> Iterator[Edit]:
        """Lines of their own, without indentation, in front of a statement or behind it."""
        span, indent = self.lines(stmt), self.indent(stmt)
        if span is None or indent is None or (not after and isinstance(stmt, ast.If) and self.is_elif(stmt)):
            return
        body = self.newline.join(indent + line if line else "" for line in text.split("\n"))
        at, inside = span[1] if after else span[0], self.span(stmt)[0]
        if after and not self.data[: span[1]].endswith((b"\n", b"\r")):  # the last line of the file
            yield Edit(at, at, self.newline + body, why, inside)
        else:
            yield Edit(at, at, body + self.newline, why, inside)

    def is_elif(self, node: ast.If) -> bool:
        """Whether an ``if`` is written as ``elif``."""
        start = self.span(node)[0]
        return self.data[start : start + 4] == b"elif"

    def swap(self, first: ast.AST, second: ast.AST, why: str = "") -> Iterator[Edit]:
        """Two nodes change places, what is between them stays."""
        (a, b), (c, d) = self.span(first), self.span(second)
        if not same(first, second):
            yield Edit(a, d, self.cut(c, d) + self.cut(b, c) + self.cut(a, b), why)


@functools.lru_cache(32)
def parse(source: str) -> Code:
    """``Code(source)``, remembered."""
    return Code(source)

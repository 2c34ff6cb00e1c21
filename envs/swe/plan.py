"""Edits: those that lead to a reference, and candidates made from the code alone."""

from __future__ import annotations

import ast
import difflib
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from ..tools.calls import Call
from . import mutate
from .diff import Hunk
from .spectrum import Suspicion


def once(part: str, text: str) -> bool:
    """It stands at one place, also where places would overlap, which ``str.count`` does not see."""
    return bool(part) and text.find(part) == text.rfind(part) >= 0


def edit(path: str, before: str, start: int, end: int, new: str) -> Call:
    """The call that replaces ``before[start:end]``, with as many whole lines around it as make the old text unique."""
    a, b = before.rfind("\n", 0, start) + 1, before.find("\n", end)
    b = len(before) if b < 0 else b + 1
    while not once(before[a:b], before) and (a > 0 or b < len(before)):
        a = before.rfind("\n", 0, max(a - 1, 0)) + 1 if a else 0
        if not once(before[a:b], before):
            b = before.find("\n", b) + 1 or len(before)
    return Call("edit", {"path": path, "old": before[a:b], "new": before[a:start] + new + before[end:b]})


def towards(now: Mapping[str, str], goal: Mapping[str, str | None]) -> list[Call]:
    """Edits that make each file of ``now`` what it is in ``goal``, one a changed block."""
    calls = []
    for path, after in sorted(goal.items()):
        before = now.get(path, "")
        if after is None:
            calls.append(Call("bash", {"command": f"rm -f -- '{path}'"}))
            continue
        if not before:
            calls.append(Call("create", {"path": path, "content": after}))
            continue
        old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
        for tag, a, b, c, d in reversed(difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()):
            if tag != "equal":
                text = "".join(old)
                start = len("".join(old[:a]))
                calls.append(edit(path, text, start, start + len("".join(old[a:b])), "".join(new[c:d])))
                old[a:b] = new[c:d]
    return calls


def functions(changes: Iterable[Hunk], text: Callable[[str], str]) -> list[str]:
    """Names of the functions in which changes lie, in order."""
    found: list[str] = []
    for h in changes:
        try:
            tree = ast.parse(text(h.path))
        except SyntaxError:
            continue
        old, new = h.old.splitlines(), h.new.splitlines()
        same = next((i for i, (a, b) in enumerate(zip(old, new)) if a != b), min(len(old), len(new)))
        line = h.start + min(same, max(len(old) - 1, 0))  # the first that changes
        inside = [
            n for n in ast.walk(tree)
            if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)) and n.lineno <= line <= (n.end_lineno or n.lineno)
        ]  # fmt: skip
        if inside and (name := max(inside, key=lambda n: n.lineno).name) not in found:
            found.append(name)
    return found


class Repair(NamedTuple):
    """One candidate."""

    path: str
    site: mutate.Site
    suspicion: float
    """The most of its lines, 0 to 1."""
    named: float
    """Share of the words of its function's name that the problem statement has."""


def repairs(sources: Mapping[str, str], suspicion: Suspicion, statement: str) -> list[Repair]:
    """Candidate repairs from the code alone, the most suspicious first, then those whose function the statement names.

    Args:
        sources: path -> text; without suspicion in any, all are looked at.
        suspicion: of the lines of these very texts.
        statement: the problem statement.
    """
    said = _words(statement)
    ranked = []
    for path, text in sources.items():
        if suspicion and path not in suspicion:
            continue
        lines = suspicion.get(path, {})
        for n, site in enumerate(_sites(text)):
            most = max((lines.get(k, 0.0) for k in range(site.lineno, site.end_lineno + 1)), default=0.0)
            names = _words(site.function)
            ranked.append((n, Repair(path, site, most, len(names & said) / max(1, len(names)))))
    ranked.sort(key=lambda r: (-r[1].suspicion, -r[1].named, r[1].path, r[0]))
    return [r for _, r in ranked]


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+|\d+", text.lower()))


@functools.lru_cache(2000)
def _sites(text: str) -> tuple[mutate.Site, ...]:
    try:
        return tuple(mutate.sites(text))
    except ValueError:  # no valid Python at the moment
        return ()

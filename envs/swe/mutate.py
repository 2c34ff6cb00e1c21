"""Bugs put into source code, and the repairs that code alone suggests.

A ``Site`` is one replacement of text: ``apply`` leaves every byte outside of it as it was. ``sites`` lists the bugs that a
file can have, ``choose`` draws some, ``candidates`` lists what a repair could do, without any knowledge of what was done.
Nothing is ever run here; all of it is text and syntax trees.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import one_of
from .mutations import FAMILIES, Family
from .mutations.code import Code, Edit, parse, same, tree
from .mutations.repairs import REPAIRS

ALL = tuple(FAMILIES)
"""Names of the families of bugs."""
_TRIES = 200  # draws until several bugs fit together
_NEAR = 3  # lines around a bug in which its repair is looked for
_LAYOUT = str.maketrans({c: None for c in " \t\r\n()\\;"} | {"'": '"'})


@dataclass(frozen=True)
class Site:
    """One place of a source file and what to write there."""

    family: str
    """A name of ``ALL``: which kind of bug it puts in, or takes out."""
    lineno: int
    """Line of its first byte, from 1."""
    end_lineno: int
    """Line behind its last byte."""
    col: int
    """Column of its first byte, from 0, in UTF-8 bytes as in ``ast``."""
    function: str
    """``Class.method`` around it; empty at the top of the file."""
    description: str
    """What it does, such as "`<` became `<=`"; never for the agent that has to find it."""
    old: str
    """The text that is there, possibly empty."""
    new: str
    """The text to be there."""
    span: tuple[int, int]
    """The same place in characters of the source: ``source[slice(*span)] == old``."""


def sites(source: str, families: Collection[str] = ALL) -> list[Site]:
    """Every bug that can be put into a file.

    Left out are places where none belongs (docstrings, annotations, asserts, ...: see ``mutations.code.Code``) and what is
    seen at once to change nothing, such as equal arguments swapped.

    Args:
        source: text of a Python file.
        families: of which kinds.

    Returns:
        In the order of the file, then of the families; equal ones once.

    Raises:
        ValueError: a family is unknown, or the source is no valid Python.
    """
    return _listed(parse(source), {name: [FAMILIES[name]] for name in _known(families)})


def candidates(source: str, families: Collection[str] = ALL) -> list[Site]:
    """What could repair a file, from its text alone: all of ``sites``, and what no bug does, such as adding a guard.

    Args:
        source: text of a Python file, presumably with a bug.
        families: which kinds of bug to repair.

    Returns:
        As from ``sites``; ``family`` names the kind of bug that it would undo.

    Raises:
        ValueError: a family is unknown, or the source is no valid Python.
    """
    return _listed(parse(source), {name: [FAMILIES[name], *REPAIRS.get(name, ())] for name in _known(families)})


def apply(source: str, sites: Iterable[Site]) -> str:
    """The source with sites carried out, every other byte as it was.

    Args:
        source: the text that the sites were found in.
        sites: in any order; no two may touch the same bytes.

    Raises:
        ValueError: no site is given, one does not belong to this source, two overlap, or the result is no valid Python or has
            the same syntax tree.
    """
    ordered = sorted(sites, key=lambda s: (s.span, s.new))
    if not ordered:
        raise ValueError("no site is given; allowed: one or more")
    pieces, at = [], 0
    for before, site in zip([None, *ordered], ordered):
        start, end = site.span
        if source[start:end] != site.old or not 0 <= start <= end <= len(source):
            raise ValueError(
                f"line {site.lineno} has no {_short(site.old)!r} at {site.span}; allowed: sites of this very source"
            )
        if before is not None and (start < at or before.span == site.span):
            raise ValueError(f"two sites overlap in line {site.lineno}; allowed: sites that share no character")
        pieces += [source[at:start], site.new]
        at = end
    text = "".join([*pieces, source[at:]])
    if same(tree(text), parse(source).tree):
        raise ValueError("the sites change nothing but the layout")
    return text


def inverse(
    buggy: str, source: str, families: Collection[str] = ALL, among: Callable[..., list[Site]] = candidates
) -> Site | None:
    """The candidate that turns ``buggy`` back into ``source``, up to layout: for oracles and tests, never for an agent.

    Args:
        buggy: a text with one bug more than ``source``.
        source: what it was before.
        families: kinds of candidates that are looked at.
        among: ``candidates`` or ``sites``.

    Returns:
        The first one in their order, None where none does it.

    Raises:
        ValueError: a family is unknown, or one of the two is no valid Python.
    """
    goal = parse(source).tree
    dense = _dense(source)
    before = _alike(zip(buggy, source))
    behind = _alike(zip(reversed(buggy[before:]), reversed(source[before:])))
    first, last = buggy.count("\n", 0, before) + 1, buggy.count("\n", 0, len(buggy) - behind) + 1
    for site in among(buggy, families):
        if site.lineno <= last + _NEAR and site.end_lineno >= first - _NEAR:
            text = buggy[: site.span[0]] + site.new + buggy[site.span[1] :]
            if _dense(text) == dense and same(tree(text), goal):
                return site
    return None


def _alike(pairs: Iterable[tuple[str, str]]) -> int:
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _dense(text: str) -> str:
    """What two texts with the same tree have in common, nearly always: cheap to compare."""
    return text.translate(_LAYOUT)


def choose(
    source_files: Mapping[str, str], n_bugs: int, rng: np.random.Generator, families: Collection[str] = ALL
) -> list[tuple[str, Site]]:
    """Draw bugs that fit together: each time a family, evenly among those that have any place left, then a place of it.

    Args:
        source_files: path to text.
        n_bugs: how many.
        rng: the only source of chance.
        families: of which kinds.

    Returns:
        ``n_bugs`` pairs of a path and a site of that file, by path and place; no function has two while others have none.

    Raises:
        ValueError: ``n_bugs`` is below 1 or more than fit; a family is unknown; a source is no valid Python (names its path).
    """
    if n_bugs < 1:
        raise ValueError(f"n_bugs is {n_bugs!r}; allowed: a whole number from 1")
    pool: dict[str, list[tuple[str, Site]]] = {}
    for path in sorted(source_files):
        try:
            found = sites(source_files[path], families)
        except ValueError as e:
            raise ValueError(f"{path}: {e}") from e
        for site in found:
            pool.setdefault(site.family, []).append((path, site))
    drawn: list[tuple[str, Site]] = []
    for _ in range(_TRIES * n_bugs):
        if len(drawn) == n_bugs or not pool:
            break
        family = sorted(pool)[int(rng.integers(len(pool)))]
        left = pool[family]
        path, site = left.pop(int(rng.integers(len(left))))
        if not left:
            del pool[family]
        if any(p == path and s.function == site.function for p, s in drawn) and _elsewhere(pool, drawn):
            continue
        try:
            apply(source_files[path], [*(s for p, s in drawn if p == path), site])
        except ValueError:
            continue
        drawn.append((path, site))
    if len(drawn) < n_bugs:
        raise ValueError(f"n_bugs is {n_bugs}; allowed: up to {len(drawn)}, as many as fit into these files")
    return sorted(drawn, key=lambda pair: (pair[0], pair[1].lineno, pair[1].col, pair[1].new))


def _elsewhere(pool: Mapping[str, list[tuple[str, Site]]], drawn: list[tuple[str, Site]]) -> bool:
    taken = {(p, s.function) for p, s in drawn}
    return any((p, s.function) not in taken for pairs in pool.values() for p, s in pairs)


def _known(families: Collection[str]) -> list[str]:
    for name in families:
        if name not in FAMILIES:
            raise one_of("family", name, FAMILIES)
    return [name for name in FAMILIES if name in families]


def _listed(code: Code, wanted: Mapping[str, list[Family]]) -> list[Site]:
    found: dict[tuple[int, int, str], tuple[str, Edit]] = {}
    for name, functions in wanted.items():
        for function in functions:
            for edit in function(code):
                edit = _spaced(code, edit)
                if code.cut(edit.start, edit.end) != edit.new:
                    found.setdefault((edit.start, edit.end, edit.new), (name, edit))
    return [_site(code, name, edit) for _, (name, edit) in sorted(found.items(), key=lambda item: item[0][:2])]


def _spaced(code: Code, edit: Edit) -> Edit:
    """With a space where two words would run together, as in ``return(x)`` or ``if[x]``."""
    new = edit.new
    before, after = code.data[max(edit.start - 1, 0) : edit.start], code.data[edit.end : edit.end + 1]
    if _wordy(before) and _wordy((new.encode() or after)[:1]):
        new = " " + new
    if new and _wordy(new.encode()[-1:]) and _wordy(after):
        new += " "
    return edit._replace(new=new)


def _wordy(byte: bytes) -> bool:
    return byte.isalnum() or byte == b"_" or byte >= b"\x80"


def _site(code: Code, family: str, edit: Edit) -> Site:
    (line, col), (end, _) = code.position(edit.start), code.position(edit.end)
    old = code.cut(edit.start, edit.end)
    why = edit.why or f"`{_short(old)}` became `{_short(edit.new)}`"
    function = code.qualname(edit.start if edit.inside < 0 else edit.inside)
    span = code.characters(edit.start), code.characters(edit.end)
    return Site(family, line, end, col, function, why, old, edit.new, span)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."

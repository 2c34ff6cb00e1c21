"""Unified diffs of whole trees: made, read, applied and turned round. Nothing is run and nothing is written."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
NO_NEWLINE = "\\ No newline at end of file"


class Hunk(NamedTuple):
    """One change of one file."""

    path: str
    start: int
    """Line of the old file at which it begins, from 1; 0 for a new file."""
    old: str
    new: str


def make(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """A diff in git's form from path -> text, files in order of their names."""
    out: list[str] = []
    for path in sorted({*before, *after}):
        a, b = before.get(path), after.get(path)
        if a == b:
            continue
        out.append(f"diff --git a/{path} b/{path}\n")
        if a is None:
            out.append("new file mode 100644\n")
        if b is None:
            out.append("deleted file mode 100644\n")
        sides = ("/dev/null" if a is None else f"a/{path}", "/dev/null" if b is None else f"b/{path}")
        old, new = (a or "").splitlines(keepends=True), (b or "").splitlines(keepends=True)
        for line in difflib.unified_diff(old, new, *sides):
            out.append(line if line.endswith("\n") else f"{line}\n{NO_NEWLINE}\n")
    return "".join(out)


def hunks(patch: str) -> list[Hunk]:
    """The changes of a diff, in its order.

    Raises:
        ValueError: it is no unified diff, or changes a binary file or only modes and names; names the line.
    """
    found: list[Hunk] = []
    lines = patch.splitlines(keepends=True)
    source = target = ""
    i = 0
    while i < len(lines):
        line = lines[i].rstrip("\n")
        if line.startswith("--- "):
            source = _name(line[4:])
        elif line.startswith("+++ "):
            target = _name(line[4:])
        elif line.startswith(("Binary files", "GIT binary patch", "rename from", "copy from")):
            raise ValueError(f"line {i + 1} of the patch: {line[:80]!r}; allowed: changes of text files")
        elif m := _HUNK.match(line):
            path = source if target == "/dev/null" else target
            if not path:
                raise ValueError(f"line {i + 1} of the patch: a change without a file; allowed: a unified diff")
            left, right = int(m[2] or 1), int(m[4] or 1)
            sides: tuple[list[str], list[str]] = ([], [])
            while (left or right) and i + 1 < len(lines):
                i += 1
                mark, text = lines[i][:1], lines[i][1:]
                if mark in (" ", "\n"):
                    text = text if mark == " " else "\n"
                    sides[0].append(text)
                    sides[1].append(text)
                    left, right = left - 1, right - 1
                elif mark == "-":
                    sides[0].append(text)
                    left -= 1
                elif mark == "+":
                    sides[1].append(text)
                    right -= 1
                elif mark == "\\":
                    pass
                else:
                    raise ValueError(f"line {i + 1} of the patch: {lines[i][:80]!r} in a change")
                if i + 1 < len(lines) and lines[i + 1].startswith("\\"):
                    for side, used in ((sides[0], mark in " -"), (sides[1], mark in " +")):
                        if used:
                            side[-1] = side[-1].rstrip("\n")
                    i += 1
            found.append(Hunk(path, int(m[1]), "".join(sides[0]), "".join(sides[1])))
        i += 1
    if not found and patch.strip():
        raise ValueError(f"the patch {patch.strip()[:60]!r} changes nothing; allowed: a unified diff")
    return found


def _name(text: str) -> str:
    text = text.split("\t")[0].strip()
    return text if text == "/dev/null" else text.partition("/")[2] if text[:2] in ("a/", "b/") else text


def reverse(changes: Iterable[Hunk]) -> list[Hunk]:
    """The changes that undo these."""
    shift: dict[str, int] = {}
    out = []
    for h in changes:
        moved = shift.get(h.path, 0)
        out.append(Hunk(h.path, h.start + moved, h.new, h.old))
        shift[h.path] = moved + h.new.count("\n") - h.old.count("\n")
    return out


def apply(changes: Iterable[Hunk], files: Mapping[str, str]) -> dict[str, str | None]:
    """Path -> text after the changes, None where a file is deleted; only files that change.

    A hunk goes where its old lines stand, nearest to its line number.

    Raises:
        ValueError: a hunk's old lines are not in the file; names it.
    """
    out: dict[str, str | None] = {}
    for h in changes:
        text = out.get(h.path, files.get(h.path))
        if text is None:
            if h.old:
                raise ValueError(f"the patch changes {h.path}, which does not exist")
            out[h.path] = h.new
            continue
        at = _find(text, h)
        if at < 0:
            raise ValueError(f"the patch does not fit {h.path} at line {h.start}")
        after = text[:at] + h.new + text[at + len(h.old) :]
        out[h.path] = after if after or h.new else None
    return out


def _find(text: str, h: Hunk) -> int:
    """Where a hunk's old lines begin: at the start of a line, nearest to where it says."""
    starts = [0, *(m.end() for m in re.finditer("\n", text))]
    fits = [n for n, at in enumerate(starts) if text.startswith(h.old, at)]
    if not fits:
        return -1
    best = min(fits, key=lambda n: abs(n - max(h.start - 1, 0)))
    return starts[best]


def files_of(patch: str) -> tuple[str, ...]:
    """Paths that a diff changes, sorted."""
    return tuple(sorted({h.path for h in hunks(patch)}))

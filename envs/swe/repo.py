"""The sandboxes of one environment: the agent's and the grader's, kept from episode to episode."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import posixpath
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...sandboxes import Limits, Provider, Sandbox, SandboxError, Unavailable, make
from . import grade, spectrum
from .cache import Cache, Graded
from .guard import may_change
from .task import Task

MOST_FILE, MOST_FILES = 2**20, 400  # bytes of a changed file, and changed files, that are looked at
_providers: dict[str, tuple[Provider, int]] = {}
_current: dict[str, str] = {}  # settings -> the key of the provider that is lent for them
_numbers = itertools.count()
_lock = threading.Lock()


def borrow(name: str, settings: Mapping[str, Any]) -> tuple[str, Provider]:
    """A provider that environments of this process with the same settings share; ``give`` it back by its key."""
    wanted = json.dumps([os.getpid(), name, dict(settings)], sort_keys=True)
    with _lock:
        key = _current.get(wanted, "")
        if key not in _providers:
            key = _current[wanted] = f"{wanted} {next(_numbers)}"
            _providers[key] = make(name, **settings), 0
        provider, users = _providers[key]
        _providers[key] = provider, users + 1
    return key, provider


def give(key: str, lost: bool = False) -> None:
    """Its last user closes a provider; one that lost a sandbox is lent to nobody any more: it may be gone itself."""
    with _lock:
        if lost:
            for wanted in [w for w, k in _current.items() if k == key]:
                del _current[wanted]
        provider, users = _providers.pop(key, (None, 0))
        if provider is not None and users > 1:
            _providers[key] = provider, users - 1
            return
    if provider is not None:
        provider.close()


class Repo:
    """One tree: where the agent works, where the grader does, and what changed.

    Raises:
        SandboxError: (every method) the infrastructure failed.
    """

    def __init__(self, provider: Provider, task: Task, limits: Limits) -> None:
        env = {"PYTHONDONTWRITEBYTECODE": "1"} | ({} if task.image else {"PYTHONPATH": grade.LIBRARY})
        self._create: Callable[[], Sandbox] = lambda: provider.create(task.tree, limits=limits, env=env)
        self._box: Sandbox | None = None
        self.grader: Sandbox | None = None
        self._coming: dict[str, str | None] | None = {}  # what the agent's sandbox gets when it is next needed
        self.files = frozenset(_files(task.tree))  # of the pristine tree
        self._texts: dict[str, str] = {}

    # -- the agent's side ------------------------------------------------------------------------
    def begin(self, task: Task, changes: Mapping[str, str | None]) -> None:
        """Puts the tree to a task's start, with changes of the agent's."""
        self._coming = {**task.changes, **changes}

    @property
    def box(self) -> Sandbox:
        """The agent's sandbox, made and brought to the state when it is needed.

        Reading and editing known files, and tests whose results are known, do without.
        """
        if self._box is None:
            self._box = self._create()
        if self._coming is not None:
            try:
                grade.begin(self._box, self._coming)
            except OSError as e:
                raise SandboxError(f"the agent's sandbox cannot be brought to its start: {e}") from e
            self._coming = None
        return self._box

    def read(self, task: Task, path: str) -> str:
        """A file as it is now.

        Raises:
            OSError: there is none, or it is a directory.
        """
        if self._coming is not None:
            known = (
                self._coming[path] if path in self._coming else self.text(task, path) if path in self.files else None
            )
            if known is not None:
                return known
        return self.box.read(path).decode("utf-8", "replace")

    def write(self, path: str, text: str) -> None:
        """Writes a file.

        Raises:
            OSError: it cannot be.
        """
        if self._coming is not None and (self._coming.get(path) is not None or path in self.files):
            self._coming[path] = text
        else:
            self.box.write(path, text)

    def text(self, task: Task, path: str) -> str:
        """A file as the task begins with it; "" where there is none."""
        if path in task.changes:
            return task.changes[path] or ""
        if path not in self._texts:
            try:
                with open(os.path.join(task.tree, path), encoding="utf-8", errors="replace", newline="") as f:
                    self._texts[path] = f.read()
            except (OSError, ValueError):
                self._texts[path] = ""
        return self._texts[path]

    def _listing(self) -> dict[str, tuple[str, ...]]:
        """Every file -> what changes when it does. Who forges it only hides his own work."""
        script = "find . -name .git -prune -o -type f -printf '%P\\t%s\\t%T@\\t%i\\t%C@\\n'"
        rows = (line.split("\t") for line in self.box.run(script).stdout.splitlines())
        return {r[0]: tuple(r[1:]) for r in rows if len(r) == 5}

    @contextlib.contextmanager
    def watched(self, changes: dict[str, str | None]) -> Iterator[None]:
        """Notes in ``changes`` what a command does to files."""
        before = self._listing()
        yield
        after = self._listing()
        touched = [p for p in {*before, *after} if before.get(p) != after.get(p)]
        for path in sorted(touched)[:MOST_FILES]:
            if path not in after:
                changes[path] = None
            elif int(after[path][0]) <= MOST_FILE:
                with contextlib.suppress(OSError):
                    changes[path] = self.box.read(path).decode("utf-8", "replace")

    # -- the grader's side -----------------------------------------------------------------------
    def counted(self, task: Task, changes: Mapping[str, str | None]) -> dict[str, str | None]:
        """Of the agent's changes those that count: of files that it may change, and different from the start."""
        out = {}
        for path, text in changes.items():
            clean = posixpath.normpath(path)
            if may_change(clean, {*self.files, *task.changes}, task.roots) and text != self.text(task, clean):
                out[clean] = text
        return out

    def grade(self, task: Task, changes: Mapping[str, str | None], final: bool, cache: Cache) -> Graded:
        """See ``grade.run``; the grader's sandbox is made when it is first needed."""
        counted = self.counted(task, changes)
        pristine = {p: self.text(task, p) for p in counted}
        return grade.run(lambda: self._judge(task), task, counted, pristine, final, cache)

    def suspicion(self, task: Task, cache: Cache) -> spectrum.Suspicion:
        """Which lines the failing tests run as the task begins, see ``spectrum``."""
        which = f"suspicion {grade.key(task, {}, False)}"
        known = cache.get(which)
        if known is None:
            box = self._judge(task)
            grade.begin(box, task.changes)
            known = [[p, list(lines.items())] for p, lines in spectrum.suspicion(box, task).items()]
            cache.put(which, known)
        return {path: {int(n): value for n, value in lines} for path, lines in known}

    def _judge(self, task: Task) -> Sandbox:
        if self.grader is None:
            self.grader = self._create()
            if task.image and not task.command and self.grader.run(["python3", "-c", "import pytest"]).exit_code:
                raise Unavailable(
                    f"image {task.image} has no pytest for its python3; allowed: one that has, or a field test_cmd"
                )
        return self.grader

    def close(self) -> None:
        """Closes both sandboxes."""
        for box in (self._box, self.grader):
            if box is not None:
                box.close()


def _files(tree: str) -> Iterator[str]:
    """Regular files below a directory, without a git history."""
    for folder, inner, names in os.walk(tree):
        inner[:] = [d for d in inner if d != ".git"]
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield os.path.relpath(path, tree)

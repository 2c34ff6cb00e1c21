"""A sandbox in memory, for tests of what uses sandboxes: files are real, commands are answered by you.

provider = Fake({"pytest": Result("2 passed", "", 0)})
box = provider.create(tree)
box.run("python -m pytest -q")                # the answer of the first key that is found in the command
provider.calls[-1]                            # Call("run", "python -m pytest -q", box, {"timeout": None, ...})
provider.fail(SandboxLost("gone"), after=3)   # the fourth call from now raises, and its sandbox is gone
provider.fail(TIMEOUT, what="run")            # the next command times out
"""

from __future__ import annotations

import os
import posixpath
import threading
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

from .base import Limits, Result, SandboxError, SandboxLost, clean_workdir

Answer = Result | Callable[["FakeSandbox", str], Result]
Answers = Mapping[str, Answer] | Sequence[Answer] | Callable[["FakeSandbox", str], Result]
TIMEOUT = Result("", "", 124, True)
SYSTEM = ("/usr", "/tmp", "/etc", "/proc", "/dev", "/sys")


class Call(NamedTuple):
    """One call of a provider or a sandbox."""

    what: str
    """The method's name."""
    detail: str
    """The command, or the path."""
    box: FakeSandbox | None
    settings: dict[str, Any]
    """The keywords of ``run``."""


class _State:
    """Files at a moment."""

    def __init__(self, files: Mapping[str, bytes], modes: Mapping[str, int]) -> None:
        self.files, self.modes = dict(files), dict(modes)
        self.closed = False

    def close(self) -> None:
        """Frees it."""
        self.closed = True


class FakeShell:
    """See ``base.Shell``: every command is answered as ``run`` would."""

    restarts = 0

    def __init__(self, box: FakeSandbox) -> None:
        self._box, self.closed = box, ""

    def run(self, command: str, *, timeout: float | None = None) -> Result:
        """See ``base.Shell.run``."""
        if self.closed:
            raise RuntimeError(self.closed)
        return self._box.run(command, timeout=timeout)

    def close(self) -> None:
        """Ends it; calling it again does nothing."""
        self.closed = self.closed or "the shell is closed: open another with shell()"


class FakeSandbox:
    """See ``base.Sandbox``; files are kept with their modes: no empty directories, no times; links are followed."""

    def __init__(self, provider: Fake, state: _State, limits: Limits, workdir: str) -> None:
        self.provider, self.limits, self.workdir = provider, limits, workdir
        self.files, self.modes = dict(state.files), dict(state.modes)
        """Path -> content, path -> mode."""
        self._created = state
        self._shells: list[FakeShell] = []
        self._closed = False
        self._lost: SandboxLost | None = None

    def _call(self, what: str, detail: str = "", **settings: Any) -> Result | None:
        if self._closed:
            raise RuntimeError("the sandbox is closed")
        if self._lost is not None:
            raise self._lost
        try:
            return self.provider.record(Call(what, detail, self, settings))
        except SandboxLost as e:
            self._lost = e
            raise

    def _path(self, path: str) -> str:
        if "\0" in path:
            raise ValueError(f"{path[:40]!r} holds a NUL character; allowed: any other text")
        return posixpath.normpath(posixpath.join(self.workdir, path))

    def run(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | bytes = b"",
        timeout: float | None = None,
        user: str | None = None,
    ) -> Result:
        """What the provider answers; see there."""
        text = command if isinstance(command, str) else " ".join(command)
        if not command:
            raise ValueError("the command is empty; allowed: a text, or a program with its arguments")
        if any("\0" in t for t in (text, *(env or {}), *(env or {}).values())):
            raise ValueError(f"{text[:40]!r} holds a NUL character; allowed: any other text")
        for name in env or {}:
            if not name or "=" in name:
                raise ValueError(f"variable is named {name!r}; allowed: a text without '='")
        if user is not None:
            raise ValueError(f"user is {user!r}; allowed: None")
        if timeout is not None and (isinstance(timeout, (bool, str)) or not 0 < timeout < 1e6):
            raise ValueError(f"timeout is {timeout!r}; allowed: None or seconds from above 0 to 1,000,000")
        asked = self._call("run", text, cwd=cwd, env=dict(env or {}), stdin=stdin, timeout=timeout, user=user)
        return asked or self.provider.answer(self, text)

    def shell(self) -> FakeShell:
        """See ``base.Sandbox.shell``."""
        self._call("shell")
        self._shells.append(FakeShell(self))
        return self._shells[-1]

    def read(self, path: str) -> bytes:
        """See ``base.Sandbox.read``."""
        name = self._path(path)
        self._call("read", name)
        if name in self.files:
            return self.files[name]
        if any(f.startswith(f"{name}/") for f in self.files):
            raise IsADirectoryError(21, "Is a directory", name)
        raise FileNotFoundError(2, "No such file or directory", name)

    def write(self, path: str, data: bytes | str, *, mode: int = 0o644) -> None:
        """See ``base.Sandbox.write``."""
        name = self._path(path)
        self._call("write", name)
        if any(f.startswith(f"{name}/") for f in self.files):
            raise IsADirectoryError(21, "Is a directory", name)
        self.files[name] = data.encode() if isinstance(data, str) else bytes(data)
        self.modes[name] = mode

    def upload(self, source: str | PathLike[str], path: str) -> None:
        """See ``base.Sandbox.upload``."""
        self._call("upload", path)
        state = _files(os.fspath(source), self._path(path))
        self.files.update(state.files)
        self.modes.update(state.modes)

    def download(self, path: str, target: str | PathLike[str]) -> None:
        """See ``base.Sandbox.download``."""
        self._call("download", path)
        root, to = self._path(path), os.fspath(target)
        if os.path.lexists(to):
            raise FileExistsError(17, "the target exists", to)
        found = {f: d for f, d in self.files.items() if f == root or f.startswith(f"{root}/")}
        if not found:
            raise FileNotFoundError(2, "No such file or directory", root)
        for name, data in found.items():
            place = os.path.join(to, posixpath.relpath(name, root)) if name != root else to
            os.makedirs(os.path.dirname(os.path.abspath(place)), exist_ok=True)
            with open(place, "xb") as f:
                f.write(data)
                os.fchmod(f.fileno(), self.modes[name] & 0o755 | 0o600)

    def snapshot(self) -> _State:
        """See ``base.Sandbox.snapshot``."""
        self._call("snapshot")
        return _State(self.files, self.modes)

    def restore(self, snapshot: Any = None) -> None:
        """See ``base.Sandbox.restore``."""
        self._call("restore")
        state = self._created if snapshot is None else self._open(snapshot)
        self.files, self.modes = dict(state.files), dict(state.modes)
        self._end_shells("the shell ended with restore(): open another with shell()")

    def fork(self, snapshot: Any = None) -> FakeSandbox:
        """See ``base.Sandbox.fork``."""
        self._call("fork")
        state = _State(self.files, self.modes) if snapshot is None else self._open(snapshot)
        return self.provider.adopt(FakeSandbox(self.provider, state, self.limits, self.workdir))

    def _open(self, snapshot: Any) -> _State:
        if not isinstance(snapshot, _State) or snapshot.closed:
            raise ValueError("the snapshot is closed or another provider's; allowed: an open one of this provider")
        return snapshot

    def _end_shells(self, why: str) -> None:
        for shell in self._shells:
            shell.closed = shell.closed or why
        self._shells.clear()

    def close(self) -> None:
        """See ``base.Sandbox.close``."""
        self._closed = True
        self._end_shells("the sandbox is closed")

    def __enter__(self) -> FakeSandbox:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Fake:
    """The provider ``fake``.

    Args:
        answers: part of a command -> its result, or a function of the sandbox and the command that gives one; a list of
            such, taken one after another; or one function for all. A command without an answer is exit code 127.
    """

    name = "fake"

    def __init__(self, answers: Answers | None = None) -> None:
        self.answers: Answers = {} if answers is None else answers
        self.calls: list[Call] = []
        self.boxes: list[FakeSandbox] = []
        self._failures: list[tuple[SandboxError | Result, str, list[int]]] = []
        self._used = 0
        self._closed = False
        self._lock = threading.Lock()

    def fail(self, error: SandboxError | Result, after: int = 0, *, what: str = "") -> None:
        """After so many more calls (of that name), one call raises the error; a sandbox that raised ``SandboxLost`` is gone.

        A result is given by ``run`` in place of its answer.
        """
        self._failures.append((error, "run" if isinstance(error, Result) else what, [after]))

    def record(self, call: Call) -> Result | None:
        """Notes a call, and does what ``fail`` asked for."""
        with self._lock:
            self.calls.append(call)
            due = None
            for failure in list(self._failures):
                error, what, left = failure
                if what in ("", call.what):
                    if left[0] == 0 and due is None:
                        due = error
                        self._failures.remove(failure)
                    left[0] -= left[0] > 0
        if isinstance(due, SandboxError):
            raise due
        return due

    def answer(self, box: FakeSandbox, text: str) -> Result:
        """The result of a command."""
        found: Answer | None = None
        if callable(self.answers):
            found = self.answers
        elif isinstance(self.answers, Mapping):
            found = next((answer for key, answer in self.answers.items() if key in text), None)
        else:
            with self._lock:
                found = self.answers[self._used] if self._used < len(self.answers) else None
                self._used += 1
        if found is None:
            return Result("", f"{text.split()[0]}: command not found", 127)
        return found if isinstance(found, Result) else found(box, text)

    def adopt(self, box: FakeSandbox) -> FakeSandbox:
        """Notes a sandbox, so that ``close`` finds it."""
        self.boxes.append(box)
        return box

    def create(
        self,
        tree: str | PathLike[str] | None = None,
        *,
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
        workdir: str = "/work",
    ) -> FakeSandbox:
        """See ``base.Provider.create``."""
        place = clean_workdir(workdir, SYSTEM)
        if self._closed:
            raise RuntimeError("the provider is closed")
        self.record(Call("create", "" if tree is None else os.fspath(tree), None, {"limits": limits, "env": env}))
        state = _State({}, {}) if tree is None else _files(os.fspath(tree), place)
        return self.adopt(FakeSandbox(self, state, limits or Limits(), place))

    def close(self) -> None:
        """Closes all its sandboxes."""
        self._closed = True
        for box in self.boxes:
            box.close()

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _files(source: str, target: str) -> _State:
    """A file, or what is in a directory, as it is at ``target``."""
    found = _State({}, {})

    def add(path: str, name: str) -> None:
        with open(path, "rb") as f:
            found.files[name] = f.read()
            found.modes[name] = os.fstat(f.fileno()).st_mode & 0o777

    os.stat(source)
    if os.path.isfile(source):
        add(source, target)
    for folder, _, names in os.walk(source):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path):  # no broken link, no pipe
                add(path, posixpath.join(target, os.path.relpath(path, source)))
    return found

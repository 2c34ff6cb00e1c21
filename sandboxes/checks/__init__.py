"""What ``self_check`` checks: one small function a promise, its docstring the promise.

A promise asserts; it gets a fresh state of a sandbox over ``TREE`` and the provider. ``needs`` says what a provider must have
for it: "commands" that really run, or "limits" that really hold.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from ..base import Provider, Sandbox

TREE: dict[str, bytes] = {
    "a.txt": b"alpha\n",
    "dir/b.txt": b"beta\n",
    "dir/deep/c.bin": bytes(range(256)),
    "empty.txt": b"",
    "run.sh": b"#!/bin/sh\necho ran\n",
}
Check = Callable[[Sandbox, Provider], None]


class Promise(NamedTuple):
    """One promise and what it needs."""

    name: str
    text: str
    check: Check
    needs: str


PROMISES: list[Promise] = []


def promise(needs: str = "commands") -> Callable[[Check], Check]:
    """Adds a check to the list."""

    def add(check: Check) -> Check:
        text = " ".join((check.__doc__ or "").split())
        PROMISES.append(Promise(getattr(check, "__name__", ""), text, check, needs))
        return check

    return add


def plant(folder: str) -> None:
    """Writes ``TREE`` into an empty directory, with a link and an executable."""
    for name, data in TREE.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(data)
    os.chmod(os.path.join(folder, "run.sh"), 0o755)
    os.symlink("a.txt", os.path.join(folder, "link"))
    os.mkdir(os.path.join(folder, "void"))


def facts(folder: str) -> list[tuple[object, ...]]:
    """All of a tree of this machine that can be compared, but when it was read."""
    found: list[tuple[object, ...]] = []
    for where, folders, names in os.walk(folder):
        for path in (where, *(os.path.join(where, n) for n in (*folders, *names))):
            s = os.lstat(path)
            link = os.readlink(path) if os.path.islink(path) else ""
            content = b""
            if not link and os.path.isfile(path):
                with open(path, "rb") as f:
                    content = f.read()
            found.append((path, s.st_mode, s.st_ino, s.st_nlink, s.st_mtime_ns, s.st_ctime_ns, link, content))
    return sorted(found, key=str)


def refused(kind: type[BaseException] | tuple[type[BaseException], ...], function: Callable[[], object]) -> str:
    """Calls a function that must raise; the message."""
    try:
        function()
    except kind as e:
        return str(e)
    raise AssertionError(f"{kind} was not raised")


def state(box: Sandbox) -> str:
    """All of a tree that can be compared: names, kinds, modes, links, hard links, times, contents."""
    script = (
        "find . -printf '%p|%y|%m|%l|%n|%s|%T@\\n' | sed '/|d|/s/|[0-9]*|[0-9]*|\\([0-9.]*\\)$/|\\1/' | LC_ALL=C sort;"
        "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum"
    )
    found = box.run(script)
    assert found.exit_code == 0, found
    return found.stdout


from . import commands, files, shells, states  # noqa: E402, F401  # they fill the list

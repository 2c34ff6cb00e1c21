"""Trees of one commit of a local clone, or of a snapshot: no history, no caches, no byte code, no link that leads out."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from . import store

LEFT_OUT = {".git", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".tox", ".nox"}
_BYTE_CODE = (".pyc", ".pyo")
_GIT = ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]


def _wanted(path: str) -> bool:
    parts = path.split("/")
    return not path.endswith(_BYTE_CODE) and not LEFT_OUT.union((".", "..", "")).intersection(parts)


def _git(clone: Path, *arguments: str, given: bytes = b"") -> bytes:
    env = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run([*_GIT, "-C", str(clone), *arguments], input=given, capture_output=True, env=env)
    except FileNotFoundError:
        raise ValueError("git is not installed; it reads the clones of SWE-bench's repositories") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ValueError(f"{clone}: git {arguments[0]}: {said[-1] if said else 'failed'}"[:300])
    return done.stdout


def is_clone(place: Path) -> bool:
    """A git repository, with a working tree or bare."""
    return (place / ".git").exists() or ((place / "HEAD").is_file() and (place / "objects").is_dir())


def commit(clone: Path, name: str) -> Path:
    """The tree of a commit, read from git's objects as they are: no attribute, filter or hook of the repository has a say.

    Args:
        clone: a local clone that holds the commit.
        name: at least 7 hexadecimal digits.

    Raises:
        ValueError: git has no such commit, or cannot read it.
    """
    if not re.fullmatch(r"[0-9a-f]{7,64}", name):
        raise ValueError(f"base_commit is {name!r}; allowed: 7 or more hexadecimal digits")
    try:
        full = _git(clone, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").decode().strip()
    except ValueError:
        raise ValueError(f"{clone} has no commit {name}; allowed: a clone with its full history") from None

    def fill(root: Path) -> None:
        rows = []
        for entry in (
            _git(clone, "ls-tree", "-r", "-z", "--full-tree", full).decode("utf-8", "surrogateescape").split("\0")
        ):
            about, _, path = entry.partition("\t")
            if path and _wanted(path) and about.split()[1] == "blob":
                rows.append((about.split()[0], about.split()[2], path))
        told = _git(clone, "cat-file", "--batch", given="".join(f"{sha}\n" for _, sha, _ in rows).encode())
        at, links = 0, []
        for mode, _, path in rows:
            end = told.index(b"\n", at)
            size = int(told[at:end].split()[2])
            content, at = told[end + 1 : end + 1 + size], end + size + 2
            if mode == "120000":
                links.append((path, content))
                continue
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)
            (root / path).chmod(0o755 if mode == "100755" else 0o644)
        for path, target in links:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            os.symlink(os.fsdecode(target), root / path)
        _settle(root)

    return store.once(store.cache("swebench") / f"{clone.name}-{full}", fill)


def snapshot(folder: Path) -> Path:
    """A copy of a tree; another one when a file of it changed."""
    listed = sorted(
        (str(f.relative_to(folder)), f.lstat().st_size, f.lstat().st_mtime_ns)
        for f in folder.rglob("*")
        if not f.is_dir()
    )
    mark = hashlib.sha256(repr([str(folder.resolve()), listed]).encode()).hexdigest()[:16]

    def fill(root: Path) -> None:
        skip = shutil.ignore_patterns(*LEFT_OUT, *(f"*{s}" for s in _BYTE_CODE))
        shutil.copytree(folder, root, symlinks=True, ignore=skip, dirs_exist_ok=True)
        _settle(root)

    return store.once(store.cache("swebench") / f"{folder.name}-{mark}", fill)


def _settle(root: Path) -> None:
    """Directories that everybody reads, and no link that leads out of the tree."""
    real = os.path.realpath(root)
    for place, folders, names in os.walk(root):
        os.chmod(place, 0o755)
        for name in (*folders, *names):
            path = os.path.join(place, name)
            if os.path.islink(path) and os.path.commonpath([real, os.path.realpath(path)]) != real:
                os.unlink(path)

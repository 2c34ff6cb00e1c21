"""Builds: the PEP 517 backend of a source distribution makes its wheel in a sandbox; here the wheel is data again.

What the backend needs is fetched as wheels only, by pip, which executes nothing of a wheel that it puts into a folder; the
sandbox sees that folder and runs what is in it. Of the wheel, the tree gets its metadata and the files that the build made.
Compiled modules are left out, since a task's tree is text: a package that cannot do without them has no test that passes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...sandboxes import Limits, Sandbox, make
from ..errors import InfraError
from . import package
from .guard import BINARY, is_test
from .package import Sdist
from .package_tree import MB, extract
from .store import cache, once

MOUNTED, UPLOADED = "/opt/backend", "/tmp/backend"  # where a sandbox sees what the backend needs: local, others
OUT = "/tmp/milepost-wheel"
LONGEST = MB  # bytes of a file that a tree gets
FETCH = 900.0  # seconds for pip
LEGACY = (("setuptools>=40.8.0",), "setuptools.build_meta:__legacy__")  # PEP 517: of a tree that names none
COMPILED = (".so", ".pyd", ".dll", ".dylib")
# runs one hook (PEP 517): the tree is the working directory, and is on the path only where backend-path says so
_HOOK = """
import importlib, json, os, sys
asked = json.load(sys.stdin)
sys.path[:] = asked["path"] + [p for p in sys.path if p]
module, _, names = asked["backend"].partition(":")
backend = importlib.import_module(module)
for name in filter(None, names.split(".")):
    backend = getattr(backend, name)
os.makedirs(asked["out"], exist_ok=True)
if asked["hook"] == "build_wheel":
    said = backend.build_wheel(asked["out"], {})
else:
    hook = getattr(backend, asked["hook"], None)
    said = list(hook({})) if hook else []
with open(asked["out"] + "/" + asked["hook"] + ".json", "w") as f:
    json.dump(said, f)
"""


@dataclass(frozen=True)
class System:
    """The table ``[build-system]`` of a pyproject.toml."""

    requires: tuple[str, ...]
    backend: str
    path: tuple[str, ...]
    """Directories of the tree from which the backend is imported."""


@dataclass(frozen=True)
class Added:
    """What a tree got from a wheel."""

    files: tuple[str, ...]
    """Paths in the tree, without the metadata."""
    compiled: tuple[str, ...]
    """Paths in the wheel of compiled modules, which it did not get."""


def build(sandbox: str, tree: Path, sdist: Sdist, limits: Limits) -> bytes:
    """The wheel of a tree, made in a sandbox over it; the tree itself is left alone.

    Args:
        sandbox: ``local`` or ``docker``.
        tree: of the source distribution.
        sdist: whose it is.
        limits: of the sandbox; its timeout is that of each hook.

    Raises:
        ValueError: it cannot be built; says why in the backend's last words.
        InfraError: what the backend needs cannot be fetched.
        SandboxError: the sandbox failed.
    """
    # a file is read into memory: none may be larger than what would be fetched
    limits = dataclasses.replace(limits, file_size=min(limits.file_size, package.LARGEST))
    try:
        system = read(tree)
        with _box(sandbox, tree, fetch(system.requires), sdist, limits) as box:
            more = _asked(_hook(box, system, "get_requires_for_build_wheel"), system)
            if not more:
                return _wheel(box, system)
        with _box(sandbox, tree, fetch((*system.requires, *more)), sdist, limits) as box:
            return _wheel(box, system)
    except (ValueError, OSError) as e:
        raise ValueError(f"{sdist.name}-{sdist.version} cannot be built: {e}") from None


# -- what it needs -----------------------------------------------------------------------------------
def read(tree: Path) -> System:
    """``[build-system]`` as data.

    Raises:
        ValueError: it is not as PEP 518 wants it, asks for what no index has, or names a directory outside the tree.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    file = tree / "pyproject.toml"
    try:
        whole = tomllib.loads(file.read_text("utf-8")) if file.is_file() else {}
    except (ValueError, RecursionError) as e:
        raise ValueError(f"pyproject.toml cannot be read ({e})") from None
    table: Any = whole.get("build-system", {"requires": list(LEGACY[0])})
    if not isinstance(table, dict):
        raise ValueError(f"build-system is {table!r}; allowed: a table")
    backend = table.get("build-backend", LEGACY[1])
    if not isinstance(backend, str) or not re.fullmatch(r"[\w.]+(:[\w.]+)?", backend):
        raise ValueError(f"build-backend is {backend!r}; allowed: MODULE or MODULE:OBJECT")
    requires, path = (_texts(table.get(k, d), k) for k, d in (("requires", None), ("backend-path", [])))
    for folder in path:
        inside = tree.resolve() in (here := (tree / folder).resolve()).parents or here == tree.resolve()
        if os.path.isabs(folder) or not inside:
            raise ValueError(f"backend-path has {folder!r}; allowed: directories of the tree")
    return System(tuple(map(package.requirement, requires)), backend, path)


def _texts(value: object, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise ValueError(f"{name} is {value!r:.80}; allowed: a list of texts")
    return tuple(value)


def _asked(said: object, system: System) -> list[str]:
    """What a backend asks for that it does not have."""
    return [r for r in map(package.requirement, _texts(said, "what the backend needs")) if r not in system.requires]


def fetch(requires: Iterable[str]) -> Path:
    """A directory with these distributions and what they need, out of pip's index or the user's cache. Nothing of them is run.

    Raises:
        ValueError: there is no wheel of one of them.
        InfraError: pip cannot fetch them.
    """
    wanted = sorted(set(requires))
    key = json.dumps([wanted, sys.implementation.cache_tag, sysconfig.get_platform()])

    def fill(folder: Path) -> None:
        if wanted:
            _pip(wanted, folder)
        for path in folder.rglob("*"):  # whatever umask says: in the sandbox it is another user who reads them
            path.chmod(0o755 if path.is_dir() else 0o644)

    return once(cache("backends") / hashlib.sha256(key.encode()).hexdigest()[:24], fill)


def _pip(wanted: list[str], folder: Path) -> None:
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-user"]
    argv += ["--no-compile", "--only-binary", ":all:", "--target", str(folder), "--", *wanted]
    names = ", ".join(wanted)
    try:  # in a directory of ours: -m looks for pip in the working directory first
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=FETCH, cwd=folder.parent)
    except subprocess.TimeoutExpired:
        raise InfraError(f"pip did not fetch {names} in {FETCH:.0f} s") from None
    if not done.returncode:
        return
    why = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
    last = (why or done.stderr.strip().splitlines() or ["it says nothing"])[-1]
    none = "No matching distribution" in last or "ResolutionImpossible" in last
    if none and "connection broken" not in done.stderr:
        raise ValueError(f"its backend needs {names}, and pip finds no wheels for that: {last}")
    raise InfraError(f"pip cannot fetch {names}: {last}")


# -- the hooks ---------------------------------------------------------------------------------------
@contextlib.contextmanager
def _box(sandbox: str, tree: Path, needs: Path, sdist: Sdist, limits: Limits) -> Iterator[Sandbox]:
    """A sandbox over a tree in which the backend can be imported."""
    local = sandbox == "local"
    env = {
        "PYTHONPATH": MOUNTED if local else UPLOADED, "PYTHONHASHSEED": "0",
        # there is no history that would tell; 1980 is where the times of a zip file begin
        "SETUPTOOLS_SCM_PRETEND_VERSION": sdist.version, "PBR_VERSION": sdist.version, "SOURCE_DATE_EPOCH": "315532800",
    }  # fmt: skip
    with make(sandbox, **({"mounts": {MOUNTED: str(needs)}} if local else {})) as provider:
        with provider.create(tree, limits=limits, env=env) as box:
            if not local:
                box.upload(needs, UPLOADED)
            yield box


def _hook(box: Sandbox, system: System, hook: str) -> object:
    """What a hook of the backend gives.

    Raises:
        ValueError: it fails, with its last words.
    """
    asked: dict[str, object] = {"hook": hook, "backend": system.backend, "out": OUT}
    asked["path"] = [os.path.normpath(f"{box.workdir}/{p}") for p in system.path]
    done = box.run(["python3", "-B", "-c", _HOOK], stdin=json.dumps(asked))
    if done.timed_out:
        raise ValueError(f"{hook} did not end in {box.limits.timeout:g} s")
    if not done.ok:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ValueError(lines[-1].strip()[:200] if lines else f"{hook} ended with exit code {done.exit_code}")
    try:
        return json.loads(box.read(f"{OUT}/{hook}.json"))
    except (OSError, ValueError, RecursionError):
        raise ValueError(f"{hook} ended the process") from None


def _wheel(box: Sandbox, system: System) -> bytes:
    name = _hook(box, system, "build_wheel")
    if not isinstance(name, str) or not re.fullmatch(r"[\w.+!-]+\.whl", name):
        raise ValueError(f"build_wheel gave {name!r:.80}; allowed: the name of a file .whl")
    try:
        return box.read(f"{OUT}/{name}")
    except OSError as e:
        raise ValueError(f"build_wheel made no {name} ({e.strerror})") from None


# -- the wheel ---------------------------------------------------------------------------------------
def add(wheel: bytes, tree: Path, root: str, own: Iterable[str], sdist: Sdist) -> Added:
    """Puts a wheel's metadata and the files that its build made into a tree; no file of the tree is overwritten.

    Metadata of an ``.egg-info`` beside it, which an earlier build left, goes: two answers to one question depend on the order
    of a directory.

    Args:
        wheel: the archive.
        tree: of the source distribution.
        root: directory of it from which its modules are imported.
        own: names of its modules and packages.
        sdist: whose tree it is.

    Raises:
        ValueError: it is no wheel of this distribution, or unpacks to something that it must not.
    """
    with tempfile.TemporaryDirectory() as folder:
        file, content, place = Path(folder, "a.whl"), Path(folder, "content"), (tree / root).resolve()
        content.mkdir()
        try:
            file.write_bytes(wheel)
            extract(file, content)
            about = _metadata(content, sdist)
        except ValueError as e:
            raise ValueError(f"{sdist.name}-{sdist.version} cannot be built: of its wheel, {e}") from None
        files, compiled = [], []
        for name in sorted(own):
            for path in sorted([content / f"{name}.py", *(content / name).rglob("*")]):
                relative = path.relative_to(content).as_posix()
                if path.name.endswith(COMPILED):
                    compiled.append(relative)
                elif not is_test(relative) and _put(path, place / relative):
                    files.append(os.path.normpath(f"{root}/{relative}"))
        compiled += [p.name for p in content.iterdir() if p.name.endswith(COMPILED)]
        for egg in place.glob("*.egg-info"):
            if egg.is_dir() and not egg.is_symlink() and package.canonical(egg.stem.partition("-")[0]) == sdist.name:
                shutil.rmtree(egg)
        for path in sorted(about.rglob("*")):
            if not path.name.startswith("RECORD") and path.suffix != ".py":  # a record of files that are not there
                _put(path, place / path.relative_to(content))
    return Added(tuple(files), tuple(sorted(compiled)))


def _metadata(content: Path, sdist: Sdist) -> Path:
    found = [p for p in content.glob("*.dist-info") if (p / "METADATA").is_file()]
    if len(found) != 1:
        raise ValueError(f"{len(found)} directories are metadata; allowed: one")
    name = package.canonical(found[0].name.partition("-")[0])
    if name != sdist.name:
        raise ValueError(f"the metadata is of {name}; allowed: of {sdist.name}")
    return found[0]


def _put(source: Path, target: Path) -> bool:
    """Copies a file of a wheel to where there is none; False where it is nothing for a tree."""
    if source.is_symlink() or not source.is_file() or source.name.endswith(BINARY) or source.stat().st_size > LONGEST:
        return False
    if os.path.lexists(target):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.parent.resolve() != target.parent:  # a link of the tree leads elsewhere
        return False
    shutil.copyfile(source, target)
    target.chmod(0o644)
    return True

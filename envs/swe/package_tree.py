"""What of an unpacked source distribution is imported, and what it lacks to be imported without a build: read, never run."""

from __future__ import annotations

import ast
import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from .guard import CONFIG, is_test
from .package import Sdist, canonical

ROOTS = ("src", "lib", "python")  # directories beside setup.py in which packages keep their modules
ASIDE = {"doc", "docs", "example", "examples", "bench", "benchmark", "benchmarks", "script", "scripts", "tool", "tools"}
GENERATED = {"_version.py", "versioneer.py"}  # of builds; no place for a bug
VERSION_FILES = (  # settings of build backends that name a file with the version, to be written by them
    ("setuptools_scm", "version_file"),
    ("setuptools_scm", "write_to"),
    ("hatch", "build", "hooks", "vcs", "version-file"),
)


def layout(tree: Path, name: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """Directories from which its modules are imported, and the names of its modules and packages.

    Args:
        tree: of a source distribution.
        name: of the distribution.

    Raises:
        ValueError: there is no Python module in it.
    """
    for root in (*ROOTS, "."):
        there = _modules(tree / root)
        told = [w for f in tree.glob(f"{root}/*.egg-info/top_level.txt") for w in f.read_text().split()]
        alike = {n for n in there if n.lower().replace("_", "-") == name}
        own = there & set(told) or alike or there
        if own:
            return (root, ".") if root != "." else (".",), frozenset(own)
    raise ValueError(f"{name} has no Python module; allowed: modules in {', '.join(ROOTS)} or beside setup.py")


def _modules(folder: Path) -> set[str]:
    """Names that can be imported from a directory, without tests and what surrounds a package."""
    found = set()
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.suffix == ".py" and path.name not in CONFIG | GENERATED and not is_test(path.name):
            found.add(path.stem)
        elif path.is_dir() and (path / "__init__.py").is_file() and path.name not in ASIDE:
            found |= {path.name} if not is_test(f"{path.name}/x.py") else set()
    return found


def sources(tree: Path, roots: Sequence[str], own: Iterable[str]) -> list[str]:
    """Paths of the files into which bugs may be put: the package's own that are valid Python."""
    found = []
    for name in sorted(own):
        base = tree / roots[0] / name
        for path in sorted(base.rglob("*.py")) if base.is_dir() else [base.with_suffix(".py")]:
            relative = os.path.normpath(path.relative_to(tree))
            if is_test(relative) or path.name in CONFIG | GENERATED:
                continue
            try:
                ast.parse(path.read_text("utf-8"))
            except (SyntaxError, ValueError, RecursionError):
                continue
            found.append(relative)
    return found


def complete(tree: Path, root: str, sdist: Sdist) -> None:
    """Writes what a build would have made out of PKG-INFO: the metadata, and the version file that pyproject.toml names."""
    file = tree / "PKG-INFO"
    if file.is_file() and not any(tree.glob(f"{root}/*.egg-info/PKG-INFO")):
        about = tree / root / f"{sdist.name.replace('-', '_')}-{sdist.version}.dist-info"
        about.mkdir(exist_ok=True)
        shutil.copyfile(file, about / "METADATA")
    if not (tree / "pyproject.toml").is_file():
        return
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        tools = tomllib.loads((tree / "pyproject.toml").read_text("utf-8")).get("tool", {})
    except (ValueError, AttributeError):
        return
    for keys in VERSION_FILES:
        value: Any = tools
        for key in keys:
            value = value.get(key, {}) if isinstance(value, dict) else {}
        if not isinstance(value, str):
            continue
        path = Path(os.path.normpath(tree / value))
        # resolved: a link of the tree must not lead the file elsewhere
        if (
            path.suffix == ".py"
            and tree.resolve() in path.resolve().parents
            and path.parent.is_dir()
            and not path.exists()
        ):
            parts = tuple(int(p) if p.isdigit() else p for p in re.split(r"[.+]", sdist.version))
            names = f"__version__ = version = {sdist.version!r}\n__version_tuple__ = version_tuple = {parts!r}\n"
            path.write_text(names)


def imported(tree: Path, files: Iterable[str], own: Iterable[str]) -> tuple[set[str], set[str]]:
    """Distributions that test files and their conftest import when they are imported; and modules that nobody here has.

    Args:
        tree: of the package.
        files: test files.
        own: modules of the package.
    """
    conftests = [os.path.relpath(p, tree) for p in tree.rglob("conftest.py")]
    beside = {p.stem for d in {d for f in files for d in Path(f).parents} for p in (tree / d).iterdir()}
    known = metadata.packages_distributions()
    there, missing = set(), set()
    for file in (*files, *conftests):
        try:
            nodes = list(ast.parse((tree / file).read_text("utf-8")).body)
        except (SyntaxError, ValueError, RecursionError):
            continue
        while nodes:
            node = nodes.pop()
            names = []
            if isinstance(node, ast.Import):
                names = [a.name for a in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            elif isinstance(node, (ast.If, ast.Try, ast.With)):  # not what is in functions: it may never be wanted
                nodes += [n for n in ast.iter_child_nodes(node) if isinstance(n, ast.stmt)]
                nodes += [n for h in getattr(node, "handlers", ()) for n in h.body]
            for module in {n.partition(".")[0] for n in names} - sys.stdlib_module_names - {*own, *beside, "_pytest"}:
                if module in known:
                    there.add(canonical(sorted(known[module])[0]))
                else:
                    missing.add(module)
    return there, missing


def installed(name: str) -> bool:
    """There is a distribution of that name for this Python."""
    try:
        return bool(metadata.distribution(name))
    except (metadata.PackageNotFoundError, ValueError):
        return False

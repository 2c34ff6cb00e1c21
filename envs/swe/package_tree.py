"""Trees of source distributions: unpacked with suspicion, and what of them is imported and tested. Read, never run."""

from __future__ import annotations

import ast
import gzip
import io
import lzma
import os
import shutil
import stat
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import IO

from ...sandboxes.transfer import unpack as unpack_tar
from .checkout import LEFT_OUT
from .guard import CONFIG, is_test
from .package import Sdist, canonical

ROOTS = ("src", "lib", "python")  # directories beside setup.py in which packages keep their modules
ASIDE = {"doc", "docs", "example", "examples", "bench", "benchmark", "benchmarks", "script", "scripts", "tool", "tools"}
GENERATED = {"_version.py", "versioneer.py"}  # of builds; no place for a bug
MB = 2**20
UNPACKED = 256 * MB  # bytes of a tree
MOST = 20_000  # files of a tree


# -- the archive -------------------------------------------------------------------------------------
def unpack(sdist: Sdist, target: Path) -> None:
    """Its tree, without history, caches and byte code, in a directory that does not exist yet.

    Raises:
        ValueError: an entry would leave the tree (``..``, a link), is a device, or there is too much of it; names it.
    """
    half = Path(tempfile.mkdtemp(dir=target.parent))
    try:
        extract(sdist.file, half)
        top = list(half.iterdir())
        if len(top) != 1 or top[0].is_symlink() or not top[0].is_dir():
            raise ValueError(f"{len(top)} entries at its top; allowed: one directory with all of it")
        _settle(top[0])
        top[0].rename(target)
    except ValueError as e:
        raise ValueError(f"{sdist.file.name}: {e}") from None
    finally:
        shutil.rmtree(half, ignore_errors=True)


def extract(file: Path, folder: Path) -> None:
    """What is in a .tar.gz, .zip or .whl, in an empty directory.

    Raises:
        ValueError: as ``unpack``.
    """
    broken = (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError)
    with tempfile.TemporaryFile() as spool:
        try:
            _plain_tar(file, spool)
            spool.seek(0)
            unpack_tar(spool, str(folder))
        except broken as e:
            raise ValueError(f"it cannot be unpacked ({e})") from None


def _plain_tar(file: Path, spool: IO[bytes]) -> None:
    """What is in an archive as an uncompressed tar, as long as it is not too much."""
    if file.suffix in (".zip", ".whl"):
        with zipfile.ZipFile(file) as archive, tarfile.open(fileobj=spool, mode="w:") as tar:
            if len(archive.infolist()) > MOST or sum(i.file_size for i in archive.infolist()) > UNPACKED:
                raise ValueError(f"it unpacks to more than {UNPACKED} bytes or {MOST} files")
            for info in archive.infolist():
                _add(archive, info, tar)
        return
    with gzip.open(file) as f:
        for piece in iter(lambda: f.read(MB), b""):
            spool.write(piece)
            if spool.tell() > UNPACKED:
                raise ValueError(f"it unpacks to more than {UNPACKED} bytes")


def _add(archive: zipfile.ZipFile, info: zipfile.ZipInfo, tar: tarfile.TarFile) -> None:
    member = tarfile.TarInfo(info.filename)
    mode = info.external_attr >> 16
    member.mode = mode & 0o777 or 0o644
    if info.is_dir():
        member.type, member.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(member)
        return
    if info.flag_bits & 1:
        raise ValueError(f"{info.filename!r} is encrypted")
    with archive.open(info) as f:
        data = f.read(info.file_size + 1)  # what a header says of the size may be a lie
    if len(data) > info.file_size:
        raise ValueError(f"{info.filename!r} is larger than it says")
    if stat.S_ISLNK(mode):
        member.type, member.linkname = tarfile.SYMTYPE, os.fsdecode(data)
        tar.addfile(member)
    else:
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))


def _settle(root: Path) -> None:
    """Nothing in it but sources, and everybody may read them."""
    files = 0
    for place, folders, names in os.walk(root):
        os.chmod(place, 0o755)
        for name in [f for f in folders if f in LEFT_OUT]:
            path = Path(place, name)
            path.unlink() if path.is_symlink() else shutil.rmtree(path)
            folders.remove(name)
        for name in names:
            path = Path(place, name)
            files += 1
            if name.endswith((".pyc", ".pyo")) or name in LEFT_OUT:  # .git is a file in a submodule
                path.unlink()
            elif not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
    if files > MOST:
        raise ValueError(f"it has {files} files; allowed: {MOST}")


# -- what is in it -----------------------------------------------------------------------------------
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

"""pytest for the inside of a sandbox: copies of the installed distributions in one folder, and nothing else of the machine."""

from __future__ import annotations

import compileall
import functools
import os
import py_compile
import re
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from ..errors import InfraError


def _closure(names: tuple[str, ...]) -> dict[str, metadata.Distribution]:
    """Distributions that these need, without extras."""
    found: dict[str, metadata.Distribution] = {}
    todo = list(names)
    while todo:
        name = todo.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in found:
            continue
        try:
            found[key] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            if name in names:
                raise InfraError(f"{name} is not installed: pip install 'milepost[swe]'") from None
            continue  # needed on other systems only
        for need in found[key].requires or []:
            if "extra ==" not in need:
                todo.append(re.split(r"[\s;<>=!~\[(]", need, maxsplit=1)[0])
    return found


@functools.lru_cache(8)
def folder(names: tuple[str, ...] = ("pytest",)) -> Path:
    """A directory with these distributions and what they need, for PYTHONPATH; made once and kept in the user's cache.

    Raises:
        InfraError: one is not installed; says how to install it.
    """
    found = _closure(names)
    tag = "-".join(f"{k}{d.version}" for k, d in sorted(found.items()) if k in names)
    tag += f"-{len(found)}-{sys.implementation.cache_tag}"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "milepost" / "library"
    place = cache / tag
    if not place.exists():
        cache.mkdir(parents=True, exist_ok=True)
        half = Path(tempfile.mkdtemp(dir=cache))
        for d in found.values():
            for file in d.files or []:
                source = Path(str(d.locate_file(file)))
                if ".." not in file.parts and source.is_file() and source.suffix != ".pyc":
                    (half / file).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, half / file)
        # byte code of our own making, which makes every run of the tests faster: inside, nobody can write it
        compileall.compile_dir(half, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
        for path in (half, *half.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        try:
            half.rename(place)
        except OSError:  # another process was faster
            shutil.rmtree(half)
    return place

